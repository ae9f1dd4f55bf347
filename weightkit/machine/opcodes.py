"""The table of opcodes: a handler each, in the groups of ``pickletools``."""

from __future__ import annotations

import warnings
from codecs import escape_decode
from collections.abc import Callable
from struct import Struct
from typing import Any

from weightkit.machine.state import Finished, Machine, Stopped
from weightkit.programs import Blob, Call, Group, Pairs, Persistent, Text, text_at
from weightkit.tensors import ESCAPED, QUOTED, TEXT

PROTOCOLS = range(6)

_U16 = Struct("<H").unpack_from
_I32 = Struct("<i").unpack_from
_U32 = Struct("<I").unpack_from
_U64 = Struct("<Q").unpack_from
_F64 = Struct(">d").unpack_from


Handler = Callable[[Machine], None]


def _unknown(m: Machine) -> None:
    m.i -= 1
    raise Stopped("WK303", f"0x{m.buf[m.i]:02x} is no opcode")


HANDLERS: list[Handler] = [_unknown] * 256
OPCODES: dict[int, str] = {}
"""Names of the opcodes that have a handler; a test holds it equal to the standard library's list."""


def _opcode(code: bytes, name: str) -> Callable[[Handler], Handler]:
    """Enter a handler into the table."""

    def enter(handler: Handler) -> Handler:
        HANDLERS[code[0]] = handler
        OPCODES[code[0]] = name
        return handler

    return enter


# Framing and the end


@_opcode(b"\x80", "PROTO")
def _proto(m: Machine) -> None:
    number = m.buf[m.i]
    m.i += 1
    m.program.protocol = max(m.program.protocol, number)
    if number not in PROTOCOLS:
        m.fault("WK308", f"protocol {number} does not exist")


@_opcode(b"\x95", "FRAME")
def _frame(m: Machine) -> None:
    nbytes = m.length(_U64, 8)
    position = m.base + m.i
    if position < m.frame_end:
        m.fault("WK306", f"a frame starts {m.frame_end - position} bytes before the last one ends")
    if position + nbytes > m.source.size:
        m.fault("WK306", f"a frame of {nbytes} bytes passes the end of the pickle")
    m.frame_end = position + nbytes


@_opcode(b".", "STOP")
def _stop(m: Machine) -> None:
    m.program.root = m.stack.pop()
    position = m.base + m.i
    if position > m.source.size:
        raise Stopped("WK301", "the pickle ends inside an operand")
    if position < m.frame_end <= m.source.size:
        m.fault("WK306", f"STOP lies {m.frame_end - position} bytes before its frame ends")
    raise Finished


# Constants


def _constant(code: bytes, name: str, value: Any) -> None:
    _opcode(code, name)(lambda m: m.stack.append(value))


for _row in [(b"N", "NONE", None), (b"\x88", "NEWTRUE", True), (b"\x89", "NEWFALSE", False)]:
    _constant(*_row)


def _number(code: bytes, name: str, unpack: Callable[..., tuple[Any, ...]], size: int) -> None:
    def handler(m: Machine) -> None:
        i = m.i
        m.stack.append(unpack(m.buf, i)[0])
        m.i = i + size

    _opcode(code, name)(handler)


_number(b"J", "BININT", _I32, 4)
_number(b"M", "BININT2", _U16, 2)
_number(b"G", "BINFLOAT", _F64, 8)


@_opcode(b"K", "BININT1")
def _binint1(m: Machine) -> None:
    i = m.i
    m.stack.append(m.buf[i])
    m.i = i + 1


def _parsed(m: Machine, parse: Callable[[str], Any]) -> None:
    """Push a number that is written as text.

    The C unpickler reads up to a NUL byte, the Python one does not read such a number at all.
    """
    text, nul, _ = m.line().partition(b"\0")
    try:
        m.stack.append(parse(text.decode("ascii")))
    except ValueError as error:  # UnicodeDecodeError is one
        raise Stopped("WK304", f"{text[:40]!r} is no number") from error
    if nul:
        m.fault("WK304", "a number with a NUL byte, which only one of the unpicklers reads")


def _integer(text: str) -> int:
    """As the C unpickler does: a leading zero means octal."""
    if len(text) > _DIGITS:
        return 0  # the unpicklers differ here, and the value decides nothing
    try:
        return int(text, 0)
    except ValueError:
        return int(text, 8)


_DIGITS = 4300
"""Python itself refuses longer decimal numbers."""


