"""The view of ``weightkit rules``: the table of findings' codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weightkit.render.blocks import Block, Cell, Column, Facts, Table, Text, Title, Wish
from weightkit.render.json import plain
from weightkit.rules.rule import Rule


def to_json(report: Sequence[Rule], wish: Wish) -> dict[str, Any]:
    """``rules``: a list of them."""
    return {"rules": plain(report)}


def to_blocks(report: Sequence[Rule], wish: Wish) -> Iterator[Block]:
    """A line per rule; with ``full`` in ``wish.show`` all that there is to say."""
    if "full" in wish.show:
        for rule in report:
            yield Title(f"{rule.code} {rule.name}", _severity(rule))
            yield Facts([("what", rule.what), ("why", rule.why), ("remedy", rule.remedy)])
        return
    rows: list[Sequence[Cell]] = [
        (rule.code, rule.name, Text(rule.severity, rule.severity), rule.what) for rule in report
    ]
    columns = [Column("code", style="name"), Column("name", drop=1), Column("severity")]
    yield Table([*columns, Column("what")], rows)


def _severity(rule: Rule) -> str:
    return f"{rule.severity}, fatal" if rule.fatal else rule.severity
