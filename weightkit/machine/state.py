"""The machine itself: a window of bytes, a stack, marks, a memo and limits on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import length_hint
from typing import Any, NamedTuple

from weightkit.programs import Call, Global, Program
from weightkit.source import Reader

_WINDOW = 1 << 18
_STRETCH = 1 << 12
_SPARSE_MEMO = 64
_PAD = bytes(16)
"""Longer than any operand of fixed size, so that those are unpacked without a bounds check."""

# Roughly what an object takes, in bytes (CPython 3.11, 64 bits), beside what it holds.
NODE_COST = 120
GLOBAL_COST = 800
"""With what judging it takes: honest pickles name a thing once."""
TEXT_COST = 180
LIST_COST = 80
MARK_COST = 64
FRAME_COST = 64
"""Nothing is kept of a frame; but nobody writes millions of them."""
ITEM_COST = 36
"""A place in a container with an integer in it."""
MEMO_COST = 100


class Limits(NamedTuple):
    """Bounds of one program, so that a pickle built to explode ends in time and memory.

    The largest honest checkpoints seen take some 3 million opcodes and 60 MB.
    """

    opcodes: int = 6_000_000
    stack: int = 1_000_000
    depth: int = 100_000
    """Marks open at once."""
    memory: int = 200 << 20
    """Bytes that the objects built take, by the estimates above."""
    faults: int = 20
    """Oddities of a kind that are kept; the rest is left out."""
    keep_text: int = 1 << 16
    """A longer text is left in the file, as a Blob; a longer name is only noted as such."""
    keep_bytes: int = 4096
    """Longer bytes are left in the file, as a Blob."""

    def less(self, programs: Iterable[Program]) -> Limits:
        """What is left for the next program of a file that holds ``programs`` already."""
        opcodes, memory = self.opcodes, self.memory
        for program in programs:
            opcodes -= program.opcodes
            memory -= program.memory
        return self._replace(opcodes=max(0, opcodes), memory=max(0, memory))

    def least(self, other: Limits) -> Limits:
        """What both allow, of opcodes and of memory."""
        opcodes, memory = min(self.opcodes, other.opcodes), min(self.memory, other.memory)
        return self._replace(opcodes=opcodes, memory=memory)


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
        self.counts: dict[str, int] = {}  # faults by code
        self.spare = 0  # opcodes that may come beyond those of the present stretch
        self.spent = 0  # bytes of memory, by estimate
        self.frame_end = 0  # of the frame that the next byte lies in; 0 outside of frames
        self.foreign = 0  # bytes between opcodes that are no opcodes
        self.lines = 0  # opcodes with a text operand, which protocol 4 and 5 have no use for
        self.drops = 0  # frames that did not end where an opcode does
        self.cut = False  # whether the file ended before a newline
        self.base = start
        self.buf = b""
        self.i = 0
        self.end = 0  # index in buf where the source's bytes end
        self.soft = 0  # index from which _refill must be asked: the window or the frame ends
        self.hard = 0  # index from which the window must be refilled

    def run(self, handlers: Sequence[Callable[[Machine], None]]) -> None:
        """Interpret opcodes until STOP, the end or a limit; ``handlers`` has one per byte value."""
        program = self.program
        # The cheapest way to count is not to: stretches of opcodes, and what is left beyond them, of
        # which a handler that does several opcodes takes its share.
        left, stretch = self.limits.opcodes, iter(range(0))
        try:
            while left:
                count = min(left, _STRETCH)
                self.spare = left - count
                stretch = iter(range(count))
                for _ in stretch:
                    i = self.i
                    if i >= self.soft:
                        self._refill()
                        i = self.i
                    self.i = i + 1
                    handlers[self.buf[i]](self)
                left = self.spare
            raise Stopped("WK002", f"more than {self.limits.opcodes} opcodes")
        except Finished:
            pass
        except Stopped as stop:
            program.stop_code, program.stopped = stop.code, stop.message
        except IndexError:
            # Only the stack raises this: the window is padded and the memo is a dict.
            program.stop_code, program.stopped = "WK302", "stack underflow"
        if self.cut:
            program.stop_code, program.stopped = "WK301", "a text operand has no end"
        self._check_style()
        program.end = min(self.base + self.i, self.source.size)
        program.memory = self.spent + MEMO_COST * len(self.memo)
        program.opcodes = self.limits.opcodes - self.spare - length_hint(stretch)

    def _check_style(self) -> None:
        """Note what runs, but what no pickler writes."""
        program = self.program
        if self.lines and program.protocol >= 4:
            message = "{} opcodes of protocol 0 in a pickle of protocol {}"
            self.fault("WK311", program.start, message, self.lines, program.protocol)
        highest = max(self.memo, default=0)
        if highest > _SPARSE_MEMO * (len(self.memo) + 1024):
            message = "memo entry {} is set, of {}"
            self.fault("WK312", self.base + self.i, message, highest, len(self.memo))

    # Bytes

    def _refill(self) -> None:
        """Leave a frame that ends here, slide the window, stop at the end or at a limit."""
        position = self.base + self.i
        if self.frame_end and position >= self.frame_end:
            if position > self.frame_end:
                over = position - self.frame_end
                past = "an operand passes the end of its frame by {} bytes"
                self.fault("WK313", self.frame_end, past, over)
            self.frame_end = 0
        if self.i >= self.hard:
            self._check_limits()
            if position >= self.source.size:
                inside = "inside an operand" if position > self.source.size else "without STOP"
                raise Stopped("WK301", f"the pickle ends {inside}")
            self.hold(self.source.peek(position, _WINDOW), position)
        self._watch()

    def hold(self, buf: bytes, base: int) -> None:
        """Take ``buf``, which ends as the source does from offset ``base`` on, as the window."""
        self.base, self.i, self.end = base, 0, len(buf)
        last = base + self.end >= self.source.size
        self.hard = self.end if last else max(1, self.end - len(_PAD))
        self.buf = buf + _PAD

    def enter_frame(self, end: int) -> None:
        """Note that a frame begins here."""
        self.frame_end = end
        self._watch()

    def _watch(self) -> None:
        self.soft = self.hard
        if self.frame_end:
            self.soft = min(self.hard, max(self.i, self.frame_end - self.base))

    def _check_limits(self) -> None:
        limits = self.limits
        for what, have, most in (
            ("items on the stack", len(self.stack), limits.stack),
            ("open marks", len(self.below), limits.depth),
            ("bytes of memory", self.spent + MEMO_COST * len(self.memo), limits.memory),
        ):
            if have > most:
                raise Stopped("WK002", f"more than {most} {what}")

    def take(self, nbytes: int) -> bytes:
        """The next ``nbytes`` bytes, which a handler keeps."""
        i = self.i
        j = i + nbytes
        if j > self.end:
            return self.source.pread(self.skip(nbytes), nbytes)
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
            self.buf, self.end, self.soft, self.hard = b"", 0, 0, 0
        return position

    def line(self) -> bytes:
        """The operand up to the next newline, without it."""
        _, nbytes, raw = self.line_at()
        if raw is None:
            raise Stopped("WK002", f"a number or name of {nbytes} bytes")
        return raw

    def line_at(self) -> tuple[int, int, bytes | None]:
        """Offset, length and bytes of the operand up to the next newline; no bytes if it is long."""
        self.lines += 1
        i = self.i
        j = self.buf.find(b"\n", i, self.end)
        start = self.base + i
        if j >= 0:
            self.i = j + 1
            return start, j - i, self.buf[i:j] if j - i <= self.limits.keep_text else None
        nbytes = self._newline(start) - start
        self.skip(min(nbytes + 1, self.source.size - start))
        keep = nbytes <= self.limits.keep_text
        return start, nbytes, self.source.pread(start, nbytes) if keep else None

    def _newline(self, position: int) -> int:
        """Offset of the next newline from ``position`` on.

        Where the file ends before it, the Python unpickler takes the last byte for one, and so
        still calls what an INST names.
        """
        start = position
        for piece in self.source.chunks(start, max(0, self.source.size - start)):
            found = piece.find(b"\n")
            if found >= 0:
                return position + found
            position += len(piece)
        self.cut = True
        return max(start, position - 1)

    def length(self, unpack: Callable[[bytes, int], tuple[int, ...]], size: int) -> int:
        """A length operand of ``size`` bytes."""
        i = self.i
        self.i = i + size
        return unpack(self.buf, i)[0]

    def fault(self, code: str, offset: int, message: str, *values: int) -> None:
        """Note an oddity at ``offset`` that does not stop the program."""
        count = self.counts.get(code, 0)
        if count < self.limits.faults:
            self.counts[code] = count + 1
            self.program.faults.append((code, offset, message.format(*values)))

    # The stack

    def pop_mark(self) -> list[Any]:
        """What lies above the topmost mark."""
        if not self.below:
            raise Stopped("WK302", "no mark on the stack")
        items = self.stack
        self.stack = self.below.pop()
        self.spent += ITEM_COST * len(items)
        return items

    def node(self, value: Any) -> None:
        """Push something that was built."""
        self.spent += NODE_COST
        self.stack.append(value)

    def push_global(self, module: str, name: str, offset: int, opcode: str, **more: Any) -> None:
        """Note a name that would be imported by the opcode at ``offset``, and push it."""
        found = Global(module, name, offset, opcode, **more)
        self.program.globals.append(found)
        self.spent += GLOBAL_COST + 4 * (len(module) + len(name))
        self.stack.append(found)

    def call(
        self, opcode: str, target: Any, args: Any, kwargs: Any = None, offset: int | None = None
    ) -> Call:
        """Note something that would be called; ``offset`` is that of the last byte by default."""
        at = self.base + self.i - 1 if offset is None else offset
        made = Call(opcode, target, args, at, kwargs)
        self.program.calls.append(made)
        self.spent += NODE_COST
        return made
