"""A pickle as inert data: what :mod:`weightkit.machine` leaves behind after reading one.

The nodes stand for what unpickling *would* build or do. They have identity equality, no generated
repr, and are never hashed by content, compared, called or imported; walk them with a bounded loop.
Plain values (int, float, bool, None, ``Text``, tuples and lists) stand for themselves; a dict is
``Pairs``, so that nothing of the file is ever hashed.
"""

from __future__ import annotations

from typing import Any


class Text(str):
    """A string of the pickle that remembers where its ``nbytes`` encoded bytes start, and how.

    ``encoding`` is that of :class:`weightkit.tensors.Extent`: text, escaped or quoted.
    """

    __slots__ = ("encoding", "nbytes", "offset")
    offset: int
    nbytes: int
    encoding: str


def text_at(value: str, offset: int, nbytes: int, encoding: str = "text") -> Text:
    """A :class:`Text` of ``value``."""
    text = Text(value)
    text.offset, text.nbytes, text.encoding = offset, nbytes, encoding
    return text


class Node:
    """Base of the inert nodes: identity equality and a repr that never looks inside."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Blob(Node):
    """A run of bytes left where it is.

    ``kind`` is bytes, bytearray, string (of Python 2, not ASCII), text (too long to keep) or buffer
    (out of band: not in the file at all).
    """

    __slots__ = ("encoding", "kind", "nbytes", "offset", "value")

    def __init__(
        self,
        kind: str,
        offset: int,
        nbytes: int,
        value: bytes | None = None,
        encoding: str = "raw",
    ) -> None:
        self.kind = kind
        self.encoding = encoding
        self.offset = offset
        self.nbytes = nbytes
        self.value = value
        """The bytes themselves where they are few (``Limits.keep``), else None."""


class Global(Node):
    """A name that the loader would import: ``module`` and dotted ``name``, as spelt in the file.

    ``operands`` holds what was on the stack when they were no plain text (a name computed at run
    time); ``extension`` is the code of an EXT opcode, whose name is in the loader's registry.
    """

    __slots__ = ("extension", "module", "name", "offset", "opcode", "operands")

    def __init__(
        self,
        module: str,
        name: str,
        offset: int,
        opcode: str = "GLOBAL",
        operands: tuple[Any, ...] = (),
        extension: int | None = None,
    ) -> None:
        self.module = module
        self.name = name
        self.offset = offset
        self.opcode = opcode
        self.operands = operands
        self.extension = extension

    @property
    def path(self) -> str:
        """``module.name``."""
        return f"{self.module}.{self.name}"


class Call(Node):
    """Something the loader would call, and the object that comes of it.

    ``opcode`` is REDUCE, NEWOBJ, NEWOBJ_EX, INST, OBJ, BUILD, or one of APPEND, APPENDS, SETITEM,
    SETITEMS, ADDITEMS where the target is no plain container, so that a method of it would run.
    ``args`` is what was given (a tuple, or whatever stood in its place), ``kwargs`` those of
    NEWOBJ_EX. For BUILD the object is ``target`` itself and ``args`` the state.
    """

    __slots__ = ("args", "items", "kwargs", "offset", "opcode", "pairs", "state", "target")

    def __init__(
        self, opcode: str, target: Any, args: Any, offset: int, kwargs: Any = None
    ) -> None:
        self.opcode = opcode
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.offset = offset
        self.state: Any = None
        """The state of the last BUILD on the object."""
        self.items: list[Any] | None = None
        """What was appended or added to the object (a list subclass, deque, ...)."""
        self.pairs: list[Any] | None = None
        """Keys and values in turn that were set on the object (OrderedDict, defaultdict, ...)."""


class Persistent(Node):
    """An object that the loader's ``persistent_load`` would supply (torch: a storage)."""

    __slots__ = ("offset", "pid")

    def __init__(self, pid: Any, offset: int) -> None:
        self.pid = pid
        self.offset = offset


class Pairs(Node):
    """A dict: ``items`` is key, value, key, value, ... in the order of the file."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[Any] = []


class Group(Node):
    """A set or frozenset; ``items`` in the order of the file."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str, items: list[Any]) -> None:
        self.kind = kind
        self.items = items


class Program:
    """One pickle, wholly or partly read.

    ``root`` is what it would return; ``stopped`` is why reading ended before STOP ("" if it did
    not) and ``stop_code`` the rule for that; ``faults`` are oddities that do not end it, as
    (code, offset, message). ``start`` and ``end`` are offsets in the source. ``others`` are what other
    readers would run: one that keeps to frames which are wrong, one that knows of no inline data,
    one that starts again behind the end.
    """

    __slots__ = (
        "calls",
        "end",
        "entry",
        "faults",
        "globals",
        "memory",
        "opcodes",
        "others",
        "persistents",
        "protocol",
        "reader",
        "reading",
        "root",
        "start",
        "stop_code",
        "stopped",
    )

    def __init__(self, start: int, entry: str = "") -> None:
        self.entry = entry
        self.start = start
        self.end = start
        self.protocol = 0
        self.reader: Any = None
        """Holds the bytes that offsets count in (a weightkit.source.Reader)."""
        self.globals: list[Global] = []
        self.calls: list[Call] = []
        self.persistents: list[Persistent] = []
        self.faults: list[tuple[str, int, str]] = []
        self.root: Any = None
        self.stopped = ""
        self.stop_code = ""
        self.opcodes = 0
        self.memory = 0
        """Bytes that its objects take, by estimate."""
        self.reading = ""
        """Of one of the ``others``: framed, flat (foreign bytes taken for opcodes), or stray."""
        self.others: tuple[Program, ...] = ()
