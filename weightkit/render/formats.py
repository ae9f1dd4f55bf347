"""The view of ``weightkit formats``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weightkit.render.blocks import Block, Cell, Column, Lines, Table, Wish
from weightkit.render.json import plain
from weightkit.reports import FormatNote


def to_json(report: Sequence[FormatNote], wish: Wish) -> dict[str, Any]:
    """``formats``: a list of them."""
    return {"formats": plain(report)}


def to_blocks(report: Sequence[FormatNote], wish: Wish) -> Iterator[Block]:
    """A line per format that is read, then the names of those that are only recognised."""
    rows: list[Sequence[Cell]] = [
        (note.name, able(note), " ".join(note.suffixes), note.what)
        for note in report
        if note.reads or note.writes
    ]
    columns = [Column("format", style="name"), Column("can"), Column("suffixes", drop=1)]
    yield Table([*columns, Column("what")], rows)
    foreign = [note.name for note in report if not (note.reads or note.writes)]
    if foreign:
        yield Lines([", ".join(foreign)], title="recognised by content, but not read")


def able(note: FormatNote) -> str:
    """``read`` or ``read, write``."""
    deeds = [name for name, can in [("read", note.reads), ("write", note.writes)] if can]
    return ", ".join(deeds)
