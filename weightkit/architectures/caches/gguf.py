"""From GGUF metadata to the cache of each layer, by the rules of llama.cpp's loaders.

Per-layer facts are arrays (``attention.head_count_kv`` is 0 on layers without attention); what an
architecture's loader holds in code (the window's period, which hybrid has attention where) is in
the tables of :mod:`.families`. Sources: ``llama-hparams.cpp`` (``n_embd_r``, ``n_embd_s``,
``set_swa_pattern``), the loaders under ``src/models`` of llama.cpp, ``gguf.constants``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weightkit.architectures.caches.families import (
    GGUF_BOTH,
    GGUF_DIFFUSION,
    GGUF_ENCODERS,
    GGUF_HYBRID_INTERVAL,
    GGUF_LATENT,
    GGUF_OPTIONAL_WINDOWS,
    GGUF_RECURRENT,
    GGUF_WINDOWS,
    NOT_COVERED,
)
from weightkit.architectures.caches.fields import MAX_LAYERS, FieldError, Fields, whole_number
from weightkit.architectures.caches.shapes import CacheShape, LayerCache, grouped
from weightkit.tensors import ArrayRef

SOURCE = "GGUF metadata"


def describe_gguf(metadata: Mapping[str, Any]) -> CacheShape:
    """The cache of the model that GGUF ``metadata`` describes. Never raises."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        key = "general.architecture"
        return CacheShape("", unknown=f"{key} is missing", missing=key, source=SOURCE)
    architecture = architecture[:80]
    fields = Fields(metadata, architecture=architecture)
    try:
        shape = _describe(fields, architecture, metadata)
    except FieldError as error:
        shape = CacheShape(
            architecture,
            unknown=f"{error.field} {error.reason}",
            missing=error.field,
            bad_field=error.present,
        )
    return _complete(shape, fields)


def _complete(shape: CacheShape, fields: Fields) -> CacheShape:
    plain = {
        name: whole_number(fields.find(name)[1])
        for name in ("context", "hidden", "heads", "vocabulary", "layers")
    }
    return replace(
        shape,
        used=dict(fields.used),
        notes=tuple(fields.notes),
        assumed=fields.assumed,
        context=plain["context"] or None,
        hidden=plain["hidden"],
        heads=plain["heads"],
        vocabulary=plain["vocabulary"] or _tokens(fields),
        depth=shape.depth or plain["layers"],
        source=SOURCE,
    )


def _tokens(fields: Fields) -> int | None:
    """The length of the vocabulary, which may have been left in the file."""
    tokens = fields.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, ArrayRef) else None


def _describe(fields: Fields, architecture: str, metadata: Mapping[str, Any]) -> CacheShape:
    kind = metadata.get("general.type")
    if kind in ("adapter", "mmproj"):
        return CacheShape(architecture, none=f"the file is an {kind}, not a language model")
    if architecture in GGUF_ENCODERS:
        return CacheShape(architecture, none=f"{architecture} is an encoder: it reads once")
    if architecture in GGUF_DIFFUSION:
        return CacheShape(architecture, none="text diffusion reads the whole text at every step")
    family = architecture.replace("deepseek4", "deepseek_v4")
    if family in NOT_COVERED:
        return CacheShape(architecture, unknown=f"{architecture}: {NOT_COVERED[family]}")
    layers = _layers(fields, architecture)
    return CacheShape(architecture, layers=grouped(layers), depth=len(layers))


def _layers(fields: Fields, architecture: str) -> list[LayerCache]:
    count = fields.layers()
    if architecture in GGUF_LATENT:
        fields.integer("latent_rank")
    if architecture == "t5":
        return _t5(fields, count)
    count = _own_blocks(fields, count)
    recurrent = _recurrent(fields, architecture, count)
    windows = _windows(fields, architecture, count)
    attention = _attention(fields, architecture, count, windows, recurrent)
    return [
        _joined(attention[layer], mixer, architecture in GGUF_BOTH)
        for layer, mixer in enumerate(recurrent)
    ]


