"""The machine beside CPython's own unpicklers: what they import and call, it has recorded."""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pickles import call, frame, name, proto, raw, text
from weightkit.machine import read_program
from weightkit.programs import Call, Global
from weightkit.source import Buffer

PATHS = ("a.b", "c.d", "e.f")


class Recorder:
    """Stands in for what ``find_class`` would import; notes every use of it and does nothing."""

    def __init__(self, journal: list[tuple[str, str]]) -> None:
        self.journal = journal

    def stand_in(self, path: str) -> Any:
        journal = self.journal
        journal.append(("import", path))

        class StandIn:
            __module__ = "stand.in"

            def __new__(cls, *args: Any, **kwargs: Any) -> Any:
                journal.append(("call", path))
                return object.__new__(cls)

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                pass

            def __setstate__(self, state: Any) -> None:
                journal.append(("build", path))

            def append(self, item: Any) -> None:
                journal.append(("fill", path))

            def extend(self, items: Any) -> None:
                journal.append(("fill", path))

            def add(self, item: Any) -> None:
                journal.append(("fill", path))

            def __setitem__(self, key: Any, value: Any) -> None:
                journal.append(("fill", path))

        return StandIn


FILES: dict[str, Callable[[bytes], Any]] = {
    "memory": io.BytesIO,
    "a file that can peek": lambda stream: io.BufferedReader(io.BytesIO(stream)),
    "a file that can peek a little": lambda stream: io.BufferedReader(io.BytesIO(stream), 7),
    "a compressed file": lambda stream: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(stream, 0))),
}
"""The C unpickler fills its buffer from each in another way, and so keeps to frames in another way."""


def unpickled(stream: bytes, python: bool, file: str) -> tuple[list[Any], bool]:
    """What one of CPython's unpicklers does with a stream, and whether it came to the end."""
    journal: list[tuple[str, str]] = []
    recorder = Recorder(journal)
    base: Any = pickle._Unpickler if python else pickle.Unpickler  # type: ignore[attr-defined]

    class Unpickler(base):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            if not module:
                raise ImportError("an empty name")
            return recorder.stand_in(f"{module}.{name}")

        def persistent_load(self, pid: Any) -> Any:
            return None

    try:
        Unpickler(FILES[file](stream)).load()
    except Exception:  # whatever a broken stream makes it raise
        return journal, False
    return journal, True


FILLS = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"}


def recorded(stream: bytes) -> tuple[list[tuple[str, str]], bool]:
    """The same journal, from the machine's program."""
    program = read_program(Buffer(stream))
    events: list[tuple[int, int, tuple[str, str]]] = [
        (node.offset, 0, ("import", node.path)) for node in program.globals
    ]
    for made in program.calls:
        if made.opcode == "BUILD" or made.opcode in FILLS:
            owner = getattr(made.target, "target", None)
            kind = "build" if made.opcode == "BUILD" else "fill"
        else:
            owner, kind = made.target, "call"
            while isinstance(owner, Call):  # the Python one asks an object's class for __new__
                owner = owner.target
        if isinstance(owner, Global):
            events.append((made.offset, 1, (kind, owner.path)))
    events.sort(key=lambda event: event[:2])
    return [event for _, _, event in events], program.stopped == ""


def is_part(seen: list[Any], noted: list[Any]) -> bool:
    """Whether ``seen`` comes, in this order, in ``noted``: fills of several items count once."""
    left = iter(noted)
    last = None
    for event in seen:
        if event[0] == "fill" and event == last:
            continue
        if event not in left:
            return False
        last = event
    return True


