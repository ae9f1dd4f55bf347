"""The tensor entries of a GGUF file: names, shapes, types and offsets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from struct import Struct
from typing import NamedTuple

from weightkit.dtypes import GGML, DType, opaque
from weightkit.errors import FormatError, WeightkitError
from weightkit.formats.gguf.walk import MAX_KEY, Walk

REMOVED = {
    number: DType(name, "quant", items, nbytes, ggml=number)
    for number, name, items, nbytes in [
        (4, "q4_2", 16, 10),
        (5, "q4_3", 16, 12),
        (31, "q4_0_4_4", 32, 18),
        (32, "q4_0_4_8", 32, 18),
        (33, "q4_0_8_8", 32, 18),
        (36, "iq4_nl_4_4", 32, 18),
        (37, "iq4_nl_4_8", 32, 18),
        (38, "iq4_nl_8_8", 32, 18),
    ]
}
"""Types that ggml once had: described, but refused by every current reader."""

MAX_NAME = 64
"""GGML_MAX_NAME of llama.cpp: bytes of a name, with the NUL that C puts behind it."""
MAX_RANK = 4
TOLERATED_RANK = 8
"""Dimensions up to which an entry is described, though no reader takes it."""
INT64_END = 1 << 63
WINDOW = 1 << 20


class Entry(NamedTuple):
    """A tensor entry: where it stands and what it says."""

    at: int
    name: str
    dtype: DType
    """Of 0 bytes where the type, and so the size, is unknown."""
    shape: tuple[int, ...]
    offset: int
    """From the start of the data."""
    nbytes: int


RawEntry = tuple[int, bytes, tuple[int, ...], int, int]
"""Place, name, dimensions (innermost first), type and offset."""


def read_entries(walk: Walk, count: int) -> list[Entry]:
    """The entries in the order of the file; the walk's cursor is left behind the last."""
    entries = []
    names: set[str] = set()
    for number, (at, raw_name, dims, kind, offset) in enumerate(_raw_entries(walk, count)):
        name = walk.name(raw_name, at, f"name of tensor {number}")
        if len(raw_name) >= MAX_NAME or name in names:
            _note_name(walk, raw_name, name, at, name in names)
        names.add(name)
        numel = prod(dims)
        dtype = GGML.get(kind)
        row = dims[0] if dims else 1
        regular = dtype and 0 < numel < INT64_END and len(dims) <= MAX_RANK
        if not dtype or not regular or row % dtype.items:
            dtype = _note_oddities(walk, name, at, dims, kind)
        entries.append(Entry(at, name, dtype, dims[::-1], offset, dtype.nbytes_of(numel)))
    return entries


def _raw_entries(walk: Walk, count: int) -> Iterator[RawEntry]:
    """The entries as they stand. Raises FormatError where one cannot be read."""
    unpack_length, width = walk.length.unpack_from, walk.width
    unpack_rank = Struct(walk.order + "I").unpack_from
    forms = [Struct(f"{walk.order}{n}{walk.length_code}IQ") for n in range(TOLERATED_RANK + 1)]
    source = walk.source
    start, window, at = walk.cursor.position, b"", 0
    for number in range(count):
        if len(window) - at < 2 * MAX_KEY and start + len(window) < source.size:
            start, at = start + at, 0
            window = source.peek(start, WINDOW)
        try:
            (nbytes,) = unpack_length(window, at)
            end = at + width + nbytes
            (rank,) = unpack_rank(window, end)
            form = forms[rank]
            *dims, kind, offset = form.unpack_from(window, end + 4)
        except (struct.error, OverflowError, IndexError):
            raise _broken(walk, start + at, number) from None
        if nbytes > MAX_KEY:
            raise _broken(walk, start + at, number)
        yield start + at, window[at + width : end], tuple(dims), kind, offset
        at = end + 4 + form.size
    walk.cursor.skip(start + at - walk.cursor.position)


def _broken(walk: Walk, at: int, number: int) -> WeightkitError:
    """Why the entry at ``at`` cannot be read: the careful way over what failed in a hurry."""
    cursor = walk.cursor
    cursor.skip(at - cursor.position)
    try:
        name = walk.key(f"name of tensor {number}")
        (rank,) = cursor.unpack("I", f"rank of tensor {number}")
        if rank > TOLERATED_RANK:
            return walk.source.error("WK222", f"{rank} dimensions", at, tensor=name)
        return cursor.short(rank * walk.width + 12, f"entry of tensor {number}", "WK001")
    except FormatError as error:
        return error


def _note_name(walk: Walk, raw: bytes, name: str, at: int, again: bool) -> None:
    if len(raw) >= MAX_NAME:
        message = f"the name has {len(raw)} bytes, llama.cpp takes {MAX_NAME - 1}"
        walk.faults.add("WK221", message, at, tensor=name)
    if again:
        walk.faults.add("WK220", "a second tensor of this name", at, tensor=name)


def _note_oddities(walk: Walk, name: str, at: int, dims: tuple[int, ...], kind: int) -> DType:
    """Note all that is wrong with a shape and type, and return the type to show the tensor with."""
    shape, numel, row = list(reversed(dims)), prod(dims), dims[0] if dims else 1
    dtype = GGML.get(kind) or REMOVED.get(kind) or opaque(f"ggml_{kind}", 0)
    blocks = f"rows of {row} elements in blocks of {dtype.items} ({dtype.name})"
    overflow = numel >= INT64_END or max(dims, default=0) >= INT64_END
    for code, wrong, message in [
        ("WK222", len(dims) > MAX_RANK, f"{len(dims)} dimensions: {shape}"),
        ("WK223", overflow, f"shape {shape} of {numel} elements"),
        ("WK224", 0 in dims, f"shape {shape} without elements"),
        ("WK225", not dtype.nbytes, f"tensor type {kind}"),
        ("WK226", kind in REMOVED, f"tensor type {kind}, {dtype.name}"),
        ("WK227", row % dtype.items, blocks),
    ]:
        if wrong:
            walk.faults.add(code, message, at, tensor=name)
    return dtype
