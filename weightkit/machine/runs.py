"""The opcodes of a tensor, read at once.

``torch.save`` writes the same thirty opcodes for every tensor, a run in which only operands differ,
and a large checkpoint is little else. Going through the table for each was a quarter of the time
that listing one takes. So where a run begins, two ``unpack`` calls read it: one gives its opcodes,
to be compared with those of a run seen before (a *form*), the other its operands. Then what all of
them do is done.

It is the same machine, and it does the same: nothing here looks at what the names mean. What is not
exactly such a run, or might stop in the middle of it, is left to the opcodes' own handlers; a test
holds both ways of reading against one another.

    ( ( GET GET BINUNICODE PUT GET INT [NONE] TUPLE PUT BINPERSID     the storage
        INT  INT… TUPLE PUT  INT… TUPLE PUT                            offset, sizes, strides
        NEWTRUE|NEWFALSE  GET EMPTY_TUPLE REDUCE PUT                   requires_grad, hooks
      TUPLE PUT REDUCE PUT                                             the call
"""

from __future__ import annotations

import re
from functools import cache
from struct import Struct

from weightkit.machine.opcodes import HANDLERS
from weightkit.machine.state import ITEM_COST, LIST_COST, MARK_COST, NODE_COST, TEXT_COST, Machine
from weightkit.machine.table import Handler
from weightkit.programs import Call, Persistent, Text
from weightkit.tensors import TEXT

_MARK = b"("[0]
_MOST_FORMS = 256
_MOST_SHAPES = 1024

_GET, _PUT, _INT = rb"(?:h.|j.{4})", rb"(?:q.|r.{4})", rb"(?:K.|M..|J.{4})"
_KEY = rb"X.\0\0\0[0-9]{1,20}"
_INTS = rb"(?:%b\x85|%b{2}\x86|%b{3}\x87|\(%b{4,8}t)%b" % (_INT, _INT, _INT, _INT, _PUT)
_RUN = (
    rb"\(%(get)b%(get)b%(key)b%(put)b%(get)b%(int)bN?t%(put)bQ%(int)b(%(ints)b)(%(ints)b)"
    rb"[\x88\x89]%(get)b\)R%(put)bt%(put)bR%(put)b"
    % {b"get": _GET, b"put": _PUT, b"int": _INT, b"ints": _INTS, b"key": _KEY}
)
"""A run from its second MARK on, with its sizes and its strides."""
_PART = rb"[hqK].|M..|[jrJ].{4}|%b|[()tNQR\x85-\x89]" % _KEY
"""An opcode with its operand."""


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    """Compiled when it is needed: it takes as long as the import of a module."""
    return re.compile(pattern, re.DOTALL)


def _parts(written: bytes) -> list[bytes]:
    """The opcodes with their operands."""
    return _compiled(_PART).findall(written)


_OPERANDS = {b"h": "B", b"q": "B", b"K": "B", b"M": "H", b"j": "I", b"r": "I", b"J": "i"}


class Form:
    """A run whose opcodes, and widths of operands, are known. Places count from its start."""

    def __init__(self, run: bytes, sizes: bytes, strides: bytes) -> None:
        parts = _parts(run)
        codes = [part[:1] for part in parts]
        starts = [sum(map(len, parts[:at])) for at in range(len(parts))]
        self.nbytes, self.count = len(run), len(parts)
        self.opcodes = Struct("<" + "".join(f"s{len(part) - 1}x" for part in parts))
        self.expected = self.opcodes.unpack(run)
        self.operands = Struct("<" + "".join(f"x{_operand(part)}" for part in parts))
        self.key = starts[codes.index(b"X")] + 5
        self.digits = len(parts[codes.index(b"X")]) - 5
        self.persid = starts[codes.index(b"Q")]
        self.hooks, self.reduce = (starts[at] for at, code in enumerate(codes) if code == b"R")
        self.rank = len(_integers(sizes))
        self.grad = b"\x88" in codes
        self.more = (None,) if b"N" in codes else ()
        self.cost = (
            (MARK_COST + LIST_COST + ITEM_COST * (5 + len(self.more)))
            + (MARK_COST + LIST_COST + ITEM_COST * 6)
            + (TEXT_COST + self.digits)
            + 3 * NODE_COST
            + _cost(sizes)
            + _cost(strides)
        )
        self.next = self
        """The form that came after this one the last time."""
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def shape(self, found: tuple[int, ...]) -> tuple[int, ...]:
        """The first tuple that is equal: thousands of tensors have dozens of shapes."""
        if len(self._shapes) > _MOST_SHAPES:
            return found
        return self._shapes.setdefault(found, found)


