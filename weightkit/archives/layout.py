"""Local headers against the directory, and the bytes between members.

Members are visited in the order of their place in the file: one read for many headers where they
lie close together, a small one each where gigabytes lie between.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

from weightkit.rules import Faults
from weightkit.source import Reader

HEADER = Struct("<4s2xHH4xIIIHH")
"""Signature, flags, method, CRC, stored size, size, lengths of name and extra field."""
LOCAL = b"PK\x03\x04"
# After the bytes of a member that was written as a stream: signature, CRC, stored size, size.
DESCRIPTOR, DESCRIPTOR64, DESCRIBED = Struct("<4sIII"), Struct("<4sIQQ"), b"PK\x07\x08"

STREAMED, ZIP64 = 0x8, 0xFFFFFFFF
TELLING = 0x1 | 0x20 | 0x40 | 0x800 | 0x2000
"""Flags that change how a member is read: encryption, patches, UTF-8, masked headers."""

NEAR = 8192
WINDOW = 1 << 19
SEARCHED = 16 << 20
"""Bytes between members that are searched for headers, over the whole archive."""


class Row(NamedTuple):
    """A member as its record in the directory describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    csize: int
    size: int
    header: int
    record: int
    attributes: int


class Hidden(NamedTuple):
    """A local header that no record names."""

    row: Row
    data: int


