"""How the layers of a family differ where the config does not name each of them.

A rule gives the kind of every layer; :mod:`.families` says which family follows which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weightkit.architectures.caches.families import Family
from weightkit.architectures.caches.fields import MAX_LAYERS, FieldError, Fields, whole_number
from weightkit.architectures.caches.lists import (
    PATTERN_LETTERS,
    indices_of,
    named,
    sequence,
)

Rule = Callable[[Fields, int, Family], list[str]]


def full(fields: Fields, count: int, family: Family) -> list[str]:
    """Every layer attends to everything."""
    return ["full"] * count


def hybrid(fields: Fields, count: int, family: Family) -> list[str]:
    """Attention and a mixer in every layer."""
    return ["hybrid"] * count


def linear(fields: Fields, count: int, family: Family) -> list[str]:
    """A recurrent mixer in every layer, but for those that ``attn_layer_idx`` lists."""
    attention = indices_of(fields, "attn_layer_idx", count)
    return ["full" if layer in attention else "linear" for layer in range(count)]


def double(fields: Fields, count: int, family: Family) -> list[str]:
    """LongCat: two attention modules per layer, each with a cache."""
    return ["full"] * (2 * count)


def indexed(fields: Fields, count: int, family: Family) -> list[str]:
    """Sparse attention with an indexer on every layer."""
    return ["indexed"] * count


def window(fields: Fields, count: int, family: Family) -> list[str]:
    """The window, if the config sets one, is every layer's."""
    # A class with a default window reads an absent key as that default, not as none.
    absent = not fields.defaults and "sliding_window" not in fields.table
    if "window" in family.defaults and absent:
        raise FieldError("sliding_window", "is missing")
    return ["sliding" if _window(fields) else "full"] * count


def _window(fields: Fields) -> int:
    return fields.optional("window") or 0


def qwen(fields: Fields, count: int, family: Family) -> list[str]:
    """``use_sliding_window`` turns the window on, for the layers from ``max_window_layers``."""
    if fields.get("use_sliding_window") is not True:
        return ["full"] * count
    return late_window(fields, count, family)


def late_window(fields: Fields, count: int, family: Family) -> list[str]:
    """The first ``max_window_layers`` layers attend to everything."""
    if not _window(fields):
        return ["full"] * count
    first = fields.integer("max_window_layers", 0)
    return ["sliding" if layer >= first else "full" for layer in range(count)]


def switched_window(fields: Fields, count: int, family: Family) -> list[str]:
    """SmolLM3: off unless ``use_sliding_window``; no published model turns it on."""
    if fields.get("use_sliding_window") is True:
        raise FieldError("layer_types", "is missing")
    return ["full"] * count


def last_full(fields: Fields, count: int, family: Family) -> list[str]:
    """A window on all layers but the last of each period."""
    if not _window(fields):
        return ["full"] * count
    period = _period(fields, family)
    chosen = ["full" if (layer + 1) % period == 0 else "sliding" for layer in range(count)]
    if "gemma4" in family.names:
        chosen[-1] = "full"
    return chosen


def _period(fields: Fields, family: Family) -> int:
    """The config's own period (a number, or letters as in EXAONE's ``LLLG``), else the family's."""
    for name in ("window_pattern", "global_every"):
        key, value = fields.find(name)
        if isinstance(value, str) and 0 < len(value) < 100:
            fields.used[key] = value
            return len(value)
        if value is not None:
            return fields.integer(name)
    fields.used["period (rule of the family)"] = family.period
    return family.period


def first_full(fields: Fields, count: int, family: Family) -> list[str]:
    """A window on all layers but the first of each period."""
    if not _window(fields):
        return ["full"] * count
    period = _period(fields, family)
    return ["full" if layer % period == 0 else "sliding" for layer in range(count)]


def mimo(fields: Fields, count: int, family: Family) -> list[str]:
    """MiMo-V2: ``hybrid_layer_pattern`` has 1 for a window; else the first and every sixth full."""
    flags = fields.get("hybrid_layer_pattern")
    if flags is not None:
        listed = sequence("hybrid_layer_pattern", flags, count)
        return ["sliding" if flag == 1 else "full" for flag in listed]
    chosen = last_full(fields, count, family)
    chosen[0] = "full"
    return chosen


def chunked(fields: Fields, count: int, family: Family) -> list[str]:
    """Llama 4: layers without rotary embedding (every fourth, or listed as 0) see everything."""
    if not fields.has("chunk"):
        return ["full"] * count
    flags = fields.get("no_rope_layers")
    if isinstance(flags, list) and flags:
        listed = sequence("no_rope_layers", flags, count)
        return ["chunked" if flag else "full" for flag in listed]
    return ["full" if (layer + 1) % family.period == 0 else "chunked" for layer in range(count)]


