"""Compressed streams: what comes out, and what is said about the rest."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.archives import Budget, decompress, sniff
from weightkit.errors import MissingExtra
from weightkit.rules import Faults
from weightkit.source import Buffer

PLAIN = bytes(range(256)) * 40
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zfile": lambda plain: b"ZF" + hex(len(plain)).encode().ljust(19) + zlib.compress(plain),
}


def unpack(blob: bytes, kind: str = "", budget: Budget | None = None) -> tuple[bytes, list[str]]:
    faults = Faults("x")
    buffer = decompress(Buffer(blob), kind or sniff(blob), budget or Budget(), faults)
    return buffer.data, [fault.code for fault in faults.all()]


@pytest.mark.parametrize("kind", PACKERS)
def test_each_kind(kind: str) -> None:
    packed = PACKERS[kind](PLAIN)
    assert sniff(packed) == kind
    assert unpack(packed) == (PLAIN, [])
    assert unpack(PACKERS[kind](b"")) == (b"", [])


@pytest.mark.parametrize("level", range(10))
def test_zlib_levels_are_recognised(level: int) -> None:
    assert sniff(zlib.compress(PLAIN, level)) == "zlib"


@pytest.mark.parametrize("head", [b"", b"\x80\x02}", b"PK\x03\x04", b"]q\0.", b"BZh0", b"\x1f\x8b"])
def test_other_heads_are_not(head: bytes) -> None:
    assert sniff(head) == ""


@pytest.mark.parametrize("kind", PACKERS)
def test_streams_are_joined(kind: str) -> None:
    packed = PACKERS[kind](PLAIN)
    assert unpack(packed + packed) == (PLAIN + PLAIN, [])


def test_zeros_between_streams_are_passed_over_where_the_readers_do() -> None:
    """``_GzipReader._read_eof`` of Python's gzip; lzma's and bz2's readers end there."""
    packed = gzip.compress(PLAIN)
    assert unpack(packed + bytes(100) + packed) == (PLAIN + PLAIN, [])
    assert gzip.decompress(packed + bytes(100) + packed) == PLAIN + PLAIN
    packed = bz2.compress(PLAIN)
    assert unpack(packed + bytes(100) + packed) == (PLAIN, ["WK440"])


@pytest.mark.parametrize("kind", PACKERS)
def test_bytes_after_the_stream(kind: str) -> None:
    packed = PACKERS[kind](PLAIN)
    assert unpack(packed + bytes(100)) == (PLAIN, [])
    assert unpack(packed + b"more") == (PLAIN, ["WK440"])


@pytest.mark.parametrize("kind", PACKERS)
def test_cut_off(kind: str) -> None:
    packed = PACKERS[kind](PLAIN)
    for cut in range(1, len(packed), 11):
        came, codes = unpack(packed[:cut], kind)
        assert PLAIN.startswith(came)
        assert codes == ["WK419"]


def test_what_came_before_a_break_is_kept() -> None:
    packer = zlib.compressobj()
    packed = packer.compress(PLAIN) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 20
    assert unpack(packed) == (PLAIN, ["WK419"])


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_stops_at_the_budget(kind: str) -> None:
    packed = PACKERS[kind](bytes(1 << 22))
    budget = Budget(nbytes=1 << 21, buffer=1 << 20)
    assert unpack(packed, budget=budget) == (bytes(1 << 20), ["WK002"])
    assert budget.nbytes < 1 << 20


def test_a_bomb_of_many_streams_stops_at_the_budget() -> None:
    packed = gzip.compress(bytes(1 << 16)) * 40
    assert unpack(packed, budget=Budget(buffer=1 << 20)) == (bytes(1 << 20), ["WK002"])


def test_an_xz_that_wants_gigabytes() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "preset": 0}]
    packed = bytearray(lzma.compress(b"x", lzma.FORMAT_XZ, filters=filters))
    assert unpack(bytes(packed))[1] == ["WK419"]


def test_lz4_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4", None)
    with pytest.raises(MissingExtra, match=r"weightkit\[lz4\]"):
        unpack(b"\x04\x22\x4d\x18rest")


def test_lz4() -> None:
    frame = pytest.importorskip("lz4.frame", reason="the extra lz4 is not installed")
    packed = frame.compress(PLAIN)
    assert unpack(packed) == (PLAIN, [])
    assert unpack(packed + packed + b"more") == (PLAIN * 2, ["WK440"])
    assert unpack(packed[:-9])[1] == ["WK419"]
    assert unpack(frame.compress(bytes(1 << 22)), budget=Budget(buffer=1 << 20))[1] == ["WK002"]


@given(st.sampled_from(sorted(PACKERS)), st.integers(0), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_any_byte_flipped(kind: str, at: int, value: int) -> None:
    packed = bytearray(PACKERS[kind](PLAIN[:300]))
    packed[at % len(packed)] = value
    came, codes = unpack(bytes(packed), kind)
    assert came == PLAIN[:300] or codes or kind == "lzma"  # which has no checksum
