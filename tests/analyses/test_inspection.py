"""The inspection as a whole: tables, summary, explanations, and configs that mean harm."""

from __future__ import annotations

import time
from typing import Any

import pytest
from checkpoints import Opened, report, tensor, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.analyses.inspection import BY, explain, inspect
from weightkit.analyses.summary import front_matter

SMALL = (
    "model.embed_tokens.weight 100x8 bf16",
    "model.layers.[0-11].self_attn.q_proj.weight 8x8 bf16",
    "model.layers.[0-11].mlp.fc1.weight 8x8 bf16",
    "model.layers.[0-11].mlp.fc2.weight 8x8 bf16",
    "model.layers.[0-11].rotary_emb.inv_freq 4",
    "model.norm.weight 8 bf16",
)


def test_groups_fold_layers_and_keep_names_apart():
    found = report(tensors(*SMALL))
    assert [(group.pattern, group.count, group.parameters) for group in found.groups] == [
        ("model.embed_tokens.weight", 1, 800),
        ("model.layers.[0-11].self_attn.q_proj.weight", 12, 768),
        ("model.layers.[0-11].mlp.fc1.weight", 12, 768),
        ("model.layers.[0-11].mlp.fc2.weight", 12, 768),
        ("model.layers.[0-11].rotary_emb.inv_freq", 12, 0),
        ("model.norm.weight", 1, 8),
    ]
    assert found.groups[1].component == "attention"


def test_groups_of_scattered_layers():
    found = report(tensors("h.[0,2,4,6,8,10,12,14,16,18].ln_1.weight 4"))
    assert found.groups[0].pattern == "h.[0,2,4,6,8,10,12,14,…].ln_1.weight"


def test_counts():
    found = report(tensors(*SMALL))
    counts = found.parameters
    assert counts.total == counts.unique == 800 + 3 * 768 + 8
    assert (counts.buffers, counts.bias, counts.active) == (48, 0, None)
    assert counts.stored_elements == counts.total + 48
    assert found.layers == 12
    assert found.bits_per_weight == 16.0
    assert found.nbytes == 2 * counts.total + 48 * 4
    assert [(row.dtype, row.elements) for row in found.dtypes] == [("bf16", 3112), ("f32", 48)]
    assert sum(row.parameters for row in found.components) == counts.total


@pytest.mark.parametrize("by", BY)
def test_shares_add_up(by):
    found = inspect(Opened(tuple(tensors(*SMALL))), by=by)
    assert sum(share.tensors for share in found.shares) == found.tensors
    assert sum(share.parameters for share in found.shares) == found.parameters.total
    assert sum(share.nbytes for share in found.shares) == found.nbytes


def test_shares_by_layer_of_several_runs():
    given = tensors(
        "encoder.layers.[0-1].mlp.fc1.weight 8x8", "decoder.layers.[0-1].mlp.fc1.weight 8x8"
    )
    found = inspect(Opened(tuple(given)), by="layer")
    assert [share.key for share in found.shares] == [
        "encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1",
    ]  # fmt: skip


def test_explain():
    row = explain(Opened(tuple(tensors(*SMALL))), "model.layers.3.mlp.fc1.weight")
    assert (row.component, row.layer, row.kind) == ("feed_forward", 3, "parameter")
    assert row.rule
    with pytest.raises(KeyError):
        explain(Opened(()), "nothing")


def test_explain_says_how_a_packed_weight_was_counted():
    given = tensors("m.q_proj.weight 8x8 f8_e4m3", "m.q_proj.weight_scale 8x1 bf16")
    assert "64 by one element each" in explain(Opened(tuple(given)), "m.q_proj.weight").rule


def test_no_tensors_at_all():
    found = report([])
    assert (found.parameters.total, found.layers, found.bits_per_weight) == (0, None, None)


def test_summary():
    config = {
        "architectures": ["LlamaForCausalLM"],
        "transformers_version": "4.57.6",
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    }
    found = report(
        tensors(
            "model.layers.0.mlp.up_proj.qweight 16x32 i32",
            "model.layers.0.mlp.up_proj.scales 1x32 f16",
        ),
        config,
        card="license: apache-2.0\nbase_model:\n- some/base\ntags: [a, b]\n",
        beside=("tokenizer.json", "config.json"),
    )
    assert found.summary == {
        "architecture": "LlamaForCausalLM",
        "version": "4.57.6",
        "quantization": "gptq, 4 bits, groups of 128",
        "licence": "apache-2.0",
        "base_model": "some/base",
        "tokenizer": "tokenizer.json",
    }


def test_summary_of_gguf():
    metadata = {"general.architecture": "llama", "general.license": "mit", "tokenizer.ggml.model": "gpt2",
                "general.base_model.0.name": "Base"}  # fmt: skip
    given = tensors("blk.[0-1].attn_q.weight 256x256 q4_k", "blk.[0-1].attn_v.weight 32x256 q6_k")
    found = report(given, metadata=metadata, format="gguf").summary
    assert found == {"architecture": "llama", "quantization": "q4_k + q6_k", "licence": "mit",
                     "base_model": "Base", "tokenizer": "gpt2"}  # fmt: skip


def test_quantization_that_is_declared_and_absent():
    config = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    found = report(tensors("model.layers.0.mlp.up_proj.weight 8x8"), config).summary
    assert found["quantization"] == "awq, 4 bits, declared, but no tensor is packed"


