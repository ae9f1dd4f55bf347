"""Runs read at once against the same opcodes read one by one: the machine must end up the same."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from tests.pickle_streams import frame
from weightkit.machine import LIMITS, Limits, read_program, state
from weightkit.machine.opcodes import HANDLERS
from weightkit.machine.runs import quick_handlers
from weightkit.machine.state import Machine
from weightkit.programs import Node, Program, Text
from weightkit.source import Buffer

HEAD = (
    b"\x80\x02X\x07\0\0\0storageq\x00ctorch\nHalfStorage\nq\x01X\x03\0\0\0cpuq\x02"
    b"ccollections\nOrderedDict\nq\x03ctorch._utils\n_rebuild_tensor_v2\nq\x04N}("
)
"""What the runs below get from the memo, by the number that it is put at."""


def integer(value: int) -> bytes:
    if value < 256:
        return struct.pack("<cB", b"K", value)
    return struct.pack("<cH", b"M", value) if value < 1 << 16 else struct.pack("<ci", b"J", value)


class Writer:
    """Writes tensors as the C pickler does; ``wide`` memo operands of four bytes from the start."""

    def __init__(self, memo: int = 5, *, wide: bool = False) -> None:
        self.memo = memo
        self.wide = wide

    def put(self) -> bytes:
        self.memo += 1
        return self._at(b"q", b"r", self.memo - 1)

    def get(self, key: int) -> bytes:
        return self._at(b"h", b"j", key)

    def _at(self, short: bytes, long: bytes, key: int) -> bytes:
        if key > 255 or self.wide:
            return struct.pack("<cI", long, key)
        return struct.pack("<cB", short, key)

    def integers(self, values: Sequence[int]) -> bytes:
        if not values:
            return b")"
        written = b"".join(map(integer, values))
        if len(values) > 3:
            return b"(" + written + b"t" + self.put()
        return written + bytes([0x84 + len(values)]) + self.put()

    def tensor(
        self,
        key: str = "0",
        shape: Sequence[int] = (2, 3),
        offset: int = 0,
        numel: int = 6,
        more: bytes = b"",
        grad: bool = False,
    ) -> bytes:
        """The opcodes from the GET of the function to the PUT of the tensor."""
        storage = self.get(0) + self.get(1) + struct.pack("<cI", b"X", len(key)) + key.encode()
        storage += self.put() + self.get(2) + integer(numel) + more + b"t" + self.put() + b"Q"
        spread = integer(offset) + self.integers(shape) + self.integers(shape[::-1])
        hooks = (b"\x88" if grad else b"\x89") + self.get(3) + b")R" + self.put()
        call = b"t" + self.put() + b"R" + self.put()
        return self.get(4) + b"((" + storage + spread + hooks + call

    def named(self, name: str, **more: Any) -> bytes:
        return (
            struct.pack("<cI", b"X", len(name)) + name.encode() + self.put() + self.tensor(**more)
        )


class Mixed(Writer):
    """Puts and gets by any of a few numbers."""

    def __init__(self, r: random.Random) -> None:
        super().__init__()
        self.r = r

    def put(self) -> bytes:
        return self._at(b"q", b"r", self.r.randrange(7))

    def get(self, key: int) -> bytes:
        return self._at(b"h", b"j", self.r.randrange(7))


def drawn(r: random.Random, writer: Writer, name: str) -> bytes:
    sizes = [0, 1, 3, 255, 256, 4096, 65_535, 70_000, 1 << 30]
    return writer.named(
        name,
        key="".join(r.choices("0123456789", k=r.choice([1, 1, 2, 5, 15, 20, 21]))),
        shape=[r.choice(sizes) for _ in range(r.choice([0, 1, 1, 2, 2, 3, 4, 5, 8, 9]))],
        offset=r.choice(sizes),
        numel=r.choice(sizes),
        more=r.choice([b"", b"", b"N", b"K\x01"]),
        grad=r.random() < 0.3,
    )


def stream(r: random.Random, tensors: int) -> bytes:
    writer = Writer(r.choice([5, 250]), wide=r.random() < 0.3)
    return HEAD + b"".join(drawn(r, writer, f"t{number}") for number in range(tensors)) + b"u."


def end(held: bytes, handlers: Any, limits: Limits = LIMITS) -> list[Any]:
    """All that there is of a machine at its end, as plain values."""
    machine = Machine(Buffer(held), 0, limits, None)
    machine.run(handlers)
    program = machine.program
    fields = {name: getattr(program, name) for name in Program.__slots__ if name != "reader"}
    rest = [machine.stack, machine.below, [*machine.memo.items()], machine.spent, machine.i]
    return flat([fields[name] for name in sorted(fields)] + rest)


def flat(root: Any) -> list[Any]:
    """An object graph as a list in which equal graphs, and no others, look the same."""
    found: list[Any] = []
    numbers: dict[int, int] = {}
    todo = [root]
    while todo:
        item = todo.pop()
        if isinstance(item, Text):
            found.append((numbers.setdefault(id(item), len(numbers)), str(item), item.offset))
            found.append((item.nbytes, item.encoding))
        elif type(item) is tuple and all(type(part) is int for part in item):
            found.append(("sizes", item))  # equal ones may be one
        elif isinstance(item, Node | list | tuple):
            seen = id(item) in numbers
            number = numbers.setdefault(id(item), len(numbers))
            below = item if isinstance(item, list | tuple) else _fields(item)
            found.append((type(item).__name__, number, len(below)))
            todo.extend([] if seen else reversed(below))
        else:
            found.append((type(item).__name__, item))
    return found


def _fields(node: Node) -> list[Any]:
    return [getattr(node, name) for name in type(node).__slots__]


def both(held: bytes, limits: Limits = LIMITS) -> bool:
    """Whether the two ways of reading end up the same."""
    return end(held, quick_handlers(), limits) == end(held, HANDLERS, limits)


def passed(held: bytes) -> int:
    """How many opcodes a MARK's handler took over from the others."""
    handlers = quick_handlers()
    count = 0

    def counting(handler: Any) -> Any:
        def count_and_do(m: Machine) -> None:
            nonlocal count
            count += 1
            handler(m)

        return count_and_do

    machine = Machine(Buffer(held), 0, LIMITS, None)
    machine.run([counting(handler) for handler in handlers])
    assert machine.program.stopped == ""
    return machine.program.opcodes - count


