"""Zip archives, read by two rule books at once: torch's (miniz) and Python's (zipfile).

A file that shows two readers different members is how a payload gets past a scanner, so both
readings are made, where they differ is said, and every member of either can be read. The parser is
our own: zipfile makes an object of a dozen attributes per member and follows one rule book only.

    local header | name | extra | bytes | (descriptor)     per member; the extra field's length
    ...                                                    differs from the directory's, so only
    central directory: one record per member               the local header says where bytes begin
    end records
"""

from __future__ import annotations

from functools import cached_property
from itertools import repeat
from typing import NamedTuple
from zlib import crc32

from weightkit.archives.budget import Budget
from weightkit.archives.directory import ENCRYPTED, SIGNATURE, STRONG, Directory
from weightkit.archives.ends import End, Tail, miniz_end, zipfile_end
from weightkit.archives.heap import miniz_choices
from weightkit.archives.inflating import METHODS, BrokenStream, inflate, pieces
from weightkit.archives.layout import Layout
from weightkit.archives.oddities import check_members, check_tail
from weightkit.collecting import paused_collection
from weightkit.errors import FormatError, UnsupportedError, WeightkitError
from weightkit.rules import Faults
from weightkit.source import Buffer, Reader, Window
from weightkit.tensors import DEFLATE, NESTED, RAW, Extent


class ZipMember(NamedTuple):
    """One record of the central directory, or a local header that no record names."""

    name: str
    """As zipfile spells it: UTF-8 or code page 437, cut at a NUL."""
    raw_name: bytes
    flags: int
    method: int
    crc: int
    csize: int
    """Bytes as stored."""
    size: int
    """Bytes once decompressed, as announced."""
    header_offset: int
    record_offset: int
    """Of its record in the directory; -1 for a hidden member."""
    attributes: int
    data_offset: int | None
    """Where its stored bytes begin, by the local header; None where there is no such header."""

    @property
    def flagged(self) -> bool:
        """Whether a flag says that the bytes are encrypted, which need not be true."""
        return bool(self.flags & (ENCRYPTED | STRONG))

    @property
    def place(self) -> int:
        """Where to say that it is: at its record, if its header would lie before the file."""
        return self.header_offset if self.header_offset >= 0 else self.record_offset

    @property
    def is_directory(self) -> bool:
        """By its name, as both readers take it."""
        return self.raw_name.endswith(b"/")

    @property
    def is_hidden(self) -> bool:
        """Whether the directory does not list it."""
        return self.record_offset < 0


class View(NamedTuple):
    """What one reader makes of the archive."""

    refused: str
    """Why it does not open the archive at all; "" when it does."""
    members: tuple[ZipMember, ...]


