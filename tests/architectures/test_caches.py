"""Configs and GGUF metadata lead to the cache of each layer, or to the field that is missing."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.architectures.cache_configs import (
    CASES,
    DEEPSEEK_V3_1,
    GEMMA_3_1B,
    GEMMA_3_27B,
    LLAMA_3_1_8B,
    NOTHING_KEPT,
    QWEN3_0_6B,
    Case,
    attention,
    hf,
    kinds,
)
from weightkit.architectures.caches.config import describe_config
from weightkit.architectures.caches.families import (
    BART_LIKE,
    ENCODERS,
    FAMILIES,
    FAMILY,
    GGUF_ENCODERS,
    GGUF_WINDOWS,
    NOT_COVERED,
    T5_LIKE,
)
from weightkit.architectures.caches.fields import MAX_LAYERS, ROWS
from weightkit.architectures.caches.gguf import describe_gguf
from weightkit.architectures.caches.kinds import DIFFERING
from weightkit.architectures.caches.lists import LAYER_TYPES
from weightkit.architectures.caches.mixers import MIXERS
from weightkit.architectures.caches.rules import RULES
from weightkit.architectures.caches.shapes import LayerCache
from weightkit.tensors import ArrayRef


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_published_config_gives_its_layers(case: Case) -> None:
    shape = describe_config(case.config)
    assert (shape.unknown, shape.none) == ("", "")
    assert sorted(shape.layers) == sorted((layer, count) for count, layer in case.layers)
    assert shape.depth == sum(count for count, _ in case.layers)


@pytest.mark.parametrize(("name", "config"), NOTHING_KEPT)
def test_what_reads_its_input_once_keeps_nothing(name: str, config: dict[str, Any]) -> None:
    shape = describe_config(config)
    assert shape.none
    assert shape.layers == ()
    assert shape.unknown == ""


def test_a_bert_that_decodes_keeps_a_cache() -> None:
    shape = describe_config({**hf("bert", 12, 12, 768), "is_decoder": True})
    assert shape.layers == ((attention(12, 64), 12),)


@pytest.mark.parametrize("model_type", NOT_COVERED)
def test_a_cache_of_another_kind_is_unknown(model_type: str) -> None:
    shape = describe_config(hf(model_type, 32, 32, 4096, num_key_value_heads=8))
    assert model_type in shape.unknown
    assert shape.layers == ()


# What is missing ---------------------------------------------------------------------------

GEMMA_TEXT = GEMMA_3_27B["text_config"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (LLAMA_3_1_8B, "num_hidden_layers"),
        (LLAMA_3_1_8B, "num_attention_heads"),
        (LLAMA_3_1_8B, "hidden_size"),
        (QWEN3_0_6B, "head_dim"),
        (GEMMA_3_1B, "head_dim"),
        (hf("gemma4_text", 6, 8, 2304, num_key_value_heads=4, head_dim=256, sliding_window=512,
            global_head_dim=512), "global_head_dim"),
        (hf("mistral", 32, 32, 4096, num_key_value_heads=8, sliding_window=None), "sliding_window"),
        (hf("mixtral", 32, 32, 4096, num_key_value_heads=8), "num_key_value_heads"),
        (DEEPSEEK_V3_1, "qk_rope_head_dim"),
        (hf("jamba", 32, 32, 4096, num_key_value_heads=8, attn_layer_period=8,
            attn_layer_offset=4, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2),
         "mamba_d_state"),
    ],
)  # fmt: skip
def test_a_missing_field_makes_it_unknown(config: dict[str, Any], field: str) -> None:
    cut = {key: value for key, value in config.items() if key != field}
    assert describe_config(config).unknown == ""
    shape = describe_config(cut)
    assert shape.missing == field
    assert shape.unknown.startswith(field)
    assert shape.layers == ()
    assert not shape.bad_field


def test_a_nested_field_is_named_with_its_path() -> None:
    text = {key: value for key, value in GEMMA_TEXT.items() if key != "model_type"}
    del text["head_dim"]
    shape = describe_config({"model_type": "gemma3", "text_config": text})
    assert shape.missing == "text_config.head_dim"


def test_an_unlisted_model_type_is_read_by_its_fields_and_says_so() -> None:
    config = hf("brand_new", 2, 16, 2048, num_key_value_heads=4)
    shape = describe_config(config)
    assert shape.layers == ((attention(4, 128), 2),)
    assert shape.assumed
    assert "brand_new" in shape.notes[0]
    assert "head_dim" in shape.notes[1]


@pytest.mark.parametrize("key", DIFFERING)
def test_an_unlisted_model_type_whose_layers_may_differ_is_unknown(key: str) -> None:
    config = hf("brand_new", 2, 16, 2048, num_key_value_heads=4, **{key: 16})
    assert describe_config(config).missing == "layer_types"
    listed = {**config, "layer_types": ["full_attention"] * 2}
    assert describe_config(listed).layers == ((attention(4, 128), 2),)


def test_a_config_says_what_it_used() -> None:
    shape = describe_config(GEMMA_3_27B)
    assert shape.used["text_config.num_key_value_heads"] == 16
    assert shape.used["text_config.period (rule of the family)"] == 6
    assert shape.context == 131072  # of the class
    assert (shape.hidden, shape.heads) == (5376, 32)


def test_a_window_that_is_turned_off_is_no_hint() -> None:
    config = hf("brand_new", 2, 16, 2048, num_key_value_heads=4, sliding_window=16)
    shape = describe_config({**config, "use_sliding_window": False})
    assert shape.layers == ((attention(4, 128), 2),)


# What is wrong -----------------------------------------------------------------------------

BAD_VALUES = ["32", -1, 0, True, math.nan, math.inf, 3.5, [], {}, 1 << 40, [1, 2]]


@pytest.mark.parametrize("field", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
def test_an_unusable_value_is_named(field: str, value: object) -> None:
    shape = describe_config({**LLAMA_3_1_8B, field: value})
    assert shape.missing == field
    assert shape.bad_field
    assert shape.layers == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_key_value_heads": [8] * 31}, "num_key_value_heads"),
        ({"num_key_value_heads": [8] * 31 + ["x"]}, "num_key_value_heads"),
        ({"layer_types": ["full_attention"] * 31}, "layer_types"),
        ({"layer_types": ["full_attention"] * 31 + ["nonsense"]}, "layer_types"),
        ({"layer_types": [["full_attention"]] * 32}, "layer_types"),
        ({"layer_types": {"0": "full_attention"}}, "layer_types"),
        ({"num_kv_shared_layers": 40}, "num_kv_shared_layers"),
        ({"block_configs": [{}]}, "block_configs"),
        ({"hidden_size": 4095}, "head_dim"),
        ({"per_layer_config": [1]}, "per_layer_config"),
        ({"per_layer_config": {"last": {}}}, "per_layer_config"),
        ({"per_layer_config": {"0": {"head_dim": [1]}}}, "per_layer_config"),
        (
            {"per_layer_config": {str(i): {"head_dim": i + 1} for i in range(200)}},
            "per_layer_config",
        ),
        ({"per_layer_config": {"1": {"head_dim": "wide"}}}, "head_dim"),
    ],
)
def test_a_config_that_contradicts_itself_is_unknown(change: dict[str, Any], field: str) -> None:
    shape = describe_config({**LLAMA_3_1_8B, **change})
    assert shape.missing == field
    assert shape.layers == ()


@pytest.mark.parametrize(
    "config",
    [
        hf("llama", MAX_LAYERS, 1 << 20, 1 << 30, num_key_value_heads=list(range(MAX_LAYERS))),
        {"text_config": {"text_config": {"text_config": {"text_config": {}}}}},
        hf("jamba", 32, 32, 4096, attn_layer_period=0, attn_layer_offset=0),
        hf("bamba", 32, 32, 4096, attn_layer_indices=list(range(10**6))),
        hf("nemotron_h", 5, 32, 4096, hybrid_override_pattern="(a+)+$"),
        hf("kimi_linear", 4, 4, 64, linear_attn_config={"full_attn_layers": [0]}),
        {"model_type": ["llama"]},
        {"model_type": "x" * 10_000_000},
    ],
)  # fmt: skip
def test_a_hostile_config_ends_soon_and_unknown(config: dict[str, Any]) -> None:
    start = time.process_time()
    shape = describe_config(config)
    assert time.process_time() - start < 1
    assert shape.unknown
    assert len(shape.unknown) < 500


NASTY = [
    None, True, False, 0, -1, 3, 8, 10**6, 1 << 40, 1.5, 64.0, math.nan, math.inf, "", "auto",
    "LLLG", "full_attention", "mamba", "M*", [], [0], [1, 2, 3, 4], ["full_attention"], [None],
    [["global"], 2], [[["global"], 2]], [{}], {}, {"0": 1}, {"head_dim": 4}, [[[[[[]]]]]], {"1": {"head_dim": 8}},
]  # fmt: skip
KEYS = {key.split(".")[0] for row in ROWS.values() for key in row.config}
LISTS = {
    "layer_types", "layers_block_type", "block_types", "text_config", "block_configs", "use_cla",
    "attn_layer_indices", "attn_layer_period", "attn_layer_offset", "hybrid_override_pattern",
    "hybrid_layer_pattern", "attention_types", "attn_type_list", "no_rope_layers", "multi_query",
    "cross_attention_layers", "use_sliding_window", "per_layer_config", "full_attn_idxs", "model_type",
}  # fmt: skip
ALL_KEYS = sorted(KEYS | LISTS)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([case.config for case in CASES]),
    st.dictionaries(st.sampled_from(ALL_KEYS), st.sampled_from(NASTY), max_size=6),
)
def test_no_config_raises(config: dict[str, Any], changes: dict[str, Any]) -> None:
    changed = {**config, **changes}
    if isinstance(changed.get("text_config"), dict):
        changed["text_config"] = {**changed["text_config"], **changes}
    shape = describe_config(changed)
    assert bool(shape.unknown) + bool(shape.none) + bool(shape.layers) == 1


# GGUF --------------------------------------------------------------------------------------


def gguf(arch: str, **keys: Any) -> dict[str, Any]:
    named = {f"{arch}.{key.replace('__', '.')}": value for key, value in keys.items()}
    return {"general.architecture": arch, **named}


def heads(count: int, kv: Any, key: int = 0, value: int = 0) -> dict[str, Any]:
    stated = {"attention__head_count": count, "attention__head_count_kv": kv}
    if key:
        stated |= {"attention__key_length": key, "attention__value_length": value or key}
    return stated


GGUF_CASES: list[tuple[str, dict[str, Any], list[tuple[int, LayerCache]]]] = [
    ("llama 3.1 8B", gguf("llama", block_count=32, embedding_length=4096, **heads(32, 8)),
     [(32, attention(8, 128))]),
    ("mistral v0.1: llama.cpp does not apply its window",
     gguf("llama", block_count=32, embedding_length=4096, attention__sliding_window=4096,
          **heads(32, 8)), [(32, attention(8, 128))]),
    ("gpt-2: no key-value head count means all heads",
     gguf("gpt2", block_count=12, embedding_length=768, attention__head_count=12),
     [(12, attention(12, 64))]),
    ("gemma 3 27B", gguf("gemma3", block_count=62, embedding_length=5376,
                         attention__sliding_window=1024, **heads(32, 16, 128)),
     [(52, attention(16, 128, window=1024)), (10, attention(16, 128))]),
    ("gemma 2: a window in the loader", gguf("gemma2", block_count=42, embedding_length=3584,
                                             **heads(16, 8, 256)),
     [(21, attention(8, 256, window=4096)), (21, attention(8, 256))]),
    ("gemma 3n: shared layers", gguf("gemma3n", block_count=35, embedding_length=2048,
                                     attention__sliding_window=512,
                                     attention__shared_kv_layers=15, **heads(8, 2, 256)),
     [(16, attention(2, 256, window=512)), (4, attention(2, 256)), (15, LayerCache())]),
    ("gemma 4: flags, heads and widths by layer",
     gguf("gemma4", block_count=6, embedding_length=5376, attention__sliding_window=1024,
          attention__sliding_window_pattern=[True] * 5 + [False],
          attention__key_length_swa=256, attention__value_length_swa=256,
          **heads(32, [16] * 5 + [4], 512)),
     [(5, attention(16, 256, window=1024)), (1, attention(4, 512))]),
    ("gpt-oss 20b", gguf("gpt-oss", block_count=24, embedding_length=2880,
                         attention__sliding_window=128, **heads(64, 8, 64)),
     [(12, attention(8, 64, window=128)), (12, attention(8, 64))]),
    ("smallthinker: the first of each four is full",
     gguf("smallthinker", block_count=8, embedding_length=2560, attention__sliding_window=4096,
          **heads(28, 4, 128)), [(2, attention(4, 128)), (6, attention(4, 128, window=4096))]),
    ("llama 4 scout", gguf("llama4", block_count=48, embedding_length=5120, **heads(40, 8, 128)),
     [(36, attention(8, 128, window=8192)), (12, attention(8, 128))]),
    ("qwen2", gguf("qwen2", block_count=28, embedding_length=3584, **heads(28, 4)),
     [(28, attention(4, 128))]),
    ("deepseek v3 with latent attention",
     gguf("deepseek2", block_count=61, embedding_length=7168, attention__kv_lora_rank=512,
          attention__key_length_mla=192, attention__value_length_mla=128,
          rope__dimension_count=64, **heads(128, 1, 576, 512)),
     [(61, LayerCache(latent=576))]),
    ("deepseek v2, an old file: keys and values per head",
     gguf("deepseek2", block_count=27, embedding_length=2048, attention__kv_lora_rank=512,
          rope__dimension_count=64, **heads(16, 16, 192, 128)), [(27, attention(16, 192, 128))]),
    ("deepseek v3.2: an indexer", gguf("deepseek32", block_count=62, embedding_length=7168,
                                      nextn_predict_layers=1, attention__kv_lora_rank=512,
                                      attention__key_length_mla=192,
                                      attention__indexer__key_length=128,
                                      **heads(128, 1, 576, 512)),
     [(61, LayerCache(latent=576, indexer=128))]),
    ("glm 4.5 air: the block for further tokens has no cache",
     gguf("glm4moe", block_count=47, embedding_length=4096, nextn_predict_layers=1,
          **heads(96, 8, 128)), [(46, attention(8, 128))]),
    ("jamba: no heads on recurrent layers",
     gguf("jamba", block_count=8, embedding_length=4096, ssm__conv_kernel=4, ssm__inner_size=8192,
          ssm__state_size=16, ssm__time_step_rank=256, **heads(32, [0, 0, 0, 0, 8, 0, 0, 0], 128)),
     [(7, LayerCache(conv=8192, kernel=4, state=8192 * 16)), (1, attention(8, 128))]),
    ("granite 4 hybrid", gguf("granitehybrid", block_count=4, embedding_length=1536,
                              ssm__conv_kernel=4, ssm__inner_size=3072, ssm__state_size=128,
                              ssm__group_count=1, **heads(12, [0, 0, 0, 4], 128)),
     [(3, LayerCache(conv=3072 + 256, kernel=4, state=3072 * 128)), (1, attention(4, 128))]),
    ("nemotron h: feed-forward layers are neither",
     gguf("nemotron_h", block_count=4, embedding_length=4096, ssm__conv_kernel=4,
          ssm__inner_size=8192, ssm__state_size=128, ssm__group_count=8,
          feed_forward_length=[0, 21504, 0, 21504], **heads(32, [0, 0, 8, 0], 128)),
     [(1, LayerCache(conv=8192 + 2048, kernel=4, state=8192 * 128)), (2, LayerCache()),
      (1, attention(8, 128))]),
    ("falcon h1: both in every layer", gguf("falcon-h1", block_count=44, embedding_length=3072,
                                            ssm__conv_kernel=4, ssm__inner_size=3072,
                                            ssm__state_size=256, ssm__group_count=1,
                                            **heads(12, 2, 128)),
     [(44, attention(2, 128, conv=3072 + 512, kernel=4, state=3072 * 256))]),
    ("qwen3 next: every fourth layer attends",
     gguf("qwen3next", block_count=48, embedding_length=2048, ssm__conv_kernel=4,
          ssm__inner_size=4096, ssm__state_size=128, ssm__group_count=16, ssm__time_step_rank=32,
          **heads(16, 2, 256)),
     [(36, LayerCache(conv=4096 + 2 * 16 * 128, kernel=4, state=4096 * 128)),
      (12, attention(2, 256))]),
    ("kimi linear", gguf("kimi-linear", block_count=4, embedding_length=2304, kda__head_dim=128,
                         ssm__conv_kernel=4, attention__kv_lora_rank=512,
                         attention__key_length_mla=192, **heads(32, [0, 0, 0, 1], 576, 512)),
     [(3, LayerCache(conv=3 * 4096, kernel=4, state=32 * 128 * 128)),
      (1, LayerCache(latent=576))]),
    ("lfm2", gguf("lfm2", block_count=4, embedding_length=2048, shortconv__l_cache=3,
                  **heads(32, [0, 0, 8, 0])),
     [(3, LayerCache(conv=2048, kernel=3)), (1, attention(8, 64))]),
    ("mamba", gguf("mamba", block_count=64, embedding_length=2560, ssm__conv_kernel=4,
                   ssm__inner_size=5120, ssm__state_size=16),
     [(64, LayerCache(conv=5120, kernel=4, state=5120 * 16))]),
    ("rwkv 7", gguf("rwkv7", block_count=24, embedding_length=1024, wkv__head_size=64),
     [(24, LayerCache(conv=2048, kernel=2, state=1024 * 64))]),
    ("rwkv 6 on qwen 2: one shifted token",
     gguf("rwkv6qwen2", block_count=64, embedding_length=5120, wkv__head_size=128,
          token_shift_count=1), [(64, LayerCache(conv=5120, kernel=2, state=5120 * 128))]),
    ("t5", gguf("t5", block_count=12, embedding_length=768, **heads(12, 12, 64)),
     [(12, attention(12, 64, cross=2 * 12 * 64))]),
    ("deci: blocks without attention", gguf("deci", block_count=3, embedding_length=8192,
                                            **heads([64, 0, 64], [8, 0, 4], 128)),
     [(1, attention(8, 128)), (1, LayerCache()), (1, attention(4, 128))]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "metadata", "layers"), GGUF_CASES, ids=[name for name, _, _ in GGUF_CASES]
)
def test_gguf_metadata_gives_its_layers(
    name: str, metadata: dict[str, Any], layers: list[tuple[int, LayerCache]]
) -> None:
    shape = describe_gguf(metadata)
    assert (shape.unknown, shape.none) == ("", "")
    assert sorted(shape.layers) == sorted((layer, count) for count, layer in layers)


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({}, "general.architecture"),
        (gguf("llama"), "llama.block_count"),
        (gguf("llama", block_count=2), "llama.attention.head_count"),
        (gguf("llama", block_count=2, **heads(32, 8)), "llama.embedding_length"),
        (gguf("deepseek2", block_count=2, embedding_length=64, **heads(2, 2)),
         "deepseek2.attention.kv_lora_rank"),
        (gguf("gpt-oss", block_count=2, embedding_length=64, **heads(2, 2, 64)),
         "gpt-oss.attention.sliding_window"),
        (gguf("mamba", block_count=2), "mamba.ssm.inner_size"),
        (gguf("glm4moe", block_count=2, embedding_length=64, nextn_predict_layers=2, **heads(2, 2)),
         "glm4moe.nextn_predict_layers"),
        (gguf("gemma4", block_count=2, embedding_length=64, attention__sliding_window=8,
              **heads(2, 2, 64)), "gemma4.attention.sliding_window_pattern"),
    ],
)  # fmt: skip
def test_a_missing_key_makes_it_unknown(metadata: dict[str, Any], field: str) -> None:
    shape = describe_gguf(metadata)
    assert shape.missing == field
    assert shape.layers == ()


@pytest.mark.parametrize("architecture", [*sorted(GGUF_ENCODERS), "llada"])
def test_a_gguf_encoder_keeps_nothing(architecture: str) -> None:
    assert describe_gguf(gguf(architecture, block_count=12)).none


@pytest.mark.parametrize("kind", ["adapter", "mmproj"])
def test_a_gguf_that_is_no_model_keeps_nothing(kind: str) -> None:
    metadata = {**gguf("llama", block_count=32), "general.type": kind}
    assert kind in describe_gguf(metadata).none


GGUF_KEYS = sorted({row.gguf for row in ROWS.values() if row.gguf})


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([metadata for _, metadata, _ in GGUF_CASES]),
    st.dictionaries(st.sampled_from(GGUF_KEYS), st.sampled_from(NASTY), max_size=6),
)
def test_no_gguf_metadata_raises(metadata: dict[str, Any], changes: dict[str, Any]) -> None:
    arch = metadata["general.architecture"]
    shape = describe_gguf({**metadata, **{f"{arch}.{key}": item for key, item in changes.items()}})
    assert bool(shape.unknown) + bool(shape.none) + bool(shape.layers) == 1


def test_the_vocabulary_may_stay_in_the_file() -> None:
    tokens = ArrayRef("string", 262_144, 0, 0)
    metadata = gguf("llama", block_count=2, embedding_length=64, **heads(2, 2))
    assert describe_gguf({**metadata, "tokenizer.ggml.tokens": tokens}).vocabulary == 262_144


# The tables --------------------------------------------------------------------------------

TYPES = {
    str(table.get("model_type", "mamba_ssm" if "ssm_cfg" in table else ""))
    for case in CASES
    for table in (case.config, *(v for v in case.config.values() if isinstance(v, dict)))
}


def test_a_model_type_stands_in_one_table() -> None:
    names = [name for row in FAMILIES for name in row.names.split()]
    assert len(names) == len(set(names)) == len(FAMILY)
    tables = [set(names), set(NOT_COVERED), BART_LIKE, T5_LIKE, ENCODERS]
    assert len(set().union(*tables)) == sum(map(len, tables))


def test_every_rule_has_a_config_here() -> None:
    assert {FAMILY[name].kinds for name in TYPES & set(FAMILY)} == set(RULES)


def test_every_mixer_has_a_config_here() -> None:
    assert {FAMILY[name].mixer for name in TYPES & set(FAMILY)} == {*MIXERS, ""}


@pytest.mark.parametrize("name", sorted(name for row in FAMILIES for name in row.names.split()))
def test_every_family_gives_layers_or_names_a_field(name: str) -> None:
    """Each row, on a config with every field that any row may need."""
    config = hf(
        name, 8, 8, 512, num_key_value_heads=2, head_dim=64, sliding_window=16,
        use_sliding_window=False, max_window_layers=4, attention_chunk_size=32,
        cross_attention_layers=[1], attention_types=[[["global", "local"], 4]],
        attn_layer_period=4, attn_layer_offset=1, attn_layer_indices=[3],
        hybrid_override_pattern="M*" * 4, block_types=["recurrent", "attention"],
        linear_attn_config={"full_attn_layers": [4], "head_dim": 64, "num_heads": 8,
                            "short_conv_kernel_size": 4},
        attn_type_list=[0, 1] * 4, conv_L_cache=3, mamba_expand=2, mamba_d_state=16,
        mamba_d_conv=4, mamba_n_heads=16, mamba_d_head=64, mamba_n_groups=1,
        linear_num_key_heads=4, linear_num_value_heads=8, linear_key_head_dim=32,
        linear_value_head_dim=32, linear_conv_kernel_dim=4, global_head_dim=64, expand=2, state_size=16,
        conv_kernel=4, n_groups=1, num_heads=16, lru_width=512, head_size=64, index_head_dim=32,
        qk_rope_head_dim=16, qk_nope_head_dim=16,
    )  # fmt: skip
    shape = describe_config(config)
    if FAMILY[name].kinds == "listed":
        assert shape.missing == "layer_types"
        shape = describe_config({**config, "layer_types": kinds("lllf" * 2)})
    assert shape.unknown == ""
    assert sum(count for _, count in shape.layers) in (8, 16)
    assert not shape.assumed


@pytest.mark.parametrize("kind", LAYER_TYPES)
def test_every_layer_type_is_read(kind: str) -> None:
    config = hf(
        "falcon_h1", 1, 8, 512, num_key_value_heads=2, head_dim=64, sliding_window=16,
        attention_chunk_size=16, index_head_dim=32, layer_types=[kind], mamba_d_ssm=512,
        mamba_d_state=16, mamba_d_conv=4, mamba_n_groups=1, conv_L_cache=3,
    )  # fmt: skip
    shape = describe_config(config)
    ((layer, _),) = shape.layers
    word = LAYER_TYPES[kind]
    assert bool(layer.kv_heads) == (word not in ("linear", "conv", "none"))
    assert bool(layer.window) == (word in ("sliding", "chunked", "hybrid_sliding"))
    assert bool(layer.conv) == (word in ("linear", "conv", "hybrid", "hybrid_sliding"))
    assert bool(layer.indexer) == (word == "indexed")


@pytest.mark.parametrize("architecture", GGUF_WINDOWS)
def test_every_windowed_architecture_is_read(architecture: str) -> None:
    period, dense_first, _ = GGUF_WINDOWS[architecture]
    pattern = {} if period else {"attention__sliding_window_pattern": [True, False] * 4}
    metadata = gguf(
        architecture, block_count=8, embedding_length=512, attention__sliding_window=64,
        **heads(8, 2, 64), **pattern,
    )  # fmt: skip
    shape = describe_gguf(metadata)
    windows = {bool(layer.window): count for layer, count in shape.layers}
    assert windows[False] == 8 // (period or 2)
    assert shape.layers[0][0].window == (
        0 if dense_first else 8192 if "llama" in architecture else 64
    )


def test_json_that_is_not_quite_json_is_survived() -> None:
    config = json.loads('{"model_type": "llama", "num_hidden_layers": NaN}')
    assert describe_config(config).missing == "num_hidden_layers"
