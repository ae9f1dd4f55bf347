"""GGUFs that llama.cpp's own converter made, against the checkpoints that it made them of."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest
import safetensors.numpy

from tests.analyses.test_diffs import diff
from weightkit.reports import Diff

HERE = Path(__file__).resolve().parent / "converted"


class Case(NamedTuple):
    """A model, the type it was converted to, and what its tensors became."""

    name: str
    kind: str
    kinds: dict[str, int]


CASES = [
    Case("llama", "q8_0", {"same": 3, "quantized": 9}),
    Case("gemma3", "bf16", {"same": 7, "recast": 8, "removed": 1}),
    Case("deepseek2", "f32", {"same": 21}),
    Case("gpt2", "f16", {"same": 11, "recast": 5}),
    Case("bloom", "f32", {"same": 17}),
    Case("falcon", "f32", {"same": 13}),
    Case("mamba", "f32", {"same": 11, "recast": 1}),
]
IDS = [case.name for case in CASES]


def files(case: Case) -> tuple[Path, Path]:
    return HERE / f"{case.name}.safetensors", HERE / f"{case.name}.{case.kind}.gguf"


def kinds_of(report: Diff) -> dict[str, int]:
    return {kind: count for kind, count in report.kinds.items() if count}


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("compared", ["content", "values"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_conversion_is_proved(case: Case, compared: str, swapped: bool) -> None:
    a, b = files(case)
    report = diff(*((b, a) if swapped else (a, b)), compared)
    gone = {"removed": "added"} if swapped else {}
    assert kinds_of(report) == {gone.get(kind, kind): n for kind, n in case.kinds.items()}
    left = [change for change in report.changes if change.kind not in ("added", "removed")]
    assert {change.values for change in left} <= {"equal", "rounded"}


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_by_headers_each_tensor_has_its_partner(case: Case) -> None:
    kinds = kinds_of(diff(*files(case), "headers"))
    # What was computed in another way has the same header.
    assert kinds.get("removed", 0) == case.kinds.get("removed", 0)
    assert {"added", "renamed", "reshaped", "unknown"}.isdisjoint(kinds)


def tensors(path: Path) -> list[tuple[str, int, int]]:
    """Name, offset and end of each tensor of a safetensors file."""
    held = path.read_bytes()
    size = struct.unpack("<Q", held[:8])[0]
    header = json.loads(held[8 : 8 + size])
    header.pop("__metadata__", None)
    return [(n, *(8 + size + at for at in entry["data_offsets"])) for n, entry in header.items()]


def with_another(path: Path, target: Path, at: int) -> Path:
    """The file with another number at this byte."""
    held = bytearray(path.read_bytes())
    (number,) = struct.unpack_from("<f", held, at)
    struct.pack_into("<f", held, at, number + 0.25)
    target.write_bytes(held)
    return target


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_one_changed_element_of_any_tensor_is_named(case: Case, tmp_path: Path) -> None:
    a, b = files(case)
    before = {change.name: change for change in diff(a, b).changes}
    random = np.random.default_rng(7)
    for name, start, end in tensors(a):
        at = start + 4 * int(random.integers((end - start) // 4))
        report = diff(with_another(a, tmp_path / "a.safetensors", at), b)
        wrong = [change for change in report.changes if before.get(change.name) != change]
        if name == "model.embed_tokens.weight" and case.name == "gemma3" and not wrong:
            continue  # a row that was left out
        (change,) = wrong
        assert change.name.partition("[")[0] == name
        assert change.kind in ("changed", "quantized")
        assert change.values not in ("equal", "rounded")


def test_rows_that_were_left_out_are_named() -> None:
    case = next(case for case in CASES if case.name == "gemma3")
    (gone,) = (change for change in diff(*files(case)).changes if change.kind == "removed")
    assert gone.name == "model.embed_tokens.weight[6:8]"
    assert gone.note == "a conversion to gemma3 keeps no such tensor"


def test_what_was_computed_is_said() -> None:
    case = next(case for case in CASES if case.name == "mamba")
    (change,) = diff(*files(case), "values").changes
    assert (change.kind, change.values) == ("recast", "rounded")
    assert change.note == "-exp(x) by the conversion, to 2 units in the last place"


@pytest.mark.parametrize(("units", "kind"), [(0, "recast"), (8, "changed")])
def test_what_is_further_off_is_a_change(tmp_path: Path, units: int, kind: str) -> None:
    """A_log with an element whose exponential is so many units in the last place away."""
    case = next(case for case in CASES if case.name == "mamba")
    a, b = files(case)
    held = safetensors.numpy.load_file(a)
    logs: Any = held["backbone.layers.0.mixer.A_log"].copy()
    place = np.unravel_index(np.argmin(np.abs(logs)), logs.shape)  # small: fine steps
    value = np.exp(np.float64(logs[place]))
    logs[place] = np.log(value + units * np.spacing(np.float32(value)).astype("f8"))
    held["backbone.layers.0.mixer.A_log"] = logs
    safetensors.numpy.save_file(held, tmp_path / "a.safetensors")
    (change,) = diff(tmp_path / "a.safetensors", b).changes
    assert change.kind == kind


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in HERE.iterdir() if path.suffix != ".py"]
    assert max(sizes) < 30_000


# The same rules by hand, for architectures without a file above


Arrays = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(shape).standard_normal(shape).astype("f4")


def by_hand(
    folder: Path, architecture: str, arrays: Arrays, flat: Arrays, **numbers: int
) -> tuple[Path, Path]:
    """A checkpoint and a GGUF of these tensors."""
    safetensors.numpy.save_file(arrays, folder / "a.safetensors")
    writer = gguf.GGUFWriter(folder / "b.gguf", architecture)
    for key, number in numbers.items():
        writer.add_uint32(f"{architecture}.attention.{key}", number)
    for name, array in flat.items():
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "a.safetensors", folder / "b.gguf"


HEADS, SIZE, WIDE, EXPERTS, INNER = 2, 4, 8, 3, 6
BLOCK, LAYER = "blk.0.", "model.layers.0."
MOE = f"{LAYER}block_sparse_moe.input_linear.weight"
FUSED, STACK, SHARED = noise(EXPERTS, 2 * INNER, WIDE), noise(EXPERTS, WIDE, INNER), noise(12, WIDE)
QKV, Q, K, V = noise(3 * WIDE, WIDE), noise(WIDE, WIDE), noise(SIZE, WIDE), noise(SIZE, 8) + 1


def turned(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """``LlamaModel.permute``."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


