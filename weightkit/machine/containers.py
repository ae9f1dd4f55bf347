"""Opcodes of the stack, the containers and the memo."""

from __future__ import annotations

from typing import Any

from weightkit.machine.state import ITEM_COST, LIST_COST, MARK_COST, Machine, Stopped
from weightkit.machine.table import U32, opcode
from weightkit.machine.values import parsed
from weightkit.programs import Call, Group, Pairs

# Containers


@opcode(b"(", "MARK")
def _mark(m: Machine) -> None:
    m.spent += MARK_COST
    m.below.append(m.stack)
    m.stack = []


@opcode(b"0", "POP")
def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@opcode(b"1", "POP_MARK")
def _pop_to_mark(m: Machine) -> None:
    m.pop_mark()


@opcode(b"2", "DUP")
def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


opcode(b"]", "EMPTY_LIST")(lambda m: m.node([]))
opcode(b"}", "EMPTY_DICT")(lambda m: m.node(Pairs()))
opcode(b")", "EMPTY_TUPLE")(lambda m: m.stack.append(()))
opcode(b"\x8f", "EMPTY_SET")(lambda m: m.node(Group("set", [])))


@opcode(b"t", "TUPLE")
def _tuple(m: Machine) -> None:
    items = m.stack
    if not m.below:
        raise Stopped("WK302", "no mark on the stack")
    m.stack = stack = m.below.pop()
    m.spent += LIST_COST + ITEM_COST * len(items)
    stack.append(tuple(items))


def _short_tuple(code: bytes, name: str, size: int) -> None:
    def handler(m: Machine) -> None:
        stack = m.stack
        if len(stack) < size:
            raise IndexError
        stack[-size:] = [tuple(stack[-size:])]
        m.spent += LIST_COST

    opcode(code, name)(handler)


for _size in (1, 2, 3):
    _short_tuple(bytes([0x84 + _size]), f"TUPLE{_size}", _size)


@opcode(b"l", "LIST")
def _list(m: Machine) -> None:
    m.node(m.pop_mark())


@opcode(b"d", "DICT")
def _dict(m: Machine) -> None:
    made = Pairs()
    made.items = _even(m.pop_mark())
    m.node(made)


@opcode(b"\x91", "FROZENSET")
def _frozenset(m: Machine) -> None:
    m.node(Group("frozenset", m.pop_mark()))


def _even(items: list[Any]) -> list[Any]:
    if len(items) % 2:
        raise Stopped("WK302", "a key without a value")
    return items


def _put_items(m: Machine, opcode: str, items: list[Any]) -> None:
    """Append to the list on top of the stack; on anything else a method of it would run."""
    target = m.stack[-1]
    if type(target) is list:
        target.extend(items)
        return
    _keep_items(target, items)
    m.call(opcode, target, items)


def _keep_items(target: Any, items: list[Any]) -> None:
    if type(target) is Call:
        if target.items is None:
            target.items = []
        target.items.extend(items)


def _put_pairs(m: Machine, opcode: str, items: list[Any]) -> None:
    """Set keys and values in turn on the dict on top of the stack, or what stands there."""
    target = m.stack[-1]
    if type(target) is Pairs:
        target.items.extend(items)
        return
    if type(target) is Call:
        if target.pairs is None:
            target.pairs = []
        target.pairs.extend(items)
    m.call(opcode, target, items)


@opcode(b"a", "APPEND")
def _append(m: Machine) -> None:
    item = m.stack.pop()
    _put_items(m, "APPEND", [item])


@opcode(b"e", "APPENDS")
def _appends(m: Machine) -> None:
    _put_items(m, "APPENDS", m.pop_mark())


@opcode(b"s", "SETITEM")
def _setitem(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _put_pairs(m, "SETITEM", [key, value])


@opcode(b"u", "SETITEMS")
def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    if len(items) % 2:  # the Python unpickler sets the others before it fails
        _put_pairs(m, "SETITEMS", items[:-1])
    _put_pairs(m, "SETITEMS", _even(items))


@opcode(b"\x90", "ADDITEMS")
def _additems(m: Machine) -> None:
    items = m.pop_mark()
    target = m.stack[-1]
    if type(target) is Group and target.kind == "set":
        target.items.extend(items)
        return
    _keep_items(target, items)
    m.call("ADDITEMS", target, items)


# The memo


def _get(m: Machine, key: int) -> None:
    try:
        m.stack.append(m.memo[key])
    except KeyError:
        raise Stopped("WK307", f"memo entry {key} is not set") from None


@opcode(b"h", "BINGET")
def _binget(m: Machine) -> None:
    i = m.i
    m.i = i + 1
    try:
        m.stack.append(m.memo[m.buf[i]])
    except KeyError:
        _get(m, m.buf[i])  # says so


@opcode(b"j", "LONG_BINGET")
def _long_binget(m: Machine) -> None:
    _get(m, m.length(U32, 4))


@opcode(b"q", "BINPUT")
def _binput(m: Machine) -> None:
    i = m.i
    m.i = i + 1
    m.memo[m.buf[i]] = m.stack[-1]


@opcode(b"r", "LONG_BINPUT")
def _long_binput(m: Machine) -> None:
    i = m.i
    m.i = i + 4
    m.memo[U32(m.buf, i)[0]] = m.stack[-1]


@opcode(b"\x94", "MEMOIZE")
def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _memo_key(m: Machine) -> int:
    key = int(parsed(m, int))
    if key < 0:
        raise Stopped("WK304", f"memo entry {key}")
    return key


@opcode(b"g", "GET")
def _get_line(m: Machine) -> None:
    _get(m, _memo_key(m))


@opcode(b"p", "PUT")
def _put_line(m: Machine) -> None:
    m.memo[_memo_key(m)] = m.stack[-1]
