"""What configs call the numbers of a mixture of experts."""

from __future__ import annotations

TOP_K = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_experts_per_topk",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "experts_per_token",
    "num_selected_experts",
    "top_k_experts",
    "router_topk",
    "top_k",
)
"""Routed experts that one token goes to; first match wins."""

COUNT = (
    "n_routed_experts",
    "num_local_experts",
    "moe_num_experts",
    "num_experts",
    "num_routed_experts",
    "n_experts",
    "num_total_experts",
)
"""Routed experts of one layer."""

NESTED = (
    "text_config",
    "llm_config",
    "language_config",
    "ffn_config",
    "moe_config",
    "moe",
    "thinker_config",
)
"""Sections of a config that may hold the above."""
