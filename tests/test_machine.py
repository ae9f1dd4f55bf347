"""The symbolic pickle machine: every opcode, every limit, every way for a stream to be wrong."""

from __future__ import annotations

import codecs
import pickle
import pickletools
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pickle_streams import call, frame, name, short, stack_name, text
from weightkit.machine import LIMITS, Limits, read_program
from weightkit.machine.opcodes import HANDLERS, OPCODES
from weightkit.machine.state import Stopped
from weightkit.machine.values import unescape
from weightkit.programs import Blob, Call, Global, Group, Pairs, Persistent, Program, Text
from weightkit.source import Buffer

ROOT = Path(__file__).resolve().parent.parent


def read(held: bytes, start: int = 0, **more: Any) -> Program:
    return read_program(Buffer(held), start, **more)


def root(held: bytes) -> Any:
    program = read(held + b".")
    assert program.stopped == ""
    assert program.end == len(held) + 1
    return program.root


def seen(node: Any) -> Any:
    """A node as plain values, for comparison."""
    if isinstance(node, Text):
        return str(node)
    if type(node) is Blob:
        return node.kind, node.value
    if type(node) is Global:
        return f"{node.module}:{node.name}"
    if type(node) is Pairs:
        return {"pairs": seen(node.items)}
    if type(node) is Group:
        return {node.kind: seen(node.items)}
    if type(node) is Persistent:
        return {"persistent": seen(node.pid)}
    if type(node) is Call:
        kept = {
            "items": node.items,
            "pairs": node.pairs,
            "state": node.state,
            "kwargs": node.kwargs,
        }
        extra = {key: seen(value) for key, value in kept.items() if value is not None}
        return {node.opcode: (seen(node.target), seen(node.args)), **extra}
    if isinstance(node, tuple | list):
        return type(node)(seen(item) for item in node)
    return node


# The table


def test_every_opcode_is_in_the_table() -> None:
    assert {ord(row.code): row.name for row in pickletools.opcodes} == OPCODES
    assert sum(handler is not HANDLERS[0] for handler in HANDLERS) == len(OPCODES)


