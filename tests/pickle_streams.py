"""Pickle streams by hand and by chance: opcodes as bytes, nothing that an unpickler would import."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

NAMES = ["a", "b.c", "set", "list", "os", "dict", "x.y.z"]


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL of two texts."""
    return short(module) + short(attribute) + b"\x93"


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """A global called by REDUCE with arguments that are streams themselves."""
    return name(module, attribute) + b"(" + b"".join(args) + b"tR"


def frame(body: bytes, claimed: int | None = None) -> bytes:
    """FRAME of ``body``, whose length may be claimed wrongly."""
    return b"\x95" + struct.pack("<Q", len(body) if claimed is None else claimed) + body


Maker = Callable[[random.Random], bytes]


def _numbers(r: random.Random) -> bytes:
    return r.choice(
        [
            b"I%d\n" % r.randint(-99, 99),
            b"I00\n",
            b"I01\n",
            b"I010\n",
            b"I0x1f\n",
            b"I7\0x\n",
            b"L12345678901234567890L\n",
            b"L-7\n",
            b"F1.5\n",
            b"F-inf\n",
            b"J" + struct.pack("<i", r.randint(-(2**31), 2**31 - 1)),
            b"K" + bytes([r.randrange(256)]),
            b"M" + struct.pack("<H", r.randrange(65536)),
            b"G" + struct.pack(">d", r.uniform(-9, 9)),
            b"\x8a" + bytes([2]) + r.randbytes(2),
            b"\x8a\0",
            b"\x8b\x03\0\0\0" + r.randbytes(3),
        ]
    )


def _texts(r: random.Random) -> bytes:
    word = r.choice([*NAMES, "ä", "€", "\U0001f600", ""])
    raw = word.encode()
    return r.choice(
        [
            text(word),
            b"\x8c" + bytes([len(raw)]) + raw,
            b"\x8d" + struct.pack("<Q", len(raw)) + raw,
            b"V" + word.encode("raw-unicode-escape") + b"\n",
            b"V\\u00e4\\U0001f600\n",
            b"S'a\\x41\\101\\n\\q\\\\'\n",
            b'S"it\'s"\n',
            b"T" + struct.pack("<i", len(raw)) + raw,
            b"U" + bytes([len(raw)]) + raw,
        ]
    )


def _bytes(r: random.Random) -> bytes:
    raw = r.randbytes(r.randrange(5))
    size = len(raw)
    return r.choice(
        [
            b"B" + struct.pack("<I", size) + raw,
            b"C" + bytes([size]) + raw,
            b"\x8e" + struct.pack("<Q", size) + raw,
            b"\x96" + struct.pack("<Q", size) + raw,
        ]
    )


def _name(r: random.Random) -> bytes:
    module, attribute = r.choice(NAMES), r.choice(NAMES)
    return r.choice([name(module, attribute), stack_name(module, attribute), b"\x82\x01"])


def _inst(r: random.Random) -> bytes:
    return f"i{r.choice(NAMES)}\n{r.choice(NAMES)}\n".encode()


def _key(r: random.Random) -> bytes:
    return r.choice([_numbers, _texts, _bytes])(r)


def _put(r: random.Random) -> bytes:
    key = r.randrange(4)
    return r.choice([b"q%c" % key, b"r" + struct.pack("<I", key), b"p%d\n" % key, b"\x94"])


def _get(r: random.Random) -> bytes:
    key = r.randrange(4)
    return r.choice([b"h%c" % key, b"j" + struct.pack("<I", key), b"g%d\n" % key, b"g0%d \n" % key])


def _proto(r: random.Random) -> bytes:
    return b"\x80" + bytes([r.randrange(6)])


def _few(r: random.Random) -> bytes:
    return b"".join(_leaf(r) for _ in range(r.randrange(4)))


def _keys(r: random.Random) -> bytes:
    return b"".join(_key(r) for _ in range(r.randrange(4)))


def _pairs(r: random.Random) -> bytes:
    return b"".join(_key(r) + _leaf(r) for _ in range(r.randrange(3)))


def _leaf(r: random.Random) -> bytes:
    return r.choice([_numbers, _texts, _bytes, _name, _constant])(r)


def _constant(r: random.Random) -> bytes:
    return r.choice([b"N", b"\x88", b"\x89", b")", b"]", b"}"])


class Hole:
    """Any piece, in its place in a template."""


