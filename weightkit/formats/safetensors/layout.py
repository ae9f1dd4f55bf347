"""Where tensors lie, and one sorted walk that proves it: no hole, no overlap, sizes agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, TypeVar

from weightkit.dtypes import DType
from weightkit.formats.safetensors.serde import U64, brief
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import RAW, Extent, TensorInfo

Record = TypeVar("Record", Extent, TensorInfo)


class Entry(NamedTuple):
    """One tensor as the header describes it. ``start`` and ``end`` count from the data's start."""

    name: str
    at: int
    """File offset of its name in the header."""
    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int


class Columns(NamedTuple):
    """All tensors, in header order; a column of 50,000 is made and checked at C speed."""

    names: Sequence[str] = ()
    dtypes: Sequence[DType] = ()
    shapes: Sequence[tuple[int, ...]] = ()
    starts: Sequence[int] = ()
    sizes: Sequence[int] = ()


def alignment(dtype: DType) -> int:
    """Bytes that an element's address should be a multiple of."""
    if dtype.items > 1 or dtype.kind == "opaque":
        return 1
    return dtype.nbytes // 2 if dtype.kind == "complex" else dtype.nbytes


def bits_of(dtype: DType, shape: tuple[int, ...]) -> int | None:
    """Bits that the elements take, None where the official reader's 64-bit arithmetic overflows.

    It multiplies in order, so [2^63, 4, 0] overflows and [0, 2^63, 4] does not.
    """
    count = 1
    for dimension in shape:
        count *= dimension
        if count > U64:
            return None
    bits = count * (8 * dtype.nbytes // dtype.items)
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


def walk(entries: Iterable[Entry], data_start: int, data_nbytes: int, faults: Faults) -> None:
    """Check sizes and places of all tensors against one another and the file."""
    crooked: list[Entry] = []
    reached, last = 0, ""
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        _check_size(entry, faults)
        _check_place(entry, reached, last, data_start, data_nbytes, faults)
        if entry.end > reached:
            reached, last = entry.end, entry.name
        if entry.start % alignment(entry.dtype) and entry.end > entry.start:
            crooked.append(entry)
    if reached < data_nbytes:
        message = f"{data_nbytes - reached} bytes after the last tensor"
        faults.add("WK133", message, data_start + reached)
    if crooked:
        _report_unaligned(crooked, data_start, faults)


def _check_size(entry: Entry, faults: Faults) -> None:
    if entry.dtype.kind == "opaque":
        return  # its dtype is unknown, and a fault already
    bits = bits_of(entry.dtype, entry.shape)
    have = entry.end - entry.start
    what = f"{entry.dtype} {list(entry.shape)}" if len(entry.shape) < 20 else str(entry.dtype)
    if bits is None:
        faults.add("WK126", f"{what} takes more than 2^64 bits", entry.at, tensor=entry.name)
    elif bits % 8:
        message = f"{what} takes {bits} bits, which are no whole bytes"
        faults.add("WK127", message, entry.at, tensor=entry.name)
    elif bits // 8 != have and have >= 0:
        message = f"{what} takes {bits // 8} bytes, but its data_offsets hold {have}"
        faults.add("WK129", message, entry.at, tensor=entry.name)


def _check_place(
    entry: Entry, reached: int, last: str, data_start: int, data_nbytes: int, faults: Faults
) -> None:
    start, end = entry.start, entry.end
    if end < start:
        message = f"data from {start} to {end} ends before it starts"
        faults.add("WK128", message, entry.at, tensor=entry.name)
        return
    if start > reached:
        message = f"{start - reached} bytes belong to no tensor"
        faults.add("WK130", message, data_start + reached, tensor=entry.name)
    elif start < reached:
        message = f"starts {reached - start} bytes before the end of {brief(last)}"
        faults.add("WK131", message, data_start + start, tensor=entry.name)
    if end > data_nbytes:
        message = f"ends {end - data_nbytes} bytes past the end of the file"
        faults.add("WK132", message, data_start + start, tensor=entry.name)


def _report_unaligned(crooked: list[Entry], data_start: int, faults: Faults) -> None:
    first = crooked[0]
    message = f"{len(crooked)} tensors are not aligned to their element size"
    if len(crooked) == 1:
        message = f"not aligned to {alignment(first.dtype)} bytes"
    faults.add("WK153", message, data_start + first.start, tensor=first.name)
