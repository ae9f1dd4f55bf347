"""Blocks for a terminal, through rich: the same layout as ``plain``, with colours.

rich is imported here and nowhere else, inside the functions, since it takes 100 ms. Text is given
to it as ``Text`` objects, so nothing in a file can act as its markup.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from weightkit.render import figures, plain
from weightkit.render.blocks import Block, Cell, Column, Drawn, Facts, Lines, Table, Text, Title
from weightkit.render.layout import GAP, Placed, cells, clean, cleaned, hidden, place
from weightkit.render.surface import Surface, to_encoding

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, RenderableType

_COLORS = {
    "": "",
    "title": "bold",
    "name": "cyan",
    "number": "",
    "quiet": "bright_black",
    "bar": "blue",
    "note": "blue",
    "warning": "yellow",
    "danger": "bold red",
}

# rich needs about 0.2 ms for a row; past this many the plain setter takes over, uncoloured.
_MANY_ROWS = 2_000


def render(blocks: Iterable[Block], surface: Surface) -> str:
    """``blocks`` as text with the escape sequences that ``surface`` allows."""
    console = _console(surface)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        for part in _SETTERS[type(block)](block, surface):
            _print(console, part)
    assert isinstance(console.file, io.StringIO)
    text = "\n".join(line.rstrip() for line in console.file.getvalue().split("\n"))
    return to_encoding(text, surface)


def _print(console: Console, part: RenderableType) -> None:
    if isinstance(part, str):  # set already: no business of rich
        console.file.write(f"{part}\n")
    else:
        console.print(part)


def _console(surface: Surface) -> Console:
    from rich.console import Console

    return Console(
        file=io.StringIO(),
        width=surface.width or 100,
        force_terminal=surface.color,
        no_color=not surface.color,
        color_system="auto" if surface.color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _title(block: Title, surface: Surface) -> Iterator[RenderableType]:
    from rich.text import Text as RichText

    text = RichText(clean(block.text), style=_COLORS["title"])
    if block.note:
        text.append(f"   {clean(block.note)}", style=f"not bold {_COLORS['quiet']}")
    yield text


def _facts(block: Facts, surface: Surface) -> Iterator[RenderableType]:
    grid = _grid()
    labels = max((cells(clean(label)) for label, _ in block.rows), default=0)
    grid.add_column(style=_COLORS["quiet"], width=labels)
    grid.add_column(overflow="fold")
    for label, value in block.rows:
        grid.add_row(_text(label), _text(value))
    yield from _heading(block.title)
    yield grid


def _table(block: Table, surface: Surface) -> Iterator[RenderableType]:
    yield from _heading(block.title)
    if len(block.rows) > _MANY_ROWS:
        yield from plain.table_lines(block, surface)
    else:
        yield from _colored_table(block, surface)
    if block.more:
        yield _text(Text(block.more, "quiet"))


def _colored_table(block: Table, surface: Surface) -> Iterator[RenderableType]:
    """The table, and below it which columns had no room."""
    block = cleaned(block)
    shown = place(block, surface.width or 100, bars=True)
    grid = _grid()
    grid.show_header = any(placed.column.title for placed in shown)
    for placed in shown:
        _add_column(grid, placed.column, placed.width)
    for row in block.rows:
        grid.add_row(*(_drawn(row[placed.at], placed) for placed in shown))
    yield grid
    if note := hidden(block, shown, bars=True):
        yield _text(Text(note, "quiet"))


def _add_column(grid: rich.table.Table, column: Column, width: int) -> None:
    grid.add_column(
        _text(column.title),
        header_style=f"not bold {_COLORS['quiet']}",
        justify="right" if column.align == "right" else "left",
        style=_COLORS[column.style],
        width=width,
        overflow="fold",
    )


def _lines(block: Lines, surface: Surface) -> Iterator[RenderableType]:
    yield from _heading(block.title)
    yield from (clean(line) if block.verbatim else _text(line) for line in block.lines)


_SETTERS: dict[type, Callable[..., Iterator[RenderableType]]] = {
    Title: _title,
    Facts: _facts,
    Table: _table,
    Lines: _lines,
}


def _heading(title: str) -> Iterator[RenderableType]:
    if title:
        yield _text(Text(title, "quiet"))


def _grid() -> rich.table.Table:
    from rich.table import Table as RichTable

    return RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)


def _drawn(cell: Cell, placed: Placed) -> RenderableType:
    if isinstance(cell, Drawn):
        return _text(Text(figures.drawn(cell, placed.width), "bar"))
    return _text(cell)


def _text(cell: Cell) -> RenderableType:
    from rich.text import Text as RichText

    style = cell.style if isinstance(cell, Text) else ""
    return RichText(clean(cell), style=_COLORS[style], overflow="fold")
