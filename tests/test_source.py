"""Bytes by position: what a source refuses, and that nothing reads past an end."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightkit.errors import AccessError, FormatError, WeightkitError
from weightkit.source import Buffer, Cursor, Reader, Source, Window, read_many
from weightkit.tensors import DEFLATE, NESTED, RAW, Extent

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    with Source(path) as opened:
        yield opened


def code_of(action: Callable[[], object], kind: type[WeightkitError] = AccessError) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value) is kind
    return caught.value.code


# What is refused


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        Source(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path}/none: WK010 No such file or directory"


def test_a_file_as_a_folder(path: Path) -> None:
    assert code_of(lambda: Source(path / "inner")) == "WK010"


def test_a_nul_in_the_path() -> None:
    assert code_of(lambda: Source("a\0b")) == "WK010"


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert code_of(lambda: Source(tmp_path / "loop")) == "WK010"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="not a regular file but a directory") as caught:
        Source(tmp_path)
    assert caught.value.code == "WK011"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    opening = threading.Thread(target=lambda: code_of(lambda: Source(tmp_path / "fifo")))
    opening.daemon = True
    opening.start()
    opening.join(5)
    assert not opening.is_alive()
    assert code_of(lambda: Source(tmp_path / "fifo")) == "WK011"


def test_a_device() -> None:
    assert code_of(lambda: Source("/dev/zero")) == "WK011"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has little room
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert code_of(lambda: Source("socket")) == "WK011"


def test_no_permission(path: Path) -> None:
    """Root may read everything, so a process of nobody's tries."""
    program = (
        "import os, sys\n"
        "from weightkit.errors import AccessError\n"
        "from weightkit.source import Source\n"
        "import weightkit.text\n"  # nobody may not be let into the standard library's folder
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    Source('file.bin')\n"
        "except AccessError as error:\n"
        "    print(error)\n"
    )
    path.chmod(0)
    repository = Path(__file__).resolve().parent.parent
    # The working directory is taken over open, whoever may not walk to it.
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=path.parent,
        env={"PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "file.bin: WK010 Permission denied", run.stderr


def test_nothing_is_left_open_by_a_refusal(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        code_of(lambda: Source(tmp_path))
        code_of(lambda: Source(tmp_path / "none"))
    assert set(os.listdir("/proc/self/fd")) == before


# Reading


def test_pread(source: Source) -> None:
    assert source.size == len(CONTENT)
    assert source.pread(3, 5) == CONTENT[3:8]
    assert source.pread(0, len(CONTENT)) == CONTENT
    assert source.pread(len(CONTENT), 0) == b""


@pytest.mark.parametrize(
    ("offset", "nbytes"),
    [(0, 10241), (10240, 1), (10241, 0), (-1, 1), (5, -1), (1 << 70, 1), (0, 1 << 70)],
)
def test_pread_stays_inside(source: Source, offset: int, nbytes: int) -> None:
    readers: list[Reader] = [source, Buffer(CONTENT), Window(source, 0, source.size, "x")]
    for reader in readers:
        assert code_of(lambda reader=reader: reader.pread(offset, nbytes), FormatError) == "WK001"  # type: ignore[misc]


def test_peek_gives_what_there_is(source: Source) -> None:
    assert source.peek(10238, 10) == CONTENT[-2:]
    assert source.peek(10240, 10) == b""
    assert source.peek(1 << 70, 10) == b""


def test_chunks(source: Source) -> None:
    pieces = list(source.chunks(1, 1000, 300))
    assert [len(piece) for piece in pieces] == [300, 300, 300, 100]
    assert b"".join(pieces) == CONTENT[1:1001]
    assert list(source.chunks(7, 0)) == []
    assert code_of(lambda: list(source.chunks(10000, 1000)), FormatError) == "WK001"


def test_read_many(source: Source) -> None:
    assert list(read_many(source, [(5, 2), (0, 1), (5, 2)])) == [
        CONTENT[5:7],
        CONTENT[:1],
        CONTENT[5:7],
    ]


def test_short_reads_are_put_together(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux gives at most 2 GiB at once, and network file systems give what they like."""
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, nbytes, at: pread(fd, min(nbytes, 1000), at))
    assert source.pread(1, 4567) == CONTENT[1:4568]


# Files that change


def test_a_file_cut_off_while_open(path: Path, source: Source) -> None:
    os.truncate(path, 100)
    assert source.pread(0, 100) == CONTENT[:100]
    with pytest.raises(AccessError, match="was 10240 bytes long and now ends at 100") as caught:
        source.pread(50, 100)
    assert (caught.value.code, caught.value.offset) == ("WK012", 100)
    assert code_of(source.check_unchanged) == "WK012"
    assert code_of(lambda: source.pread(200, 100)) == "WK012"


def test_a_file_written_to_while_open(path: Path, source: Source) -> None:
    source.check_unchanged()
    status = path.stat()
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert code_of(source.check_unchanged) == "WK012"


def test_a_file_that_grew(path: Path, source: Source) -> None:
    with path.open("ab") as file:
        file.write(b"x")
    assert code_of(source.check_unchanged) == "WK012"
    assert code_of(lambda: source.pread(0, len(CONTENT) + 1), FormatError) == "WK001"


def test_a_file_that_was_removed_stays_readable(path: Path, source: Source) -> None:
    path.unlink()
    assert source.pread(0, 10) == CONTENT[:10]


def test_a_closed_source_opens_the_same_file_again(path: Path) -> None:
    source = Source(path)
    source.close()
    source.close()
    source.check_unchanged()
    assert source.pread(1, 3) == CONTENT[1:4]
    source.close()
    assert os.pread(source.fileno(), 2, 5) == CONTENT[5:7]
    source.close()


def test_a_closed_source_does_not_take_another_file(path: Path) -> None:
    source = Source(path)
    source.close()
    path.rename(path.with_name("old"))
    assert code_of(lambda: source.pread(0, 1)) == "WK010"
    assert code_of(source.check_unchanged) == "WK010"
    path.write_bytes(CONTENT)
    assert code_of(lambda: source.pread(0, 1)) == "WK012"
    assert code_of(source.check_unchanged) == "WK012"
    assert code_of(source.fileno) == "WK012"


# Where bytes are


def test_extents(source: Source) -> None:
    window = Window(source, 100, 50, "inner")
    assert source.extent(7, 3) == Extent(0, 7, 3, RAW)
    assert window.extent(7, 3) == Extent(0, 107, 3, RAW)
    assert Window(window, 10, 5, "deeper").extent(1, 2) == Extent(0, 111, 2, RAW)


def test_extents_of_what_was_inflated(source: Source) -> None:
    inflated = Buffer(bytes(80), "outer", "member", source.extent(300, 40))
    assert inflated.extent(7, 3) == Extent(0, 300, 3, DEFLATE, 7, 40)
    assert Window(inflated, 10, 20, "x").extent(7, 3) == Extent(0, 300, 3, DEFLATE, 17, 40)
    twice = Buffer(bytes(80), origin=inflated.extent(0, 40))
    assert twice.extent(7, 3) == Extent(0, 0, 3, NESTED, 7)
    assert Buffer(b"abc").extent(1, 2) == Extent(0, 0, 2, NESTED, 1)


def test_windows(source: Source) -> None:
    window = Window(source, 100, 50, "inner")
    deeper = Window(window, 10, 5, "deeper")
    assert window.pread(0, 50) == CONTENT[100:150]
    assert deeper.pread(1, 4) == CONTENT[111:115]
    assert deeper.peek(3, 100) == CONTENT[113:115]
    assert (window.path, window.entry, deeper.entry) == (source.path, "inner", "inner!deeper")
    assert code_of(lambda: deeper.pread(1, 5), FormatError) == "WK001"
    error = deeper.error("WK001", "why", 3)
    assert str(error) == f"{source.path}!inner!deeper @ 0x3: WK001 why"


def test_an_error_names_its_tensor_once() -> None:
    assert str(FormatError("a cast fails", tensor="a")) == "a cast fails (tensor 'a')"
    assert str(FormatError("'a' is cast", tensor="a")) == "'a' is cast"


def test_a_window_does_not_leave_its_parent(source: Source) -> None:
    for window in (Window(source, 10200, 100, "x"), Window(source, 1 << 70, 100, "x")):
        assert code_of(lambda window=window: window.pread(0, 100), FormatError) == "WK001"  # type: ignore[misc]
    assert code_of(lambda: Window(source, -1, 10, "x").pread(0, 1), FormatError) == "WK001"


def test_the_file_of_a_checkpoint(path: Path) -> None:
    with Source(path, file=3) as source:
        window = Window(source, 10, 90, "x")
        inflated = Buffer(bytes(9), origin=window.extent(1, 5))
        assert [reader.extent(0, 1).file for reader in (source, window, inflated)] == [3, 3, 3]


def test_what_is_no_path() -> None:
    with pytest.raises(TypeError):
        Source(None)  # type: ignore[arg-type]


# Cursor


def test_cursor() -> None:
    cursor = Cursor(Buffer(struct.pack("<IHb", 70000, 513, -1) + b"text"))
    assert cursor.unpack("IH") == (70000, 513)
    assert (cursor.position, cursor.remaining) == (6, 5)
    assert cursor.unpack("b") == (-1,)
    cursor.skip(1)
    assert cursor.take(3) == b"ext"
    assert (cursor.position, cursor.remaining) == (11, 0)
    assert cursor.take(0) == b""


def test_cursor_in_big_endian() -> None:
    assert Cursor(Buffer(b"\0\x01\x02\x03"), 2, ">").unpack("H") == (0x203,)


@pytest.mark.parametrize("nbytes", [5, 1 << 63, 1 << 80, -1])
def test_cursor_stays_inside(nbytes: int) -> None:
    for start in (0, 2):
        cursor = Cursor(Buffer(b"abcdef"), start)
        cursor.take(2)
        act = [
            lambda cursor=cursor: cursor.take(nbytes, "thing", "WK204"),
            lambda cursor=cursor: cursor.skip(nbytes, "thing", "WK204"),
        ]
        for action in act:
            with pytest.raises(FormatError) as caught:
                action()
            assert (caught.value.code, caught.value.offset) == ("WK204", start + 2)
            assert f"thing of {nbytes} bytes, but {4 - start} remain" in str(caught.value)
            assert cursor.position == start + 2


def test_cursor_reads_a_window_at_a_time(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: calls.append(args) or pread(*args))
    cursor = Cursor(source)
    assert b"".join(cursor.take(10) for _ in range(1024)) == CONTENT
    assert len(calls) == 1


def test_cursor_skips_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate((1 << 40) + 5)
    with Source(path) as source:
        cursor = Cursor(source)
        cursor.take(1)
        cursor.skip(1 << 40)
        assert cursor.take(4) == bytes(4)
        assert cursor.remaining == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 90_000)), max_size=12))
def test_cursor_is_a_slice(steps: list[tuple[bool, int]]) -> None:
    content = struct.pack("<65536I", *range(65536))
    cursor = Cursor(Buffer(content))
    at = 0
    for take, nbytes in steps:
        if at + nbytes > len(content):
            assert code_of(lambda nbytes=nbytes: cursor.take(nbytes), FormatError) == "WK001"  # type: ignore[misc]
        elif take:
            assert cursor.take(nbytes) == content[at : at + nbytes]
            at += nbytes
        else:
            cursor.skip(nbytes)
            at += nbytes
        assert (cursor.position, cursor.remaining) == (at, len(content) - at)
