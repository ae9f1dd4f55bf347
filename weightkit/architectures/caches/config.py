"""From ``config.json`` to the cache of each layer.

Nothing is guessed in silence: a field that the shape needs and the config lacks makes the whole
shape unknown, with the field's name; what is derived from another field is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weightkit.architectures.caches.families import (
    BART_LIKE,
    DIFFUSION,
    ENCODERS,
    FAMILY,
    LLAMA_CPP_EXPANDED,
    LLAMA_CPP_WINDOWS,
    NOT_COVERED,
    T5_LIKE,
    Family,
)
from weightkit.architectures.caches.fields import FieldError, Fields, whole_number
from weightkit.architectures.caches.kinds import depth, kinds, without_shared
from weightkit.architectures.caches.layers import Layers, block_configs
from weightkit.architectures.caches.shapes import CacheShape, LayerCache, grouped

TEXT_CONFIGS = (
    "text_config",
    "llm_config",
    "language_config",
    "language_model_config",
    "llm",
    "thinker_config",
    "text_model_config",
    "decoder",
)
"""Where a config of several parts keeps the language model's."""

UNNAMED = {("ssm_cfg",): "mamba_ssm", ("dim", "n_layers", "n_heads"): "params.json"}
"""Formats without a model type, by the keys that only they have."""

ENCODER_AND_DECODER = frozenset(
    {"encoder-decoder", "vision-encoder-decoder", "speech-encoder-decoder", "t5gemma", "t5gemma2"}
)
"""Model types whose config holds a whole ``decoder`` config that attends to an encoder."""


def describe_config(config: Mapping[str, Any], source: str = "config.json") -> CacheShape:
    """The cache of the language model that ``config`` describes. Never raises."""
    text, path = _text_config(config)
    model_type = _model_type(text) or _model_type(config)
    fields = Fields(text, _defaults(text, model_type, nested=text is not config))
    try:
        shape = _describe(config, fields, model_type)
    except FieldError as error:
        shape = CacheShape(
            model_type,
            unknown=f"{path}{error.field} {error.reason}",
            missing=f"{path}{error.field}",
            bad_field=error.present,
        )
    return _complete(shape, fields, source, path)


def _model_type(config: Mapping[str, Any]) -> str:
    name = config.get("model_type")
    if isinstance(name, str):
        return name[:80]
    for keys, name in UNNAMED.items():
        if all(key in config for key in keys):
            return name
    return "diffusers" if isinstance(config.get("_class_name"), str) else ""


