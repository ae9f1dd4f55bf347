"""The wire format of protocol buffers: numbered fields, read one by one and never all at once.

    field   key varint (number << 3 | kind), then by kind: 0 a varint, 1 eight bytes, 2 a length
            varint and so many bytes, 5 four bytes

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from weightkit.source import Reader

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Broken(Exception):
    """The bytes are no message; the text says why."""


class Field(NamedTuple):
    """A field of a message; ``offset`` and ``nbytes`` are those of a length-delimited value."""

    number: int
    kind: int
    value: int
    offset: int
    nbytes: int


class Messages:
    """Reads messages of one source, so many fields altogether."""

    def __init__(self, source: Reader, limit: int) -> None:
        self.source = source
        self.left = limit

    def fields(self, offset: int, nbytes: int) -> Iterator[Field]:
        """The fields of the message in a range. Raises Broken where they do not fill it."""
        at, end = offset, offset + nbytes
        window, start = b"", at
        while at < end:
            if at + HEAD > start + len(window):
                start = at
                window = self.source.pread(at, min(WINDOW, end - at))
            field = _field(window, at - start, at)
            at = field.offset + field.nbytes
            if at > end:
                raise Broken(f"a field passes the end of its message at 0x{end:x}")
            self.left -= 1
            if self.left < 0:
                raise Broken("too many fields")
            yield field

    def text(self, field: Field, limit: int = 4096) -> str:
        """The value of a length-delimited field as text, cut to ``limit`` bytes."""
        raw = self.source.pread(field.offset, min(field.nbytes, limit))
        return raw.decode("utf-8", "replace")


WINDOW = 1 << 16
HEAD = 20
"""Bytes that the key and the length (or number) of a field can take."""
_WIDTHS = {FIXED64: 8, FIXED32: 4}


def _field(window: bytes, at: int, offset: int) -> Field:
    """The field whose key stands in ``window`` at ``at``, and in the source at ``offset``."""
    begun = at
    key, at = _varint(window, at)
    number, kind = key >> 3, key & 7
    if not 0 < number < 1 << 29:
        raise Broken(f"field number {number} at 0x{offset:x}")
    if kind == VARINT:
        value, at = _varint(window, at)
        return Field(number, kind, value, offset + at - begun, 0)
    if kind == BYTES:
        nbytes, at = _varint(window, at)
    elif kind in _WIDTHS:
        nbytes = _WIDTHS[kind]
    else:
        raise Broken(f"a field of kind {kind} at 0x{offset:x}")
    return Field(number, kind, 0, offset + at - begun, nbytes)


def _varint(window: bytes, at: int) -> tuple[int, int]:
    """A number of up to ten bytes, seven bits in each, the lowest first; and where it ends."""
    value = shift = 0
    for place in range(at, min(at + 10, len(window))):
        byte = window[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise Broken("a number that does not end")
