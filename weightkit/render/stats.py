"""The view of ``weightkit stats``: what the values are like."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weightkit.render import figures, listing
from weightkit.render.blocks import (
    RIGHT,
    Bar,
    Block,
    Cell,
    Column,
    Facts,
    Spark,
    Table,
    Text,
    Title,
    Wish,
    joined,
    listed,
)
from weightkit.render.json import plain
from weightkit.statistics import (
    ComponentStatistics,
    Duplicates,
    Numbers,
    Statistics,
    TensorStatistics,
)

SORTS = ("file", "name", "size", "dtype", "absmax", "std", "zeros", "nan", "inf")
"""``--sort``; ``file`` is the order of the file, figures come from the biggest."""

_TENSORS, _COPIES, _OCTAVES = 20, 10, 16
"""How many rows of each section the default view shows."""


def to_json(report: Statistics, wish: Wish) -> dict[str, Any]:
    """All fields; the tensors in the order and as many as wished."""
    rows = _ordered(report.tensors, wish.sort)
    return {
        "path": report.path,
        "format": report.format,
        "tensor_count": len({row.name for row in report.tensors}),
        "total": {**_numbers(report.total), "dead_rows": report.dead_rows},
        "flags": [*report.flags],
        "components": [
            {"component": row.component, "tensors": row.tensors, **_numbers(row.numbers)}
            for row in report.components
        ],
        "tensors": [_tensor(row) for row in rows[: wish.limit or None]],
        "duplicates": [
            {"digest": group.digest, "bytes": group.nbytes, "tensors": [*group.names]}
            for group in report.duplicates
        ],
    }


def _tensor(row: TensorStatistics) -> dict[str, Any]:
    return {
        "name": row.name,
        "part": row.part or None,
        "component": row.component,
        "dtype": row.dtype,
        "shape": [*row.shape],
        "bytes": row.nbytes,
        **_numbers(row.numbers),
        "dead_rows": row.dead_rows,
        "flags": [*row.flags],
        "unread": row.unread or None,
    }


def _numbers(numbers: Numbers) -> dict[str, Any]:
    found: dict[str, Any] = plain({**numbers._asdict(), "histogram": None, "magnitudes": None})
    histogram, magnitudes = numbers.histogram, numbers.magnitudes
    found["histogram"] = {
        "start": histogram.first * histogram.width,
        "width": histogram.width,
        "counts": [*histogram.counts],
    }
    found["magnitudes"] = {"first": magnitudes.first, "counts": [*magnitudes.counts]}
    return found


# For people


def to_blocks(report: Statistics, wish: Wish) -> Iterator[Block]:
    """The whole, its components, the tensors; of a single tensor its histogram."""
    yield Title(report.path, report.format)
    yield Facts([fact for fact in _facts(report) if fact[1]])
    yield from _octaves(report.total)
    if len(report.tensors) == 1:
        yield from _values(report.total)
    elif "tensors" not in wish.show:
        yield Table(_columns("component", Column("tensors", RIGHT)), _components(report.components))
    rows = _ordered(report.tensors, wish.sort)
    own = 0 if "tensors" in wish.show else _TENSORS
    limit = own if wish.limit is None else wish.limit
    columns = [*_columns("tensor", Column("dtype", style="quiet", drop=5)), Column("")]
    yield listed(columns, rows, _row, limit)
    yield from _copies(report.duplicates, wish)


def _facts(report: Statistics) -> Iterator[tuple[str, Cell]]:
    total = report.total
    yield "elements", figures.count(total.elements)
    yield "range", f"{figures.real(total.min)} to {figures.real(total.max)}"
    yield "mean", f"{figures.real(total.mean)}, standard deviation {figures.real(total.std)}"
    for label, count, style in [
        ("zeros", total.zeros, ""),
        ("NaN", total.nan, "danger"),
        ("infinite", total.inf, "danger"),
        ("beyond FP16", total.beyond_fp16, "warning"),
        ("subnormal", total.subnormal, ""),
        ("dead rows", report.dead_rows, "warning"),
    ]:
        share = figures.share(count, total.elements) if label != "dead rows" else ""
        yield label, Text(joined([figures.exact(count), share]), style) if count else ""
    yield "unread", figures.exact(unread) if (unread := _unread(report)) else ""


def _unread(report: Statistics) -> int:
    return sum(bool(row.unread) for row in report.tensors)


def _octaves(numbers: Numbers) -> Iterator[Block]:
    """How large the numbers are, by powers of two from the largest down."""
    first, counts = numbers.magnitudes
    there = [(at, count) for at, count in enumerate(counts, first) if count][::-1]
    rows = [(f"from 2^{at}", count) for at, count in there[:_OCTAVES]]
    if len(there) > _OCTAVES:
        rest = sum(count for _, count in there[_OCTAVES:])
        rows.append((f"under 2^{there[_OCTAVES - 1][0]}", rest))
    rows += [("zero", numbers.zeros)] if numbers.zeros else []
    yield from _bars("magnitude", rows)


def _values(numbers: Numbers) -> Iterator[Block]:
    """The histogram of a single tensor."""
    width, first, counts = numbers.histogram
    rows = [(f"{figures.real(at * width)}", count) for at, count in enumerate(counts, first)]
    if width:
        yield from _bars("from", rows)


def _bars(label: str, rows: Sequence[tuple[str, int]]) -> Iterator[Block]:
    most, total = max((count for _, count in rows), default=0), sum(count for _, count in rows)
    if most:
        columns = [Column(label, RIGHT), Column("elements", RIGHT), Column("share", RIGHT)]
        yield Table(
            [*columns, Column("")],
            [
                (name, figures.exact(count), figures.share(count, total), Bar(count / most))
                for name, count in rows
            ],
        )


def _columns(what: str, second: Column) -> list[Column]:
    return [
        Column(what, style="name"),
        second,
        Column("elements", RIGHT, drop=4),
        Column("min", RIGHT, drop=1),
        Column("max", RIGHT, drop=1),
        Column("mean", RIGHT, drop=6),
        Column("std", RIGHT, drop=2),
        Column("zeros", RIGHT, drop=3),
        Column("histogram", drop=7),
    ]


def _figures(numbers: Numbers) -> list[Cell]:
    return [
        figures.exact(numbers.elements),
        figures.real(numbers.min),
        figures.real(numbers.max),
        figures.real(numbers.mean),
        figures.real(numbers.std),
        figures.share(numbers.zeros, numbers.elements) if numbers.zeros else "",
        Spark(numbers.histogram.counts),
    ]


def _components(rows: Sequence[ComponentStatistics]) -> list[list[Cell]]:
    return [[row.component, figures.exact(row.tensors), *_figures(row.numbers)] for row in rows]


def _row(row: TensorStatistics) -> list[Cell]:
    name = f"{row.name} ({row.part})" if row.part else row.name
    if row.unread:
        blank: list[Cell] = [figures.exact(math.prod(row.shape)), *["–"] * 4, "", Spark(())]
        return [name, row.dtype, *blank, Text(f"unread: {row.unread}", "danger")]
    return [name, row.dtype, *_figures(row.numbers), Text(_remark(row), "warning")]


def _remark(row: TensorStatistics) -> str:
    numbers = row.numbers
    one = "all zero" if "zero" in row.flags else "constant" if "constant" in row.flags else ""
    dead = figures.plural(row.dead_rows, "dead row") if row.dead_rows and not one else ""
    return joined(
        [
            f"{numbers.nan:,} NaN" if numbers.nan else "",
            f"{numbers.inf:,} infinite" if numbers.inf else "",
            f"{numbers.beyond_fp16:,} beyond FP16" if numbers.beyond_fp16 else "",
            one,
            dead,
            "has copies" if "duplicate" in row.flags else "",
        ]
    )


def _copies(groups: Sequence[Duplicates], wish: Wish) -> Iterator[Block]:
    if not groups:
        return
    columns = [Column("each", RIGHT), Column("the same tensors", style="name")]
    limit = _COPIES if wish.limit is None else wish.limit
    yield listed(
        columns, groups, lambda group: (figures.size(group.nbytes), _some(group.names)), limit
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _ordered(rows: Sequence[TensorStatistics], sort: str) -> list[TensorStatistics]:
    key = _FIGURES.get(sort)
    return sorted(rows, key=key) if key else listing.ordered([*rows], sort)


_FIGURES: dict[str, Callable[[TensorStatistics], float]] = {
    "absmax": lambda row: -(row.numbers.absmax or 0),
    "std": lambda row: -(row.numbers.std or 0),
    "zeros": lambda row: -row.numbers.zeros,
    "nan": lambda row: -row.numbers.nan,
    "inf": lambda row: -row.numbers.inf,
}
