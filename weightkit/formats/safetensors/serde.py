"""JSON as the official reader's parser (serde_json) takes it, with the offset of everything.

Python's ``json`` is another language in places, so it cannot say what the official reader accepts:

    =====================================  ==============  =================
    in the header                          Python's json   serde_json
    =====================================  ==============  =================
    ``NaN``, ``Infinity``                  accepted        refused
    ``1e400``, 310 digits                  inf, an int     refused
    ``1.7976931348623158e308``             the largest     refused: its arithmetic rounds to inf
    ``-0``                                 the integer 0   the float -0.0, no dimension
    integers over 2^64 - 1                 integers        floats, no dimension
    ``"\\ud800"`` alone                     accepted        refused
    nesting over 127                       accepted        refused
    invalid UTF-8                          by its caller   refused
    a name twice                           the last        the last, or refused (see ``entries``)
    =====================================  ==============  =================

Both skip the four JSON white spaces before and after the text, refuse raw control characters in
strings, trailing commas, leading zeros and a byte order mark.

Nothing is read ahead or built for what is only skipped over, and the work is budgeted, so that
100 MB of brackets end as fast as a small file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from weightkit.errors import FormatError
from weightkit.formats.safetensors.columns import U64

MAX_DEPTH = 127
MAX_VALUES = 400_000
MAX_DIGITS = 1 << 20
MAX_TEXT = 48 << 20
"""Bytes of decoded text, counted as Python would need them at worst (4 per character)."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_BODY = re.compile(
    rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
)  # of a string: as far as it is well formed
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")
_WORDS = {b"n": (b"null", None), b"t": (b"true", True), b"f": (b"false", False)}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Text(NamedTuple):
    """A string, and whether it was written with escapes."""

    value: str
    escaped: bool


class Value(NamedTuple):
    """A JSON value and where it starts in the header.

    ``kind`` is null, boolean, integer (0 to 2^64 - 1), number (every other), string, array or
    object; ``value`` an int, a :class:`Text`, a list of values, or of :class:`Member`.
    """

    kind: str
    at: int
    value: Any = None


class Member(NamedTuple):
    """A member of an object; ``at`` is where its key starts."""

    key: Text
    at: int
    value: Value


