"""The numpy room: what it reads, and one test per way a file can be wrong."""

from __future__ import annotations

import os
import struct
import sys
import time
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zip_files import Entry, archive
from weightkit.archives import Budget, read_zip
from weightkit.findings import Examination
from weightkit.formats import numpy as room
from weightkit.formats.numpy.descriptions import NoDescription, describe
from weightkit.formats.numpy.literals import NoLiteral, Pairs, parse
from weightkit.programs import Global
from weightkit.rules import Faults
from weightkit.source import Buffer
from weightkit.tensors import TensorInfo


def npy(
    descr: str = "'<f4'",
    shape: str = "(2, 3)",
    order: str = "False",
    data: bytes | None = None,
    version: tuple[int, int] = (1, 0),
    header: str | bytes | None = None,
) -> bytes:
    if header is None:
        header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    raw = header.encode() if isinstance(header, str) else header
    form = "<H" if version == (1, 0) else "<I"
    raw += b" " * (-(8 + struct.calcsize(form) + len(raw) + 1) % 64) + b"\n"
    data = bytes(24) if data is None else data
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, len(raw)) + raw + data


def examine(blob: bytes) -> tuple[Examination, list[str]]:
    found = room.examine(Buffer(blob, "x.npy"))
    return found, [fault.code for fault in found.faults]


def one(blob: bytes) -> TensorInfo:
    found, codes = examine(blob)
    assert codes == []
    assert found.index is not None
    (tensor,) = found.index.tensors
    return tensor


def npz(*entries: Entry) -> tuple[Examination, list[str]]:
    faults = Faults("x.npz")
    source = Buffer(archive(list(entries)), "x.npz")
    zip_ = read_zip(source, faults)
    assert room.is_npz(zip_)
    found = room.examine_npz(source, zip_, Budget(), faults)
    return found, [fault.code for fault in found.faults]


CALL = b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."


def test_an_array() -> None:
    found, codes = examine(npy())
    assert codes == []
    index = found.index
    assert index is not None
    assert (index.format, index.container, index.version) == ("numpy", "npy", "1.0")
    (tensor,) = index.tensors
    assert (tensor.name, tensor.dtype.name, tensor.shape) == ("arr_0", "f32", (2, 3))
    assert (tensor.strides, tensor.byteorder, tensor.data.nbytes) == (None, "little", 24)
    assert index.data_start % 64 == 0
    assert room.accepts(npy())
    assert not room.accepts(CALL)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ("(2, 3)", (1, 2)),
        ("(2, 3, 4)", (1, 2, 6)),
        ("(6,)", None),
        ("()", None),
        ("(1, 6)", None),
        ("(6, 1)", None),
        ("(2, 1, 3)", (1, 2, 2)),
        ("(0, 3)", None),
    ],
)
def test_fortran_order(shape: str, strides: tuple[int, ...] | None) -> None:
    count = 1
    for length in parse(shape):
        count *= length
    assert one(npy(shape=shape, order="True", data=bytes(4 * count))).strides == strides


# One file per rule, that triggers exactly it.
ODD = {
    "WK001": npy(data=bytes(23)),
    "WK002": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 21) + bytes(1 << 21),
    "WK501": npy(version=(1, 1)),
    "WK502": npy(header="{}"),
    "WK503": npy(header="{'shape': (9,), 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}"),
    "WK504": npy("'<f3'"),
    "WK505": npy(data=bytes(25)),
    "WK508": npy("'|O'", data=CALL),
}


@pytest.mark.parametrize("code", ODD)
def test_each_rule(code: str) -> None:
    assert examine(ODD[code])[1] == [code]


def test_each_rule_of_npz() -> None:
    array = Entry(b"a.npy", npy())
    assert npz(array, Entry(b"b.npy", b"text"))[1] == ["WK506"]
    assert npz(array, Entry(b"a", npy()))[1] == ["WK507"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 1: 1}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [1]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': " + repr((1,) * 65) + "}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "dict(descr='<f4', fortran_order=False, shape=(1,))",
        "__import__('os').system('id')",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
        "(" * 10_000,
        "{'descr': " + "[" * 10_000,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}",
    ],
)
def test_headers_that_are_none(header: str) -> None:
    found, codes = examine(npy(header=header))
    assert codes == ["WK502"]
    assert found.index is None


