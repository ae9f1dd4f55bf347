"""``inspect`` says of a pickle that would do harm that it would, and of no other."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from weightkit.analyses.inspection import inspect
from weightkit.analyses.scanning import scan_file
from weightkit.opening import open_checkpoint

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


class Calls:
    """Pickles as a call, which nobody makes here: the file is only written."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def told(path: Path) -> list[str]:
    with open_checkpoint(path) as checkpoint:
        found = inspect(checkpoint)
    return [item.message for item in found.findings if item.code == "WK605"]


def test_a_call_beside_tensors(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"w": torch.ones(2), "x": Calls(os.system, "id")}, path)
    expected = [f"weightkit scan calls it unsafe: calls {os.system.__module__}.system (process)"]
    assert told(path) == expected
    with open_checkpoint(path) as checkpoint:
        assert [tensor.name for tensor in checkpoint.tensors] == ["w"]


def test_two_files_with_one_word_each(tmp_path: Path) -> None:
    for number in (1, 2):
        held = {f"w{number}": torch.ones(2), "x": Calls(builtins.eval, "1")}
        torch.save(held, tmp_path / f"pytorch_model-0000{number}-of-00002.bin")
    assert len(told(tmp_path)) == 2


@pytest.mark.parametrize(
    "path",
    sorted([*FIXTURES.glob("torch/*"), *FIXTURES.glob("numpy/*")]),
    ids=lambda path: path.name,
)
def test_nothing_of_others(path: Path) -> None:
    assert told(path) == []


def test_what_scan_leaves_for_review_is_not_called_unsafe() -> None:
    path = FIXTURES / "torch/whole_module.pt"
    assert scan_file(str(path)).verdict == "review"
    assert told(path) == []


def test_a_danger_that_is_named_and_not_called_is_left_to_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2), "x": eval}, path)
    assert bool(told(path)) == (scan_file(str(path)).verdict == "unsafe")
