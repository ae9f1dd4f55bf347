"""``weightkit memory``, from the words on the command line to what comes out."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.architectures.cache_configs import CASES, GEMMA_3_27B, LLAMA_3_1_8B, NOTHING_KEPT
from tests.cli.test_commands import document
from weightkit.analyses.kv_cache import ENGINES, KV_TYPES
from weightkit.cli import group
from weightkit.cli import memory as module

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
GGUF = str(FIXTURES / "llama-q8_0.gguf")
TORCH = str(FIXTURES / "torch/state_dict.pt")


def apart_from_the_missing_layers(found):
    """The findings but for that the checkpoints here hold one layer of all that they declare."""
    return [row for row in found["findings"] if row["code"] != "WK715"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["memory", *arguments])


def run(*arguments: str, status: int = 0) -> str:
    result = invoke(*arguments)
    assert result.exit_code == status, result.stderr
    return result.stdout


def checkpoint(folder: Path, config: Any, height: int = 1024) -> str:
    """A folder with one key projection of ``height`` rows, and a config."""
    header = {
        "model.layers.0.self_attn.k_proj.weight": {
            "dtype": "BF16", "shape": [height, 8], "data_offsets": [0, height * 16]
        }
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = struct.pack("<Q", len(text)) + text + bytes(height * 16)
    (folder / "model.safetensors").write_bytes(body)
    written = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(written, encoding="utf-8")
    return str(folder)


def cache(found: dict[str, Any]) -> dict[str, Any]:
    term: dict[str, Any] = found["cache"][0]
    return term


def test_a_gguf() -> None:
    found = document("memory", GGUF)
    assert found["architecture"] == "llama"
    assert found["weights"][0]["kind"] == "exact"
    assert cache(found)["bytes"] == found["per_token"]["bytes"] * found["context"]
    text = run(GGUF)
    assert "keys and values" in text
    assert "exact" in text


def test_a_folder(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, LLAMA_3_1_8B)
    found = document("memory", path, "--context", "8192", "--batch", "2")
    assert cache(found)["bytes"] == 2 * 8192 * 131_072
    assert found["context_source"] == "as asked"


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine(tmp_path: Path, engine: str) -> None:
    path = checkpoint(tmp_path, GEMMA_3_27B, 2048)
    found = document("memory", path, "--engine", engine, "--context", "131072")
    assert found["engine"] == engine
    assert cache(found)["low"] == 8_192 * (10 * 131_072 + 52 * 1_024)
    assert apart_from_the_missing_layers(found) == []


def test_the_options_are_the_tables() -> None:
    assert tuple(KV_TYPES) == module.KV_DTYPES
    assert tuple(ENGINES) == module.ENGINES


@pytest.mark.parametrize("dtype", KV_TYPES)
def test_every_cache_type(dtype: str) -> None:
    assert document("memory", GGUF, "--kv-dtype", dtype)["kv_dtype"] == dtype


@pytest.mark.parametrize("case", [*CASES[::6], *NOTHING_KEPT[::3]], ids=lambda case: case[0])
def test_json_follows_its_schema(tmp_path: Path, case: Any) -> None:
    path = checkpoint(tmp_path, case[1])
    document("memory", path, "--fit", "24GiB", "--context", "2048")


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [
        ("24GiB", 24 << 30),
        ("24G", 24 << 30),
        ("24gib", 24 << 30),
        ("80GB", 80 * 10**9),
        ("1.5 TiB", 3 << 39),
        ("512MiB", 512 << 20),
        ("1000", 1000),
    ],
)
def test_sizes(size: str, nbytes: int) -> None:
    found = document("memory", GGUF, "--fit", size)
    assert found["budget"] == nbytes
    assert len(found["fit"]) == len(found["weights"])
    assert "fits" in run(GGUF, "--fit", size)


@pytest.mark.parametrize("size", ["", "much", "24 apples", "-1GiB", "1e9", "9" * 40, "nan"])
def test_wrong_sizes(size: str) -> None:
    result = invoke(GGUF, f"--fit={size}")
    assert result.exit_code == 2
    assert "is not a size" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--context", "0"],
        ["--batch", "-1"],
        ["--engine", "mlx"],
        ["--kv-dtype", "f8"],
        ["--context", str(10**20)],
        ["--context", "9" * 4400],
    ],
)
def test_wrong_options(options: list[str]) -> None:
    assert invoke(GGUF, *options).exit_code == 2


def test_explain() -> None:
    text = run(GGUF, "--explain")
    assert "formula" in text
    assert "llama.attention.head_count_kv" in text
    assert "source" in text


def test_without_a_config() -> None:
    found = document("memory", TORCH)
    assert cache(found)["kind"] == "unknown"
    assert "config.json" in cache(found)["reason"]
    assert found["weights"][0]["kind"] == "exact"
    assert "unknown" in run(TORCH)


def test_a_config_that_is_not_json(tmp_path: Path) -> None:
    found = document("memory", checkpoint(tmp_path, "{"))
    assert cache(found)["kind"] == "unknown"
    assert [row["code"] for row in found["findings"]] == ["WK621"]


def test_a_config_that_the_weights_refute(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, LLAMA_3_1_8B, 512)
    found = document("memory", path)
    assert [row["code"] for row in apart_from_the_missing_layers(found)] == ["WK771"]
    assert cache(found)["bytes"] is None
    assert found["weights"][0]["bytes"] == 512 * 16
    run(path, "--fail-on", "warning", status=1)


def test_an_unusable_field(tmp_path: Path) -> None:
    found = document("memory", checkpoint(tmp_path, {**LLAMA_3_1_8B, "num_hidden_layers": 10**6}))
    assert [(row["code"], row["subject"]) for row in apart_from_the_missing_layers(found)] == [
        ("WK770", "num_hidden_layers")
    ]
    assert "num_hidden_layers" in found["total"]["reason"]


def test_several_paths() -> None:
    result = invoke("--json", GGUF, "no/such/file", TORCH)
    assert result.exit_code == 3
    found = json.loads(result.stdout)["results"]
    assert [("error" in row) for row in found] == [False, True, False]
