"""torch's sparse tensors filled up with zeros, as ``Tensor.to_dense()`` does it.

Every layout is taken for what it is: a list of values with a place each. Values at the same place
add up. A slab of the whole is made at a time, of a list in tiles: those that have nothing in a slab,
as they were read for the first, are passed over. A list in a stream is decoded once, to disk.

Source: "torch.sparse" of the torch 2.13 documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from math import prod
from typing import NamedTuple

import numpy as np

from weightkit.dtypes import DTYPES
from weightkit.errors import FormatError, UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import RAW, Extent, TensorInfo
from weightkit.values import canonical
from weightkit.values.arrays import Array, to_array
from weightkit.values.canonical import Form
from weightkit.values.streams import spooled
from weightkit.values.tiles import tiles

TILE = 1 << 18
"""Values of the list that are looked at together."""
SLAB = 16 << 20
"""Bytes of the whole that are made together."""
MAX_POINTERS = 128 << 20
"""Bytes of the row pointers of a compressed layout: these are held."""

Entries = Iterable[tuple[Array, Array]]
"""Places, as indices into the flattened whole, and what stands there."""


class _Slab(NamedTuple):
    """A run of the flattened whole, and where the places of each tile lie that was read for another."""

    start: int
    stop: int
    seen: dict[int, tuple[int, int]]

    def misses(self, tile: int) -> bool:
        """Whether nothing of a tile is known to be in here."""
        first, last = self.seen.get(tile, (self.start, self.stop))
        return last < self.start or first >= self.stop

    def note(self, tile: int, places: Array) -> None:
        """Keep where the places of a tile lie."""
        if places.size:
            self.seen[tile] = int(places.min()), int(places.max())


def filled(info: TensorInfo, form: Form, sources: Sequence[Reader]) -> Iterator[bytes]:
    """The elements of a sparse tensor in row-major order, zeros included."""
    if any(part.nbytes > part.data.nbytes for part in info.parts):
        message = "a sparse tensor whose list repeats what is stored"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    with ExitStack() as stack:
        yield from _filled(*_on_disk(info, sources, stack), form)


def _on_disk(
    info: TensorInfo, sources: Sequence[Reader], stack: ExitStack
) -> tuple[TensorInfo, Sequence[Reader]]:
    """The tensor with the parts that lie in streams decoded into files, which go with ``stack``."""
    parts, found = [], [*sources]
    for part in info.parts:
        if part.data.encoding != RAW and part.numel:
            found.append(stack.enter_context(spooled(sources[part.data.file], part)))
            data = Extent(len(found) - 1, part.data.within, part.data.nbytes)
            part = part._replace(data=data)
        parts.append(part)
    return info._replace(parts=tuple(parts)), found


def _filled(info: TensorInfo, sources: Sequence[Reader], form: Form) -> Iterator[bytes]:
    read = _coo if info.layout == "sparse_coo" else _compressed
    kind = np.dtype(DTYPES[form.dtype].numpy)
    step = SLAB // kind.itemsize
    seen: dict[int, tuple[int, int]] = {}
    everything = _Slab(0, info.numel, seen)
    held = list(read(info, sources, everything)) if info.parts[-1].numel <= TILE else None
    for start in range(0, info.numel, step):
        slab = _Slab(start, min(start + step, info.numel), seen)
        out = np.zeros(slab.stop - start, kind)
        for places, values in read(info, sources, slab) if held is None else held:
            inside = (places >= start) & (places < slab.stop)
            with np.errstate(all="ignore"):
                np.add.at(out, places[inside] - start, values[inside])
        yield out.tobytes()


def _coo(info: TensorInfo, sources: Sequence[Reader], slab: _Slab) -> Entries:
    """indices (dimensions, count) and values (count, *the dimensions that are dense)."""
    indices, values = _named(info, 2)
    depth, count = indices.shape if len(indices.shape) == 2 else (-1, 0)
    if not 0 <= depth <= len(info.shape) or values.shape != (count, *info.shape[depth:]):
        raise _broken(info, f"indices {indices.shape} and values {values.shape}")
    width = prod(info.shape[depth:])
    for number, (start, size) in enumerate(_tiles(count, width)):
        if slab.misses(number):
            continue
        found = _numbers(_cut(indices, 1, start, size), sources)
        place = np.zeros(size, np.int64)
        for index, extent in zip(found, info.shape, strict=False):
            place = place * extent + _checked(info, index, extent)
        part = _cut(values, 0, start, size)
        yield from _entries(part, place * width, (1, width), 0, (number, slab), sources)


def _compressed(info: TensorInfo, sources: Sequence[Reader], slab: _Slab) -> Entries:
    """Pointers to rows, column of each block, and blocks; or with columns and rows exchanged."""
    pointers, inner, values = _named(info, 3)
    if len(info.shape) < 2 or len(pointers.shape) != 1:
        raise UnsupportedError("a batch of sparse tensors", code="WK603", tensor=info.name)
    rows, columns, *dense = info.shape
    by_rows = info.layout in ("sparse_csr", "sparse_bsr")
    blocked = info.layout in ("sparse_bsr", "sparse_bsc")
    block = (*values.shape[1:3], 0, 0)[:2] if blocked else ()
    high, wide = block or (1, 1)
    count, width = prod(inner.shape), prod(dense)
    whole = high > 0 < wide and not rows % high and not columns % wide
    if not whole or inner.shape != (count,) or values.shape != (count, *block, *dense):
        raise _broken(info, f"indices {inner.shape} and values {values.shape}")
    lines = rows // high if by_rows else columns // wide
    ends = _pointers(info, pointers, lines, count, sources)
    for number, (start, size) in enumerate(_tiles(count, high * wide * width)):
        if slab.misses(number):
            continue
        outer = np.searchsorted(ends, np.arange(start, start + size), side="right") - 1
        other = _numbers(_cut(inner, 0, start, size), sources)
        row, column = (outer, other) if by_rows else (other, outer)
        row = _checked(info, row, rows // high) * high
        column = _checked(info, column, columns // wide) * wide
        part, place = _cut(values, 0, start, size), (row * columns + column) * width
        block = (high, wide * width)
        yield from _entries(part, place, block, columns * width, (number, slab), sources)


def _named(info: TensorInfo, count: int) -> Sequence[TensorInfo]:
    if len(info.parts) != count or any(part.parts for part in info.parts):
        raise _broken(info, f"{len(info.parts)} parts")
    return info.parts


def _pointers(
    info: TensorInfo, part: TensorInfo, lines: int, count: int, sources: Sequence[Reader]
) -> Array:
    """Where the entries of each row begin, and where the last one ends."""
    if part.shape != (lines + 1,):
        raise _broken(info, f"pointers {part.shape} to {lines} lines")
    if part.nbytes > MAX_POINTERS:
        message = f"{part.nbytes} bytes of pointers"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    found = _numbers(part, sources).astype(np.int64, copy=False)
    if found[0] != 0 or found[-1] != count or (np.diff(found) < 0).any():
        raise _broken(info, f"pointers that do not lead from 0 to {count}")
    return found


def _tiles(count: int, width: int) -> Iterator[tuple[int, int]]:
    """Start and size of each run of entries, of ``width`` values each."""
    step = max(1, TILE // max(1, width))
    return ((start, min(step, count - start)) for start in range(0, count, step))


def _entries(
    part: TensorInfo,
    places: Array,
    block: tuple[int, int],
    step: int,
    tile: tuple[int, _Slab],
    sources: Sequence[Reader],
) -> Entries:
    """The values of a tile, whose blocks of ``block`` rows and columns begin at ``places``.

    ``step`` is from one row of a block to the next. One block that is larger than a tile is read in
    tiles, and of it only what may be in the slab.
    """
    number, slab = tile
    high, run = block
    if part.numel <= TILE:
        whole = places[:, None, None] + np.arange(high)[:, None] * step + np.arange(run)
        slab.note(number, whole)
        yield whole.reshape(-1), _numbers(part, sources).reshape(-1)
        return
    base = int(places[0])
    slab.note(number, np.array([base, base + (high - 1) * step + run - 1]))
    first = 0
    if part.strides is None:
        first, last = (_before(stop - base, high, run, step) for stop in slab[:2])
        part = _cut(part._replace(shape=(part.numel,)), 0, first, last - first)
    for values in tiles(part, sources[part.data.file]):
        at = np.arange(first, first + values.size)
        yield base + at // run * step + at % run, values
        first += values.size


def _before(distance: int, high: int, run: int, step: int) -> int:
    """How many values of a block lie before what is so far from its first one."""
    row = min(max(0, distance // step if step else 0), high - 1)
    return row * run + min(run, max(0, distance - row * step))


def _checked(info: TensorInfo, index: Array, extent: int) -> Array:
    if index.dtype.kind not in "iu" or ((index < 0) | (index >= extent)).any():
        raise _broken(info, f"an index outside its {extent}")
    return index.astype(np.int64)


def _cut(part: TensorInfo, axis: int, start: int, size: int) -> TensorInfo:
    """Indices ``[start, start + size)`` of one axis of a plain tensor."""
    shape = (*part.shape[:axis], size, *part.shape[axis + 1 :])
    steps = part.strides or _contiguous(part.shape)
    span = sum((extent - 1) * step for extent, step in zip(shape, steps, strict=True)) + 1
    at, nbytes = start * steps[axis] * part.dtype.nbytes, span * part.dtype.nbytes
    data = part.data._replace(nbytes=nbytes)
    if data.encoding == RAW:
        data = data._replace(offset=data.offset + at)
    else:
        data = data._replace(within=data.within + at)
    strides = None if steps == _contiguous(shape) else steps
    return part._replace(shape=shape, strides=strides, data=data)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[at + 1 :]) for at in range(len(shape)))


def _numbers(part: TensorInfo, sources: Sequence[Reader]) -> Array:
    held = b"".join(canonical.pieces(part, sources[part.data.file]))
    return to_array(part._replace(strides=None, byteorder="little"), held)


def _broken(info: TensorInfo, reason: str) -> FormatError:
    return FormatError(f"a {info.layout} tensor with {reason}", code="WK323", tensor=info.name)
