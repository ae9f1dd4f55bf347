"""Bytes of caches: published figures hold, and each engine keeps what its source says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.architectures.cache_configs import (
    CASES,
    DEEPSEEK_V3_1,
    GEMMA_3_1B,
    GEMMA_3_27B,
    KIMI_K2_5,
    LLAMA_3_1_8B,
    QWEN3_0_6B,
    QWEN3_6_27B,
    gpt_oss,
    hf,
)
from weightkit.analyses.kv_cache import ANY, ENGINES, KV_TYPES, Setting, cache_bytes
from weightkit.analyses.kv_terms import cache_rows, cache_terms
from weightkit.architectures.caches.config import describe_config
from weightkit.architectures.caches.gguf import describe_gguf
from weightkit.architectures.caches.shapes import CacheShape, LayerCache
from weightkit.reports import ESTIMATE, EXACT, UNKNOWN

GIB, MIB = 1 << 30, 1 << 20
TRANSFORMERS, VLLM, LLAMA_CPP = (ENGINES[name] for name in ("transformers", "vllm", "llama.cpp"))


def size(config: dict[str, Any], context: int, **more: Any) -> Any:
    return cache_bytes(describe_config(config), Setting(context, **more))


# Each has been reported and checked elsewhere: by vLLM's token count, llama.cpp's log, or by hand.
@pytest.mark.parametrize(
    ("config", "setting", "nbytes"),
    [
        (LLAMA_3_1_8B, Setting(1), 131_072),
        (QWEN3_0_6B, Setting(40_960), 4.375 * GIB),
        (DEEPSEEK_V3_1, Setting(163_840), 61 * 576 * 2 * 163_840),
        (KIMI_K2_5, Setting(262_144), 61 * 576 * 2 * 262_144),
        (GEMMA_3_27B, Setting(131_072), 8_192 * (10 * 131_072 + 52 * 1_024)),
        (GEMMA_3_1B, Setting(32_768), 139 * MIB),
        (QWEN3_6_27B, Setting(262_144), 16_384 * MIB),
        (gpt_oss(24), Setting(8_192, 32), 6.09375 * GIB),
    ],
)
@pytest.mark.parametrize("engine", [ANY, TRANSFORMERS, LLAMA_CPP], ids=lambda row: row.name)
def test_published_figures_hold(
    config: dict[str, Any], setting: Setting, nbytes: float, engine: Any
) -> None:
    sizes = cache_bytes(describe_config(config), setting._replace(engine=engine))
    assert sizes.keys_values.low == nbytes


def test_published_figures_in_gib() -> None:
    def rounded(config: dict[str, Any], context: int) -> float:
        return round(size(config, context).keys_values.low / GIB, 2)

    assert rounded(DEEPSEEK_V3_1, 163_840) == 10.72
    assert rounded(KIMI_K2_5, 262_144) == 17.16
    assert rounded(GEMMA_3_27B, 131_072) == 10.41


def test_a_window_that_is_not_kept_as_one_costs_every_token() -> None:
    sizes = size(gpt_oss(24), 8_192, batch=32)
    assert sizes.keys_values.high == 12 * GIB
    assert size(gpt_oss(36), 78_384).per_token == 73_728
    assert size(gpt_oss(24), 8_192, batch=32, engine=VLLM).keys_values.high == 12 * GIB


def test_the_growth_per_token_leaves_windows_out() -> None:
    sizes = size(GEMMA_3_27B, 131_072)
    assert sizes.per_token == 62 * 8_192
    assert sizes.growth == (10 * 8_192, 62 * 8_192)
    assert size(GEMMA_3_27B, 1, engine=TRANSFORMERS).growth == (10 * 8_192, 10 * 8_192)


# Engines ----------------------------------------------------------------------------------


def test_llama_cpp_sets_aside_the_batch_in_flight() -> None:
    """Its log for this model: 10,240 MiB in 131,072 cells and 624 MiB in 1,536 cells."""
    sizes = size(GEMMA_3_27B, 131_072, engine=LLAMA_CPP)
    assert sizes.whole.low == sizes.whole.high == (10_240 + 624) * MIB
    assert sizes.padding.low == 208 * MIB


def test_llama_cpp_rounds_the_context_up() -> None:
    assert size(LLAMA_3_1_8B, 1_000, engine=LLAMA_CPP).whole.low == 1_024 * 131_072


def test_llama_cpp_ignores_a_window_that_it_does_not_know() -> None:
    mistral = hf("mistral", 32, 32, 4096, num_key_value_heads=8, sliding_window=4096)
    assert size(mistral, 32_768, engine=LLAMA_CPP).keys_values == (4 * GIB, 4 * GIB)
    assert size(mistral, 32_768, engine=TRANSFORMERS).keys_values == (GIB // 2, GIB // 2)
    assert size(mistral, 32_768).keys_values == (GIB // 2, 4 * GIB)


def test_vllm_rounds_up_to_blocks() -> None:
    assert size(LLAMA_3_1_8B, 1_000, engine=VLLM).whole == (1_008 * 131_072, 1_008 * 131_072)


def test_vllm_keeps_the_window_and_a_batch_and_a_block_or_everything() -> None:
    sizes = size(gpt_oss(24), 8_192, engine=VLLM)
    full = 12 * 2_048 * 8_192
    kept = 128 - 1 + 2_048  # tokens: 136 blocks, and one more
    assert sizes.whole.low == full + 12 * 2_048 * 137 * 16
    assert kept == 2_175
    assert sizes.whole.high == 2 * full


def test_a_window_longer_than_the_text_changes_nothing() -> None:
    for engine in (ANY, *ENGINES.values()):
        sizes = size(GEMMA_3_27B, 512, engine=engine)
        assert sizes.keys_values == (512 * 62 * 8_192, 512 * 62 * 8_192)


def test_transformers_copies_the_heads_of_falcon_40b() -> None:
    falcon = next(case.config for case in CASES if case.name == "falcon 40B")
    few, many = 60 * 8 * 128 * 2, 60 * 128 * 128 * 2
    assert size(falcon, 1).keys_values == (few, many)
    assert size(falcon, 1, engine=TRANSFORMERS).keys_values == (many, many)
    assert size(falcon, 1, engine=VLLM).keys_values == (few, few)


def test_llama_cpp_keeps_minicpm3_per_head() -> None:
    minicpm = next(case.config for case in CASES if case.name == "minicpm3 4B")
    assert size(minicpm, 1).keys_values.low == 62 * 288 * 2
    assert size(minicpm, 1, engine=LLAMA_CPP).keys_values.low == 62 * 40 * (96 + 64) * 2


def test_recurrent_states_do_not_grow() -> None:
    conv, state = 3 * (2 * 16 * 128 + 48 * 128), 48 * 128 * 128
    short, long = (size(QWEN3_6_27B, context, engine=LLAMA_CPP) for context in (256, 262_144))
    assert short.state == long.state == (48 * 4 * (conv + state),) * 2
    # transformers keeps the whole width of the convolution, and either precision is in use.
    wide = conv // 3 * 4
    assert size(QWEN3_6_27B, 1, engine=TRANSFORMERS).state == (
        48 * 2 * (wide + state),
        48 * 4 * (wide + state),
    )
    assert size(QWEN3_6_27B, 1).state == (48 * 2 * (conv + state), 48 * 4 * (wide + state))


def test_each_sequence_has_its_own() -> None:
    one, many = (size(QWEN3_6_27B, 1_024, batch=batch) for batch in (1, 7))
    assert many.keys_values.low == 7 * one.keys_values.low
    assert many.state.high == 7 * one.state.high


def test_cross_attention_follows_the_encoder() -> None:
    whisper = next(case.config for case in CASES if case.name == "whisper large v3")
    sizes = size(whisper, 448, encoder_length=1_500)
    assert sizes.cross == (32 * 2_560 * 2 * 1_500,) * 2
    assert sizes.keys_values.low == 32 * 2_560 * 2 * 448


# Types ------------------------------------------------------------------------------------

NBYTES = {
    "f32": 4 * 256,
    "f16": 2 * 256,
    "bf16": 2 * 256,
    "fp8": 256,
    "int8": 256,
    "fp8_per_token_head": 256 + 8,
    "int8_per_token_head": 256 + 8,
    "nvfp4": 2 * (64 + 8),
    "fp8_ds_mla": 256,
    "q8_0": 8 * 34,
    "q5_1": 8 * 24,
    "q5_0": 8 * 22,
    "q4_1": 8 * 20,
    "q4_0": 8 * 18,
    "iq4_nl": 8 * 18,
}


@pytest.mark.parametrize("name", KV_TYPES)
def test_every_type_has_its_size(name: str) -> None:
    """Of one token of one layer with one head of 128 keys and 128 values."""
    one = CacheShape("", ((LayerCache(1, 128, 128), 1),))
    setting = Setting(1, kv_type=KV_TYPES[name])
    assert cache_bytes(one, setting).keys_values == (NBYTES[name], NBYTES[name])


def test_deepseek_has_an_8_bit_layout_of_its_own() -> None:
    setting = Setting(1_000, kv_type=KV_TYPES["fp8_ds_mla"])
    assert cache_bytes(describe_config(DEEPSEEK_V3_1), setting).keys_values.low == 61 * 656_000


# Terms ------------------------------------------------------------------------------------


def terms(config: dict[str, Any], context: int = 4_096, **more: Any) -> dict[str, Any]:
    shape = describe_config(config)
    setting = Setting(context, **more)
    return {term.name: term for term in cache_terms(shape, setting)}


def test_a_plain_cache_is_one_exact_term() -> None:
    found = terms(LLAMA_3_1_8B)
    assert [*found] == ["kv_cache"]
    term = found["kv_cache"]
    assert (term.kind, term.nbytes) == (EXACT, 4_096 * 131_072)
    assert term.formula == "32 layers × [8 heads × (128 + 128) = 4,096 B] × 4,096 tokens"
    assert term.inputs["num_key_value_heads"] == 8
    assert term.source


def test_a_range_says_what_makes_it_one() -> None:
    term = terms(GEMMA_3_27B, 131_072)["kv_cache"]
    assert (term.kind, term.nbytes) == (ESTIMATE, None)
    assert "window" in term.reason
    assert "1,024–131,072 tokens" in term.formula


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen 3.6 27B", {"kv_cache", "recurrent_state"}),
        ("mamba 130m", {"kv_cache", "recurrent_state"}),
        ("glm 5: an indexer beside", {"kv_cache", "indexer_keys"}),
        ("t5 base", {"kv_cache", "cross_attention"}),
    ],
)
def test_other_caches_are_terms_of_their_own(name: str, expected: set[str]) -> None:
    config = describe_config(next(case.config for case in CASES if case.name == name))
    found = cache_terms(config, Setting(128, encoder_length=64))
    assert {term.name for term in found} == expected
    assert all(term.low is not None and term.formula for term in found)


def test_an_engine_names_its_padding() -> None:
    assert terms(GEMMA_3_27B, 131_072, engine=LLAMA_CPP)["engine_padding"].nbytes == 208 * MIB


def test_nothing_kept_is_exactly_nothing() -> None:
    term = terms(hf("bert", 12, 12, 768))["kv_cache"]
    assert (term.kind, term.nbytes) == (EXACT, 0)
    assert "encoder" in term.reason


def test_an_unknown_names_the_field() -> None:
    term = terms({key: value for key, value in DEEPSEEK_V3_1.items() if key != "qk_rope_head_dim"})
    cache = term["kv_cache"]
    assert (cache.kind, cache.low, cache.high) == (UNKNOWN, None, None)
    assert "qk_rope_head_dim" in cache.reason


def test_cross_attention_without_a_length_is_unknown() -> None:
    mllama = next(case.config for case in CASES if case.name == "llama 3.2 11B vision")
    shape = describe_config({**mllama, "vision_config": {}})
    assert shape.encoder_length is None
    found = {term.name: term for term in cache_terms(shape, Setting(128))}
    assert found["cross_attention"].kind == UNKNOWN
    assert describe_config(mllama).encoder_length == 4 * (40 * 40 + 1)


def test_an_assumption_is_an_estimate_with_its_reason() -> None:
    term = terms(hf("brand_new", 2, 16, 2048, num_key_value_heads=4))["kv_cache"]
    assert term.kind == ESTIMATE
    assert "brand_new" in term.reason


def test_rows_list_each_kind_of_layer() -> None:
    rows = cache_rows(describe_config(QWEN3_6_27B))
    assert [(row.layers, row.kind) for row in rows] == [(48, "recurrent"), (16, "attention")]
    assert (rows[1].kv_heads, rows[1].key_dim, rows[0].kernel) == (4, 256, 4)


def test_gguf_and_config_agree() -> None:
    gguf = describe_gguf(
        {
            "general.architecture": "gemma3",
            "gemma3.block_count": 62,
            "gemma3.embedding_length": 5376,
            "gemma3.attention.head_count": 32,
            "gemma3.attention.head_count_kv": 16,
            "gemma3.attention.key_length": 128,
            "gemma3.attention.value_length": 128,
            "gemma3.attention.sliding_window": 1024,
        }
    )
    for engine in (ANY, *ENGINES.values()):
        setting = Setting(131_072, engine=engine)
        config = describe_config(GEMMA_3_27B)
        assert cache_bytes(gguf, setting) == cache_bytes(config, setting)
