"""Casts between the number types: canonical bytes of one type to those of another, and counts.

A :class:`Cast` works in tiles that stay in the cache of a core, in NumPy calls that let other
threads run; it holds nothing but tables, so threads may share it. What becomes of each value
stands in docs/casts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from weightkit.dtypes import DTYPES, DType
from weightkit.errors import UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values import canonical
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
from weightkit.values.rounding import Rounder, array_type, codes_of, rounder
from weightkit.values.streams import Held

Array = np.ndarray[Any, Any]
Piece = bytes | bytearray | memoryview

TILE = 1 << 16
"""Values cast at a time: what they take on the way fits the L2 cache."""


@dataclass(frozen=True, slots=True)
class Cast:
    """From one type to another. Call it with pieces of whole elements (of blocks: whole blocks)."""

    source: DType
    target: DType
    stored: np.dtype[Any]
    """What a piece is an array of."""
    out: np.dtype[Any]
    step: Callable[[Array, Array], Counts]
    """Casts a tile."""

    def __call__(self, piece: Piece) -> tuple[memoryview, Counts]:
        """The bytes of the piece in the target type, and what became of its values."""
        given = np.frombuffer(piece, self.stored)
        ratio = self.source.items if self.source.kind == "quant" else 1
        out = np.empty(len(given) * ratio, self.out)
        tile = TILE // ratio
        counts = Counts()
        for at in range(0, len(given), tile):
            end = at + tile
            counts += self.step(given[at:end], out[at * ratio : end * ratio])
        return out.view(np.uint8).data, counts


@lru_cache(maxsize=64)
def caster(source: DType, target: DType) -> Cast:
    """The cast from ``source`` to ``target``; raises UnsupportedError where none makes sense."""
    verdict = fit(source, target)
    if verdict.verdict == REFUSED:
        message = f"no cast from {source.name} to {target.name}: {verdict.words}"
        raise UnsupportedError(message, code="WK603")
    wanted = COMPONENTS.get(target.name, target.name)
    given = COMPONENTS.get(source.name, source.name)
    stored, step = _step(source, given, wanted)
    return Cast(source, target, stored, codes_of(wanted), step)


def casted(
    info: TensorInfo, source: Reader, target: DType, held: Held | None = None
) -> Iterator[tuple[memoryview, Counts]]:
    """The values of a tensor in another type, in order, in pieces of whole elements.

    ``held`` gives the bytes of a tensor that lies in a stream which is already being read. Raises
    UnsupportedError where there is no cast or the file does not hold the values.
    """
    cast = caster(info.dtype, target)
    for piece in _aligned(canonical.pieces(info, source, held), info.dtype.nbytes):
        yield cast(piece)


def _aligned(pieces: Iterator[bytes], nbytes: int) -> Iterator[bytes]:
    """The same bytes, cut between elements: a stream is cut anywhere, and so are odd blocks."""
    rest = b""
    for piece in pieces:
        joined = rest + piece if rest else piece
        whole = len(joined) - len(joined) % nbytes
        rest = joined[whole:]
        yield joined[:whole] if rest else joined


# The steps of a tile


def _step(
    source: DType, given: str, wanted: str
) -> tuple[np.dtype[Any], Callable[[Array, Array], Counts]]:
    if source.kind == "quant":
        blocks = np.dtype((np.void, source.nbytes))
        return blocks, partial(_after, _dequantize(source), _floats(DEQUANTIZED, wanted))
    stored = codes_of(given)
    if given == wanted:
        return stored, _copy
    if given in FLOATS:
        return stored, _floats(given, wanted)
    stored = array_type(given).newbyteorder("<") if given != "bool" else np.dtype("u1")
    if wanted in INTEGERS:
        return stored, partial(_clip, array_type(wanted))
    if wanted == "f64":
        return stored, _to_f64
    return stored, partial(_after, _in_f64, _floats("f64", wanted))


def _copy(given: Array, out: Array) -> Counts:
    out[...] = given
    return Counts(len(given))


def _after(
    before: Callable[[Array], Array], step: Callable[..., Counts], given: Array, out: Array
) -> Counts:
    return step(before(given), out)


def _floats(source: str, target: str) -> Callable[[Array, Array], Counts]:
    """Between float types; of equal ones there is nothing to count."""
    if source == target:
        return _copy
    ranges = FLOATS[source], FLOATS[target]
    mask = (1 << 8 * DTYPES[source].nbytes - 1) - 1
    if not all(found.signed for found in ranges):
        mask = 0
    return partial(_round, rounder(source, target), tuple(intervals(*ranges)), mask)


def _round(
    rounds: Rounder, watched: tuple[Interval, ...], mask: int, codes: Array, out: Array
) -> Counts:
    rounds(codes, out)
    if not watched:
        return Counts(len(codes))
    held = codes & codes.dtype.type(mask) if mask else codes
    highest = int(held.max())
    found = dict.fromkeys(Counts._fields, 0)
    for outcome, first, last in watched:
        if highest >= first:
            found[outcome] += _inside(held, first, last)
    return Counts(**{**found, "values": len(codes)})


def _inside(codes: Array, first: int, last: int) -> int:
    """How many lie between: what is below ``first`` wraps around to the top."""
    kind = codes.dtype.type
    return int(np.count_nonzero(codes - kind(first) <= kind(last - first)))


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


def _dequantize(dtype: DType) -> Callable[[Array], Array]:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    message = f"{dtype.name} cannot be dequantized"
    if dtype.ggml not in set(GGML_QUANT_SIZES):
        raise UnsupportedError(message, code="WK603")
    kind = GGMLQuantizationType(dtype.ggml)

    def codes(blocks: Array) -> Array:
        rows = blocks.view(np.uint8).reshape(-1, dtype.nbytes)
        found: Array = dequantize(rows, kind)
        return np.ascontiguousarray(found, np.float32).reshape(-1).view(np.uint32)

    try:
        codes(np.zeros(1, (np.void, dtype.nbytes)))
    except NotImplementedError as error:
        raise UnsupportedError(message, code="WK603") from error
    return codes
