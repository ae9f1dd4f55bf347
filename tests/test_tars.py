"""Tar archives: one test per way to be wrong; what tarfile makes of them is in the oracle tests."""

from __future__ import annotations

import io
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.archives import Tar, is_tar, read_tar
from weightkit.errors import FormatError
from weightkit.rules import Faults
from weightkit.source import Buffer


def header(name: bytes, kind: bytes = b"0", size: int | bytes = 0, target: bytes = b"") -> bytes:
    field = b"%011o\0" % size if isinstance(size, int) else size
    block = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field.ljust(12, b"\0")
    block += b"00000000000\0" + b" " * 8 + kind + target.ljust(100, b"\0") + b"ustar\x0000"
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: bytes, content: bytes = b"", kind: bytes = b"0", target: bytes = b"") -> bytes:
    return header(name, kind, len(content), target) + content + bytes(-len(content) % 512)


def pax(**records: str) -> bytes:
    lines = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode()
        length = len(line) + 2 if len(line) < 98 else len(line) + 3
        lines += str(length).encode() + line
    return lines


END = bytes(1024)


def read(blob: bytes) -> tuple[Tar, list[str]]:
    faults = Faults("x.tar")
    tar = read_tar(Buffer(blob), faults)
    return tar, [fault.code for fault in faults.all()]


def test_members() -> None:
    tar, codes = read(
        member(b"a", b"one") + member(b"d/", kind=b"5") + member(b"b", b"x" * 513) + END
    )
    assert codes == []
    assert [(m.name, m.kind, m.size, m.data_offset) for m in tar.members] == [
        ("a", "file", 3, 512),
        ("d", "folder", 0, 1536),
        ("b", "file", 513, 2048),
    ]
    found = tar.find("a")
    assert found is not None
    assert tar.reader(found).pread(0, 3) == b"one"
    assert tar.find("c") is None
    assert [bool(tar.unreadable(m)) for m in tar.members] == [False, True, False]


# One archive per rule, that triggers exactly it.
ODD = {
    "WK001": header(b"a", size=2000) + bytes(512),
    "WK405": member(b"a", b"1") + member(b"a", b"2") + END,
    "WK413": member(b"a") + END + b"more",
    "WK416": member(b"../a") + END,
    "WK417": member(b"a//b") + END,
    "WK418": member(b"a", kind=b"2", target=b"b") + END,
    "WK430": member(b"a") + b"?" * 512 + END,
    "WK434": member(b"a", b"1"),
    "WK431": member(b"a", kind=b"2", target=b"../b") + END,
    "WK432": member(b"a", kind=b"3") + END,
    "WK433": header(b"a", kind=b"2", size=512, target=b"b") + END,
}


@pytest.mark.parametrize("code", ODD)
def test_each_rule(code: str) -> None:
    codes = set(read(ODD[code])[1])
    assert codes == {code} | ({"WK418"} if code == "WK433" else set())


@pytest.mark.parametrize(
    ("kind", "base", "target", "code"),
    [
        (b"2", b"a/b", b"../c", "WK418"),
        (b"2", b"a/b", b"../../c", "WK431"),
        (b"2", b"a/b", b"/etc/passwd", "WK431"),
        (b"2", b"a/b", b"c/../../../d", "WK431"),
        (b"1", b"a/b", b"a/c", "WK418"),
        (b"1", b"a/b", b"../c", "WK431"),
        (b"1", b"a/b", b"C:\\x", "WK431"),
    ],
)
def test_links(kind: bytes, base: bytes, target: bytes, code: str) -> None:
    assert read(member(base, kind=kind, target=target) + END)[1] == [code]


def test_names_with_a_dot_in_front_are_ordinary() -> None:
    blob = member(b"./", kind=b"5") + member(b"./a.yaml") + member(b"./../a") + END
    assert read(blob)[1] == ["WK416"]


def test_the_last_of_equal_names_counts() -> None:
    found = read(ODD["WK405"])[0].find("a")
    assert found is not None
    assert found.header_offset == 1024


def test_no_tar() -> None:
    for blob in (b"", b"x" * 100, bytes(1024), b"x" * 1024):
        assert not is_tar(Buffer(blob))
        with pytest.raises(FormatError) as caught:
            read(blob)
        assert caught.value.code == "WK430"
    assert is_tar(Buffer(member(b"a")))


def test_long_names() -> None:
    name, target = b"n" * 300, b"t" * 200
    blob = member(b"././@LongLink", name + b"\0", b"L") + member(b"././@LongLink", target, b"K")
    tar, codes = read(blob + member(b"short", kind=b"2", target=b"x") + END)
    assert (tar.members[0].raw_name, tar.members[0].target) == (name, target)
    assert codes == ["WK418"]


def test_a_long_name_that_is_a_bomb() -> None:
    with pytest.raises(FormatError) as caught:
        read(header(b"x", b"L", size=1 << 30) + END)
    assert caught.value.code == "WK002"


def test_pax_sizes() -> None:
    extended = member(b"x", pax(size="3", path="p"), b"x")
    tar, codes = read(extended + header(b"a", size=0) + b"one".ljust(512, b"\0") + END)
    assert [(m.name, m.size) for m in tar.members] == [("p", 3)]
    assert codes == []


def test_two_sizes() -> None:
    """CVE-2025-62518: by one size a header is content, by the other content is a header."""
    hidden = member(b"hidden", b"payload")
    extended = member(b"x", pax(size=str(len(hidden))), b"x")
    tar, codes = read(extended + header(b"a", size=1) + hidden + END)
    assert [m.name for m in tar.members] == ["a"]
    assert codes == ["WK433"]


def test_a_pax_size_that_is_none() -> None:
    for size in ("x", "-1", "9" * 30):
        with pytest.raises(FormatError) as caught:
            read(member(b"x", pax(size=size), b"x") + member(b"a") + END)
        assert caught.value.code == "WK430"


@pytest.mark.parametrize("size", [b"-1", b"9", b"1_0", b"\xff" * 12])
def test_a_size_that_is_none(size: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        read(header(b"a", size=size) + END)
    assert caught.value.code == "WK430"


def test_a_size_of_exabytes() -> None:
    tar, codes = read(header(b"a", size=b"\x80" + (1 << 62).to_bytes(11, "big")) + END)
    assert codes == ["WK001"]
    assert tar.reader(tar.members[0]).size == len(END)


def test_sparse_members_are_passed_over() -> None:
    block = bytearray(header(b"s", b"S", size=512))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = bytes(504) + b"\1" + bytes(7)
    blob = bytes(block) + more + bytes(512) + b"x" * 512 + member(b"a") + END
    tar, codes = read(blob)
    assert [(m.name, m.kind) for m in tar.members] == [("s", "sparse"), ("a", "file")]
    assert codes == []
    assert "sparse" in tar.unreadable(tar.members[0])


def test_many_members_take_no_time() -> None:
    started = time.process_time()
    with pytest.raises(FormatError) as caught:
        read(member(b"a") * 100_002)
    assert caught.value.code == "WK002"
    assert time.process_time() - started < 5


@given(st.integers(0), st.integers(0, 255), st.integers(0))
@settings(max_examples=200, deadline=None)
def test_any_byte_flipped(at: int, value: int, cut: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name in ("a", "n" * 200):
            out.addfile(tarfile.TarInfo(name))
    blob = bytearray(buffer.getvalue())
    blob[at % len(blob)] = value
    code = ""
    try:
        read(bytes(blob[: len(blob) - cut % len(blob)]))
    except FormatError as error:
        code = error.code
    assert code in {"", "WK430", "WK002"}
