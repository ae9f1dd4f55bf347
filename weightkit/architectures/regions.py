"""Which part of a model a module belongs to, and which numbers in a name count what.

Regions are read from the same kind of patterns as components; the innermost match decides.
"""

from __future__ import annotations

from typing import NamedTuple


class Region(NamedTuple):
    """Names like ``example`` belong to ``region``; with ``model`` only in models of that type."""

    pattern: str
    region: str
    example: str
    model: str = ""
    """``model_type`` of the config must contain this."""


REGIONS = [
    Region(
        "{multi_modal_projector,mm_projector,connector}",
        "projector",
        "multi_modal_projector.linear_1.weight",
    ),
    Region("{merger,mm,aligner,img_projection}", "projector", "visual.merger.mlp.0.weight"),
    Region(
        "{vision_model,vision_tower,visual,vision_encoder}",
        "vision",
        "vision_model.post_layernorm.weight",
    ),
    Region("{vision_backbone,image_encoder,vit}", "vision", "image_encoder.neck.0.weight"),
    Region("v.blk", "vision", "v.blk.0.attn_q.weight"),
    Region("{audio_tower,audio_model,audio_encoder}", "audio", "audio_tower.conv1.weight"),
    Region("{text_model,language_model,text_encoder}", "text", "language_model.model.norm.weight"),
    Region("encoder", "audio", "model.encoder.conv1.weight", "whisper"),
    Region("decoder", "text", "model.decoder.embed_tokens.weight", "whisper"),
    Region("visual_projection", "vision", "visual_projection.weight"),
    Region("text_projection", "text", "text_projection.weight"),
    Region("logit_scale", "main", "logit_scale"),
]

LAYERS = ("layers", "layer", "h", "blocks", "block", "blk", "stages")
"""Segments that hold a run of repeated modules, each under its number."""

EXPERTS = [
    # (pattern of a segment, role)
    ("*shared_expert*", "shared"),
    ("share_expert", "shared"),
    ("shared_mlp", "shared"),
    ("*_shexp", "shared"),
    ("experts", "routed"),
    ("expert_#", "routed"),
    ("*_exps", "routed"),
]
