"""Where a zip's central directory is, as two readers find it.

    ... members ... | directory | zip64 end record | zip64 locator | end record | comment |

All of it is found from the end of the file. torch reads zips with miniz (``mz_zip_reader_init`` of
miniz 3.0.2), Python with ``zipfile``; they differ in which end record they take, in whether offsets
count from the file's start or from where the archive seems to start, and in where the zip64 record
is. Each function below follows one of them and returns an :class:`End`, or the reason why that
reader refuses the file. Layout: PKWARE APPNOTE 6.3, sections 4.3.14 to 4.3.16.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from weightkit.source import Reader

SIGNATURE = b"PK\x05\x06"
RECORD = Struct("<4sHHHHIIH")
"""Signature, this disk, disk of the directory, entries here, entries, size, offset, comment."""
LOCATOR = Struct("<4sIQI")
"""Signature, disk of the record, its offset, number of disks."""
RECORD64 = Struct("<4sQHHIIQQQQ")
"""Signature, size, made by, needed, this disk, directory's disk, here, entries, size, offset."""

# How far back each reader looks: zipfile 64 KiB and the record; miniz in blocks of 4096 that
# overlap by 3, the last of which begins beyond 64 KiB.
ZIPFILE_REACH = (1 << 16) + RECORD.size
MINIZ_REACH = 4096 + 16 * 4093
_RECORD64_AND_LOCATOR = RECORD64.size + LOCATOR.size


class End(NamedTuple):
    """One reader's idea of the end records. Offsets are in the file."""

    record: int
    """Of the end record."""
    directory: int
    """Where the reader starts on the central directory ..."""
    nbytes: int
    """... its length ..."""
    entries: int
    """... and how many entries are announced (zipfile does not look at that)."""
    prefix: int
    """What the reader adds to every header offset."""
    record64: int
    """Offset of the zip64 end record, -1 where none is used."""
    comment: int
    """Length of the comment, as announced."""


class Tail:
    """The last bytes of a file, addressed by file offset."""

    def __init__(self, source: Reader) -> None:
        self.source = source
        self.size = source.size
        self.start = max(0, source.size - MINIZ_REACH)
        self._bytes = source.peek(self.start, MINIZ_REACH)

    def find(self, reach: int, record_size: int = 0) -> int:
        """Offset of the last end signature within ``reach`` of the end that has ``record_size``
        bytes left, or -1."""
        first = max(0, len(self._bytes) - reach)
        last = len(self._bytes)
        if record_size:
            last = max(0, last - record_size + len(SIGNATURE))
        at = self._bytes.rfind(SIGNATURE, first, last)
        return at + self.start if at >= 0 else -1

    def positions(self) -> list[int]:
        """Offsets of all end signatures that have room for a record (the last 1,000)."""
        found: list[int] = []
        last = max(0, len(self._bytes) - RECORD.size + len(SIGNATURE))
        at = self._bytes.rfind(SIGNATURE, 0, last)
        while at >= 0 and len(found) < 1000:
            found.append(at + self.start)
            at = self._bytes.rfind(SIGNATURE, 0, at + len(SIGNATURE) - 1)
        return found

    def unpack(self, form: Struct, offset: int) -> tuple[Any, ...] | None:
        """The numbers of ``form`` at a file offset; None where the file has no such bytes."""
        if not 0 <= offset <= self.size - form.size:
            return None
        if offset >= self.start:
            return form.unpack_from(self._bytes, offset - self.start)
        return form.unpack(self.source.pread(offset, form.size))


def miniz_end(tail: Tail) -> End | str:
    """The end records as torch's reader finds them, or why it refuses."""
    at = tail.find(MINIZ_REACH, RECORD.size)
    if at < 0:
        return "no end record"
    record = tail.unpack(RECORD, at)
    assert record is not None
    _, disk, directory_disk, here, entries, nbytes, offset, comment = record
    record64 = -1
    if at >= _RECORD64_AND_LOCATOR:
        locator = tail.unpack(LOCATOR, at - LOCATOR.size)
        if locator is not None and locator[0] == b"PK\x06\x07":
            record64 = int(locator[2])
            fields = tail.unpack(RECORD64, record64)
            if fields is None:
                return f"the zip64 end record would be at {record64}, outside the file"
            if fields[0] != b"PK\x06\x06":
                record64 = -1
            else:
                if int(fields[1]) < RECORD64.size - 12 or locator[3] != 1:
                    return "the zip64 end record is too short or names other disks"
                disk, directory_disk, here, entries, nbytes, offset = fields[4:]
    return _checked_miniz_end(
        End(at, int(offset), int(nbytes), int(entries), 0, record64, int(comment)),
        (int(disk), int(directory_disk)),
        int(here),
        tail.size,
    )


def _checked_miniz_end(end: End, disks: tuple[int, int], here: int, size: int) -> End | str:
    if end.entries != here or disks not in {(0, 0), (1, 1)}:
        return "the end record says that the archive spans several disks"
    if end.nbytes < end.entries * 46:
        return f"{end.entries} entries do not fit a directory of {end.nbytes} bytes"
    if end.directory + end.nbytes > size or max(end.entries, end.nbytes) >= 1 << 32:
        return f"a directory of {end.nbytes} bytes at {end.directory} passes the end of the file"
    return end


def zipfile_end(tail: Tail) -> End | str:
    """The end records as Python's zipfile finds them, or why it refuses."""
    at = _zipfile_record(tail)
    record = tail.unpack(RECORD, at) if at >= 0 else None
    if record is None:
        return "no end record"
    *_, entries, nbytes, offset, comment = record
    record64 = -1
    locator = tail.unpack(LOCATOR, at - LOCATOR.size)
    if locator is not None and locator[0] == b"PK\x06\x07":
        if locator[1] != 0 or int(locator[3]) > 1:
            return "the zip64 locator says that the archive spans several disks"
        fields = tail.unpack(RECORD64, at - _RECORD64_AND_LOCATOR)
        if fields is not None and fields[0] == b"PK\x06\x06":
            record64 = at - _RECORD64_AND_LOCATOR
            entries, nbytes, offset = fields[7:]
    # zipfile takes the directory to end where the end records begin, and what that shifts it by
    # for bytes that were put before the archive.
    directory = (record64 if record64 >= 0 else at) - int(nbytes)
    if directory < 0:
        return f"a directory of {nbytes} bytes does not fit before the end record"
    prefix = directory - int(offset)
    return End(at, directory, int(nbytes), int(entries), prefix, record64, int(comment))


def _zipfile_record(tail: Tail) -> int:
    last = tail.size - RECORD.size
    record = tail.unpack(RECORD, last)
    if record is not None and record[0] == SIGNATURE and record[-1] == 0:
        return last
    return tail.find(ZIPFILE_REACH)
