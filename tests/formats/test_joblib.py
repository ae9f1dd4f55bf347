"""Arrays that joblib writes between the opcodes of a pickle, and what may hide in them."""

from __future__ import annotations

import struct

import pytest

from tests.pickles import call, dict_of, frame, list_of, name, number, proto, raw, text, tuple_of
from weightkit.analyses.safety import verdict
from weightkit.analyses.scanning import findings
from weightkit.findings import Finding
from weightkit.opening.examining import examine
from weightkit.source import Buffer

ATTACK = call("os.system", text("id"))


def dtype(code: str) -> bytes:
    return call("numpy.dtype", text(code), b"\x89", b"\x88")


def wrapper(code: str, count: int, aligned: bool = True) -> bytes:
    """What joblib pickles in an array's place; its bytes follow."""
    return wrapped(dtype(code), count, aligned)


def wrapped(dtype: bytes, count: int, aligned: bool = True) -> bytes:
    state = dict_of(
        *(text("subclass"), name("numpy.ndarray")),
        *(text("shape"), tuple_of(number(count))),
        *(text("order"), text("C")),
        *(text("dtype"), dtype),
        *(text("allow_mmap"), b"\x88"),
        *(text("numpy_array_alignment_bytes"), number(16) if aligned else b"N"),
    )
    return name("joblib.numpy_pickle.NumpyArrayWrapper") + b")\x81" + state + b"b"


def scanned(stream: bytes) -> list[Finding]:
    return list(findings(examine(Buffer(stream, "x.joblib"))))


def judged(stream: bytes) -> str:
    return verdict(scanned(stream))


FLOATS = struct.pack("<3d", 1.5, 2.5, 3.5)
PADDING = b"\x03\xff\xff\xff"
OBJECTS = proto(2) + b"](K\x01N}e."


@pytest.mark.parametrize(
    "stream",
    [
        b"](" + wrapper("f8", 3) + PADDING + FLOATS + b"K\x01e.",
        b"](" + wrapper("f8", 3, aligned=False) + FLOATS + b"K\x01e.",
        b"](" + wrapper("O8", 1) + OBJECTS + b"K\x01e.",
        b"](" + (wrapper("f8", 3) + PADDING + FLOATS) * 3 + b"e.",
    ],
)
def test_honest_arrays_are_safe(stream: bytes) -> None:
    assert scanned(proto(2) + stream) == []


def test_a_frame_that_ends_where_the_array_begins() -> None:
    held = b"](" + wrapper("f8", 3)
    rest = b"K\x01e."
    whole = proto(4) + frame(len(held)) + held + PADDING + FLOATS + frame(len(rest)) + rest
    # GLOBAL in a pickle of protocol 4 is odd by itself.
    assert {item.code for item in scanned(whole)} == {"WK311"}


def test_a_frame_that_covers_the_array() -> None:
    held = b"](" + wrapper("f8", 3) + PADDING + FLOATS + b"K\x01e."
    assert "WK313" in {item.code for item in scanned(proto(4) + frame(len(held)) + held)}


@pytest.mark.parametrize(
    "stream",
    [
        # behind an array, inside a nested pickle, behind one
        b"](" + wrapper("f8", 3) + PADDING + FLOATS + ATTACK + b"e.",
        b"](" + wrapper("O8", 1) + proto(2) + ATTACK + b".e.",
        b"](" + wrapper("O8", 1) + OBJECTS + ATTACK + b"e.",
        b"](" + wrapper("O8", 1) + b"](" + wrapper("O8", 1) + proto(2) + ATTACK + b".e.e.",
        # the unpickler of a nested pickle knows nothing of them either: the next opcode is joblib's
        b"]("
        + wrapper("O8", 1)
        + b"]("
        + wrapper("i1", 60, False)
        + (b"." + ATTACK + b"0e.").ljust(60, b"N")
        + b"e.e.",
        # pickle.load, which knows nothing of joblib's arrays, runs the bytes of one
        b"](" + wrapper("i1", 60, aligned=False) + (ATTACK + b"e.").ljust(60, b"N") + b"e.",
        b"](" + wrapper("i1", 60) + b"(" * 41 + (ATTACK + b".").ljust(60, b"N") + b"e.",
    ],
)
def test_attacks_beside_and_inside_arrays(stream: bytes) -> None:
    found = scanned(proto(2) + stream)
    assert verdict(found) == "unsafe"
    assert "os.system" in {item.subject for item in found}


@pytest.mark.parametrize("code", ["f8", "O8"])
def test_an_array_that_breaks_off_is_not_safe(code: str) -> None:
    stream = proto(2) + b"](" + wrapper(code, 3) + PADDING[: 4 if code == "f8" else 0] + b"](K\x01"
    assert judged(stream) != "safe"