MADE = name("m", "f") + b")R"
VALUES: dict[str, tuple[bytes, Any]] = {
    "INT": (b"I-12\n", -12),
    "BININT": (b"J\xff\xff\xff\xff", -1),
    "BININT1": (b"K\xff", 255),
    "BININT2": (b"M\x01\x02", 513),
    "LONG": (b"L99999999999999999999L\n", 99999999999999999999),
    "LONG1": (b"\x8a\x02\x00\x80", -32768),
    "LONG4": (b"\x8b\x02\x00\x00\x00\xff\x00", 255),
    "STRING": (b"S'it\\'s\\x41'\n", "it'sA"),
    "BINSTRING": (b"T\x02\x00\x00\x00ab", "ab"),
    "SHORT_BINSTRING": (b"U\x02a\xff", ("string", b"a\xff")),
    "BINBYTES": (b"B\x01\x00\x00\x00\xff", ("bytes", b"\xff")),
    "SHORT_BINBYTES": (b"C\x01\xff", ("bytes", b"\xff")),
    "BINBYTES8": (b"\x8e\x01\0\0\0\0\0\0\0\xff", ("bytes", b"\xff")),
    "BYTEARRAY8": (b"\x96\x01\0\0\0\0\0\0\0\xff", ("bytearray", b"\xff")),
    "NEXT_BUFFER": (b"\x97", ("buffer", None)),
    "READONLY_BUFFER": (b"\x97\x98", ("buffer", None)),
    "NONE": (b"N", None),
    "NEWTRUE": (b"\x88", True),
    "NEWFALSE": (b"\x89", False),
    "UNICODE": (b"Va\\u00e4\n", "aä"),
    "SHORT_BINUNICODE": (b"\x8c\x02\xc3\xa4", "ä"),
    "BINUNICODE": (b"X\x02\0\0\0\xc3\xa4", "ä"),
    "BINUNICODE8": (b"\x8d\x02\0\0\0\0\0\0\0\xc3\xa4", "ä"),
    "FLOAT": (b"F-1.5e3\n", -1500.0),
    "BINFLOAT": (b"G\x3f\xf8\0\0\0\0\0\0", 1.5),
    "EMPTY_LIST": (b"]", []),
    "APPEND": (b"]K\x01a", [1]),
    "APPENDS": (b"](K\x01K\x02e", [1, 2]),
    "LIST": (b"(K\x01K\x02l", [1, 2]),
    "EMPTY_TUPLE": (b")", ()),
    "TUPLE": (b"(K\x01K\x02t", (1, 2)),
    "TUPLE1": (b"K\x01\x85", (1,)),
    "TUPLE2": (b"K\x01K\x02\x86", (1, 2)),
    "TUPLE3": (b"K\x01K\x02K\x03\x87", (1, 2, 3)),
    "EMPTY_DICT": (b"}", {"pairs": []}),
    "DICT": (b"(K\x01K\x02d", {"pairs": [1, 2]}),
    "SETITEM": (b"}K\x01K\x02s", {"pairs": [1, 2]}),
    "SETITEMS": (b"}(K\x01K\x02K\x01K\x03u", {"pairs": [1, 2, 1, 3]}),
    "EMPTY_SET": (b"\x8f", {"set": []}),
    "ADDITEMS": (b"\x8f(K\x01K\x02\x90", {"set": [1, 2]}),
    "FROZENSET": (b"(K\x01\x91", {"frozenset": [1]}),
    "POP": (b"K\x01K\x020", 1),
    "DUP": (b"K\x01]2\x86", ([], [])),
    "MARK": (b"K\x01(0", 1),
    "POP_MARK": (b"K\x01(K\x02K\x031", 1),
    "GET": (b"K\x01p7\n0g7\n", 1),
    "BINGET": (b"K\x01q\x070h\x07", 1),
    "LONG_BINGET": (b"K\x01r\xff\x01\0\0" + b"0j\xff\x01\0\0", 1),
    "PUT": (b"K\x01p700\n0j\xbc\x02\0\0", 1),
    "BINPUT": (b"K\x01q\xff0h\xff", 1),
    "LONG_BINPUT": (b"K\x01r\xff\x01\0\0" + b"0g511\n", 1),
    "MEMOIZE": (b"K\x01\x940h\0", 1),
    "EXT1": (b"\x82\xf0", "?:?"),
    "EXT2": (b"\x83\xf0\x01", "?:?"),
    "EXT4": (b"\x84\xf0\x01\0\0", "?:?"),
    "GLOBAL": (b"cmod\nsome.name\n", "mod:some.name"),
    "STACK_GLOBAL": (short("mod") + short("n") + b"\x93", "mod:n"),
    "REDUCE": (name("m", "f") + b"K\x01\x85R", {"REDUCE": ("m:f", (1,))}),
    "BUILD": (MADE + b"K\x05b", {"REDUCE": ("m:f", ()), "state": 5}),
    "INST": (b"(K\x01im\nc\n", {"INST": ("m:c", (1,))}),
    "OBJ": (b"(" + name("m", "c") + b"K\x01o", {"OBJ": ("m:c", (1,))}),
    "NEWOBJ": (name("m", "c") + b")\x81", {"NEWOBJ": ("m:c", ())}),
    "NEWOBJ_EX": (
        name("m", "c") + b")}K\x01K\x02s\x92",
        {"NEWOBJ_EX": ("m:c", ()), "kwargs": {"pairs": [1, 2]}},
    ),
    "PROTO": (b"\x80\x05N", None),
    "STOP": (b"N", None),
    "FRAME": (frame(b"N."), None),
    "PERSID": (b"Pid\n", {"persistent": "id"}),
    "BINPERSID": (b"K\x01Q", {"persistent": 1}),
}


@pytest.mark.parametrize("opcode", [row.name for row in pickletools.opcodes])
def test_opcode(opcode: str) -> None:
    held, value = VALUES[opcode]
    found = read(held) if opcode == "FRAME" else read(held + b".")
    assert found.stopped == ""
    assert seen(found.root) == value
    if not isinstance(value, float):  # 1 == 1.0 == True
        assert type(seen(found.root)) is type(value)


def test_containers_keep_what_is_put_on_calls() -> None:
    made = root(MADE + b"(K\x01K\x02e" + b"K\x03a" + b"(K\x04\x90" + b"K\x05K\x06s(K\x07K\x08u")
    assert (made.items, made.pairs) == ([1, 2, 3, 4], [5, 6, 7, 8])