class Layout:
    """One walk over the members of an archive."""

    def __init__(self, source: Reader, faults: Faults) -> None:
        self.source = source
        self.faults = faults
        self.hidden: list[Hidden] = []
        self._searched = SEARCHED

    def resolve(self, rows: Sequence[Row], limit: int, *, gaps: bool = True) -> list[int | None]:
        """Where each member's bytes begin, None where it has no local header.

        ``limit`` is where the directory starts. What a local header says otherwise than the
        directory is noted, and so is a member that the file is too short for (WK001), and with
        ``gaps`` bytes that belong to no member.
        """
        found: list[int | None] = [None] * len(rows)
        order = sorted(range(len(rows)), key=[row.header for row in rows].__getitem__)
        span = rows[order[-1]].header - rows[order[0]].header if rows else 0
        step = WINDOW if span < NEAR * len(rows) else 512
        unpack, describe = HEADER.unpack_from, DESCRIPTOR.pack
        size_of_file = self.source.size
        window, start, end, after = b"", 0, 0, b""
        previous: Row | None = None
        for index in order:
            row = rows[index]
            _, raw, flags, method, crc, csize, size, header, _, _ = row
            at = header - start
            if at + 30 + len(raw) > len(window) or at < 0:
                start = end if 0 <= header - end < NEAR else max(0, header)
                at = header - start
                window = self.source.peek(start, max(step, at + 30 + len(raw)))
            if at < 0 or at + 30 > len(window) or window[at : at + 4] != LOCAL:
                self._missing(row)
                continue
            local = unpack(window, at)
            _, local_flags, local_method, local_crc, stored, inflated, length, extra = local
            stop = at + 30 + length
            found[index] = data = start + stop + extra
            if (
                window[at + 30 : stop] != raw
                or local_method != method
                or (local_flags ^ flags) & TELLING
                or (
                    not (flags & STREAMED and local_crc == stored == inflated == 0)
                    and not (local_crc == crc and stored == csize and inflated == size)
                )
            ):
                self._compare(row, local)
            if (
                gaps
                and header != end
                and not (after and end >= start and window[end - start : at] == after)
            ):
                self._between(previous, row, end, header)
            data += csize
            if data > size_of_file:
                self._cut(row, data - csize)
            if data > end or not gaps:
                end = data
            after = b""
            if flags & STREAMED and csize < ZIP64 and size < ZIP64:
                after = describe(DESCRIBED, crc, csize, size)
            previous = row
        if gaps and end != limit and not (after and self._is(end, limit, after)):
            self._between(previous, None, end, limit)
        return found

    def _is(self, start: int, stop: int, expected: bytes) -> bool:
        return stop - start == len(expected) and self.source.peek(start, stop - start) == expected

    def _missing(self, row: Row) -> None:
        message = f"{row.name!r}: no local header at {row.header}, where the directory puts it"
        self.faults.add("WK408", message, row.record, subject=row.name)

    def _cut(self, row: Row, data: int) -> None:
        left = max(0, self.source.size - data)
        message = f"{row.name!r}: {row.csize} bytes announced, but {left} remain"
        place = min(data, self.source.size)
        self.faults.add("WK001", message, place, subject=row.name)

    def _compare(self, row: Row, local: tuple[Any, ...]) -> None:
        """Say what the local header has otherwise than the directory, if it has."""
        _, flags, method, crc, csize, size, name_length, extra_length = local
        at = row.header + 30
        name = self.source.peek(at, int(name_length))
        differences = []
        if name != row.raw_name:
            differences.append(f"name {_shown(name)} for {_shown(row.raw_name)}")
        if method != row.method:
            differences.append(f"method {method} for {row.method}")
        if (int(flags) ^ row.flags) & TELLING:
            differences.append(f"flags 0x{int(flags):x} for 0x{row.flags:x}")
        if ZIP64 in (csize, size):
            extra = self.source.peek(at + len(name), int(extra_length))
            csize, size = _zip64_sizes(extra, int(csize), int(size))
        streamed = int(flags) & STREAMED
        for what, here, there in [
            ("CRC", crc, row.crc),
            ("stored size", csize, row.csize),
            ("size", size, row.size),
        ]:
            if here != there and not (streamed and here == 0):
                differences.append(f"{what} {here} for {there}")
        if differences:
            message = (
                f"{row.name!r}: its local header says {', '.join(differences)} of the directory"
            )
            self.faults.add("WK407", message, row.header, subject=row.name)

    def _between(self, previous: Row | None, row: Row | None, start: int, stop: int) -> None:
        """Account for the bytes from the end of one member to the header of the next."""
        entry = row.name if row else ""
        if start > stop:
            before = previous.name if previous else ""
            what = repr(row.name) if row else "the directory"
            message = f"{what} starts {start - stop} bytes before {_shown(before)} ends"
            self.faults.add("WK410", message, stop, subject=entry)
            return
        if previous and previous.flags & STREAMED:
            start += self._descriptor(previous, start, stop)
        if start == stop:
            return
        if previous is None:
            message = f"{stop} bytes stand before the first member"
            self.faults.add("WK412", message, 0)
        hidden = self._search(start, stop)
        if previous is not None and not hidden:
            message = f"{stop - start} bytes belong to no member"
            self.faults.add("WK411", message, start)

    def _descriptor(self, row: Row, start: int, stop: int) -> int:
        """The length of the data descriptor at ``start``, 0 if there is none."""
        there = self.source.peek(start, min(stop - start, DESCRIPTOR64.size))
        values = (row.crc, row.csize, row.size)
        longs = DESCRIPTOR64.pack(DESCRIBED, *values)
        shorts = DESCRIPTOR.pack(DESCRIBED, *(value & ZIP64 for value in values))
        for form in (longs, shorts, longs[4:], shorts[4:]):
            if there.startswith(form):
                return len(form)
        if there.startswith(DESCRIBED):
            message = f"{row.name!r}: its data descriptor contradicts the directory"
            self.faults.add("WK407", message, start, subject=row.name)
            return min(stop - start, 24 if stop - start == 24 else 16)
        return 0

    def _search(self, start: int, stop: int) -> bool:
        """Look for local headers in a gap; whether there are any."""
        length = min(stop - start, self._searched)
        self._searched -= length
        there = self.source.peek(start, length)
        at = there.find(LOCAL)
        before = len(self.hidden)
        while at >= 0 and len(self.hidden) < 1000:
            self._hide(there, at, start, stop)
            at = there.find(LOCAL, at + 4)
        return len(self.hidden) > before

    def _hide(self, there: bytes, at: int, start: int, stop: int) -> None:
        if at + HEADER.size > len(there):
            return
        _, flags, method, crc, csize, size, name_length, extra_length = HEADER.unpack_from(
            there, at
        )
        data = start + at + HEADER.size + name_length + extra_length
        if data > stop or not name_length:
            return  # four bytes of something else
        raw = there[at + HEADER.size : at + HEADER.size + name_length]
        name = raw.decode("utf-8", "backslashreplace")
        if csize == 0 or data + csize > stop:
            csize = stop - data
        row = Row(name, raw, flags, method, crc, csize, size or csize, start + at, -1, 0)
        self.hidden.append(Hidden(row, data))
        message = f"a local header for {_shown(raw)} that the directory does not list"
        self.faults.add("WK409", message, start + at, subject=name)


def _zip64_sizes(extra: bytes, csize: int, size: int) -> tuple[int, int]:
    """The 64-bit sizes of a local extra field, where the 32-bit ones point to it."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = (
            int.from_bytes(extra[at : at + 2], "little"),
            extra[at + 2] | extra[at + 3] << 8,
        )
        if kind == 1:
            values = extra[at + 4 : at + 4 + length]
            if size == ZIP64:
                size, values = int.from_bytes(values[:8], "little"), values[8:]
            if csize == ZIP64:
                csize = int.from_bytes(values[:8], "little")
            break
        at += 4 + length
    return csize, size


def _shown(name: bytes | str) -> str:
    if isinstance(name, bytes):
        name = name.decode("utf-8", "backslashreplace")
    return repr(name[:200])
