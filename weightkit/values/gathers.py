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
    shape, strides, item = info.shape, info.strides, info.dtype.nbytes
    if not info.numel:
        return
    axis = _axis(shape, item, slab)
    inner = prod(shape[axis + 1 :])
    rows = max(1, slab // (inner * item))
    for outer in product(*map(range, shape[:axis])):
        at = sum(index * stride for index, stride in zip(outer, strides, strict=False))
        for start in range(0, shape[axis] if shape else 1, rows):
            count = min(rows, shape[axis] - start) if shape else 1
            box = ((count, *shape[axis + 1 :]), strides[axis:]) if shape else ((), ())
            out = np.empty(box[0], f"V{item}")
            _fill(out, (at + start * (strides[axis] if shape else 0)) * item, box[1], read)
            yield out.tobytes()


def _axis(shape: tuple[int, ...], item: int, slab: int) -> int:
    """The outermost axis of which one index, with all axes inside it, fits a slab."""
    nbytes = item
    for axis in range(len(shape) - 1, -1, -1):
        nbytes *= shape[axis]
        if nbytes > slab:
            return axis
    return 0


def _fill(out: Array, at: int, strides: tuple[int, ...], read: Read) -> None:
    """Fill ``out`` with the box of these strides (in elements) that begins at byte ``at``."""
    item = out.itemsize
    steps = [(size - 1) * stride for size, stride in zip(out.shape, strides, strict=True)]
    span = (sum(steps) + 1) * item
    stored = item * prod(size for size, stride in zip(out.shape, strides, strict=True) if stride)
    if span <= max(NEAR, min(2 * stored, SLAB)):
        flat = np.frombuffer(read(at, span), out.dtype)
        apart = tuple(stride * item for stride in strides)
        out[...] = np.lib.stride_tricks.as_strided(flat, out.shape, apart, writeable=False)
        return
    widest = max(range(len(steps)), key=lambda axis: (steps[axis] > 0) * strides[axis])
    rest = strides[:widest] + strides[widest + 1 :]
    turned = np.moveaxis(out, widest, 0)
    for index in range(out.shape[widest]):
        _fill(turned[index, ...], at + index * strides[widest] * item, rest, read)