def test_every_call_is_noted_in_order() -> None:
    program = read(MADE + b"(K\x01e(K\x02K\x03u(K\x04\x90Nb" + b"K\x01aK\x01K\x02s.")
    assert [made.opcode for made in program.calls] == [
        "REDUCE",
        "APPENDS",
        "SETITEMS",
        "ADDITEMS",
        "BUILD",
        "APPEND",
        "SETITEM",
    ]
    assert all(made.target is program.root for made in program.calls[1:])


def test_a_frozenset_takes_no_items() -> None:
    program = read(b"(\x91(K\x01\x90.")
    assert [made.opcode for made in program.calls] == ["ADDITEMS"]
    assert seen(program.root) == {"frozenset": []}


def test_the_pairs_before_a_lone_key_are_set() -> None:
    program = read(MADE + b"(K\x01K\x02K\x03u.")
    assert program.stop_code == "WK302"
    assert program.calls[1].args == [1, 2]


def test_inst_gives_its_object_to_the_stack_below_the_mark() -> None:
    assert seen(root(b"((K\x01im\nc\nin\nd\n")) == {"INST": ("n:d", ({"INST": ("m:c", (1,))},))}


def test_marks_fence_the_stack() -> None:
    for held in (b"K\x01(\x85.", b"K\x01(q\x00.", b"K\x01(2.", b"K\x01(.", b"]K\x01(a."):
        assert read(held).stop_code == "WK302", held


def test_memoize_counts_entries_not_keys() -> None:
    assert root(b"K\x01q\x09K\x02\x94\x86h\x01\x86")[1] == 2


# Numbers and texts as generously as either unpickler reads them


@pytest.mark.parametrize(
    ("held", "value"),
    [
        (b"I010\n", 8),
        (b"I-010\n", -8),
        (b"I00\n", False),
        (b"I01\n", True),
        (b"I5\0junk\n", 5),
        (b"I\0\n", 0),
        (b"I 7 \n", 7),
        (b"I1_000\n", 1000),
        (b"I0x1F\n", 31),
        (b"I0b11\n", 3),
        (b"I" + b"9" * 30 + b"\n", int("9" * 30)),
        (b"L5\0L\n", 5),
        (b"L5LL\n", None),
        (b"L010\n", None),
        (b"I\n", None),
        (b"I1.5\n", None),
        (b"I\xd9\xa1\n", None),
        (b"F1.5\0junk\n", 1.5),
        (b"F 1e999\n", float("inf")),
        (b"Fx\n", None),
        (b"K\x05p 3 \n0g03\n", 5),
        (b"K\x05p-1\n", None),
        (b"K\x05p0x1\n", None),
        (b"\x8a\x00", 0),
        (b"\x8b\xff\xff\xff\xff", None),
        (b"T\xff\xff\xff\xff", None),
        (b"S'a\n", None),
        (b"S'\n", None),
        (b"S a'\n", None),
        (b"S'\\x4'\n", None),
        (b"Va\\u12\n", None),
        (b"X\x01\0\0\0\xff", None),
        (b"cm\xff\nn\n", None),
    ],
)
def test_operands(held: bytes, value: Any) -> None:
    program = read(held + b".")
    if value is None:
        assert program.stop_code == "WK304"
    else:
        assert (program.root, type(program.root)) == (value, type(value))


def test_surrogates_pass_as_in_python() -> None:
    assert root(b"X\x03\0\0\0\xed\xa0\x80") == "\ud800"


def test_unescape_is_the_standard_librarys(recwarn: pytest.WarningsRecorder) -> None:
    r = random.Random(1)
    for _ in range(3000):
        raw = bytes(r.choice(b"\\\\\\\\x01789abfnrtvqX'\"\n\xff") for _ in range(r.randrange(12)))
        try:
            expected = codecs.escape_decode(raw)[0]
        except ValueError:
            with pytest.raises(Stopped):
                unescape(raw)
        else:
            assert unescape(raw) == expected, raw


def test_no_warning_of_a_stream_reaches_the_user(recwarn: pytest.WarningsRecorder) -> None:
    assert root(b"S'\\q\\777'\n").value == b"\\q\xff"
    assert not recwarn.list


