"""Hostile and damaged files as a side of a diff: a typed error or a report, in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import hostile
from weightkit.analyses import diffs
from weightkit.analyses.lines import lines_of
from weightkit.opening import open_checkpoint
from weightkit.render import diff as view
from weightkit.render.blocks import Wish
from weightkit.render.json import text
from weightkit.render.plain import render
from weightkit.render.surface import Surface

MODELS = [path for path in hostile.seeds() if path.suffix != ".json"]


def against(other: Path) -> Callable[[Path], Any]:
    """Compare a file with another, both ways, and show what comes of it."""

    def look(path: Path) -> None:
        with open_checkpoint(path) as a, open_checkpoint(other) as b:
            for one, two, compared in ((a, b, "headers"), (a, b, "values"), (b, a, "content")):
                report = diffs.diff(one, two, compared)
                render(view.to_blocks(report, Wish(show=frozenset(["tensors"]))), Surface())
                text(view.to_json(report, Wish()))

    return look


@pytest.mark.parametrize("path", MODELS, ids=lambda path: str(path.relative_to(hostile.FIXTURES)))
def test_flipped_bytes(path: Path, tmp_path: Path) -> None:
    part = tmp_path / path.name
    wrong = []
    for number, content in enumerate(hostile.flips(path.read_bytes(), 40, seed=5)):
        part.write_bytes(content)
        for look in (against(path), lambda path: lines_of(str(path))):
            verdict = hostile.judge(part, look)
            if verdict.crashed:
                wrong.append((number, verdict))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("row", hostile.HOSTILE, ids=lambda row: row.name)
def test_hostile_files(row: hostile.Hostile, tmp_path: Path) -> None:
    path = tmp_path / row.name
    row.build(path)
    verdict = hostile.judge(path, against(hostile.FIXTURES / "llama"))
    path.unlink()
    assert not verdict.crashed, verdict
