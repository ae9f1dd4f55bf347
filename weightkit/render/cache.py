"""The view of ``weightkit cache``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import Block, Facts, Wish
from weightkit.render.json import plain
from weightkit.reports import CacheReport


def to_json(report: CacheReport, wish: Wish) -> dict[str, Any]:
    """Path, files, digests and bytes."""
    found: dict[str, Any] = plain(report)
    return found


def to_blocks(report: CacheReport, wish: Wish) -> Iterator[Block]:
    """The same, a line each."""
    size = figures.full_size(report.nbytes)
    rows = [("cache", report.path), ("files", f"{report.files:,}")]
    yield Facts([*rows, ("digests", f"{report.digests:,}"), ("size", size)])
