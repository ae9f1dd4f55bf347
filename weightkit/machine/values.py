"""Opcodes that push numbers, text and bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from weightkit.machine.state import TEXT_COST, Machine, Stopped
from weightkit.machine.table import F64, I32, U16, U32, U64, opcode, u8
from weightkit.programs import Blob, Text, text_at
from weightkit.tensors import ESCAPED, QUOTED, RAW, TEXT

# Constants


def _constant(code: bytes, name: str, value: Any) -> None:
    opcode(code, name)(lambda m: m.stack.append(value))


for _row in [(b"N", "NONE", None), (b"\x88", "NEWTRUE", True), (b"\x89", "NEWFALSE", False)]:
    _constant(*_row)


def _number(code: bytes, name: str, unpack: Callable[..., tuple[Any, ...]], size: int) -> None:
    def handler(m: Machine) -> None:
        i = m.i
        m.stack.append(unpack(m.buf, i)[0])
        m.i = i + size

    opcode(code, name)(handler)


_number(b"J", "BININT", I32, 4)
_number(b"M", "BININT2", U16, 2)
_number(b"G", "BINFLOAT", F64, 8)


@opcode(b"K", "BININT1")
def _binint1(m: Machine) -> None:
    i = m.i
    m.stack.append(m.buf[i])
    m.i = i + 1


def parsed(m: Machine, parse: Callable[[str], Any]) -> Any:
    """The number that the next line spells, as generously as either unpickler reads it.

    The C one goes by C strings, which end at a NUL; the Python one reads no such number at all.
    """
    offset = m.base + m.i
    line = m.line()
    text, nul, _ = line.partition(b"\0")
    if not line:
        raise Stopped("WK304", "a number without digits")
    if len(text) > _DIGITS:
        return 0  # some versions of Python refuse so long a number, and the value decides nothing
    try:
        number = parse(text.decode("ascii"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise Stopped("WK304", f"{text[:40]!r} is no number") from error
    if nul:
        m.fault("WK304", offset, "a number with a NUL byte, which only one of the unpicklers reads")
    return number


_DIGITS = 4300
_OCTAL = re.compile(r"\s*[+-]?0[0-7]+\s*", re.ASCII)


def _integer(text: str) -> int:
    """An INT: Python's base 0, but C reads ``010`` and nothing at all as strtol does."""
    if _OCTAL.fullmatch(text):
        return text == "01" if text in ("00", "01") else int(text, 8)
    return int(text or "0", 0)


@opcode(b"I", "INT")
def _int(m: Machine) -> None:
    m.stack.append(parsed(m, _integer))


@opcode(b"L", "LONG")
def _long(m: Machine) -> None:
    m.stack.append(parsed(m, lambda text: int(text.removesuffix("L"), 0)))


@opcode(b"F", "FLOAT")
def _float(m: Machine) -> None:
    m.stack.append(parsed(m, float))


def _push_long(m: Machine, nbytes: int) -> None:
    if nbytes < 0:
        raise Stopped("WK304", f"a LONG4 of {nbytes} bytes")
    if nbytes > m.limits.keep_bytes:
        m.node(Blob("long", m.skip(nbytes), nbytes))
        return
    m.spent += nbytes
    m.stack.append(int.from_bytes(m.take(nbytes), "little", signed=True))


# Text and bytes


def _push_text(m: Machine, nbytes: int) -> None:
    if nbytes > m.limits.keep_text:
        m.node(Blob("text", m.skip(nbytes), nbytes, encoding=TEXT))
        return
    i = m.i
    offset = m.base + i
    end = i + nbytes
    if end <= m.end:
        raw = m.buf[i:end]
        m.i = end
    else:
        raw = m.take(nbytes)
    try:
        text = Text(raw, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"text of {nbytes} bytes is not UTF-8") from error
    text.offset = offset
    text.nbytes = nbytes
    text.encoding = TEXT
    # One wide character makes all characters wide: up to four bytes for each.
    m.spent += TEXT_COST + (nbytes if nbytes < 24 or raw.isascii() else 4 * nbytes)
    m.stack.append(text)


def _push_string(m: Machine, nbytes: int) -> None:
    """A ``str`` of Python 2: text if it is ASCII, else bytes."""
    if nbytes < 0:
        raise Stopped("WK304", f"a string of {nbytes} bytes")
    if nbytes > m.limits.keep_text:
        m.node(Blob("string", m.skip(nbytes), nbytes))
        return
    offset = m.base + m.i
    _push_decoded(m, m.take(nbytes), offset, nbytes, RAW)


