"""Names of the tensors that adapters add to a base model.

Sources: PEFT 0.17 (``tuners/*/layer.py``), kohya sd-scripts (``networks/lora.py``), LyCORIS
(``lycoris/modules``), diffusers (``models/lora.py``), llama.cpp (``convert_lora_to_gguf.py``).
"""

from __future__ import annotations

from weightkit.architectures.rows import Row

LOW = (8, 64)

ROWS = [
    Row(
        "lora_{a,b}",
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
    Row("*_lora.{down,up}", "lora", "mid_block.attn1.processor.to_q_lora.down.weight", "", LOW),
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
]
