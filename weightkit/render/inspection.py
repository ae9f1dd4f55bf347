"""The view of ``weightkit inspect``: what is in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from weightkit.render import figures, findings, listing, values
from weightkit.render.blocks import (
    RIGHT,
    Bar,
    Block,
    Cell,
    Column,
    Facts,
    Table,
    Text,
    Title,
    Wish,
    joined,
    listed,
)
from weightkit.render.json import plain, record
from weightkit.reports import FileEntry, Group, Inspection, Parameters, SetSummary, Share

_GROUPS, _METADATA, _FILES, _TIED, _DTYPES = 40, 10, 8, 5, 4
"""How many rows of each section the default view shows."""


def to_json(report: Inspection, wish: Wish) -> dict[str, Any]:
    """The report as plain values; ``tensors`` is there when the rows were asked for."""
    document = {
        "path": report.path,
        "format": report.format,
        "size": report.size,
        "files": plain(report.files),
        "parameters": record(report.parameters),
        "components": plain(report.components),
        "dtypes": plain(report.dtypes),
        "layers": report.layers,
        "bits_per_weight": report.bits_per_weight,
        "bytes": report.nbytes,
        "tensor_count": report.tensors,
        "summary": plain(report.summary),
        "sets": plain(report.sets),
        "tied": plain(report.tied),
        "groups": plain(report.groups),
        "metadata": plain(_metadata_wished(report, wish)),
        "findings": plain(report.findings),
        "parts": [to_json(part, wish) for part in report.parts],
    }
    if report.by:
        document |= {"by": report.by, "shares": plain(report.shares)}
    if report.rows is not None:
        rows = listing.chosen(report.rows, wish)
        document["tensors"] = plain(rows[: wish.limit or None])
    return document


def to_blocks(report: Inspection, wish: Wish) -> Iterator[Block]:
    """The report for people; ``wish.show`` picks tensors, metadata or explain alone."""
    chosen = [choice for name, choice in _CHOICES.items() if name in wish.show]
    if chosen:
        yield from _titled(
            report, wish, [block for choice in chosen for block in choice(report, wish)]
        )
    else:
        for section in _SECTIONS:
            yield from section(report, wish)
    for part in report.parts:
        yield from to_blocks(part, wish._replace(show=wish.show | {"titled"}))


def _titled(report: Inspection, wish: Wish, blocks: list[Block]) -> Iterator[Block]:
    """The blocks, under a title where it would not be clear whose they are."""
    if blocks and "titled" in wish.show:
        yield _title(report)
    yield from blocks


def _head(report: Inspection, wish: Wish) -> Iterator[Block]:
    yield _title(report)
    yield Facts([row for row in _facts(report) if row[1]])


def _title(report: Inspection) -> Title:
    container = _one(entry.container for entry in report.files)
    files = figures.plural(len(report.files), "file") if len(report.files) > 1 else ""
    kind = (
        f"{report.format} ({container})" if container not in ("", report.format) else report.format
    )
    return Title(_base(report.path), joined([kind, files, figures.size(report.size)]))


def _facts(report: Inspection) -> Iterator[tuple[str, Cell]]:
    yield from _parameter_facts(report.parameters)
    layers = figures.plural(report.layers, "layer") if report.layers else ""
    yield "tensors", joined([figures.exact(report.tensors), layers])
    yield "dtypes", _dtype_mix(report)
    yield "weights", figures.full_size(report.nbytes)
    for key, value in report.summary.items():
        if value not in (None, "", (), [], {}):
            yield key.replace("_", " "), fact(value)


def fact(value: Any) -> str:
    """A fact of the summary: an object as words, ``experts 8, used 2``; lists without brackets."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value[:8]) + (f" and {len(value) - 8} more" if len(value) > 8 else "")
    if isinstance(value, int) and not isinstance(value, bool):
        return figures.exact(value)
    return values.brief(value)


def _parameter_facts(counts: Parameters) -> Iterator[tuple[str, Cell]]:
    headline = counts.total if counts.unique is None else counts.unique
    yield "parameters", Text(figures.count(headline), "title")
    if counts.unique is not None and counts.unique != counts.total:
        yield "with copies", f"{figures.count(counts.total)} (shared memory counted each time)"
    if counts.active is not None:
        yield "active", figures.count(counts.active)
        yield "", f"{figures.count(counts.active_without_input_embedding)} without input embedding"
    elif counts.active_unknown:
        yield "active", f"unknown: {counts.active_unknown}"
    if counts.buffers:
        yield "buffers", f"{figures.count(counts.buffers)} (stored, but no parameters)"
    if counts.stored_elements != counts.total:
        yield "stored", f"{figures.count(counts.stored_elements)} elements"


def _dtype_mix(report: Inspection) -> str:
    whole = sum(row.nbytes for row in report.dtypes)
    mix = [
        row.dtype if len(report.dtypes) == 1 else f"{row.dtype} {figures.share(row.nbytes, whole)}"
        for row in listing.ordered([*report.dtypes], "size")[:_DTYPES]
    ]
    if len(report.dtypes) > _DTYPES:
        mix.append(f"{len(report.dtypes) - _DTYPES} more (--by dtype)")
    return joined([", ".join(mix), figures.bits(report.bits_per_weight) if mix else ""])


def _shares(report: Inspection, wish: Wish) -> Iterator[Block]:
    by, shares = report.by, [*report.shares]
    if by in ("", "component"):
        by = "component"
        shares = [
            Share(row.component, row.tensors, row.parameters, row.nbytes)
            for row in report.components
        ]
    shares = listing.ordered(shares, wish.sort)
    yield from _if_any(_share_table(report, by, shares, wish.limit or 0))


