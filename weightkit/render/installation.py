"""The view of ``weightkit doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weightkit.render.blocks import Block, Cell, Column, Facts, Lines, Table, Text, Title, Wish
from weightkit.render.json import record
from weightkit.reports import Installation, Requirement


def to_json(report: Installation, wish: Wish) -> dict[str, Any]:
    """The fields of the report."""
    return record(report)


def to_blocks(report: Installation, wish: Wish) -> Iterator[Block]:
    """Facts about the process, then a line per distribution."""
    yield Title(f"weightkit {report.version}")
    yield Facts(
        [
            ("python", f"{report.implementation} {report.python}"),
            ("executable", report.executable),
            ("platform", report.platform),
            ("cores", str(report.cores)),
            ("encoding", report.encoding),
            ("hub cache", report.hub_cache),
        ]
    )
    if not report.requirements:
        yield Lines(["Not installed, but run from its source tree: no list of what it needs."])
        return
    rows: list[Sequence[Cell]] = [_row(requirement) for requirement in report.requirements]
    yield Table([Column("distribution", style="name"), Column("version"), Column("")], rows)


def _row(requirement: Requirement) -> Sequence[Cell]:
    if requirement.version is not None:
        return requirement.name, requirement.version, ""
    if requirement.extra:
        hint = f"optional: pip install 'weightkit[{requirement.extra}]'"
        return requirement.name, Text("absent", "quiet"), Text(hint, "quiet")
    return requirement.name, Text("missing", "danger"), "needed: install weightkit again"
