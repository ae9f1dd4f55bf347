"""The machine against CPython's own unpicklers: what they call is what it notes, in order.

The streams are made here, and no unpickler resolves a name: ``find_class`` gives stand-ins that
write down how they are called and do nothing else.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import random
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.pickle_streams import framed, stream
from weightkit.machine import read_program
from weightkit.machine.frames import framed_handlers
from weightkit.machine.opcodes import HANDLERS
from weightkit.machine.state import LIMITS, Machine
from weightkit.programs import Blob, Call, Global, Group, Pairs, Persistent, Program
from weightkit.source import Buffer

pytestmark = pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")

Event = tuple[Any, ...]
DEEPEST = 8
ENCODING = "latin-1"


class Tape:
    """What one reader called, in order; things are numbered as they come into being."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []

    def born(self, thing: Any) -> None:
        self.kept.append(thing)
        self.numbers[id(thing)] = len(self.kept)

    def note(self, what: str, *values: Any) -> None:
        self.events.append((what, *(self.picture(value) for value in values)))

    def picture(self, value: Any, depth: int = 0) -> Any:
        """A value as nested tuples; things by their number."""
        if depth > DEEPEST:
            return "deep"
        if value is ANYTHING:
            return value
        if id(value) in self.numbers:
            return "thing", self.numbers[id(value)]
        if type(value) in (Global, Meta):
            return "name", *name_of(value)
        if type(value) in (Blob, Pairs, Group):
            value = plain(value)
        if isinstance(value, dict):
            items = [item for pair in value.items() for item in pair]
            return "dict", [self.picture(item, depth + 1) for item in items]
        if isinstance(value, set | frozenset):
            return type(value).__name__, sorted(
                repr(self.picture(item, depth + 1)) for item in value
            )
        if isinstance(value, tuple | list):
            return type(value).__name__, [self.picture(item, depth + 1) for item in value]
        if isinstance(value, str):
            return "text", str(value)
        if isinstance(value, int):
            return "number", int(value)  # the two unpicklers disagree about "I+1"
        if isinstance(value, memoryview):
            value = bytearray(value)
        return type(value).__name__, repr(value)


def name_of(value: Any) -> tuple[str, ...]:
    if type(value) is Meta:
        return value.where
    if value.extension is not None:
        return "extension", str(value.extension)
    if value.operands:  # a text that only Latin-1 makes a name
        return tuple(str(plain(part)) for part in value.operands)
    return value.module, value.name


def plain(value: Any) -> Any:
    """What Python would build: keys are equal there as they are here."""
    if type(value) is Blob:
        held = value.value or b""
        kinds = {"bytes": bytes, "bytearray": bytearray}
        return kinds.get(value.kind, lambda raw: raw.decode(ENCODING))(held)
    if type(value) is Group:
        kind = set if value.kind == "set" else frozenset
        return kind(map(hashed, value.items))
    if type(value) is Pairs:
        keys = map(hashed, value.items[::2])
        return dict_of(keys, value.items[1::2])
    return value


