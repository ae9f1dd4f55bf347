"""The view of ``weightkit id``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import Block, Cell, Column, Facts, Table, Text, Title, Wish
from weightkit.render.json import plain
from weightkit.reports import ContentId


def to_json(report: ContentId, wish: Wish) -> dict[str, Any]:
    """All fields; ``digests`` only when the tensors are asked for."""
    found: dict[str, Any] = plain(report)
    found["aliases"] = dict(report.aliases)
    if "tensors" not in wish.show:
        del found["digests"]
    return found


def to_blocks(report: ContentId, wish: Wish) -> Iterator[Block]:
    """The id with the name of its algorithm, then what it is of."""
    yield Title(report.path, report.format)
    rows: list[tuple[str, Cell]] = [
        ("content id", Text(f"{report.algorithm}:{report.id}", "name")),
        ("tensors", f"{report.tensors:,}"),
        ("size", figures.size(report.nbytes)),
    ]
    if report.aliases:
        rows.append(("aliases", ", ".join(f"{alias} = {name}" for alias, name in report.aliases)))
    yield Facts(rows)
    if "tensors" in wish.show:
        columns = [Column("tensor", style="name"), Column("dtype"), Column("shape")]
        shown = [
            (item.name, item.dtype, figures.shape(item.shape), item.digest)
            for item in report.digests
        ]
        yield Table([*columns, Column("digest", style="quiet")], shown)