class Zip:
    """A zip archive: its members and their bytes. Made by :func:`read_zip`."""

    def __init__(self, source: Reader, faults: Faults, miniz: View, zipfile: View) -> None:
        self.source = source
        self.faults = faults
        self.miniz = miniz
        """As torch reads it."""
        self.zipfile = zipfile
        """As Python's zipfile reads it."""
        self.hidden: tuple[ZipMember, ...] = ()
        """Members that have a local header, but no record in the directory."""

    @cached_property
    def members(self) -> tuple[ZipMember, ...]:
        """Every member that either reader sees, in directory order."""
        if self.miniz.members is self.zipfile.members:
            return self.miniz.members
        return tuple(dict.fromkeys((*self.miniz.members, *self.zipfile.members)))

    @property
    def root(self) -> str:
        """The folder of the first member, under which torch looks for all its records."""
        return self.members[0].name.partition("/")[0] if self.members else ""

    @cached_property
    def _by_miniz(self) -> dict[bytes, ZipMember]:
        folded = {member.raw_name.lower(): member for member in self.miniz.members}
        if len(folded) < len(self.miniz.members):
            names = [member.raw_name.lower() for member in self.miniz.members]
            for name, index in miniz_choices(names).items():
                folded[name] = self.miniz.members[index]
        return folded

    @cached_property
    def _by_zipfile(self) -> dict[str, ZipMember]:
        return {member.name: member for member in self.zipfile.members}

    def by_miniz(self, name: str) -> ZipMember | None:
        """The member that torch takes for ``name``: ASCII case does not matter to it."""
        return self._by_miniz.get(name.encode("utf-8", "surrogateescape").lower())

    def by_zipfile(self, name: str) -> ZipMember | None:
        """The member that zipfile takes for ``name``: the last of equal ones."""
        return self._by_zipfile.get(name)

    def find(self, name: str) -> ZipMember | None:
        """torch's member for ``name``, else zipfile's."""
        return self.by_miniz(name) or self.by_zipfile(name)

    def candidates(self, name: str) -> list[ZipMember]:
        """Every member, hidden ones too, that some reader might take for ``name``."""
        folded = name.lower()
        return [m for m in (*self.members, *self.hidden) if m.name.lower() == folded]

    def unreadable(self, member: ZipMember) -> str:
        """Why the bytes of ``member`` cannot be had; "" when they can."""
        if member.data_offset is None:
            return "it has no local header"
        if member.method not in METHODS:
            return f"compression method {member.method} is not read"
        return ""

    def extent(self, member: ZipMember, offset: int, nbytes: int) -> Extent:
        """Where a range of a member's (decompressed) bytes lies in the file on disk."""
        begin = self._begin(member)
        if member.method == 0:
            return self.source.extent(begin + offset, nbytes)
        origin = self.source.extent(begin, member.csize)
        if member.method == 8 and origin.encoding == RAW:
            return Extent(origin.file, origin.offset, nbytes, DEFLATE, offset, origin.nbytes)
        return Extent(origin.file, 0, nbytes, NESTED, offset)

    def reader(self, member: ZipMember, budget: Budget) -> Reader:
        """The bytes of ``member``, inflated into memory where they are compressed.

        Bytes that are cut off, a stream that is broken or not of the length or CRC announced
        (WK419, WK420), one that passes the budget (WK002): each gives what there is, and a fault
        (of what is cut off read_zip said so, WK001). Raises FormatError WK408 without a local header, and UnsupportedError WK415 for a
        compression method that is not read.
        """
        window = self._stored(member)
        if member.method == 0:
            return window
        result = inflate(window, member.method, member.size, budget)
        for code, message, offset in result.problems:
            self._fault(code, message, member, window.start + offset)
        if not result.problems:
            self._matches(crc32(result.content), member)
        origin = self.source.extent(window.start, member.csize) if member.method == 8 else None
        return Buffer(result.content, window.path, window.entry, origin)

    def head(self, member: ZipMember, nbytes: int) -> bytes:
        """The first ``nbytes`` bytes of a member, or as many as it has; raises as ``reader``."""
        window = self._stored(member)
        if member.method == 0:
            return window.peek(0, nbytes)
        nbytes = min(nbytes, member.size)
        return inflate(window, member.method, nbytes, Budget(nbytes + 1)).content

    def check_crc(self, member: ZipMember) -> bool:
        """Read all of a member and compare its CRC; False and a fault (WK420) when it differs.

        A compressed stream that is broken is a fault (WK419) too; raises as ``reader``.
        """
        window, crc = self._stored(member), 0
        try:
            for piece in pieces(window, member.method):
                crc = crc32(piece, crc)
        except BrokenStream as error:
            self._fault("WK419", str(error), member, window.start)
            return False
        return self._matches(crc, member)

    def _matches(self, crc: int, member: ZipMember) -> bool:
        if crc != member.crc:
            message = f"CRC {crc:08x}, but the directory says {member.crc:08x}"
            self._fault("WK420", message, member, member.data_offset)
        return crc == member.crc

    def _begin(self, member: ZipMember) -> int:
        if member.data_offset is None:
            raise self._error("WK408", "there is no local header for it", member)
        return member.data_offset

    def _stored(self, member: ZipMember) -> Window:
        """The bytes as they stand in the archive; of the two sizes of a stored one the larger."""
        begin = min(self._begin(member), self.source.size)
        if member.method not in METHODS:
            message = f"compression method {member.method}"
            raise self._error("WK415", message, member, UnsupportedError)
        nbytes = max(member.csize, member.size) if member.method == 0 else member.csize
        nbytes = min(nbytes, self.source.size - begin)
        return Window(self.source, begin, nbytes, member.name)

    def _fault(self, code: str, message: str, member: ZipMember, offset: int | None) -> None:
        self.faults.add(code, f"{member.name!r}: {message}", offset, subject=member.name)

    def _error(
        self, code: str, message: str, member: ZipMember, kind: type[WeightkitError] = FormatError
    ) -> WeightkitError:
        message = f"{member.name!r}: {message}"
        return self.source.error(code, message, member.place, kind=kind)


