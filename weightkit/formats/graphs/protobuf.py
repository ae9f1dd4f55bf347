"""The wire format of protocol buffers: numbered fields, read one by one and never all at once.

    field   key varint (number << 3 | kind), then by kind: 0 a varint, 1 eight bytes, 2 a length
            varint and so many bytes, 5 four bytes

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from weightkit.source import Cursor, Reader

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
        cursor = Cursor(self.source, offset)
        end = offset + nbytes
        while cursor.position < end:
            self.left -= 1
            if self.left < 0:
                raise Broken("too many fields")
            yield self.field(cursor, end)
        if cursor.position != end:
            raise Broken(f"a field passes the end of its message at 0x{end:x}")

    def field(self, cursor: Cursor, end: int) -> Field:
        at = cursor.position
        key = varint(cursor, end)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise Broken(f"field number {number} at 0x{at:x}")
        if kind == VARINT:
            return Field(number, kind, varint(cursor, end), at, 0)
        width = {FIXED64: 8, FIXED32: 4}.get(kind)
        if width is None and kind != BYTES:
            raise Broken(f"a field of kind {kind} at 0x{at:x}")
        nbytes = varint(cursor, end) if width is None else width
        start = cursor.position
        if nbytes > end - start:
            raise Broken(f"a field of {nbytes} bytes at 0x{at:x}, but {end - start} remain")
        cursor.skip(nbytes)
        return Field(number, kind, 0, start, nbytes)

    def text(self, field: Field, limit: int = 4096) -> str:
        """The value of a length-delimited field as text, cut to ``limit`` bytes."""
        raw = self.source.pread(field.offset, min(field.nbytes, limit))
        return raw.decode("utf-8", "replace")


def varint(cursor: Cursor, end: int) -> int:
    """A number of up to ten bytes, seven bits in each, the lowest first."""
    value = 0
    for place in range(10):
        if cursor.position >= end:
            raise Broken(f"a number passes the end of its message at 0x{end:x}")
        byte = cursor.take(1)[0]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value
    raise Broken(f"a number of more than ten bytes at 0x{cursor.position:x}")
