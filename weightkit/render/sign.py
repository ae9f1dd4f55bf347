"""The view of ``weightkit sign``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import Block, Facts, Title, Wish
from weightkit.reports import Signing


def to_json(report: Signing, wish: Wish) -> dict[str, Any]:
    """All fields."""
    return report._asdict()


def to_blocks(report: Signing, wish: Wish) -> Iterator[Block]:
    """What was signed, and where the signature is."""
    yield Title(report.path, "signed")
    yield Facts(
        [
            ("signature", report.signature),
            ("by", report.method),
            ("covers", figures.plural(report.files, "file")),
        ]
    )
