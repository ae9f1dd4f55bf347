"""The symbolic pickle machine by itself: opcodes, offsets, limits and broken streams."""

from __future__ import annotations

import pickletools
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.pickles import (
    APPEND,
    APPENDS,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    NEWOBJ,
    NEWOBJ_EX,
    NONE,
    POP,
    REDUCE,
    SETITEM,
    SETITEMS,
    STACK_GLOBAL,
    STOP,
    TUPLE,
    TUPLE1,
    TUPLE2,
    TUPLE3,
    call,
    dict_of,
    frame,
    list_of,
    name,
    number,
    proto,
    raw,
    text,
    tuple_of,
)
from weightkit.machine import LIMITS, Limits, read_program
from weightkit.machine.opcodes import OPCODES
from weightkit.programs import Blob, Call, Global, Group, Pairs, Persistent, Program, Text
from weightkit.source import Buffer


def run(stream: bytes, limits: Limits = LIMITS, start: int = 0) -> Program:
    return read_program(Buffer(stream), start, limits=limits)


def plain(value: Any) -> Any:
    """Nodes as lists that can be compared."""
    match value:
        case Global():
            return ["global", value.path]
        case Call():
            return ["call", value.opcode, plain(value.target), plain(value.args)]
        case Pairs():
            return ["pairs", *map(plain, value.items)]
        case Group():
            return [value.kind, *map(plain, value.items)]
        case Blob():
            return [value.kind, value.value]
        case Persistent():
            return ["persistent", plain(value.pid)]
        case tuple():
            return tuple(map(plain, value))
        case list():
            return list(map(plain, value))
    return value


def result(stream: bytes) -> Any:
    program = run(stream)
    assert program.stopped == ""
    return plain(program.root)


def test_every_opcode_has_a_handler() -> None:
    assert {ord(code.code): code.name for code in pickletools.opcodes} == OPCODES


BIG = (1).to_bytes(8, "little")

