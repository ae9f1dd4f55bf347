"""silero's voice detector gives the same probabilities from every form of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from weightkit.convert import convert
from weightkit.convert.wishes import Wish

pytestmark = pytest.mark.real
WEIGHTS = Path(__file__).parents[2] / "real/silero-vad/data/silero_vad_16k.safetensors"
CHUNK, CONTEXT, BINS = 512, 64, 129
"""Samples of a step at 16 kHz, samples of the one before it, and frequencies."""

Weights = dict[str, torch.Tensor]


def probabilities(weights: Weights, sound: torch.Tensor) -> torch.Tensor:
    """Of speech in each chunk of ``sound`` (samples,), as ``silero_vad/tinygrad_model.py`` computes it."""
    cell = [
        weights[f"lstm_cell.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    state = torch.zeros(1, 128), torch.zeros(1, 128)
    padded = F.pad(sound[None], (CONTEXT, 0))
    found = []
    for start in range(0, len(sound), CHUNK):
        x = F.pad(padded[:, start : start + CONTEXT + CHUNK], (0, 64), "reflect")[:, None]
        x = F.conv1d(x, weights["stft_conv.weight"], stride=128)
        x = (x[:, :BINS] ** 2 + x[:, BINS:] ** 2).sqrt()
        for number, stride in enumerate((1, 2, 2, 1), 1):
            layer = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
            x = F.conv1d(x, *layer, stride=stride, padding=1).relu()
        state = torch.lstm_cell(x[..., 0], state, *cell)
        x = F.conv1d(
            state[0][..., None].relu(), weights["final_conv.weight"], weights["final_conv.bias"]
        )
        found.append(x.sigmoid().mean())
    return torch.stack(found)


def loaded(path: Path) -> Weights:
    """Each in memory of its own: torch's kernels round by how their operands are aligned."""
    return {name: tensor.clone() for name, tensor in read(path).items()}


def read(path: Path) -> Weights:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            held = {name: arrays[name] for name in arrays.files}  # our notes are bytes among them
            return {k: torch.from_numpy(v) for k, v in held.items() if isinstance(v, np.ndarray)}
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)  # written by the conversion under test
    return safetensors.torch.load_file(path)


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS} is absent: scripts/fetch_real --large")
def test_all_forms_give_the_same_probabilities(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(CHUNK * 12, generator=generator) * torch.linspace(0, 0.5, CHUNK * 12)
    wanted = probabilities(loaded(WEIGHTS), sound)
    assert 0 < wanted.min() < wanted.max() < 1
    source = WEIGHTS
    for name in ("a.pt", "b.safetensors", "c.npz", "d.pt", "e.npz", "f.safetensors"):
        convert(source, tmp_path / name)
        source = tmp_path / name
        assert torch.equal(probabilities(loaded(source), sound), wanted)
    convert(source, tmp_path / "shards", Wish(shard_nbytes=300_000))
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    held = {name: tensor for shard in shards for name, tensor in loaded(shard).items()}
    assert torch.equal(probabilities(held, sound), wanted)
