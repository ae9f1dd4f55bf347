"""Everything that ``weightkit memory`` says: weights, cache, overhead, what fits, training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightkit.analyses.fitting import fit_rows
from weightkit.analyses.inspection import Checkpoint, inspect
from weightkit.analyses.kv_cache import (
    ANY,
    ENGINES,
    KV_TYPES,
    Bytes,
    CacheBytes,
    Setting,
    cache_bytes,
)
from weightkit.analyses.kv_terms import cache_rows, cache_terms, unknown_cache
from weightkit.analyses.parts import whole
from weightkit.analyses.precisions import makeup, weight_terms
from weightkit.analyses.sizing import Request, overhead_terms, setting_of
from weightkit.analyses.training import Trained, training_terms
from weightkit.architectures.caches.config import describe_config
from weightkit.architectures.caches.gguf import describe_gguf
from weightkit.architectures.caches.shapes import CacheShape
from weightkit.findings import Finding
from weightkit.reports import ESTIMATE, EXACT, UNKNOWN, Group, Inspection, MemoryReport, MemoryTerm
from weightkit.rules import finding
from weightkit.tensors import TensorInfo

CONFIGS = ("config.json", "params.json")
"""Where a checkpoint's shape may be described, in order."""
PIPELINE = "diffusers pipeline"


def memory_of(checkpoint: Checkpoint, request: Request | None = None) -> MemoryReport:
    """Inspect an open checkpoint and say what it takes to run and to train."""
    config = checkpoint.config
    if checkpoint.format == "slices" and checkpoint.parts:
        config = checkpoint.parts[0].config
    return memory(inspect(checkpoint), config, checkpoint.tensors, request)


def memory(
    inspection: Inspection,
    config: Mapping[str, Any],
    tensors: Sequence[TensorInfo] = (),
    request: Request | None = None,
) -> MemoryReport:
    """What the checkpoint behind ``inspection`` takes to run and to train.

    ``config`` holds the JSON files beside the weights by name, ``tensors`` the checkpoint's, whose
    shapes are held against the config. Raises KeyError for an unknown engine or cache dtype.
    """
    request = request or Request()
    inspection = whole(inspection)
    shape, findings = _checked(cache_shape(config, inspection), tensors, inspection.path)
    setting, source = setting_of(shape, request)
    weights = weight_terms(inspection, tensors)
    cache, sizes = _cache(shape, setting)
    overhead = overhead_terms(weights[0], shape, request)
    return MemoryReport(
        path=inspection.path,
        architecture=shape.model_type,
        engine=request.engine,
        context=setting.context if setting else None,
        context_source=source,
        batch=request.batch,
        kv_dtype=request.kv_dtype,
        parameters=makeup(inspection).total,
        weights=weights,
        cache=cache,
        overhead=overhead,
        total=_total(weights[0], cache, sizes, overhead),
        per_token=_token_term("kv_cache_per_token", shape, request, growth=False),
        growth=_token_term("kv_cache_growth", shape, request, growth=True),
        layers=cache_rows(shape),
        training=training_terms(_trained(inspection, shape, setting, request)),
        budget=request.budget,
        fit=fit_rows(weights, shape, setting, request) if request.budget is not None else (),
        notes=_notes(shape, request),
        findings=(*inspection.findings, *findings),
    )


# The shape --------------------------------------------------------------------------------


def cache_shape(config: Mapping[str, Any], inspection: Inspection) -> CacheShape:
    """The cache's shape, from GGUF metadata or from the config beside the weights."""
    if inspection.format == PIPELINE:
        return CacheShape(
            PIPELINE, none="each part of a pipeline reads its input anew at each step"
        )
    if inspection.format == "gguf":
        return describe_gguf(inspection.metadata)
    for name in CONFIGS:
        table = config.get(name)
        if isinstance(table, Mapping):
            return describe_config(table, name)
    if isinstance(config.get("adapter_config.json"), Mapping):
        return CacheShape(
            "", unknown="an adapter: its base model's config.json describes the cache"
        )
    return CacheShape("", unknown="config.json is missing", missing="config.json")


_KEY_PROJECTION = re.compile(r"(?:\.k_proj|\.attn_k|\.key_proj|\.wk)\.weight$")
_OTHER_TOWERS = re.compile(r"vision|visual|audio|image|encoder|indexer|cross|talker|mtp")


def _checked(
    shape: CacheShape, tensors: Iterable[TensorInfo], path: str
) -> tuple[CacheShape, tuple[Finding, ...]]:
    """The shape, or unknown when the weights refute it; with what is wrong as findings."""
    if shape.bad_field:
        return shape, (finding("WK770", shape.unknown, path=path, subject=shape.missing),)
    rows = _key_rows(tensors)
    expected = {layer.kv_heads * layer.key_dim for layer, _ in shape.layers if layer.kv_heads}
    if not rows or not expected or any(layer.latent for layer, _ in shape.layers):
        return _unconfirmed(shape), ()
    if rows in expected:
        return shape, ()
    wanted = " or ".join(f"{number:,}" for number in sorted(expected)[:4])
    name = "num_key_value_heads"
    message = f"{name} × head_dim is {wanted} in the config, but keys have {rows:,} elements"
    return (
        replace(shape, layers=(), unknown=message, missing=name),
        (finding("WK771", message, path=path, subject=name),),
    )


def _unconfirmed(shape: CacheShape) -> CacheShape:
    """The shape as an estimate where it rests on a rule that the weights do not confirm."""
    if not shape.unconfirmed:
        return shape
    return replace(shape, assumed=True, notes=(*shape.notes, shape.unconfirmed))


