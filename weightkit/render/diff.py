"""The view of ``weightkit diff``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import zip_longest
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import (
    RIGHT,
    Block,
    Cell,
    Column,
    Facts,
    Lines,
    Text,
    Title,
    Wish,
    joined,
    listed,
)
from weightkit.render.json import plain
from weightkit.render.values import brief
from weightkit.reports import (
    CHANGED,
    CHANGES,
    SAME,
    ChangeGroup,
    ChangeShare,
    Delta,
    Diff,
    DiffSide,
    SettingChange,
    TensorChange,
)

ROWS = 40
"""Rows of a table that people see by default."""
TEMPLATE = "chat template"
_STYLES = {"changed": "danger", "unknown": "warning", "removed": "danger"}


def to_json(report: Diff, wish: Wish) -> dict[str, Any]:
    """All fields; a changed value as it is in both."""
    found: dict[str, Any] = plain(report)
    return found


def to_blocks(report: Diff, wish: Wish) -> Iterator[Block]:
    """The verdict, what it looks like, tables by component and layer, then what differs."""
    verdict = f"{report.verdict} headers" if _headers(report) and report.same else report.verdict
    yield Title(f"{report.a.path} → {report.b.path}", verdict)
    yield Facts([row for row in _facts(report) if text(row[1])])
    if report.changes:
        yield from _shares(report.components, "component", report, wish)
        yield from _shares(_runs(report.layers), "layer", report, wish)
        yield from (_tensors if "tensors" in wish.show else _groups)(report, wish)
    yield from _settings(report.settings, wish)
    if report.notes:
        yield Lines(report.notes)


def text(cell: Cell) -> str:
    """The text of a fact."""
    return cell.text if isinstance(cell, Text) else str(cell)


def _headers(report: Diff) -> bool:
    return report.compared == "headers"


def _facts(report: Diff) -> Iterator[tuple[str, Cell]]:
    yield "A", _side(report.a)
    yield "B", _side(report.b)
    yield "compared", report.compared + (", no values were read" if _headers(report) else "")
    counts = [
        f"{report.kinds[kind]:,} {_word(kind, report)}" for kind in CHANGES if report.kinds[kind]
    ]
    yield "tensors", ", ".join(counts)
    delta = report.delta
    if delta is not None:
        yield "elements", f"{delta.changed:,} of {delta.elements:,} changed in these tensors"
        yield "distance", joined([f"{name} {figure}" for name, figure in _figures(delta) if figure])
        if delta.nonfinite or delta.other_nonfinite:
            yield "not finite", f"{delta.nonfinite:,} elements of A, {delta.other_nonfinite:,} of B"
    for number, line in enumerate(report.looks_like):
        yield "" if number else "looks like", Text(line, "title")
    yield "ignored", ", ".join(report.ignored)


def _word(kind: str, report: Diff) -> str:
    return "alike" if kind == SAME and _headers(report) else kind


def _side(side: DiffSide) -> str:
    return joined([side.format, figures.plural(side.tensors, "tensor"), figures.size(side.nbytes)])


def _figures(delta: Delta) -> list[tuple[str, str]]:
    return [
        ("largest difference", number(delta.max_abs)),
        ("relative L2", number(delta.relative_l2)),
        ("cosine", "" if delta.cosine is None else f"{delta.cosine:.6f}"),
    ]


def number(value: float | None) -> str:
    """Three digits; "" for None."""
    return "" if value is None else f"{value:.3g}"


# By component and by layer


def _shares(rows: Sequence[ChangeShare], title: str, report: Diff, wish: Wish) -> Iterator[Block]:
    if not rows or (title == "layer" and all(not row.key for row in rows)):
        return
    kinds = [kind for kind in CHANGES if report.kinds[kind]]
    columns = [Column(title, style="name"), Column("tensors", RIGHT, drop=1)]
    lesser = {kind: 6 for kind in kinds if report.delta is not None and kind != CHANGED}
    columns += [Column(_word(kind, report), RIGHT, drop=lesser.get(kind, 0)) for kind in kinds]
    columns += _DELTA

    def cells(row: ChangeShare) -> Sequence[Cell]:
        counts = [_count(row.kinds.get(kind, 0), kind) for kind in kinds]
        return [row.key or "(none)", f"{row.tensors:,}", *counts, *_delta_cells(row.delta)]

    yield listed(columns, rows, cells, _limit(wish))


def _count(found: int, kind: str) -> Cell:
    return Text(f"{found:,}" if found else "", _STYLES.get(kind, ""))


_DELTA = [
    Column("elements", RIGHT),
    Column("share", RIGHT, drop=5),
    Column("largest", RIGHT, drop=3),
    Column("relative L2", RIGHT),
    Column("cosine", RIGHT, drop=4),
    Column("rank", RIGHT, drop=2),
    Column("not finite", RIGHT, drop=1),
]


def _delta_cells(delta: Delta | None) -> list[Cell]:
    if delta is None:
        return [""] * len(_DELTA)
    share = figures.share(delta.changed, delta.elements)
    figured = [figure for _, figure in _figures(delta)]
    broken = Text(f"{delta.other_nonfinite:,}" if delta.other_nonfinite else "", "danger")
    return [f"{delta.changed:,}", share, *figured, str(delta.rank or ""), broken]


def _runs(rows: Sequence[ChangeShare]) -> list[ChangeShare]:
    """Layers that follow one another and have the same counts as one row, if nothing else is known."""
    found: list[ChangeShare] = []
    last = ("", -2)
    for row in rows:
        region, _, number = row.key.rpartition(" ")
        here = (region, int(number) if number.isdigit() else -2)
        if found and here == (last[0], last[1] + 1) and _are_alike(found[-1], row):
            first, tensors = found[-1].key.partition("–")[0], found[-1].tensors + row.tensors
            found[-1] = ChangeShare(f"{first}–{number}", tensors, row.kinds)
        else:
            found.append(row)
        last = here
    return found


def _are_alike(one: ChangeShare, other: ChangeShare) -> bool:
    return one.kinds == other.kinds and one.delta is None is other.delta


def _limit(wish: Wish) -> int:
    return ROWS if wish.limit is None else wish.limit


# Tensors


def _groups(report: Diff, wish: Wish) -> Iterator[Block]:
    columns = [
        Column("change"),
        Column("tensor", style="name"),
        Column("", RIGHT),
        Column(""),
        *_DELTA,
    ]

    def cells(row: ChangeGroup) -> Sequence[Cell]:
        times = f"×{row.count}" if row.count > 1 else ""
        kind = Text(row.kind, _STYLES.get(row.kind, "note"))
        return [kind, row.pattern, times, row.what, *_delta_cells(row.delta)]

    yield listed(columns, report.groups, cells, _limit(wish))


def _tensors(report: Diff, wish: Wish) -> Iterator[Block]:
    columns = [
        Column("change"),
        Column("tensor", style="name"),
        Column("in B", drop=1),
        Column("dtype"),
        Column("shape", drop=2),
        Column(""),
        *_DELTA,
    ]
    yield listed(columns, report.changes, _tensor, wish.limit or 0)


def _tensor(change: TensorChange) -> Sequence[Cell]:
    a, b = change.a, change.b
    sides = [side for side in (a, b) if side]
    name = b.name if a and b and a.name != b.name else ""
    dtypes = " → ".join(dict.fromkeys(side.dtype for side in sides))
    shapes = " → ".join(dict.fromkeys(figures.shape(side.shape) for side in sides))
    kind = Text(change.kind, _STYLES.get(change.kind, "note"))
    return [kind, change.name, name, dtypes, shapes, change.note, *_delta_cells(change.delta)]


# Settings


def _settings(settings: Sequence[SettingChange], wish: Wish) -> Iterator[Block]:
    templates = [item for item in settings if item.place.endswith(TEMPLATE)]
    others = [item for item in settings if not item.place.endswith(TEMPLATE)]
    if others:
        columns = [Column("setting"), Column("", style="name"), Column("A"), Column("B")]
        yield listed(columns, others, _setting, _limit(wish))
    for item in templates:
        one, other = ((side or "").splitlines() for side in (item.a, item.b))
        lines = [*unified_diff(one, other, "A", "B", lineterm="", n=1)]
        limit = _limit(wish)
        shown = lines[:limit] if limit else lines
        more = len(lines) - len(shown)
        tail = [f"… {more:,} more lines (--limit 0 shows all)"] if more else []
        yield Lines([*shown, *tail], f"{item.place} ({item.key})", verbatim=True)


def _setting(item: SettingChange) -> Sequence[Cell]:
    return [item.place, item.key, *_values(item.a, item.b)]


def _values(a: Any, b: Any) -> list[Cell]:
    """Both in brief, or if that is the same, from where they differ on."""
    cells: list[Cell] = [
        Text("(none)", "quiet") if value is None else brief(value) for value in (a, b)
    ]
    if cells[0] != cells[1] or type(a) is not type(b) or not isinstance(a, str | list):
        return cells
    pairs = zip_longest(a, b)
    at = next(at for at, (x, y) in enumerate(pairs) if x != y)
    return [f"[{at}] {brief(value[at : at + 40])}" for value in (a, b)]
