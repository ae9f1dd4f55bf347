"""The zip archives that are written: every record right, for small files and beyond 4 GiB."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layouts import filled
from weightkit.archives import Budget, notes, read_zip
from weightkit.archives.writing import FULL, TORCH, ZIPFILE, Archive, Member, Style, combined
from weightkit.errors import PlanError
from weightkit.layouts import Layout, Slot
from weightkit.rules import Faults
from weightkit.source import Buffer, Source

STYLES = pytest.mark.parametrize("style", [TORCH, ZIPFILE], ids=["torch", "zipfile"])
MEMBERS = [
    Member("a.txt", b"abc"),
    Member("folder/größe", b"head", 5),
    Member("empty", b""),
    Member("room", b"", 100),
]
ROOMS = [b"", b"12345", b"", bytes(range(100))]


def made(members: list[Member], rooms: list[bytes], style: Style) -> bytes:
    archive = Archive(members, style)
    slots = tuple(map(Slot, archive.places, map(len, rooms)))
    filling = [room for room, member in zip(rooms, members, strict=True) if member.nbytes]
    layout = Layout(
        archive.size,
        tuple(slot for slot in slots if slot.nbytes),
        lambda _: archive.literals([zlib.crc32(room) for room in rooms]),
    )
    return filled(layout, filling)


@STYLES
def test_python_reads_it(style: Style) -> None:
    with zipfile.ZipFile(io.BytesIO(made(MEMBERS, ROOMS, style))) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [member.name for member in MEMBERS]
        for member, room in zip(MEMBERS, ROOMS, strict=True):
            assert opened.read(member.name) == member.head + room


@STYLES
def test_our_reader_finds_no_fault(style: Style) -> None:
    faults = Faults("x.zip")
    archive = read_zip(Buffer(made(MEMBERS, ROOMS, style), "x.zip"), faults)
    assert faults.all() == ()
    assert [member.name for member in archive.members] == [member.name for member in MEMBERS]
    found = [archive.reader(member, Budget()).peek(0, 200) for member in archive.members]
    assert found == [member.head + room for member, room in zip(MEMBERS, ROOMS, strict=True)]


@STYLES
def test_no_members(style: Style) -> None:
    with zipfile.ZipFile(io.BytesIO(made([], [], style))) as opened:
        assert opened.namelist() == []


def test_members_are_aligned_as_the_style_says() -> None:
    places = Archive(MEMBERS, TORCH).places
    starts = [place - len(member.head) for place, member in zip(places, MEMBERS, strict=True)]
    assert [start % 64 for start in starts] == [0] * len(MEMBERS)


HUGE = [
    [("small", 10), ("huge", 5 << 30), ("after", 10)],
    [("just fits", FULL - 1)],
    [("just not", FULL)],
    [("a", FULL - 200), ("b", 1000), ("c", 7)],
]


@STYLES
@pytest.mark.parametrize("sizes", HUGE, ids=["huge", "fits", "not", "offset"])
def test_beyond_four_gibibytes(style: Style, sizes: list[tuple[str, int]], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    members = [Member(name, b"", nbytes) for name, nbytes in sizes]
    archive = Archive(members, style)
    with path.open("wb") as stream:
        stream.truncate(archive.size)
        for offset, piece in archive.literals([0] * len(members)):
            stream.seek(offset)
            stream.write(piece)
    assert path.stat().st_size == archive.size
    with zipfile.ZipFile(path) as opened:
        assert [(info.filename, info.file_size) for info in opened.infolist()] == sizes
        for info in opened.infolist():
            opened.open(info).close()  # compares the local header
    faults = Faults(str(path))
    with Source(str(path)) as source:
        found = read_zip(source, faults)
    assert faults.all() == ()
    assert [(member.name, member.size) for member in found.members] == sizes
    assert tuple(member.data_offset for member in found.members) == archive.places


@STYLES
def test_more_members_than_the_end_record_can_count(style: Style) -> None:
    members = [Member(str(number), b"x") for number in range(70_000)]
    blob = made(members, [b""] * len(members), style)
    with zipfile.ZipFile(io.BytesIO(blob)) as opened:
        assert len(opened.namelist()) == 70_000
    faults = Faults("x.zip")
    assert len(read_zip(Buffer(blob, "x.zip"), faults).members) == 70_000
    assert faults.all() == ()


@STYLES
def test_names(style: Style) -> None:
    with pytest.raises(PlanError, match="two members would be named 'a'"):
        Archive([Member("a", b""), Member("b", b""), Member("a", b"")], style)
    with pytest.raises(PlanError, match="a name of 65536 bytes"):
        Archive([Member("n" * 65536, b"")], style)
    longest = Member("n" * 65000, b"x")
    with zipfile.ZipFile(io.BytesIO(made([longest], [b""], style))) as opened:
        assert opened.testzip() is None


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_joined_bytes(first: bytes, second: bytes) -> None:
    joined = combined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert joined == zlib.crc32(first + second)


def test_checksums_of_many_zeros() -> None:
    nbytes = 123_456_789
    found = zlib.crc32(b"head")
    for _ in range(9):
        found = zlib.crc32(bytes(nbytes // 9), found)
    assert combined(zlib.crc32(b"head"), zlib.crc32(bytes(nbytes)), nbytes) == found


# The record of metadata


def read(content: bytes) -> tuple[dict[str, str] | None, list[str]]:
    faults = Faults("x.zip")
    archive = read_zip(Buffer(made([Member("m", content)], [b""], ZIPFILE), "x.zip"), faults)
    found = notes.read(archive, "m", Budget(), faults)
    return found, [fault.code for fault in faults.all()]


def test_metadata_comes_back() -> None:
    metadata = {"b": "ü \0 \ud800", "a": ""}
    record = notes.written(metadata)
    assert record == notes.written(dict(reversed(metadata.items())))
    assert read(record) == (metadata, [])


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"a": 1}', b'{"a": {"b": "c"}}', b"[" * 100_000, b"\xff", b" " * (5 << 20),
     b'{"a": ' + b"9" * 5000 + b"}", b"\x93NUMPY", b"\x80\x02."],
    ids=["none", "list", "number", "nested", "deep", "no-text", "long", "digits", "npy", "pickle"],
)  # fmt: skip
def test_metadata_that_is_none(content: bytes) -> None:
    assert read(content) == (None, ["WK423"])


def test_too_much_metadata() -> None:
    with pytest.raises(PlanError, match="may have 4,194,304"):
        notes.written({"a": "x" * notes.MAX_NBYTES})


def test_the_ends_as_each_style_has_them() -> None:
    """torch always writes the zip64 end records, zipfile where they are needed."""
    assert struct.pack("<I", 0x06064B50) in made(MEMBERS, ROOMS, TORCH)
    assert struct.pack("<I", 0x06064B50) not in made(MEMBERS, ROOMS, ZIPFILE)
