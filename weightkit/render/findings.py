"""Findings for people: the gravest first, each with its place and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from weightkit.findings import SEVERITIES, Finding
from weightkit.render import figures
from weightkit.render.blocks import Block, Cell, Column, Table, Text, Wish


def to_blocks(found: Iterable[Finding], wish: Wish) -> Iterator[Block]:
    """A table of ``found``; nothing when there is none."""
    ranked = sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity))
    rows: list[Sequence[Cell]] = [
        (
            Text(finding.severity, finding.severity),
            Text(finding.code, "quiet"),
            message(finding),
        )
        for finding in ranked
    ]
    if rows:
        yield Table([Column("finding"), Column(""), Column("")], rows)


def message(finding: Finding) -> str:
    """What was found and where, in one line."""
    text = finding.message
    if finding.tensor and repr(finding.tensor) not in text:
        text += f" (tensor {finding.tensor})"
    where = figures.place(finding.path.rsplit("/", 1)[-1], finding.offset, finding.entry)
    return f"{text}  {where}" if where else text
