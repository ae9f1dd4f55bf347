"""``weightkit stats``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
import torch

from tests.cli.test_commands import SCHEMAS, document, run
from weightkit.cli import stats as command
from weightkit.render import stats as view

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
LLAMA = str(FIXTURES / "llama")


@pytest.fixture
def odd(tmp_path: Path) -> str:
    tensors = {"good": torch.randn(8, 8), "bad": torch.tensor([1.0, math.nan, 1e30])}
    torch.save(tensors, tmp_path / "odd.pt")
    return str(tmp_path / "odd.pt")


def test_sorts_are_those_of_the_view() -> None:
    assert command.SORTS == view.SORTS


@pytest.mark.parametrize("name", ["llama", "llama-q8_0.gguf", "pipeline", "dtypes.safetensors"])
def test_json_fits_its_schema(name: str) -> None:
    found = document("stats", str(FIXTURES / name))
    assert found["tensor_count"] == len(found["tensors"])
    assert sum(row["elements"] for row in found["tensors"]) == found["total"]["elements"]


def test_text_shows_tensors_and_components() -> None:
    text = run("stats", LLAMA)
    assert "feed_forward" in text
    assert "… 1 more" in text
    assert "… 1 more" not in run("stats", LLAMA, "--tensors")


def test_a_pattern_chooses() -> None:
    found = document("stats", LLAMA, "--tensors", "*.self_attn.*")
    assert found["tensor_count"] == 8
    assert found["total"]["elements"] == 6144
    one = run("stats", LLAMA, "--tensors", "model.norm.weight")
    assert "from" in one


def test_a_name_that_is_none() -> None:
    run("stats", LLAMA, "--tensors", "model.nrom.weight", status=2)


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["nan"], 1),
        (["inf"], 0),
        (["inf,fp16"], 1),
        (["inf", "--fail-on", "dead-rows, nan"], 1),
        (["zero,constant,duplicate,dead-rows,inf"], 0),
    ],
)
def test_fail_on(odd: str, flags: list[str], status: int) -> None:
    run("stats", odd, "--fail-on", *flags, status=status)


def test_fail_on_what_there_is_not(odd: str) -> None:
    run("stats", odd, "--fail-on", "nan,infs", status=2)
    run("stats", odd, "--fail-on", "", status=2)


def test_values_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    tensors = {"w": torch.ones(2, device="meta"), "v": torch.tensor([math.nan])}
    torch.save(tensors, tmp_path / "a.pt")
    assert "unread" in run("stats", str(tmp_path / "a.pt"), status=3)
    run("stats", str(tmp_path / "a.pt"), "--fail-on", "nan", status=1)
    found = document("stats", str(tmp_path / "a.pt"), status=3)
    assert "does not hold" in found["tensors"][0]["unread"]


def test_what_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((FIXTURES / "llama/model.safetensors").read_bytes()[:-1])
    found = json.loads(run("stats", LLAMA, str(cut), str(tmp_path / "no"), "--json", status=3))
    schema = json.loads((SCHEMAS / "stats.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    assert "total" in found["results"][0]
    assert found["results"][1]["error"]["path"] == str(cut)


def test_every_number_of_threads_says_the_same() -> None:
    said = {run("stats", LLAMA, "--json", "--jobs", jobs) for jobs in ("1", "2", "7")}
    assert len(said) == 1


def test_odd_numbers_are_json(odd: str) -> None:
    found = {row["name"]: row for row in document("stats", odd)["tensors"]}
    assert (found["bad"]["nan"], found["bad"]["beyond_fp16"]) == (1, 1)
    assert found["bad"]["max"] == pytest.approx(1e30, rel=1e-6)
    assert found["bad"]["flags"] == ["nan", "fp16"]
