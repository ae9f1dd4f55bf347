"""Tar archives: the headers of all members, as tarfile reads them; nothing is extracted.

    512-byte header | bytes, filled up to 512 | header | ... | two blocks of zeros

A header may be preceded by others that give its long name (GNU ``L``, ``K``) or any of its fields
(pax ``x``, ``g``). Layout: POSIX.1-2001 ``pax``, GNU tar's "Basic Tar Format".
"""

from __future__ import annotations

import re
from functools import cached_property
from struct import Struct
from typing import NamedTuple

from weightkit.archives.names import check_name, escapes
from weightkit.errors import FormatError, WeightkitError
from weightkit.rules import Faults
from weightkit.source import Reader, Window

BLOCK = 512
HEADER = Struct("100s8x16x12s12x8sc100s6s74x8x155s")
"""Name, size, checksum, type, link target, magic, prefix; the rest is left out."""
MAX_MEMBERS = 100_000
MAX_EXTENSION = 1 << 20
"""Bytes of one long name or pax header."""
_NUMBERS = [(100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345)]
"""Mode, owner, group, time and device: not used here, but tarfile ends where one is no number."""
_OCTAL = re.compile(rb"[ ]*[0-7]*[ ]*")
SATURATED = 0o77777777777
"""The largest size in octal: what writers put where the true one is in a pax header."""

KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "symbolic link",
    b"3": "device", b"4": "device", b"5": "folder", b"6": "fifo", b"S": "sparse",
}  # fmt: skip
"""Other types are read as files."""
EXTENSIONS = {b"L": "name", b"K": "target"}
_FIELDS = {
    b"path": "name", b"GNU.sparse.name": "name", b"linkpath": "target", b"size": "size",
    b"GNU.sparse.map": "sparse", b"GNU.sparse.size": "sparse", b"GNU.sparse.major": "sparse",
}  # fmt: skip
"""Of a pax header, what matters here."""
PAX = (b"x", b"X", b"g")
WITH_BYTES = {"file", "sparse"}


class TarMember(NamedTuple):
    """One member of a tar archive."""

    name: str
    raw_name: bytes
    kind: str
    """file, folder, symbolic link, hard link, device, fifo or sparse."""
    size: int
    header_offset: int
    data_offset: int
    target: bytes


class Tar:
    """A tar archive: its members and their bytes. Made by :func:`read_tar`."""

    def __init__(self, source: Reader, members: tuple[TarMember, ...]) -> None:
        self.source = source
        self.members = members

    @cached_property
    def _by_name(self) -> dict[str, TarMember]:
        return {member.name: member for member in self.members}

    def find(self, name: str) -> TarMember | None:
        """The member that tarfile takes for ``name``: the last."""
        return self._by_name.get(name)

    def unreadable(self, member: TarMember) -> str:
        """Why a member has no bytes that could be read; "" when it has."""
        return "" if member.kind == "file" else f"it is a {member.kind}"

    def reader(self, member: TarMember) -> Window:
        """The bytes of a file, as many as the archive has of them."""
        have = max(0, self.source.size - member.data_offset)
        begin = min(member.data_offset, self.source.size)
        return Window(self.source, begin, min(member.size, have), member.name)


def is_tar(source: Reader) -> bool:
    """Whether the source starts with a tar header whose checksum is right."""
    block = source.peek(0, BLOCK)
    return len(block) == BLOCK and any(block) and _checksum_fits(block)


def read_tar(source: Reader, faults: Faults) -> Tar:
    """The members of a tar archive; every oddity becomes a fault.

    Raises FormatError WK430 where no header can be read at all, WK002 for too many members.
    """
    members = _Walk(source, faults).walk()
    seen: set[bytes] = set()
    for member in members:
        _check(member, faults)
        if member.raw_name in seen and member.kind != "folder":
            message = f"another member is named {member.name!r}; the last one counts"
            faults.add("WK405", message, member.header_offset, severity="warning")
        seen.add(member.raw_name)
    return Tar(source, tuple(members))


def _check(member: TarMember, faults: Faults) -> None:
    at, shown = member.header_offset, member.name[:200]
    name = member.raw_name.removeprefix(b"./")
    if name != b".":
        check_name(name, at, faults)
    if member.kind.endswith("link"):
        base = member.raw_name if member.kind == "symbolic link" else b""
        target = member.target[:200].decode("utf-8", "backslashreplace")
        code = "WK431" if escapes(member.target, base) else "WK418"
        message = f"{shown!r} is a {member.kind} to {target!r}"
        faults.add(code, message, at, subject=shown, evidence=target)
    elif member.kind in {"device", "fifo"}:
        faults.add("WK432", f"{shown!r} is a {member.kind}", at, subject=shown)