def listed(fields: Fields, count: int, family: Family) -> list[str]:
    """The config must name its layers (an absent list means all mixers to Granite 4)."""
    raise FieldError("layer_types", "is missing")


def indices(fields: Fields, count: int, family: Family) -> list[str]:
    """The layers with attention are listed by number; the others hold the mixer."""
    for key in ("attn_layer_indices", "full_attn_idxs"):
        if fields.get(key) is not None:
            attention = indices_of(fields, key, count)
            return ["full" if layer in attention else "linear" for layer in range(count)]
    raise FieldError("layer_types", "is missing")


def periodic_full(fields: Fields, count: int, family: Family) -> list[str]:
    """Jamba: attention where ``layer % attn_layer_period == attn_layer_offset``."""
    return _periodic(fields, count, "full")


def periodic_hybrid(fields: Fields, count: int, family: Family) -> list[str]:
    """Zamba: as Jamba after its first three layers, the attention beside a mixer."""
    return ["linear", "linear", "hybrid", *_periodic(fields, count - 3, "hybrid")][:count]


def _periodic(fields: Fields, count: int, word: str) -> list[str]:
    numbers = []
    for key in ("attn_layer_period", "attn_layer_offset"):
        number = whole_number(fields.get(key))
        if number is None or number < 0:
            raise FieldError(key, "is missing or not a whole number")
        fields.used[key] = number
        numbers.append(number)
    period, offset = numbers
    if period == 0 or offset >= period:
        raise FieldError("attn_layer_offset", "is not below attn_layer_period", present=True)
    return [word if layer % period == offset else "linear" for layer in range(count)]


def last_full_linear(fields: Fields, count: int, family: Family) -> list[str]:
    """Attention on the last layer of each period, mixers on the others."""
    period = fields.either("full_interval", family.period, "rule of the family")
    return ["full" if (layer + 1) % period == 0 else "linear" for layer in range(count)]


def nemotron(fields: Fields, count: int, family: Family) -> list[str]:
    """Nemotron-H: a letter per layer."""
    key = "hybrid_override_pattern"
    pattern = fields.get(key)
    if pattern is None:
        raise FieldError(key, "is missing")
    letters = sequence(key, pattern, count)
    if any(letter not in PATTERN_LETTERS for letter in letters):
        raise FieldError(key, "holds a letter that is not known", present=True)
    fields.used[key] = "per layer"
    return [PATTERN_LETTERS[str(letter)] for letter in letters]


def cycle(fields: Fields, count: int, family: Family) -> list[str]:
    """RecurrentGemma: ``block_types`` repeated; its attention is always within the window."""
    types = fields.get("block_types") or fields.get("_block_types")
    if not isinstance(types, list) or not 0 < len(types) <= MAX_LAYERS:
        raise FieldError("block_types", "is missing")
    cycled = named("block_types", types, len(types))
    chosen = [cycled[layer % len(cycled)] for layer in range(count)]
    return ["sliding" if kind == "full" else kind for kind in chosen]


def kimi(fields: Fields, count: int, family: Family) -> list[str]:
    """Kimi Linear: ``linear_attn_config`` lists the layers with attention, counted from 1."""
    key = "linear_attn_config.full_attn_layers"
    if fields.get(key) is None:
        raise FieldError(key, "is missing")
    attention = indices_of(fields, key, count, first=1)
    word = "indexed" if fields.has("index_dim") else "full"
    return [word if layer in attention else "linear" for layer in range(count)]


def minimax(fields: Fields, count: int, family: Family) -> list[str]:
    """MiniMax-01 and M1: ``attn_type_list`` has 1 for attention, 0 for lightning attention."""
    flags = fields.get("attn_type_list")
    if flags is None:
        raise FieldError("attn_type_list", "is missing")
    return ["full" if flag == 1 else "linear" for flag in sequence("attn_type_list", flags, count)]


def mllama(fields: Fields, count: int, family: Family) -> list[str]:
    """Llama 3.2 Vision: some layers attend to the image instead of the text."""
    if fields.get("cross_attention_layers") is None:
        raise FieldError("cross_attention_layers", "is missing")
    cross = indices_of(fields, "cross_attention_layers", count)
    return ["cross" if layer in cross else "full" for layer in range(count)]


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        full,
        hybrid,
        linear,
        double,
        indexed,
        window,
        qwen,
        late_window,
        switched_window,
        last_full,
        first_full,
        mimo,
        chunked,
        listed,
        indices,
        periodic_full,
        periodic_hybrid,
        last_full_linear,
        nemotron,
        cycle,
        kimi,
        minimax,
        mllama,
    )
}
"""Rules by the name that a family's row gives."""