def _own_blocks(fields: Fields, count: int) -> int:
    """Blocks for predicting further tokens are counted in, and get no cache of their own."""
    further = fields.optional("next_token_layers") or 0
    if further >= count:
        key = fields.find("next_token_layers")[0]
        raise FieldError(key, f"is {further:,} of {count:,} blocks", present=True)
    return count - further


def _joined(attention: LayerCache, mixer: LayerCache | None, both: bool) -> LayerCache:
    if mixer is None:
        return attention
    if not both:
        return mixer
    return attention._replace(conv=mixer.conv, kernel=mixer.kernel, state=mixer.state)


# Recurrent layers -------------------------------------------------------------------------


def _recurrent(fields: Fields, architecture: str, count: int) -> list[LayerCache | None]:
    """The mixer of each layer, None where it has none."""
    flags = _recurrent_flags(fields, architecture, count)
    if not any(flags):
        return [None] * count
    mixer = _mixer(fields)
    return [mixer if flag else None for flag in flags]


def _recurrent_flags(fields: Fields, architecture: str, count: int) -> list[bool]:
    if architecture in GGUF_RECURRENT | GGUF_BOTH:
        return [True] * count
    if architecture in GGUF_HYBRID_INTERVAL:
        interval = fields.either("full_interval", GGUF_HYBRID_INTERVAL[architecture], "loader's")
        return [(layer + 1) % interval != 0 for layer in range(count)]
    if not any(fields.has(name) for name in ("kernel", "short_conv", "wkv_head", "delta_dim")):
        return [False] * count
    heads = fields.per_layer("kv_heads", count)
    if heads is None:
        raise FieldError(fields.find("kv_heads")[0], "is missing")
    return [
        number == 0 and not _feeds_forward(fields, architecture, layer)
        for layer, number in enumerate(heads)
    ]


def _feeds_forward(fields: Fields, architecture: str, layer: int) -> bool:
    """Nemotron-H has layers that are neither: a feed-forward length and no heads."""
    lengths = fields.get(f"{architecture}.feed_forward_length")
    if not architecture.startswith("nemotron_h") or not isinstance(lengths, list | tuple):
        return False
    return layer < len(lengths) and bool(whole_number(lengths[layer]))


def _mixer(fields: Fields) -> LayerCache:
    if fields.has("wkv_head"):
        hidden = fields.integer("hidden")
        shifts = fields.either("token_shift", 2, "default of llama.cpp")
        return LayerCache(conv=shifts * hidden, kernel=2, state=hidden * fields.integer("wkv_head"))
    if fields.has("short_conv"):
        return LayerCache(conv=fields.integer("hidden"), kernel=fields.integer("short_conv", 2))
    if fields.has("delta_dim"):
        width, heads = fields.integer("delta_dim"), _most_heads(fields)
        kernel = fields.integer("kernel")
        return LayerCache(conv=3 * heads * width, kernel=kernel, state=heads * width * width)
    inner, state = fields.integer("inner"), fields.integer("state")
    groups = fields.optional("groups") or 0
    return LayerCache(
        conv=inner + 2 * groups * state, kernel=fields.integer("kernel"), state=inner * state
    )


def _most_heads(fields: Fields) -> int:
    heads = fields.per_layer("heads", fields.layers()) or [0]
    return max(heads)


# Attention --------------------------------------------------------------------------------


def _windows(fields: Fields, architecture: str, count: int) -> list[int]:
    """The window of each layer, 0 where it sees everything."""
    if architecture not in GGUF_WINDOWS:
        return [0] * count
    period, dense_first, fixed = GGUF_WINDOWS[architecture]
    window = fixed if architecture == "llama4" else fields.optional("window")
    if not window:
        if not fixed and architecture not in GGUF_OPTIONAL_WINDOWS:
            raise FieldError(fields.find("window")[0], "is missing")
        window = fixed
    flags = _window_flags(fields, period, dense_first, count) if window else [False] * count
    return [window if flag else 0 for flag in flags]


