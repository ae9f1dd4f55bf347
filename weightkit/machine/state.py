"""The machine itself: a window of bytes, a stack, marks, a memo and limits on all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weightkit.programs import Call, Global, Program
from weightkit.source import Reader

_WINDOW = 1 << 18
_SPARSE_MEMO = 64
CUT = b"\x00..."
"""Ends a text operand that was longer than the limit, in place of the rest."""
_PAD = bytes(16)
"""Longer than any operand of fixed size, so that those are unpacked without a bounds check."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one program, so that a pickle built to explode ends in time and memory.

    The largest honest checkpoints seen take some 3 million opcodes and 1 million nodes.
    """

    opcodes: int = 6_000_000
    stack: int = 1_000_000
    depth: int = 100_000
    """Marks open at once."""
    memo: int = 1_500_000
    nodes: int = 2_500_000
    """Containers, calls (which count twice) and texts built."""
    text: int = 64 << 20
    """Bytes of all texts kept."""
    keep_text: int = 1 << 16
    """A longer text is left in the file, as a Blob."""
    keep_bytes: int = 4096
    """Longer bytes are left in the file, as a Blob."""
    line: int = 1 << 16
    """Bytes of a text operand that ends in a newline."""


LIMITS = Limits()


class Stopped(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Finished(Exception):
    pass


class Machine:
    """The state of one run. ``buf[i]`` is the next byte; ``buf`` starts at offset ``base``."""

    def __init__(
        self,
        source: Reader,
        start: int,
        limits: Limits,
        inline: Callable[[Call, int], int] | None,
    ) -> None:
        self.source = source
        self.limits = limits
        self.inline = inline
        self.program = Program(start)
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # one stack per open mark
        self.memo: dict[int, Any] = {}
        self.nodes = 0
        self.text = 0
        self.frame_end = 0
        self.lines = 0  # opcodes with a text operand, which protocol 4 and 5 have no use for
        self.base = start
        self.buf = b""
        self.i = 0
        self.end = 0  # index in buf where the source's bytes end
        self.soft = 0  # index from which the window must be refilled

    def run(self, handlers: Sequence[Callable[[Machine], None]]) -> None:
        """Interpret opcodes until STOP, the end or a limit; ``handlers`` has one per byte value."""
        program = self.program
        numbers = iter(range(1, self.limits.opcodes + 1))  # the cheapest way to count
        try:
            for _ in numbers:
                i = self.i
                if i >= self.soft:
                    self._refill()
                    i = self.i
                self.i = i + 1
                handlers[self.buf[i]](self)
            raise Stopped("WK002", f"more than {self.limits.opcodes} opcodes")
        except Finished:
            pass
        except Stopped as stop:
            program.stop_code, program.stopped = stop.code, stop.message
        except IndexError:
            # Only the stack raises this: the window is padded and the memo is a dict.
            program.stop_code, program.stopped = "WK302", "stack underflow"
        program.end = min(self.base + self.i, self.source.size)
        self._check_style()
        program.opcodes = next(numbers, self.limits.opcodes + 1) - 1

    def _check_style(self) -> None:
        """Note what runs, but what no pickler writes."""
        program = self.program
        if self.lines and program.protocol >= 4:
            message = (
                f"{self.lines} opcodes of protocol 0 in a pickle of protocol {program.protocol}"
            )
            program.faults.append(("WK311", program.start, message))
        highest = max(self.memo, default=0)
        if highest > _SPARSE_MEMO * (len(self.memo) + 1024):
            message = f"memo entry {highest} is set, of {len(self.memo)}"
            program.faults.append(("WK312", program.end, message))

    # Bytes

    def _refill(self) -> None:
        """Slide the window to the next opcode; stop at the end of the source or at a limit."""
        self._check_limits()
        self.base += self.i
        self.i = 0
        if self.base >= self.source.size:
            inside = "inside an operand" if self.base > self.source.size else "without STOP"
            raise Stopped("WK301", f"the pickle ends {inside}")
        self.buf = self.source.peek(self.base, _WINDOW)
        self.end = len(self.buf)
        last = self.base + self.end >= self.source.size
        self.soft = self.end if last else max(1, self.end - len(_PAD))
        self.buf += _PAD

    def _check_limits(self) -> None:
        limits = self.limits
        for what, have, most in (
            ("items on the stack", len(self.stack), limits.stack),
            ("open marks", len(self.below), limits.depth),
            ("memo entries", len(self.memo), limits.memo),
            ("objects", self.nodes, limits.nodes),
            ("bytes of text", self.text, limits.text),
        ):
            if have > most:
                raise Stopped("WK002", f"more than {most} {what}")

    def take(self, nbytes: int) -> bytes:
        """The next ``nbytes`` bytes, which a handler keeps."""
        i = self.i
        j = i + nbytes
        if j > self.end:
            position = self.base + i
            if position + nbytes > self.source.size:
                raise Stopped("WK301", f"an operand of {nbytes} bytes passes the end of the pickle")
            self.base, self.i = position, nbytes
            piece = self.source.pread(position, nbytes)
            self.buf, self.end, self.soft = b"", 0, 0
            return piece
        self.i = j
        return self.buf[i:j]

    def skip(self, nbytes: int) -> int:
        """Pass over ``nbytes`` bytes; gives the offset where they start."""
        position = self.base + self.i
        if position + nbytes > self.source.size:
            raise Stopped("WK301", f"an operand of {nbytes} bytes passes the end of the pickle")
        self.i += nbytes
        if self.i > self.end:
            self.base, self.i = position + nbytes, 0
            self.buf, self.end, self.soft = b"", 0, 0
        return position

    def line(self) -> bytes:
        """The operand up to the next newline, without it.

        Where the file ends first, both of CPython's unpicklers take what is left without its last
        byte. A line longer than the limit is passed over; what is given of it ends in ``CUT``.
        """
        self.lines += 1
        i = self.i
        j = self.buf.find(b"\n", i, self.end)
        if j >= 0 and j - i < self.limits.line:
            self.i = j + 1
            return self.buf[i:j]
        position = self.base + i
        piece = self.source.peek(position, self.limits.line)
        found = piece.find(b"\n")
        if found < 0:
            return self._unended(position, piece)
        self.skip(found + 1)
        return piece[:found]

    def _unended(self, position: int, piece: bytes) -> bytes:
        nbytes = self._newline(position + len(piece)) + 1 - position
        if nbytes <= len(piece):  # the file ends here
            if len(piece) < 2:
                raise Stopped("WK301", "a text operand has no end")
            self.skip(len(piece))
            return piece[:-1]
        self.skip(nbytes)
        return piece[: self.limits.line - len(CUT)] + CUT

    def _newline(self, position: int) -> int:
        """The offset of the next newline, or of the last byte."""
        left = self.source.size - position
        for piece in self.source.chunks(position, min(left, self.limits.text)):
            found = piece.find(b"\n")
            if found >= 0:
                return position + found
            position += len(piece)
        if position < self.source.size:
            raise Stopped("WK002", f"a text operand of more than {self.limits.text} bytes")
        return position - 1

    def length(self, unpack: Callable[[bytes, int], tuple[int, ...]], size: int) -> int:
        """A length operand of ``size`` bytes."""
        i = self.i
        self.i = i + size
        return unpack(self.buf, i)[0]

    def fault(self, code: str, message: str) -> None:
        if len(self.program.faults) < 100:
            self.program.faults.append((code, self.base + self.i - 1, message))

    # The stack

    def pop_mark(self) -> list[Any]:
        """What lies above the topmost mark."""
        if not self.below:
            raise Stopped("WK302", "no mark on the stack")
        items = self.stack
        self.stack = self.below.pop()
        return items

    def node(self, value: Any) -> None:
        """Push something that was built."""
        self.nodes += 1
        self.stack.append(value)

    def push_global(self, module: str, name: str, offset: int, opcode: str, **more: Any) -> None:
        """Note a name that would be imported by the opcode at ``offset``, and push it."""
        found = Global(module, name, offset, opcode, **more)
        self.program.globals.append(found)
        self.node(found)

    def call(self, opcode: str, target: Any, args: Any, kwargs: Any = None) -> Call:
        made = Call(opcode, target, args, self.base + self.i - 1, kwargs)
        self.program.calls.append(made)
        self.nodes += 2  # it is twice as large as the others
        return made
