"""A zip's central directory, record by record, and why either reader would refuse it."""

from __future__ import annotations

from struct import Struct

from weightkit.archives.ends import End
from weightkit.archives.layout import ZIP64, Row
from weightkit.rules import Faults
from weightkit.source import Reader

RECORD = Struct("<4s2xHHHH2xIIIHHHH2xII")
"""Signature, version needed, flags, method, time, CRC, stored size, size, lengths of name, extra field
and comment, disk, external attributes, offset of the local header."""
SIGNATURE = b"PK\x01\x02"
MAX_MEMBERS = 150_000
MAX_NBYTES = 64 << 20
_FIELD = Struct("<HH")

ENCRYPTED, PATCHED, STRONG, UTF8, MASKED = 0x1, 0x20, 0x40, 0x800, 0x2000
REFUSED = ENCRYPTED | PATCHED | STRONG | MASKED
DOS_DIRECTORY = 0x10
UNICODE_PATH = 0x7075
NEWEST = 63
"""Version that zipfile reads: 6.3."""


class Directory:
    """The records between ``end.directory`` and its end, and what is wrong with them."""

    def __init__(self, source: Reader, end: End, faults: Faults) -> None:
        self.source = source
        self.end = end
        self.faults = faults
        self.rows: list[Row] = []
        self.refused: dict[str, str] = {}
        """The first reason for which ``miniz`` or ``zipfile`` refuses the whole archive."""
        self._read()

    def _read(self) -> None:
        end, size, prefix = self.end, self.source.size, self.end.prefix
        if end.nbytes > MAX_NBYTES:
            message = f"a directory of {end.nbytes} bytes"
            raise self.source.error("WK002", message, end.directory)
        directory = self.source.peek(end.directory, end.nbytes)
        unpack, append, new = RECORD.unpack_from, self.rows.append, tuple.__new__
        at, last = 0, len(directory) - RECORD.size
        while at <= last:
            (
                signature, needed, flags, method, time, crc, csize, nbytes, name_length, extra_length,
                comment_length, disk, attributes, header,
            ) = unpack(directory, at)  # fmt: skip
            if signature != SIGNATURE:
                break
            stop = at + RECORD.size + name_length
            raw = directory[at + RECORD.size : stop]
            offset = at + end.directory
            if raw.isascii() and 0 not in raw:
                name = raw.decode("ascii")
            else:
                name = self._decode(raw, flags, offset)
            header += prefix
            fields = (name, raw, flags, method, crc, csize, nbytes, header, offset, attributes)
            row = new(Row, fields)
            if extra_length:
                row = self._extra(row, directory[stop : stop + extra_length])
                csize, nbytes, header = row.csize, row.size, row.header
            if (
                (csize != nbytes and not (method and csize))
                or flags & REFUSED
                or disk
                or attributes & DOS_DIRECTORY
                or needed & 0xFF > NEWEST
                or header + 30 + csize > size
            ):
                self._odd(row, needed & 0xFF, time, disk)
            append(row)
            if len(self.rows) > MAX_MEMBERS:
                raise self.source.error("WK002", f"more than {MAX_MEMBERS} members", offset)
            at = stop + extra_length + comment_length
        self._finish(at)

    def _finish(self, at: int) -> None:
        place = f"no record at {self.end.directory + at}"
        if at < self.end.nbytes:
            self._refuse("zipfile", f"{place}, within the directory")
        if len(self.rows) < self.end.entries or at > self.end.nbytes:
            self._refuse("miniz", f"{place}, after {len(self.rows)} of {self.end.entries}")

    def _refuse(self, reader: str, reason: str, index: int | None = None) -> None:
        """Keep the first reason of a reader; miniz reads only the announced number of records."""
        if reader == "miniz" and index is not None and index >= self.end.entries:
            return
        self.refused.setdefault(reader, reason)

    def _decode(self, raw: bytes, flags: int, offset: int) -> str:
        """A name as zipfile spells it."""
        try:
            name = raw.decode("utf-8" if flags & UTF8 else "cp437")
        except UnicodeDecodeError:
            self._refuse("zipfile", f"the name at {offset} is flagged as UTF-8 and is not")
            name = raw.decode("utf-8", "backslashreplace")
        return name.partition("\0")[0]

    def _extra(self, row: Row, extra: bytes) -> Row:
        """Apply the zip64 field of a record, and look at the name in a Unicode path field."""
        wanting = ZIP64 in (row.csize, row.size, row.header - self.end.prefix)
        at, seen = 0, False
        while at + 4 <= len(extra):
            kind, length = _FIELD.unpack_from(extra, at)
            if at + 4 + length > len(extra):
                break
            field = extra[at + 4 : at + 4 + length]
            if kind == 1 and wanting and not seen:
                row, seen = self._zip64(row, field, extra[at + 4 :]), True
            elif kind == 1 and wanting:
                message = f"{row.name!r} has two zip64 fields: readers may take either"
                self.faults.add("WK403", message, row.record, subject=row.name)
            elif kind == UNICODE_PATH:
                self._unicode_path(row, field)
            at += 4 + length
        if at < len(extra):
            self._cut_extra(row, len(extra) - at, wanting and not seen)
        return row

    def _cut_extra(self, row: Row, rest: int, wanting: bool) -> None:
        reason = f"the extra field of {row.name!r} does not end where it should"
        if rest >= 4:
            self._refuse("zipfile", reason)
        if wanting:
            self._refuse("miniz", reason, len(self.rows))

    def _zip64(self, row: Row, field: bytes, rest: bytes) -> Row:
        """``row`` with the sizes of a zip64 field; ``rest`` is the extra field from there on."""
        taken = self._take(row, field)
        if taken is not None:
            return taken
        self._refuse("zipfile", f"the zip64 field of {row.name!r} is too short")
        message = f"{row.name!r}: torch cannot read it, its zip64 field is too short"
        self.faults.add("WK403", message, row.record, subject=row.name)
        # miniz looks at the length of the field only when the member is read.
        beyond = self._take(row, rest + bytes(24))
        if beyond is not None and len(rest) >= 16:
            self._sizes(beyond)
        return row

    def _take(self, row: Row, field: bytes) -> Row | None:
        values: list[int] = []
        for value in (row.size, row.csize, row.header - self.end.prefix):
            if value == ZIP64:
                if len(field) < 8:
                    return None
                value, field = int.from_bytes(field[:8], "little"), field[8:]
            values.append(value)
        return row._replace(size=values[0], csize=values[1], header=values[2] + self.end.prefix)

    def _unicode_path(self, row: Row, field: bytes) -> None:
        """Info-ZIP's second name, which newer Pythons put in the place of the first."""
        # Where the first name is not ASCII the second is what it was made for.
        if field[:1] == b"\x01" and row.raw_name.isascii() and field[5:] != row.raw_name:
            other = field[5:205].decode("utf-8", "backslashreplace")
            message = f"{row.name!r} is also named {other!r}, which some readers take"
            self.faults.add("WK403", message, row.record, subject=row.name)

    def _odd(self, row: Row, needed: int, time: int, disk: int) -> None:
        """What a reader refuses the archive for, or reads otherwise than the other."""
        index = len(self.rows)
        if needed > NEWEST:
            self._refuse("zipfile", f"{row.name!r} needs zip version {needed / 10}")
        if disk not in {0, 1}:
            self._refuse("miniz", f"{row.name!r} is on disk {disk}", index)
        if row.flags & MASKED:
            self._refuse("miniz", f"{row.name!r} says that headers are masked", index)
        self._sizes(row, timed=time != 0)
        if row.method == 0 and row.csize != row.size and not row.flags & ENCRYPTED:
            message = f"{row.name!r} is stored, but {row.csize} bytes are said to hold {row.size}"
            self.faults.add("WK403", message, row.record, subject=row.name)
        if row.attributes & DOS_DIRECTORY and row.csize and not row.raw_name.endswith(b"/"):
            message = f"{row.name!r} is a folder to torch and a file of {row.size} bytes to zipfile"
            self.faults.add("WK403", message, row.record, subject=row.name)
        if row.flags & (ENCRYPTED | STRONG | PATCHED):
            message = f"{row.name!r} is flagged 0x{row.flags:x}, as encrypted or as a patch"
            self.faults.add("WK414", message, row.record, subject=row.name)

    def _sizes(self, row: Row, *, timed: bool = True) -> None:
        """Sizes for which torch's reader refuses the archive."""
        index = len(self.rows)
        if ZIP64 not in (row.csize, row.size) and (
            (row.size and not row.csize)
            # miniz means to look at the method, and reads the time along with it.
            or (row.method == 0 and not timed and row.size != row.csize)
        ):
            self._refuse("miniz", f"{row.name!r} has {row.size} bytes in {row.csize}", index)
        if row.csize != ZIP64 and row.header + 30 + row.csize > self.source.size:
            self._refuse("miniz", f"the bytes of {row.name!r} pass the end of the file", index)
