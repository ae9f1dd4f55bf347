"""Logical parameters of packed weights: every layout, every derivation, and their disagreements."""

from __future__ import annotations

import json

import pytest
from checkpoints import Opened, codes, report, tensors

from weightkit.analyses.inspection import inspect
from weightkit.analyses.quantization import LAYOUTS
from weightkit.architectures.quantizers import AUXILIARIES
from weightkit.architectures.rows import expand

Q = "model.layers.[0-1].self_attn.q_proj."
"""Two modules of 64 inputs and 32 outputs, 2048 parameters each, in every test here."""


def total(*given: str, settings=None, contents=None, **more):
    config = {"quantization_config": settings} if settings is not None else {}
    found = report(tensors(*given), config, contents=contents or {}, **more)
    return found.parameters.total, codes(found)


def json_state(**state):
    return json.dumps(state).encode()


GPTQ_4 = [f"{Q}qweight 8x32 i32", f"{Q}scales 4x32 f16", f"{Q}qzeros 4x4 i32", f"{Q}g_idx 64 i32"]
GPTQ_3 = [f"{Q}qweight 6x32 i32", f"{Q}scales 4x32 f16", f"{Q}qzeros 4x3 i32", f"{Q}g_idx 64 i32"]
AWQ = [f"{Q}qweight 64x4 i32", f"{Q}scales 4x32 f16", f"{Q}qzeros 4x4 i32"]
NF4 = [
    f"{Q}weight 1024x1 u8",
    f"{Q}weight.absmax 32 f32",
    f"{Q}weight.quant_map 16 f32",
    f"{Q}weight.quant_state.bitsandbytes__nf4 80 u8",
]
DOUBLE = [
    f"{Q}weight 1024x1 u8",
    f"{Q}weight.absmax 32 u8",
    f"{Q}weight.nested_absmax 1 f32",
    f"{Q}weight.nested_quant_map 256 f32",
    f"{Q}weight.quant_map 16 f32",
    f"{Q}weight.quant_state.bitsandbytes__nf4 80 u8",
]
PACKED = [f"{Q}weight_packed 32x8 i32", f"{Q}weight_scale 32x4 bf16", f"{Q}weight_shape 2 i64"]
CHANNEL = [f"{Q}weight_packed 32x8 i32", f"{Q}weight_scale 32x1 bf16", f"{Q}weight_shape 2 i64"]
ASYMMETRIC = [*PACKED, f"{Q}weight_zero_point 4x4 i32", f"{Q}weight_g_idx 64 i32"]
THREE_BITS = [f"{Q}weight_packed 32x7 i32", f"{Q}weight_scale 32x4 bf16", f"{Q}weight_shape 2 i64"]
MLX_4 = [f"{Q}weight 32x8 u32", f"{Q}scales 32x4 f16", f"{Q}biases 32x4 f16"]
GROUPS = {"config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 16}}}}
SHAPE = (32).to_bytes(8, "little") + (64).to_bytes(8, "little")
STATE = json_state(quant_type="nf4", blocksize=64, shape=[32, 64])

KNOWN = {
    "gptq 4 bits": (GPTQ_4, {"bits": 4, "group_size": 16}, {}),
    "gptq 3 bits, no flooring": (GPTQ_3, {"bits": 3, "group_size": 16}, {}),
    "gptq 3 bits, undeclared": (GPTQ_3, {}, {}),
    "gptq 2 bits": ([f"{Q}qweight 4x32 i32", f"{Q}scales 4x32 f16"], {"bits": 2}, {}),
    "gptq 8 bits": ([f"{Q}qweight 16x32 i32", f"{Q}scales 4x32 f16", f"{Q}qzeros 4x8 i32"], {"bits": 8}, {}),
    "awq": (AWQ, {"bits": 4, "group_size": 16}, {}),
    "awq, undeclared": (AWQ, {}, {}),
    "nf4": (NF4, {"quant_method": "bitsandbytes"}, {"weight.quant_state.bitsandbytes__nf4": STATE}),
    "nf4, double quantized": (DOUBLE, {}, {"weight.quant_state.bitsandbytes__nf4": STATE}),
    "bitsandbytes 8 bits": ([f"{Q}weight 32x64 i8", f"{Q}SCB 32 f32", f"{Q}weight_format - u8"], {}, {}),
    "fp8 in blocks": (
        [f"{Q}weight 32x64 f8_e4m3", f"{Q}weight_scale_inv 2x4 f32"],
        {"weight_block_size": [16, 16]},
        {},
    ),
    "fp8 by channel": ([f"{Q}weight 32x64 f8_e4m3", f"{Q}weight_scale 32x1 bf16"], {}, {}),
    "fp8 by tensor": (
        [f"{Q}weight 32x64 f8_e4m3", f"{Q}weight_scale - f32", f"{Q}input_scale - f32"], {}, {},
    ),
    "mxfp4 of gpt-oss": (
        ["h.[0-1].mlp.experts.up_proj_blocks 2x16x2x16 u8", "h.[0-1].mlp.experts.up_proj_scales 2x16x2 u8"],
        {},
        {},
    ),
    "nvfp4 of compressed-tensors": (
        [f"{Q}weight_packed 32x32 u8", f"{Q}weight_scale 32x4 f8_e4m3", f"{Q}weight_global_scale 1 f32",
         f"{Q}input_global_scale 1 f32"],
        {},
        {},
    ),
    "nvfp4 of ModelOpt": (
        [f"{Q}weight 32x32 u8", f"{Q}weight_scale 32x4 f8_e4m3", f"{Q}weight_scale_2 - f32",
         f"{Q}input_scale - f32"],
        {},
        {},
    ),
    "mxfp4 of compressed-tensors": (
        [f"{Q}weight_packed 32x32 u8", f"{Q}weight_scale 32x2 u8"], {}, {},
    ),
    "fp4 in bytes with exponents": ([f"{Q}weight 32x32 i8", f"{Q}scale 32x2 f8_e8m0"], {}, {}),
    "packed integers": (PACKED, GROUPS, {"weight_shape": SHAPE}),
    "packed integers, undeclared": (PACKED, {}, {"weight_shape": SHAPE}),
    "packed integers by channel": (CHANNEL, GROUPS, {"weight_shape": SHAPE}),
    "packed integers, not symmetric": (ASYMMETRIC, GROUPS, {"weight_shape": SHAPE}),
    "packed integers of 3 bits, ten to a word": (
        THREE_BITS,
        {"config_groups": {"a": {"weights": {"num_bits": 3, "group_size": 16}}}},
        {"weight_shape": SHAPE},
    ),
    "packed integers of two widths": (
        PACKED,
        {"config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 16}},
                           "b": {"weights": {"num_bits": 8, "group_size": 16}}}},
        {"weight_shape": SHAPE},
    ),
    "mlx": (MLX_4, {"bits": 4, "group_size": 16}, {}),
    "hqq": (
        [f"{Q}W_q 64x16 u8", f"{Q}scale 128x1 f16", f"{Q}zero 128x1 f16", f"{Q}shape 2 i64",
         f"{Q}nbits 1 i64", f"{Q}encoded_state_dict - u8", f"{Q}compute_dtype 13 u8"],
        {},
        {"shape": SHAPE, "nbits": (4).to_bytes(8, "little")},
    ),
    "exl2": ([f"{Q}q_weight 8x32 i32", f"{Q}q_invperm 64 i32"], {}, {}),
    "exl3": ([f"{Q}trellis 4x2x64 i16", f"{Q}suh 64 f16", f"{Q}svh 32 f16"], {}, {}),
    "aqlm": ([f"{Q}codes 32x8x1 i16", f"{Q}codebooks 1x256x1x8 f16", f"{Q}scales 32x1x1x1 f16"], {}, {}),
    "quanto 8 bits": ([f"{Q}weight._data 32x64 i8", f"{Q}weight._scale 32x1 f32"], {}, {}),
    "quanto 4 bits": (
        [f"{Q}weight._data._data 64x16 u8", f"{Q}weight._scale 128x1 f32", f"{Q}weight._shift 128x1 f32"],
        {"weights": "int4"},
        {},
    ),
    "quanto 2 bits, undeclared": (
        [f"{Q}weight._data._data 32x16 u8", f"{Q}weight._scale 128x1 f32"], {}, {},
    ),
    "hqq 3 bits, padded words": (
        [f"{Q}W_q 13x16 i32", f"{Q}scale 128x1 f16"],
        {"quant_config": {"weight_quant_params": {"nbits": 3, "group_size": 16, "axis": 1}}},
        {},
    ),
    "hqq 2 bits along the other axis": (
        [f"{Q}W_q 4x128 u8", f"{Q}scale 1x128 f16"],
        {"quant_config": {"weight_quant_params": {"nbits": 2, "group_size": 16, "axis": 0}}},
        {},
    ),
    "awq for gemv": (
        [f"{Q}qweight 32x8 i32", f"{Q}scales 32x16 f16", f"{Q}qzeros 32x2 i32"],
        {"bits": 4, "version": "gemv"},
        {},
    ),
    "awq for gemv, fast": (
        [f"{Q}qweight 8x64 i16", f"{Q}scales 8x32 f16", f"{Q}qzeros 8x32 f16"],
        {"bits": 4, "version": "gemv_fast"},
        {},
    ),
    "gptq of several widths": (
        [f"{Q}qweight 16x32 i32", f"{Q}scales 4x32 f16", f"{Q}qzeros 4x8 i32", f"{Q}g_idx 64 i32"],
        {"bits": 4, "dynamic": {"+:.*q_proj": {"bits": 8}}},
        {},
    ),
    "fp-quant": (
        [f"{Q}qweight 32x32 u8", f"{Q}scales 32x2 u8", f"{Q}forward_hadamard_matrix 32x32 bf16",
         f"{Q}weight_global_scale 1 f32"],
        {"quant_method": "fp_quant"},
        {},
    ),
    "nunchaku": (
        [f"{Q}qweight 32x32 i8", f"{Q}wscales 1x32 bf16", f"{Q}smooth_factor 64 bf16"], {}, {},
    ),
    "nunchaku, words": ([f"{Q}qweight 8x32 i32", f"{Q}wscales 1x32 bf16", f"{Q}wzeros 1x32 bf16"], {}, {}),
    "mxfp6": ([f"{Q}weight_packed 32x48 u8", f"{Q}weight_scale 32x2 u8"], {}, {}),
    "packed integers of 3 bits, without a gap": (
        [f"{Q}weight_packed 32x6 i32", f"{Q}weight_scale 32x4 bf16", f"{Q}weight_shape 2 i64"],
        {"config_groups": {"a": {"weights": {"num_bits": 3, "group_size": 16}}}},
        {"weight_shape": SHAPE},
    ),
    "int4 of ModelOpt": (
        [f"{Q}weight 16x64 u8", f"{Q}weight_scale 32x4 f32", f"{Q}pre_quant_scale 64 bf16"],
        {"quant_algo": "W4A16_AWQ", "group_size": 16},
        {},
    ),
    "torchao int8": (
        [f"{Q}_weight_qdata 32x64 i8", f"{Q}_weight_scale 32x1 f32", f"{Q}_weight_zero_point 32x1 i8"],
        {},
        {},
    ),
    "torchao float8": ([f"{Q}_weight_qdata 32x64 f8_e4m3", f"{Q}_weight_scale 32x1 f32"], {}, {}),
    "torchao int4": (
        [f"{Q}_weight_qdata 32x32 i8", f"{Q}_weight_scale 4x32 bf16", f"{Q}_weight_zero_point 4x32 bf16"],
        {},
        {},
    ),
    "torchao int4 in words": ([f"{Q}_weight_qdata 32x8 i32", f"{Q}_weight_scale 4x32 bf16"], {}, {}),
    "higgs": (
        [f"{Q}weight 8x64 i16", f"{Q}scales 32x1 f16", f"{Q}tables 16 f16", f"{Q}tables2 16x16 f32"],
        {"quant_method": "higgs", "bits": 4, "group_size": 64},
        {},
    ),
    "2 of 4 sparse": (
        [f"{Q}weight.compressed 32x32 bf16", f"{Q}weight.bitmask 32x8 u8", f"{Q}weight.shape 2 i64"], {}, {},
    ),
    "scaled fp8": ([f"{Q}weight 32x64 f8_e4m3", f"{Q}scale_weight 1 f32", "scaled_fp8 2 f8_e4m3"], {}, {}),
    "bitnet": ([f"{Q}weight 8x64 u8", f"{Q}weight_scale 1 bf16"], {"quant_method": "bitnet"}, {}),
    "int8": ([f"{Q}weight 32x64 i8", f"{Q}weight_scales 32 f16"], {"quant_method": "eetq"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_layout(name):
    given, settings, contents = KNOWN[name]
    contents = {
        f"model.layers.{layer}.self_attn.q_proj.{leaf}": content
        for layer in (0, 1)
        for leaf, content in contents.items()
    }
    assert total(*given, settings=settings, contents=contents) == (2 * 2048, [])


def test_every_layout_that_can_be_counted_is_tested():
    leaves = {row.split()[0].rpartition(".")[2] for given, _, _ in KNOWN.values() for row in given}
    for layout in LAYOUTS:
        if layout.derive.__name__ != "uncountable":
            assert any(leaf.endswith(layout.leaf.lstrip("*")) for leaf in leaves), layout


@pytest.mark.parametrize("row", AUXILIARIES, ids=lambda row: row.pattern)
def test_bookkeeping_of_example(row):
    leaf = row.example.rpartition(".")[2]
    beside = []
    for name in row.beside.split():
        ends = [pattern[1:] for pattern in expand(row.pattern) if pattern.startswith("*")]
        stem = next((leaf.removesuffix(end) for end in ends if leaf.endswith(end)), leaf)
        beside.append(f"m.{row.example.rpartition('.')[0]}.{name.replace('*', stem)} 8x8 u8")
    found = report(tensors(f"m.{row.example} {'1' if row.when else '8x8'} f16", *beside), {})
    got = {tensor.name: tensor for tensor in found.rows}[f"m.{row.example}"]
    assert (got.kind, got.parameters) == ("bookkeeping", 0)
    assert row.pattern in got.rule


def test_biases_of_mlx_are_no_biases():
    found = report(
        tensors(*MLX_4, f"{Q}bias 32 f16"), {"quantization": {"bits": 4, "group_size": 16}}
    )
    assert found.parameters.bias == 64


def test_mlx_modules_with_settings_of_their_own():
    given = [
        "model.layers.0.mlp.up_proj.weight 32x8 u32",
        "model.layers.0.mlp.up_proj.scales 32x4 f16",
        "model.layers.1.mlp.up_proj.weight 32x8 u32",
        "model.layers.1.mlp.up_proj.scales 32x2 f16",
    ]
    settings = {"bits": 4, "group_size": 16, "mode": "affine",
                "model.layers.1.mlp.up_proj": {"bits": 8, "group_size": 16}}  # fmt: skip
    found = report(tensors(*given), {"quantization": settings})
    assert (found.parameters.total, codes(found)) == (2048 + 1024, [])


def test_modules_of_one_kind_with_different_scales():
    given = ["model.layers.0.mlp.up_proj.qweight 8x32 i32", "model.layers.0.mlp.up_proj.scales 4x32 f16",
             "model.layers.1.mlp.up_proj.qweight 8x32 i32", "model.layers.1.mlp.up_proj.scales 1x32 f16"]  # fmt: skip
    assert total(*given, settings={"bits": 4}) == (2 * 2048, [])


def test_a_module_that_lost_its_scales():
    given = [f"{Q}qweight 8x32 i32", "model.layers.0.self_attn.q_proj.scales 4x32 f16"]
    assert total(*given, settings={}) == (None, ["WK701", "WK701"])


@pytest.mark.parametrize(
    ("given", "settings", "expected"),
    [
        (GPTQ_4, {"bits": 8}, 4096),  # the shapes refute the config
        (
            [f"{Q}weight 32x64 f8_e4m3", f"{Q}weight_scale_inv 3x5 f32"],
            {"weight_block_size": [16, 16]},
            4096,
        ),
        (MLX_4, {"bits": 4, "group_size": 32}, None),  # nothing says which of the two is wrong
        ([f"{Q}weight 1024x1 u8", f"{Q}weight.absmax 99 f32"], {}, 4096),
        (
            ["h.[0-1].mlp.up_proj_blocks 2x16x2x16 u8", "h.[0-1].mlp.up_proj_scales 2x16x3 u8"],
            {},
            None,
        ),
    ],
    ids=["gptq", "fp8", "mlx", "bitsandbytes", "mxfp4"],
)
def test_disagreement(given, settings, expected):
    found, told = total(*given, settings=settings)
    assert found == expected
    assert "WK702" in told


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 80, b"[" * 80, b"[]", b'{"shape": [1e9]}', b'{"shape": [-1, 5]}', b"\xff"],
    ids=repr,
)
def test_a_quant_state_that_cannot_be_read(content):
    names = [
        f"model.layers.{layer}.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4"
        for layer in (0, 1)
    ]
    found, told = total(*NF4, contents=dict.fromkeys(names, content))
    assert (found, told) == (4096, ["WK702"])


def test_a_quant_state_of_an_odd_count():
    given = [
        "m.up_proj.weight 8x1 u8",
        "m.up_proj.weight.absmax 1 f32",
        "m.up_proj.weight.quant_state.bitsandbytes__nf4 80 u8",
    ]
    state = {
        "m.up_proj.weight.quant_state.bitsandbytes__nf4": json_state(shape=[3, 5], blocksize=64)
    }
    assert total(*given, contents=state) == (15, [])


@pytest.mark.parametrize(
    "given",
    [
        [f"{Q}Qidxs 32x8 i64"],
        [f"{Q}indices 1x8 i32", f"{Q}centroids 1x8 f16"],
        [f"{Q}_weight_qdata 4x4x32x4 i32", f"{Q}_weight_scale_and_zero 4x32x2 bf16"],
        [f"{Q}B 4x64 i32", f"{Q}s 1x32 f16"],
        [f"{Q}dense_weights 512 i64", f"{Q}row_offsets 33 i32"],
        [f"{Q}weight 8x64 i16"],
        [f"{Q}W_q 7x128 i32", f"{Q}scale 1x128 f16"],
        [f"{Q}weight._data._data 64x16 u8"],
        [f"{Q}weight_packed 32x7 i32", f"{Q}weight_scale 32x1 bf16"],
        [f"{Q}qweight 8x32 i32"],
        [f"{Q}W_q 32x32 u8"],
        [f"{Q}codes 32x8x1 i16", f"{Q}codebooks 1x256 f16"],
        [f"{Q}weight_packed 32x8 i32"],
        [f"{Q}weight 32x8 i32"],
    ],
    ids=lambda given: given[0].split(".")[-1],
)
def test_unknown_rather_than_wrong(given):
    found = report(
        tensors(*given, "model.norm.weight 64"), {"quantization_config": {"quant_method": "new"}}
    )
    assert found.parameters.total is None
    assert found.parameters.unique is None
    assert set(codes(found)) == {"WK701"}
    assert sum(row.parameters for row in found.components) == 64


def test_settings_from_files_of_their_own():
    for name in ("quantize_config.json", "quant_config.json"):
        found = report(tensors(f"{Q}qweight 4x32 i32"), configs={name: {"bits": 2}})
        assert found.parameters.total == 4096
    nested = {"hf_quant_config.json": {"quantization": {"quant_algo": "W2", "bits": 2}}}
    assert report(tensors(f"{Q}qweight 4x32 i32"), configs=nested).parameters.total == 4096


def test_bits_per_weight_counts_the_bookkeeping():
    found = report(tensors(*GPTQ_4), {"quantization_config": {"bits": 4}})
    stored = 8 * 32 * 4 + 4 * 32 * 2 + 4 * 4 * 4 + 64 * 4
    assert found.bits_per_weight == 8 * stored / 2048
    assert found.parameters.stored_elements == 2 * (256 + 128 + 16 + 64)


def test_gguf_types_are_logical():
    found = report(tensors("blk.0.attn_q.weight 8x256 q4_k"), format="gguf")
    assert (found.parameters.total, found.bits_per_weight) == (2048, 4.5)


def test_content_is_read_within_limits():
    asked = []

    class Slow(Opened):
        def read_bytes(self, tensor, limit):
            asked.append(limit)
            return bytes(limit)

    rows = [f"m.up_{n}.weight 8x{n + 1} u8" for n in range(5000)]
    rows += [f"m.up_{n}.weight.quant_state.bitsandbytes__nf4 80 u8" for n in range(5000)]
    rows += [f"m.up_{n}.weight.absmax 1 f32" for n in range(5000)]
    inspect(Slow(tuple(tensors(*rows))))
    assert len(asked) == 4096
    assert max(asked) <= 4096
