"""Where the members of a zip archive go, and the records around them, before a byte is moved.

    local header | extra field | member | descriptor    for each member
    directory    | end records

Members are stored, not compressed. Two writers are followed to the byte: torch's (miniz), which
states CRC and sizes behind each member, aligns members by padding in the extra field and always
writes the zip64 end records; and Python's zipfile, which states them in front.

Source: APPNOTE 6.3 of PKWARE; ``inline_container.cc`` and ``miniz.c`` of torch 2.13.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import pack
from typing import NamedTuple

from weightkit.errors import PlanError

FULL = 0xFFFFFFFF
"""A 32-bit field that is at least this stands in a zip64 field instead."""
FULL_COUNT = 0xFFFF
STREAMED, UTF8 = 0x8, 0x800
ZIP64_NEEDED = 45


class Style(NamedTuple):
    """How the records of an archive are written."""

    needed: int
    """Version that a reader needs, where no zip64 field says more; 0 for "does not matter"."""
    date: int
    """MS-DOS date of every member."""
    streamed: bool
    """CRC and sizes behind the member, and zip64 end records in any case."""
    alignment: int
    """Of each member's bytes in the file."""


TORCH = Style(needed=0, date=0, streamed=True, alignment=64)
ZIPFILE = Style(needed=20, date=1 << 5 | 1, streamed=False, alignment=1)
"""1 January 1980, the first day that the format knows."""


class Member(NamedTuple):
    """A file in the archive: literal bytes, then room for ``nbytes`` that come from elsewhere."""

    name: str
    head: bytes
    nbytes: int = 0


class _Placed(NamedTuple):
    """A member and its place."""

    name: bytes
    flags: int
    size: int
    header: int
    """Offset of the local header."""
    extra: bytes
    """Of the local header."""

    @property
    def data(self) -> int:
        """Offset of the member's bytes."""
        return self.header + 30 + len(self.name) + len(self.extra)

    @property
    def is_zip64(self) -> bool:
        return self.size >= FULL or self.header >= FULL


