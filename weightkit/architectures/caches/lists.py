"""Reading the lists of a config that have an entry per layer, within bounds."""

from __future__ import annotations

from collections.abc import Sequence

from weightkit.architectures.caches.fields import MAX_LAYERS, FieldError, Fields, whole_number

LAYER_TYPES: dict[str, str] = {
    "full_attention": "full",
    "attention": "full",
    "global": "full",
    "global_attention": "full",
    "sliding_attention": "sliding",
    "sliding_window": "sliding",
    "local": "sliding",
    "local_attention": "sliding",
    "chunked_attention": "chunked",
    "indexed_attention": "indexed",
    "deepseek_sparse_attention": "indexed",
    "minimax_m3_sparse": "indexed",
    "linear_attention": "linear",
    "mamba": "linear",
    "mamba2": "linear",
    "recurrent": "linear",
    "rwkv": "linear",
    "conv": "conv",
    "short_conv": "conv",
    "hybrid": "hybrid",
    "hybrid_sliding": "hybrid_sliding",
    "moe": "none",
    "mlp": "none",
    "no_op": "none",
}
"""What ``layer_types``, ``layers_block_type`` and ``block_types`` call each kind."""

PATTERN_LETTERS: dict[str, str] = {"M": "linear", "*": "full", "-": "none", "E": "none"}
"""Nemotron-H's ``hybrid_override_pattern``."""


def named(key: str, listed: object, count: int) -> list[str]:
    """The kind of each of ``count`` layers, from the names that ``listed`` gives them."""
    return [_kind(key, name) for name in sequence(key, listed, count)]


def _kind(key: str, name: object) -> str:
    kind = LAYER_TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise FieldError(key, f"holds {str(name)[:40]!r}, which is not known", present=True)
    return kind


def sequence(key: str, listed: object, count: int) -> Sequence[object]:
    """``listed`` as one entry per layer."""
    if not isinstance(listed, list | tuple | str):
        raise FieldError(key, "is not a list", present=True)
    if len(listed) != count:
        raise FieldError(key, f"has {len(listed):,} entries for {count:,} layers", present=True)
    return listed


def indices_of(fields: Fields, key: str, count: int, first: int = 0) -> set[int]:
    """The layer numbers that ``key`` lists, counted from ``first``."""
    listed = fields.get(key)
    if listed is None:
        return set()
    if not isinstance(listed, list) or len(listed) > MAX_LAYERS:
        raise FieldError(key, "is not a list of layer numbers", present=True)
    numbers = {whole_number(item) for item in listed}
    if any(number is None or not 0 <= number - first < count for number in numbers):
        raise FieldError(key, f"names layers outside the {count:,}", present=True)
    fields.used[key] = f"{len(numbers)} layers"
    return {number - first for number in numbers if number is not None}