def test_nesting_is_bounded() -> None:
    stream = raw(b"x") + b"."
    for _ in range(30):
        stream = b"](" + wrapper("O8", 1) + stream + b"e."
    assert judged(proto(2) + stream) != "safe"


def dtype_of(code: str, *state: bytes) -> bytes:
    return dtype(code) + tuple_of(number(3), text("|"), *state) + b"b"


SIZES = number(8), number(8), number(27)
OBJECT = dtype_of("O8", b"N", b"N", b"N", number(-1), number(-1), number(63))
HOLDING = {
    "a field": dtype_of(
        "V8", b"N", tuple_of(text("a")), dict_of(text("a"), tuple_of(OBJECT, number(0))), *SIZES
    ),
    "a part": dtype_of("V8", tuple_of(OBJECT, tuple_of(number(1))), b"N", b"N", *SIZES),
    "a flag": dtype_of("f8", b"N", b"N", b"N", number(-1), number(-1), number(63)),
    "a list": call("numpy.dtype", text("f8,O")),
    "a word": call("numpy.dtype", text("object")),
    "a class": call("numpy.dtype", name("numpy.object_")),
    "a class of types": call("numpy.dtypes.ObjectDType"),
    "what is not known": call("numpy.dtype", call("mylib.f")),
}


@pytest.mark.parametrize("what", HOLDING)
def test_elements_that_hold_objects_are_a_pickle(what: str) -> None:
    """joblib goes by ``dtype.hasobject``. What it reads there has a memo of its own."""
    nested = text("os") + b"\x94" + text("system") + b"\x94h\0h\1\x93" + text("id") + b"\x85R."
    nested = proto(2) + nested + bytes(-len(nested) % 8)
    memo = text("collections") + b"\x940" + text("OrderedDict") + b"\x940"
    stream = proto(2) + memo + wrapped(HOLDING[what], len(nested) // 8, aligned=False)
    assert "WK801" in {item.code for item in scanned(stream + nested + b".")}


WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"


@pytest.mark.parametrize(
    "made",
    [
        name(WRAPPER) + b")\x81",
        name(WRAPPER) + b")}\x92",
        b"(" + name(WRAPPER) + b"o",
        b"(ijoblib.numpy_pickle\nNumpyArrayWrapper\n",
        call("copyreg._reconstructor", name(WRAPPER), name("builtins.object"), b"N"),
        call("copy_reg._reconstructor", name(WRAPPER), name("__builtin__.object"), b"N"),
        call("copyreg.__newobj__", name(WRAPPER)),
        call("copyreg.__newobj_ex__", name(WRAPPER), b")", b"}"),
    ],
)
def test_a_wrapper_is_one_however_it_is_made(made: bytes) -> None:
    """joblib passes over the number behind it; taken for an opcode it would swallow the attack."""
    attack = ATTACK + b"0"
    number_ = b"B" + struct.pack("<I", 3 + len(attack)) + b"aaa"
    stream = proto(2) + wrapper("f8", 1, aligned=False).replace(name(WRAPPER) + b")\x81", made)
    assert "WK801" in {item.code for item in scanned(stream + number_ + attack + b"0N.")}


SPELT = {
    # what NumPy takes, but does not write: how many bytes follow is not told by the words
    "the shape as a list": (dtype("f8"), list_of(number(1))),
    "the shape as text": (dtype("f8"), tuple_of(text("1"))),
    "the shape as a float": (dtype("f8"), tuple_of(b"G?\xf0\0\0\0\0\0\0")),
    "the shape as a bool": (dtype("f8"), tuple_of(b"\x88")),
    "a letter": (dtype("d"), tuple_of(number(1))),
    "a word": (dtype("float"), tuple_of(number(1))),
    "a list of types": (dtype("i4,i4"), tuple_of(number(1))),
    "a class": (call("numpy.dtypes.Float64DType"), tuple_of(number(1))),
    "a class of Python": (call("numpy.dtype", name("builtins.float")), tuple_of(number(1))),
    "a class of NumPy": (call("numpy.dtype", name("numpy.intc")), tuple_of(number(2))),
    "a record larger than its code": (
        dtype_of(
            *("V4", b"N", tuple_of(text("a"))),
            dict_of(text("a"), tuple_of(dtype("f8"), number(0))),
            *(number(8), number(1), number(16)),
        ),
        tuple_of(number(1)),
    ),
}


@pytest.mark.parametrize("what", SPELT)
def test_bytes_that_are_passed_over_are_told_by_the_words_of_numpy(what: str) -> None:
    kind, shape = SPELT[what]
    attack = ATTACK + b"0"
    number_ = b"B" + struct.pack("<I", 3 + len(attack)) + b"aaa"
    made = wrapped(kind, 1, aligned=False).replace(tuple_of(number(1)), shape, 1)
    assert judged(proto(2) + made + number_ + attack + b"0N.") != "safe"