def test_names_at_the_end_of_the_file_lose_their_last_byte() -> None:
    # The Python unpickler cuts off what it takes for a newline, and imports the rest.
    for held, expected in (
        (b"cos\nsystem2", ("os", "system")),
        (b"cos\n", ("os", "")),
        (b"cos2", ("os", "")),
        (b"(ios\nsystem2", ("os", "system")),
    ):
        program = read(held)
        assert program.stop_code == "WK301"
        assert [(found.module, found.name) for found in program.globals] == [expected]
        assert len(program.calls) == (held[:2] == b"(i")


# Places


def test_offsets_are_those_of_the_opcodes() -> None:
    held = b"\x80\x04" + stack_name("m", "f") + b"K\x01\x85R" + b"(cm\ng\no" + b"\x82\x07"
    held += b"Pid\n" + b"(im\nc\n" + b"NQ"
    program = read(b"junk" + held + b".", 4)
    names = [found.offset for found in program.globals]
    assert [held[offset - 4 : offset - 3] for offset in names] == [b"\x93", b"c", b"\x82", b"i"]
    calls = [made.offset - 4 for made in program.calls]
    assert [held[offset : offset + 1] for offset in calls] == [b"R", b"o", b"i"]
    ids = [found.offset - 4 for found in program.persistents]
    assert [held[offset : offset + 1] for offset in ids] == [b"P", b"Q"]
    assert program.start == 4
    assert program.end == len(held) + 5


@pytest.mark.parametrize(
    ("held", "encoding"),
    [
        (text("some"), "text"),
        (b"Vsome\n", "escaped"),
        (b"S'some'\n", "quoted"),
        (b"U\x04some", "text"),
    ],
)
def test_texts_know_where_they_lie(held: bytes, encoding: str) -> None:
    found = root(held)
    start = held.index(b"some") - (encoding == "quoted")
    nbytes = 6 if encoding == "quoted" else 4
    assert (found.offset, found.nbytes, found.encoding) == (start, nbytes, encoding)


LONG = 300_000  # longer than the window
BIG = struct.pack("<I", LONG)


@pytest.mark.parametrize(
    ("head", "tail", "kind", "encoding"),
    [
        (b"X" + BIG, b"", "text", "text"),
        (b"V", b"\n", "text", "escaped"),
        (b"S'", b"'\n", "string", "quoted"),
        (b"T" + BIG, b"", "string", "raw"),
        (b"B" + BIG, b"", "bytes", "raw"),
        (b"\x8e" + BIG + bytes(4), b"", "bytes", "raw"),
        (b"\x96" + BIG + bytes(4), b"", "bytearray", "raw"),
        (b"\x8b" + BIG, b"", "long", "raw"),
    ],
)
def test_long_operands_stay_in_the_file(head: bytes, tail: bytes, kind: str, encoding: str) -> None:
    found = root(head + b"a" * LONG + tail)
    assert (found.kind, found.encoding, found.value) == (kind, encoding, None)
    quotes = 2 * (encoding == "quoted")
    assert found.nbytes == LONG + quotes
    assert found.offset == len(head) - quotes // 2


@pytest.mark.parametrize("padding", [*range(262_120, 262_150), 524_280])
def test_operands_across_the_window(padding: int) -> None:
    body = b"](" + b"N" * padding
    body += text("word") + b"Vline\n" + b"J\x01\0\0\0" + name("mod", "attr") + b"(imod\nc\n" + b"e"
    found = root(body)
    assert seen(found[padding:]) == ["word", "line", 1, "mod:attr", {"INST": ("mod:c", ())}]


# Ends


SAMPLES = [
    pickle.dumps({"a": [1, 2.5, None, True, b"xyz", ("t",), {3, 4}], "b": "ä" * 3}, protocol)
    for protocol in range(6)
] + [
    call("m", "f", b"K\x01", text("x")) + b"}" + text("k") + b"Nsb.",
    b"(" + name("m", "c") + b"K\x01o(im\nd\n\x86(K\x01K\x02l\x86\x82\x01\x86Pid\n\x86.",
    b"\x80\x04" + frame(stack_name("m", "f") + b")R\x94K\x01\x85b."),
]


