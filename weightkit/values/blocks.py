"""ggml's quantized blocks multiplied out to f32.

A block holds small integers, a few bits each, and what they are multiplied by. The types that most
files are made of are done here, without arrays that come and go; the result of every operation and
so every bit is that of ``gguf.quants``, which does the others.

Source of the layouts: ``ggml-common.h`` and ``ggml-quants.c`` of llama.cpp, ``gguf/quants.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from weightkit.dtypes import DType
from weightkit.errors import UnsupportedError
from weightkit.values.rooms import room

Array = np.ndarray[Any, Any]
Dequantizer = Callable[[Array, Array], None]
"""Fills f32 (blocks, items) from bytes (blocks, bytes of a block)."""


TILE = 1 << 17
"""Values made at a time: with what they take on the way they fit the caches of a core."""


def dequantized(dtype: DType, held: bytes | memoryview) -> Array:
    """All values of these blocks, flat; raises UnsupportedError as :func:`dequantizer` does."""
    work = dequantizer(dtype)
    blocks = np.frombuffer(held, np.uint8).reshape(-1, dtype.nbytes)
    out = np.empty((len(blocks), dtype.items), np.float32)
    step = TILE // dtype.items
    for at in range(0, len(blocks), step):
        work(blocks[at : at + step], out[at : at + step])
    return out.reshape(-1)


@cache
def dequantizer(dtype: DType) -> Dequantizer:
    """What multiplies blocks of this type out; raises UnsupportedError where nothing does."""
    own = _OWN.get(dtype.name)
    return _quiet(own) if own else _through_gguf(dtype)


def _quiet(work: Dequantizer) -> Dequantizer:
    """A scale of Inf or NaN is no reason for a warning."""

    def quietly(blocks: Array, out: Array) -> None:
        with np.errstate(all="ignore"):
            work(blocks, out)

    return quietly


def _through_gguf(dtype: DType) -> Dequantizer:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    message = f"{dtype.name} cannot be dequantized"
    if dtype.ggml is None or dtype.ggml not in set(GGML_QUANT_SIZES):  # newer than gguf, or gone
        raise UnsupportedError(message, code="WK603")
    kind = GGMLQuantizationType(dtype.ggml)

    def work(blocks: Array, out: Array) -> None:
        row = blocks.reshape(1, -1)  # gguf goes through rows by sixteen
        out[...] = dequantize(row, kind).reshape(out.shape)

    quietly = _quiet(work)
    try:
        quietly(np.zeros((1, dtype.nbytes), np.uint8), np.empty((1, dtype.items), np.float32))
    except NotImplementedError as error:
        raise UnsupportedError(message, code="WK603") from error
    return quietly


def _half(blocks: Array, at: int) -> Array:
    """The f16 at a byte of each block, as f32 (blocks, 1)."""
    return blocks[:, at : at + 2].view("<f2").astype(np.float32)


def _nibbles(packed: Array, groups: int) -> Array:
    """Bytes (blocks, groups * width): of each group the low halves, then the high halves.

    Eight at a time, as words: rows of a few bytes would each be a loop of their own in NumPy.
    """
    rows, words = len(packed) * groups, packed.shape[1] // groups // 8
    low, high = (room(name, rows * words, np.uint64) for name in ("low", "high"))
    np.copyto(low.reshape(len(packed), -1), packed.view(np.uint64))
    np.right_shift(low, np.uint64(4), out=high)
    codes = room("levels", 2 * rows * words, np.uint64).reshape(rows, 2, words)
    for half, held in enumerate((low, high)):
        held &= _LOW
        for word in range(words):
            codes[:, half, word] = held.reshape(rows, words)[:, word]
    return codes.view(np.uint8)


def _raise(codes: Array, high: Array) -> None:
    """Put bits above the lowest four; ``high`` is overwritten."""
    high <<= np.uint8(4)
    codes |= high


def _centered(codes: Array, zero: int) -> Array:
    levels = codes.view(np.int8)
    levels -= np.int8(zero)
    return levels


_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)


# Blocks of 32: a scale d, perhaps a minimum m, perhaps a fifth bit of each, four bits of each


def _q4_0(blocks: Array, out: Array) -> None:
    levels = _centered(_nibbles(blocks[:, 2:], 1), 8)
    np.multiply(levels.reshape(out.shape), _half(blocks, 0), out=out)


def _q4_1(blocks: Array, out: Array) -> None:
    levels = _nibbles(blocks[:, 4:], 1)
    np.multiply(levels.reshape(out.shape), _half(blocks, 0), out=out)
    out += _half(blocks, 2)


def _q5_0(blocks: Array, out: Array) -> None:
    levels = _nibbles(blocks[:, 6:], 1).reshape(out.shape)
    _raise(levels, np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little"))
    np.multiply(_centered(levels, 16), _half(blocks, 0), out=out)


def _q5_1(blocks: Array, out: Array) -> None:
    levels = _nibbles(blocks[:, 8:], 1).reshape(out.shape)
    _raise(levels, np.unpackbits(blocks[:, 4:8], axis=1, bitorder="little"))
    np.multiply(levels, _half(blocks, 0), out=out)
    out += _half(blocks, 2)


def _q8_0(blocks: Array, out: Array) -> None:
    np.multiply(blocks[:, 2:].view(np.int8), _half(blocks, 0), out=out)


# Blocks of 256: scales d (and dmin) of eight scales (and minima) of 6 bits in 12 bytes


def _q4_k(blocks: Array, out: Array) -> None:
    _scaled(blocks, _nibbles(blocks[:, 16:], 4), out)


def _q5_k(blocks: Array, out: Array) -> None:
    levels = _nibbles(blocks[:, 48:], 4).reshape(-1, 8, 32)
    _raise(levels, _spread(blocks[:, 16:48], 1, range(8)).reshape(levels.shape))
    _scaled(blocks, levels, out)


def _spread(packed: Array, groups: int, shifts: range) -> Array:
    """Bits of bytes (blocks, groups * width): of each group those at every shift, one after one."""
    packed = packed.reshape(len(packed), groups, 1, -1)
    steps = np.array(shifts, np.uint8).reshape(-1, 1)
    shape = (len(packed), groups, len(shifts), packed.shape[-1])
    found: Array = room("bits", packed.size * len(shifts), np.uint8).reshape(shape)
    np.right_shift(packed, steps, out=found)
    found &= np.uint8((1 << shifts.step) - 1)
    return found


def _scaled(blocks: Array, levels: Array, out: Array) -> None:
    """``d * scale * level - dmin * minimum``."""
    packed = blocks[:, 4:16]
    low, middle, high = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([low & 63, high & 15 | low >> 2 & 48])
    minima = np.hstack([middle & 63, high >> 4 | middle >> 2 & 48])
    whole = out.reshape(-1, 8, 32)
    np.multiply(levels.reshape(whole.shape), (_half(blocks, 0) * scales)[..., None], out=whole)
    whole -= (_half(blocks, 2) * minima)[..., None]


def _q6_k(blocks: Array, out: Array) -> None:
    levels = _nibbles(blocks[:, :128], 2).reshape(-1, 2, 4, 32)
    _raise(levels, _spread(blocks[:, 128:192], 2, range(0, 8, 2)))
    scales = _half(blocks, 208) * blocks[:, 192:208].view(np.int8)
    whole = out.reshape(-1, 16, 16)
    np.multiply(_centered(levels, 32).reshape(whole.shape), scales[..., None], out=whole)


_OWN: dict[str, Dequantizer] = {
    "q4_0": _q4_0,
    "q4_1": _q4_1,
    "q5_0": _q5_0,
    "q5_1": _q5_1,
    "q8_0": _q8_0,
    "q4_k": _q4_k,
    "q5_k": _q5_k,
    "q6_k": _q6_k,
}
