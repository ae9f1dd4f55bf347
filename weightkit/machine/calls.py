"""Opcodes that would import and call, and those that frame the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weightkit.machine.state import FRAME_COST, TEXT_COST, Finished, Machine, Stopped
from weightkit.machine.table import I32, U16, U64, opcode, u8
from weightkit.programs import Call, Persistent, Text, text_at

PROTOCOLS = range(6)

# Names


def _name(m: Machine) -> str:
    start, nbytes, raw = m.line_at()
    if raw is None:  # too long to be kept: the NUL marks it as a name that nothing has
        return f"{m.source.peek(start, min(nbytes, 500)).decode('utf-8', 'replace')}\0 ({nbytes} bytes)"
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"the name {raw[:40]!r} is not UTF-8") from error


def _read_global(m: Machine, opcode: str) -> None:
    offset = m.base + m.i - 1
    module = _name(m)
    name = _name(m)
    if "\0" in module or "\0" in name:
        m.push_global("?", "?", offset, opcode, operands=(module, name))
    else:
        m.push_global(module, name, offset, opcode)


@opcode(b"c", "GLOBAL")
def _global(m: Machine) -> None:
    _read_global(m, "GLOBAL")


@opcode(b"\x93", "STACK_GLOBAL")
def _stack_global(m: Machine) -> None:
    name = m.stack.pop()
    module = m.stack.pop()
    if isinstance(module, Text) and isinstance(name, Text):
        m.push_global(str(module), str(name), m.base + m.i - 1, "STACK_GLOBAL")
    else:
        m.push_global("?", "?", m.base + m.i - 1, "STACK_GLOBAL", operands=(module, name))


def _extension(code: bytes, name: str, unpack: Callable[..., tuple[int, ...]], size: int) -> None:
    def handler(m: Machine) -> None:
        offset = m.base + m.i - 1
        m.push_global("?", "?", offset, name, extension=m.length(unpack, size))

    opcode(code, name)(handler)


_extension(b"\x82", "EXT1", u8, 1)
_extension(b"\x83", "EXT2", U16, 2)
_extension(b"\x84", "EXT4", I32, 4)


@opcode(b"P", "PERSID")
def _persid(m: Machine) -> None:
    offset = m.base + m.i
    raw = m.line()
    m.spent += TEXT_COST + len(raw)
    _persistent(m, text_at(raw.decode("latin-1"), offset, len(raw)), offset - 1)


@opcode(b"Q", "BINPERSID")
def _binpersid(m: Machine) -> None:
    _persistent(m, m.stack.pop(), m.base + m.i - 1)


def _persistent(m: Machine, pid: Any, offset: int) -> None:
    found = Persistent(pid, offset)
    m.program.persistents.append(found)
    m.node(found)


# Calls


@opcode(b"R", "REDUCE")
def _reduce(m: Machine) -> None:
    stack = m.stack
    args = stack.pop()
    stack[-1] = m.call("REDUCE", stack[-1], args)


@opcode(b"\x81", "NEWOBJ")
def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call("NEWOBJ", m.stack[-1], args)


@opcode(b"\x92", "NEWOBJ_EX")
def _newobj_ex(m: Machine) -> None:
    kwargs = m.stack.pop()
    args = m.stack.pop()
    m.stack[-1] = m.call("NEWOBJ_EX", m.stack[-1], args, kwargs)


@opcode(b"i", "INST")
def _inst(m: Machine) -> None:
    _read_global(m, "INST")
    target = m.stack.pop()
    args = tuple(m.pop_mark())
    m.stack.append(m.call("INST", target, args, offset=target.offset))


@opcode(b"o", "OBJ")
def _obj(m: Machine) -> None:
    items = m.pop_mark()
    target = items.pop(0)
    m.stack.append(m.call("OBJ", target, tuple(items)))


@opcode(b"b", "BUILD")
def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Call):
        target.state = state
    made = m.call("BUILD", target, state)
    if m.inline is not None:
        _pass_over(m, m.inline(made, m.base + m.i))


def _pass_over(m: Machine, nbytes: int) -> None:
    """Skip foreign bytes; a reader that buffers frames looks for them behind the frame."""
    if not nbytes:
        return
    position = m.base + m.i
    if position < m.frame_end:
        early = "foreign bytes begin {} bytes before the frame ends"
        m.fault("WK313", position, early, m.frame_end - position)
    m.foreign += nbytes
    m.enter_frame(0)
    m.skip(nbytes)


# Framing and the end


@opcode(b"\x80", "PROTO")
def _proto(m: Machine) -> None:
    number = m.buf[m.i]
    m.i += 1
    m.program.protocol = max(m.program.protocol, number)
    if number not in PROTOCOLS:
        m.fault("WK308", m.base + m.i - 2, "protocol {} does not exist", number)


@opcode(b"\x95", "FRAME")
def _frame(m: Machine) -> None:
    nbytes = m.length(U64, 8)
    start = m.base + m.i
    if start < m.frame_end:
        early = "a frame starts {} bytes before the last one ends"
        m.fault("WK313", start - 9, early, m.frame_end - start)
    if start + nbytes > m.source.size:
        m.fault("WK306", start - 9, "a frame of {} bytes passes the end of the pickle", nbytes)
    m.spent += FRAME_COST
    m.enter_frame(start + nbytes)


@opcode(b".", "STOP")
def _stop(m: Machine) -> None:
    position = m.base + m.i
    if position > m.source.size:
        raise Stopped("WK301", "the pickle ends inside an operand")
    m.program.root = m.stack.pop()
    if position < m.frame_end <= m.source.size:
        early = "STOP lies {} bytes before its frame ends"
        m.fault("WK313", position - 1, early, m.frame_end - position)
    raise Finished