HAND: list[tuple[str, Arrays, Arrays]] = [
    (
        "nemotron",
        {"model.norm.weight": noise(8)},
        {"output_norm.weight": noise(8) + 1},
    ),
    (
        "gptneox",
        {"gpt_neox.layers.0.attention.query_key_value.weight": QKV},
        {
            f"{BLOCK}attn_qkv.weight": QKV.reshape(HEADS, 3, SIZE, WIDE)
            .swapaxes(0, 1)
            .reshape(QKV.shape)
        },
    ),
    (
        "gptneox",
        {"gpt_neox.layers.0.attention.query_key_value.bias": QKV[:, 0].copy()},
        {f"{BLOCK}attn_qkv.bias": QKV[:, 0].reshape(HEADS, 3, SIZE).swapaxes(0, 1).ravel()},
    ),
    (
        "granitemoe",
        {MOE: FUSED, f"{LAYER}shared_mlp.input_linear.weight": SHARED},
        {
            f"{BLOCK}ffn_gate_exps.weight": FUSED[:, :INNER],
            f"{BLOCK}ffn_up_exps.weight": FUSED[:, INNER:],
            f"{BLOCK}ffn_gate_shexp.weight": SHARED[:6],
            f"{BLOCK}ffn_up_shexp.weight": SHARED[6:],
        },
    ),
    (
        "qwen3moe",
        {
            f"{LAYER}mlp.experts.gate_up_proj": FUSED,
            f"{LAYER}mlp.experts.down_proj": STACK,
        },
        {
            f"{BLOCK}ffn_gate_exps.weight": FUSED[:, :INNER],
            f"{BLOCK}ffn_up_exps.weight": FUSED[:, INNER:],
            f"{BLOCK}ffn_down_exps.weight": STACK,
        },
    ),
    (
        "mamba2",
        {
            "backbone.layers.0.mixer.norm.weight": noise(8),
            "backbone.layers.0.mixer.dt_bias": noise(4),
            "backbone.layers.0.mixer.D": noise(6),
        },
        {
            f"{BLOCK}ssm_norm.weight": noise(8).reshape(2, 4),
            f"{BLOCK}ssm_dt.bias": noise(4),
            f"{BLOCK}ssm_d": noise(6).reshape(6, 1),
        },
    ),
    (
        "bert",
        {
            "bert.embeddings.word_embeddings.weight": noise(9, 4),
            "bert.encoder.layer.0.attention.output.LayerNorm.gamma": noise(5),
            "bert.encoder.layer.0.attention.output.LayerNorm.beta": noise(6),
        },
        {
            "token_embd.weight": noise(9, 4),
            f"{BLOCK}attn_output_norm.weight": noise(5),
            f"{BLOCK}attn_output_norm.bias": noise(6),
        },
    ),
    (
        "t5",
        {
            "encoder.block.0.layer.0.SelfAttention.q.weight": noise(4, 5),
            "decoder.block.1.layer.0.SelfAttention.q.weight": noise(4, 7),
        },
        {"enc.blk.0.attn_q.weight": noise(4, 5), "dec.blk.1.attn_q.weight": noise(4, 7)},
    ),
    (
        "deepseek2",
        {f"{LAYER}mlp.gate.e_score_correction_bias": noise(4)},
        {f"{BLOCK}exp_probs_b.bias": noise(4)},
    ),
    (  # --fuse-qkv
        "llama",
        {
            f"{LAYER}self_attn.q_proj.weight": Q,
            f"{LAYER}self_attn.k_proj.weight": K,
            f"{LAYER}self_attn.v_proj.weight": V,
        },
        {f"{BLOCK}attn_qkv.weight": np.concatenate([turned(Q, 2), turned(K, 1), V])},
    ),
]


