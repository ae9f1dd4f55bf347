"""Zip archives field by field, right or wrong in any way."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One member; ``local`` overrides what its local header says, ``listed`` puts it in the directory."""

    name: bytes
    content: bytes = b""
    method: int = 0
    flags: int = 0
    crc: int | None = None
    csize: int | None = None
    size: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    attributes: int = 0
    needed: int = 20
    disk: int = 0
    offset: int | None = None
    listed: bool = True
    packed: bytes | None = None
    """The bytes as stored, where they are not ``content`` as the method has it."""
    after: bytes = b""
    """Bytes between this member's content and the next header."""
    local: dict[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            return packer.compress(self.content) + packer.flush()
        return self.content

    def numbers(self) -> tuple[int, int, int, int, int]:
        """Flags, method, CRC, stored size, size."""
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        csize = len(self.stored) if self.csize is None else self.csize
        size = len(self.content) if self.size is None else self.size
        return self.flags, self.method, crc, csize, size

    def header(self) -> bytes:
        here = replace(self, **self.local)
        lengths = len(here.name), len(here.local_extra)
        numbers = struct.pack(
            "<HHHHIIIHH", *here.numbers()[:2], 0, 33, *here.numbers()[2:], *lengths
        )
        return b"PK\x03\x04\x14\x00" + numbers + here.name + here.local_extra

    def record(self, offset: int) -> bytes:
        flags, method, *sizes = self.numbers()
        lengths = len(self.name), len(self.extra), len(self.comment)
        offset = offset if self.offset is None else self.offset
        return (
            struct.pack("<4sHHHHHH", b"PK\x01\x02", 20, self.needed, flags, method, 0, 33)
            + struct.pack("<IIIHHHHH", *sizes, *lengths, self.disk, 0)
            + struct.pack("<II", self.attributes, offset)
            + self.name
            + self.extra
            + self.comment
        )


def end_record(
    entries: int, nbytes: int, offset: int, comment: bytes = b"", length: int | None = None
) -> bytes:
    length = len(comment) if length is None else length
    numbers = (0, 0, min(entries, 0xFFFF), min(entries, 0xFFFF))
    return struct.pack("<4s4H2IH", b"PK\x05\x06", *numbers, nbytes, offset, length) + comment


def end64(entries: int, nbytes: int, offset: int, at: int) -> bytes:
    """The zip64 end record, which stands at ``at``, and its locator."""
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, nbytes, offset
    )
    return record + struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)


def members(entries: list[Entry], start: int = 0) -> tuple[bytes, bytes, int]:
    """Local part, directory, and number of records of an archive whose bytes begin at ``start``."""
    body, directory, count = b"", b"", 0
    for entry in entries:
        if entry.listed:
            directory += entry.record(start + len(body))
            count += 1
        body += entry.header() + entry.stored + entry.after
    return body, directory, count


def archive(
    entries: list[Entry],
    *,
    prefix: bytes = b"",
    adjusted: bool = True,
    comment: bytes = b"",
    zip64: bool = False,
    count: int | None = None,
    before_end: bytes = b"",
    trailing: bytes = b"",
) -> bytes:
    """A whole archive. ``adjusted``: offsets count from the file's start, prefix included."""
    start = len(prefix) if adjusted else 0
    body, directory, listed = members(entries, start)
    count = listed if count is None else count
    offset = start + len(body)
    whole = prefix + body + directory + before_end
    if zip64:
        whole += end64(count, len(directory), offset, len(whole))
    return whole + end_record(count, len(directory), offset, comment) + trailing
