"""Adapters of every ecosystem: what they are, how strong, and what is wrong with them."""

from __future__ import annotations

import struct

import pytest
from checkpoints import codes, report, tensors

from weightkit.architectures.adapters import ECOSYSTEMS, METHODS, PAIRS

PEFT = "base_model.model.model.layers.[0-1].self_attn."
CONFIG = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"],
    "base_model_name_or_path": "some/base",
}
ROWS = [f"{PEFT}[0-0]" for _ in ()] + [
    f"{PEFT}{name}.lora_A.weight 8x64" for name in ("q_proj", "v_proj")
] + [f"{PEFT}{name}.lora_B.weight 32x8" for name in ("q_proj", "v_proj")]  # fmt: skip


def adapter(rows, config=None, **more):
    configs = {"adapter_config.json": config} if config is not None else {}
    found = report(tensors(*rows), configs=configs, **more)
    return found.summary.get("adapter"), found


def test_peft():
    got, found = adapter(ROWS, CONFIG)
    assert got == {
        "method": "LoRA",
        "names": "PEFT",
        "modules": 4,
        "rank": 8,
        "alpha": 16.0,
        "scale": 2.0,
        "targets": ["q_proj", "v_proj"],
        "base": "some/base",
        "share_of_adapted_weights": round(4 * 8 * 96 / (4 * 64 * 32), 6),
    }
    assert found.findings == ()
    assert [(row.component, row.parameters) for row in found.components] == [("lora", 4 * 8 * 96)]
    assert {row.region for row in found.rows} == {"adapter"}
    assert found.summary["base_model"] == "some/base"


def test_the_root_of_the_rank():
    assert adapter(ROWS, {**CONFIG, "r": 8, "use_rslora": True})[0]["scale"] == round(
        16 / 8**0.5, 6
    )


def test_without_config_the_scale_is_unknown():
    got, found = adapter(ROWS)
    assert "scale" not in got
    assert codes(found) == ["WK723"]


def test_dora():
    got, _ = adapter([*ROWS, f"{PEFT}q_proj.lora_magnitude_vector.weight 32"], CONFIG)
    assert got["method"] == "DoRA"


KOHYA = "lora_unet_down_blocks_0_attentions_0_proj_in"


def test_kohya_keeps_alpha_in_a_tensor():
    rows = [f"{KOHYA}.lora_down.weight 4x64", f"{KOHYA}.lora_up.weight 32x4", f"{KOHYA}.alpha -"]
    metadata = {"ss_base_model_version": "sdxl_base_v1-0"}
    contents = {f"{KOHYA}.alpha": struct.pack("<f", 2.0)}
    got, found = adapter(rows, contents=contents, metadata=metadata)
    assert (got["names"], got["rank"], got["alpha"], got["scale"]) == ("kohya", 4, 2.0, 0.5)
    assert (got["targets"], got["base"]) == (["proj_in"], "sdxl_base_v1-0")
    assert found.findings == ()
    assert found.parameters.total == 4 * 96
    assert found.parameters.buffers == 1


@pytest.mark.parametrize(
    ("dtype", "content", "alpha"),
    [("f16", struct.pack("<e", 8), 8.0), ("bf16", struct.pack("<f", 8)[2:], 8.0),
     ("f64", struct.pack("<d", 8), 8.0), ("i64", struct.pack("<q", 8), 8.0),
     ("f32", struct.pack("<f", float("nan")), None), ("f32", b"", None)],
)  # fmt: skip
def test_alpha_in_any_type(dtype, content, alpha):
    rows = [
        f"{KOHYA}.lora_down.weight 4x64",
        f"{KOHYA}.lora_up.weight 32x4",
        f"{KOHYA}.alpha - {dtype}",
    ]
    assert adapter(rows, contents={f"{KOHYA}.alpha": content})[0].get("alpha") == alpha


def test_an_alpha_of_zero_means_the_rank():
    rows = [f"{KOHYA}.lora_down.weight 4x64", f"{KOHYA}.lora_up.weight 32x4", f"{KOHYA}.alpha -"]
    assert adapter(rows, contents={f"{KOHYA}.alpha": bytes(4)})[0]["scale"] == 1.0


def test_dotted_paths_with_kohya_suffixes():
    rows = [
        "transformer.blocks.0.attn.to_q.lora_down.weight 4x8",
        "transformer.blocks.0.attn.to_q.lora_up.weight 8x4",
    ]
    assert adapter(rows)[0]["names"] == "diffusers paths with kohya suffixes"


def test_convolutions():
    rows = [f"{KOHYA}.lora_down.weight 4x64x3x3", f"{KOHYA}.lora_up.weight 32x4x1x1"]
    assert adapter(rows)[0]["rank"] == 4


def test_gguf():
    rows = ["blk.[0-1].attn_q.weight.lora_a 8x64", "blk.[0-1].attn_q.weight.lora_b 32x8"]
    metadata = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 16.0,
                "general.architecture": "llama"}  # fmt: skip
    got, found = adapter(rows, metadata=metadata, format="gguf")
    assert (got["names"], got["rank"], got["scale"], got["targets"]) == ("GGUF", 8, 2.0, ["weight"])
    assert found.findings == ()


