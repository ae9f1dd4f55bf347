"""Names that other libraries give to the same things: original repositories, timm, Megatron, NeMo.

``original_names.tsv`` has a line ``model`` per family, then a line per kind of tensor: its name,
shape, type, and what it is. Shapes are small; their ranks are those of the real models.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import report, tensors


def families() -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for line in (Path(__file__).parent / "original_names.tsv").read_text().splitlines():
        cells = line.split("\t")
        if cells[0] == "model":
            rows = found[cells[1]] = []
        else:
            rows.append(cells)
    return found


FAMILIES = families()


@pytest.mark.parametrize("family", FAMILIES)
def test_names(family):
    rows = FAMILIES[family]
    found = report(tensors(*(f"{name} {shape} {dtype}" for name, shape, dtype, _, _ in rows)), {})
    got = {row.name: (row.component, row.kind) for row in found.rows}
    assert got == {name: (component, kind) for name, _, _, component, kind in rows}
