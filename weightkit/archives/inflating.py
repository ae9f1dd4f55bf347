"""Compressed bytes to bytes, never more than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from weightkit.archives.budget import Budget
from weightkit.source import Reader

CHUNK, PIECE = 1 << 18, 1 << 22
MAX_DICTIONARY = 64 << 20
"""Of lzma, which allocates its dictionary at once: xz -9 uses this much."""


class Problem(NamedTuple):
    """What went wrong on the way: a rule, a message and the offset in the compressed bytes."""

    code: str
    message: str
    offset: int


class Inflated(NamedTuple):
    """What came out of a compressed stream."""

    content: bytes
    problems: list[Problem]
    used: int
    """Compressed bytes that were part of the stream."""


class Decoder(Protocol):
    """What bz2's and lzma's decompressors have, and :class:`Zlib` for zlib's."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class BrokenStream(Exception):
    """The compressed bytes make no sense; the decoder's own words."""


def broken() -> tuple[type[Exception], ...]:
    """What the decoders raise over bytes that make no sense (bz2: OSError)."""
    import lzma

    return zlib.error, lzma.LZMAError, OSError, EOFError, ValueError


def bz2_decoder() -> Decoder:
    """For a bz2 stream."""
    import bz2

    return bz2.BZ2Decompressor()


class Zlib:
    """zlib's decompressor with the interface of the other two."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        given = self._inner.unconsumed_tail + data
        out = self._inner.decompress(given, max(max_length, 0))
        # More may wait inside although all input was taken.
        self._full = len(out) == max_length
        return out


def _zip_lzma(head: bytes) -> Decoder:
    """Method 14: version, length of the properties, the properties, then a raw stream."""
    import lzma

    if len(head) < 9 or head[2:4] != b"\x05\x00":
        raise BrokenStream("no lzma properties")
    properties, dictionary = head[4], int.from_bytes(head[5:9], "little")
    if dictionary > MAX_DICTIONARY or properties >= 225:
        raise BrokenStream(f"an lzma dictionary of {dictionary} bytes")
    lc, rest = properties % 9, properties // 9
    options = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096)}
    options |= {"lc": lc, "lp": rest % 5, "pb": rest // 5}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])


METHODS: dict[int, Callable[[bytes], Decoder] | None] = {
    0: None,
    8: lambda head: Zlib(-15),
    12: lambda head: bz2_decoder(),
    14: _zip_lzma,
}
"""Zip's compression methods that some loader reads; None is stored."""
_SKIP = {14: 9}


def inflate(source: Reader, method: int, size: int, budget: Budget) -> Inflated:
    """A member compressed by a zip ``method``, at most ``size`` bytes of it as zipfile gives them.

    What comes of a broken stream is kept, with problems WK419 (broken, or not of ``size`` bytes)
    and WK002 (past the budget).
    """
    make, skip = METHODS[method], _SKIP.get(method, 0)
    assert make is not None
    room = budget.room
    wanted = min(size, room)
    head = source.peek(0, 16)
    try:
        result = run(lambda: make(head), source, skip, wanted + 1)
    except BrokenStream as error:
        return Inflated(b"", [Problem("WK419", str(error), 0)], 0)
    content, problems = result.content, result.problems
    budget.spend(len(content))
    if len(content) > room:
        problems.append(_over(room, size))
    elif not problems and len(content) != size:
        came = f"more than {size}" if len(content) > size else str(len(content))
        problems.append(Problem("WK419", f"{size} bytes announced, {came} came", 0))
    return Inflated(content[:wanted], problems, result.used)


def _over(room: int, size: int) -> Problem:
    message = f"inflates to more than the {room} bytes that are allowed ({size} announced)"
    return Problem("WK002", message, 0)


def run(make: Callable[[], Decoder], source: Reader, start: int, limit: int) -> Inflated:
    """Feed ``source`` from ``start`` to a decoder until it ends or gave ``limit`` bytes.

    Broken data gives what came before it. The decoders keep back what they made of the piece that
    they fail in, and torch's reader does not: so that piece is gone through again byte by byte.
    """
    result, failed = _feed(make(), source, start, limit, source.size)
    if failed is None:
        return result
    again, _ = _feed(make(), source, start, limit, failed)
    return again if again.problems else result


def _feed(
    decoder: Decoder, source: Reader, start: int, limit: int, careful: int
) -> tuple[Inflated, int | None]:
    """What comes out, and where the piece began that could not be decoded (None if all could).

    From ``careful`` on, pieces are one byte long.
    """
    content: list[bytes] = []
    got, at = 0, start
    while not decoder.eof and got < limit:
        given = b""
        if decoder.needs_input:
            given = source.peek(at, min(CHUNK, careful - at) if at < careful else 1)
            if not given:
                cut = Problem("WK419", "the compressed stream breaks off", at)
                return Inflated(b"".join(content), [cut], at), None
        try:
            piece = decoder.decompress(given, min(limit - got, PIECE))
        except broken() as error:
            problem = Problem("WK419", f"broken compressed data: {error}", at)
            return Inflated(b"".join(content), [problem], at), at
        at += len(given)
        content.append(piece)
        got += len(piece)
    return Inflated(b"".join(content), [], at - len(decoder.unused_data)), None


def pieces(source: Reader, method: int) -> Iterator[bytes]:
    """All bytes of a member stored or compressed by a zip ``method``, at most 4 MiB at a time.

    Raises BrokenStream where compressed bytes make no sense or break off.
    """
    make, at = METHODS[method], _SKIP.get(method, 0)
    if make is None:
        yield from source.chunks(0, source.size, PIECE)
        return
    decoder = make(source.peek(0, 16))
    while not decoder.eof:
        given = source.peek(at, CHUNK) if decoder.needs_input else b""
        if decoder.needs_input and not given:
            raise BrokenStream("the compressed stream breaks off")
        at += len(given)
        try:
            yield decoder.decompress(given, PIECE)
        except broken() as error:
            raise BrokenStream(f"broken compressed data: {error}") from error
