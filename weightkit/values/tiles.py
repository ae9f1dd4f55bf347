"""The elements of a tensor as flat arrays of a bounded size, whatever its file does to them.

Canonical bytes (:mod:`weightkit.values.canonical`) become numbers a tile at a time, so that work on
values needs memory for a few tiles and not for the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from weightkit.dtypes import DTYPES
from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values import canonical
from weightkit.values.arrays import Array, to_array
from weightkit.values.streams import Held

TILE = 1 << 17
"""Elements: of two bytes they fit a core's own cache, with room for what is computed from them."""


def tiles(
    info: TensorInfo, source: Reader, held: Held | None = None, elements: int = TILE
) -> Iterator[Array]:
    """All elements in row-major order, as 1-D arrays of up to ``elements``, in native byte order.

    The type is that of :meth:`Checkpoint.read`: types of less than a byte come one element per
    item, quantized blocks of GGUF dequantized by whole blocks, as float32. Two differ: of torch's
    pairs of f4 each comes by itself, and c32, which NumPy lacks, comes as complex64. An array may
    be a read-only view of bytes.

    ``held`` gives the bytes of a tensor that lies in a stream which is already being read. Raises
    UnsupportedError for composite tensors (read their parts) and where the file does not hold the
    values, FormatError where bytes are missing.
    """
    if canonical.is_addressable(info):
        yield from span(info, source, 0, info.numel, elements)
        return
    left = info.numel
    step = _step(info, elements)
    nbytes = step // info.dtype.items * info.dtype.nbytes
    for piece in _cut(canonical.pieces(info, source, held), nbytes):
        yield _tile(info, piece, min(step, left))
        left -= step


def span(
    info: TensorInfo, source: Reader, start: int, count: int, elements: int = TILE
) -> Iterator[Array]:
    """As :func:`tiles`, elements ``[start, start + count)`` of an addressable tensor.

    Several threads can so work on one tensor. ``start`` and ``count`` are in elements of the shape
    and whole blocks of the type (:func:`canonical.is_addressable` says which tensors have spans).
    """
    canonical.form_of(info)  # refuses what has no values
    dtype = info.dtype
    assert not start % dtype.items, "a span starts with a block"
    step = _step(info, elements)
    first = start // dtype.items * dtype.nbytes
    piece = step // dtype.items * dtype.nbytes
    for held in canonical.part(info, source, first, dtype.nbytes_of(count), piece):
        yield _tile(info, held, len(held) // dtype.nbytes * dtype.items)


def count_of(info: TensorInfo) -> int:
    """Elements that the tiles hold; torch's two f4 in a byte count as two."""
    return info.numel * _pairs(info)


def _pairs(info: TensorInfo) -> int:
    return 2 if info.dtype.name == "f4_x2" else 1


def _step(info: TensorInfo, elements: int) -> int:
    """Elements of the shape in a tile: whole blocks, at least one."""
    items = info.dtype.items
    return max(1, elements // _pairs(info) // items) * items


def _tile(info: TensorInfo, held: bytes | memoryview, count: int) -> Array:
    """``count`` elements from their canonical bytes."""
    flat = info._replace(shape=(count,), byteorder="little", strides=None)
    if info.dtype.name == "c32":
        return np.frombuffer(held, "<f2").astype(np.float32).view(np.complex64)
    if info.dtype.name == "f4_x2":
        flat = flat._replace(dtype=DTYPES["f4"], shape=(2 * count,))
    found = to_array(flat, held)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def _cut(pieces: Iterable[bytes], nbytes: int) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of exactly ``nbytes``; the last may be shorter."""
    rest = b""
    for piece in pieces:
        rest = rest + piece if rest else piece
        whole = len(rest) - len(rest) % nbytes
        view = memoryview(rest)
        for at in range(0, whole, nbytes):
            yield view[at : at + nbytes]
        rest = rest[whole:]
    if rest:
        yield rest
