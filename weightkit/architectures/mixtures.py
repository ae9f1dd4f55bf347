"""What configs call the numbers of a mixture of experts."""

from __future__ import annotations

TOP_K = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_experts_per_topk",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "moe_router_topk",
    "experts_per_token",
    "num_selected_experts",
    "top_k_experts",
    "router_topk",
    "router_top_k",
    "moe_router_top_k",
    "moe_num_active_primary_experts",
    "num_active_experts",
    "num_activated_experts",
    "n_activated_experts",
    "n_expert_per_token",
)
"""Routed experts that one token goes to, in one layer or as a list by layer; first match wins."""

NESTED_TOP_K = (*TOP_K, "top_k")
"""In a section about the mixture; at the top level ``top_k`` is about sampling."""

COUNT = (
    "n_routed_experts",
    "num_local_experts",
    "moe_num_experts",
    "num_experts",
    "num_routed_experts",
    "num_moe_experts",
    "n_experts",
    "num_total_experts",
    "moe_num_primary_experts",
    "n_expert",
)
"""Routed experts of one layer."""

SECTIONS = (
    "text_config",
    "llm_config",
    "language_config",
    "ffn_config",
    "moe_config",
    "moe",
    "moe_args",
    "thinker_config",
    "talker_config",
    "lm_config",
)
"""Parts of a config that may hold the above."""

TOP_K_OF_MODEL = {"switch_transformers": 1, "gptsan-japanese": 1, "nllb-moe": 2}
"""Models whose code fixes what their config does not say."""
