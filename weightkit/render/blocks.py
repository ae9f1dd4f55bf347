"""What a view says, before anyone decides how it looks: headings, facts, tables, notes.

Cells are text with a style *name*; ``table`` maps names to colours, ``plain`` ignores them. Text
that came from a file is made fit for a terminal by the setters, so views need not remember to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

LEFT, RIGHT = "left", "right"
STYLES = ("", "title", "name", "number", "quiet", "note", "warning", "danger")


class Text(NamedTuple):
    """A run of text with the name of its style."""

    text: str
    style: str = ""


class Bar(NamedTuple):
    """A share between 0 and 1, drawn as wide as there is room, and not at all without a terminal."""

    fraction: float


class Spark(NamedTuple):
    """A histogram as a row of small bars, as many as there is room for; as for Bar, on terminals."""

    counts: Sequence[int]


Drawn = Bar | Spark
Cell = str | Text | Drawn


class Column(NamedTuple):
    """A table column. Where the terminal is too narrow, the highest ``drop`` goes first; 0 stays."""

    title: str
    align: str = LEFT
    style: str = ""
    drop: int = 0


class Title(NamedTuple):
    """The head of a report: what it is about, and a few words beside it."""

    text: str
    note: str = ""


class Facts(NamedTuple):
    """Labelled values, one per line."""

    rows: Sequence[tuple[str, Cell]]
    title: str = ""


class Table(NamedTuple):
    """Rows under column titles. ``more`` is a line below that says what was left out."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    more: str = ""


class Lines(NamedTuple):
    """Free lines, each folded to the width; ``verbatim`` ones are only made safe."""

    lines: Sequence[Cell]
    title: str = ""
    verbatim: bool = False


Block = Title | Facts | Table | Lines


class Wish(NamedTuple):
    """What the reader asked to see of a report. ``limit`` None is the view's own idea, 0 all."""

    limit: int | None = None
    sort: str = ""
    show: frozenset[str] = frozenset()
    """Names of extra or chosen sections; each view says which it knows."""
    pattern: str = ""


def more_line(have: int, limit: int) -> str:
    """The line that owns up to what a list of ``limit`` rows (0: all) leaves out."""
    return f"… {have - limit:,} more (--limit 0 shows all)" if limit and have > limit else ""


def listed(
    columns: Sequence[Column],
    items: Sequence[T],
    row: Callable[[T], Sequence[Cell]],
    limit: int = 0,
    title: str = "",
) -> Table:
    """A table with a ``row`` for each of the first ``limit`` items (0: all); only those are made."""
    shown = items[:limit] if limit else items
    return Table(columns, [*map(row, shown)], title, more_line(len(items), limit))


def text_of(cell: Cell) -> str:
    """The text of a cell; what is drawn has none."""
    if isinstance(cell, str):
        return cell
    return cell.text if isinstance(cell, Text) else ""


def style_of(cell: Cell) -> str:
    """The style name of a cell, "" if it has none of its own."""
    return cell.style if isinstance(cell, Text) else ""


def joined(parts: Iterable[str]) -> str:
    """The non-empty parts with a middle dot between them."""
    return " · ".join(part for part in parts if part)