@pytest.mark.parametrize(
    ("rows", "method"),
    [
        ([f"{KOHYA}.hada_w1_a 8x4", f"{KOHYA}.hada_w1_b 4x8", f"{KOHYA}.hada_w2_a 8x4"], "LoHa"),
        ([f"{KOHYA}.lokr_w1 4x4", f"{KOHYA}.lokr_w2_a 4x2"], "LoKr"),
        ([f"{KOHYA}.oft_blocks 2x4x4"], "OFT"),
        ([f"{PEFT}k_proj.ia3_l 64x1"], "IA3"),
        ([f"{PEFT}k_proj.vera_lambda_b 64"], "VeRA"),
        ([f"{KOHYA}.lora_down.weight 4x8", f"{KOHYA}.lora_up.weight 8x4", f"{KOHYA}.dora_scale 8x1"], "DoRA"),
        (["unet.mid.attn1.processor.to_q_lora.down.weight 4x8", "unet.mid.attn1.processor.to_q_lora.up.weight 8x4"],
         "LoRA"),
        (["prompt_embeddings 8x64"], "prompt"),
    ],
)  # fmt: skip
def test_method(rows, method):
    assert (
        adapter(rows, {"peft_type": "PROMPT"} if method == "prompt" else None)[0]["method"]
        == method
    )


def test_every_method_is_tested():
    assert {row.name for row in METHODS} == {
        "LoRA", "DoRA", "LoHa", "LoKr", "OFT", "IA3", "VeRA", "prompt"
    }  # fmt: skip


@pytest.mark.parametrize("row", ECOSYSTEMS, ids=lambda row: row.prefix)
def test_ecosystem(row):
    down, up = ("lora_down.weight", "lora_up.weight") if row.name == "kohya" else PAIRS[0]
    module = row.prefix + ("1_x" if row.name == "kohya" else ".m.to_q").lstrip(
        "." if row.prefix.endswith(".") else ""
    )
    got, _ = adapter([f"{module}.{down} 4x8", f"{module}.{up} 8x4"])
    assert got["names"] == row.name


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_pairs(down, up):
    outer = "m.to_q_" if down.startswith("lora.") else "m.to_q."
    down, up = down.replace("#", "1"), up.replace("#", "1")
    outer = outer.removesuffix(".") if down.startswith("_") else outer
    shapes = ("4x8", "8x4")
    got, found = adapter([f"{outer}{down} {shapes[0]}", f"{outer}{up} {shapes[1]}"])
    assert got["rank"] == 4
    assert codes(found) == ["WK723"]


@pytest.mark.parametrize(
    ("leaf", "shape", "dtype", "counts"),
    [
        ("lora_E", "8x1", "f32", (16, 0)),
        ("boft_R", "1x8x4x4", "f32", (256, 0)),
        ("bone_block", "8x64", "f32", (1024, 0)),
        ("c3a_kernel", "4x4x16", "f32", (512, 0)),
        ("fourierft_spectrum", "100", "f32", (200, 0)),
        ("hra_u", "64x8", "f32", (1024, 0)),
        ("adaption_prompt", "1x4x64", "f32", (512, 0)),
        ("poly_lora_A", "1x2x64x4", "f32", (1024, 0)),
        ("randlora_lambda", "8x8", "f32", (128, 0)),
        ("randlora_A", "8x1x64", "f32", (0, 1024)),
        ("shira_indices", "2x512", "i32", (0, 2048)),
        ("vera_A", "16x64", "f32", (0, 2048)),
    ],
)
def test_further_methods_of_peft(leaf, shape, dtype, counts):
    rows = [f"base_model.model.layers.[0-1].q_proj.{leaf} {shape} {dtype}"]
    found = report(tensors(*rows), {"peft_type": "X"})
    assert (found.parameters.total, found.parameters.buffers) == counts
    assert {row.component for row in found.rows} == {"lora"}
    assert found.summary["adapter"]["targets"] == ["q_proj"]
    assert codes(found) == []


def test_half_an_update():
    _, found = adapter([*ROWS, f"{PEFT}k_proj.lora_A.weight 8x64"], CONFIG)
    assert codes(found).count("WK720") == 2


def test_halves_that_do_not_fit():
    _, found = adapter(
        ["m.q_proj.lora_A.weight 8x64", "m.q_proj.lora_B.weight 32x4"], {"lora_alpha": 8}
    )
    assert codes(found) == ["WK720"]


def test_another_rank_than_declared():
    _, found = adapter(ROWS, {**CONFIG, "r": 16})
    assert codes(found) == ["WK721"]
    _, patterned = adapter(ROWS, {**CONFIG, "r": 16, "rank_pattern": {"q_proj": 8}})
    assert codes(patterned) == []


@pytest.mark.parametrize(
    "targets",
    [["q_proj", "v_proj", "w_pack"], ["gate_proj"], ["model.layers.9.self_attn.q_proj"]],
    ids=str,
)
def test_targets_that_match_nothing(targets):
    assert "WK722" in codes(adapter(ROWS, {**CONFIG, "target_modules": targets})[1])


def test_a_pattern_as_target_is_never_evaluated():
    assert adapter(ROWS, {**CONFIG, "target_modules": "(a+)+$" * 1000})[1].findings == ()


def test_modules_saved_whole():
    got, found = adapter([*ROWS, "base_model.model.lm_head.weight 100x64"], CONFIG)
    assert got["replaced_tensors"] == 1
    assert {row.component for row in found.components} == {"lora", "output_head"}


def test_a_model_is_no_adapter():
    assert adapter(["model.layers.0.self_attn.kv_a_proj_with_mqa.weight 8x8"])[0] is None
