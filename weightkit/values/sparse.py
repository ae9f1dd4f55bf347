"""torch's sparse tensors filled up with zeros, as ``Tensor.to_dense()`` does it.

Every layout is taken for what it is: a list of values with a place each. Values at the same place
add up. A slab of the whole is made at a time, and where the list is longer than a tile it is read
once for every slab.

Source: "torch.sparse" of the torch 2.13 documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np

from weightkit.dtypes import DTYPES
from weightkit.errors import FormatError, UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import RAW, TensorInfo
from weightkit.values import canonical
from weightkit.values.arrays import Array, to_array
from weightkit.values.canonical import Form

TILE = 1 << 18
"""Values of the list that are looked at together."""
SLAB = 16 << 20
"""Bytes of the whole that are made together."""
MAX_POINTERS = 128 << 20
"""Bytes of the row pointers of a compressed layout: these are held."""

Entries = Iterable[tuple[Array, Array]]
"""Places, as indices into the flattened whole, and what stands there."""


def filled(info: TensorInfo, form: Form, sources: Sequence[Reader]) -> Iterator[bytes]:
    """The elements of a sparse tensor in row-major order, zeros included."""
    if any(part.nbytes > part.data.nbytes for part in info.parts):
        message = "a sparse tensor whose list repeats what is stored"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    read = _coo if info.layout == "sparse_coo" else _compressed
    held = list(read(info, sources)) if info.parts[-1].numel <= TILE else None
    kind = np.dtype(DTYPES[form.dtype].numpy)
    slab = SLAB // kind.itemsize
    for start in range(0, info.numel, slab):
        out = np.zeros(min(slab, info.numel - start), kind)
        for places, values in read(info, sources) if held is None else held:
            inside = (places >= start) & (places < start + out.size)
            with np.errstate(all="ignore"):
                np.add.at(out, places[inside] - start, values[inside])
        yield out.tobytes()


def _coo(info: TensorInfo, sources: Sequence[Reader]) -> Entries:
    """indices (dimensions, count) and values (count, *the dimensions that are dense)."""
    indices, values = _named(info, 2)
    depth, count = indices.shape if len(indices.shape) == 2 else (-1, 0)
    if not 0 <= depth <= len(info.shape) or values.shape != (count, *info.shape[depth:]):
        raise _broken(info, f"indices {indices.shape} and values {values.shape}")
    width = prod(info.shape[depth:])
    for start, size in _tiles(count, width):
        found = _numbers(_cut(indices, 1, start, size), sources)
        place = np.zeros(size, np.int64)
        for index, extent in zip(found, info.shape, strict=False):
            place = place * extent + _checked(info, index, extent)
        held = _numbers(_cut(values, 0, start, size), sources)
        yield _spread(place * width, [(width, 1)]), held.reshape(-1)


def _compressed(info: TensorInfo, sources: Sequence[Reader]) -> Entries:
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
    steps = [(high, columns * width), (wide, width), (width, 1)]
    for start, size in _tiles(count, high * wide * width):
        outer = np.searchsorted(ends, np.arange(start, start + size), side="right") - 1
        other = _numbers(_cut(inner, 0, start, size), sources)
        row, column = (outer, other) if by_rows else (other, outer)
        row = _checked(info, row, rows // high) * high
        column = _checked(info, column, columns // wide) * wide
        held = _numbers(_cut(values, 0, start, size), sources)
        yield _spread((row * columns + column) * width, steps), held.reshape(-1)


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
    found = _numbers(part, sources).astype(np.int64)
    if found[0] != 0 or found[-1] != count or (np.diff(found) < 0).any():
        raise _broken(info, f"pointers that do not lead from 0 to {count}")
    return found


def _tiles(count: int, width: int) -> Iterator[tuple[int, int]]:
    """Start and size of each run of entries, of ``width`` values each."""
    step = max(1, TILE // max(1, width))
    return ((start, min(step, count - start)) for start in range(0, count, step))


def _spread(places: Array, steps: Sequence[tuple[int, int]]) -> Array:
    """Where each value of a block stands, from where its first one stands."""
    for size, step in steps:
        places = places[..., None] + np.arange(size) * step
    return places.reshape(-1)


def _checked(info: TensorInfo, index: Array, extent: int) -> Array:
    if index.dtype.kind not in "iu" or ((index < 0) | (index >= extent)).any():
        raise _broken(info, f"an index outside its {extent}")
    return index.astype(np.int64)


def _cut(part: TensorInfo, axis: int, start: int, size: int) -> TensorInfo:
    """Indices ``[start, start + size)`` of one axis of a plain tensor."""
    shape = (*part.shape[:axis], size, *part.shape[axis + 1 :])
    steps = part.strides or tuple(prod(part.shape[at + 1 :]) for at in range(len(part.shape)))
    span = sum((extent - 1) * step for extent, step in zip(shape, steps, strict=True)) + 1
    at, nbytes = start * steps[axis] * part.dtype.nbytes, span * part.dtype.nbytes
    data = part.data._replace(nbytes=nbytes)
    if data.encoding == RAW:
        data = data._replace(offset=data.offset + at)
    else:
        data = data._replace(within=data.within + at)
    return part._replace(shape=shape, strides=steps, data=data)


def _numbers(part: TensorInfo, sources: Sequence[Reader]) -> Array:
    held = b"".join(canonical.pieces(part, sources[part.data.file]))
    return to_array(part._replace(strides=None, byteorder="little"), held)


def _broken(info: TensorInfo, reason: str) -> FormatError:
    return FormatError(f"a {info.layout} tensor with {reason}", code="WK323", tensor=info.name)