@pytest.mark.parametrize("held", SAMPLES)
def test_a_stream_cut_anywhere_keeps_what_came_before(held: bytes) -> None:
    whole = read(held)
    assert whole.stopped == ""
    for size in range(len(held)):
        program = read(held[:size])
        assert program.stop_code == "WK301", size
        assert program.end <= size
        calls = [(made.opcode, made.offset) for made in program.calls]
        assert calls == [(made.opcode, made.offset) for made in whole.calls][: len(calls)]
        assert len(program.globals) <= len(whole.globals)


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_end_in_a_program(seed: int) -> None:
    r = random.Random(seed)
    codes = bytes(OPCODES)
    for _ in range(200):
        size = r.randrange(60)
        held = r.randbytes(size) if r.random() < 0.3 else bytes(r.choices(codes, k=size))
        program = read(held)
        assert program.end <= len(held)
        assert bool(program.stopped) == bool(program.stop_code)


@pytest.mark.parametrize(
    ("held", "code"),
    [
        (b"", "WK301"),
        (b"K", "WK301"),
        (b"X\xff\xff\xff\xffabc", "WK301"),
        (b"\x8d" + b"\xff" * 8, "WK301"),
        (b"\x96" + b"\xff" * 8, "WK301"),
        (b"Vabc", "WK301"),
        (b"0.", "WK302"),
        (b"00.", "WK302"),
        (b"t.", "WK302"),
        (b"(o.", "WK302"),
        (b"(NNNd.", "WK302"),
        (b"R.", "WK302"),
        (b"\x00.", "WK303"),
        (b"N\xff.", "WK303"),
        (b"h\x00.", "WK307"),
        (b"g9\n.", "WK307"),
    ],
)
def test_ways_to_stop(held: bytes, code: str) -> None:
    program = read(name("m", "f") + b")R" + held)
    assert program.stop_code == code
    assert [made.opcode for made in program.calls] == ["REDUCE"]


@pytest.mark.parametrize(
    ("held", "code"),
    [
        (b"\x80\x06N.", "WK308"),
        (b"\x97.", "WK309"),
        (b"I1\0\n.", "WK304"),
        (b"\x80\x04I1\n.", "WK311"),
        (b"Nr\xff\xff\xff\x7f.", "WK312"),
        (frame(b"N.", 3), "WK306"),
        (frame(b"N.K\x01.", 5), "WK313"),
        (frame(b"K\x01.", 1), "WK313"),
        (frame(frame(b"N"), 11) + b".", "WK313"),
    ],
)
def test_oddities_that_do_not_stop(held: bytes, code: str) -> None:
    program = read(held)
    assert program.stopped == ""
    assert [found[0] for found in program.faults] == [code]
    assert 0 <= program.faults[0][1] <= len(held)


def test_a_name_longer_than_the_limit_is_unknown() -> None:
    for held in (name("os", "path." * 50_000 + "system"), name("os\0x", "system")):
        found = root(held)
        assert (found.module, found.name) == ("?", "?")
        assert "os" in found.operands[0]


def test_a_name_is_kept_as_it_was_computed() -> None:
    found = root(call("m", "f") + text("b") + b"\x93")
    assert seen(found.operands) == ({"REDUCE": ("m:f", ())}, "b")


# Frames


def test_whole_frames_are_no_fault() -> None:
    held = b"\x80\x04" + frame(b"]" + b"K\x01a" * 3) + frame(b"") + b"\x8e" + struct.pack("<Q", 3)
    held += b"abc0" + frame(b"N0.")
    program = read(held)
    assert (program.stopped, program.faults, program.others) == ("", [], ())


def test_a_split_operand_is_read_both_ways() -> None:
    # In memory: a text of 9 bytes, then STOP. By frames: the text begins behind the frame.
    hidden = b"\x8c\x01n" + b"\x93)R."
    split = short("m") + b"\x8c\x09" + b"k" * 2
    held = b"\x80\x04" + frame(split) + b"k" * 9 + hidden
    program = read(held)
    assert [code for code, _, _ in program.faults] == ["WK313"]
    (other,) = program.others
    assert seen(other.globals[0]) == "kkkkkkkkk:n"
    assert [found.opcode for found in other.calls] == ["REDUCE"]
    assert other.entry == program.entry


# Limits


