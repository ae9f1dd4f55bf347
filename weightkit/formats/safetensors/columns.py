"""The tensors of a file as columns, and as the rows that the rest of the package knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, TypeVar

from weightkit.dtypes import DType
from weightkit.source import Reader
from weightkit.tensors import RAW, Extent, TensorInfo

U64 = (1 << 64) - 1

Record = TypeVar("Record", Extent, TensorInfo)


class Columns(NamedTuple):
    """All tensors, in header order; a column of 50,000 is made and checked at C speed."""

    names: Sequence[str] = ()
    dtypes: Sequence[DType] = ()
    shapes: Sequence[tuple[int, ...]] = ()
    starts: Sequence[int] = ()
    sizes: Sequence[int] = ()


Place = Callable[[Columns], tuple[TensorInfo, ...]]
"""Columns to tensors: :func:`tensors`, told which file and where its data starts."""


def alignment(dtype: DType) -> int:
    """Bytes that an element's address should be a multiple of."""
    if dtype.items > 1 or dtype.kind == "opaque":
        return 1
    return dtype.nbytes // 2 if dtype.kind == "complex" else dtype.nbytes


def elements_of(shape: tuple[int, ...]) -> int | None:
    """Product of the dimensions, None where the official reader's 64-bit arithmetic overflows.

    It multiplies in order, so [2^63, 4, 0] overflows and [0, 2^63, 4] does not.
    """
    count = 1
    for dimension in shape:
        count *= dimension
        if count > U64:
            return None
    return count


def bits_of(dtype: DType, shape: tuple[int, ...]) -> int | None:
    """Bits that the elements take, None where that overflows."""
    count = elements_of(shape)
    bits = U64 + 1 if count is None else count * (8 * dtype.nbytes // dtype.items)
    return bits if bits <= U64 else None


def tensors(source: Reader, data_start: int, columns: Columns) -> tuple[TensorInfo, ...]:
    """The tensors of ``columns``, with their place in the file."""
    names, dtypes, shapes, starts, sizes = columns
    base = source.extent(data_start, 0)
    extents: Iterable[Extent]
    if base.encoding == RAW:  # then every range inside it is raw too
        offsets = [base.offset + start for start in starts]
        extents = _records(Extent, repeat(base.file), offsets, sizes)
    else:
        extents = map(source.extent, [data_start + start for start in starts], sizes)
    return tuple(_records(TensorInfo, names, dtypes, shapes, extents))


def _records(kind: type[Record], *columns: Iterable[object]) -> Iterator[Record]:
    """NamedTuples from their first fields' columns, without a Python frame for each one."""
    defaults = map(repeat, kind._field_defaults.values())
    return map(partial(tuple.__new__, kind), zip(*columns, *defaults, strict=False))
