"""Metadata values for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from weightkit.render.blocks import Block, Column, Lines, Table, listed
from weightkit.render.json import plain
from weightkit.tensors import ArrayRef

_ITEMS, _DEEPEST, _LONGEST, _KEPT = 8, 4, 100, 80


def brief(value: Any, depth: int = 0) -> str:
    """``value`` in one line: the first items of lists and objects, the beginning of long text."""
    if isinstance(value, ArrayRef):
        return f"{value.length:,} × {value.kind}"
    if isinstance(value, Mapping | list | tuple):
        return _brief_items(value, depth) if depth < _DEEPEST else "…"
    text = "null" if value is None else str(plain(value))
    return text if len(text) <= _LONGEST else f"{text[:_KEPT]}… ({len(text):,} characters)"


def table(metadata: Mapping[str, Any], limit: int) -> Table:
    """A line for each key, up to ``limit`` (0: all)."""
    columns = [Column("metadata", style="name"), Column("")]
    found = listed(columns, [*metadata], lambda key: (key, brief(metadata[key])), limit)
    return found._replace(more=found.more.replace("--limit 0", "--metadata"))


def whole(value: Any) -> Iterator[Block]:
    """All of one value: text line by line as it is, anything else as JSON."""
    if isinstance(value, str):
        yield Lines(value.split("\n"), verbatim=True)
    elif isinstance(value, ArrayRef):
        yield Lines([brief(value)])
    else:
        from weightkit.render.json import text

        yield Lines(text(plain(value)).rstrip("\n").split("\n"), verbatim=True)


def _brief_items(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        shown = [f"{key}: {brief(value[key], depth + 1)}" for key in islice(value, _ITEMS)]
        opening, closing = "{}"
    else:
        shown = [brief(item, depth + 1) for item in value[:_ITEMS]]
        opening, closing = "[]"
    if len(value) > _ITEMS:
        shown.append(f"… {len(value):,} in all")
    return opening + ", ".join(shown) + closing