def _window_flags(fields: Fields, period: int, dense_first: bool, count: int) -> list[bool]:
    """``set_swa_pattern``: one flag per layer from the file, or a period."""
    key, value = fields.find("window_pattern")
    if isinstance(value, list | tuple):
        if len(value) < count or any(not isinstance(flag, bool | int) for flag in value[:count]):
            raise FieldError(key, f"is not a flag for each of {count:,} layers", present=True)
        fields.used[key] = "per layer"
        return [bool(flag) for flag in value[:count]]
    stated = fields.optional("window_pattern")
    if stated is None and not period:
        raise FieldError(key, "is missing")
    period = period if stated is None else stated
    fields.used[f"{key} (period)"] = period
    if period == 0:
        return [True] * count
    if dense_first:
        return [layer % period != 0 for layer in range(count)]
    return [layer % period < period - 1 for layer in range(count)]


def _attention(
    fields: Fields,
    architecture: str,
    count: int,
    windows: list[int],
    recurrent: list[LayerCache | None],
) -> list[LayerCache]:
    """The attention cache of each layer, without the ones that use an earlier layer's."""
    needed = [mixer is None or architecture in GGUF_BOTH for mixer in recurrent]
    if not any(needed):
        return [LayerCache()] * count
    build = _Attention(fields, count)
    own = count - (fields.optional("shared_layers") or 0)
    return [
        build.layer(layer, windows[layer]) if needed[layer] and layer < own else LayerCache()
        for layer in range(count)
    ]


class _Attention:
    """Key-value widths by layer. A latent cache is one head without values (``key_length_mla``)."""

    def __init__(self, fields: Fields, count: int) -> None:
        self.fields = fields
        self.heads = fields.per_layer("kv_heads", count)
        if self.heads is None:
            # llama.cpp: "if head_count_kv is missing, assume one per attention head".
            self.heads = fields.per_layer("heads", count, 1)
            fields.used[f"{fields.find('kv_heads')[0]} (as attention heads)"] = "llama.cpp's rule"
        if self.heads is None:
            raise FieldError(fields.find("heads")[0], "is missing")
        self.latent = fields.has("latent_key_dim")
        self.indexer = fields.optional("index_dim") or 0
        self._widths: dict[bool, tuple[int, int]] = {}

    def layer(self, layer: int, window: int) -> LayerCache:
        """The cache of one layer."""
        heads = (self.heads or [])[layer]
        if heads == 0:
            return LayerCache()
        sliding = bool(window)
        if sliding not in self._widths:
            self._widths[sliding] = self._width(sliding)
        key, value = self._widths[sliding]
        if self.latent:
            return LayerCache(0, 0, 0, window, latent=heads * key, indexer=self.indexer)
        return LayerCache(heads, key, value, window)

    def _width(self, sliding: bool) -> tuple[int, int]:
        fields = self.fields
        if sliding and fields.has("sliding_head_dim"):
            key = fields.integer("sliding_head_dim")
            return key, fields.optional("sliding_value_dim", 1) or key
        key = fields.optional("head_dim", 1) or self._from_hidden("head_dim")
        return key, fields.optional("value_dim", 1) or self._from_hidden("value_dim")

    def _from_hidden(self, name: str) -> int:
        """llama.cpp's rule for an absent width: embedding length / attention heads."""
        fields = self.fields
        if fields.has("latent_rank"):
            raise FieldError(fields.find(name)[0], "is missing, and latent attention needs it")
        heads = max(fields.per_layer("heads", fields.layers()) or [0])
        if heads < 1:
            raise FieldError(fields.find("heads")[0], "is missing")
        width = fields.integer("hidden") // heads
        fields.used[f"{fields.find(name)[0]} (embedding length / heads)"] = width
        return width


def _t5(fields: Fields, count: int) -> list[LayerCache]:
    """T5: every decoder layer keeps its own tokens, and the encoder's once."""
    count = fields.optional("decoder_layers", 1) or count
    if count > MAX_LAYERS:
        key = fields.find("decoder_layers")[0]
        raise FieldError(key, f"is {count:,}, more than {MAX_LAYERS:,}", present=True)
    layer = _Attention(fields, count).layer(0, 0)
    across = layer.kv_heads * (layer.key_dim + layer.value_dim)
    return [layer._replace(cross=across)] * count
