"""What does not fit together: every finding, and what is no reason for one."""

from __future__ import annotations

import pytest
from checkpoints import codes, report, tensors

LAYER = (
    "self_attn.q_proj.weight 8x8",
    "self_attn.k_proj.weight 4x8",
    "mlp.up_proj.weight 16x8",
    "input_layernorm.weight 8",
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "tie_word_embeddings": True,
}
REST = ["model.embed_tokens.weight 100x8", "model.norm.weight 8"]


def layers(numbers: str = "0-7", prefix: str = "model.layers") -> list[str]:
    return [f"{prefix}.[{numbers}].{row}" for row in LAYER]


def found(rows, config=CONFIG, **more):
    return report(tensors(*rows), config, **more)


def only(rows, config=CONFIG, **more):
    """The one finding."""
    findings = found(rows, config, **more).findings
    assert len(findings) == 1, findings
    return findings[0]


def test_a_model_that_fits():
    assert found([*layers(), *REST]).findings == ()


def test_a_missing_layer():
    told = only([*layers("0-3,5-7"), *REST], {**CONFIG, "num_hidden_layers": 7})
    assert told.code == "WK710"
    assert "layer 4 of 0 to 7 missing" in told.message


def test_a_layer_number_from_nowhere_is_quick():
    told = found([*layers("0-7"), *REST, "model.layers.999999999999.mlp.up_proj.weight 16x8"])
    assert "WK710" in codes(told)


def test_steps_of_a_sequence_are_no_layers():
    given = ["encoder.layers.[0,2,4].conv.weight 8x8x3", "blocks.[1,5].mlp.[0,2].weight 8x8"]
    assert "WK710" not in codes(found(given[:1], {}))


def test_a_layer_without_one_of_its_tensors():
    rows = [
        row for row in tensors(*layers(), *REST) if row.name != "model.layers.3.mlp.up_proj.weight"
    ]
    told = report(rows, CONFIG).findings
    assert [item.code for item in told] == ["WK711"]
    assert told[0].tensor == "model.layers.3"
    assert "mlp.up_proj.weight is missing" in told[0].message


def test_a_layer_with_another_shape():
    rows = [
        row for row in tensors(*layers(), *REST) if row.name != "model.layers.3.mlp.up_proj.weight"
    ]
    told = report([*rows, *tensors("model.layers.3.mlp.up_proj.weight 24x8")], CONFIG).findings
    assert [item.code for item in told] == ["WK711"]
    assert "another shape" in told[0].message


def test_a_layer_with_one_more():
    assert only([*layers(), *REST, "model.layers.5.mlp.extra_proj.weight 8x8"]).code == "WK711"


@pytest.mark.parametrize("layer", [0, 7])
def test_the_first_and_last_may_have_a_module_of_their_own(layer):
    given = [
        *layers(),
        *REST,
        f"model.layers.{layer}.self_attn.relative_attention_bias.weight 32x4",
    ]
    assert found(given).findings == ()


def test_layers_of_two_kinds():
    given = [*layers(), *REST, "model.layers.[1,3,5,7].self_attn.sinks 4"]
    assert found(given).findings == ()


def test_stages_of_different_width():
    given = ["blocks.[0-2].mlp.up_proj.weight 8x8", "blocks.3.mlp.up_proj.weight 16x8",
             "blocks.[4-9].mlp.up_proj.weight 16x16"]  # fmt: skip
    assert "WK711" not in codes(found(given, {}))


def test_one_layer_of_another_type():
    rows = [
        row for row in tensors(*layers(), *REST) if row.name != "model.layers.3.mlp.up_proj.weight"
    ]
    told = report([*rows, *tensors("model.layers.3.mlp.up_proj.weight 16x8 bf16")], CONFIG).findings
    assert [(item.code, item.tensor) for item in told] == [
        ("WK712", "model.layers.3.mlp.up_proj.weight")
    ]


def test_quantized_models_mix_types():
    given = [*layers("0-6"), "model.layers.7.self_attn.q_proj.weight 8x8 bf16", *REST]
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}
    assert "WK712" not in codes(found(given, config))


def test_a_tensor_without_elements():
    told = only([*layers(), *REST, "model.register_tokens 1x0x8"])
    assert (told.code, told.tensor) == ("WK713", "model.register_tokens")


@pytest.mark.parametrize(
    ("changed", "code", "subject"),
    [
        ({"vocab_size": 99}, "WK714", "vocab_size"),
        ({"hidden_size": 16}, "WK714", "hidden_size"),
        ({"num_key_value_heads": 4}, "WK714", "num_key_value_heads"),
        ({"num_hidden_layers": 9}, "WK715", "num_hidden_layers"),
        ({"num_hidden_layers": "many"}, "WK770", "num_hidden_layers"),
        ({"hidden_size": [8]}, "WK770", "hidden_size"),
        ({"vocab_size": -1}, "WK770", "vocab_size"),
    ],
    ids=str,
)
def test_config_against_weights(changed, code, subject):
    told = only([*layers(), *REST], {**CONFIG, **changed})
    assert (told.code, told.subject) == (code, subject)


@pytest.mark.parametrize(
    "changed",
    [{"embedding_size": 8, "hidden_size": 16}, {"num_hidden_layers": 7, "num_nextn_predict_layers": 1},
     {"num_hidden_groups": 1, "num_hidden_layers": 12}, {"num_layers": 8, "num_hidden_layers": 16}],
    ids=str,
)  # fmt: skip
def test_configs_that_count_otherwise(changed):
    assert found([*layers(), *REST], {**CONFIG, **changed}).findings == ()


def test_metadata_of_gguf_against_weights():
    given = [
        "token_embd.weight 100x8",
        "blk.[0-3].attn_q.weight 8x8",
        "blk.[0-3].attn_k.weight 4x8",
    ]
    metadata = {"general.architecture": "llama", "llama.block_count": 4, "llama.embedding_length": 8,
                "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}  # fmt: skip
    assert found(given, None, metadata=metadata, format="gguf").findings == ()
    told = only(given, None, metadata={**metadata, "llama.block_count": 5}, format="gguf")
    assert told.code == "WK715"


def test_tied_but_stored_twice():
    told = only([*layers(), *REST, "lm_head.weight 100x8"])
    assert (told.code, told.tensor) == ("WK716", "lm_head.weight")
    assert found([*layers(), *REST, "lm_head.weight 100x8"]).parameters.total == 808 + 800 + 8 * (
        64 + 32 + 128 + 8
    )


def test_not_tied_and_not_stored():
    assert only([*layers(), *REST], {**CONFIG, "tie_word_embeddings": False}).code == "WK716"


def test_shared_memory_is_a_tie():
    rows = [row._replace(storage="0") if row.name == "model.embed_tokens.weight" else row
            for row in tensors(*layers(), *REST)]  # fmt: skip
    head = rows[-2]._replace(name="lm_head.weight")
    got = report([*rows, head], CONFIG)
    assert got.findings == ()
    assert got.parameters.total - got.parameters.unique == 800


@pytest.mark.parametrize("value", [123, "123"])
def test_a_declared_total_that_the_tensors_refute(value):
    index = {"model.safetensors.index.json": {"metadata": {"total_parameters": value}}}
    told = only([*layers(), *REST], configs=index)
    assert (told.code, told.subject) == ("WK703", "total_parameters")


def test_a_declared_total_that_holds():
    total = found([*layers(), *REST]).parameters.total
    assert found([*layers(), *REST], metadata={"total_parameters": str(total)}).findings == ()