@pytest.mark.parametrize(("architecture", "arrays", "flat"), HAND)
@pytest.mark.parametrize("swapped", [False, True])
def test_rules_by_hand(
    tmp_path: Path, architecture: str, arrays: Arrays, flat: Arrays, swapped: bool
) -> None:
    heads = {"head_count": HEADS, "head_count_kv": 1}
    a, b = by_hand(tmp_path, architecture, arrays, flat, **heads)
    report = diff(*((b, a) if swapped else (a, b)))
    assert report.changes == ()
    assert report.kinds["same"] >= max(len(arrays), 1)
    for name, array in arrays.items():
        other = {**arrays, name: array.copy()}
        other[name].flat[other[name].size // 3] += 1
        report = diff(*by_hand(tmp_path, architecture, other, flat, **heads))
        (change,) = report.changes
        assert (change.name.partition("[")[0], change.kind) == (name, "changed")


def test_positions_that_roberta_does_not_use(tmp_path: Path) -> None:
    arrays = {
        "roberta.embeddings.position_embeddings.weight": noise(10, 4),
        "roberta.pooler.dense.weight": noise(4, 4),
    }
    flat = {"position_embd.weight": noise(10, 4)[2:]}
    report = diff(*by_hand(tmp_path, "bert", arrays, flat))
    assert [(change.name, change.kind) for change in report.changes] == [
        ("roberta.embeddings.position_embeddings.weight[0:2]", "removed"),
        ("roberta.pooler.dense.weight", "removed"),
    ]
    assert {change.note for change in report.changes} == {
        "a conversion to bert keeps no such tensor"
    }


ODD: list[tuple[str, dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]] = [
    ("deepseek2", {f"{LAYER}self_attn.kv_b_proj.weight": (7, 4)}, {"attn_k_b": (2, 4, 2)}),
    (
        "deepseek2",
        {f"{LAYER}self_attn.kv_b_proj.weight": (8, 4)},
        {"attn_k_b": (2, 4, 3), "attn_v_b": (2, 2, 4)},
    ),
    ("granitemoe", {MOE: (3, 5, 4)}, {"ffn_gate_exps": (3, 2, 4), "ffn_up_exps": (3, 2, 4)}),
    ("granitemoe", {MOE: (6, 4)}, {"ffn_gate_exps": (3, 2, 4), "ffn_up_exps": (4, 2, 4)}),
    (
        "falcon",
        {"transformer.h.0.self_attention.query_key_value.weight": (7, 4)},
        {"attn_qkv": (7, 4)},
    ),
    (
        "falcon",
        {"transformer.h.0.self_attention.query_key_value.weight": (8, 4)},
        {"attn_qkv": (6, 4)},
    ),
    ("gpt2", {"transformer.h.0.mlp.c_fc.weight": (4,)}, {"ffn_up": (4,)}),
    (
        "bloom",
        {"transformer.h.0.self_attention.query_key_value.weight": (7, 4)},
        {"attn_qkv": (7, 4)},
    ),
    ("gemma3", {"model.embed_tokens.weight": (4, 4)}, {"token_embd": (6, 4)}),
    ("mamba", {"backbone.layers.0.mixer.A_log": (4, 2)}, {"ssm_a": (4, 3)}),
]


@pytest.mark.parametrize(("architecture", "shapes", "flat"), ODD)
@pytest.mark.parametrize("compared", ["headers", "content", "values"])
def test_shapes_that_do_not_fit_end_in_a_report(
    tmp_path: Path,
    architecture: str,
    shapes: dict[str, tuple[int, ...]],
    flat: dict[str, tuple[int, ...]],
    compared: str,
) -> None:
    arrays = {name: noise(*shape) for name, shape in shapes.items()}
    suffix = "" if "ssm_a" in flat else ".weight"
    made = {
        (name if name == "token_embd" else f"{BLOCK}{name}") + suffix: noise(*shape) + 1
        for name, shape in flat.items()
    }
    heads = {"head_count": HEADS, "head_count_kv": 1}
    report = diff(*by_hand(tmp_path, architecture, arrays, made, **heads), compared)
    if compared != "headers":
        assert {change.values for change in report.changes} <= {"differ", "unknown"}
        assert report.changes
