"""Classes of tensors that do not follow from one name alone."""

from __future__ import annotations

import pytest
from checkpoints import report, tensor, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.analyses.components import classify
from weightkit.analyses.folding import fold, stencils
from weightkit.architectures import regions


def rows(*given: str, config=None, **more):
    found = report(tensors(*given), config, **more)
    return {row.name: row for row in found.rows}


@pytest.mark.parametrize("row", regions.REGIONS, ids=lambda row: row.pattern)
def test_region_of_example(row):
    found = rows(f"{row.example} 8x8", config={"model_type": row.model})
    assert found[row.example].region == row.region


@pytest.mark.parametrize("row", regions.EXPERTS, ids=lambda row: row.pattern)
def test_role_of_example(row):
    found = rows(f"{row.example} {'4x8x8' if row.stacked else '8x8'}")
    assert found[row.example].expert_role == row.role


def test_numbers_of_layers_and_experts():
    found = rows("model.layers.[7-8].mlp.experts.[0-2].up_proj.weight 8x8")
    got = found["model.layers.8.mlp.experts.2.up_proj.weight"]
    assert (got.layer, got.expert, got.expert_role) == (8, 2, "routed")


def test_stacked_experts_have_no_number():
    got = rows("model.layers.3.mlp.experts.gate_up_proj 4x8x16")
    assert [(row.layer, row.expert, row.expert_role) for row in got.values()] == [
        (3, None, "routed")
    ]


def test_a_sequence_of_convolution_and_norm():
    found = rows(
        "features.0.weight 8x3x3x3", "features.0.bias 8", "features.1.weight 8", "features.1.bias 8"
    )
    assert [row.component for row in found.values()] == ["conv", "conv", "norm", "norm"]
    assert [row.kind for row in found.values()] == ["parameter", "bias"] * 2


def test_a_slope_is_no_norm():
    found = rows("body.1.prelu.weight 64", "body.2.weight 64")
    assert [row.component for row in found.values()] == ["other", "norm"]


def test_a_gate_is_a_router_only_beside_experts():
    sparse = rows("layers.0.mlp.gate.weight 4x8", "layers.0.mlp.experts.0.w1.weight 8x8")
    dense = rows("layers.0.mlp.gate.weight 4x8", "layers.0.mlp.up.weight 8x8")
    assert sparse["layers.0.mlp.gate.weight"].component == "router"
    assert dense["layers.0.mlp.gate.weight"].component == "feed_forward"


def test_attention_that_carries_a_state_is_a_mixer():
    found = rows("model.layers.0.self_attn.A_log 8", "model.layers.0.self_attn.q_proj.weight 8x8")
    assert {row.component for row in found.values()} == {"mixer"}


def test_a_causal_mask_is_a_buffer_and_a_bias_is_not():
    found = rows("h.0.attn.bias 1x1x8x8", "h.1.attn.c_attn.bias 24", "h.2.attn.masked_bias -")
    assert [row.kind for row in found.values()] == ["buffer", "bias", "buffer"]


def test_integers_are_buffers():
    found = rows("decoder.some_index 4x4 i64", "decoder.some_mask 4x4 bool", "decoder.some 4x4")
    assert [row.kind for row in found.values()] == ["buffer", "buffer", "parameter"]


def test_frozen_norms_of_detection_models():
    given = [
        "model.backbone.bn1.weight 8",
        "model.backbone.bn1.bias 8",
        "model.backbone.bn1.running_mean 8",
    ]
    assert {row.kind for row in rows(*given, config={"model_type": "detr"}).values()} == {"buffer"}
    trained = rows(
        *given, "model.backbone.bn1.num_batches_tracked - i64", config={"model_type": "detr"}
    )
    assert trained["model.backbone.bn1.weight"].kind == "parameter"
    assert rows(*given)["model.backbone.bn1.bias"].kind == "bias"


def test_a_layer_that_predicts_further_tokens():
    found = rows(
        "model.layers.[0-3].self_attn.q_proj.weight 8x8",
        "model.layers.3.eh_proj.weight 8x16",
        "model.layers.3.shared_head.head.weight 32x8",
    )
    assert found["model.layers.2.self_attn.q_proj.weight"].region == "main"
    assert found["model.layers.3.self_attn.q_proj.weight"].region == "mtp"
    assert found["model.layers.3.shared_head.head.weight"].component == "output_head"


def test_a_table_with_a_row_for_each_token():
    config = {"vocab_size": 100}
    alone = rows("transformer.w.weight 100x8", config=config)
    beside = rows("transformer.w.weight 100x8", "transformer.wte.weight 100x8", config=config)
    assert alone["transformer.w.weight"].component == "embedding"
    assert beside["transformer.w.weight"].component == "output_head"


def test_the_rule_that_fired_is_told():
    found = rows("model.layers.0.mlp.experts.0.up_proj.weight 8x8", "model.odd 3")
    assert found["model.layers.0.mlp.experts.0.up_proj.weight"].rule == "experts matches experts"
    assert found["model.odd"].rule == "a parameter of no known module"
    assert found["model.odd"].component == "other"


def test_classify_keeps_the_order():
    given = tensors("b.mlp.up_proj.weight 2x2", "a.norm.weight 2", "b.mlp.down_proj.weight 2x2")
    found = classify(given, {}, {}, "safetensors")
    assert [row.component for row in found] == ["feed_forward", "norm", "feed_forward"]


def test_folds():
    given = tensors("h.[0-12].ln_1.weight 4", "h.[0-12].ln_2.weight 4", "h.[0-12].ln_1.bias 4")
    found = fold(given)
    assert [(item.template, len(item.members)) for item in found] == [
        ("h.#.ln_#.weight", 26),
        ("h.#.ln_#.bias", 13),
    ]
    assert sorted(found[0].column_of(1)) == sorted([*range(13)] * 2)
    assert set(found[0].column_of(2)) == {1, 2}


def test_folds_of_odd_names():
    names = ["a\n1.b", "a#1", "é٣.1", "\ud800.2", "", "9" * 50, "a.10.b", "a.9.b"]
    found = fold([tensor(name, 2) for name in names])
    assert sum(len(item.members) for item in found) == len(names)
    assert stencils(["a\n1"]) == ["a\n0"]
    assert [item.columns for item in found if item.template == "a.#.b"] == [[[10, 9]]]
    assert [item.columns for item in found if item.template == "#"] == [[[int("9" * 18)]]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=30), st.lists(st.integers(0, 9), max_size=5)), max_size=12)
)
def test_any_names_at_all(given):
    found = [tensor(name, *shape) for name, shape in dict(given).items()]
    got = report(found, {})
    assert len(got.rows) == len(found)
    assert sum(c.tensors for c in got.components) == len(found)
