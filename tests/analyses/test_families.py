"""Whole models of further families: every tensor's class, and the counts that their owners give.

``families.tsv`` holds names and shapes from public configs, those that repeat over layers and
experts in one row. A row that starts with ``model`` gives config, total, active, bias and buffers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from checkpoints import names_of, report, tensors


class Row(NamedTuple):
    pattern: str
    dtype: str
    shape: str
    component: str
    kind: str
    role: str


def families() -> dict[str, tuple[list[str], list[Row]]]:
    found: dict[str, tuple[list[str], list[Row]]] = {}
    for line in (Path(__file__).parent / "families.tsv").read_text().splitlines():
        cells = line.split("\t")
        if cells[0] == "model":
            rows: list[Row] = []
            found[cells[1]] = (cells[2:], rows)
        else:
            rows.append(Row(*cells))
    return found


FAMILIES = families()


def described(name: str) -> Any:
    facts, rows = FAMILIES[name]
    found = tensors(*(f"{row.pattern} {row.shape} {row.dtype}" for row in rows))
    return report(found, json.loads(facts[0]) or None)


@pytest.mark.parametrize("name", FAMILIES)
def test_counts(name):
    found = described(name).parameters
    assert [found.total, found.active, found.bias, found.buffers] == [
        None if fact == "None" else int(fact) for fact in FAMILIES[name][0][1:]
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_tensor(name):
    found = {row.name: row for row in described(name).rows}
    for row in FAMILIES[name][1]:
        for tensor in names_of(row.pattern):
            got = found[tensor]
            assert (tensor, got.component, got.kind, got.expert_role or "-") == (
                tensor,
                row.component,
                row.kind,
                row.role,
            )


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_found_amiss(name):
    assert described(name).findings == ()
