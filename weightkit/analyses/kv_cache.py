"""Bytes of a model's cache: keys and values, latents, recurrent states, cross attention.

The shape of each layer comes from :mod:`weightkit.architectures`; what engines do with it is a row
of :data:`ENGINES`. They agree on what a token takes and differ in how many tokens they keep for a
layer with a window, and in what they round up to:

- transformers keeps ``min(window, context)`` tokens of such a layer;
- vLLM keeps ``window - 1 + max_num_batched_tokens`` in blocks of 16 and one block more when its
  hybrid allocator is on, and every token when it is off or must use one page size for all layers;
- llama.cpp keeps ``window + n_ubatch`` cells, rounded up to 256, for the architectures whose
  window it applies, and every token for the others.

Sources: ``kv_cache_interface.py`` of vLLM, ``llama-kv-cache-iswa.cpp`` and ``llama-hparams.cpp``
of llama.cpp, ``cache_utils.py`` of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weightkit.architectures.caches.shapes import CacheShape, LayerCache
from weightkit.dtypes import DTYPES, DType


class Engine(NamedTuple):
    """How an engine keeps the tokens of a layer."""

    name: str
    block: int
    """Tokens are kept in blocks of this many."""
    in_flight: int
    """Tokens beyond the window that a batch being read needs."""
    spare_blocks: int
    """Blocks more, since a window need not start at the edge of one."""
    applies_windows: str
    """always, perhaps (a range) or listed (for the architectures that it knows)."""
    state_nbytes: tuple[int, int]
    """Bytes per element of a recurrent state, low and high."""
    conv_columns: int
    """Columns kept of a convolution of width w: w minus this."""
    source: str


ENGINES: dict[str, Engine] = {
    row.name: row
    for row in [
        Engine("transformers", 1, 0, 0, "always", (2, 4), 0, "transformers cache_utils.py"),
        Engine("vllm", 16, 2047, 1, "perhaps", (2, 4), 1, "vLLM kv_cache_interface.py"),
        Engine("llama.cpp", 256, 512, 0, "listed", (4, 4), 1, "llama.cpp llama-kv-cache-iswa.cpp"),
    ]
}

ANY = Engine("", 1, 0, 0, "perhaps", (2, 4), 1, "range over transformers, vLLM and llama.cpp")
"""No engine named: no padding, and a range where they differ."""


class KVType(NamedTuple):
    """How the elements of a cache are stored."""

    name: str
    row: Callable[[int, int], int]
    """Bytes of ``heads`` × ``width`` elements of one token."""


def _plain(nbytes: int) -> Callable[[int, int], int]:
    return lambda heads, width: heads * width * nbytes


def _blocks(dtype: DType) -> Callable[[int, int], int]:
    return lambda heads, width: dtype.nbytes_of(heads * width)


def _scaled(heads: int, width: int) -> int:
    """One byte per element and a float32 scale per head and token."""
    return heads * (width + 4)


def _nvfp4(heads: int, width: int) -> int:
    """Two elements per byte and an 8-bit scale for each sixteen."""
    return heads * (-(-width // 2) + -(-width // 16))


KV_TYPES: dict[str, KVType] = {
    row.name: row
    for row in [
        KVType("f32", _plain(4)),
        KVType("f16", _plain(2)),
        KVType("bf16", _plain(2)),
        KVType("fp8", _plain(1)),
        KVType("int8", _plain(1)),
        KVType("fp8_per_token_head", _scaled),
        KVType("int8_per_token_head", _scaled),
        KVType("nvfp4", _nvfp4),
        KVType("fp8_ds_mla", _plain(1)),
        *(
            KVType(name, _blocks(DTYPES[name]))
            for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
        ),
    ]
}

DS_MLA_NBYTES = 656
"""Per token and layer: 512 8-bit latents, 4 float32 scales, 64 16-bit rotary elements."""


class Setting(NamedTuple):
    """What a cache is sized for."""

    context: int
    """Tokens per sequence."""
    batch: int = 1
    """Sequences at once."""
    kv_type: KVType = KV_TYPES["f16"]
    engine: Engine = ANY
    encoder_length: int | None = None
    """Tokens of the encoder's output, for models with cross attention."""


class Bytes(NamedTuple):
    """A range of bytes."""

    low: int = 0
    high: int = 0

    def plus(self, low: int, high: int) -> Bytes:
        """The sum of two ranges."""
        return Bytes(self.low + low, self.high + high)


def token_nbytes(layer: LayerCache, setting: Setting, expands: bool = False) -> int:
    """Bytes that one layer keeps of one token of one sequence."""
    row = setting.kv_type.row
    if not layer.latent or (expands and setting.engine.name == "llama.cpp"):
        return row(layer.kv_heads, layer.key_dim) + row(layer.kv_heads, layer.value_dim)
    if setting.kv_type.name == "fp8_ds_mla":
        return DS_MLA_NBYTES
    return row(1, layer.latent)