@_opcode(b"I", "INT")
def _int(m: Machine) -> None:
    _parsed(m, lambda text: text == "01" if text in ("00", "01") else _integer(text))


@_opcode(b"L", "LONG")
def _long(m: Machine) -> None:
    _parsed(m, lambda text: _integer(text.removesuffix("L")))


@_opcode(b"F", "FLOAT")
def _float(m: Machine) -> None:
    _parsed(m, float)


@_opcode(b"\x8a", "LONG1")
def _long1(m: Machine) -> None:
    m.stack.append(int.from_bytes(m.take(m.length(_u8, 1)), "little", signed=True))


@_opcode(b"\x8b", "LONG4")
def _long4(m: Machine) -> None:
    nbytes = m.length(_I32, 4)
    if nbytes < 0:
        raise Stopped("WK304", f"a LONG4 of {nbytes} bytes")
    if nbytes > m.limits.keep_bytes:
        m.node(Blob("bytes", m.skip(nbytes), nbytes))
        return
    m.stack.append(int.from_bytes(m.take(nbytes), "little", signed=True))


def _u8(buf: bytes, i: int) -> tuple[int, ...]:
    return (buf[i],)


# Text and bytes


def _push_text(m: Machine, nbytes: int) -> None:
    if nbytes > m.limits.keep_text:
        m.node(Blob("text", m.skip(nbytes), nbytes, encoding=TEXT))
        return
    offset = m.base + m.i
    raw = m.take(nbytes)
    try:
        text = Text(raw, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"text of {nbytes} bytes is not UTF-8") from error
    text.offset = offset
    text.nbytes = nbytes
    text.encoding = TEXT
    m.text += nbytes
    m.nodes += 1
    m.stack.append(text)


def _push_string(m: Machine, nbytes: int) -> None:
    """A ``str`` of Python 2: text if it is ASCII, else bytes."""
    if nbytes < 0:
        raise Stopped("WK304", f"a string of {nbytes} bytes")
    if nbytes > m.limits.keep_text:
        m.node(Blob("string", m.skip(nbytes), nbytes))
        return
    offset = m.base + m.i
    m.node(_string(m.take(nbytes), offset))
    m.text += nbytes


def _string(raw: bytes, offset: int) -> Text | Blob:
    if not raw.isascii():
        return Blob("string", offset, len(raw), raw)
    return text_at(raw.decode("ascii"), offset, len(raw))


def _push_bytes(m: Machine, nbytes: int, kind: str = "bytes") -> None:
    if nbytes > m.limits.keep_bytes:
        m.node(Blob(kind, m.skip(nbytes), nbytes))
        return
    offset = m.base + m.i
    m.node(Blob(kind, offset, nbytes, m.take(nbytes)))
    m.text += nbytes


def _sized(
    code: bytes,
    name: str,
    push: Callable[..., None],
    unpack: Callable[..., tuple[int, ...]],
    size: int,
    *more: Any,
) -> None:
    """An opcode whose operand is a length and as many bytes."""

    def handler(m: Machine) -> None:
        i = m.i
        m.i = i + size
        push(m, unpack(m.buf, i)[0], *more)

    _opcode(code, name)(handler)


_sized(b"X", "BINUNICODE", _push_text, _U32, 4)
_sized(b"\x8c", "SHORT_BINUNICODE", _push_text, _u8, 1)
_sized(b"\x8d", "BINUNICODE8", _push_text, _U64, 8)
_sized(b"T", "BINSTRING", _push_string, _I32, 4)
_sized(b"U", "SHORT_BINSTRING", _push_string, _u8, 1)
_sized(b"B", "BINBYTES", _push_bytes, _U32, 4)
_sized(b"C", "SHORT_BINBYTES", _push_bytes, _u8, 1)
_sized(b"\x8e", "BINBYTES8", _push_bytes, _U64, 8)
_sized(b"\x96", "BYTEARRAY8", _push_bytes, _U64, 8, "bytearray")


