"""Active parameters of mixtures of experts."""

from __future__ import annotations

import pytest
from checkpoints import codes, report, tensors

SPARSE = (
    "model.embed_tokens.weight 100x8",
    "model.layers.[0-1].self_attn.q_proj.weight 8x8",
    "model.layers.[0-1].mlp.gate.weight 4x8",
    "model.layers.[0-1].mlp.experts.[0-3].up_proj.weight 16x8",
    "model.layers.[0-1].mlp.shared_experts.up_proj.weight 16x8",
    "lm_head.weight 100x8",
)
REST = 800 + 2 * 64 + 2 * 32 + 2 * 128 + 800


def active(config, *given, **more):
    return report(tensors(*(given or SPARSE)), config, **more).parameters


@pytest.mark.parametrize(
    "config",
    [
        {"num_experts_per_tok": 2},
        {"moe_topk": [2, 2]},
        {"moe_k": 2},
        {"text_config": {"num_experts_per_tok": 2}},
        {"ffn_config": {"moe_top_k": 2}},
        {"moe": {"num_experts_per_tok": 2}},
        {"num_experts_per_tok": 2, "top_k": 50},
        {"model_type": "nllb-moe"},
        {"moe_num_active_primary_experts": 2},
        {"n_activated_experts": 2},
        {"num_experts_per_tok": 2, "talker_config": {"text_config": {"num_experts_per_tok": 2}}},
    ],
    ids=str,
)
def test_active_by_any_name(config):
    found = active(config)
    assert found.active == REST + 2 * 2 * 128
    assert found.active_without_input_embedding == found.active - 800
    assert found.active_unknown == ""


def test_the_sampling_setting_is_none():
    assert active({"top_k": 2}).active is None


def test_parts_that_use_different_numbers():
    given = {
        "thinker_config": {"num_experts_per_tok": 2},
        "talker_config": {"num_experts_per_tok": 3},
    }
    found = active(given)
    assert (found.active, "different numbers" in found.active_unknown) == (None, True)


def test_grouped_experts_leave_the_active_ones_unknown():
    found = active(
        {"num_experts_per_tok": 2}, *SPARSE, "model.layers.0.mlp.chunk_experts.0.up_proj.weight 4x8"
    )
    assert (found.active, "grouped" in found.active_unknown) == (None, True)


def test_experts_by_layer():
    found = active({"moe_topk": [1, 3]})
    assert found.active == REST + (1 + 3) * 128


def test_layers_with_different_numbers_of_experts():
    given = [*SPARSE[:3], "model.layers.0.mlp.experts.[0-3].up_proj.weight 16x8",
             "model.layers.1.mlp.experts.[0-1].up_proj.weight 16x8"]  # fmt: skip
    found = report(tensors(*given), {"num_experts_per_tok": 2})
    assert found.parameters.active == 800 + 128 + 64 + 2 * 2 * 128
    assert "parameters_per_expert" not in found.summary["experts"]


def test_a_dense_model_has_no_active_count():
    found = active({"num_experts_per_tok": 2}, "model.layers.0.mlp.up_proj.weight 8x8")
    assert (found.active, found.active_unknown) == (None, "")


def test_without_config_active_is_unknown():
    found = report(tensors(*SPARSE))
    assert found.parameters.active is None
    assert "how many experts" in found.parameters.active_unknown
    assert found.summary["experts"]["experts"] == 4
    assert found.summary["experts"]["parameters_per_expert"] == 2 * 128


def test_gguf_says_it_in_the_metadata():
    given = tensors("blk.[0-1].ffn_up_exps.weight 4x16x8", "blk.[0-1].ffn_gate_inp.weight 4x8")
    metadata = {
        "general.architecture": "llama",
        "llama.expert_used_count": 1,
        "llama.expert_count": 4,
    }
    found = report(given, metadata=metadata, format="gguf").parameters
    assert (found.total, found.active) == (2 * 512 + 64, 2 * 128 + 64)


def test_stacks_along_the_rows():
    config = {"ffn_config": {"moe_num_experts": 4, "moe_top_k": 1}}
    found = active(config, "transformer.blocks.[0-1].ffn.experts.mlp.w1 64x8")
    assert found.active == 2 * 16 * 8


def test_layers_for_further_tokens_are_not_active():
    given = [*SPARSE, "model.layers.2.eh_proj.weight 8x16",
             "model.layers.2.mlp.experts.[0-3].up_proj.weight 16x8"]  # fmt: skip
    found = active({"num_experts_per_tok": 2}, *given)
    assert found.active == REST + 2 * 2 * 128
    assert found.total == REST + 2 * 4 * 128 + 128 + 4 * 128


def test_tied_embeddings_are_used_for_the_output():
    found = active({"num_experts_per_tok": 2}, *SPARSE[:-1])
    assert found.active_without_input_embedding == found.active


@pytest.mark.parametrize(
    ("config", "count"),
    [({"num_experts_per_tok": 9}, 1), ({"num_experts": 8, "num_experts_per_tok": 2}, 1),
     ({"num_experts": 4, "num_experts_per_tok": 2}, 0)],
)  # fmt: skip
def test_config_that_the_experts_refute(config, count):
    assert codes(report(tensors(*SPARSE), config)).count("WK704") == count


def test_more_experts_used_than_there_are():
    assert "9 of 4" in active({"num_experts_per_tok": 9}).active_unknown
