"""What no ordinary zip writer makes, looked for over all members at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightkit.archives.ends import LOCATOR, RECORD, RECORD64, End, Tail
from weightkit.archives.inflating import METHODS
from weightkit.archives.names import check_names, escapes
from weightkit.rules import Faults

if TYPE_CHECKING:
    from weightkit.archives.zips import Zip, ZipMember

SYMLINK, FILE_TYPE = 0o120000, 0o170000
LARGE, RATIO = 1 << 30, 200
"""A member of more bytes, and this many times more than are stored, is worth a warning."""


def check_members(archive: Zip) -> None:
    """Names, duplicates, links, unknown methods and members that expand without measure."""
    members, faults = archive.members, archive.faults
    if not members:
        return
    _, names, _, methods, _, _, sizes, _, records, attributes, _ = zip(*members, strict=True)
    check_names(names, records, faults)
    _duplicates(names, members, faults)
    if max(sizes) <= LARGE and max(attributes) >> 16 == 0 and METHODS.keys() >= set(methods):
        return
    for member in members:
        if member.attributes >> 16 & FILE_TYPE == SYMLINK:
            _link(archive, member)
        if member.method not in METHODS:
            message = f"{member.name!r} is compressed by method {member.method}"
            faults.add("WK415", message, member.record_offset, subject=member.name)
        if member.size > LARGE and member.size > RATIO * member.csize:
            message = f"{member.name!r}: {member.csize} bytes inflate to {member.size}"
            faults.add("WK421", message, member.record_offset, subject=member.name)


def _link(archive: Zip, member: ZipMember) -> None:
    target = b"" if archive.unreadable(member) else archive.head(member, 4096)
    shown = target[:200].decode("utf-8", "backslashreplace")
    code = "WK431" if escapes(target, member.raw_name) else "WK418"
    message = f"{member.name!r} is a symbolic link to {shown!r}"
    where = {"subject": member.name, "evidence": shown}
    archive.faults.add(code, message, member.record_offset, **where)


def _duplicates(names: Sequence[bytes], members: Sequence[ZipMember], faults: Faults) -> None:
    folded = [name.lower() for name in names]
    if len(set(folded)) == len(folded):
        return
    same, near = Counter(m.name for m in members), Counter(folded)
    for member, key in zip(members, folded, strict=True):
        if same[member.name] > 1:
            message = f"{same[member.name]} members are named {member.name!r}"
            faults.add("WK405", message, member.record_offset, subject=member.name)
        elif near[key] > 1:
            message = f"another member differs from {member.name!r} in upper and lower case only"
            faults.add("WK406", message, member.record_offset, subject=member.name)


def check_tail(tail: Tail, end: End, faults: Faults) -> None:
    """The bytes from the directory to the end of the file, and other end records in them."""
    after = end.directory + end.nbytes
    for offset, nbytes in [(end.record64, RECORD64.size), (_locator(tail, end), LOCATOR.size)]:
        if offset >= 0:
            _gap(after, offset, faults)
            after = offset + nbytes
    _gap(after, end.record, faults)
    rest = tail.size - end.record - RECORD.size - end.comment
    if rest:
        what = f"{rest} bytes follow" if rest > 0 else f"the file ends {-rest} bytes before"
        faults.add("WK413", f"{what} the end of the archive's comment", tail.size - max(rest, 0))
    for offset in tail.positions():
        record = tail.unpack(RECORD, offset)
        if offset != end.record and record and offset + RECORD.size + int(record[-1]) == tail.size:
            message = f"another end record at {offset} reaches to the end of the file too"
            faults.add("WK422", message, offset)


def _locator(tail: Tail, end: End) -> int:
    at = end.record - LOCATOR.size
    fields = tail.unpack(LOCATOR, at)
    return at if fields is not None and fields[0] == b"PK\x06\x07" else -1


def _gap(start: int, stop: int, faults: Faults) -> None:
    if stop != start:
        message = f"{abs(stop - start)} bytes {'lie between' if stop > start else 'are shared by'}"
        faults.add("WK411", f"{message} the directory and the end records", min(start, stop))
