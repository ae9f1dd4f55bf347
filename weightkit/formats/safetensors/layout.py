"""One sorted walk over the tensors that proves them: no hole, no overlap, sizes agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from weightkit.dtypes import DType
from weightkit.formats.safetensors.columns import alignment, bits_of
from weightkit.rules import Faults


class Entry(NamedTuple):
    """One tensor as the header describes it. ``start`` and ``end`` count from the data's start."""

    name: str
    at: int
    """File offset of its name in the header."""
    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int


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


def brief(text: str) -> str:
    """``text`` quoted for a message, cut where it is long."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")
