"""Whether the data of the tensors lies where llama.cpp demands it: side by side, in order, inside."""

from __future__ import annotations

from collections.abc import Iterator

from weightkit.formats.gguf.entries import Entry
from weightkit.formats.gguf.walk import Walk, padded, quoted

Problem = tuple[Entry, str, str]
"""Tensor, rule and message."""


def check_places(walk: Walk, entries: list[Entry], header_end: int, alignment: int) -> None:
    """Note every fault in where the data of ``entries`` lies, and bytes that belong to none."""
    size = walk.source.size
    data_start = padded(header_end, alignment)
    if entries and data_start > size:
        message = f"data starts at {data_start}, but the file ends at {size}"
        walk.faults.add("WK233", message, header_end)
        return
    problems = [_misplacements(entries, alignment), _outside(entries, data_start, size)]
    for entry, code, message in (problem for kind in problems for problem in kind):
        walk.faults.add(code, message, entry.at, tensor=entry.name)
    ends = (data_start + entry.offset + entry.nbytes for entry in entries)
    end = padded(max(ends, default=header_end), alignment)
    if size > end and all(entry.dtype.nbytes for entry in entries):
        walk.faults.add("WK234", f"{size - end} bytes behind the last tensor", end)


def _outside(entries: list[Entry], data_start: int, size: int) -> Iterator[Problem]:
    room = size - data_start
    for entry in entries:
        if entry.offset + entry.nbytes > room:
            start = data_start + entry.offset
            message = f"data at {start} to {start + entry.nbytes}, but the file ends at {size}"
            yield entry, "WK229", message


def _misplacements(entries: list[Entry], alignment: int) -> Iterator[Problem]:
    """Nothing, if each tensor follows the one before it; else the reasons why not."""
    first = _first_misplaced(entries, alignment)
    if first is None:
        return
    reason = None
    for reason in _disorder(entries, alignment):
        yield reason
    if reason is None:
        yield first


def _first_misplaced(entries: list[Entry], alignment: int) -> Problem | None:
    expected: int | None = 0
    for entry in entries:
        if expected is not None and entry.offset != expected:
            message = f"data at offset {entry.offset}, {expected} by the order of the entries"
            return entry, "WK232", message
        known = entry.dtype.nbytes
        expected = padded(entry.offset + entry.nbytes, alignment) if known else None
    return None


def _disorder(entries: list[Entry], alignment: int) -> Iterator[Problem]:
    """Odd offsets, overlaps and gaps, in one walk in the order of the data."""
    end: int | None = 0
    owner = ""
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.nbytes)):
        offset = entry.offset
        aligned = offset % alignment == 0
        if not aligned:
            yield entry, "WK228", f"data at offset {offset}, the alignment is {alignment}"
        if end is not None and entry.nbytes and offset < end:
            yield (
                entry,
                "WK230",
                f"data at offset {offset}, but that of {quoted(owner)} ends at {end}",
            )
        elif end is not None and aligned and offset > padded(end, alignment):
            yield entry, "WK231", f"{offset - end} bytes before it belong to no tensor"
        if not entry.dtype.nbytes:
            end = None  # its size is unknown
        elif end is None or offset + entry.nbytes >= end:
            end, owner = offset + entry.nbytes, entry.name
