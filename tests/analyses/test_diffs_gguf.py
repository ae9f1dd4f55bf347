"""A GGUF against the checkpoint that it was made of, converted as llama.cpp does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from gguf.quants import quantize

from tests.analyses.test_diffs import changed_kinds, diff, noise
from weightkit.architectures import ggml_maps
from weightkit.reports import CHANGES, Diff

Arrays = dict[str, np.ndarray[Any, Any]]
HEADS, HEADS_KV, WIDTH, INNER, EXPERTS = 8, 4, 256, 512, 4
BF16 = ml_dtypes.bfloat16


def checkpoint(layers: int = 2, experts: str = "", prefix: str = "model.") -> Arrays:
    """A transformer with the names of transformers, in bf16."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embed_tokens.weight": (320, WIDTH),
        f"{prefix}norm.weight": (WIDTH,),
        "lm_head.weight": (320, WIDTH),
    }
    for layer in range(layers):
        stem = f"{prefix}layers.{layer}."
        shapes |= {
            f"{stem}input_layernorm.weight": (WIDTH,),
            f"{stem}self_attn.q_proj.weight": (WIDTH, WIDTH),
            f"{stem}self_attn.k_proj.weight": (WIDTH // 2, WIDTH),
            f"{stem}self_attn.v_proj.weight": (WIDTH // 2, WIDTH),
            f"{stem}self_attn.o_proj.weight": (WIDTH, WIDTH),
            f"{stem}post_attention_layernorm.weight": (WIDTH,),
        }
        if not experts:
            shapes |= {f"{stem}mlp.{n}_proj.weight": (INNER, WIDTH) for n in ("gate", "up")}
        for expert in range(EXPERTS if experts else 0):
            shapes |= {
                f"{stem}{experts}.{expert}.{name}.weight": (INNER, WIDTH)
                for name in (("w1", "w3") if "sparse" in experts else ("gate_proj", "up_proj"))
            }
    return {n: noise(*shape, seed=at).astype(BF16) for at, (n, shape) in enumerate(shapes.items())}


# Converted with torch as conversion/llama.py and gemma.py of llama.cpp have it.


def permute(weights: torch.Tensor, heads: int) -> torch.Tensor:
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def converted(arrays: Arrays, architecture: str) -> Iterator[tuple[str, torch.Tensor]]:
    kind = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, 8)
    stacks: dict[str, list[torch.Tensor]] = {}
    for name, array in arrays.items():
        tensor = torch.from_numpy(array.astype("f4"))
        if architecture in ("llama", "granite"):
            if name.endswith("q_proj.weight"):
                tensor = permute(tensor, HEADS)
            if name.endswith("k_proj.weight"):
                tensor = permute(tensor, HEADS_KV)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            tensor = tensor + 1
        if ".experts." in name:
            head, _, tail = name.partition(".experts.")
            stacks.setdefault(f"{head}.experts.{tail.partition('.')[2]}", []).append(tensor)
            continue
        found = names.get_name(name, (".weight", ".bias"))
        assert found is not None
        yield found, tensor
    for name, tensors in stacks.items():
        found = names.get_name(name, (".weight",))
        assert found is not None
        yield found, torch.stack(tensors)


def written(path: Path, arrays: Arrays, architecture: str, kind: str = "F32", **more: Any) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_block_count(2)
    for name, tensor in [*converted(arrays, architecture), *more.items()]:
        array = tensor.numpy()
        if kind == "F32" or array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            target = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, quantize(array, target), raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def saved(path: Path, arrays: Arrays) -> Path:
    tensors = {
        name: torch.frombuffer(bytearray(array.tobytes()), dtype=torch.bfloat16).reshape(
            array.shape
        )
        for name, array in arrays.items()
    }
    safetensors.torch.save_file(tensors, path)
    return path


def compare(
    folder: Path,
    arrays: Arrays,
    architecture: str,
    kind: str = "F32",
    compared: str = "content",
    **more: Any,
) -> Diff:
    a = saved(folder / "a.safetensors", arrays)
    return diff(a, written(folder / "b.gguf", arrays, architecture, kind, **more), compared)


ARCHITECTURES = ["llama", "granite", "qwen2", "qwen3", "gemma", "gemma2", "olmo2"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_conversion_is_proved(tmp_path: Path, architecture: str) -> None:
    arrays = checkpoint()
    names = gguf.get_tensor_name_map(
        next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), 2
    )
    arrays = {n: a for n, a in arrays.items() if names.get_name(n, (".weight",))}
    report = compare(tmp_path, arrays, architecture)
    assert report.kinds == dict.fromkeys(CHANGES, 0) | {"recast": len(arrays)}
    assert {change.values for change in report.changes} == {
        "equal"
    } or architecture in ggml_maps.SHIFTED
    assert {change.values for change in report.changes} <= {"equal", "rounded"}


@pytest.mark.parametrize("swapped", [False, True])
def test_in_its_own_type_it_is_the_same(tmp_path: Path, swapped: bool) -> None:
    arrays = {n: a for n, a in checkpoint().items() if a.ndim == 2}
    a = saved(tmp_path / "a.safetensors", arrays)
    b = written(tmp_path / "b.gguf", arrays, "llama", "BF16")
    assert diff(*((b, a) if swapped else (a, b))).same


@pytest.mark.parametrize("name", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj"])
def test_one_changed_element_is_found(tmp_path: Path, name: str) -> None:
    arrays = checkpoint()
    b = written(tmp_path / "b.gguf", arrays, "llama")
    changed = f"model.layers.1.{name}.weight"
    arrays[changed][77, 5] += 1
    report = diff(saved(tmp_path / "a.safetensors", arrays), b, "values")
    (change,) = (change for change in report.changes if change.kind != "recast")
    assert (change.name, change.kind) == (changed, "changed")
    assert change.delta is not None
    assert (change.delta.changed, change.delta.max_abs) == (1, pytest.approx(1, rel=1e-2))


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0"])
def test_rows_that_nobody_permuted(tmp_path: Path, kind: str) -> None:
    """As other writers than llama.cpp may leave them."""
    arrays = checkpoint()
    as_is = {n: a for n, a in arrays.items() if "q_proj" not in n and "k_proj" not in n}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    more = {
        names.get_name(n, (".weight",)) or "": torch.from_numpy(a.astype("f4"))
        for n, a in arrays.items()
        if n not in as_is
    }
    b = written(tmp_path / "b.gguf", as_is, "llama", kind, **more)
    report = diff(saved(tmp_path / "a.safetensors", arrays), b, "values")
    assert {change.values for change in report.changes} <= {"equal", "rounded"}
    assert not any("permuted" in change.note for change in report.changes)


def test_swapped_heads_are_a_change(tmp_path: Path) -> None:
    arrays = checkpoint()
    b = written(tmp_path / "b.gguf", arrays, "llama")
    name = "model.layers.0.self_attn.q_proj.weight"
    arrays[name] = np.roll(arrays[name], WIDTH // HEADS, axis=0)
    assert changed_kinds(diff(saved(tmp_path / "a.safetensors", arrays), b))[name][0] == "changed"


def test_an_unknown_architecture_proves_only_equality(tmp_path: Path) -> None:
    arrays = checkpoint()
    b = written(tmp_path / "b.gguf", arrays, "internlm2")
    name = "model.layers.0.self_attn.q_proj.weight"
    arrays[name] = np.roll(arrays[name], 1, axis=0)
    report = diff(saved(tmp_path / "a.safetensors", arrays), b, "values")
    (change,) = (change for change in report.changes if change.kind != "recast")
    assert (change.name, change.kind, change.values) == (name, "unknown", "unknown")
    assert "not comparable by content" in change.note
    assert change.delta is None


@pytest.mark.parametrize(
    ("experts", "architecture"),
    [
        ("block_sparse_moe.experts", "llama"),
        ("mlp.experts", "qwen3moe"),
        ("mlp.experts", "qwen2moe"),
    ],
)
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_stacked_experts(tmp_path: Path, experts: str, architecture: str, kind: str) -> None:
    arrays = checkpoint(experts=experts)
    report = compare(tmp_path, arrays, architecture, kind)
    assert report.kinds["recast"] + report.kinds["quantized"] == len(arrays)
    assert {change.values for change in report.changes} <= {"equal", "rounded"}
    name = next(name for name in arrays if ".experts.2." in name)
    arrays[name][3, 3] += 1
    report = diff(saved(tmp_path / "a.safetensors", arrays), tmp_path / "b.gguf")
    wrong = [change for change in report.changes if change.values not in ("equal", "rounded")]
    assert [(c.name, c.b.name) for c in wrong if c.b] == [(name, "blk.0.ffn_gate_exps.weight[2]")]


PROVEN = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16"]


@pytest.mark.parametrize("kind", PROVEN)
def test_a_quantization_is_proved_where_gguf_can(tmp_path: Path, kind: str) -> None:
    arrays = checkpoint()
    report = compare(tmp_path, arrays, "llama", kind, "values")
    matrices = [change for change in report.changes if change.a and len(change.a.shape) == 2]
    wanted = "recast" if kind == "F16" else "quantized"
    assert {(change.kind, change.values) for change in matrices} == {(wanted, "rounded")}
    assert {change.note for change in matrices} >= {"B is A, rounded"}
    delta = report.delta
    assert delta is not None
    assert delta.relative_l2 is not None
    assert delta.relative_l2 < (0.001 if kind == "F16" else 0.2)
    name = "model.layers.0.self_attn.o_proj.weight"
    arrays[name][0, 0] += 1
    report = diff(saved(tmp_path / "a.safetensors", arrays), tmp_path / "b.gguf")
    (wrong,) = (change for change in report.changes if change.values not in ("equal", "rounded"))
    assert (wrong.name, wrong.kind) == (name, "changed" if kind == "F16" else "quantized")


def blocks(path: Path, values: np.ndarray[Any, Any], kind: str) -> Path:
    """A GGUF of one tensor, quantized by gguf, or with K blocks of random bits."""
    target = gguf.GGMLQuantizationType[kind]
    items, nbytes = gguf.GGML_QUANT_SIZES[target]
    if kind.endswith("_K"):
        random = np.random.default_rng(5)
        raw = random.integers(0, 64, (values.shape[0], values.shape[1] // items * nbytes), "u1")
    else:
        raw = quantize(values, target)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("w", raw, raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q6_K", "Q4_K"]


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("compared", ["content", "values"])
def test_types_of_gguf_against_one_another(
    tmp_path: Path, one: str, other: str, compared: str
) -> None:
    values = noise(64, 256)
    a, b = (blocks(tmp_path / f"{at}.gguf", values, k) for at, k in enumerate((one, other)))
    report = diff(a, b, compared)
    if one == other:
        assert report.same
        return
    (change,) = report.changes
    plain = [kind[0] in "FB" for kind in (one, other)]
    if {one, other} == {"F16", "BF16"}:  # both rounded from something finer
        assert (change.kind, change.values) == ("changed", "differ")
        return
    assert change.kind == ("recast" if all(plain) else "quantized")
    # gguf quantizes only to Q8_0 and Q4_0; numbers that were rounded before give other blocks.
    exact = {"F32"} if not all(plain) else set(KINDS)
    proven = (one in exact or other in exact) and not any("K" in kind for kind in (one, other))
    if proven and any(plain):
        assert change.values == "rounded"
    elif not any(plain) or "K" in one + other:
        assert change.values == "unknown"


def test_what_was_dequantized_is_equal(tmp_path: Path) -> None:
    values = noise(64, 256)
    kind = gguf.GGMLQuantizationType.Q4_0
    a = blocks(tmp_path / "a.gguf", values, "Q4_0")
    plain = gguf.quants.dequantize(quantize(values, kind), kind)
    (change,) = diff(a, blocks(tmp_path / "b.gguf", plain, "F32")).changes
    assert (change.kind, change.values) == ("recast", "equal")
    plain[5, 5] = np.nextafter(plain[5, 5], np.float32(1))
    (change,) = diff(a, blocks(tmp_path / "b.gguf", plain, "F32"), "values").changes
    assert (change.kind, change.delta.changed if change.delta else 0) == ("quantized", 1)


def test_figures_of_blocks_are_those_of_gguf(tmp_path: Path) -> None:
    values = noise(64, 256)
    kind = gguf.GGMLQuantizationType.Q4_0
    for name, scale in (("a", 1.0), ("b", 1.1)):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", "llama")
        writer.add_tensor("w", quantize(values * np.float32(scale), kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    (change,) = diff(tmp_path / "a.gguf", tmp_path / "b.gguf", "values").changes
    x, y = (
        gguf.quants.dequantize(quantize(values * np.float32(scale), kind), kind).astype("f8")
        for scale in (1.0, 1.1)
    )
    assert (change.kind, change.values) == ("changed", "differ")
    assert change.delta is not None
    assert change.delta.relative_l2 == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x))


def with_metadata(path: Path, template: str, tokens: list[str], scale: float = 1.0) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_chat_template(template)
    writer.add_token_list(tokens)
    writer.add_rope_freq_base(scale)
    writer.add_tensor("w", np.ones(4, "f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("count", [10, 100_000])
def test_metadata_and_templates_of_gguf(tmp_path: Path, count: int) -> None:
    tokens = [f"token{number}" for number in range(count)]
    a = with_metadata(tmp_path / "a.gguf", "{{ a }}\n" * 5, tokens)
    assert diff(a, with_metadata(tmp_path / "b.gguf", "{{ a }}\n" * 5, tokens)).settings == ()
    other = [*tokens]
    other[7] = other[9] = "x" * len(other[7])
    b = with_metadata(tmp_path / "b.gguf", "{{ b }}\n" * 5, other, 2.0)
    found = {(item.place, item.key): (item.a, item.b) for item in diff(a, b).settings}
    assert found["chat template", "default"] == ("{{ a }}\n" * 5, "{{ b }}\n" * 5)
    assert found["metadata", "llama.rope.freq_base"] == (1.0, 2.0)
    if count > 1000:
        assert found["metadata", "tokenizer.ggml.tokens"] == (
            "[7] token7; 2 elements differ",
            "[7] xxxxxx; 2 elements differ",
        )
    else:
        assert found["metadata", "tokenizer.ggml.tokens"] == (tokens, other)
    shorter = with_metadata(tmp_path / "b.gguf", "{{ a }}\n" * 5, tokens[:-1])
    (change,) = diff(a, shorter).settings
    assert change.key == "tokenizer.ggml.tokens"
    if count > 1000:
        assert (change.a, change.b) == ("array of 100000 string", "array of 99999 string")


def test_a_template_in_a_file_and_in_a_gguf(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    safetensors.torch.save_file({"w": torch.ones(4)}, folder / "model.safetensors")
    (folder / "chat_template.jinja").write_text("{{ a }}", encoding="utf-8")
    b = with_metadata(tmp_path / "b.gguf", "{{ a }}", ["x"])
    assert diff(folder, b).same
    b = with_metadata(tmp_path / "b.gguf", "{{ b }}", ["x"])
    (change,) = diff(folder, b).settings
    assert (change.place, change.a, change.b) == ("chat template", "{{ a }}", "{{ b }}")


def test_what_a_conversion_computes_or_drops_is_no_difference(tmp_path: Path) -> None:
    arrays = {n: a for n, a in checkpoint().items() if a.ndim == 2}
    arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = noise(4).astype(BF16)
    a = saved(tmp_path / "a.safetensors", arrays)
    del arrays["model.layers.0.self_attn.rotary_emb.inv_freq"]
    more = {"rope_freqs.weight": torch.ones(16)}
    report = diff(a, written(tmp_path / "b.gguf", arrays, "llama", "BF16", **more))
    assert report.same
    assert [note.partition(", ")[0] for note in report.notes] == [
        "not compared: model.layers.0.self_attn.rotary_emb.inv_freq",
        "not compared: rope_freqs.weight",
    ]


def test_names_of_a_bare_model_and_of_one_inside_another(tmp_path: Path) -> None:
    arrays = {n: a for n, a in checkpoint(prefix="").items() if n != "lm_head.weight"}
    full = {f"model.{name}": array for name, array in arrays.items()}
    b = written(tmp_path / "b.gguf", full, "llama")
    assert diff(saved(tmp_path / "a.safetensors", arrays), b).kinds["recast"] == len(arrays)
    inside = {f"language_model.model.{name}": array for name, array in arrays.items()}
    assert diff(saved(tmp_path / "a.safetensors", inside), b).kinds["recast"] == len(arrays)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"general.architecture": "nonsense"},
        {"general.architecture": 3},
        {"general.architecture": "llama"},
        {"general.architecture": "llama", "llama.attention.head_count": 7},
        {"general.architecture": "llama", "llama.attention.head_count": -8},
        {"general.architecture": "llama", "llama.attention.head_count": 1 << 60},
        {"general.architecture": "llama", "llama.attention.head_count": [8, 8]},
        {"general.architecture": "llama", "llama.block_count": 1 << 60},
    ],
)
def test_odd_metadata(metadata: dict[str, Any]) -> None:
    from weightkit.dtypes import DTYPES
    from weightkit.tensors import Extent, TensorInfo

    def info(name: str) -> TensorInfo:
        return TensorInfo(name, DTYPES["f32"], (16, 4), Extent(0, 0, 256))

    flat = {name: info(name) for name in ("blk.0.attn_q.weight", "blk.999999.attn_k.weight")}
    other = {name: info(name) for name in ("model.layers.0.self_attn.q_proj.weight",)}
    for match in ggml_maps.correspondences(ggml_maps.divided(flat, other, metadata), metadata):
        assert match.known is False


@pytest.mark.parametrize("shape", [(1 << 60, 0, 4), (1 << 60, 1, 1), (3, 1, 1)])
def test_more_experts_than_anyone_has(shape: tuple[int, ...]) -> None:
    """Stacked in a header that says so, for a checkpoint that names two."""
    from weightkit.dtypes import DTYPES
    from weightkit.tensors import Extent, TensorInfo

    def info(name: str, shape: tuple[int, ...]) -> TensorInfo:
        return TensorInfo(name, DTYPES["f32"], shape, Extent(0, 0, 16))

    name = "blk.0.ffn_up_exps.weight"
    other = [f"model.layers.0.mlp.experts.{number}.up_proj.weight" for number in range(2)]
    both = ggml_maps.divided(
        {name: info(name, shape)},
        {item: info(item, (4,)) for item in other},
        {"general.architecture": "qwen3moe"},
    )
    assert [*both.flat[name]] == [name]


def test_the_tables_name_architectures_that_gguf_knows() -> None:
    known = set(gguf.MODEL_ARCH_NAMES.values())
    assert known >= ggml_maps.KNOWN