def test_a_header_that_is_not_utf8() -> None:
    assert examine(npy(version=(3, 0), header=b"{'descr': '\xff'}"))[1] == ["WK502"]


def test_headers_cut_off() -> None:
    blob = npy()
    for cut in range(len(blob)):
        _, codes = examine(blob[:cut])
        assert codes == ["WK001"], cut


def test_a_long_header_is_odd() -> None:
    fields = ", ".join(f"('field{number}', '<f4')" for number in range(600))
    found, codes = examine(npy(f"[{fields}]", "(1,)", version=(2, 0), data=bytes(2400)))
    assert codes == ["WK503"]
    assert found.index is not None
    assert found.index.tensors[0].dtype.nbytes == 2400


def test_python_2_wrote_long_integers() -> None:
    assert one(npy(shape="(2L, 3L)")).shape == (2, 3)


def test_shapes_that_overflow() -> None:
    """numpy multiplies in 64 bits and gets 0."""
    assert examine(npy(shape="(4294967296, 4294967296)"))[1] == ["WK001"]


def called(found: Examination) -> list[str]:
    targets = (call.target for program in found.programs for call in program.calls)
    return [target.path for target in targets if isinstance(target, Global)]


@pytest.mark.parametrize(
    "descr", ["'|O'", "'O'", "'object'", "[('a', '<f4'), ('b', '|O')]", "('|O', (2,))", "'i4,O'"]
)
def test_objects_become_a_program(descr: str) -> None:
    found, codes = examine(npy(descr, "(1,)", data=CALL))
    assert codes == ["WK508"]
    assert called(found) == ["os.system"]
    assert found.index is not None
    assert found.index.tensors == ()


def test_a_pickle_that_breaks_off() -> None:
    found, codes = examine(npy("'|O'", data=CALL[:-1]))
    assert codes == ["WK508", "WK301"]
    assert called(found) == ["os.system"]
    assert examine(npy("'|O'", data=CALL + b"more"))[1] == ["WK508", "WK505"]


def test_a_pickle_behind_a_header_that_is_not_understood() -> None:
    """numpy takes more spellings of a header than it is worth to know."""
    for blob in (npy("'(1,)O'", data=CALL), npy(shape="(1e0,)", data=CALL)):
        found, codes = examine(blob)
        assert codes[0] in {"WK502", "WK504"}
        assert called(found) == ["os.system"]


@pytest.mark.parametrize("method", [0, 8])
def test_npz(method: int) -> None:
    entries = [
        Entry(b"a.npy", npy(), method),
        Entry(b"nested/b.npy", npy("'>i2'", "(3,)", data=bytes(6)), method),
        Entry(b"o.npy", npy("'|O'", data=CALL), method),
    ]
    found, codes = npz(*entries)
    assert codes == ["WK508"]
    index = found.index
    assert index is not None
    assert (index.container, index.metadata) == ("npz", {"object_arrays": ["o.npy"]})
    assert [(t.name, t.dtype.name, t.byteorder) for t in index.tensors] == [
        ("a", "f32", "little"),
        ("nested/b", "i16", "big"),
    ]
    assert called(found) == ["os.system"]
    assert found.programs[0].entry == "o.npy"
    assert found.faults[0].entry == "o.npy"


def test_npz_places() -> None:
    blob = archive([Entry(b"a.npy", npy(data=b"x" * 24)), Entry(b"b.npy", npy(), method=8)])
    source = OnDisk(blob, "x.npz")
    faults = Faults("x.npz")
    found = room.examine_npz(source, read_zip(source, faults), Budget(), faults)
    assert found.index is not None
    stored, packed = found.index.tensors
    assert blob[stored.data.offset :][:24] == b"x" * 24
    assert (packed.data.encoding, packed.data.within, packed.data.nbytes) == ("deflate", 128, 24)


