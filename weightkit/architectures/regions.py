"""Which part of a model a module belongs to, and which numbers in a name count what.

Regions are read from the same kind of patterns as components; the innermost match decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Region(NamedTuple):
    """Names like ``example`` belong to ``region``; with ``model`` only in models of that type."""

    pattern: str
    region: str
    example: str
    model: str = ""
    """``model_type`` of the config must contain this."""
    first: bool = False
    """Only at the very beginning of the name (GGUF's short prefixes)."""


REGIONS = [
    Region(
        "{multi_modal_projector,mm_projector,connector}",
        "projector",
        "multi_modal_projector.linear_1.weight",
    ),
    Region("{*merger*,aligner,img_projection}", "projector", "visual.merger.mlp.0.weight"),
    Region(
        "{vision_model,vision_tower,visual,vision_encoder}",
        "vision",
        "vision_model.post_layernorm.weight",
    ),
    Region("{vision_backbone,image_encoder,vit}", "vision", "image_encoder.neck.0.weight"),
    Region("{audio_tower,audio_model,audio_encoder}", "audio", "audio_tower.conv1.weight"),
    Region("{text_model,language_model,text_encoder}", "text", "language_model.model.norm.weight"),
    Region("encoder", "audio", "model.encoder.conv1.weight", "whisper"),
    Region("decoder", "text", "model.decoder.embed_tokens.weight", "whisper"),
    Region("visual_projection", "vision", "visual_projection.weight"),
    Region("text_projection", "text", "text_projection.weight"),
    Region("logit_scale", "main", "logit_scale"),
    Region("v", "vision", "v.blk.0.attn_q.weight", first=True),
    Region("a", "audio", "a.blk.0.attn_q.weight", first=True),
    Region("mm", "projector", "mm.0.weight", first=True),
    Region("mtp*", "mtp", "mtp.layers.0.self_attn.q_proj.weight"),
    Region("nextn", "mtp", "blk.61.nextn.eh_proj.weight"),
    Region(
        "img_processor", "vision", "embed_tokens_extend.image_embed.img_processor.post_layernorm"
    ),
    Region("{vision,vpm,vision_embed_tokens}", "vision", "vpm.encoder.layers.0.mlp.fc1.weight"),
    Region("{speech_encoder,audio_embed,apm}", "audio", "apm.layers.0.fc1.weight"),
    Region("{resampler,qformer,language_projection}", "projector", "resampler.query"),
]

LAYERS = ("layers", "layer", "h", "blocks", "block", "blk", "stages")
"""Segments that hold a run of repeated modules, each under its number."""

LAYER_ENDS = (*LAYERS[:2], *LAYERS[3:])
"""How such segments end: ``text_blocks``."""

_QUERIES = ("q", "q_proj", "q_lin", "query", "to_q", "wq", "linear_q", "conv_q", "queries")
_KEYS = ("k", "k_proj", "k_lin", "key", "to_k", "wk", "linear_k", "conv_k")
_KEYS_AND_VALUES = ("kv", "kv_proj", "to_kv", "keys_values")
_VALUES = ("v", "v_proj", "v_lin", "value", "to_v", "wv", "linear_v", "conv_v")
_FUSED = ("qkv", "wqkv", "to_qkv", "query_key_value", "queries_keys_values", "in_proj_weight")

ATTENDING: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_QUERIES, frozenset("q")),
    **dict.fromkeys((*_KEYS, *_KEYS_AND_VALUES), frozenset("k")),
    **dict.fromkeys(_VALUES, frozenset("v")),
    **dict.fromkeys(_FUSED, frozenset("qkv")),
}
"""Parts of a module that make queries, keys and values: with two of them, it is attention."""

NEXT_TOKEN = frozenset({"eh_proj", "enorm", "hnorm", "shared_head", "nextn"})
"""Modules that only a layer for predicting further tokens has; the rest of it is like any other."""

RECURRENCE = ("time_decay", "time_first", "time_faaaa", "x_r", "a_log", "dt_bias")
"""Parameters of a state that is carried on: what has them is no attention, whatever its name."""

AUDIO_MODELS = (
    "wav2vec",
    "hubert",
    "wavlm",
    "unispeech",
    "sew",
    "encodec",
    "dac",
    "mimi",
    "data2vec-audio",
)
"""Models (by part of ``model_type``) that are all about sound."""

TOKEN_TABLES = (
    "embed_tokens",
    "word_embeddings",
    "wte",
    "tok_embeddings",
    "token_embd",
    "token_embedding",
    "word_embedding",
    "embed_in",
    "shared.weight",
)
"""Parts of names that only a table of token embeddings has."""


class Expert(NamedTuple):
    """Names like ``example`` are of an expert that every token uses (shared) or only some (routed).

    Grouped experts (GroveMoE) are used once by all chosen experts of their group, so that how many
    a token uses is up to the token.
    """

    pattern: str
    role: str
    example: str
    stacked: bool = False
    """Only tensors of three dimensions: the first counts the experts."""


EXPERTS = [
    Expert("shared_expert_gate", "", "layers.0.mlp.shared_expert_gate.weight"),
    Expert("*shared_expert*", "shared", "layers.0.mlp.shared_experts.up_proj.weight"),
    Expert("{share_expert,shared_mlp}", "shared", "layers.0.mlp.shared_mlp.up_proj.weight"),
    Expert("*_shexp", "shared", "blk.0.ffn_up_shexp.weight"),
    Expert("experts", "routed", "layers.0.mlp.experts.3.up_proj.weight"),
    Expert("expert_#", "routed", "block.1.layer.1.mlp.experts.expert_3.wi.weight"),
    Expert("*_exps", "routed", "blk.0.ffn_up_exps.weight"),
    Expert("{*_chexps,chunk_experts}", "grouped", "blk.0.ffn_up_chexps.weight"),
    Expert("switch_mlp", "routed", "layers.0.mlp.switch_mlp.up_proj.weight", stacked=True),
    Expert("ffn_{gate,up,down}.#", "routed", "blk.0.ffn_gate.7.weight"),
    Expert(
        "{block_sparse_moe,mlp,moe}.{input,output}_linear",
        "routed",
        "layers.0.block_sparse_moe.input_linear.weight",
        stacked=True,
    ),
]