@_opcode(b"S", "STRING")
def _quoted(m: Machine) -> None:
    offset = m.base + m.i
    raw = m.line().strip()
    if len(raw) < 2 or raw[:1] not in b"'\"" or raw[:1] != raw[-1:]:
        raise Stopped("WK304", "a STRING without quotes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none: they stay as they are
            plain = escape_decode(raw[1:-1])[0]
    except ValueError as error:
        raise Stopped("WK304", f"a STRING with a bad escape: {error}") from error
    m.text += len(raw)
    if plain.isascii():
        m.node(text_at(plain.decode("ascii"), offset, len(raw), QUOTED))
    else:
        m.node(Blob("string", offset, len(raw), plain, QUOTED))


@_opcode(b"V", "UNICODE")
def _unicode(m: Machine) -> None:
    offset = m.base + m.i
    raw = m.line()
    try:
        text = text_at(raw.decode("raw-unicode-escape"), offset, len(raw), ESCAPED)
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"a UNICODE with a bad escape: {error}") from error
    m.text += len(raw)
    m.node(text)


@_opcode(b"\x97", "NEXT_BUFFER")
def _next_buffer(m: Machine) -> None:
    m.fault("WK309", "the bytes of a buffer are out of band")
    m.node(Blob("buffer", m.base + m.i, 0))


@_opcode(b"\x98", "READONLY_BUFFER")
def _readonly_buffer(m: Machine) -> None:
    m.stack.append(m.stack.pop())


# Containers


@_opcode(b"(", "MARK")
def _mark(m: Machine) -> None:
    m.nodes += 1
    m.below.append(m.stack)
    m.stack = []


@_opcode(b"0", "POP")
def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@_opcode(b"1", "POP_MARK")
def _pop_to_mark(m: Machine) -> None:
    m.pop_mark()


@_opcode(b"2", "DUP")
def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


_opcode(b"]", "EMPTY_LIST")(lambda m: m.node([]))
_opcode(b"}", "EMPTY_DICT")(lambda m: m.node(Pairs()))
_opcode(b")", "EMPTY_TUPLE")(lambda m: m.stack.append(()))
_opcode(b"\x8f", "EMPTY_SET")(lambda m: m.node(Group("set", [])))


@_opcode(b"t", "TUPLE")
def _tuple(m: Machine) -> None:
    items = tuple(m.pop_mark())
    m.nodes += 1
    m.stack.append(items)


def _short_tuple(code: bytes, name: str, size: int) -> None:
    def handler(m: Machine) -> None:
        stack = m.stack
        if len(stack) < size:
            raise IndexError
        stack[-size:] = [tuple(stack[-size:])]
        m.nodes += 1

    _opcode(code, name)(handler)


for _size in (1, 2, 3):
    _short_tuple(bytes([0x84 + _size]), f"TUPLE{_size}", _size)


@_opcode(b"l", "LIST")
def _list(m: Machine) -> None:
    m.node(m.pop_mark())


@_opcode(b"d", "DICT")
def _dict(m: Machine) -> None:
    made = Pairs()
    made.items = m.pop_mark()
    _check_even(made.items)
    m.node(made)


@_opcode(b"\x91", "FROZENSET")
def _frozenset(m: Machine) -> None:
    m.node(Group("frozenset", m.pop_mark()))


def _check_even(items: list[Any]) -> None:
    if len(items) % 2:
        raise Stopped("WK302", "a key without a value")


def _put_items(m: Machine, opcode: str, items: list[Any]) -> None:
    """Append to the list on top of the stack; on anything else a method of it would run."""
    target = m.stack[-1]
    if type(target) is list:
        target.extend(items)
        return
    if isinstance(target, Call):
        if target.items is None:
            target.items = []
        target.items.extend(items)
    m.call(opcode, target, items)


def _put_pairs(m: Machine, opcode: str, items: list[Any]) -> None:
    """Set keys and values in turn on the dict on top of the stack, or what stands there."""
    target = m.stack[-1]
    if type(target) is Pairs:
        target.items.extend(items)
        return
    if isinstance(target, Call):
        if target.pairs is None:
            target.pairs = []
        target.pairs.extend(items)
    m.call(opcode, target, items)


@_opcode(b"a", "APPEND")
def _append(m: Machine) -> None:
    item = m.stack.pop()
    _put_items(m, "APPEND", [item])


@_opcode(b"e", "APPENDS")
def _appends(m: Machine) -> None:
    _put_items(m, "APPENDS", m.pop_mark())