def test_front_matter():
    card = 'license: "mit"\nbase_model:\n  - a/b\n  - c/d\nbad: [x, y]\n  nested: no\n: \n- stray'
    assert front_matter(card) == {
        "license": ["mit"],
        "base_model": ["a/b", "c/d"],
        "bad": ["x", "y"],
    }


ODD: list[Any] = [
    None, True, False, -1, 0, 1, 10**6, 10**12, 10**400, 1.5, float("inf"), float("nan"), "", "x" * 5000,
    "(a+)+$", [], [1, "a", None], [[]] * 5, {}, {"a": {"b": []}}, {"weights": {"num_bits": 0}},
]  # fmt: skip
KEYS = [
    "architectures", "model_type", "_class_name", "hidden_size", "num_hidden_layers", "vocab_size",
    "num_attention_heads", "num_key_value_heads", "head_dim", "tie_word_embeddings", "num_experts",
    "num_experts_per_tok", "moe_topk", "text_config", "ffn_config", "quantization_config", "quantization",
    "quant_method", "bits", "group_size", "config_groups", "weight_block_size", "weights", "nbits",
    "peft_type", "r", "lora_alpha", "target_modules", "rank_pattern", "total_parameters", "metadata",
    "num_nextn_predict_layers", "transformers_version", "base_model_name_or_path", "layer_types",
    "embedding_size", "attn_output_gate", "general.architecture", "general.type", "adapter.lora.alpha",
    "llama.block_count", "llama.expert_used_count", "llama.embedding_length", "general.license",
]  # fmt: skip
EVERYTHING = tuple(
    tensors(
        *SMALL,
        "model.layers.[0-1].mlp.experts.[0-1].up_proj.weight 8x8",
        "model.layers.[0-1].a.qweight 8x32 i32",
        "model.layers.[0-1].a.scales 4x32 f16",
        "model.layers.[0-1].b.weight_packed 8x4 i32",
        "model.layers.[0-1].b.weight_scale 8x4 f16",
        "model.layers.[0-1].b.weight_shape 2 i64",
        "model.layers.[0-1].c.weight 8x4 u32",
        "model.layers.[0-1].c.scales 8x2 f16",
        "model.layers.[0-1].d.weight 8x4 f8_e4m3",
        "model.layers.[0-1].d.weight_scale_inv 1x1 f32",
        "model.layers.[0-1].e.lora_A.weight 4x8",
        "model.layers.[0-1].e.lora_B.weight 8x4",
        "model.layers.[0-1].f.W_q 8x4 u8",
        "model.layers.[0-1].g.weight_packed 0x0 i32",
        "model.layers.[0-1].h.weight_packed - i32",
        "model.layers.[0-1].i.qweight 0x32 i32",
        "model.layers.[0-1].i.scales 0x0 f16",
        "blk.[0-1].ffn_up_exps.weight 0x0x4",
    )
)
values = st.recursive(
    st.sampled_from(ODD),
    lambda inner: (
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=12),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=6),
    st.sampled_from(["config.json", "adapter_config.json", "hf_quant_config.json"]),
    st.booleans(),
)
def test_hostile_configs(config, metadata, name, flat):
    index = {"model.safetensors.index.json": {"metadata": metadata}}
    opened = Opened(
        EVERYTHING, {name: config, **index}, metadata, "gguf" if flat else "safetensors"
    )
    found = inspect(opened, rows=True)
    assert len(found.rows) == len(EVERYTHING)
    for finding in found.findings:
        assert len(finding.message) < 2000


@pytest.mark.parametrize("key", KEYS)
def test_every_odd_value_of_every_key(key):
    for value in ODD:
        table = {key: value}
        config = {**table, "quantization_config": table, "text_config": table}
        inspect(Opened(EVERYTHING, {"config.json": config}, table))


def test_a_million_layers_are_quick():
    config = {"num_hidden_layers": 10**6, "num_experts_per_tok": [1] * 10**6, "hidden_size": 8}
    start = time.process_time()
    found = report(tensors(*SMALL), config)
    assert found.parameters.total == 800 + 3 * 768 + 8
    assert time.process_time() - start < 1


def test_fifty_thousand_tensors_are_quick():
    given = tuple(
        tensor(f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight", 8, 8, dtype="bf16")
        for layer in range(64)
        for expert in range(256)
        for name in ("up_proj", "gate_proj", "down_proj")
    )
    opened = Opened(given, {"config.json": {"num_experts_per_tok": 8}})
    took = []
    for _ in range(3):
        start = time.process_time()
        found = inspect(opened)
        took.append(time.process_time() - start)
    assert found.parameters.active == 64 * 3 * 64 * 8
    assert len(found.groups) == 3
    assert min(took) < 1  # 0.1 s on an idle machine


def test_more_kinds_of_names_than_any_model(monkeypatch):
    monkeypatch.setattr("weightkit.analyses.components.MAX_KINDS", 3)
    found = report(tensors(*SMALL))
    assert [finding.code for finding in found.findings] == ["WK705"]
    assert found.parameters.total == 800 + 3 * 768 + 8 + 48
    assert found.rows[-1].component == "other"


@pytest.mark.parametrize("text", ["a." * 30_000, "experts." * 30_000, "1." * 30_000, "0" * 60_000])
def test_endless_names_are_quick(text):
    start = time.process_time()
    found = report([tensor(f"{text}weight", 8, 8), tensor(f"{text}bias", 8)], {})
    assert found.parameters.total == 72
    assert time.process_time() - start < 2