def _parts(report: Inspection, wish: Wish) -> Iterator[Block]:
    """The sub-models side by side; each has a report of its own below."""
    shares = [
        Share(_base(part.path), part.tensors, part.parameters.total or 0, part.nbytes)
        for part in report.parts
    ]
    yield from _if_any(_share_table(report, "part", shares))


def _share_table(report: Inspection, by: str, shares: list[Share], limit: int = 0) -> Table:
    columns = [
        Column(by, style="name"),
        Column("tensors", RIGHT, drop=2),
        Column("parameters", RIGHT),
        Column("share", RIGHT, drop=1),
        Column("", style="bar", drop=3),
        Column("size", RIGHT),
    ]
    whole = sum(row.parameters for row in shares)

    def row(share: Share) -> Sequence[Cell]:
        return (
            (_inside(share.key, report) if by == "file" else share.key) or f"(no {by})",
            figures.exact(share.tensors),
            figures.exact(share.parameters),
            figures.share(share.parameters, whole),
            Bar(share.parameters / whole if whole else 0.0),
            figures.size(share.nbytes),
        )

    return listed(columns, shares, row, limit)


def _sets(report: Inspection, wish: Wish) -> Iterator[Block]:
    columns = [
        Column("set", style="name"),
        Column("kind"),
        Column("tensors", RIGHT, drop=1),
        Column("elements", RIGHT, drop=2),
        Column("size", RIGHT),
    ]
    if len(report.sets) > 1:
        yield listed(columns, report.sets, _set_row)


def _set_row(row: SetSummary) -> Sequence[Cell]:
    return (
        row.key or "(top level)",
        f"{row.kind}, shown here" if row.main else row.kind,
        figures.exact(row.tensors),
        figures.exact(row.elements),
        figures.size(row.nbytes),
    )


def _groups(report: Inspection, wish: Wish) -> Iterator[Block]:
    columns = [
        Column("tensor", style="name"),
        Column("shape"),
        Column("dtype", style="quiet"),
        Column("", RIGHT),
        Column("parameters", RIGHT, drop=2),
        Column("size", RIGHT, drop=1),
    ]
    groups = listing.ordered([*report.groups], wish.sort)
    yield from _if_any(listed(columns, groups, _group_row, _limit(wish, _GROUPS)))


def _group_row(group: Group) -> Sequence[Cell]:
    return (
        group.pattern,
        figures.shape(group.shape),
        group.dtype,
        f"×{group.count:,}" if group.count > 1 else "",
        figures.short(group.parameters),
        figures.size(group.nbytes),
    )


def _files(report: Inspection, wish: Wish) -> Iterator[Block]:
    if len(report.files) < 2 or report.by == "file" or report.parts:
        return
    columns = [Column("file", style="name"), Column("tensors", RIGHT), Column("size", RIGHT)]

    def row(entry: FileEntry) -> Sequence[Cell]:
        return _inside(entry.path, report), figures.exact(entry.tensors), figures.size(entry.size)

    yield listed(columns, report.files, row, _limit(wish, _FILES))


def _metadata(report: Inspection, wish: Wish) -> Iterator[Block]:
    yield from _if_any(values.table(report.metadata, _limit(wish, _METADATA)))


def _tied(report: Inspection, wish: Wish) -> Iterator[Block]:
    columns = [Column("tied (one memory, several names)")]
    limit = _limit(wish, _TIED)
    yield from _if_any(listed(columns, report.tied, lambda names: (_chain(names),), limit))


def _findings(report: Inspection, wish: Wish) -> Iterator[Block]:
    yield from findings.to_blocks(report.findings, wish)


def _tensors(report: Inspection, wish: Wish) -> Iterator[Block]:
    yield from listing.to_blocks(report.rows or (), wish)


def _explained(report: Inspection, wish: Wish) -> Iterator[Block]:
    for row in report.rows or ():
        if row.name == wish.pattern:
            yield from listing.explained(row)


def _chosen_metadata(report: Inspection, wish: Wish) -> Iterator[Block]:
    if wish.pattern in ("", "*"):
        yield from _if_any(values.table(report.metadata, wish.limit or 0))
    elif wish.pattern in report.metadata:
        yield from values.whole(report.metadata[wish.pattern])


_Section = Callable[[Inspection, Wish], Iterator[Block]]
_SECTIONS: list[_Section] = [
    _head,
    _shares,
    _parts,
    _sets,
    _groups,
    _files,
    _metadata,
    _tied,
    _findings,
]
_CHOICES: dict[str, _Section] = {
    "tensors": _tensors,
    "metadata": _chosen_metadata,
    "explain": _explained,
}


def _metadata_wished(report: Inspection, wish: Wish) -> Mapping[str, Any]:
    if "metadata" in wish.show and wish.pattern in report.metadata:
        return {wish.pattern: report.metadata[wish.pattern]}
    return report.metadata


def _limit(wish: Wish, default: int) -> int:
    return default if wish.limit is None else wish.limit


def _if_any(table: Table) -> Iterator[Block]:
    if table.rows:
        yield table


def _chain(names: Sequence[str]) -> str:
    more = len(names) - _TIED
    return " = ".join(names[:_TIED]) + (f" = … {more:,} more" if more > 0 else "")


def _one(texts: Iterable[str]) -> str:
    distinct = {*texts}
    return distinct.pop() if len(distinct) == 1 else ""


def _inside(path: str, report: Inspection) -> str:
    """The path of one of the files, from the folder that was named."""
    return path.removeprefix(report.path.rstrip("/") + "/").removeprefix("./")


def _base(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1] or path
