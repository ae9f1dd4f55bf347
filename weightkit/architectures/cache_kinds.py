"""Which layer of a model does what: one word per layer, from lists, periods or the family's rule.

The words: ``full`` attention, ``sliding`` window, ``chunked`` attention, ``indexed`` (sparse, with
an indexer), ``linear`` (a recurrent mixer), ``hybrid`` (attention and mixer in one layer),
``hybrid_sliding``, ``conv``, ``cross`` (attends to another model's output), ``shared`` (uses an
earlier layer's cache) and ``none`` (feed-forward only).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from weightkit.architectures.cache_families import Family
from weightkit.architectures.config_fields import MAX_LAYERS, FieldError, Fields, whole_number

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

LISTS = ("layer_types", "layers_block_type")

Rule = Callable[[Fields, int, Family], list[str]]


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
            return _named(key, listed, count)
    if family is None:
        return _undeclared(fields, count)
    return RULES[family.kinds](fields, count, family)


def _named(key: str, listed: object, count: int) -> list[str]:
    return [_kind(key, name) for name in _sequence(key, listed, count)]


def _kind(key: str, name: object) -> str:
    kind = LAYER_TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise FieldError(key, f"holds {str(name)[:40]!r}, which is not known", present=True)
    return kind


def _sequence(key: str, listed: object, count: int) -> Sequence[object]:
    """``listed`` as one entry per layer."""
    if not isinstance(listed, list | tuple | str):
        raise FieldError(key, "is not a list", present=True)
    if len(listed) != count:
        raise FieldError(key, f"has {len(listed):,} entries for {count:,} layers", present=True)
    return listed


def _undeclared(fields: Fields, count: int) -> list[str]:
    """A model type without a row, by what its config does say."""
    for key in ("mamba_d_state", "mamba_expand", "ssm_state_size", "linear_num_value_heads"):
        if fields.get(key) is not None:
            raise FieldError("layer_types", f"is missing, and {key} says that layers differ")
    return window(fields, count, Family(""))


# Rules ------------------------------------------------------------------------------------


def full(fields: Fields, count: int, family: Family) -> list[str]:
    """Every layer attends to everything."""
    return ["full"] * count


def hybrid(fields: Fields, count: int, family: Family) -> list[str]:
    """Attention and a mixer in every layer."""
    return ["hybrid"] * count


def linear(fields: Fields, count: int, family: Family) -> list[str]:
    """A recurrent mixer in every layer, but for those that ``attn_layer_idx`` lists."""
    attention = _indices(fields, "attn_layer_idx", count)
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
        listed = _sequence("hybrid_layer_pattern", flags, count)
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
        listed = _sequence("no_rope_layers", flags, count)
        return ["chunked" if flag else "full" for flag in listed]
    return ["full" if (layer + 1) % family.period == 0 else "chunked" for layer in range(count)]


def gpt_neo(fields: Fields, count: int, family: Family) -> list[str]:
    """GPT-Neo: ``attention_layers``, or ``attention_types`` as [[kinds, times], ...]."""
    listed = fields.get("attention_layers")
    if listed is None:
        listed = _expanded_types(fields.get("attention_types"))
    return _named("attention_layers", listed, count)


def _expanded_types(types: object) -> list[object]:
    chosen: list[object] = []
    for item in types if isinstance(types, list) else ():
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], list):
            raise FieldError("attention_types", "is not a list of [kinds, times]", present=True)
        times = whole_number(item[1])
        if times is None or not 0 <= times * len(item[0]) <= MAX_LAYERS:
            raise FieldError("attention_types", "repeats without bound", present=True)
        chosen += item[0] * times
        if len(chosen) > MAX_LAYERS:
            raise FieldError("attention_types", "names too many layers", present=True)
    if not chosen:
        raise FieldError("attention_types", "is missing")
    return chosen


def listed(fields: Fields, count: int, family: Family) -> list[str]:
    """The config must name its layers (an absent list means all mixers to Granite 4)."""
    raise FieldError("layer_types", "is missing")


def indices(fields: Fields, count: int, family: Family) -> list[str]:
    """The layers with attention are listed by number; the others hold the mixer."""
    for key in ("attn_layer_indices", "full_attn_idxs"):
        if fields.get(key) is not None:
            attention = _indices(fields, key, count)
            return ["full" if layer in attention else "linear" for layer in range(count)]
    raise FieldError("layer_types", "is missing")


def _indices(fields: Fields, key: str, count: int, first: int = 0) -> set[int]:
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
    letters = _sequence(key, pattern, count)
    if any(letter not in PATTERN_LETTERS for letter in letters):
        raise FieldError(key, "holds a letter that is not known", present=True)
    fields.used[key] = "per layer"
    return [PATTERN_LETTERS[str(letter)] for letter in letters]


def cycle(fields: Fields, count: int, family: Family) -> list[str]:
    """RecurrentGemma: ``block_types`` repeated; its attention is always within the window."""
    types = fields.get("block_types") or fields.get("_block_types")
    if not isinstance(types, list) or not 0 < len(types) <= MAX_LAYERS:
        raise FieldError("block_types", "is missing")
    named = _named("block_types", types, len(types))
    chosen = [named[layer % len(named)] for layer in range(count)]
    return ["sliding" if kind == "full" else kind for kind in chosen]


def kimi(fields: Fields, count: int, family: Family) -> list[str]:
    """Kimi Linear: ``linear_attn_config`` lists the layers with attention, counted from 1."""
    key = "linear_attn_config.full_attn_layers"
    if fields.get(key) is None:
        raise FieldError(key, "is missing")
    attention = _indices(fields, key, count, first=1)
    word = "indexed" if fields.has("index_dim") else "full"
    return [word if layer in attention else "linear" for layer in range(count)]


def minimax(fields: Fields, count: int, family: Family) -> list[str]:
    """MiniMax-01 and M1: ``attn_type_list`` has 1 for attention, 0 for lightning attention."""
    flags = fields.get("attn_type_list")
    if flags is None:
        raise FieldError("attn_type_list", "is missing")
    return ["full" if flag == 1 else "linear" for flag in _sequence("attn_type_list", flags, count)]


def mllama(fields: Fields, count: int, family: Family) -> list[str]:
    """Llama 3.2 Vision: some layers attend to the image instead of the text."""
    if fields.get("cross_attention_layers") is None:
        raise FieldError("cross_attention_layers", "is missing")
    cross = _indices(fields, "cross_attention_layers", count)
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
        gpt_neo,
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