HOLE = Hole()
Part = bytes | Maker | Hole
CALL: tuple[Part, ...] = (_name, b"(", _few, b"tR")
TEMPLATES: list[tuple[Part, ...]] = [
    CALL,
    (*CALL, HOLE, b"b"),
    (*CALL, b"}", _key, HOLE, b"sb"),
    (*CALL, HOLE, b"a"),
    (*CALL, b"(", HOLE, _few, b"e"),
    (*CALL, _key, HOLE, b"s"),
    (*CALL, b"(", _pairs, b"u"),
    (*CALL, b"(", _few, b"\x90"),
    (*CALL, b"(", HOLE, b"tR"),
    (_name, HOLE, b"b"),
    (_name, _key, HOLE, b"s"),
    (_name, HOLE, b"a"),
    (_name, b"(", _few, b"e"),
    (_name, b"(", _few, b"\x90"),
    (_name, HOLE, b"\x85R"),
    (_name, HOLE, b"\x85\x81"),
    (_name, b"(", _few, b"t\x81"),
    (_name, b"(", _few, b"t}", b"\x8c\x01k", HOLE, b"s\x92"),
    (b"(", _few, _inst),
    (b"(", HOLE, _inst),
    (b"(", _name, _few, b"o"),
    (b"(", _name, HOLE, b"o"),
    (HOLE, HOLE, b"R"),
    (HOLE, HOLE, b"\x81"),
    (HOLE, HOLE, b"b"),
    (HOLE, HOLE, b"\x93"),
    (b"Pkey\n",),
    (HOLE, b"Q"),
    (b"](", _few, HOLE, b"e"),
    (b"]", HOLE, b"a"),
    (b"(", _few, HOLE, b"l"),
    (b"(", HOLE, _few, b"t"),
    (b"}(", _pairs, _key, HOLE, b"u"),
    (b"}(", _pairs, _key, b"u"),
    (b"(", _pairs, b"d"),
    (b"}", _key, HOLE, b"s"),
    (b"\x8f(", _keys, b"\x90"),
    (b"\x8f(", HOLE, b"\x90"),
    (b"(", _keys, b"\x91"),
    (b"(", _keys, b"\x91(", _keys, b"\x90"),
    (HOLE, b"\x85"),
    (HOLE, HOLE, b"\x86"),
    (HOLE, HOLE, HOLE, b"\x87"),
    (HOLE, _put),
    (HOLE, _put, HOLE, _put),
    (HOLE, _put, b"0", _get),
    (_get,),
    (HOLE, b"0"),
    (b"(", _few, HOLE, b"1"),
    (b"(0",),
    (HOLE, b"20"),
    (HOLE, b"2"),
    (_bytes, b"\x98"),
    (_proto, HOLE),
    (b"\x97",),
]


def piece(r: random.Random, depth: int = 0) -> bytes:
    """A piece of stream that mostly leaves one object on the stack."""
    if depth > 3 or r.random() < 0.25:
        return _leaf(r)
    parts = r.choice(TEMPLATES)
    return b"".join(_filled(part, r, depth + 1) for part in parts)


def _filled(part: Part, r: random.Random, depth: int) -> bytes:
    if isinstance(part, bytes):
        return part
    return piece(r, depth) if isinstance(part, Hole) else part(r)


def stream(r: random.Random, spoilt: bool = False) -> bytes:
    """A stream of some dozens of opcodes, most of which are well placed; or one that is spoilt."""
    body = b"".join(piece(r) for _ in range(r.randint(1, 6)))
    if spoilt:
        held = bytearray(body)
        for _ in range(r.randint(1, 4)):
            strong = r.choice(b"(tRbseu02q.hc\n\x93\x94")
            held[r.randrange(len(held))] = r.choice([r.randrange(256), strong])
        body = bytes(held)
    return body + b"."


def framed(r: random.Random) -> bytes:
    """A stream with frames, some of them of the wrong length."""
    pieces = [piece(r) for _ in range(r.randint(2, 8))]
    out = b"\x80\x04"
    while pieces:
        count = r.randint(1, len(pieces))
        body = b"".join(pieces[:count])
        pieces = pieces[count:]
        wrong = r.choice([0, 0, 0, -1, -2, 1, 2, 5, -5])
        out += frame(body, max(0, len(body) + wrong))
    return out + b"."