VALUES: dict[str, tuple[bytes, Any]] = {
    "PROTO": (proto(2) + NONE, None),
    "FRAME": (proto(4) + frame(2) + NONE, None),
    "NONE": (NONE, None),
    "NEWTRUE": (b"\x88", True),
    "NEWFALSE": (b"\x89", False),
    "INT": (b"I-7\n", -7),
    "INT of a bool": (b"I01\n", True),
    "INT in octal, as the C unpickler reads it": (b"I017\n", 15),
    "INT up to a NUL, likewise": (b"I17\0x\n", 17),
    "LONG": (b"L7L\n", 7),
    "LONG1": (b"\x8a\x01\xff", -1),
    "LONG4": (b"\x8b\x01\0\0\0\x02", 2),
    "BININT": (number(-3), -3),
    "BININT1": (b"K\xff", 255),
    "BININT2": (b"M\x01\x02", 513),
    "FLOAT": (b"F1.5\n", 1.5),
    "BINFLOAT": (b"G" + struct.pack(">d", 2.5), 2.5),
    "STRING": (b"S'a\\n'\n", "a\n"),
    "BINSTRING": (b"T\x01\0\0\0a", "a"),
    "SHORT_BINSTRING": (b"U\x01\xff", ["string", b"\xff"]),
    "UNICODE": (b"V\\u20ac\n", "€"),
    "BINUNICODE": (text("€"), "€"),
    "SHORT_BINUNICODE": (b"\x8c\x01a", "a"),
    "BINUNICODE8": (b"\x8d" + BIG + b"a", "a"),
    "BINBYTES": (raw(b"a"), ["bytes", b"a"]),
    "SHORT_BINBYTES": (b"C\x01a", ["bytes", b"a"]),
    "BINBYTES8": (b"\x8e" + BIG + b"a", ["bytes", b"a"]),
    "BYTEARRAY8": (b"\x96" + BIG + b"a", ["bytearray", b"a"]),
    "NEXT_BUFFER": (b"\x97", ["buffer", None]),
    "READONLY_BUFFER": (b"\x97\x98", ["buffer", None]),
    "EMPTY_LIST": (EMPTY_LIST, []),
    "APPEND": (EMPTY_LIST + NONE + APPEND, [None]),
    "APPENDS": (list_of(NONE, NONE), [None, None]),
    "LIST": (MARK + NONE + b"l", [None]),
    "EMPTY_TUPLE": (EMPTY_TUPLE, ()),
    "TUPLE": (tuple_of(NONE), (None,)),
    "TUPLE1": (NONE + TUPLE1, (None,)),
    "TUPLE2": (b"K\1K\2" + TUPLE2, (1, 2)),
    "TUPLE3": (b"K\1K\2K\3" + TUPLE3, (1, 2, 3)),
    "EMPTY_DICT": (EMPTY_DICT, ["pairs"]),
    "DICT": (MARK + b"K\1K\2d", ["pairs", 1, 2]),
    "SETITEM": (EMPTY_DICT + b"K\1K\2" + SETITEM, ["pairs", 1, 2]),
    "SETITEMS": (dict_of(b"K\1", b"K\2"), ["pairs", 1, 2]),
    "EMPTY_SET": (b"\x8f", ["set"]),
    "ADDITEMS": (b"\x8f(K\1\x90", ["set", 1]),
    "FROZENSET": (b"(K\1\x91", ["frozenset", 1]),
    "MARK": (b"((K\1tt", ((1,),)),
    "POP": (b"K\1K\2" + POP, 1),
    "POP of a mark": (b"K\1(0", 1),
    "POP_MARK": (b"K\1(K\2K\x031", 1),
    "DUP": (b"K\x012\x86", (1, 1)),
    "GET": (b"K\1p7\n0g7\n", 1),
    "BINGET": (b"K\1q\0000h\0", 1),
    "LONG_BINGET": (b"K\1r\1\0\0\0000j\1\0\0\0", 1),
    "PUT": (b"K\1p7\n", 1),
    "BINPUT": (b"K\1q\7", 1),
    "LONG_BINPUT": (b"K\1r\7\0\0\0", 1),
    "MEMOIZE": (b"K\1\x940h\0", 1),
    "GLOBAL": (b"ca.b\nc.d\n", ["global", "a.b.c.d"]),
    "STACK_GLOBAL": (text("a") + text("b") + STACK_GLOBAL, ["global", "a.b"]),
    "EXT1": (b"\x82\1", ["global", "?.?"]),
    "EXT2": (b"\x83\1\0", ["global", "?.?"]),
    "EXT4": (b"\x84\1\0\0\0", ["global", "?.?"]),
    "REDUCE": (call("a.b", b"K\1"), ["call", "REDUCE", ["global", "a.b"], (1,)]),
    "BUILD": (
        name("a.b") + EMPTY_TUPLE + NEWOBJ + EMPTY_DICT + BUILD,
        ["call", "NEWOBJ", ["global", "a.b"], ()],
    ),
    "NEWOBJ": (
        name("a.b") + tuple_of(NONE) + NEWOBJ,
        ["call", "NEWOBJ", ["global", "a.b"], (None,)],
    ),
    "NEWOBJ_EX": (
        name("a.b") + EMPTY_TUPLE + EMPTY_DICT + NEWOBJ_EX,
        ["call", "NEWOBJ_EX", ["global", "a.b"], ()],
    ),
    "INST": (b"(K\1ia\nb\n", ["call", "INST", ["global", "a.b"], (1,)]),
    "OBJ": (MARK + name("a.b") + b"K\1o", ["call", "OBJ", ["global", "a.b"], (1,)]),
    "PERSID": (b"Pkey\n", ["persistent", "key"]),
    "BINPERSID": (b"K\1Q", ["persistent", 1]),
    "STOP": (b"K\1", 1),
}


