"""From ``config.json`` to the cache of each layer.

Nothing is guessed in silence: a field that the shape needs and the config lacks makes the whole
shape unknown, with the field's name; what is derived from another field is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weightkit.architectures.cache_families import (
    BART_LIKE,
    ENCODERS,
    FAMILY,
    LLAMA_CPP_EXPANDED,
    LLAMA_CPP_WINDOWS,
    NOT_COVERED,
    T5_LIKE,
    Family,
)
from weightkit.architectures.cache_kinds import depth, kinds, without_shared
from weightkit.architectures.cache_mixers import MIXERS
from weightkit.architectures.cache_shapes import CacheShape, LayerCache, grouped
from weightkit.architectures.config_fields import FieldError, Fields, whole_number

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
    if "ssm_cfg" in config:
        return "mamba_ssm"
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
    if fields.get("use_bidirectional_attention") in (True, "all"):
        return "attention runs both ways: an embedding model"
    encoder = model_type in ENCODERS or outer in ENCODERS
    if encoder and fields.get("is_decoder") is not True:
        return f"{outer or model_type} is an encoder: it reads its input once"
    if _labels_images(config):
        return "a vision model without a language model"
    return ""


def _labels_images(config: Mapping[str, Any]) -> bool:
    """timm's config: an architecture name, a number of classes and no layers of text."""
    return "pretrained_cfg" in config and "num_classes" in config


# Decoders ---------------------------------------------------------------------------------


def _decoder(config: Mapping[str, Any], fields: Fields, model_type: str) -> CacheShape:
    family = FAMILY.get(model_type)
    if family is None and model_type not in ENCODERS:
        known = f"model type {model_type!r}" if model_type else "the config names no model type; it"
        fields.assume(f"{known} is read by its field names alone")
    if fields.get("block_configs") is not None:
        layers = _block_configs(fields)
    else:
        count = depth(fields)
        chosen = without_shared(kinds(fields, count, family), fields)
        layers = _Layers(fields, family, len(chosen)).build(chosen)
    return CacheShape(
        model_type,
        layers=grouped(layers),
        depth=len(layers),
        encoder_length=_image_tokens(config) if any(layer.cross for layer in layers) else None,
    )


def _block_configs(fields: Fields) -> list[LayerCache]:
    """Nemotron-NAS: each block says how many heads share a key, or that it has no attention."""
    blocks = fields.get("block_configs")
    if not isinstance(blocks, list) or len(blocks) != fields.layers():
        raise FieldError("block_configs", "is not one entry per layer", present=True)
    heads, width = fields.integer("heads"), head_dim(fields, FAMILY.get("llama"))
    return [_block(block, heads, width) for block in blocks]