@pytest.mark.parametrize(
    ("field", "most", "held"),
    [
        ("opcodes", 50, b"N0" * 50),
        ("stack", 50, b"N" * 300_000),
        ("depth", 50, b"(" * 90_000 + b"N0" * 100_000),
        ("memory", 10_000, b"]0" * 200_000),
        ("memory", 10_000, b"".join(b"Nr" + struct.pack("<I", i) + b"0" for i in range(50_000))),
        ("memory", 10_000, b"(K\xffK\xffK\xfft0" * 40_000),
        ("memory", 10_000, (b"\x8c\xff" + b"a" * 255 + b"0") * 2000),
        ("keep_text", 50, b"I" + b"0" * 51 + b"\n"),
    ],
)
def test_limits_stop_a_program(field: str, most: int, held: bytes) -> None:
    limits = LIMITS._replace(**{field: most})
    program = read(name("m", "f") + b")R" + held + b".", limits=limits)
    assert program.stop_code == "WK002"
    assert len(program.calls) == 1
    assert read(name("m", "f") + b")R" + held + b".").stop_code != "WK002"


def test_faults_are_kept_up_to_a_limit() -> None:
    program = read(b"\x80\x09" * 500 + b"\x97.", limits=LIMITS._replace(faults=3))
    assert [code for code, _, _ in program.faults] == ["WK308"] * 3 + ["WK309"]


@pytest.mark.parametrize(("field", "head"), [("keep_text", b"U"), ("keep_bytes", b"C")])
def test_what_is_kept_has_limits(field: str, head: bytes) -> None:
    program = read(head + b"\x05abcde.", limits=LIMITS._replace(**{field: 4}))
    assert type(program.root) is Blob
    assert program.root.value is None


def test_every_limit_is_tested() -> None:
    tested = {"opcodes", "stack", "depth", "memory", "faults", "keep_text", "keep_bytes"}
    assert {*Limits._fields} == tested


LISTS = {
    "texts": b"\x8c\x03abc",
    "names": b"ca\nb\n",
    "dicts": b"}",
    "lists": b"]",
    "tuples": b"N\x85",
    "sets": b"\x8f",
    "bytes": b"C\x03abc",
    "calls": b"ca\nb\n)R",
    "numbers": b"M\xff\xff",
    "floats": b"G\x3f\xf8\x01\0\0\0\0\0",
    "longs": b"\x8a\xff" + b"\x01" * 255,
    "strings": b"S'abc'\n",
    "lines": b"Vabc\n",
    "ids": b"Pabc\n",
    "long names": b"c" + b"a" * 500 + b"\n" + b"b" * 500 + b"\n",
    "wide texts": b"\x8c\x3f" + "\U0001f600".encode() + b"a" * 59,
}
SINGLE = {
    "marks": b"(",
    "values": b"N",
    "copies": b"N2",
    "nested tuples": b"N" + b"\x85" * 10_000,
    "names on the stack": b"ca\nb\n",
    "calls of calls": b"ca\nb\n" + b")R" * 10_000,
    "fills": b"ca\nb\n)R" + b"(NNNNNNNNNNe" * 1000,
    "memo": b"N\x94",
    "short texts": b"\x8c\x000",
    "long texts": b"X\x60\xea\0\0" + b"a" * 60_000 + b"0",
    "long lines": b"V" + b"a" * 1_000_000 + b"\n0",
    "digits": b"I" + b"9" * 4000 + b"\n0",
    "frames": b"\x95" + bytes(7) + b"\x40",
    "frames in frames": b"\x95\x02" + bytes(7) + b"X\0\0\0\0" + b"0",
}
GREEDY = {kind: b"(" + piece * 20_000 + b"l\x94" for kind, piece in LISTS.items()} | SINGLE

READ = """
import sys, time
from weightkit.machine import read_program
from weightkit.source import Source
start = time.process_time()
with Source(sys.argv[1]) as source:
    program = read_program(source)
seconds = time.process_time() - start
peak = open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]
print(seconds, int(peak) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("kind", GREEDY)
def test_greedy_pickles_end_in_time_and_memory(kind: str, tmp_path: Path) -> None:
    chunk = GREEDY[kind]
    path = tmp_path / "greedy.pkl"
    with path.open("wb") as file:
        while file.tell() < 100_000_000 and file.tell() < 20_000_000 * len(chunk):
            file.write(chunk * (1 + 1_000_000 // len(chunk)))
    run = [sys.executable, "-c", READ, str(path)]
    found = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, mebibytes = found.stdout.split()
    assert float(seconds) < 5
    assert float(mebibytes) < 300


def test_structures_that_explode_when_they_are_walked_are_read_at_once() -> None:
    doubled = b")" + b"2\x86" * 20_000 + b"."
    program = read(doubled)
    assert (program.stopped, program.opcodes) == ("", 40_002)