class _Walk:
    """The position in the archive, and what the headers so far say about the next member."""

    def __init__(self, source: Reader, faults: Faults) -> None:
        self.source = source
        self.faults = faults
        self.at = 0
        self.next: dict[str, bytes] = {}
        self.all: dict[str, bytes] = {}

    def walk(self) -> list[TarMember]:
        members: list[TarMember] = []
        while block := self._block():
            member = self._header(block)
            if member is not None:
                members.append(member)
            if len(members) > MAX_MEMBERS:
                raise self._error("WK002", f"more than {MAX_MEMBERS} members")
        return members

    def _block(self) -> bytes | None:
        """The next header, None at the end of the archive."""
        block = self.source.peek(self.at, BLOCK)
        if len(block) == BLOCK and _checksum_fits(block) and any(block):
            return block
        if self.at == 0:
            raise self._error("WK430", "no tar header")
        if not block:
            if self.at - self.source.size < BLOCK:  # else a member was cut off, which is said
                self.faults.add("WK434", "the archive ends without an end mark", self.source.size)
            return None
        if len(block) < BLOCK or any(block):
            where = f"no header at {self.at}, where the next member or the end should be"
            self.faults.add("WK430", where, self.at)
        elif self.source.peek(self.at, 1 << 20).strip(b"\0"):
            self.faults.add("WK413", "bytes follow the end of the archive", self.at)
        return None

    def _header(self, block: bytes) -> TarMember | None:
        raw, size_field, _, kind, target, _, prefix = HEADER.unpack_from(block)
        start = self.at
        self.at += BLOCK
        for begin, end in _NUMBERS:
            field = block[begin:end]
            if field[0] not in b"\x80\xff" and not _OCTAL.fullmatch(_cut(field)):
                message = f"a header has {field!r} for a number, and tarfile ends there"
                self.faults.add("WK430", message, start + begin)
        size = self._number(size_field, start)
        if kind in EXTENSIONS or kind in PAX:
            self._extension(kind, self._extension_bytes(size, start))
            return None
        name, prefix = _cut(raw), _cut(prefix)
        if prefix and kind != b"S":
            name = prefix + b"/" + name
        what = KINDS.get(kind, "file")
        if kind == b"\0" and _cut(raw).endswith(b"/"):
            what = "folder"  # as before POSIX
        return self._member(name, what, size, _cut(target), start, block)

    def _member(
        self, name: bytes, kind: str, size: int, target: bytes, start: int, block: bytes
    ) -> TarMember:
        said, self.next = {**self.all, **self.next}, {}
        name, target = said.get("name", name), said.get("target", target)
        if "size" in said:
            size = self._pax_size(said["size"], size, start)
        if "sparse" in said:
            kind = "sparse"
        if kind == "sparse":
            self._skip_sparse_map(block)
        name = name.rstrip(b"/") if kind == "folder" else name
        member = TarMember(
            name.decode("utf-8", "surrogateescape"), name, kind, size, start, self.at, target
        )
        self._pass(member)
        return member

    def _pass(self, member: TarMember) -> None:
        """Go to the next header."""
        if member.kind not in WITH_BYTES:
            if member.size:
                what = f"{member.name!r} is a {member.kind} of {member.size} bytes"
                self.faults.add("WK433", what, member.header_offset, subject=member.name)
            return
        remain = self.source.size - self.at
        if member.size > remain:
            message = f"{member.name!r}: {member.size} bytes announced, but {remain} remain"
            self.faults.add("WK001", message, self.at, subject=member.name)
        self.at += _filled(member.size)

    def _extension_bytes(self, size: int, start: int) -> bytes:
        if size > MAX_EXTENSION:
            raise self._error("WK002", f"a long name or pax header of {size} bytes", start)
        content = self.source.peek(self.at, _filled(size))  # as tarfile: up to a NUL, not the size
        self.at += _filled(size)
        return content

    def _extension(self, kind: bytes, content: bytes) -> None:
        if kind in EXTENSIONS:
            self.next.setdefault(EXTENSIONS[kind], _cut(content))
            return
        records, right = _pax_records(content)
        if not right:
            message = "a pax header is broken: Pythons of different age go on or end there"
            self.faults.add("WK430", message, self.at - len(content))
        said = {_FIELDS[key]: value for key, value in records if key in _FIELDS}
        if kind == b"g":
            self.all.update(said)
        else:
            self.next = {**said, **self.next}  # of several headers the first one counts

    def _pax_size(self, text: bytes, size: int, start: int) -> int:
        if not text.isdigit() or len(text) > 19:
            raise self._error("WK430", f"a pax size of {text[:40]!r}", start)
        if size not in {0, SATURATED, int(text)}:
            message = f"the header says {size} bytes and the pax header {int(text)}"
            self.faults.add("WK433", message, start)
        return int(text)

    def _skip_sparse_map(self, block: bytes) -> None:
        """Old GNU sparse members have more blocks of their map before their bytes."""
        more = block[156:157] == b"S" and block[482]
        while more:
            more = self.source.peek(self.at, BLOCK)[504:505] not in {b"", b"\0"}
            self.at += BLOCK

    def _number(self, field: bytes, start: int) -> int:
        """Octal text, or a base-256 number marked by its first byte."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        text = _cut(field)
        if not _OCTAL.fullmatch(text):
            raise self._error("WK430", f"a size of {field!r}", start)
        return int(text.strip() or b"0", 8)

    def _error(self, code: str, message: str, offset: int | None = None) -> WeightkitError:
        offset = self.at if offset is None else offset
        return self.source.error(code, message, offset, kind=FormatError)


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _filled(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _checksum_fits(block: bytes) -> bool:
    """The sum of all bytes with the checksum itself as spaces; some writers summed signed bytes."""
    try:
        stated = int(_cut(block[148:156]).strip() or b"0", 8)
    except ValueError:
        return False
    summed = block[:148] + b" " * 8 + block[156:]
    total = sum(summed)
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in summed)


def _pax_records(content: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """``length key=value\n`` records up to a NUL, and whether every one of them was right."""
    records: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(content) and content[at]:
        length, space, _ = content[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or int(length) < len(length) + 3:
            return records, False
        record = content[at + len(length) + 1 : at + int(length)]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            return records, False
        records.append((key, value[:-1]))
        at += int(length)
    return records, True
