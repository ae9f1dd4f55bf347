"""Which layer of a model does what: one word per layer, from lists, periods or the family's rule.

The words: ``full`` attention, ``sliding`` window, ``chunked`` attention, ``indexed`` (sparse, with
an indexer), ``linear`` (a recurrent mixer), ``hybrid`` (attention and mixer in one layer),
``hybrid_sliding``, ``conv``, ``cross`` (attends to another model's output), ``shared`` (uses an
earlier layer's cache) and ``none`` (feed-forward only).
"""

from __future__ import annotations

from weightkit.architectures.caches.families import Family
from weightkit.architectures.caches.fields import MAX_LAYERS, FieldError, Fields
from weightkit.architectures.caches.lists import named
from weightkit.architectures.caches.rules import RULES

LISTS = ("layer_types", "layers_block_type")


def depth(fields: Fields) -> int:
    """Number of layers: stated, or the length of the list that names each of them."""
    if fields.has("layers"):
        return fields.layers()
    for key in (*LISTS, "hybrid_override_pattern"):
        listed = fields.get(key)
        if isinstance(listed, list | str) and 0 < len(listed) <= MAX_LAYERS:
            return len(listed)
    return fields.layers()


def kinds(fields: Fields, count: int, family: Family | None) -> list[str]:
    """The kind of each of ``count`` layers."""
    for key in LISTS:
        listed = fields.get(key)
        if listed is not None:
            fields.used[key] = "per layer"
            return named(key, listed, count)
    if family is None:
        return _undeclared(fields, count)
    return RULES[family.kinds](fields, count, family)


DIFFERING = ("sliding_window", "mamba_d_state", "mamba_expand", "ssm_state_size",
             "linear_num_value_heads", "linear_attn_config", "attention_chunk_size")  # fmt: skip
"""Keys that say of a model type without a row that its layers are not all alike."""


def _undeclared(fields: Fields, count: int) -> list[str]:
    """A model type without a row: every layer attends to everything, unless its config hints."""
    off = "sliding_window" if fields.get("use_sliding_window") is False else ""
    keys = (key for key in DIFFERING if key != off and fields.get(key) not in (None, False))
    hint = next(keys, None)
    if hint is not None:
        raise FieldError("layer_types", f"is missing, and {hint} says that layers may differ")
    return ["full"] * count


def without_shared(chosen: list[str], fields: Fields) -> list[str]:
    """The last layers of Gemma 3n and 4, and all but each n-th of Hunyuan's, share a cache."""
    shared = fields.optional("shared_layers") or 0
    if shared > len(chosen):
        key = fields.find("shared_layers")[0]
        raise FieldError(key, f"is {shared:,} of {len(chosen):,} layers", present=True)
    own = len(chosen) - shared
    chosen = chosen[:own] + ["shared"] * shared
    if fields.get("use_cla") is True:
        factor = fields.integer("share_factor")
        chosen = [kind if layer % factor == 0 else "shared" for layer, kind in enumerate(chosen)]
    return chosen
