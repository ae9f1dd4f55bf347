"""A cache as the terms of a report: each figure with its formula, its inputs and its source."""

from __future__ import annotations

from weightkit.analyses.kv_cache import Bytes, CacheBytes, Setting, cache_bytes, kept, token_nbytes
from weightkit.architectures.caches.shapes import CacheShape, LayerCache
from weightkit.reports import ESTIMATE, EXACT, UNKNOWN, CacheRow, MemoryTerm


def cache_rows(shape: CacheShape) -> tuple[CacheRow, ...]:
    """The layers of a shape, as reports list them."""
    return tuple(
        CacheRow(count, _row_kind(layer), *layer[: len(LayerCache._fields) - 1])
        for layer, count in shape.layers
    )


def _row_kind(layer: LayerCache) -> str:
    if layer.latent:
        return "latent attention"
    recurrent, attends = layer.conv or layer.state, layer.kv_heads
    if recurrent:
        return "attention and recurrent" if attends else "recurrent"
    if layer.cross:
        return "self and cross attention" if attends else "cross attention"
    return "attention" if attends else "none"


def cache_terms(shape: CacheShape, setting: Setting) -> tuple[MemoryTerm, ...]:
    """Keys and values, then whatever else is kept, then the engine's padding."""
    if shape.none:
        return (_none(shape),)
    if shape.unknown:
        return (unknown_cache(shape),)
    sizes = cache_bytes(shape, setting)
    terms = [_keys_values(shape, setting, sizes)]
    if any(layer.state or layer.conv for layer, _ in shape.layers):
        terms.append(_state_term(shape, setting, sizes.state))
    if any(layer.indexer for layer, _ in shape.layers):
        terms.append(_index_term(shape, setting, sizes.indexer))
    if any(layer.cross for layer, _ in shape.layers):
        terms.append(_cross_term(shape, setting, sizes.cross))
    if any(sizes.padding):
        terms.append(_padding_term(shape, setting, sizes.padding))
    return tuple(terms)


def _none(shape: CacheShape) -> MemoryTerm:
    return MemoryTerm("kv_cache", 0, 0, EXACT, "0: the model keeps nothing", reason=shape.none)


def unknown_cache(shape: CacheShape) -> MemoryTerm:
    """A cache whose shape is not known: no figure, and the field that is to blame."""
    return MemoryTerm(
        "kv_cache", None, None, UNKNOWN, source=shape.source, reason=f"unknown: {shape.unknown}"
    )


def _kind(shape: CacheShape, size: Bytes) -> str:
    return EXACT if size.low == size.high and not shape.assumed else ESTIMATE


def _inputs(shape: CacheShape, setting: Setting) -> dict[str, object]:
    return {
        **shape.used,
        "context": setting.context,
        "batch": setting.batch,
        "kv_dtype": setting.kv_type.name,
    }


def _keys_values(shape: CacheShape, setting: Setting, sizes: CacheBytes) -> MemoryTerm:
    low, high = sizes.keys_values
    return MemoryTerm(
        "kv_cache",
        low,
        high,
        _kind(shape, sizes.keys_values),
        formula=_formula(shape, setting),
        inputs=_inputs(shape, setting),
        source=setting.engine.source,
        reason=_range_reason(shape, low != high),
    )


def _range_reason(shape: CacheShape, ranged: bool) -> str:
    reasons = list(shape.notes) if shape.assumed else []
    if ranged and any(layer.copied_heads for layer, _ in shape.layers):
        reasons.append("high: transformers repeats the key-value heads before caching them")
    if ranged and any(layer.window for layer, _ in shape.layers):
        reasons.append("low: layers with a window keep only it; high: they keep every token")
    return "; ".join(reasons)


def _formula(shape: CacheShape, setting: Setting) -> str:
    """The sum written out, a summand per kind of layer."""
    parts = []
    for layer, count in shape.layers:
        token = token_nbytes(layer, setting, shape.llama_cpp_expands)
        if token:
            tokens = kept(layer, setting, shape.llama_cpp_windows)
            span = "–".join(f"{number:,}" for number in sorted(set(tokens)))
            parts.append(f"{count} layers × {_elements(layer, token)} × {span} tokens")
    total = " + ".join(parts) or "no layer keeps keys or values"
    return total if setting.batch == 1 else f"({total}) × {setting.batch} sequences"


def _elements(layer: LayerCache, token: int) -> str:
    if layer.latent:
        return f"[{layer.latent} latent elements = {token:,} B]"
    return f"[{layer.kv_heads} heads × ({layer.key_dim} + {layer.value_dim}) = {token:,} B]"


def _state_term(shape: CacheShape, setting: Setting, size: Bytes) -> MemoryTerm:
    parts = [
        f"{count} layers × (conv {layer.conv:,} × {layer.kernel} columns + state {layer.state:,})"
        for layer, count in shape.layers
        if layer.conv or layer.state
    ]
    low, high = setting.engine.state_nbytes
    bits = f"{low} B" if low == high else f"{low}–{high} B"
    return MemoryTerm(
        "recurrent_state",
        *size,
        _kind(shape, size),
        formula=f"({' + '.join(parts)}) × {bits} × {setting.batch} sequences",
        inputs=_inputs(shape, setting),
        source="vLLM mamba_utils.py; llama.cpp llama-hparams.cpp (n_embd_r, n_embd_s)",
        reason="low: kept as 16-bit; high: kept as 32-bit" if low != high else "",
    )


def _index_term(shape: CacheShape, setting: Setting, size: Bytes) -> MemoryTerm:
    layers = sum(count for layer, count in shape.layers if layer.indexer)
    width = max(layer.indexer for layer, _ in shape.layers)
    return MemoryTerm(
        "indexer_keys",
        *size,
        ESTIMATE,
        formula=f"{layers} layers × ({width} + 4 to 2 × {width}) B × context × batch",
        inputs=_inputs(shape, setting),
        source="vLLM DeepseekV32IndexerCache; transformers DynamicIndexedLayer",
        reason="low: 8-bit keys with a scale; high: 16-bit keys",
    )


def _cross_term(shape: CacheShape, setting: Setting, size: Bytes) -> MemoryTerm:
    if setting.encoder_length is None:
        return MemoryTerm(
            "cross_attention",
            None,
            None,
            UNKNOWN,
            reason="unknown: the length of the encoder's output (max_source_positions) is missing",
        )
    per_token = sum(layer.cross * count for layer, count in shape.layers)
    own = shape.encoder_length == setting.encoder_length
    return MemoryTerm(
        "cross_attention",
        *size,
        _kind(shape, size) if own else ESTIMATE,
        formula=f"{per_token:,} elements × {setting.encoder_length:,} encoder tokens × batch",
        inputs={**_inputs(shape, setting), "encoder_length": setting.encoder_length},
        source="vLLM CrossAttentionSpec; transformers EncoderDecoderCache",
        reason="" if own else "the encoder's output is taken to be as long as the context",
    )


def _padding_term(shape: CacheShape, setting: Setting, size: Bytes) -> MemoryTerm:
    engine = setting.engine
    return MemoryTerm(
        "engine_padding",
        min(size),
        max(size),
        _kind(shape, size),
        formula=(
            f"whole blocks of {engine.block} tokens; for a window, {engine.in_flight} tokens of "
            f"the batch in flight and {engine.spare_blocks} blocks more"
        ),
        inputs=_inputs(shape, setting),
        source=engine.source,
    )
