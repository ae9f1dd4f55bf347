"""Casts between the number types: canonical bytes of one type to those of another, and counts.

A :class:`Cast` works in tiles that stay in the cache of a core, in NumPy calls that let other
threads run; it holds nothing but tables, so threads may share it. What becomes of each value
stands in docs/casts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from weightkit.dtypes import DTYPES, DType
from weightkit.errors import UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values import canonical
from weightkit.values.blocks import Dequantizer, dequantizer
from weightkit.values.narrowing import (
    COMPONENTS,
    DEQUANTIZED,
    FLOATS,
    INTEGERS,
    REFUSED,
    Counts,
    Interval,
    fit,
    intervals,
)
from weightkit.values.rooms import room
from weightkit.values.rounding import Rounder, array_type, codes_of, rounder
from weightkit.values.streams import Held

Array = np.ndarray[Any, Any]
Piece = bytes | bytearray | memoryview

TILE = 1 << 19
"""Values cast at a time. Fewer would stay in a faster cache, but NumPy gives the interpreter back
around each operation, and threads that must wait for it lose more."""


@dataclass(frozen=True, slots=True)
class Cast:
    """From one type to another. Call it with pieces of whole elements (of blocks: whole blocks)."""

    source: DType
    target: DType
    stored: np.dtype[Any]
    """What a piece is an array of."""
    out: np.dtype[Any]
    step: Callable[[Array, Array], Counts]
    """Casts a tile into another."""
    items: int = 1
    """Values that come out for each that is stored."""

    def __call__(self, piece: Piece) -> tuple[memoryview, Counts]:
        """The bytes of the piece in the target type, and what became of its values."""
        given = np.frombuffer(piece, self.stored)
        out = np.empty(len(given) * self.items, self.out)
        tile = max(1, TILE // self.items)
        counts = Counts()
        for at in range(0, len(given), tile):
            end = at + tile
            counts += self.step(given[at:end], out[at * self.items : end * self.items])
        return out.view(np.uint8).data, counts

    def over(self, pieces: Iterable[bytes]) -> Iterator[tuple[memoryview, Counts]]:
        """The same for a stream of pieces, which may be cut inside an element."""
        rest = b""
        for piece in pieces:
            joined = rest + piece if rest else piece
            whole = len(joined) - len(joined) % self.source.nbytes
            rest = joined[whole:]
            yield self(joined[:whole] if rest else joined)


@lru_cache(maxsize=64)
def caster(source: DType, target: DType) -> Cast:
    """The cast from ``source`` to ``target``; raises UnsupportedError where none makes sense."""
    found = fit(source, target)
    if found.verdict == REFUSED:
        message = f"no cast from {source.name} to {target.name}: {found.words}"
        raise UnsupportedError(message, code="WK603")
    if source == target:
        whole = np.dtype((np.void, source.nbytes))
        return Cast(source, target, whole, whole, partial(_copy, source.items))
    given = COMPONENTS.get(source.name, source.name)
    wanted = COMPONENTS.get(target.name, target.name)
    if source.kind == "quant":
        blocks = np.dtype((np.void, source.nbytes))
        then = None if wanted == DEQUANTIZED else _floats(DEQUANTIZED, wanted)
        step = partial(_dequantize, source, dequantizer(source), then)
        return Cast(source, target, blocks, codes_of(wanted), step, source.items)
    return Cast(source, target, *_plain(given, wanted))


def casted(
    info: TensorInfo, source: Reader, target: DType, held: Held | None = None
) -> Iterator[tuple[memoryview, Counts]]:
    """The values of a tensor in another type, in order, in pieces of whole elements.

    ``held`` gives the bytes of a tensor that lies in a stream which is already being read. Raises
    UnsupportedError where there is no cast, or the file does not hold the values.
    """
    cast = caster(info.dtype, target)
    if info.parts or info.numel % info.dtype.items:
        what = f"a {info.layout} tensor" if info.parts else f"{info.dtype.name} in part of a block"
        raise UnsupportedError(f"{what} is not cast", code="WK603", tensor=info.name)
    yield from cast.over(canonical.pieces(info, source, held))


# The steps of a tile


def _plain(
    given: str, wanted: str
) -> tuple[np.dtype[Any], np.dtype[Any], Callable[[Array, Array], Counts]]:
    """Between two of the plain types: what pieces hold, what comes out, and the step."""
    out = codes_of(wanted)
    if given in FLOATS:
        return codes_of(given), out, _floats(given, wanted)
    stored = np.dtype("u1") if given == "bool" else array_type(given).newbyteorder("<")
    if wanted in INTEGERS:
        return stored, out, partial(_clip, array_type(wanted))
    if wanted == "f64":
        return stored, out, _to_f64
    return stored, out, partial(_after, _in_f64, _floats("f64", wanted))


def _copy(items: int, given: Array, out: Array) -> Counts:
    out[...] = given
    return Counts(len(given) * items)


def _after(
    before: Callable[[Array], Array],
    step: Callable[[Array, Array], Counts],
    given: Array,
    out: Array,
) -> Counts:
    return step(before(given), out)


def _floats(source: str, target: str) -> Callable[[Array, Array], Counts]:
    """Between float types; of equal ones there is nothing to count."""
    if source == target:
        return partial(_copy, 1)
    ranges = FLOATS[source], FLOATS[target]
    sign = 1 << 8 * DTYPES[source].nbytes - 1
    kept = sign - 1 if all(found.signed for found in ranges) else 2 * sign - 1
    return partial(_round, rounder(source, target), tuple(intervals(*ranges)), kept)


def _round(
    rounds: Rounder, watched: tuple[Interval, ...], kept: int, codes: Array, out: Array
) -> Counts:
    """Count what lies in the intervals, of the bits that are ``kept`` for it, and round."""
    held = room("held", len(codes), codes.dtype)
    np.bitwise_and(codes, codes.dtype.type(kept), out=held)
    counts = Counts(len(codes))
    highest = int(held.max())
    for outcome, first, last in watched:
        if highest >= first:
            counts += Counts(**{outcome: _inside(held, first, last)})
    rounds(codes, held, highest, out)
    return counts


def _inside(codes: Array, first: int, last: int) -> int:
    """How many lie between: what is below ``first`` wraps around to the top."""
    if codes.min() > last:
        return 0
    kind = codes.dtype.type
    above = np.subtract(codes, kind(first), out=room("above", len(codes), codes.dtype))
    span = kind(last - first)
    return int(np.count_nonzero(above <= span)) if above.min() <= span else 0


# Integers


def _clip(target: np.dtype[Any], given: Array, out: Array) -> Counts:
    ends = np.iinfo(target)
    own = np.iinfo(given.dtype)
    low, high = max(ends.min, own.min), min(ends.max, own.max)
    kept = np.clip(given, low, high)
    np.copyto(out.view(target), kept, casting="unsafe")
    return Counts(len(given), saturated=int(np.count_nonzero(kept != given)))


def _to_f64(given: Array, out: Array) -> Counts:
    np.copyto(out.view(np.float64), given, casting="unsafe")
    return Counts(len(given))


def _in_f64(given: Array) -> Array:
    """Codes of f64; more than 53 bits are rounded to odd, so that the next cast rounds once."""
    if given.dtype.itemsize == 8:
        cut = given & 0xFFF
        wide = (given >> 53 != 0) & (given >> 53 != -1 if given.dtype.kind == "i" else True)
        given = np.where(wide, given - cut | (cut != 0).astype(given.dtype) << 12, given)
    return given.astype(np.float64).view(np.uint64)


# Blocks of ggml


def _dequantize(
    dtype: DType,
    work: Dequantizer,
    then: Callable[[Array, Array], Counts] | None,
    given: Array,
    out: Array,
) -> Counts:
    blocks = given.view(np.uint8).reshape(-1, dtype.nbytes)
    wide = room("wide", out.size, np.float32) if then else out.view(np.float32)
    work(blocks, wide.reshape(-1, dtype.items))
    return then(wide.view(np.uint32), out) if then else Counts(out.size)
