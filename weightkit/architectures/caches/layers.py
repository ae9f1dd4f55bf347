"""The cache of one attention layer: heads, widths, latents; and all layers of a decoder."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from weightkit.architectures.caches.families import FAMILY, Family
from weightkit.architectures.caches.fields import MAX_LAYERS, FieldError, Fields, whole_number
from weightkit.architectures.caches.mixers import MIXERS
from weightkit.architectures.caches.shapes import MAX_DISTINCT, LayerCache


def block_configs(fields: Fields) -> list[LayerCache]:
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
    if not explicit and family is not None and not family.ungrouped:
        fields.unconfirmed = f"{key} is missing and taken as the attention heads"
    fields.used[f"{key} (as attention heads)"] = heads
    return heads


OVERRIDES = (
    "head_dim",
    "num_attention_heads",
    "num_key_value_heads",
    "sliding_window",
    "v_head_dim",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
)
"""Fields of ``per_layer_config`` that change a layer's cache."""


class Layers:
    """Builds the cache of each layer from its kind."""

    def __init__(self, fields: Fields, family: Family | None, count: int) -> None:
        self.fields = fields
        self.family = family
        self.count = count
        self._made: dict[tuple[str, int], LayerCache] = {}
        self._heads: list[int] | None = None
        self._exceptions = self._by_layer(fields.get("per_layer_config"))

    def _by_layer(self, stated: object) -> dict[int, Layers]:
        """``per_layer_config``: layers with other values for some fields, by their number."""
        if stated is None:
            return {}
        if not isinstance(stated, Mapping) or len(stated) > MAX_LAYERS:
            raise FieldError("per_layer_config", "is not a table of layers", present=True)
        made: dict[tuple[object, ...], Layers] = {}
        chosen: dict[int, Layers] = {}
        for key, values in stated.items():
            if not (isinstance(key, str) and key.isdecimal() and isinstance(values, Mapping)):
                raise FieldError("per_layer_config", "is not by layer number", present=True)
            own = tuple((name, values.get(name)) for name in OVERRIDES if name in values)
            if any(isinstance(value, list | Mapping) for _, value in own):
                raise FieldError("per_layer_config", "holds more than numbers", present=True)
            if own not in made:
                made[own] = self._with(dict(own), len(made))
            chosen[int(key[:9])] = made[own]
        return chosen

    def _with(self, values: dict[str, Any], made: int) -> Layers:
        """The same builder with other values; what it reads is noted with the rest."""
        if made >= MAX_DISTINCT:
            raise FieldError(
                "per_layer_config", f"has more than {MAX_DISTINCT} kinds", present=True
            )
        # What the table says of these layers it says whole: no other field is for them alone.
        hidden = dict.fromkeys(
            ("global_head_dim", "num_global_key_value_heads", "per_layer_config")
        )
        table = ChainMap(values, hidden, dict(self.fields.table))
        fields = Fields(table, self.fields.defaults)
        fields.used, fields.notes = self.fields.used, self.fields.notes
        return Layers(fields, self.family, self.count)

    def build(self, chosen: list[str]) -> list[LayerCache]:
        """One record per layer."""
        return [self._layer(kind, index) for index, kind in enumerate(chosen)]

    def _layer(self, kind: str, index: int) -> LayerCache:
        own = self._exceptions.get(index)
        return (self if own is None else own)._plain_layer(kind, index)

    def _plain_layer(self, kind: str, index: int) -> LayerCache:
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
        if sliding and self._own_windows():
            return self._sliding_width(heads)
        if not sliding and self._own_globals():
            key = fields.integer("global_head_dim")
            return self._global_heads(heads), key, key
        width = head_dim(fields, self.family)
        own = fields.optional("value_dim", 1) if self._states_value() else None
        return heads, width, own or width

    def _own_globals(self) -> bool:
        """Layers that see everything have a width of their own; Gemma 4 must state it."""
        fields = self.fields
        gemma = self.family is not None and "gemma4" in self.family.names
        stated = "per_layer_config" in fields.table
        return fields.has("global_head_dim") or (gemma and not stated)

    def _own_windows(self) -> bool:
        """Layers with a window have fields of their own, or a rule for their heads (MiMo-V2)."""
        mimo = self.family is not None and self.family.kinds == "mimo"
        return mimo or self.fields.has("sliding_head_dim")

    def _sliding_width(self, heads: int) -> tuple[int, int, int]:
        """``swa_…`` fields; without them twice the key-value heads, as transformers has it."""
        fields = self.fields
        key = fields.optional("sliding_head_dim", 1) or head_dim(fields, self.family)
        value = fields.optional("sliding_value_dim", 1) or fields.optional("value_dim", 1) or key
        twice = heads if fields.has("sliding_head_dim") else 2 * heads
        return fields.optional("sliding_kv_heads", 1) or twice, key, value

    def _states_value(self) -> bool:
        """``v_head_dim`` beside ordinary heads (MiMo-V2); DeepSeek's first models leave it unused."""
        return self.family is None or self.family.kinds == "mimo"

    def _global_heads(self, heads: int) -> int:
        """Gemma 4: ``num_global_key_value_heads`` counts where values are made from keys."""
        stated = self.fields.optional("global_kv_heads", 1)
        if stated is None or self.fields.get("attention_k_eq_v") is False:
            return heads
        return stated