def _text_config(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The language model's own table, and the path to it (empty for the top level)."""
    path = ""
    for _ in range(3):
        key = next((key for key in TEXT_CONFIGS if isinstance(config.get(key), Mapping)), None)
        # A text tower of CLIP or a pure encoder is not a language model; nor is a decoder's list.
        if key is None or _model_type(config) in ENCODERS:
            break
        config, path = config[key], f"{path}{key}."
    return config, path


def _defaults(text: Mapping[str, Any], model_type: str, nested: bool) -> Mapping[str, int]:
    """Nested configs are saved as the difference from their class: what is absent is its value."""
    family = FAMILY.get(model_type)
    return family.defaults if nested and family is not None and "model_type" in text else {}


def _complete(shape: CacheShape, fields: Fields, source: str, path: str) -> CacheShape:
    """The shape with what every model has: context, width, depth."""
    return replace(
        shape,
        used={f"{path}{key}": value for key, value in fields.used.items()},
        notes=tuple(fields.notes),
        assumed=fields.assumed,
        unconfirmed=fields.unconfirmed,
        context=_plain(fields, "context"),
        hidden=_plain(fields, "hidden"),
        heads=_plain(fields, "heads"),
        vocabulary=_plain(fields, "vocabulary"),
        depth=shape.depth or _plain(fields, "layers"),
        source=source,
        llama_cpp_windows=shape.model_type in LLAMA_CPP_WINDOWS,
        llama_cpp_expands=shape.model_type in LLAMA_CPP_EXPANDED,
    )


def _plain(fields: Fields, name: str) -> int | None:
    """A figure that is shown if it is there, and never a reason to stop."""
    number = whole_number(fields.find(name)[1])
    return number if number is not None and number > 0 else None


def _describe(config: Mapping[str, Any], fields: Fields, model_type: str) -> CacheShape:
    nothing = _nothing_kept(config, fields, model_type)
    if nothing:
        return CacheShape(model_type, none=nothing)
    if model_type in NOT_COVERED:
        return CacheShape(model_type, unknown=f"model_type {model_type}: {NOT_COVERED[model_type]}")
    if model_type in BART_LIKE or model_type in T5_LIKE:
        return _encoder_decoder(fields, model_type)
    shape = _decoder(config, fields, model_type)
    if _model_type(config) in ENCODER_AND_DECODER:
        return _with_cross(shape)
    return shape


def _nothing_kept(config: Mapping[str, Any], fields: Fields, model_type: str) -> str:
    """Why the model has no cache: it is no language model, or an encoder."""
    outer = _model_type(config)
    if "diffusers" in (model_type, outer):
        return "a diffusion model's part reads its input anew at every step"
    if model_type.lower() in DIFFUSION:
        return "text diffusion reads the whole text at every step"
    if fields.get("use_bidirectional_attention") in (True, "all"):
        return "attention runs both ways: an embedding model"
    if _encodes_only(config):
        return "only the encoder of the model is here (architectures)"
    encoder = model_type in ENCODERS or outer in ENCODERS
    if encoder and fields.get("is_decoder") is not True:
        return f"{outer or model_type} is an encoder: it reads its input once"
    if _labels_images(config):
        return "a vision model without a language model"
    return ""


def _encodes_only(config: Mapping[str, Any]) -> bool:
    """T5EncoderModel and the like: the encoder half of a model, as pipelines use it."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    return isinstance(first, str) and first.endswith("EncoderModel")


def _labels_images(config: Mapping[str, Any]) -> bool:
    """timm's config: an architecture name, a number of classes and no layers of text."""
    return "pretrained_cfg" in config and "num_classes" in config


# Decoders ---------------------------------------------------------------------------------


def _decoder(config: Mapping[str, Any], fields: Fields, model_type: str) -> CacheShape:
    family = FAMILY.get(model_type)
    if model_type in ENCODERS:  # one of them with is_decoder
        family = Family("", multi_head=True, ungrouped=True)
    if family is None:
        known = f"model type {model_type!r}" if model_type else "the config names no model type; it"
        fields.assume(f"{known} is read by its field names alone")
    if fields.get("block_configs") is not None:
        layers = block_configs(fields)
    else:
        count = depth(fields)
        chosen = without_shared(kinds(fields, count, family), fields)
        layers = Layers(fields, family, len(chosen)).build(chosen)
    return CacheShape(
        model_type,
        layers=grouped(layers),
        depth=len(layers),
        encoder_length=_image_tokens(config) if any(layer.cross for layer in layers) else None,
    )


# Encoder and decoder ----------------------------------------------------------------------


def _encoder_decoder(fields: Fields, model_type: str) -> CacheShape:
    """Every decoder layer keeps its own tokens, and the encoder's once."""
    count = fields.layers("decoder_layers" if fields.has("decoder_layers") else "layers")
    heads = fields.optional("decoder_heads", 1) or fields.integer("heads")
    own = fields.optional("decoder_kv_heads", 1) or heads
    width = _decoder_width(fields, model_type, heads)
    layer = LayerCache(own, width, width, cross=2 * own * width)
    return CacheShape(
        model_type,
        layers=((layer, count),),
        depth=count,
        encoder_length=_plain(fields, "encoder_length"),
    )


def _decoder_width(fields: Fields, model_type: str, heads: int) -> int:
    if model_type in T5_LIKE:
        return fields.integer("head_dim")
    hidden = fields.integer("hidden")
    if hidden % heads:
        raise FieldError("d_model", f"is {hidden:,}, no multiple of {heads:,} heads", present=True)
    return hidden // heads


def _with_cross(shape: CacheShape) -> CacheShape:
    """The decoder of an encoder-decoder pair: each layer also keeps the encoder's output."""
    layers = tuple(
        (layer._replace(cross=layer.kv_heads * (layer.key_dim + layer.value_dim)), count)
        for layer, count in shape.layers
    )
    return replace(shape, layers=layers)


def _image_tokens(config: Mapping[str, Any]) -> int | None:
    """Llama 3.2 Vision: tiles × (patches + one) of its vision config."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return None
    keys = ("max_num_tiles", "image_size", "patch_size")
    tiles, size, patch = (whole_number(vision.get(key)) for key in keys)
    if tiles is None or size is None or patch is None or min(tiles, size, patch) < 1:
        return None
    return tiles * ((size // patch) ** 2 + 1)
