"""How wide each column of a table becomes, and where text is folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weightkit.render.blocks import RIGHT, Cell, Column, Drawn, Table, Text, text_of
from weightkit.text import safe_text

GAP = 2
_BAR_MIN, _BAR_MAX = 6, 24
_NARROWEST_FOLD = 12
_WIDEST_PADDED = 100
"""Without a width nothing is folded, and a longer cell sticks out instead of padding every row."""


class Placed(NamedTuple):
    """A column that is shown: its place in the table's rows and its width in cells."""

    at: int
    column: Column
    width: int
    bar: bool


def cleaned(table: Table) -> Table:
    """``table`` with every text safe for a terminal and in one line."""
    return table._replace(rows=[[_cleaned(cell) for cell in row] for row in table.rows])


def unfolded(table: Table) -> list[list[str]]:
    """The columns of ``table`` that have something in them, as padded texts under their titles.

    For output without a width. By column, because a listing may have a hundred thousand rows.
    """
    columns = ([row[at] for row in table.rows] for at in range(len(table.columns)))
    found = (_padded(*pair) for pair in zip(table.columns, columns, strict=True))
    return [texts for texts in found if texts]


def _padded(column: Column, here: list[Cell]) -> list[str]:
    kinds = {*map(type, here)}
    if any(issubclass(kind, Drawn) for kind in kinds):
        return []
    texts = [*map(str, here)] if kinds <= {str} else [*map(text_of, here)]
    whole = "".join(texts)
    if not whole:
        return []
    if not (whole.isascii() and whole.isprintable()):
        texts = [safe_text(text) for text in texts]
    texts.insert(0, column.title)
    if not whole.isascii():
        width = min(max(map(cells, texts)), _WIDEST_PADDED)
        return [pad(text, width, column.align) for text in texts]
    width = min(max(map(len, texts)), _WIDEST_PADDED)
    if column.align == RIGHT:
        return [text.rjust(width) for text in texts]
    return [text.ljust(width) for text in texts]


def place(table: Table, width: int, bars: bool) -> list[Placed]:
    """The columns of a cleaned ``table`` that fit in ``width`` cells.

    Too wide a table first loses its droppable columns, then folds its widest column. Bars take
    what is left over, and are not drawn at all without ``bars``.
    """
    shown = _filled(table, bars)
    while _total(shown) > width and any(placed.column.drop for placed in shown):
        shown.remove(max(shown, key=lambda placed: placed.column.drop))
    return _stretched(_folded(shown, width), width)


def hidden(table: Table, shown: Sequence[Placed], bars: bool) -> str:
    """The line that names the columns of ``table`` that ``place`` found no room for, or "".

    A column without a title only draws what another one says, and is not missed.
    """
    there = {placed.at for placed in shown}
    gone = (placed.column.title for placed in _filled(table, bars) if placed.at not in there)
    names = ", ".join(filter(None, gone))
    return f"hidden for width: {names} (--json has all)" if names else ""


def cells(text: str) -> int:
    """How many terminal cells ``text`` takes: two for wide East Asian characters, 0 for accents."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def fold(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` cells, broken after a space, dot, slash or dash if
    there is one in the second half of the line.
    """
    lines = []
    while cells(text) > width:
        end = _longest(text, width)
        if text[end] != " ":
            end = max(text.rfind(sign, end // 2, end) for sign in " ./-_,") + 1 or end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*lines, text]


def pad(text: str, width: int, align: str) -> str:
    """``text`` filled with spaces to ``width`` cells."""
    if text.isascii():
        return text.rjust(width) if align == RIGHT else text.ljust(width)
    space = " " * (width - cells(text))
    return space + text if align == RIGHT else text + space


def clean(cell: Cell) -> str:
    """The text of a cell, safe for a terminal and in one line."""
    return safe_text(text_of(cell))


def _cleaned(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return safe_text(cell)
    return cell._replace(text=safe_text(cell.text)) if isinstance(cell, Text) else cell


def _filled(table: Table, bars: bool) -> list[Placed]:
    """The columns that have something in them, at their natural widths."""
    columns = (_natural(table, at) for at in range(len(table.columns)))
    return [placed for placed in columns if placed.width and (bars or not placed.bar)]


def _natural(table: Table, at: int) -> Placed:
    column = table.columns[at]
    here = [row[at] for row in table.rows]
    bar = any(isinstance(cell, Drawn) for cell in here)
    widest = _BAR_MIN if bar else max((cells(text_of(cell)) for cell in here), default=0)
    return Placed(at, column, max(widest, cells(column.title)) if widest else 0, bar)


def _total(shown: Sequence[Placed]) -> int:
    return sum(placed.width for placed in shown) + GAP * (len(shown) - 1)


def _folded(shown: list[Placed], width: int) -> list[Placed]:
    """Take what is too much from the widest columns, down to a width that can be read."""
    while (excess := _total(shown) - width) > 0:
        wide = sorted((placed.width, place) for place, placed in enumerate(shown))
        (widest, at), following = wide[-1], wide[-2][0] if len(wide) > 1 else 0
        if widest <= _NARROWEST_FOLD:
            break
        narrower = max(widest - excess, min(following, widest - 1), _NARROWEST_FOLD)
        shown[at] = shown[at]._replace(width=narrower)
    return shown


def _stretched(shown: list[Placed], width: int) -> list[Placed]:
    spare = max(0, width - _total(shown))
    return [
        placed._replace(width=min(_BAR_MAX, placed.width + spare)) if placed.bar else placed
        for placed in shown
    ]


def _longest(text: str, width: int) -> int:
    end = used = 0
    while end < len(text):
        used += cells(text[end])
        if used > width:
            break
        end += 1
    return max(end, 1)
