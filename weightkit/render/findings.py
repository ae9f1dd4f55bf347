"""Findings for people: the gravest first, each with its place and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from weightkit.findings import SEVERITIES, Finding
from weightkit.render import figures
from weightkit.render.blocks import Block, Cell, Column, Table, Text, Wish

_EACH, _NAMED = 3, 3
"""So many alike findings are told one by one; of more, the first, and so many names of the rest."""


def to_blocks(found: Iterable[Finding], wish: Wish) -> Iterator[Block]:
    """A table of ``found``; nothing when there is none."""
    rows: list[Sequence[Cell]] = []
    for finding, alike in ranked(found):
        code = Text(finding.code, "quiet")
        rows.append((Text(finding.severity, finding.severity), code, message(finding)))
        if alike:
            rows.append(("", "", alike))
    if rows:
        yield Table([Column("finding"), Column(""), Column("")], rows)


def ranked(found: Iterable[Finding]) -> Iterator[tuple[Finding, str]]:
    """The gravest first; with the first of many that say the same of other tensors, a line about
    the rest, which are left out. (The tensors beyond the end of a file that was cut.)
    """
    groups: dict[object, list[Finding]] = {}
    for at, finding in enumerate(found):
        about = (finding.severity, finding.code, finding.path, finding.entry)
        groups.setdefault(about if finding.tensor else at, []).append(finding)
    told = [pair for group in groups.values() for pair in _folded(group)]
    yield from sorted(told, key=lambda pair: -SEVERITIES.index(pair[0].severity))


def message(finding: Finding, in_file: bool = False) -> str:
    """What was found and where, in one line; ``in_file`` where it is clear in which."""
    text = finding.message
    if finding.tensor and repr(finding.tensor) not in text:
        text += f" (tensor {finding.tensor})"
    path = "" if in_file else finding.path.rsplit("/", 1)[-1]
    where = figures.place(path, finding.offset, finding.entry)
    return f"{text}  {where}" if where else text


def _folded(group: Sequence[Finding]) -> list[tuple[Finding, str]]:
    if len(group) > _EACH:
        return [(group[0], _rest(group[1:]))]
    return [(finding, "") for finding in group]


def _rest(alike: Sequence[Finding]) -> str:
    names = ", ".join(finding.tensor for finding in alike[:_NAMED])
    more = ", …" if len(alike) > _NAMED else ""
    return f"and {len(alike):,} more alike: {names}{more}"
