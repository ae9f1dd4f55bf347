"""Blocks as plain text: no colours, no lines, nothing that a pipe or ``grep`` would mind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import Block, Cell, Drawn, Facts, Lines, Table, Title, text_of
from weightkit.render.layout import (
    GAP,
    Placed,
    cells,
    clean,
    cleaned,
    fold,
    hidden,
    pad,
    place,
    unfolded,
)
from weightkit.render.surface import Surface, to_encoding


def render(blocks: Iterable[Block], surface: Surface) -> str:
    """``blocks`` as text, an empty line between them, ending in a newline."""
    texts = ["\n".join(_SETTERS[type(block)](block, surface)) for block in blocks]
    text = "\n\n".join(text for text in texts if text)
    return to_encoding(text + "\n" if text else "", surface)


def table_lines(table: Table, surface: Surface) -> Iterator[str]:
    """The lines of a table: titles, rows, and what was left out."""
    if surface.width is None:
        yield from _unfolded_lines(table)
        return
    table = cleaned(table)
    shown = place(table, surface.width, bars=surface.terminal)
    if not shown:
        return
    if any(placed.column.title for placed in shown):
        yield _row([placed.column.title for placed in shown], shown)
    for row in table.rows:
        yield from _row_lines([row[placed.at] for placed in shown], shown)
    if note := hidden(table, shown, bars=surface.terminal):
        yield from _folded(note, surface)


def _unfolded_lines(table: Table) -> Iterator[str]:
    lines = map((" " * GAP).join, zip(*unfolded(table), strict=True))
    if not any(column.title for column in table.columns):
        next(lines, None)
    for line in lines:
        yield line.rstrip()


def _title(block: Title, surface: Surface) -> Iterator[str]:
    text = clean(block.text)
    yield from _folded(f"{text}   {clean(block.note)}" if block.note else text, surface)


def _facts(block: Facts, surface: Surface) -> Iterator[str]:
    if block.title:
        yield clean(block.title)
    rows = [(clean(label), clean(value)) for label, value in block.rows]
    indent = max((cells(label) for label, _ in rows), default=0) + GAP
    for label, value in rows:
        first, *rest = _folded(value, surface, indent)
        yield pad(label, indent, "left") + first
        yield from (" " * indent + line for line in rest)


def _table(block: Table, surface: Surface) -> Iterator[str]:
    if block.title:
        yield clean(block.title)
    yield from table_lines(block, surface)
    if block.more:
        yield clean(block.more)


def _lines(block: Lines, surface: Surface) -> Iterator[str]:
    if block.title:
        yield clean(block.title)
    for line in block.lines:
        yield from [clean(line)] if block.verbatim else _folded(clean(line), surface)


_SETTERS: dict[type, Callable[[Any, Surface], Iterator[str]]] = {
    Title: _title,
    Facts: _facts,
    Table: _table,
    Lines: _lines,
}


def _folded(text: str, surface: Surface, indent: int = 0) -> list[str]:
    return fold(text, surface.width - indent) if surface.width else [text]


def _row_lines(row: Sequence[Cell], shown: Sequence[Placed]) -> Iterator[str]:
    drawn = [_drawn(cell, placed.width) for cell, placed in zip(row, shown, strict=True)]
    folded = [fold(text, placed.width) for text, placed in zip(drawn, shown, strict=True)]
    for line in zip_longest(*folded, fillvalue=""):
        yield _row(line, shown)


def _row(texts: Sequence[str], shown: Sequence[Placed]) -> str:
    padded = (
        pad(text, placed.width, placed.column.align)
        for text, placed in zip(texts, shown, strict=True)
    )
    return (" " * GAP).join(padded).rstrip()


def _drawn(cell: Cell, width: int) -> str:
    return figures.drawn(cell, width) if isinstance(cell, Drawn) else text_of(cell)
