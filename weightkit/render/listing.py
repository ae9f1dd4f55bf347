"""Rows of tensors: chosen, sorted, listed, or one of them explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import (
    RIGHT,
    Block,
    Cell,
    Column,
    Facts,
    Title,
    Wish,
    joined,
    listed,
)
from weightkit.reports import TensorRow
from weightkit.text import natural

SORTS = ("file", "name", "size", "parameters", "dtype")
"""``--sort``; ``file`` is the order of the file."""


def chosen(rows: Iterable[TensorRow], wish: Wish) -> list[TensorRow]:
    """The rows whose name matches ``wish.pattern`` (a glob, "" for all), sorted as wished."""
    picked = [*rows] if wish.pattern in ("", "*") else _matching(rows, wish.pattern)
    return ordered(picked, wish.sort)


def ordered(rows: list[Any], sort: str) -> list[Any]:
    """Rows of any kind by ``sort``: numbers from the biggest, names in natural order."""
    if sort == "size":
        return sorted(rows, key=lambda row: -row.nbytes)
    if sort == "parameters":
        return sorted(rows, key=lambda row: -(row.parameters or 0))
    if sort == "dtype":
        return sorted(rows, key=lambda row: getattr(row, "dtype", ""))
    return sorted(rows, key=_natural) if sort == "name" else rows


def to_blocks(rows: Iterable[TensorRow], wish: Wish) -> Iterator[Block]:
    """A line per chosen tensor, up to ``wish.limit``."""
    tensors = chosen(rows, wish)
    several = len({tensor.file for tensor in tensors}) > 1
    columns = [
        Column("tensor", style="name"),
        Column("shape"),
        Column("dtype", style="quiet"),
        Column("parameters", RIGHT, drop=3),
        Column("size", RIGHT, drop=2),
        Column("component", drop=1),
        Column("offset", RIGHT, drop=5),
        Column("file" if several else "", drop=6),
        Column("remark", style="quiet", drop=4),
    ]
    if tensors:
        yield listed(columns, tensors, lambda tensor: _row(tensor, several), wish.limit or 0)


def explained(row: TensorRow) -> Iterator[Block]:
    """Everything known of one tensor."""
    yield Title(row.name)
    facts: list[tuple[str, Cell]] = [
        ("dtype", row.dtype),
        ("shape", figures.shape(row.shape)),
        ("parameters", figures.count(row.parameters)),
        ("size", figures.full_size(row.nbytes)),
        ("file", figures.place(row.file, row.offset)),
        ("layout", "" if row.layout == "strided" else row.layout),
        ("component", row.component),
        ("because", row.rule),
        ("region", "" if row.region == "main" else row.region),
        ("layer", "" if row.layer is None else str(row.layer)),
        ("expert", joined(["" if row.expert is None else str(row.expert), row.expert_role])),
        ("kind", row.kind),
        ("tied to", row.tied_to),
    ]
    yield Facts([fact for fact in facts if fact[1]])


_shape = lru_cache(4096)(figures.shape)
_exact = lru_cache(4096)(figures.exact)
_size = lru_cache(4096)(figures.size)
"""Of the thousands of tensors in a list most are of a few dozen shapes."""


def _row(row: TensorRow, several: bool) -> Sequence[Cell]:
    return (
        row.name,
        _shape(row.shape),
        row.dtype,
        _exact(row.parameters),
        _size(row.nbytes),
        row.component,
        f"0x{row.offset:x}",
        row.file.rpartition("/")[2] if several else "",
        _remark(row),
    )


def _remark(row: TensorRow) -> str:
    layout = "" if row.layout == "strided" else row.layout
    kind = "" if row.kind in ("parameter", "bias") else row.kind
    if not (layout or kind or row.tied_to):
        return ""
    return joined([layout, kind, f"tied to {row.tied_to}" if row.tied_to else ""])


def _matching(rows: Iterable[TensorRow], pattern: str) -> list[TensorRow]:
    import re
    from fnmatch import translate

    matches = re.compile(translate(pattern)).match
    return [row for row in rows if matches(row.name)]


def _natural(row: Any) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10; rows of other kinds by their key, component or pattern."""
    names = (getattr(row, field, "") for field in ("name", "pattern", "key", "path"))
    return natural(next(filter(None, names), ""))