def _block(block: object, heads: int, width: int) -> LayerCache:
    attention = block.get("attention") if isinstance(block, Mapping) else None
    if not isinstance(attention, Mapping):
        raise FieldError("block_configs", "has a block without 'attention'", present=True)
    if attention.get("no_op") is True or attention.get("replace_with_linear") is True:
        return LayerCache()
    share = whole_number(attention.get("n_heads_in_group"))
    if share is None or share < 1 or heads % share:
        raise FieldError("block_configs", "has an unusable n_heads_in_group", present=True)
    return LayerCache(heads // share, width, width)


def head_dim(fields: Fields, family: Family | None) -> int:
    """Elements per head: stated, or hidden size over heads where the family defines it so."""
    width = fields.optional("head_dim", 1)
    if width is not None:
        return width
    if family is not None and family.own_head_dim:
        raise FieldError(fields.find("head_dim")[0], "is missing, and does not follow from others")
    hidden, heads = fields.integer("hidden"), fields.integer("heads")
    if hidden % heads:
        raise FieldError("head_dim", f"is missing, and {hidden:,} is no multiple of {heads:,}")
    if family is None:
        fields.assume("head_dim is taken as hidden size / attention heads")
    fields.used["head_dim (hidden size / heads)"] = hidden // heads
    return hidden // heads


def kv_heads(fields: Fields, family: Family | None, count: int) -> list[int]:
    """Key-value heads of each layer."""
    if _single_head(fields):
        return [1] * count
    if any(fields.get(key) is False for key in ("multi_query", "multi_query_attention")):
        return [fields.integer("heads")] * count
    stated = fields.per_layer("kv_heads", count)
    if stated is not None:
        return stated
    return [_own_heads(fields, family)] * count


def _single_head(fields: Fields) -> bool:
    """Multi-query attention by a flag: StarCoder, the first Falcons, MPT."""
    if fields.get("new_decoder_architecture") is True:
        return False
    for key, value in (("multi_query", True), ("attn_config.attn_type", "multiquery_attention")):
        if fields.get(key) == value:
            fields.used[key] = value
            return True
    return False


def _own_heads(fields: Fields, family: Family | None) -> int:
    """One key-value head per attention head: where the config says so by null, or the family."""
    key = fields.find("kv_heads")[0]
    explicit = any(name in fields.table for name in fields.names("kv_heads"))
    if not explicit and (family is None or not family.multi_head):
        raise FieldError(key, "is missing")
    heads = fields.integer("heads")
    fields.used[f"{key} (as attention heads)"] = heads
    return heads


class _Layers:
    """Builds the cache of each layer from its kind."""

    def __init__(self, fields: Fields, family: Family | None, count: int) -> None:
        self.fields = fields
        self.family = family
        self.count = count
        self._made: dict[tuple[str, int], LayerCache] = {}
        self._heads: list[int] | None = None

    def build(self, chosen: list[str]) -> list[LayerCache]:
        """One record per layer."""
        return [self._layer(kind, index) for index, kind in enumerate(chosen)]

    def _layer(self, kind: str, index: int) -> LayerCache:
        if kind in ("none", "shared"):
            return LayerCache()
        if kind in ("linear", "conv"):
            return self._once(kind, 0)
        return self._once(kind, self._kv_heads(kind, index))

    def _once(self, kind: str, heads: int) -> LayerCache:
        key = (kind, heads)
        if key not in self._made:
            self._made[key] = self._make(kind, heads)
        return self._made[key]

    def _kv_heads(self, kind: str, index: int) -> int:
        if self.fields.optional("latent_rank"):
            return self.fields.integer("heads")
        if self._heads is None:
            self._heads = kv_heads(self.fields, self.family, self.count)
        return self._heads[index]

    def _make(self, kind: str, heads: int) -> LayerCache:
        if kind == "conv":
            return MIXERS["short_conv"](self.fields)
        mixer = self._mixer() if kind in ("linear", "hybrid", "hybrid_sliding") else LayerCache()
        if kind == "linear":
            return mixer
        attention = self._attention(kind, heads)
        if kind == "cross":
            across = heads * (attention.key_dim + attention.value_dim)
            return LayerCache(cross=across)
        return attention._replace(conv=mixer.conv, kernel=mixer.kernel, state=mixer.state)

    def _mixer(self) -> LayerCache:
        if self.family is None or not self.family.mixer:
            raise FieldError("model_type", "has recurrent layers of an unknown kind")
        return MIXERS[self.family.mixer](self.fields)

    def _attention(self, kind: str, heads: int) -> LayerCache:
        fields = self.fields
        indexer = (fields.optional("index_dim") or 0) if kind == "indexed" else 0
        window = {
            "sliding": "window",
            "hybrid_sliding": "window",
            "chunked": "chunk",
        }.get(kind)
        bound = fields.integer(window) if window else 0
        rank = fields.optional("latent_rank")
        if rank:
            return self._latent(rank, heads)._replace(window=bound, indexer=indexer)
        heads, key, value = self._width(kind, heads)
        copied = fields.integer("heads") if self._copies() else 0
        return LayerCache(heads, key, value, bound, indexer=indexer, copied_heads=copied)

    def _copies(self) -> bool:
        return self.fields.get("new_decoder_architecture") is True

    def _latent(self, rank: int, heads: int) -> LayerCache:
        """MLA: one latent and one rotary key per token, whatever the number of heads."""
        fields = self.fields
        rope = fields.integer("rope_dim", 0)
        nope = fields.optional("nope_dim", 0) or 0
        value = fields.optional("value_dim", 1) or nope
        return LayerCache(heads, nope + rope, value, latent=rank + rope)

    def _width(self, kind: str, heads: int) -> tuple[int, int, int]:
        """Key-value heads, key and value width of an attention layer of this kind."""
        fields = self.fields
        sliding = kind in ("sliding", "hybrid_sliding")
        if sliding and fields.has("sliding_head_dim"):
            key = fields.integer("sliding_head_dim")
            value = fields.optional("sliding_value_dim", 1) or key
            return fields.optional("sliding_kv_heads", 1) or heads, key, value
        if not sliding and fields.has("global_head_dim"):
            key = fields.integer("global_head_dim")
            return self._global_heads(heads), key, key
        key = head_dim(fields, self.family)
        value = fields.optional("value_dim", 1) if self._states_value() else None
        return heads, key, value or key

    def _states_value(self) -> bool:
        """``v_head_dim`` beside ordinary heads (MiMo-V2); DeepSeek's first models leave it unused."""
        return self.family is None or self.family.kinds == "mimo"

    def _global_heads(self, heads: int) -> int:
        """Gemma 4: ``num_global_key_value_heads`` counts where values are made from keys."""
        stated = self.fields.optional("global_kv_heads", 1)
        if stated is None or self.fields.get("attention_k_eq_v") is False:
            return heads
        return stated


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