def dict_of(keys: Any, values: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        found[key] = value
    return found


def hashed(value: Any) -> Any:
    """Something with the hash and equality that the real key has."""
    if type(value) is tuple:
        return tuple(map(hashed, value))
    if isinstance(value, str):
        return str(value)
    if type(value) is Blob and value.kind in ("bytes", "string"):
        return plain(value)
    if type(value) is Group and value.kind == "frozenset":
        return plain(value)
    # What has no hash stops the real reader; here anything will do that is equal to nothing else.
    return value if not isinstance(value, list) else object()


class Meta(type):
    """Stand-ins for classes are classes (NEWOBJ insists on it); calling one is written down."""

    tape: Tape
    where: tuple[str, str]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.make(cls, args, kwargs)

    def make(cls, what: Any, args: Any, kwargs: Any) -> Any:
        made = object.__new__(cls)
        cls.tape.note("made", what, args, kwargs)
        cls.tape.born(made)
        return made

    def __setitem__(cls, key: Any, value: Any) -> None:
        cls.tape.note("setitem", cls, key, value)

    def __setstate__(cls, state: Any) -> None:
        cls.tape.note("build", cls, state)

    def append(cls, item: Any) -> None:
        cls.tape.note("append", cls, [item])

    def extend(cls, items: Any) -> None:
        cls.tape.note("append", cls, items)

    def add(cls, item: Any) -> None:
        cls.tape.note("add", cls, item)


def stand_in(tape: Tape, where: tuple[str, str]) -> Any:
    """A class that notes what is done with it and its instances."""

    class Thing(metaclass=Meta):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return cls.make(cls, args, kwargs)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return type(self).make(self, args, kwargs)

        def __setitem__(self, key: Any, value: Any) -> None:
            tape.note("setitem", self, key, value)

        def __getattr__(self, name: str) -> Any:
            methods = {
                "__setstate__": lambda state: tape.note("build", self, state),
                "append": lambda item: tape.note("append", self, [item]),
                "extend": lambda items: tape.note("append", self, items),
                "add": lambda item: tape.note("add", self, item),
            }
            if name not in methods:
                raise AttributeError(name)
            return methods[name]

    Thing.tape, Thing.where = tape, where
    return Thing


class Hears:
    """An unpickler that is given stand-ins."""

    tape: Tape

    def find_class(self, module: str, name: str) -> Any:
        return stand_in(self.tape, (module, name))

    def persistent_load(self, pid: Any) -> Any:
        made = object.__new__(stand_in(self.tape, ("?", "?")))
        self.tape.note("persistent", pid)
        self.tape.born(made)
        return made


class InC(Hears, pickle.Unpickler):
    pass


class InPython(Hears, pickle._Unpickler):  # type: ignore[misc, name-defined]
    pass


STOPS = (pickle.UnpicklingError, AttributeError, EOFError, LookupError, ArithmeticError)
STOPS += (TypeError, ValueError, RecursionError, MemoryError, struct.error)


class Result(NamedTuple):
    events: list[Event]
    root: Any
    whole: bool


def heard(kind: Any, file: Any) -> Result:
    """What an unpickler called, what it gave, and whether it came to the end."""
    copyreg.clear_extension_cache()
    reader = kind(file, encoding=ENCODING)
    reader.tape = Tape()
    try:
        root = reader.load()
    except STOPS:
        return Result(reader.tape.events, None, False)
    return Result(reader.tape.events, reader.tape.picture(root), True)


class Noted(Tape):
    """The machine's calls as the stand-ins write theirs down."""

    def call(self, made: Call) -> None:
        target, args = made.target, made.args
        if made.opcode in ("REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX"):
            kwargs = Pairs() if made.kwargs is None else made.kwargs
            self.note("made", target, spread(args), kwargs)
            self.born(made)
        elif made.opcode == "BUILD":
            self.note("build", target, args)
        elif made.opcode in ("APPEND", "APPENDS"):
            self.note("append", target, args)
        elif made.opcode in ("SETITEM", "SETITEMS"):
            for key, value in zip(args[::2], args[1::2], strict=True):
                self.note("setitem", target, key, value)
        else:
            for item in args:
                self.note("add", target, item)


class Anything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


ANYTHING = Anything()


def spread(args: Any) -> Any:
    """Arguments as the Python unpickler spreads them: it takes any iterable."""
    held = plain(args)
    if isinstance(held, set):
        return ANYTHING  # in any order
    if isinstance(held, list | str | bytes | bytearray | dict | frozenset):
        return tuple(held)
    return args


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Noted]:
    """The tapes of the machines that run; each call is pictured as it is made."""
    found: list[Noted] = []
    init, call, node = Machine.__init__, Machine.call, Machine.node

    def noted_init(self: Machine, *args: Any) -> None:
        init(self, *args)
        found.append(Noted())

    def noted_call(self: Machine, *args: Any, **kwargs: Any) -> Call:
        made = call(self, *args, **kwargs)
        found[-1].call(made)
        return made

    def noted_node(self: Machine, value: Any) -> None:
        node(self, value)
        if type(value) is Persistent:
            found[-1].note("persistent", value.pid)
            found[-1].born(value)

    monkeypatch.setattr(Machine, "__init__", noted_init)
    monkeypatch.setattr(Machine, "call", noted_call)
    monkeypatch.setattr(Machine, "node", noted_node)
    return found


@pytest.fixture(autouse=True)
def extensions() -> Iterator[None]:
    for code in (1, 2, 3):
        copyreg.add_extension("extension", str(code), code)
    yield
    for code in (1, 2, 3):
        copyreg.remove_extension("extension", str(code), code)
    copyreg.clear_extension_cache()


def compare(real: Result, tape: Noted, program: Program) -> None:
    """The real calls are what was noted, as far as the real reader got."""
    events, noted = telling(real.events), telling(tape.events)
    if not real.whole:
        assert noted[: len(events)] == events
        return
    assert noted == events
    assert not program.stopped
    assert tape.picture(program.root) == real.root


def telling(events: list[Event]) -> list[Event]:
    """Without the calls that only one of the unpicklers makes, and to no effect."""
    return [event for event in events if not idle(*event)]


def idle(what: str, target: Any, *values: Any) -> bool:
    if what == "append" and values[0] == ("list", []):
        return True
    return what in ("append", "build", "setitem") and target[0] not in ("name", "thing")


def heavy(held: bytes) -> bool:
    """Whether a spoilt stream would make a real unpickler allocate without end."""
    for handlers in (HANDLERS, framed_handlers()):
        machine = Machine(Buffer(held), 0, LIMITS, None)
        machine.run(handlers)
        if "an operand of" in machine.program.stopped or any(key > 10**5 for key in machine.memo):
            return True
    return False


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("spoilt", [False, True], ids=["whole", "spoilt"])
def test_the_machine_notes_what_unpicklers_call(
    seed: int, spoilt: bool, tapes: list[Noted]
) -> None:
    r = random.Random(f"{seed}{spoilt}")
    for _ in range(30):
        held = stream(r, spoilt)
        if heavy(held):
            continue
        tapes.clear()
        program = read_program(Buffer(held))
        for kind in (InC, InPython):
            compare(heard(kind, io.BytesIO(held)), tapes[0], program)


@pytest.mark.parametrize("seed", range(30))
def test_frames_as_each_unpickler_reads_them(seed: int, tapes: list[Noted]) -> None:
    r = random.Random(seed)
    for _ in range(30):
        held = framed(r)
        if heavy(held):
            continue
        tapes.clear()
        program = read_program(Buffer(held))
        flat, *framed_tape = tapes
        other = (*program.others, program)[0]
        compare(heard(InC, io.BufferedReader(io.BytesIO(held))), flat, program)  # type: ignore[arg-type]
        compare(heard(InC, io.BytesIO(held)), framed_tape[0] if framed_tape else flat, other)
        compare(heard(InPython, io.BytesIO(held)), flat, program)