def _key_rows(tensors: Iterable[TensorInfo]) -> int | None:
    """The most common height of the key projections of the language model, if it can be seen."""
    heights = Counter(
        tensor.shape[0]
        for tensor in tensors
        if len(tensor.shape) == 2
        and tensor.dtype.kind in ("float", "quant")
        and _KEY_PROJECTION.search(tensor.name)
        and not _OTHER_TOWERS.search(tensor.name)
    )
    return heights.most_common(1)[0][0] if heights else None


def _cache(
    shape: CacheShape, setting: Setting | None
) -> tuple[tuple[MemoryTerm, ...], CacheBytes | None]:
    if setting is None and not shape.none:
        missing = "the context is not stated (max_position_embeddings): give --context"
        shape = shape if shape.unknown else replace(shape, unknown=missing)
        return (unknown_cache(shape),), None
    terms = cache_terms(shape, setting or Setting(0))
    known = not shape.none and not shape.unknown and all(t.kind != UNKNOWN for t in terms)
    return terms, cache_bytes(shape, setting) if known and setting else None


# Sums -------------------------------------------------------------------------------------


def _total(
    stored: MemoryTerm,
    cache: tuple[MemoryTerm, ...],
    sizes: CacheBytes | None,
    overhead: tuple[MemoryTerm, ...],
) -> MemoryTerm:
    unknown = next((term for term in cache if term.kind == UNKNOWN), None)
    if unknown is not None:
        return MemoryTerm("total", None, None, UNKNOWN, reason=unknown.reason)
    kept = sizes.whole if sizes else Bytes()
    parts = [stored, *overhead]
    return MemoryTerm(
        "total",
        kept.low + sum(term.low or 0 for term in parts),
        kept.high + sum(term.high or 0 for term in parts),
        ESTIMATE,
        formula=" + ".join(term.name for term in (stored, *cache, *overhead)),
    )


def _token_term(name: str, shape: CacheShape, request: Request, growth: bool) -> MemoryTerm:
    """Bytes per token and sequence, from a cache of one token."""
    if shape.none or shape.unknown:
        term = cache_terms(shape, Setting(1))[0]
        return term._replace(name=name)
    engine = ENGINES[request.engine] if request.engine else ANY
    sizes = cache_bytes(shape, Setting(1, 1, KV_TYPES[request.kv_dtype], engine))
    size = sizes.growth if growth else Bytes(sizes.per_token, sizes.per_token)
    ranged = size.low != size.high or shape.assumed
    return MemoryTerm(
        name,
        *size,
        ESTIMATE if ranged else EXACT,
        formula=_token_formula(growth),
        inputs={**shape.used, "kv_dtype": request.kv_dtype},
        source=shape.source,
        reason="; ".join(shape.notes) if shape.assumed else "",
    )


def _token_formula(growth: bool) -> str:
    if growth:
        return "the same for layers whose window does not bound them"
    return "sum over layers of key-value heads × (key + value elements) × bytes"


def _notes(shape: CacheShape, request: Request) -> tuple[str, ...]:
    notes = list(shape.notes)
    if request.context and shape.context and request.context > shape.context:
        notes.append(f"the model was made for {shape.context:,} tokens at most")
    if request.engine == "vllm":
        notes.append("vLLM takes 90 % of the card by default (gpu_memory_utilization)")
    if any(layer.latent for layer, _ in shape.layers):
        layer = next(layer for layer, _ in shape.layers if layer.latent)
        expanded = layer.kv_heads * (layer.key_dim + layer.value_dim)
        if expanded:
            notes.append(
                f"transformers before 5 keeps {expanded:,} elements per token and layer, not "
                f"{layer.latent:,}"
            )
    return tuple(notes)


# Training ---------------------------------------------------------------------------------


def _trained(
    inspection: Inspection, shape: CacheShape, setting: Setting | None, request: Request
) -> Trained:
    parts = makeup(inspection)
    adapter, reason = adapter_parameters(inspection, request.rank)
    known = parts.total is not None
    both = {
        "base": parts.total,
        "matrices": parts.matrices if known else None,
        "rest": (parts.total or 0) - parts.matrices if known else None,
    }
    counts = {key: None if value is None else (value, value) for key, value in both.items()}
    unknown = dict.fromkeys(both, "unknown: the logical parameter count is unknown")
    return Trained(
        {**counts, "adapter": adapter},
        {**unknown, "adapter": reason},
        setting.context if setting else None,
        request.batch,
        shape.hidden,
        shape.depth,
    )


def adapter_parameters(inspection: Inspection, rank: int) -> tuple[tuple[int, int] | None, str]:
    """Parameters of LoRA adapters: rank × (rows + columns) of each matrix.

    Low: on the attention's matrices; high: on the feed-forward ones too. None with a reason when
    a matrix is packed so that neither side of it can be told.
    """
    low = high = 0
    for group in inspection.groups:
        if group.component not in ("attention", "feed_forward") or len(group.shape) != 2:
            continue
        sides = _sides(group)
        if sides is None:
            return None, f"unknown: {group.pattern} is packed, its own shape is not stored"
        low += rank * group.count * sides[0] if group.component == "attention" else 0
        high += rank * group.count * sides[1]
    if not high:
        return None, "unknown: no attention or feed-forward matrices were recognised"
    return (low, high), ""


def _sides(group: Group) -> tuple[int, int] | None:
    """Rows + columns of a matrix; a range when it is packed along one of them, or None."""
    each = group.parameters // group.count if group.count else 0
    rows, columns = group.shape
    if rows * columns == each:
        return rows + columns, rows + columns
    if min(rows, columns) < 2 or each % rows or each % columns:
        return None
    packed = (rows + each // rows, columns + each // columns)
    return min(packed), max(packed)
