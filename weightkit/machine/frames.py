"""Wrong frames, as the C unpickler reads them from a file that cannot peek (``io.BytesIO``).

It reads a frame into a buffer at once. An operand that does not fit in what is left of the buffer
is read from behind the frame, and the bytes left over are dropped, so that another program runs
than from the same bytes in memory, where frames mean nothing.

Source: ``_Unpickler_ReadImpl``, ``_Unpickler_Readline`` and ``load_frame`` of
``Modules/_pickle.c``, CPython 3.11 to 3.13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from weightkit.machine.opcodes import HANDLERS
from weightkit.machine.state import Machine, Stopped
from weightkit.machine.table import I32, U32, U64, Handler, u8

_WINDOW = 1 << 16
_MOST_DROPS = 1000

FIXED = {b"K": 1, b"M": 2, b"J": 4, b"G": 8, b"h": 1, b"j": 4, b"q": 1, b"r": 4, b"\x80": 1}
FIXED |= {b"\x82": 1, b"\x83": 2, b"\x84": 4}
SIZED: dict[bytes, tuple[int, Callable[[bytes, int], tuple[int, ...]]]] = {
    **dict.fromkeys([b"\x8a", b"\x8c", b"U"], (1, u8)),
    **dict.fromkeys([b"\x8b", b"T"], (4, I32)),
    b"X": (4, U32),
    **dict.fromkeys([b"\x8d", b"\x95"], (8, U64)),
}
"""A length, and as many bytes that are read at once; a FRAME is one of them."""
COUNTED = {b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8}
"""A length; the bytes behind it are read on across the end of the buffer."""
LINES = {**dict.fromkeys([bytes([c]) for c in b"ILFSVPgp"], 1), b"c": 2, b"i": 2}

Piece = tuple[int, int]
"""First offset, and the offset behind the last byte."""


def framed_handlers() -> list[Handler]:
    """The handlers, each with a look at the frame before it."""
    return [_framed(bytes([code]), handler) for code, handler in enumerate(HANDLERS)]


def _framed(code: bytes, handler: Handler) -> Handler:
    def step(m: Machine) -> None:
        end = m.frame_end
        if end:
            _drop(m, code, end)
        handler(m)
        if code == b"\x95":
            if m.frame_end > m.source.size:
                raise Stopped("WK301", "a frame passes the end of the pickle")
            if m.frame_end < end:
                m.enter_frame(end)  # it was in the buffer already

    return step


def _drop(m: Machine, code: bytes, end: int) -> None:
    """Move the first piece of the operand that crosses ``end`` behind it, and what follows too."""
    first = m.base + m.i
    for start, stop in _pieces(m, code, end):
        if start >= end:
            return
        if stop > end:
            m.drops += 1
            if m.drops > _MOST_DROPS:
                raise Stopped("WK002", f"more than {_MOST_DROPS} wrong frames")
            kept = m.source.pread(first, start - first)
            m.hold(kept + m.source.peek(end, _WINDOW), end - len(kept))
            m.enter_frame(0)
            return


def _line_end(m: Machine, at: int, end: int) -> int:
    """The offset behind the next newline before ``end``, or one behind ``end``."""
    for piece in m.source.chunks(at, max(0, end - at), 4096):
        found = piece.find(b"\n") + 1
        if found:
            return at + found
        at += len(piece)
    return end + 1


def _pieces(m: Machine, code: bytes, end: int) -> Iterator[Piece]:
    """The reads that the C unpickler makes for one operand."""
    at = m.base + m.i
    for _ in range(LINES.get(code, 0)):
        stop = _line_end(m, at, end)
        yield at, stop
        at = stop
    size = FIXED.get(code) or COUNTED.get(code)
    if size:
        yield at, at + size
    if code in SIZED:
        size, unpack = SIZED[code]
        yield at, at + size
        (nbytes,) = unpack(m.source.peek(at, size) + bytes(8), 0)
        if at + size + nbytes <= m.source.size:
            yield at + size, at + size + nbytes