class OnDisk(Buffer):
    """Bytes that pass for a file: their extents are raw."""

    def extent(self, offset: int, nbytes: int) -> room.Extent:
        return room.Extent(0, offset, nbytes)


def test_a_large_packed_array_is_not_inflated() -> None:
    blob = archive([Entry(b"a.npy", npy(shape="(6000000,)", data=bytes(24_000_000)), method=8)])
    source, faults = Buffer(blob), Faults("x")
    zip_ = read_zip(source, faults)
    tracemalloc.start()
    found = room.examine_npz(source, zip_, Budget(), faults)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    assert found.index is not None
    assert found.index.tensors[0].shape == (6_000_000,)
    assert found.faults == ()


def test_a_packed_header_longer_than_the_head() -> None:
    fields = ", ".join(f"('field{number}', '<f4')" for number in range(1500))
    blob = npy(f"[{fields}]", "(1,)", version=(2, 0), data=bytes(6000))
    found, codes = npz(Entry(b"a.npy", blob, method=8))
    assert codes == ["WK503"]
    assert found.index is not None
    assert found.index.tensors[0].data.within == len(blob) - 6000


def test_npz_with_members_of_one_name() -> None:
    """zipfile takes the last; both are looked at."""
    found, codes = npz(Entry(b"a.npy", npy("'|O'", data=CALL)), Entry(b"a.npy", npy()))
    assert set(codes) == {"WK405", "WK508"}
    assert called(found) == ["os.system"]
    assert found.index is not None
    assert [tensor.name for tensor in found.index.tensors] == ["a"]


def test_npz_goes_by_content() -> None:
    """numpy reads a member that starts as an array whatever it is called, and no other."""
    found, codes = npz(Entry(b"a.npy", npy()), Entry(b"b.txt", npy("'|O'", data=CALL)))
    assert codes == ["WK508"]
    assert called(found) == ["os.system"]
    found, codes = npz(Entry(b"a.npy", npy()), Entry(b"b.npy", CALL))
    assert codes == ["WK506"]
    assert found.programs == ()
    assert found.index is not None
    assert found.index.metadata == {"other_members": ["b.npy"]}


def test_npz_with_a_member_that_cannot_be_read() -> None:
    broken = replace(Entry(b"b.npy", npy(), method=8), packed=b"\xff" * 40)
    found, codes = npz(Entry(b"a.npy", npy()), broken, Entry(b"c.npy", npy(), method=99))
    assert "WK415" in codes
    assert found.index is not None
    assert [tensor.name for tensor in found.index.tensors] == ["a"]


def test_what_is_an_npz() -> None:
    def zipped(path: str, *names: bytes) -> bool:
        blob = archive([Entry(name, npy()) for name in names])
        return room.is_npz(read_zip(Buffer(blob, path), Faults(path)))

    assert zipped("x", b"a.npy", b"b.npy", b"folder/")
    assert zipped("x.NPZ", b"a.npy", b"b")
    assert not zipped("x.skops", b"a.npy", b"schema.json")
    assert not zipped("x.npz", b"a.txt")


def budgeted(content: bytes, level: int) -> list[str]:
    source = Buffer(archive([Entry(b"%d.npy" % n, content) for n in range(20)]))
    faults, budget = Faults("x"), Budget(members=3)
    budget.level = level
    found = room.examine_npz(source, read_zip(source, faults), budget, faults)
    return [fault.code for fault in found.faults if fault.code == "WK002"]


def test_npz_budget_of_members() -> None:
    """Plain arrays are only counted inside another container: their headers are all that is read."""
    objects = npy("'|O'", data=b"N.")
    assert budgeted(npy(), level=0) == []
    assert budgeted(npy(), level=1) == ["WK002"]
    assert budgeted(objects, level=0) == ["WK002"]
    assert budgeted(b"no array", level=0) == ["WK002"]


