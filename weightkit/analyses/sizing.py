"""What memory is asked for, as a setting to size a cache for, and the overhead beside it."""

from __future__ import annotations

from typing import NamedTuple

from weightkit.analyses.kv_cache import ANY, ENGINES, KV_TYPES, Setting
from weightkit.architectures.caches.shapes import CacheShape
from weightkit.reports import ESTIMATE, MemoryTerm


class Request(NamedTuple):
    """What the memory is asked for."""

    context: int | None = None
    """Tokens per sequence; None is the longest that the model was made for."""
    batch: int = 1
    kv_dtype: str = "f16"
    engine: str = ""
    encoder_length: int | None = None
    budget: int | None = None
    """Bytes that must not be exceeded, for :attr:`MemoryReport.fit`."""
    rank: int = 16
    """Of the LoRA adapters whose training is estimated."""


def setting_of(shape: CacheShape, request: Request) -> tuple[Setting | None, str]:
    """What to size for, and where the context comes from; None when no context is known."""
    context = shape.context if request.context is None else request.context
    source = "the model's longest" if request.context is None else "as asked"
    if context is None:
        return None, ""
    engine = ENGINES[request.engine] if request.engine else ANY
    kv_type = KV_TYPES[request.kv_dtype]
    setting = Setting(context, request.batch, kv_type, engine)
    return with_encoder(setting, shape, request), source


def with_encoder(setting: Setting, shape: CacheShape, request: Request) -> Setting:
    """The setting with the length of the encoder's output: asked for, stated, or the context."""
    length = request.encoder_length or shape.encoder_length
    if length is None and any(layer.cross and layer.kv_heads for layer, _ in shape.layers):
        length = setting.context
    return setting._replace(encoder_length=length)


def overhead_terms(
    stored: MemoryTerm, shape: CacheShape, request: Request
) -> tuple[MemoryTerm, ...]:
    """What no header can tell: a labelled range each."""
    weights = stored.low or 0
    logits = (shape.vocabulary or 0) * request.batch * 4
    return (
        MemoryTerm(
            "framework",
            300_000_000,
            600_000_000,
            ESTIMATE,
            formula="0.3 to 0.6 GB",
            source="CUDA context and libraries, as measured by estimators",
        ),
        MemoryTerm(
            "activations and buffers",
            logits,
            max(weights // 5, logits),
            ESTIMATE,
            formula="vocabulary × batch × 4 B, to 20 % of the weights",
            inputs={"vocabulary": shape.vocabulary, "batch": request.batch, "weights": weights},
            source="EleutherAI, Transformer Math 101 (20 %)",
        ),
    )