def _push_decoded(m: Machine, plain: bytes, offset: int, nbytes: int, encoding: str) -> None:
    m.spent += TEXT_COST + nbytes
    if plain.isascii():
        encoding = TEXT if encoding == RAW else encoding
        m.stack.append(text_at(plain.decode("ascii"), offset, nbytes, encoding))
    else:
        m.stack.append(Blob("string", offset, nbytes, plain, encoding))


def _push_bytes(m: Machine, nbytes: int, kind: str = "bytes") -> None:
    if nbytes > m.limits.keep_bytes:
        m.node(Blob(kind, m.skip(nbytes), nbytes))
        return
    offset = m.base + m.i
    m.node(Blob(kind, offset, nbytes, m.take(nbytes)))
    m.spent += nbytes


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

    opcode(code, name)(handler)


_sized(b"\x8a", "LONG1", _push_long, u8, 1)
_sized(b"\x8b", "LONG4", _push_long, I32, 4)
_sized(b"\x8c", "SHORT_BINUNICODE", _push_text, u8, 1)
_sized(b"\x8d", "BINUNICODE8", _push_text, U64, 8)
_sized(b"T", "BINSTRING", _push_string, I32, 4)
_sized(b"U", "SHORT_BINSTRING", _push_string, u8, 1)


@opcode(b"X", "BINUNICODE")
def _binunicode(m: Machine) -> None:
    i = m.i
    m.i = i + 4
    _push_text(m, U32(m.buf, i)[0])


_sized(b"B", "BINBYTES", _push_bytes, U32, 4)
_sized(b"C", "SHORT_BINBYTES", _push_bytes, u8, 1)
_sized(b"\x8e", "BINBYTES8", _push_bytes, U64, 8)
_sized(b"\x96", "BYTEARRAY8", _push_bytes, U64, 8, "bytearray")


@opcode(b"S", "STRING")
def _quoted(m: Machine) -> None:
    offset, nbytes, raw = m.line_at()
    if raw is None:
        m.node(Blob("string", offset, nbytes, encoding=QUOTED))
        return
    if len(raw) < 2 or raw[:1] not in b"'\"" or raw[:1] != raw[-1:]:
        raise Stopped("WK304", "a STRING without quotes")
    _push_decoded(m, unescape(raw[1:-1]), offset, nbytes, QUOTED)


_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{2}|[^x]|)", re.DOTALL)
_ESCAPED = dict(
    zip(
        (bytes([mark]) for mark in b"\\'\"abfnrtv\n"),
        (b"\\", b"'", b'"', b"\a", b"\b", b"\f", b"\n", b"\r", b"\t", b"\v", b""),
        strict=True,
    )
)


def unescape(raw: bytes) -> bytes:
    """What a string literal of Python 2 stands for, by the rules of ``codecs.escape_decode``.

    That one warns of escapes that it does not know, and whether it raises is up to the process.
    """
    return _ESCAPE.sub(_unescaped, raw) if b"\\" in raw else raw


def _unescaped(match: re.Match[bytes]) -> bytes:
    what = match[1]
    if not what:
        raise Stopped("WK304", "a STRING with a bad escape")
    if what[:1] == b"x" and len(what) == 3:
        return bytes([int(what[1:], 16)])
    if what.isdigit():
        return bytes([int(what, 8) & 0xFF]) if what[0] < 0x38 else match[0]
    return _ESCAPED.get(what, match[0])


@opcode(b"V", "UNICODE")
def _unicode(m: Machine) -> None:
    offset, nbytes, raw = m.line_at()
    if raw is None:
        m.node(Blob("text", offset, nbytes, encoding=ESCAPED))
        return
    try:
        text = text_at(raw.decode("raw-unicode-escape"), offset, nbytes, ESCAPED)
    except UnicodeDecodeError as error:
        raise Stopped("WK304", f"a UNICODE with a bad escape: {error}") from error
    m.spent += TEXT_COST + 4 * len(text)
    m.stack.append(text)


@opcode(b"\x97", "NEXT_BUFFER")
def _next_buffer(m: Machine) -> None:
    m.fault("WK309", m.base + m.i - 1, "the bytes of a buffer are out of band")
    m.node(Blob("buffer", m.base + m.i, 0))


@opcode(b"\x98", "READONLY_BUFFER")
def _readonly_buffer(m: Machine) -> None:
    m.stack.append(m.stack.pop())
