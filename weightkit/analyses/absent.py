"""Shards that an index beside them names, and that are not there to be scanned."""

from __future__ import annotations

import os
import re
from typing import Any

from weightkit.errors import FormatError
from weightkit.findings import Finding
from weightkit.opening.folders import WEIGHTS, read_folder
from weightkit.opening.shards import ShardIndex
from weightkit.rules import finding

NAMED = 3
"""Shards that a finding names."""


def absent_shards(path: str) -> tuple[Finding, ...]:
    """A finding where the index at ``path`` names files that its folder does not hold.

    Where none of them is there, but other weights are, those of another format were fetched: then
    it is a note. Nothing for a file that is no index of shards.
    """
    try:
        named = ShardIndex(path).files
    except FormatError:  # judged as the text that it is
        return ()
    folder = read_folder(os.path.dirname(path) or ".")
    names = {*folder.files}
    gone = [name for name in named if name not in names and not _is_below(folder.path, name)]
    if not gone:
        return ()
    where: dict[str, Any] = {"path": path}
    if len(gone) == len(named) and any(name.lower().endswith(WEIGHTS) for name in names):
        where |= {"severity": "note"}
    return (finding("WK611", _message(gone, len(named)), **where),)


def _is_below(folder: str, name: str) -> bool:
    """Whether ``name`` leads to a file in a folder of ``folder``; elsewhere nobody looks."""
    parts = re.split(r"[\\/]", name)
    inside = len(parts) > 1 and ".." not in parts and not os.path.isabs(name)
    return inside and os.path.exists(os.path.join(folder, name))


def _message(gone: list[str], count: int) -> str:
    if len(gone) == 1:
        return f"shard {gone[0]} is not here"
    more = ", …" if len(gone) > NAMED else ""
    return f"{len(gone)} of {count} shards are not here: {', '.join(gone[:NAMED])}{more}"