def index_nbytes(layer: LayerCache, setting: Setting) -> Bytes:
    """Bytes of an indexer's keys: 8-bit with a scale, or of two bytes."""
    if not layer.indexer:
        return Bytes()
    return Bytes(layer.indexer + 4, 2 * layer.indexer)


def _rounded(tokens: int, block: int) -> int:
    return -(-tokens // block) * block


def kept(layer: LayerCache, setting: Setting, listed: bool) -> Bytes:
    """Tokens whose keys a layer needs: all, or those in its window; a range where engines differ."""
    if not layer.window or layer.window >= setting.context:
        return Bytes(setting.context, setting.context)
    policy = setting.engine.applies_windows
    if policy == "listed":
        policy = "always" if listed else "never"
    low = setting.context if policy == "never" else layer.window
    return Bytes(low, layer.window if policy == "always" else setting.context)


def allocated(tokens: int, layer: LayerCache, setting: Setting) -> int:
    """Tokens that an engine sets aside for ``tokens``: whole blocks, and the batch in flight."""
    engine = setting.engine
    if tokens >= setting.context:
        return _rounded(tokens, engine.block)
    asked = min(tokens + engine.in_flight, setting.context)
    return _rounded(asked, engine.block) + engine.spare_blocks * engine.block


class CacheBytes(NamedTuple):
    """The parts of a cache, for all layers and sequences."""

    keys_values: Bytes
    padding: Bytes
    """What is set aside beyond that: for the low end of ``keys_values``, and for the high end."""
    indexer: Bytes
    cross: Bytes
    state: Bytes
    per_token: int
    """Of one sequence, when no window limits it."""
    growth: Bytes
    """Of one sequence, per token beyond all windows."""

    @property
    def whole(self) -> Bytes:
        """Everything that is set aside."""
        parts = (self.keys_values, self.padding, self.indexer, self.cross, self.state)
        return Bytes(sum(part.low for part in parts), sum(part.high for part in parts))


def cache_bytes(shape: CacheShape, setting: Setting) -> CacheBytes:
    """The bytes of a cache of a known shape. Exact integers; time follows the distinct layers."""
    keys = padding = index = cross = state = growth = Bytes()
    per_token = 0
    for layer, count in shape.layers:
        token = token_nbytes(layer, setting, shape.llama_cpp_expands)
        per_token += count * token
        times = count * setting.batch
        tokens = kept(layer, setting, shape.llama_cpp_windows)
        least, most = _copied(layer, setting, token)
        keys = keys.plus(times * least * tokens.low, times * most * tokens.high)
        spare = [allocated(number, layer, setting) - number for number in tokens]
        padding = padding.plus(times * least * spare[0], times * most * spare[1])
        each = index_nbytes(layer, setting)
        length = setting.context * times
        index = index.plus(each.low * length, each.high * length)
        size = _cross(layer, setting) * times
        cross = cross.plus(size, size)
        fixed = _state(layer, setting.engine)
        state = state.plus(fixed.low * times, fixed.high * times)
        growth = growth.plus(*_growth(layer, setting, shape, count * token))
    return CacheBytes(keys, padding, index, cross, state, per_token, growth)


def _copied(layer: LayerCache, setting: Setting, token: int) -> Bytes:
    """Bytes per token, more in transformers where it repeats key-value heads before caching."""
    engine = setting.engine.name
    if not layer.copied_heads or engine not in ("", "transformers"):
        return Bytes(token, token)
    row, heads = setting.kv_type.row, layer.copied_heads
    most = row(heads, layer.key_dim) + row(heads, layer.value_dim)
    return Bytes(most if engine else token, most)


def _cross(layer: LayerCache, setting: Setting) -> int:
    return setting.kv_type.row(1, layer.cross * (setting.encoder_length or 0))


def _state(layer: LayerCache, engine: Engine) -> Bytes:
    """Bytes of convolution columns and recurrent state of one sequence."""
    low, high = engine.state_nbytes
    columns = max(layer.kernel - engine.conv_columns, 0) * layer.conv
    most = layer.kernel * layer.conv if engine is ANY else columns
    return Bytes(low * (columns + layer.state), high * (most + layer.state))


def _growth(layer: LayerCache, setting: Setting, shape: CacheShape, token: int) -> Bytes:
    """Bytes per further token: nothing for a window that is kept as one."""
    if not layer.window:
        return Bytes(token, token)
    policy = setting.engine.applies_windows
    if policy == "listed":
        policy = "always" if shape.llama_cpp_windows else "never"
    return Bytes(token if policy == "never" else 0, 0 if policy == "always" else token)
