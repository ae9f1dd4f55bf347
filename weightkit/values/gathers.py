"""Strided views (transposed, sliced, expanded) made contiguous, a slab of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from weightkit.tensors import TensorInfo

SLAB = 16 << 20
"""Bytes of contiguous elements made at a time."""
NEAR = 1 << 16
"""A box that spans no more than this is read with what lies between its elements."""

Read = Callable[[int, int], bytes]
Array = np.ndarray[Any, Any]


def gather(info: TensorInfo, read: Read, slab: int = SLAB) -> Iterator[bytes]:
    """The elements of a strided tensor in row-major order.

    ``read`` gives bytes by offset from the first element. Only whole rows of some axis are taken at
    a time: as many as fit a slab, so a transposed matrix is read in runs of many columns.
    """
    assert info.strides is not None
    if not info.numel:
        return
    # A scalar is a vector of one.
    shape, strides, item = info.shape or (1,), info.strides or (1,), info.dtype.nbytes
    axis = _axis(shape, item, slab)
    rows = max(1, slab // (prod(shape[axis + 1 :]) * item))
    for outer in product(*map(range, shape[:axis])):
        at = sum(index * stride for index, stride in zip(outer, strides, strict=False))
        for start in range(0, shape[axis], rows):
            box = (min(rows, shape[axis] - start), *shape[axis + 1 :])
            yield _box(box, strides[axis:], (at + start * strides[axis]) * item, item, read)


def _axis(shape: tuple[int, ...], item: int, slab: int) -> int:
    """The outermost axis of which one index, with all axes inside it, fits a slab."""
    nbytes = item
    for axis in range(len(shape) - 1, -1, -1):
        nbytes *= shape[axis]
        if nbytes > slab:
            return axis
    return 0


def _box(shape: tuple[int, ...], strides: tuple[int, ...], at: int, item: int, read: Read) -> bytes:
    """The elements of a box in row-major order; they are read in the order of the file."""
    order = sorted(range(len(shape)), key=lambda axis: -strides[axis])
    kind = f"u{item}" if item in (1, 2, 4, 8) else f"V{item}"  # NumPy copies numbers faster
    held = np.empty([shape[axis] for axis in order], kind)
    _fill(held, at, tuple(strides[axis] for axis in order), read)
    return held.transpose(np.argsort(order)).tobytes()


def _fill(out: Array, at: int, strides: tuple[int, ...], read: Read) -> None:
    """Fill ``out`` with the box of these strides (in elements, descending) from byte ``at`` on."""
    item = out.itemsize
    steps = [(size - 1) * stride for size, stride in zip(out.shape, strides, strict=True)]
    span = (sum(steps) + 1) * item
    stored = item * prod(size for size, stride in zip(out.shape, strides, strict=True) if stride)
    if span <= max(NEAR, min(2 * stored, SLAB)):
        flat = np.frombuffer(read(at, span), out.dtype)
        apart = tuple(stride * item for stride in strides)
        out[...] = np.lib.stride_tricks.as_strided(flat, out.shape, apart, writeable=False)
        return
    step, inner = strides[0] * item, strides[1:]
    if out.ndim == 2 and inner == (1,):  # rows that lie whole in the file
        for index in range(out.shape[0]):
            out[index] = np.frombuffer(read(at + index * step, out.shape[1] * item), out.dtype)
        return
    for index in range(out.shape[0]):
        _fill(out[index, ...], at + index * step, inner, read)
