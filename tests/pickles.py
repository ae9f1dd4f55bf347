"""Pickles by hand: a byte or a few per function, so that a stream reads like its opcodes."""

from __future__ import annotations

import struct

MARK, STOP, TUPLE, REDUCE, BUILD = b"(", b".", b"t", b"R", b"b"
NONE, EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE = b"N", b"}", b"]", b")"
TUPLE1, TUPLE2, TUPLE3 = b"\x85", b"\x86", b"\x87"
NEWOBJ, NEWOBJ_EX, STACK_GLOBAL, POP = b"\x81", b"\x92", b"\x93", b"0"
SETITEM, SETITEMS, APPEND, APPENDS = b"s", b"u", b"a", b"e"


def proto(number: int) -> bytes:
    return bytes([0x80, number])


def name(path: str) -> bytes:
    """GLOBAL of ``module:name``, or of ``module.name`` split at its last dot."""
    module, _, last = path.partition(":") if ":" in path else path.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def stack_name(path: str) -> bytes:
    """STACK_GLOBAL of ``module:name`` or ``module.name``."""
    module, _, last = path.partition(":") if ":" in path else path.rpartition(".")
    return text(module) + text(last) + STACK_GLOBAL


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def tuple_of(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def list_of(*items: bytes) -> bytes:
    return EMPTY_LIST + MARK + b"".join(items) + APPENDS


def dict_of(*items: bytes) -> bytes:
    """Keys and values in turn."""
    return EMPTY_DICT + MARK + b"".join(items) + SETITEMS


def call(path: str, *args: bytes) -> bytes:
    return name(path) + tuple_of(*args) + REDUCE


def new(path: str, *args: bytes) -> bytes:
    return name(path) + tuple_of(*args) + NEWOBJ


def frame(nbytes: int) -> bytes:
    return b"\x95" + struct.pack("<Q", nbytes)