@pytest.mark.parametrize("what", VALUES)
def test_what_an_opcode_leaves(what: str) -> None:
    stream, expected = VALUES[what]
    assert result(stream + STOP) == expected


def test_the_table_above_has_every_opcode() -> None:
    assert {what.split()[0] for what in VALUES} == set(OPCODES.values())


def test_offsets() -> None:
    stream = b"junk" + proto(2) + name("a.b") + text("ü") + raw(b"xyz") + b"tR."
    stream = stream.replace(name("a.b"), name("a.b") + MARK)
    program = run(stream, start=4)
    (made,) = program.calls
    assert (program.start, program.end) == (4, len(stream))
    assert stream[program.globals[0].offset :].startswith(b"ca\nb\n")
    assert stream[made.offset : made.offset + 1] == REDUCE
    word, held = made.args
    assert stream[word.offset : word.offset + word.nbytes] == "ü".encode()
    assert stream[held.offset : held.offset + held.nbytes] == b"xyz"


def test_offsets_behind_a_long_operand() -> None:
    long = raw(bytes(1 << 19))
    stream = long + POP + text("a" * 70_000) + POP + call("a.b", raw(b"xyz")) + STOP
    program = run(stream)
    assert stream[program.globals[0].offset :].startswith(b"ca\nb\n")
    assert stream[program.calls[0].offset :] == REDUCE + STOP


def test_a_name_is_kept_as_it_was_computed() -> None:
    program = run(call("a.f") + text("b") + STACK_GLOBAL + STOP)
    assert plain(program.root.operands) == (["call", "REDUCE", ["global", "a.f"], ()], "b")


def test_state_and_items_of_an_object() -> None:
    made = run(
        call("a.b")
        + MARK
        + b"K\1K\2"
        + APPENDS
        + MARK
        + b"K\3K\4"
        + SETITEMS
        + b"K\5"
        + BUILD
        + STOP
    ).root
    assert (made.items, made.pairs, made.state) == ([1, 2], [3, 4], 5)
    assert isinstance(made, Call)


# Streams that break off


def broken(stream: bytes) -> tuple[str, list[str]]:
    program = run(stream)
    return program.stop_code, [plain(call)[2][1] for call in program.calls]


