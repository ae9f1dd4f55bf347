"""The table of opcodes: a handler for each byte value."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from weightkit.machine.state import Machine, Stopped

U16 = Struct("<H").unpack_from
I32 = Struct("<i").unpack_from
U32 = Struct("<I").unpack_from
U64 = Struct("<Q").unpack_from
F64 = Struct(">d").unpack_from


def u8(buf: bytes, i: int) -> tuple[int, ...]:
    """A byte, with the signature of the others."""
    return (buf[i],)


Handler = Callable[[Machine], None]


def _unknown(m: Machine) -> None:
    m.i -= 1
    raise Stopped("WK303", f"0x{m.buf[m.i]:02x} is no opcode")


HANDLERS: list[Handler] = [_unknown] * 256
OPCODES: dict[int, str] = {}
"""Names of the opcodes that have a handler; a test holds it equal to the standard library's list."""


def opcode(code: bytes, name: str) -> Callable[[Handler], Handler]:
    """Enter a handler into the table."""

    def enter(handler: Handler) -> Handler:
        HANDLERS[code[0]] = handler
        OPCODES[code[0]] = name
        return handler

    return enter