@_opcode(b"s", "SETITEM")
def _setitem(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _put_pairs(m, "SETITEM", [key, value])


@_opcode(b"u", "SETITEMS")
def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    _put_pairs(m, "SETITEMS", items)
    _check_even(items)  # afterwards: the Python unpickler sets the pairs before the odd key


@_opcode(b"\x90", "ADDITEMS")
def _additems(m: Machine) -> None:
    items = m.pop_mark()
    target = m.stack[-1]
    if type(target) is Group:
        target.items.extend(items)
    else:
        m.call("ADDITEMS", target, items)


# The memo


def _get(m: Machine, key: int) -> None:
    try:
        m.stack.append(m.memo[key])
    except KeyError:
        raise Stopped("WK307", f"memo entry {key} is not set") from None


@_opcode(b"h", "BINGET")
def _binget(m: Machine) -> None:
    i = m.i
    m.i = i + 1
    _get(m, m.buf[i])


@_opcode(b"j", "LONG_BINGET")
def _long_binget(m: Machine) -> None:
    _get(m, m.length(_U32, 4))


@_opcode(b"q", "BINPUT")
def _binput(m: Machine) -> None:
    i = m.i
    m.i = i + 1
    m.memo[m.buf[i]] = m.stack[-1]


@_opcode(b"r", "LONG_BINPUT")
def _long_binput(m: Machine) -> None:
    i = m.i
    m.i = i + 4
    m.memo[_U32(m.buf, i)[0]] = m.stack[-1]


@_opcode(b"\x94", "MEMOIZE")
def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _memo_key(m: Machine) -> int:
    _parsed(m, int)
    key = m.stack.pop()
    if key < 0:
        raise Stopped("WK304", f"memo entry {key}")
    return int(key)


@_opcode(b"g", "GET")
def _get_line(m: Machine) -> None:
    _get(m, _memo_key(m))


@_opcode(b"p", "PUT")
def _put_line(m: Machine) -> None:
    m.memo[_memo_key(m)] = m.stack[-1]


# Names


def _name(m: Machine) -> str:
    raw = m.line()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"the name {raw[:40]!r} is not UTF-8") from error


def _read_global(m: Machine, opcode: str) -> None:
    offset = m.base + m.i - 1
    module = _name(m)
    try:
        name = _name(m)
    except Stopped:
        m.push_global(module, "", offset, opcode)  # the module is imported before the name fails
        raise
    if "\0" in module or "\0" in name:  # too long to be kept, or none that can be imported
        operands = (module[:1000], name[:1000])
        m.push_global("?", "?", offset, opcode, operands=operands)
    else:
        m.push_global(module, name, offset, opcode)


@_opcode(b"c", "GLOBAL")
def _global(m: Machine) -> None:
    _read_global(m, "GLOBAL")


@_opcode(b"\x93", "STACK_GLOBAL")
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

    _opcode(code, name)(handler)


_extension(b"\x82", "EXT1", _u8, 1)
_extension(b"\x83", "EXT2", _U16, 2)
_extension(b"\x84", "EXT4", _I32, 4)


@_opcode(b"P", "PERSID")
def _persid(m: Machine) -> None:
    offset = m.base + m.i
    raw = m.line()
    _persistent(m, text_at(raw.decode("latin-1"), offset, len(raw)))


@_opcode(b"Q", "BINPERSID")
def _binpersid(m: Machine) -> None:
    _persistent(m, m.stack.pop())


def _persistent(m: Machine, pid: Any) -> None:
    found = Persistent(pid, m.base + m.i - 1)
    m.program.persistents.append(found)
    m.node(found)


# Calls


@_opcode(b"R", "REDUCE")
def _reduce(m: Machine) -> None:
    stack = m.stack
    args = stack.pop()
    stack[-1] = m.call("REDUCE", stack[-1], args)


@_opcode(b"\x81", "NEWOBJ")
def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call("NEWOBJ", m.stack[-1], args)


@_opcode(b"\x92", "NEWOBJ_EX")
def _newobj_ex(m: Machine) -> None:
    kwargs = m.stack.pop()
    args = m.stack.pop()
    m.stack[-1] = m.call("NEWOBJ_EX", m.stack[-1], args, kwargs)


@_opcode(b"i", "INST")
def _inst(m: Machine) -> None:
    _read_global(m, "INST")
    target = m.stack.pop()
    args = tuple(m.pop_mark())  # puts the stack below the mark back
    m.stack.append(m.call("INST", target, args))


@_opcode(b"o", "OBJ")
def _obj(m: Machine) -> None:
    items = m.pop_mark()
    target = items.pop(0)
    m.stack.append(m.call("OBJ", target, tuple(items)))


@_opcode(b"b", "BUILD")
def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Call):
        target.state = state
    made = m.call("BUILD", target, state)
    if m.inline is not None:
        m.skip(m.inline(made, m.base + m.i))
