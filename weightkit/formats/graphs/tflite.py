"""TensorFlow Lite: a FlatBuffer whose root table is ``Model``.

    file            root offset u32, identifier "TFL3"
    table           offset back to its vtable i32, then fields where the vtable says
    vtable          its size u16, the table's size u16, an offset u16 for every field (0: absent)
    Model           version 0, operator_codes 1
    OperatorCode    deprecated_builtin_code 0, custom_code 1, version 2, builtin_code 3

Source: ``tensorflow/lite/schema/schema.fbs``, flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct

from weightkit.errors import FormatError
from weightkit.formats.graphs import Graph
from weightkit.formats.graphs.protobuf import Broken
from weightkit.source import Reader

IDENTIFIER = b"TFL3"
MAX_OPERATORS = 10_000
CUSTOM = 32


def accepts(head: bytes) -> bool:
    """Whether the identifier stands where it must."""
    return head[4:8] == IDENTIFIER


def read(source: Reader) -> Graph:
    """The custom operators of a model. Raises Broken where an offset leads nowhere."""
    buffer = _Buffer(source)
    try:
        model = buffer.number("I", 0)
        codes = buffer.vector(model, 1)
        names = {("custom", name): None for code in codes if (name := buffer.custom(code))}
    except (FormatError, struct.error) as error:
        raise Broken(str(error)) from error
    return Graph("TensorFlow Lite", tuple(names))


class _Buffer:
    def __init__(self, source: Reader) -> None:
        self.source = source

    def number(self, form: str, offset: int) -> int:
        (value,) = struct.unpack(f"<{form}", self.source.pread(offset, struct.calcsize(form)))
        return int(value)

    def field(self, table: int, number: int) -> int:
        """Where a field of a table is; 0 if it is absent."""
        vtable = table - self.number("i", table)
        if 4 + 2 * number + 2 > self.number("H", vtable):
            return 0
        offset = self.number("H", vtable + 4 + 2 * number)
        return table + offset if offset else 0

    def vector(self, table: int, number: int) -> list[int]:
        """The tables that a vector of a table points to."""
        at = self.field(table, number)
        if not at:
            return []
        start = at + self.number("I", at)
        count = self.number("I", start)
        if count > MAX_OPERATORS:
            raise Broken(f"{count} operators")
        places = range(start + 4, start + 4 + 4 * count, 4)
        return [place + self.number("I", place) for place in places]

    def custom(self, code: int) -> str:
        """The name of a custom operator; "" of a built-in one."""
        at = self.field(code, 1)
        if not at:
            return ""
        start = at + self.number("I", at)
        nbytes = min(self.number("I", start), 200)
        return self.source.pread(start + 4, nbytes).decode("utf-8", "replace")