def is_zip(source: Reader) -> bool:
    """Whether either reader finds end records that lead to a central directory."""
    tail = Tail(source)
    for end in (miniz_end(tail), zipfile_end(tail)):
        if isinstance(end, End) and (
            source.peek(end.directory, 4) == SIGNATURE or end.nbytes == end.entries == 0
        ):
            return True
    return False


def read_zip(source: Reader, faults: Faults) -> Zip:
    """The members of a zip archive as both readers see them; every oddity becomes a fault.

    Raises FormatError WK401 where there are no end records, WK402 where neither reader finds a
    member, WK002 where the directory is larger than any real one.
    """
    tail = Tail(source)
    torch, python = miniz_end(tail), zipfile_end(tail)
    if isinstance(torch, str) and isinstance(python, str):
        reason = torch
        if source.peek(0, 4) == b"PK\x03\x04":
            reason = f"{reason}: the file starts as a zip archive, but is cut off"
        raise source.error("WK401", reason, source.size)
    with paused_collection():
        return _read(source, faults, tail, (torch, python))


def _read(source: Reader, faults: Faults, tail: Tail, ends: tuple[End | str, End | str]) -> Zip:
    torch, python = ends
    reading = _Reading(source, faults)
    first, second = reading.directory(torch), reading.directory(python)
    refused = _refused("miniz", torch, first), _refused("zipfile", python, second)
    # The bytes between members are judged by the directory that leads somewhere.
    main = second if refused[0] and not refused[1] else first or second
    assert main is not None
    reading.resolve(main, gaps=True)
    miniz = View(refused[0], reading.resolve(first)[: first.end.entries] if first else ())
    zipfile = View(refused[1], reading.resolve(second) if second else ())
    if miniz.members == zipfile.members:
        zipfile = View(refused[1], miniz.members)  # one tuple, so that it is seen to be the same
    archive = Zip(source, faults, miniz, zipfile)
    archive.hidden = tuple(ZipMember(*row, data) for row, data in reading.layout.hidden)
    _compare(archive, main)
    check_members(archive)
    check_tail(tail, main.end, faults)
    return archive


def _refused(reader: str, end: End | str, directory: Directory | None) -> str:
    if isinstance(end, str) or directory is None:
        return str(end)
    return directory.refused.get(reader, "")


def _compare(archive: Zip, main: Directory) -> None:
    """Say what one reader sees and the other does not."""
    miniz, zipfile, at = archive.miniz, archive.zipfile, main.end.directory
    if miniz.refused and zipfile.refused:
        reasons = f"torch: {miniz.refused}; zipfile: {zipfile.refused}"
        if not archive.members:
            raise archive.source.error("WK402", reasons, at)
        archive.faults.add("WK402", reasons, at)
    elif miniz.refused:
        archive.faults.add("WK404", f"zipfile opens it, torch does not: {miniz.refused}", at)
    elif zipfile.refused:
        archive.faults.add("WK404", f"torch opens it, zipfile does not: {zipfile.refused}", at)
    elif miniz.members is not zipfile.members:
        seen = f"torch sees {len(miniz.members)} members, zipfile {len(zipfile.members)} others"
        archive.faults.add("WK404", seen, at)


class _Reading:
    """One archive being read: directories by the end records that lead to them."""

    def __init__(self, source: Reader, faults: Faults) -> None:
        self.source = source
        self.faults = faults
        self.layout = Layout(source, faults)
        self._directories: dict[tuple[int, int, int], Directory] = {}
        self._members: dict[int, tuple[ZipMember, ...]] = {}

    def directory(self, end: End | str) -> Directory | None:
        """The directory that ``end`` leads to, read once."""
        if isinstance(end, str):
            return None
        key = (end.directory, end.nbytes, end.prefix)
        if key not in self._directories:
            self._directories[key] = Directory(self.source, end, self.faults)
        return self._directories[key]

    def resolve(self, directory: Directory, *, gaps: bool = False) -> tuple[ZipMember, ...]:
        """Its members, each with the place of its bytes."""
        key = id(directory)
        if key not in self._members:
            rows = directory.rows
            offsets = self.layout.resolve(rows, directory.end.directory, gaps=gaps)
            columns = [*zip(*rows, strict=True), offsets] if rows else []
            made = map(tuple.__new__, repeat(ZipMember), zip(*columns, strict=True))
            self._members[key] = tuple(made)
        return self._members[key]
