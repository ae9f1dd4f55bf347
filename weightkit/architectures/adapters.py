"""Names of the tensors that adapters add to a base model.

Sources: PEFT 0.17 (``tuners/*/layer.py``), kohya sd-scripts (``networks/lora.py``), LyCORIS
(``lycoris/modules``), diffusers (``models/lora.py``), llama.cpp (``convert_lora_to_gguf.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from weightkit.architectures.rows import Row

LOW = (8, 64)

ROWS = [
    Row(
        "lora_{a,b,e}",
        "lora",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "",
        LOW,
    ),
    Row(
        "lora_embedding_{a,b}",
        "lora",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "",
        LOW,
    ),
    Row(
        "lora_magnitude_vector*", "lora", "base_model.model.q_proj.lora_magnitude_vector", "", (64,)
    ),
    Row("lora_{down,up,mid}", "lora", "lora_unet_mid_block_proj_in.lora_down.weight", "", LOW),
    Row(
        "{*_lora,*_lora#,lora_linear_layer}.{down,up}",
        "lora",
        "mid_block.attn1.processor.to_q_lora.down.weight",
        "",
        LOW,
    ),
    Row("{diff,diff_b,w_norm,b_norm}", "lora", "lora_unet_mid_block_proj_in.diff", "own"),
    Row(
        "{boft_*,bone_*,miss_*,c#a_*,fourierft_*,hra_*,poly_*,vblora_*,randlora_*,shira_*,road_*,"
        "waveft_*,adaption_prompt,adaption_gate}",
        "lora",
        "base_model.model.layers.0.q_proj.bone_block",
        "",
        LOW,
    ),
    Row("hada_*", "lora", "lora_unet_mid_block_proj_in.hada_w1_a", "", LOW),
    Row("lokr_*", "lora", "lora_unet_mid_block_proj_in.lokr_w1", "", LOW),
    Row("{oft_blocks,oft_diag,oft_r}", "lora", "lora_unet_mid_block_proj_in.oft_blocks", "", LOW),
    Row("dora_scale", "lora", "lora_unet_mid_block_proj_in.dora_scale", "", (1, 64)),
    Row(
        "{ia#_l,vera_lambda_b,vera_lambda_d}",
        "lora",
        "base_model.model.layers.0.k_proj.ia3_l",
        "",
        (64, 1),
    ),
]

BUFFERS = [
    Row(
        "alpha",
        "lora",
        "lora_unet_mid_block_proj_in.alpha",
        "low_rank",
        (),
        "lora_unet_mid_block_proj_in.lora_down.weight",
    ),
    # Projections that are drawn, not learnt, and places of the values that are.
    Row(
        "{vera_a,vera_b,randlora_a,randlora_b,shira_indices}",
        "lora",
        "base_model.model.layers.0.q_proj.randlora_A",
        "",
        LOW,
    ),
]


class Method(NamedTuple):
    """A kind of adapter, told by what its tensors are called."""

    name: str
    leaf: str
    """A segment that only this kind has (a pattern)."""


METHODS = [
    Method("DoRA", "lora_magnitude_vector"),
    Method("DoRA", "dora_scale"),
    Method("LoHa", "hada_w#_a"),
    Method("LoKr", "lokr_*"),
    Method("OFT", "oft_*"),
    Method("IA3", "ia#_l"),
    Method("VeRA", "vera_lambda_*"),
    Method("LoRA", "lora_{a,down,embedding_a}"),
    Method("LoRA", "{*_lora,*_lora#,lora_linear_layer}"),
    Method("prompt", "prompt_embeddings"),
]

PAIRS = [
    # down (rank, in), up (out, rank), as they end the name
    ("lora_A.weight", "lora_B.weight"),
    ("lora_A.default.weight", "lora_B.default.weight"),
    ("lora_A", "lora_B"),
    ("lora_down.weight", "lora_up.weight"),
    ("lora.down.weight", "lora.up.weight"),
    ("lora_embedding_A", "lora_embedding_B"),
    ("lora_a", "lora_b"),
    ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    ("_lora#.down.weight", "_lora#.up.weight"),
    ("hada_w#_b", "hada_w#_a"),
]


class Ecosystem(NamedTuple):
    """Whose names an adapter's modules have: told by how the first of them begins."""

    name: str
    prefix: str


ECOSYSTEMS = [
    Ecosystem("kohya", "lora_unet_"),
    Ecosystem("kohya", "lora_te"),
    Ecosystem("kohya", "lora_transformer_"),
    Ecosystem("kohya", "lycoris_"),
    Ecosystem("PEFT", "base_model.model."),
    Ecosystem("diffusers", "unet."),
    Ecosystem("diffusers", "transformer."),
    Ecosystem("diffusers", "text_encoder"),
    Ecosystem("original", "diffusion_model."),
    Ecosystem("original", "model.diffusion_model."),
]
