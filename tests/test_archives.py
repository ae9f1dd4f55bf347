"""Zip archives: what is read, and every way to be wrong, by torch's and by zipfile's rules."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zip_files import Entry, archive, end64, end_record, members
from weightkit.archives import Budget, Zip, ZipMember, is_zip, read_zip
from weightkit.errors import FormatError, UnsupportedError, WeightkitError
from weightkit.rules import Faults
from weightkit.source import Buffer, Source, Window


def read(blob: bytes) -> tuple[Zip, list[str]]:
    faults = Faults("x.zip")
    zip_ = read_zip(Buffer(blob, "x.zip"), faults)
    return zip_, [fault.code for fault in faults.all()]


def codes_of(zip_: Zip) -> list[str]:
    return [fault.code for fault in zip_.faults.all()]


def member(zip_: Zip, name: str) -> ZipMember:
    found = zip_.find(name)
    assert found is not None
    return found


def content(zip_: Zip, name: str) -> bytes:
    source = zip_.reader(member(zip_, name), Budget())
    return source.pread(0, source.size)


ONE = Entry(b"a/x", b"one")
TWO = Entry(b"a/y", b"two")
PACKED = Entry(b"a/z", b"three" * 100, method=8)


def streamed(entry: Entry, descriptor: bytes | None = None) -> Entry:
    """As a writer that cannot seek leaves it: sizes after the bytes."""
    _, _, crc, csize, size = entry.numbers()
    if descriptor is None:
        descriptor = struct.pack("<4sIII", b"PK\x07\x08", crc, csize, size)
    return replace(entry, flags=8, local={"crc": 0, "csize": 0, "size": 0}, after=descriptor)


@pytest.mark.parametrize("zip64", [False, True])
def test_stored_and_deflated(zip64: bool) -> None:
    zip_, codes = read(archive([ONE, PACKED], zip64=zip64, comment=b"comment"))
    assert codes == []
    assert content(zip_, "a/x") == b"one"
    assert content(zip_, "a/z") == b"three" * 100
    assert zip_.root == "a"
    assert zip_.miniz.members is zip_.zipfile.members


def test_extents() -> None:
    blob = archive([ONE, PACKED])
    zip_ = read_zip(Window(FileLike(b"-" * 7 + blob), 7, len(blob), "inner"), Faults("x"))
    stored = zip_.extent(member(zip_, "a/x"), 1, 2)
    assert (stored.offset, stored.nbytes, stored.encoding) == (7 + 30 + 3 + 1, 2, "raw")
    packed = member(zip_, "a/z")
    extent = zip_.extent(packed, 5, 10)
    assert (extent.encoding, extent.within, extent.nbytes) == ("deflate", 5, 10)
    assert (extent.offset, extent.stored) == (7 + (packed.data_offset or 0), packed.csize)
    assert zip_.reader(packed, Budget()).extent(5, 10) == extent


class FileLike(Buffer):
    """Bytes that pass for a file: their extents are raw."""

    extent = Source.extent


def test_a_nested_zip_keeps_places_while_it_is_stored() -> None:
    inner = archive([ONE])
    outer = FileLike(archive([Entry(b"in.zip", inner), Entry(b"p.zip", inner, method=8)]))
    zip_ = read_zip(outer, Faults("x"))
    for name, encoding in [("in.zip", "raw"), ("p.zip", "deflate")]:
        source = zip_.reader(member(zip_, name), Budget())
        inside = read_zip(source, Faults("x"))
        assert inside.extent(member(inside, "a/x"), 0, 3).encoding == encoding
        assert inside.reader(member(inside, "a/x"), Budget()).entry == f"{name}!a/x"


def test_head_inflates_no_more_than_asked() -> None:
    zip_, _ = read(archive([Entry(b"big", bytes(1 << 24), method=8), ONE]))
    tracemalloc.start()
    assert zip_.head(member(zip_, "big"), 100) == bytes(100)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert zip_.head(member(zip_, "a/x"), 100) == b"one"
    assert codes_of(zip_) == []


def test_streamed_members_have_descriptors() -> None:
    crc, n = zlib.crc32(b"one"), 3
    for descriptor in [
        struct.pack("<4sIII", b"PK\x07\x08", crc, n, n),
        struct.pack("<4sIQQ", b"PK\x07\x08", crc, n, n),
        struct.pack("<III", crc, n, n),
        struct.pack("<IQQ", crc, n, n),
    ]:
        for entries in ([streamed(ONE, descriptor), TWO], [TWO, streamed(ONE, descriptor)]):
            zip_, codes = read(archive(entries))
            assert codes == []
            assert content(zip_, "a/x") == b"one"


def test_zip64_sizes() -> None:
    big = 0xFFFFFFFF
    extra = struct.pack("<HHQQQ", 1, 24, 3, 3, 0)
    local = {"csize": big, "size": big, "local_extra": extra[:20]}
    entry = replace(ONE, csize=big, size=big, offset=big, extra=extra, local=local)
    zip_, codes = read(archive([entry, TWO]))
    assert codes == []
    assert content(zip_, "a/x") == b"one"


def names_of(reading: tuple[ZipMember, ...]) -> list[str]:
    return [entry.name for entry in reading]


def test_an_empty_archive() -> None:
    zip_, codes = read(end_record(0, 0, 0))
    assert (zip_.members, codes, zip_.root) == ((), [], "")


# One archive per rule, that triggers exactly it.
ENCRYPTED = replace(ONE, flags=1, local={"flags": 1})
UNKNOWN = replace(ONE, method=99)
LINK = replace(ONE, attributes=0o120777 << 16)
BOMB = Entry(b"a/b", bytes(1000), method=8, size=1 << 31, local={"size": 1 << 31})
ODD = {
    "WK403": archive([replace(PACKED, method=8), replace(ONE, attributes=0x10)]),
    "WK404": archive([ONE, TWO], count=1),
    "WK405": archive([ONE, replace(ONE, content=b"other")]),
    "WK406": archive([ONE, replace(TWO, name=b"A/X")]),
    "WK407": archive([replace(ONE, local={"name": b"a/q"})]),
    "WK409": archive([ONE, replace(TWO, listed=False), PACKED]),
    "WK411": archive([replace(ONE, after=b"?"), TWO]),
    "WK412": archive([ONE], prefix=b"#!/bin/sh\n"),
    "WK413": archive([ONE], trailing=b"more"),
    "WK414": archive([ENCRYPTED]),
    "WK415": archive([UNKNOWN]),
    "WK416": archive([replace(ONE, name=b"../x")]),
    "WK417": archive([replace(ONE, name=b"a\\x")]),
    "WK418": archive([LINK]),
    "WK421": archive([BOMB]),
}


@pytest.mark.parametrize("code", sorted(ODD))
def test_each_rule(code: str) -> None:
    zip_, codes = read(ODD[code])
    assert set(codes) == {code}
    assert zip_.members


def test_two_end_records() -> None:
    """The comment of the archive is the end of another; libzip and Go take the first one."""
    first, second = archive([ONE]), archive([TWO])
    # The end record of ``first`` says that all of ``second`` is its comment.
    blob = first[:-2] + struct.pack("<H", len(second)) + second
    zip_, codes = read(blob)
    assert "WK422" in codes
    assert names_of(zip_.zipfile.members) == ["a/y"]


@pytest.mark.parametrize(
    "name",
    [
        b"/etc/x",
        b"../x",
        b"a/../../x",
        b"a/..",
        b"C:x",
        b"c:\\x",
        b"\\\\host\\x",
        b"..\\x",
        b"a\0/b",
    ],
)
def test_names_that_escape(name: bytes) -> None:
    assert "WK416" in read(archive([ONE, replace(TWO, name=name)]))[1]


@pytest.mark.parametrize(
    "name", [b"a//x", b"./x", b"a/./x", b"a/.", b"a\nb", b"a\x7f", b"a\x1b[2J"]
)
def test_names_that_are_odd(name: bytes) -> None:
    assert read(archive([ONE, replace(TWO, name=name)]))[1] == ["WK417"]


@pytest.mark.parametrize(
    "name", [b"a/.data/x", b"a/..x", b"a/x..", b"a/ x", "a/ü".encode(), b"a/b/", b"ab:c"]
)
def test_names_that_are_fine(name: bytes) -> None:
    assert read(archive([ONE, replace(TWO, name=name, flags=0x800)]))[1] == []


def test_names_as_zipfile_spells_them() -> None:
    entries = [Entry(b"\x81", b"1"), Entry("ü".encode(), b"2", flags=0x800), Entry(b"x\0y", b"3")]
    blob = archive(entries)
    zip_, _ = read(blob)
    with zipfile.ZipFile(io.BytesIO(blob)) as expected:
        assert [entry.name for entry in zip_.members] == expected.namelist() == ["ü", "ü", "x"]


def test_no_end_record() -> None:
    for blob, words in [(b"", "no end"), (archive([ONE])[:-30], "cut off"), (b"x" * 999, "no end")]:
        with pytest.raises(FormatError, match=words) as caught:
            read(blob)
        assert caught.value.code == "WK401"


def test_no_directory() -> None:
    body, directory, _ = members([ONE])
    with pytest.raises(FormatError) as caught:
        read(body + b"?" * len(directory) + end_record(1, len(directory), len(body)))
    assert caught.value.code == "WK402"


def test_a_broken_directory_is_still_described() -> None:
    blob = bytearray(archive([ONE, TWO]))
    blob[blob.rindex(b"PK\x01\x02")] = 0
    zip_, codes = read(bytes(blob))
    assert codes == ["WK409", "WK402"]
    assert names_of(zip_.members) == ["a/x"]


def test_no_local_header() -> None:
    blob = bytearray(archive([ONE, TWO]))
    blob[blob.index(b"PK\x03\x04", 4)] = 0
    zip_, codes = read(bytes(blob))
    assert codes == ["WK408", "WK411"]
    assert zip_.unreadable(member(zip_, "a/y"))
    for act in (lambda m: zip_.reader(m, Budget()), lambda m: zip_.extent(m, 0, 1)):
        with pytest.raises(FormatError) as caught:
            act(member(zip_, "a/y"))
        assert caught.value.code == "WK408"


def test_a_header_before_the_file_is_told_by_its_record() -> None:
    """The directory is announced one byte further on, which moves every offset back."""
    body, directory = ONE.header() + ONE.content, ONE.record(0)
    zip_, _ = read(body + directory + end_record(1, len(directory), len(body) + 1))
    (only,) = zip_.zipfile.members
    assert only.header_offset == -1
    assert only.place == only.record_offset >= 0
    with pytest.raises(FormatError) as caught:
        zip_.reader(only, Budget())
    assert caught.value.code == "WK408"
    assert caught.value.offset == only.place


def test_overlap() -> None:
    """The whole content of one member is another (Fifield's bomb without its size)."""
    inner = replace(TWO, offset=33)
    outer = replace(ONE, content=inner.header() + inner.content, offset=0)
    body = outer.header() + outer.content
    directory = outer.record(0) + inner.record(33)
    zip_, codes = read(body + directory + end_record(2, len(directory), len(body)))
    assert codes == ["WK410"]
    assert content(zip_, "a/y") == b"two"


def test_hidden_members_can_be_read() -> None:
    zip_, _ = read(ODD["WK409"])
    (hidden,) = zip_.hidden
    assert hidden.name == "a/y"
    assert zip_.reader(hidden, Budget()).peek(0, 3) == b"two"
    assert zip_.candidates("A/Y") == [hidden]


def test_an_unknown_method_is_unsupported() -> None:
    zip_, _ = read(ODD["WK415"])
    with pytest.raises(UnsupportedError, match="method 99"):
        zip_.reader(member(zip_, "a/x"), Budget())
    assert "99" in zip_.unreadable(member(zip_, "a/x"))


def test_a_flag_that_lies() -> None:
    """CVE-2025-1945: a flag makes a scanner give up; the bytes are there all the same."""
    zip_, _ = read(ODD["WK414"])
    assert member(zip_, "a/x").flagged
    assert content(zip_, "a/x") == b"one"


def test_links() -> None:
    for target, codes in [
        (b"y", ["WK418"]),
        (b"../a/y", ["WK418"]),
        (b"../../y", ["WK431"]),
        (b"/etc", ["WK431"]),
    ]:
        assert read(archive([replace(LINK, content=target)]))[1] == codes


def test_headers_that_differ_in_name() -> None:
    """CVE-2025-1944: another name in the directory than in the local header."""
    local = replace(ONE, local={"name": b"a/q", "method": 8, "flags": 0x800, "crc": 1, "size": 9})
    zip_ = read(archive([local]))[0]
    (fault,) = [fault for fault in zip_.faults.all() if fault.code == "WK407"]
    for words in ("'a/q' for 'a/x'", "method 8 for 0", "flags 0x800", "CRC 1 ", "size 9 for 3"):
        assert words in fault.message
    assert content(zip_, "a/x") == b"one"


def test_a_descriptor_that_contradicts() -> None:
    wrong = struct.pack("<4sIII", b"PK\x07\x08", 1, 2, 3)
    assert read(archive([streamed(ONE, wrong), TWO]))[1] == ["WK407"]


@pytest.mark.parametrize(
    ("reader", "blob"),
    [
        ("miniz", archive([ONE], prefix=b"prefix", adjusted=False)),
        ("miniz", archive([replace(ONE, disk=2)])),
        ("miniz", archive([replace(ONE, flags=0x2000, local={"flags": 0x2000})])),
        ("miniz", archive([ONE], count=2)),
        ("miniz", archive([replace(ONE, offset=1 << 20)])),
        ("zipfile", archive([replace(ONE, needed=64)])),
        ("zipfile", archive([replace(ONE, name=b"\xff", flags=0x800)])),
        ("zipfile", archive([replace(ONE, extra=b"\x01\x00\xff\xff")])),
        ("zipfile", archive([ONE], trailing=b"PK\x05\x06")),
        ("zipfile", archive([ONE], trailing=b"?" * 65540)),
    ],
)
def test_one_reader_refuses(reader: str, blob: bytes) -> None:
    zip_, codes = read(blob)
    assert "WK404" in codes
    refused, opens = zip_.miniz, zip_.zipfile
    if reader == "zipfile":
        refused, opens = opens, refused
    assert refused.refused
    assert not opens.refused
    assert opens.members


def test_two_directories() -> None:
    """zipfile takes the directory that ends where the end record begins; torch the one it names."""
    body, first, _ = members([ONE, TWO])
    hidden = replace(ONE, name=b"a/X").record(0)
    second = hidden + replace(TWO, name=b"a/Y").record(len(ONE.header()) + 3)
    blob = body + first + second + end_record(2, len(second), len(body))
    zip_, codes = read(blob)
    assert "WK404" in codes
    assert names_of(zip_.miniz.members) == ["a/x", "a/y"]
    assert names_of(zip_.zipfile.members) == ["a/X", "a/Y"]
    assert len(zip_.members) == 4


def test_the_zip64_record_at_another_place() -> None:
    """torch follows the locator, Python looks right before it."""
    body, first, _ = members([ONE, TWO])
    _, second, _ = members([replace(ONE, name=b"a/X")])
    start = len(body)
    far = end64(1, len(second), start, 0)[:56]
    blob = body + second + far + first
    near = end64(2, len(first), len(blob) - len(first), len(body) + len(second))
    blob += near + end_record(2, len(first), len(blob) - len(first))
    zip_, codes = read(blob)
    assert "WK404" in codes
    assert names_of(zip_.miniz.members) == ["a/X"]
    assert names_of(zip_.zipfile.members) == ["a/x", "a/y"]


@pytest.mark.parametrize(
    "extra",
    [
        struct.pack("<HHQQHHQQ", 1, 16, 3, 3, 1, 16, 9, 9),
        struct.pack("<HHQ", 1, 8, 3),
        struct.pack("<HHBI", 0x7075, 8, 1, zlib.crc32(b"a/x")) + b"a/q",
    ],
)
def test_extra_fields_that_readers_take_differently(extra: bytes) -> None:
    big = 3 if extra[:2] == b"\x75\x70" else 0xFFFFFFFF
    entry = replace(ONE, csize=big, size=big, extra=extra, local={"csize": 3, "size": 3})
    assert "WK403" in read(archive([entry]))[1]


@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_stored_member_of_two_sizes(size: int) -> None:
    zip_, codes = read(archive([replace(ONE, size=size, local={"size": size}), TWO]))
    assert codes[0] == "WK403"
    assert content(zip_, "a/x").startswith(b"one")


def test_a_deflated_member_of_another_size() -> None:
    for size, came in [(400, b"three" * 80), (501, b"three" * 100)]:
        zip_, codes = read(archive([replace(PACKED, size=size, local={"size": size})]))
        assert codes == []
        assert content(zip_, "a/z") == came
        assert codes_of(zip_) == ["WK419"]


@pytest.mark.parametrize("method", [8, 12, 14])
def test_a_broken_stream_gives_what_came(method: int) -> None:
    plain = bytes(range(256)) * 8
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        out.writestr("a/x", plain)
    whole = read(buffer.getvalue())[0].members[0]
    packed = buffer.getvalue()[whole.data_offset :][: whole.csize]
    for cut in range(0, len(packed), 7):
        zip_, _ = read(archive([Entry(b"a/x", plain, method, packed=packed[:cut])]))
        assert plain.startswith(content(zip_, "a/x"))
        assert "WK419" in codes_of(zip_)
        assert not zip_.check_crc(zip_.members[0])


def test_bytes_before_the_break_are_not_lost() -> None:
    """torch's reader uses what was inflated before the bad block, and does not say so."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"payload" * 9) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 9
    zip_, _ = read(archive([Entry(b"a/x", bytes(100), method=8, packed=packed)]))
    assert content(zip_, "a/x") == b"payload" * 9
    assert codes_of(zip_) == ["WK419"]


def test_crc_on_request() -> None:
    blob = archive([replace(ONE, crc=1), replace(PACKED, crc=2), TWO])
    zip_, codes = read(blob)
    assert codes == []
    assert not zip_.check_crc(member(zip_, "a/x"))
    assert not zip_.check_crc(member(zip_, "a/z"))
    assert zip_.check_crc(member(zip_, "a/y"))
    assert codes_of(zip_) == ["WK420", "WK420"]
    assert content(zip_, "a/x") == b"one"


def test_a_member_cut_off() -> None:
    entry = replace(ONE, csize=999, size=999, local={"csize": 999, "size": 999})
    zip_, codes = read(archive([entry]))
    assert "WK404" in codes
    assert content(zip_, "a/x").startswith(b"one")
    assert codes_of(zip_).count("WK001") == 1


def test_a_member_that_its_local_header_moves_behind_the_end() -> None:
    """The directory is in order; what the local header says of its length puts the bytes elsewhere."""
    blob = bytearray(archive([ONE]))
    blob[28:30] = (9999).to_bytes(2, "little")
    _, codes = read(bytes(blob))
    assert "WK001" in codes


def test_a_bomb_stops_at_the_budget() -> None:
    zip_, _ = read(archive([Entry(b"a/x", bytes(1 << 20), method=8), PACKED]))
    budget = Budget(nbytes=1 << 19, buffer=1 << 18)
    assert zip_.reader(member(zip_, "a/x"), budget).size == 1 << 18
    assert codes_of(zip_) == ["WK002"]
    budget.enter()
    assert budget.room == 1 << 17
    budget.leave()
    assert zip_.reader(member(zip_, "a/x"), budget).size == (1 << 18) - 1
    assert budget.room == 0
    assert zip_.reader(member(zip_, "a/z"), budget).size == 0


def test_the_budget_counts_members_and_depth() -> None:
    budget = Budget(members=2, depth=2)
    assert [budget.member() for _ in range(3)] == [True, True, False]
    assert [budget.enter() for _ in range(3)] == [True, True, False]
    budget.leave()
    assert budget.enter()


def test_a_directory_too_large() -> None:
    many = Entry(b"").record(0) * 150_002
    end = end_record(0xFFFF, 0, 0)
    counted = many + end64(150_002, len(many), 0, len(many)) + end
    large = bytes(1 << 27) + end64(1, 1 << 27, 0, 1 << 27) + end
    for blob in (counted, large):
        started = time.process_time()
        with pytest.raises(FormatError) as caught:
            read(blob)
        assert caught.value.code == "WK002"
        assert time.process_time() - started < 5


def test_is_zip() -> None:
    assert is_zip(Buffer(archive([ONE])))
    assert is_zip(Buffer(archive([ONE], prefix=b"x" * 100, adjusted=False)))
    assert is_zip(Buffer(end_record(0, 0, 0)))
    assert not is_zip(Buffer(b"PK\x05\x06" + bytes(30)[:10]))
    assert not is_zip(Buffer(b"x" * 100 + end_record(1, 50, 0)))


def test_many_equal_names_take_no_time() -> None:
    """60,000 records of one name and place: a finding each way, no quadratic search."""
    body, record = ONE.header() + ONE.content, ONE.record(0)
    directory = record * 60_000
    ends = end64(60_000, len(directory), len(body), len(body) + len(directory))
    started = time.process_time()
    zip_, codes = read(body + directory + ends + end_record(60_000, len(directory), len(body)))
    assert member(zip_, "a/x")
    assert {"WK405", "WK410"} <= set(codes)
    assert len(codes) < 100
    assert time.process_time() - started < 5


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_byte_flipped(data: st.DataObject) -> None:
    """A zip, or an error of ours: nothing else, and reading all of it is no different."""
    blob = bytearray(archive([streamed(ONE), PACKED, TWO], zip64=True))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    code = ""
    try:
        zip_, _ = read(cut)
        for entry in (*zip_.members, *zip_.hidden):
            read_all(zip_, entry)
    except FormatError as error:
        code = error.code
    assert code in {"", "WK002", "WK401", "WK402"}


def read_all(zip_: Zip, entry: ZipMember) -> None:
    if zip_.unreadable(entry):
        with pytest.raises(WeightkitError):
            zip_.reader(entry, Budget())
    else:
        source = zip_.reader(entry, Budget())
        source.peek(0, source.size)
        zip_.check_crc(entry)


def test_members_far_apart(tmp_path: Path) -> None:
    """A sparse file: headers are read one by one, not what lies between them."""
    path = tmp_path / "sparse.zip"
    step = 1 << 20
    directory = b""
    with path.open("wb") as out:
        for number in range(500):
            entry = Entry(b"a/%d" % number, size=step - 64, csize=step - 64, crc=0)
            header = replace(entry, local_extra=bytes(64 - 30 - len(entry.name))).header()
            out.seek(number * step)
            out.write(header)
            directory += entry.record(number * step)
        out.seek(500 * step)
        out.write(directory + end_record(500, len(directory), 500 * step))
    with Source(path) as source:
        counting = Counting(source, 0, source.size, "")
        faults = Faults("x")
        zip_ = read_zip(counting, faults)
    assert faults.all() == ()
    assert [entry.data_offset for entry in zip_.members] == [n * step + 64 for n in range(500)]
    assert counting.nbytes < 1 << 20


class Counting(Window):
    """Counts the bytes that are read."""

    nbytes = 0

    def pread(self, offset: int, nbytes: int) -> bytes:
        self.nbytes += nbytes
        return super().pread(offset, nbytes)
