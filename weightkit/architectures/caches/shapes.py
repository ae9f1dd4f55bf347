"""What one layer of a model keeps between tokens, in elements: the record all sources lead to.

``config.json`` (:mod:`.config`) and GGUF metadata (:mod:`.gguf`) both end as a
:class:`CacheShape`; what an engine makes of it in bytes is the business of the analyses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weightkit.architectures.caches.fields import FieldError


class LayerCache(NamedTuple):
    """The cache of one layer, for one sequence. Zero means that the layer has none of it."""

    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    """Elements per key-value head and token."""
    window: int = 0
    """Only the last ``window`` tokens are attended to; 0 is all of them."""
    latent: int = 0
    """Elements per token of the compressed key-value (MLA), in place of heads × (key + value)."""
    indexer: int = 0
    """Elements per token of a sparse indexer's keys."""
    cross: int = 0
    """Elements per encoder token: key-value heads × (key + value) of the cross attention."""
    conv: int = 0
    """Channels of the causal convolution."""
    kernel: int = 0
    """Its width: ``kernel - 1`` columns must be kept."""
    state: int = 0
    """Elements of the recurrent state, whatever the length of the text."""
    copied_heads: int = 0
    """Key-value heads that transformers keeps where it repeats them before caching (Falcon)."""


MAX_DISTINCT = 128
"""More kinds of layers than this no model has; it bounds the time that every figure takes."""


def grouped(layers: Iterable[LayerCache]) -> tuple[tuple[LayerCache, int], ...]:
    """Equal layers with how many there are, in order of first appearance.

    Raises FieldError for more than :data:`MAX_DISTINCT`.
    """
    counts: dict[LayerCache, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    if len(counts) > MAX_DISTINCT:
        reason = f"describes {len(counts):,} kinds of layers, more than {MAX_DISTINCT}"
        raise FieldError("config", reason, present=True)
    return tuple(counts.items())


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a model keeps between tokens, and where that was read."""

    model_type: str
    layers: tuple[tuple[LayerCache, int], ...] = ()
    none: str = ""
    """Why the model keeps nothing; "" when it does."""
    unknown: str = ""
    """Why the shape is unknown; starts with the field's name. "" when it is known."""
    missing: str = ""
    """The field that is missing or wrong."""
    bad_field: bool = False
    """The field is there but cannot be used."""
    assumed: bool = False
    notes: tuple[str, ...] = ()
    unconfirmed: str = ""
    """What the loader's own rule makes of an absent field, to be held against the weights."""
    used: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    """The longest text the model was made for, in tokens."""
    encoder_length: int | None = None
    hidden: int | None = None
    depth: int | None = None
    """Number of layers."""
    heads: int | None = None
    vocabulary: int | None = None
    source: str = ""
    """The file or metadata it was read from."""
    llama_cpp_windows: bool = True
    """llama.cpp applies this architecture's windows."""
    llama_cpp_expands: bool = False
    """llama.cpp keeps the keys and values of a latent-attention model per head."""