@pytest.mark.parametrize("seed", range(60))
def test_whole_streams(seed: int) -> None:
    held = stream(random.Random(seed), 20)
    assert read_program(Buffer(held)).stopped == ""
    assert both(held)


@pytest.mark.parametrize("rank", range(1, 9))
@pytest.mark.parametrize("more", [b"", b"N"])
def test_runs_are_read_at_once(rank: int, more: bytes) -> None:
    writer = Writer()
    tensors = [
        writer.named(f"t{number}", key=str(number), shape=[2] * rank, more=more)
        for number in range(100)
    ]
    held = HEAD + b"".join(tensors) + b"u."
    assert both(held)
    assert passed(held) > 0.8 * read_program(Buffer(held)).opcodes


@pytest.mark.parametrize("seed", range(300))
def test_spoilt_streams(seed: int) -> None:
    """Bytes changed, left out and doubled: the same stops and faults at the same places."""
    r = random.Random(seed)
    held = bytearray(stream(r, 6))
    for _ in range(r.choice([1, 1, 2, 5])):
        at = r.randrange(len(HEAD), len(held))
        change = r.randrange(4)
        if change == 0:
            held[at] = r.randrange(256)
        elif change == 1:
            del held[at : at + r.choice([1, 2, 5])]
        elif change == 2:
            held[at:at] = held[at : at + r.choice([1, 2, 5])]
        else:
            held[at] = r.choice(b"hjqrKMJXt(QRN)\x85\x86\x87\x88\x89.")
    assert both(bytes(held))


@pytest.mark.parametrize("seed", range(20))
def test_memo_numbers_that_meet(seed: int) -> None:
    """What is put and what is got within one run under the same number, in any combination."""
    r = random.Random(seed)
    writer = Mixed(r)
    for _ in range(30):
        assert both(HEAD + writer.tensor() + writer.tensor() + b"0.")


def test_streams_cut_anywhere() -> None:
    held = stream(random.Random(1), 3)
    for length in range(len(HEAD), len(held)):
        assert both(held[:length])


def test_limits_of_opcodes() -> None:
    """The limit falls before, on and behind each opcode of a run."""
    writer = Writer()
    held = HEAD + writer.named("a") + writer.named("b") + b"u."
    for most in range(12, read_program(Buffer(held)).opcodes + 2):
        assert both(held, LIMITS._replace(opcodes=most))


@pytest.mark.parametrize("tensors", [2, 40], ids=["one stretch", "several stretches"])
def test_limits_of_opcodes_where_they_are_counted_in_stretches(
    tensors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_STRETCH", 64)
    writer = Writer()
    held = HEAD + b"".join(writer.named(f"t{number}") for number in range(tensors)) + b"u."
    opcodes = read_program(Buffer(held)).opcodes
    assert passed(held) > 0.5 * opcodes
    for most in (*range(12, 200), *range(opcodes - 100, opcodes + 2)):
        assert both(held, LIMITS._replace(opcodes=most))


@pytest.mark.parametrize("keep", [0, 3, 4, 5])
def test_limits_of_text(keep: int) -> None:
    writer = Writer()
    held = HEAD + writer.tensor("1234") + writer.tensor("12345") + b"0."
    assert both(held, LIMITS._replace(keep_text=keep))


@pytest.mark.parametrize("key", [b"ab", b"\xc3\xa9", b"\xff\xff", b"\0\0", b"1 "])
def test_keys_that_are_no_numbers(key: bytes) -> None:
    writer = Writer()
    first, second = writer.tensor("12"), writer.tensor("34")
    assert both(HEAD + first + second.replace(b"34", key) + b"0.")


@pytest.mark.parametrize("seed", range(20))
def test_frames(seed: int) -> None:
    """Frames that end between runs, and within them."""
    r = random.Random(seed)
    body = stream(r, 8)[2:]
    cuts = sorted(r.sample(range(1, len(body)), 5))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    held = b"\x80\x04" + b"".join(map(frame, pieces))
    assert both(held)


def test_runs_across_the_window() -> None:
    for padding in range((1 << 18) - 400, (1 << 18) + 10, 7):
        writer = Writer()
        skipped = b"B" + struct.pack("<I", padding) + bytes(padding) + b"0"
        assert both(HEAD + skipped + writer.tensor() + writer.tensor() + b".")
        ones = b"N0" * (padding // 2)
        assert both(HEAD + ones + writer.tensor() + writer.tensor() + b".")


def test_a_run_needs_something_to_call() -> None:
    """Nothing stands below the marks: the call fails at its own offset."""
    writer = Writer()
    run = writer.tensor()[len(writer.get(4)) :]
    assert both(HEAD[:-3] + b"0" * 5 + run + b".")
    assert both(HEAD + run + b".")


def test_forms_are_bounded() -> None:
    r = random.Random(3)
    assert both(stream(r, 1500))