HARMLESS = [
    b"N", b"\x88", b"\x89", b"K\1", b"M\1\2", b"J\1\2\3\4", b"I7\n", b"I010\n", b"I1\0x\n", b"L7L\n",
    b"F1.5\n", b"S'a'\n", b"Va\n", b"\x8c\1a", b"C\1a", b"U\1a", b"\x8a\1\1", raw(b"x"), text("k"),
    b"]", b"}", b")", b"\x8f", b"(", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u",
    b"\x90", b"\x91", b"0", b"1", b"2", b"q\0", b"h\0", b"q\1", b"h\1", b"\x94", b"p2\n", b"g2\n", b"j\1\0\0\0",
    b"b", b"R", b"\x81", b"\x92", b"o", b"Q", b"Pk\n", proto(2), proto(4), b"\x98",
    *(name(path) for path in PATHS), *(text(path[0]) + text(path[2]) + b"\x93" for path in PATHS),
    *(f"i{path[0]}\n{path[2]}\n".encode() for path in PATHS),
    call("a.b"), call("c.d", b"K\1"), name("a.b") + b")\x81", name("a.b") + b"(K\1t\x81}b", b"(" + name("e.f") + b"K\1o",
    frame(2), frame(5),
]  # fmt: skip


def compare(stream: bytes) -> None:
    noted, ended = recorded(stream)
    for python, file in product((False, True), FILES):
        seen, finished = unpickled(stream, python, file)
        assert is_part(seen, noted), (python, seen, noted)
        assert ended or not finished, "the machine stopped where an unpickler went on"


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(HARMLESS), max_size=24), st.booleans())
def test_generated_streams(pieces: list[bytes], stopped: bool) -> None:
    compare(b"".join(pieces) + (b"." if stopped else b""))


_SOUND = st.recursive(
    st.sampled_from([b"N", b"K\1", text("k"), b"S'x'\n", b"I010\n", raw(b"y")]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: b"(" + b"".join(items) + b"t"),
        st.lists(inner, max_size=3).map(lambda items: b"](" + b"".join(items) + b"e"),
        st.tuples(st.sampled_from(PATHS), st.lists(inner, max_size=2)).map(
            lambda made: call(made[0], *made[1])
        ),
        st.tuples(st.sampled_from(PATHS), st.lists(inner, max_size=2)).map(
            lambda made: name(made[0]) + b"(" + b"".join(made[1]) + b"t\x81}b"
        ),
        st.tuples(st.sampled_from(PATHS), inner, inner).map(
            lambda made: call(made[0]) + made[1] + b"a" + text("k") + made[2] + b"s"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_SOUND, min_size=1, max_size=4), st.sampled_from([b"", proto(2), proto(4)]))
def test_sound_streams_agree_wholly(objects: list[bytes], head: bytes) -> None:
    stream = head + b"(" + b"".join(objects) + b"t."
    compare(stream)
    assert recorded(stream)[1]


@settings(max_examples=200, deadline=None)
@given(_SOUND, st.integers(0, 200))
def test_cut_streams(made: bytes, end: int) -> None:
    compare((made + b".")[:end])


@pytest.mark.parametrize(
    "stream",
    [
        b"(S'id'\nia\nbX",
        b"I010\n0" + call("a.b") + b".",
        b"I1\0junk\n0" + call("a.b") + b".",
        b"Np0\0x\n0g0\n0" + call("a.b") + b".",
        name("a.b") + b"](K\1eR.",  # a list of arguments, which the Python one takes
        b"V" + b"x" * 70_000 + b"\n0" + call("a.b") + b".",
        proto(4) + frame(10_000) + call("a.b") + b".",
        # fickling's test_frame_boundary_divergence: a frame across the 128 KiB that are asked for
        proto(5)
        + b"NV"
        + b"a" * 131_055
        + b"\n0("
        + frame(268)
        + raw((call("a.b") * 40)[:263])
        + b"1.",
        name("a.b") + b"(" + text("k") + b"K\1" + text("l") + b"u.",
    ],
)
def test_where_the_two_differ_the_machine_follows_both(stream: bytes) -> None:
    compare(stream)


@pytest.mark.parametrize("protocol", range(6))
def test_what_pickle_writes(protocol: int) -> None:
    held = [1, -5, 1 << 70, 1.5, "é", b"\xff", (1,), {"a": [None, True]}, {1}, frozenset([2])]
    stream = pickle.dumps(held, protocol)
    program = read_program(Buffer(stream))
    assert (program.stopped, program.faults) == ("", [])
    assert program.opcodes == sum(1 for _ in pickletools.genops(stream))
    assert program.end == len(stream)