class Parser:
    """Walks JSON text from ``at`` on. Every method raises FormatError where serde_json would.

    ``base`` is the file offset of the text, which the errors' offsets count from.
    """

    def __init__(self, text: bytes, base: int) -> None:
        self.text = text
        self.base = base
        self.at = 0
        self.depth = 0
        self.values = 0
        self.decoded = 0

    def error(self, code: str, message: str, at: int | None = None) -> FormatError:
        """A fault at ``at``, or here."""
        return FormatError(message, code=code, offset=self.base + (self.at if at is None else at))

    def peek(self) -> bytes:
        """The next byte that is no white space, or b"" at the end; stays before it."""
        match = _SPACE.match(self.text, self.at)
        self.at = at = match.end() if match else self.at
        return self.text[at : at + 1]

    def items(self, close: bytes) -> Iterator[None]:
        """Step through an array or object, up to its ``close``; read one item per step."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error("WK106", f"nested deeper than {MAX_DEPTH}")
        self.at += 1
        more = self.peek() != close
        while more:
            yield
            mark = self.peek()
            if mark != close and mark != b",":
                raise self._expected(f"a comma or {close.decode()}")
            if more := mark == b",":
                self.at += 1
                if self.peek() == close:
                    raise self.error("WK105", "a comma before the closing bracket")
        self.at += 1
        self.depth -= 1

    def key(self) -> Text:
        """A member's key, and on past the colon."""
        if self.peek() != b'"':
            raise self._expected("a string as key")
        key = self.string()
        if self.peek() != b":":
            raise self._expected("a colon")
        self.at += 1
        return key

    def value(self) -> Value:
        """Any value, with all that is in it."""
        mark = self.peek()
        at = self.at
        self._spend(at)
        if mark == b"{":
            return Value("object", at, [self._member() for _ in self.items(b"}")])
        if mark == b"[":
            return Value("array", at, [self.value() for _ in self.items(b"]")])
        if mark == b'"':
            return Value("string", at, self.string())
        if mark in _WORDS:
            return self._word(*_WORDS[mark])
        return self._number()

    def string(self) -> Text:
        """The string that starts here."""
        start = self.at + 1
        match = _BODY.match(self.text, start)
        end = match.end() if match else start
        if self.text[end : end + 1] != b'"':
            raise self._bad_string(end)
        self.at = end + 1
        raw = self.text[start:end]
        escaped = b"\\" in raw
        self.decoded += len(raw) if raw.isascii() and not escaped else 4 * len(raw)
        if self.decoded > MAX_TEXT:
            raise self.error("WK002", f"the header's text passes {MAX_TEXT >> 20} MiB", start - 1)
        # Invalid UTF-8 is a fault of its own, found before; here it must only not stop us.
        text = raw.decode("utf-8", "replace")
        return Text(self._unescape(text, start) if escaped else text, escaped)

    def _member(self) -> Member:
        self.peek()
        at = self.at
        return Member(self.key(), at, self.value())

    def _spend(self, at: int) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} values that are no plain tensor entries"
            raise self.error("WK002", message, at)

    def _word(self, word: bytes, value: bool | None) -> Value:
        at = self.at
        if not self.text.startswith(word, at):
            raise self._expected(word.decode())
        self.at += len(word)
        return Value("null" if value is None else "boolean", at, value)

    def _number(self) -> Value:
        at = self.at
        match = _NUMBER.match(self.text, at)
        if match is None:
            raise self._expected("a value")
        self.at = match.end()
        if self.at - at > MAX_DIGITS:
            raise self.error("WK002", f"a number of {self.at - at:,} characters", at)
        token = match[0]
        if token.isdigit() and len(token) <= 20 and int(token) <= U64:
            return Value("integer", at, int(token))
        if not fits_double(token):
            raise self.error("WK107", "a number too large for a double", at)
        return Value("number", at)

    def _unescape(self, text: str, start: int) -> str:
        value: str = json.loads(f'"{text}"')
        if _SURROGATE.search(value):
            raise self.error("WK108", "half of a surrogate pair", start + _lone_surrogate(text))
        return value

    def _bad_string(self, at: int) -> FormatError:
        mark = self.text[at : at + 1]
        if not mark:
            return self.error("WK105", "the text ends inside a string", len(self.text))
        what = "an invalid escape" if mark == b"\\" else f"control character 0x{mark[0]:02x}"
        return self.error("WK105", f"{what} in a string", at)

    def _expected(self, what: str) -> FormatError:
        found = self.text[self.at : self.at + 1]
        if not found:
            return self.error("WK105", f"the text ends where {what} should be", len(self.text))
        return self.error("WK105", f"{chr(found[0])!r} where {what} should be")


def fits_double(token: bytes) -> bool:
    """Whether serde_json takes a number, by its own arithmetic: exact digits of a u64, then one
    multiplication, which turns some of the largest doubles into infinity."""
    mantissa, _, power = token.lstrip(b"-").lower().partition(b"e")
    whole, _, fraction = mantissa.partition(b".")
    digits = whole + fraction
    significant = digits.lstrip(b"0")[:20]
    if not significant:
        return True
    if int(significant) > U64:
        significant = significant[:19]
    taken = len(digits) - len(digits.lstrip(b"0")) + len(significant)
    return _finite(int(significant), len(whole) - taken, power)


def _finite(significand: int, exponent: int, power: bytes) -> bool:
    size = power.lstrip(b"+-").lstrip(b"0") or b"0"
    if len(size) > 10:
        return power.startswith(b"-")
    exponent += -int(size) if power.startswith(b"-") else int(size)
    value = float(significand)
    while exponent < -308 and value:
        value /= 1e308
        exponent += 308
    if exponent < 0 or not value:
        return True
    return exponent <= 308 and value * float(f"1e{exponent}") != float("inf")


def _lone_surrogate(text: str) -> int:
    """Byte offset, in the UTF-8 of ``text``, of the first escape that is half of a pair."""
    pending: re.Match[str] | None = None
    for match in _ESCAPE.finditer(text):
        unit = int(match[1], 16) if match[1] else 0
        if pending is not None:
            if 0xDC00 <= unit < 0xE000 and match.start() == pending.end():
                pending = None
                continue
            break
        if 0xDC00 <= unit < 0xE000:
            pending = match
            break
        if 0xD800 <= unit < 0xDC00:
            pending = match
    return len(text[: pending.start()].encode("utf-8", "replace")) if pending else 0