BROKEN: dict[str, tuple[bytes, str]] = {
    "the end": (b"", "WK301"),
    "the end in an operand": (b"J\0\0", "WK301"),
    "the end in a text": (text("abc")[:-1], "WK301"),
    "a line without a newline": (b"I", "WK301"),
    "underflow": (POP, "WK302"),
    "underflow of a tuple": (NONE + TUPLE2, "WK302"),
    "underflow below a mark": (NONE + MARK + TUPLE1, "WK302"),
    "no mark": (TUPLE, "WK302"),
    "STOP without a value": (STOP, "WK302"),
    "a key without a value": (MARK + NONE + b"d", "WK302"),
    "no opcode": (b"\xff", "WK303"),
    "a number that is none": (b"Iabc\n", "WK304"),
    "a float that is none": (b"Fabc\n", "WK304"),
    "text that is no UTF-8": (b"X\1\0\0\0\xff", "WK304"),
    "a string of negative length": (b"T\xff\xff\xff\xff", "WK304"),
    "a LONG4 of negative length": (b"\x8b\xff\xff\xff\xff", "WK304"),
    "a string without quotes": (b"Sabc\n", "WK304"),
    "a string with a bad escape": (b"S'\\x1'\n", "WK304"),
    "unicode with a bad escape": (b"V\\u1\n", "WK304"),
    "a name that is no UTF-8": (b"c\xff\nb\n", "WK304"),
    "a negative memo entry": (NONE + b"p-1\n", "WK304"),
    "a memo entry that is not set": (b"h\0", "WK307"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_came_before_is_kept(what: str) -> None:
    stream, code = BROKEN[what]
    before = call("a.b") + POP
    # An empty stack below: what came before leaves nothing.
    assert broken(before + stream) == (code, ["a.b"])


def faults(stream: bytes) -> list[str]:
    program = run(stream)
    assert program.stopped == ""
    return [code for code, _, _ in program.faults]


FAULTS: dict[str, tuple[bytes, str]] = {
    "a number with a NUL": (b"I1\0\n.", "WK304"),
    "a frame in a frame": (proto(4) + frame(40) + NONE + POP + frame(2) + b"N.", "WK306"),
    "a frame past the end": (proto(4) + frame(9) + b"N.", "WK306"),
    "STOP inside a frame": (proto(4) + frame(4) + b"N.N.", "WK306"),
    "a protocol that is none": (proto(6) + b"N.", "WK308"),
    "bytes out of band": (proto(5) + b"\x97.", "WK309"),
    "text opcodes in protocol 4": (proto(4) + b"I1\n.", "WK311"),
    "a memo entry far away": (NONE + b"r\xff\xff\xff\x7f.", "WK312"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_faults_that_do_not_end_it(what: str) -> None:
    stream, code = FAULTS[what]
    assert code in faults(stream)


def test_an_ordinary_pickle_has_no_fault() -> None:
    assert faults(proto(4) + frame(2) + b"N.") == []
    assert faults(proto(2) + call("a.b") + b"q\0.") == []


def test_the_end_of_the_file_ends_a_name() -> None:
    """Both unpicklers take a last line without its last byte, and INST calls at once."""
    program = run(b"(S'id'\nios\nsystemX")
    assert plain(program.calls[0]) == ["call", "INST", ["global", "os.system"], ("id",)]
    assert program.stop_code == "WK301"


def test_a_line_longer_than_the_limit_does_not_end_it() -> None:
    program = run(b"V" + b"a" * 200_000 + b"\n0" + call("a.b") + STOP)
    assert (program.stopped, len(program.calls)) == ("", 1)


def test_a_name_longer_than_the_limit_is_unknown() -> None:
    program = run(b"cos\n" + b"path." * 50_000 + b"system\n.")
    assert program.stopped == ""
    assert program.root.operands[0] == "os"


def test_an_odd_key_is_found_after_the_pairs_were_set() -> None:
    program = run(name("a.b") + MARK + b"K\1K\2K\3" + SETITEMS + STOP)
    assert (program.stop_code, len(program.calls)) == ("WK302", 1)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_truncation(protocol: int) -> None:
    body = (
        call("a.b", text("x"), b"K\1") + name("c.d") + EMPTY_TUPLE + NEWOBJ + dict_of(b"K\1", NONE)
    )
    stream = proto(protocol) + body + BUILD + b"I12\n" + TUPLE2 + STOP
    whole = run(stream)
    assert whole.stopped == ""
    for end in range(len(stream)):
        program = run(stream[:end])
        assert program.stop_code == "WK301", end
        assert len(program.calls) <= len(whole.calls)
        assert program.end <= end


def test_random_bytes_never_raise() -> None:
    chance = random.Random(8)
    seeds = [stream for stream, _ in VALUES.values()]
    for _ in range(3000):
        stream = bytearray(b"".join(chance.choices(seeds, k=4)) + chance.randbytes(6))
        for _ in range(chance.randrange(4)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        program = run(bytes(stream))
        assert program.end <= len(stream)


# Limits

SMALL: dict[str, tuple[dict[str, int], bytes]] = {
    "opcodes": ({"opcodes": 50}, NONE + POP),
    "stack": ({"stack": 50}, NONE),
    "depth": ({"depth": 50}, MARK),
    "memo": ({"memo": 50}, NONE + b"\x94" + POP),
    "nodes": ({"nodes": 50}, EMPTY_LIST + POP),
    "text": ({"text": 50}, text("ab") + POP),
}


@pytest.mark.parametrize("field", SMALL)
def test_each_limit_stops_and_keeps_what_came_before(field: str) -> None:
    bounds, piece = SMALL[field]
    stream = call("a.b") + POP + piece * 600_000 + STOP
    program = run(stream, Limits(**bounds))
    assert program.stop_code == "WK002"
    assert [plain(made)[2][1] for made in program.calls] == ["a.b"]
    assert program.end < len(stream)


def test_limits_on_what_is_kept() -> None:
    stream = tuple_of(text("abcdef"), raw(b"abcdef"), b"U\6abcdef", b"\x8b\6\0\0\0abcdef") + STOP
    program = run(stream, Limits(keep_text=4, keep_bytes=4))
    assert [plain(item) for item in program.root] == [
        ["text", None],
        ["bytes", None],
        ["string", None],
        ["bytes", None],
    ]
    assert all(stream[item.offset :].startswith(b"abcdef") for item in program.root)


def test_a_limit_on_lines() -> None:
    program = run(b"Vabcdefgh\n.", Limits(line=4))
    assert isinstance(program.root, Text)
    assert not program.root.startswith("abcde")


def nested_tuples() -> bytes:
    rounds = b"".join(bytes([0x71, i]) + MARK + bytes([0x68, i]) * 10 + TUPLE for i in range(250))
    return EMPTY_TUPLE + rounds + STOP


def doubling_lists() -> bytes:
    """Each round appends the list before to a new one, ten times."""
    rounds = b"".join(
        EMPTY_LIST + bytes([0x71, i]) + MARK + bytes([0x68, i - 1]) * 10 + APPENDS
        for i in range(1, 250)
    )
    return EMPTY_LIST + b"q\0" + rounds + STOP


def fills() -> bytes:
    """The same call filled over and over, with the list of all before."""
    return call("a.b") + (MARK + NONE * 10 + APPENDS) * 500_000


EXPLOSIVE: dict[str, Callable[[], bytes]] = {
    "tuples of tuples": nested_tuples,
    "lists of lists": doubling_lists,
    "marks": lambda: MARK * 20_000_000,
    "values": lambda: NONE * 20_000_000,
    "lists": lambda: EMPTY_LIST * 20_000_000,
    "copies": lambda: NONE + b"2" * 20_000_000,
    "tuples": lambda: EMPTY_TUPLE + TUPLE1 * 5_000_000 + STOP,
    "names": lambda: name("a.b") * 4_000_000,
    "calls": lambda: name("a.b") + (EMPTY_TUPLE + REDUCE) * 8_000_000,
    "fills": fills,
    "memo": lambda: NONE + b"\x94" * 20_000_000,
    "short texts": lambda: (text("") + POP) * 3_000_000,
    "long texts": lambda: (text("a" * 60_000) + POP) * 1500,
    "long lines": lambda: b"V" + b"a" * 60_000_000,
    "lengths that lie": lambda: b"\x8d" + b"\xff" * 8,
    "numbers": lambda: b"\x8b\xff\xff\xff\x7f" + bytes(1000),
    "digits": lambda: (b"I" + b"9" * 4000 + b"\n0") * 10_000,
    "frames": lambda: frame(1 << 62) * 3_000_000,
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("what", EXPLOSIVE)
def test_explosive_pickles_end_in_time_and_memory(what: str) -> None:
    stream = EXPLOSIVE[what]()
    script = (
        "import sys, time\n"
        "from weightkit.machine import read_program\n"
        "from weightkit.source import Source\n"
        "start = time.process_time()\n"
        "program = read_program(Source(sys.argv[1]))\n"
        "used = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]\n"
        "print(time.process_time() - start, used)\n"
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(stream)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-c", script, file.name], capture_output=True, text=True, check=True
        )
    seconds, kibibytes = map(float, done.stdout.split())
    assert seconds < 5
    assert kibibytes < 300 << 10