class Archive:
    """The layout of one zip: ``size`` in bytes, and where each member's own bytes start.

    ``places`` holds the offset of the room behind each member's head. Raises PlanError for two
    members of one name, and for names of more than 65,535 bytes.
    """

    def __init__(self, members: Sequence[Member], style: Style) -> None:
        self.members = members
        self.style = style
        self._placed: list[_Placed] = []
        at = 0
        for member in members:
            placed = _place(member, at, style)
            self._placed.append(placed)
            at = placed.data + placed.size + len(_descriptor(placed, 0, style))
        self._directory = at
        self.places = tuple(
            placed.data + len(member.head)
            for placed, member in zip(self._placed, members, strict=True)
        )
        self.size = at + len(b"".join(self._ending([0] * len(members))))
        names = Counter(member.name for member in members)
        if len(names) < len(members):
            raise PlanError(f"two members would be named {names.most_common(1)[0][0]!r}")

    def checksums(self, crcs: Sequence[int]) -> list[int]:
        """The CRC-32 of each member, given those of what fills the rooms (0 where there is none)."""
        return [
            combined(zlib.crc32(member.head), crc, member.nbytes)
            for member, crc in zip(self.members, crcs, strict=True)
        ]

    def literals(self, crcs: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of everything but the rooms, in order, what adjoins joined."""
        start, held = 0, bytearray()
        sums = self.checksums(crcs)
        for placed, member, crc in zip(self._placed, self.members, sums, strict=True):
            held += _local(placed, crc, self.style) + member.head
            if member.nbytes:
                yield start, bytes(held)
                start, held = placed.data + placed.size, bytearray()
            held += _descriptor(placed, crc, self.style)
        yield start, bytes(held) + b"".join(self._ending(sums))

    def _ending(self, crcs: Sequence[int]) -> Iterator[bytes]:
        """The directory, record by record, and the end records."""
        nbytes = 0
        for placed, crc in zip(self._placed, crcs, strict=True):
            record = _record(placed, crc, self.style)
            nbytes += len(record)
            yield record
        yield _end(len(self._placed), nbytes, self._directory, self.style)


def _place(member: Member, at: int, style: Style) -> _Placed:
    name = member.name.encode()
    if len(name) > FULL_COUNT:
        raise PlanError(f"a name of {len(name)} bytes, but a zip archive allows {FULL_COUNT}")
    size = len(member.head) + member.nbytes
    flags = UTF8 if style.streamed or not name.isascii() else 0
    if style.streamed and size:
        flags |= STREAMED
    placed = _Placed(name, flags, size, at, b"")
    extra = _local_zip64(placed, style)
    if style.alignment > 1:
        start = placed.data + len(extra) + 4
        padding = -start % style.alignment
        extra += b"FB" + pack("<H", padding) + b"Z" * padding
    return placed._replace(extra=extra)


# Records


def _local_zip64(placed: _Placed, style: Style) -> bytes:
    if style.streamed:  # the stored size comes behind the member, even here
        return _zip64(placed, stored=0)
    return pack("<HHQQ", 1, 16, placed.size, placed.size) if placed.size >= FULL else b""


def _zip64(placed: _Placed, stored: int) -> bytes:
    """The size, the size as stored, and the offset, where they are too large for their fields."""
    sizes = (placed.size, stored) if placed.size >= FULL else ()
    values = (*sizes, placed.header) if placed.header >= FULL else sizes
    return pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def _needed(placed: _Placed, style: Style) -> int:
    return max(style.needed, ZIP64_NEEDED) if style.needed and placed.is_zip64 else style.needed


def _local(placed: _Placed, crc: int, style: Style) -> bytes:
    size = 0 if style.streamed else min(placed.size, FULL)
    header = pack(
        "<4sHHHHHIIIHH",
        b"PK\x03\x04",
        _needed(placed, style),
        placed.flags,
        0,
        0,
        style.date,
        0 if style.streamed else crc,
        size,
        size,
        len(placed.name),
        len(placed.extra),
    )
    return header + placed.name + placed.extra


def _descriptor(placed: _Placed, crc: int, style: Style) -> bytes:
    if not placed.flags & STREAMED:
        return b""
    form = "<4sIQQ" if placed.is_zip64 else "<4sIII"
    return pack(form, b"PK\x07\x08", crc, placed.size, placed.size)


def _record(placed: _Placed, crc: int, style: Style) -> bytes:
    extra = _zip64(placed, placed.size)
    size = min(placed.size, FULL)
    needed = _needed(placed, style)
    record = pack(
        "<4sHHHHHHIIIHHHHHII",
        b"PK\x01\x02",
        needed,
        needed,
        placed.flags,
        0,
        0,
        style.date,
        crc,
        size,
        size,
        len(placed.name),
        len(extra),
        0,
        0,
        0,
        0,
        min(placed.header, FULL),
    )
    return record + placed.name + extra


def _end(count: int, nbytes: int, directory: int, style: Style) -> bytes:
    short = (min(count, FULL_COUNT), min(nbytes, FULL), min(directory, FULL))
    end = pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, short[0], *short, 0)
    if not style.streamed and count < FULL_COUNT and max(nbytes, directory) < FULL:
        return end
    made_by = 3 << 8 | 30  # as miniz says: version 3.0, Unix
    long = pack(
        "<4sQHHIIQQQQ",
        b"PK\x06\x06",
        44,
        made_by,
        ZIP64_NEEDED,
        0,
        0,
        count,
        count,
        nbytes,
        directory,
    )
    return long + pack("<4sIQI", b"PK\x06\x07", 0, directory + nbytes, 1) + end


# CRC-32 of joined bytes


def combined(first: int, second: int, nbytes: int) -> int:
    """The CRC-32 of two byte strings joined, from those of each; the second has ``nbytes``.

    A CRC is a remainder of polynomials over GF(2): appending n zero bytes multiplies it by x^8n.
    Source: ``crc32_combine`` of zlib 1.3.
    """
    return _product(_power(nbytes), first) ^ second if first else second


_POLYNOMIAL = 0xEDB88320  # bits reversed: the highest is x^0
_ONE = 1 << 31


def _product(a: int, b: int) -> int:
    """a times b modulo the polynomial."""
    found = 0
    while a:
        if a & _ONE:
            found ^= b
        a = a << 1 & FULL
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return found


@lru_cache(maxsize=4096)
def _power(nbytes: int) -> int:
    """x^(8 nbytes) modulo the polynomial."""
    found = _ONE
    for bit in range(nbytes.bit_length()):
        if nbytes >> bit & 1:
            found = _product(_square(bit), found)
    return found


@lru_cache
def _square(times: int) -> int:
    """x^8, squared so many times, modulo the polynomial."""
    if not times:
        return _ONE >> 8
    return _product(_square(times - 1), _square(times - 1))