def _operand(part: bytes) -> str:
    return f"I{len(part) - 5}s" if part[:1] == b"X" else _OPERANDS.get(part[:1], "")


def _integers(written: bytes) -> list[bytes]:
    return [part for part in _parts(written) if part[:1] in (b"K", b"M", b"J")]


def _cost(written: bytes) -> int:
    """What a tuple of integers takes, as the handlers of its opcodes count it."""
    marked = MARK_COST + ITEM_COST * len(_integers(written)) if written[:1] == b"(" else 0
    return marked + LIST_COST


class Runs:
    """The runs of one program: which forms they have, and which came after which."""

    def __init__(self) -> None:
        self.forms: dict[tuple[tuple[int, int], ...], Form] = {}
        self.last: Form | None = None

    def mark(self, m: Machine) -> None:
        """Read the run that begins with this MARK, or only the MARK."""
        i = m.i
        if m.buf[i] != _MARK or not m.stack:
            _just_mark(m)
            return
        form = self.last and self.last.next
        if (
            form is None
            or i + form.nbytes > m.soft
            or form.opcodes.unpack_from(m.buf, i) != form.expected
        ):
            form = self.find(m)
        if form is not None and _do(m, form):
            self.last = form
        else:
            _just_mark(m)

    def find(self, m: Machine) -> Form | None:
        """The form of what follows, if it is such a run and ends before window and frame do."""
        match = _compiled(_RUN).match(m.buf, m.i, m.soft)
        if match is None:
            return None
        key = tuple([(part[0], len(part)) for part in _parts(match[0])])
        form = self.forms.get(key)
        if form is None and len(self.forms) < _MOST_FORMS:
            form = self.forms[key] = Form(*match.group(0, 1, 2))
        if form is not None and self.last is not None:
            self.last.next = form
        return form


_just_mark = HANDLERS[_MARK]


def _do(m: Machine, form: Form) -> bool:
    """Do what the run at ``m.i`` does; False, with nothing done, if it might stop half-way."""
    memo, stack, rank, base = m.memo, m.stack, form.rank, m.base + m.i
    (
        storage, kind, length, raw, put_key, device, numel, put_pid,
        offset, *spread, hooks, put_hooks, put_args, put_made,
    ) = form.operands.unpack_from(m.buf, m.i)  # fmt: skip
    put_sizes, put_strides = spread[rank], spread[-1]
    if (
        length != form.digits
        or length > m.limits.keep_text
        or not raw.isdigit()
        or m.spare < form.count
        or device == put_key  # not yet set
        or hooks in (put_key, put_pid, put_sizes, put_strides)
        or not (storage in memo and kind in memo and device in memo and hooks in memo)
    ):
        return False
    key = Text(raw, "ascii")
    key.offset, key.nbytes, key.encoding = base + form.key, length, TEXT
    pid = (memo[storage], memo[kind], key, memo[device], numel, *form.more)
    found = Persistent(pid, base + form.persid)
    sizes, strides = form.shape(tuple(spread[:rank])), form.shape(tuple(spread[rank + 1 : -1]))
    made_hooks = Call("REDUCE", memo[hooks], (), base + form.hooks)
    args = (found, offset, sizes, strides, form.grad, made_hooks)
    made = stack[-1] = Call("REDUCE", stack[-1], args, base + form.reduce)
    memo[put_key] = key
    memo[put_pid] = pid
    memo[put_sizes] = sizes
    memo[put_strides] = strides
    memo[put_hooks] = made_hooks
    memo[put_args] = args
    memo[put_made] = made
    m.program.persistents.append(found)
    m.program.calls += (made_hooks, made)
    m.spent += form.cost
    m.i += form.nbytes
    m.spare -= form.count  # beside that of the first MARK
    return True


def quick_handlers() -> list[Handler]:
    """The table of opcodes for one program, with a MARK that reads whole runs."""
    handlers = [*HANDLERS]
    handlers[_MARK] = Runs().mark
    return handlers