@pytest.mark.parametrize(
    ("descr", "name", "nbytes", "order"),
    [
        ("<f2", "f16", 2, "little"),
        (">f8", "f64", 8, "big"),
        ("|b1", "bool", 1, "little"),
        ("|u1", "u8", 1, "little"),
        (">i1", "i8", 1, "little"),
        ("<c16", "c128", 16, "little"),
        ("<f16", "float128", 16, "little"),
        ("<f1", "f8_e5m2", 1, "little"),
        ("<V2", "V2", 2, "little"),
        ("|S7", "S7", 7, "little"),
        ("<U3", "U3", 12, "little"),
        (">U3", "U3", 12, "big"),
        ("<M8[ns]", "M8[ns]", 8, "little"),
        (">m8[25s]", "m8[25s]", 8, "big"),
        ("float32", "f32", 4, "native"),
        ("=i4", "i32", 4, "native"),
        ("i4", "i32", 4, "native"),
        ("?", "bool", 1, "little"),
        ("d", "f64", 8, "native"),
        ([("a", "<f4"), ("b", ">i2", (2, 3)), ("", "|V2")], "record", 18, "little"),
        ([(("title", "a"), "<f4")], "record(a: f32)", 4, "little"),
        (("<f4", (2, 2)), "f32[2, 2]", 16, "little"),
        ([("a", [("b", "<f4")])], "record(a: record(b: f32))", 4, "little"),
    ],
)
def test_descriptions(descr: object, name: str, nbytes: int, order: str) -> None:
    found = describe(descr)
    assert found.dtype.name.startswith(name)
    assert (found.dtype.nbytes, found.order, found.objects) == (nbytes, order, False)


@pytest.mark.parametrize(
    "descr",
    ["", "<f3", "x9", "<f4 ", "M4", "(2,)f4", 5, None, (), [5], [("a",)], ("<f4", "x"), ("<f4", (-1,)),
     "V9999999999", ("<f4", (1 << 40,)), ["<f4"], "l", "L"],
)  # fmt: skip
def test_descriptions_that_are_none(descr: object) -> None:
    with pytest.raises(NoDescription):
        describe(descr)


def test_records_in_records_without_end() -> None:
    descr: object = "<f4"
    for _ in range(100):
        descr = [("a", descr)]
    with pytest.raises(NoDescription):
        describe(descr)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (" -0x1F # comment\n", -31),
        ("(1)", 1),
        ("(1,)", (1,)),
        ("()", ()),
        ("[1, 'a' \"b\", None]", [1, "ab", None]),
        ("{'a': True, 'b': {}}", Pairs([("a", True), ("b", Pairs())])),
        (r"'\x41\u0042\103\n\'\q'", "ABC\n'\\q"),
        ("u'a'", "a"),
        ("1_000L", 1000),
        ("''", ""),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["", "1 2", "x", "1.5", "1j", "007", "1__0", "b'a'", "f'a'", "'a", "'''a'''", "(,)",
             "[1 2]", "{1}", "{1: }", "(1", "1)", "--1", "True1", "lambda: 1"],
)  # fmt: skip
def test_literals_that_are_none(text: str) -> None:
    with pytest.raises(NoLiteral):
        parse(text)


def test_a_hostile_header_takes_no_time() -> None:
    started = time.process_time()
    for header in ["{" + "'a':1," * 150_000, "[" * 900_000, "'" + "\\" * 900_000, " " * 900_000]:
        assert examine(npy(header=header, version=(2, 0)))[1] in (["WK502"], ["WK502", "WK503"])
    assert time.process_time() - started < 3


@given(st.integers(0), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_any_byte_flipped(at: int, value: int) -> None:
    blob = bytearray(npy("[('a', '<f4'), ('b', '|O')]", data=CALL))
    blob[at % len(blob)] = value
    found, codes = examine(bytes(blob))
    assert found.index is not None or codes


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_literal_or_not(text: str) -> None:
    offset = 0
    try:
        parse(text)
    except NoLiteral as error:
        offset = error.offset
    assert 0 <= offset <= len(text)


def test_numpy_is_not_imported() -> None:
    code = (
        "import sys; from weightkit.formats import numpy as room;"
        "from weightkit.source import Buffer;"
        f"assert room.examine(Buffer({npy()!r})).index.tensors;"
        "assert 'numpy' not in sys.modules"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
