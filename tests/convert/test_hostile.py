"""Damaged and hostile sources: a whole target or one typed error, never half of either."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import weightkit
from tests.hostile import flips, mutate
from weightkit.analyses.digests import content_id
from weightkit.convert import convert
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish, parse_dtype_rule
from weightkit.errors import WeightkitError
from weightkit.rules import RULES

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
SOURCES = [
    "torch/state_dict.pt",
    "torch/legacy.pt",
    "torch/views.pt",
    "torch/torchscript.pt",
    "torch/before_0_1_10.tar",
    "dtypes.safetensors",
    "lora/adapter_model.safetensors",
    "llama-q8_0.gguf",
    "numpy/compressed.npz",
    "numpy/fortran.npy",
]
EVERYTHING = frozenset(["--allow-lossy", "--allow-unsafe-source"])
WISHES = [
    Wish(format="safetensors", accepted=EVERYTHING),
    Wish(format="safetensors", accepted=EVERYTHING, dtypes=(parse_dtype_rule("f16"),)),
    Wish(format="pytorch", accepted=EVERYTHING),
    Wish(format="npz", accepted=EVERYTHING, as_bytes=True),
]


def outcome(source: Path, wish: Wish) -> str:
    """The code of the error, or "" for a target that holds what it should; no other end."""
    target = source.parent / f"out.{wish.format}"
    refusal: WeightkitError | None = None
    try:
        done = convert(source, target, wish, How(jobs=1))
    except WeightkitError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in RULES
        assert refusal.path in (str(source), str(target))
        assert os.listdir(source.parent) == [source.name]
        return refusal.code
    with weightkit.open(target) as checkpoint:
        assert content_id(checkpoint).id == done.content_id
    assert sorted(os.listdir(source.parent)) == sorted([source.name, target.name])
    target.unlink()
    return ""


@pytest.mark.parametrize("name", SOURCES)
def test_truncations(tmp_path: Path, name: str) -> None:
    content = (FIXTURES / name).read_bytes()
    source = tmp_path / Path(name).name
    lengths = random.Random(3).sample(range(len(content)), 25)
    for number, length in enumerate(sorted(lengths)):
        source.write_bytes(content[:length])
        outcome(source, WISHES[number % len(WISHES)])


@pytest.mark.parametrize("name", SOURCES)
def test_flips(tmp_path: Path, name: str) -> None:
    content = (FIXTURES / name).read_bytes()
    source = tmp_path / Path(name).name
    for number, damaged in enumerate(flips(content, 30, seed=4)):
        source.write_bytes(damaged)
        outcome(source, WISHES[number % len(WISHES)])


@pytest.mark.parametrize("name", SOURCES)
def test_mutants(tmp_path: Path, name: str) -> None:
    chance = random.Random(int(os.environ.get("WEIGHTKIT_SEED", "5")))
    content = (FIXTURES / name).read_bytes()
    source = tmp_path / Path(name).name
    for number in range(int(os.environ.get("WEIGHTKIT_MUTANTS", "30"))):
        source.write_bytes(mutate(content, chance))
        outcome(source, WISHES[number % len(WISHES)])


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: wish.format)
@pytest.mark.parametrize("name", SOURCES)
def test_whole_ones_are_converted(tmp_path: Path, name: str, wish: Wish) -> None:
    source = tmp_path / Path(name).name
    source.write_bytes((FIXTURES / name).read_bytes())
    refusable = {"", "WK660", "WK671"}  # the target lacks the type, or there is no such cast
    assert outcome(source, wish) in refusable
