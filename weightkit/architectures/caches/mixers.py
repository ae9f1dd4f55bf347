"""Recurrent mixers: the state that a layer keeps whatever the length of the text.

Each row gives the channels and width of its causal convolution and the elements of its recurrent
state, for one sequence. Sources: ``MambaStateShapeCalculator`` of vLLM, ``n_embd_r`` and
``n_embd_s`` of llama.cpp, the modelling code of transformers.
"""

from __future__ import annotations

from collections.abc import Callable

from weightkit.architectures.caches.fields import FieldError, Fields
from weightkit.architectures.caches.shapes import LayerCache


def _mamba(fields: Fields, inner: int) -> LayerCache:
    return LayerCache(
        conv=inner, kernel=fields.integer("kernel"), state=inner * fields.integer("state")
    )


def _expanded(fields: Fields) -> int:
    """Inner width: ``expand`` (a whole number here) times the hidden size."""
    return fields.integer("expand") * fields.integer("hidden")


def mamba(fields: Fields) -> LayerCache:
    """Mamba: conv over the inner width, one state per channel."""
    inner = fields.optional("inner", 1)
    return _mamba(fields, inner or _expanded(fields))


def mamba_hybrid(fields: Fields) -> LayerCache:
    """Mamba inside a model whose ``intermediate_size`` is that of the feed-forward layers."""
    return _mamba(fields, _expanded(fields))


def _mamba2(fields: Fields, inner: int) -> LayerCache:
    """Mamba-2: the convolution also runs over the groups' B and C."""
    state = fields.integer("state")
    return LayerCache(
        conv=inner + 2 * fields.integer("groups") * state,
        kernel=fields.integer("kernel"),
        state=inner * state,
    )


def mamba2(fields: Fields) -> LayerCache:
    """Mamba-2 alone: heads × head width."""
    return _mamba2(fields, fields.integer("mixer_heads") * fields.integer("mixer_head_dim"))


def mamba2_hybrid(fields: Fields) -> LayerCache:
    """Mamba-2 among attention: the inner width is stated, or heads × width, or expanded."""
    inner = fields.optional("ssm_inner", 1)
    if inner is None:
        key, width = fields.find("mixer_head_dim")
        heads = fields.find("mixer_heads")[1]
        own = key != "head_dim" and width not in (None, "auto") and heads is not None
        inner = (
            fields.integer("mixer_heads") * fields.integer("mixer_head_dim")
            if own
            else _expanded(fields)
        )
    return _mamba2(fields, inner)


def mamba_ssm(fields: Fields) -> LayerCache:
    """The original ``mamba_ssm`` config, whose ``ssm_cfg`` holds what differs from the code."""
    layer = fields.get("ssm_cfg.layer")
    second = layer == "Mamba2"
    rule = "default of mamba_ssm"
    inner = fields.either("expand", 2, rule) * fields.integer("hidden")
    state = fields.either("state", 128 if second else 16, rule)
    groups = fields.either("groups", 1, rule) if second else 0
    kernel = fields.either("kernel", 4, rule)
    return LayerCache(conv=inner + 2 * groups * state, kernel=kernel, state=inner * state)


def gated_delta(fields: Fields) -> LayerCache:
    """Gated DeltaNet: conv over queries, keys and values; a key × value matrix per value head."""
    heads = fields.optional("heads", 1)
    if heads is not None and not fields.has("linear_key_heads"):
        keys = values = fields.either("linear_key_heads", heads, "as attention heads")
    else:
        keys = fields.integer("linear_key_heads")
        values = fields.integer("linear_value_heads")
    key, value = fields.integer("linear_key_dim"), fields.integer("linear_value_dim")
    return LayerCache(
        conv=2 * keys * key + values * value,
        kernel=fields.integer("kernel"),
        state=values * value * key,
    )


def kimi_delta(fields: Fields) -> LayerCache:
    """Kimi Delta Attention: conv over queries, keys and values; a square matrix per head."""
    heads, width = fields.integer("delta_heads"), fields.integer("delta_dim")
    return LayerCache(
        conv=3 * heads * width, kernel=fields.integer("kernel"), state=heads * width * width
    )


def lightning(fields: Fields) -> LayerCache:
    """Lightning attention: a square matrix per head, no convolution."""
    width = fields.integer("head_dim")
    return LayerCache(state=fields.integer("heads") * width * width)


def lru(fields: Fields) -> LayerCache:
    """RG-LRU: a convolution and one number per channel."""
    width = fields.either("lru_width", fields.integer("hidden"), "as the hidden size")
    return LayerCache(conv=width, kernel=fields.integer("kernel"), state=width)


def short_conv(fields: Fields) -> LayerCache:
    """A gated short convolution: no state beside its last columns."""
    return LayerCache(conv=fields.integer("hidden"), kernel=fields.integer("short_conv", 2))


def rwkv4(fields: Fields) -> LayerCache:
    """RWKV-4: two shifted tokens, and numerator, denominator and maximum per channel."""
    width = fields.either("mixer_hidden", fields.integer("hidden"), "as the hidden size")
    return LayerCache(conv=2 * fields.integer("hidden"), kernel=2, state=3 * width)


def rwkv(fields: Fields) -> LayerCache:
    """RWKV-5 and later: two shifted tokens and a square matrix per head."""
    hidden = fields.integer("hidden")
    return LayerCache(conv=2 * hidden, kernel=2, state=hidden * fields.integer("wkv_head"))


def xlstm(fields: Fields) -> LayerCache:
    """mLSTM: a key × value matrix, a key vector and a number per head."""
    hidden, heads = fields.integer("hidden"), fields.integer("heads")
    factors = (fields.get("qk_dim_factor"), fields.get("v_dim_factor"))
    if factors not in ((None, None), (0.5, 1.0), (0.5, 1)):
        raise FieldError("qk_dim_factor", "is not the published 0.5", present=True)
    key, value = hidden // 2 // heads, hidden // heads
    return LayerCache(state=heads * (key * value + key + 1))


MIXERS: dict[str, Callable[[Fields], LayerCache]] = {
    row.__name__: row
    for row in (
        mamba,
        mamba_hybrid,
        mamba2,
        mamba2_hybrid,
        mamba_ssm,
        gated_delta,
        kimi_delta,
        lightning,
        lru,
        short_conv,
        rwkv4,
        rwkv,
        xlstm,
    )
}
"""Mixers by the name that a family's row gives."""
