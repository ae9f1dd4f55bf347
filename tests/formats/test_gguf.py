"""The GGUF room: what it reads, and one test per way a file can be wrong.

What llama.cpp does with each is taken from ``gguf_init_from_file`` and ``llama_model_loader``.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.formats.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    V3,
    Maker,
    Tensor,
    codes,
    examine,
)
from weightkit.dtypes import GGML
from weightkit.errors import AccessError, FormatError
from weightkit.findings import Examination
from weightkit.formats import gguf
from weightkit.formats.gguf import entries, pairs
from weightkit.rules import RULES
from weightkit.rules.gguf import RULES as GGUF_RULES
from weightkit.source import Buffer, Source, Window
from weightkit.tensors import ArrayRef, Extent, FileIndex

LAYOUTS = [
    pytest.param(version, order, id=f"v{version}{order}") for version in (1, 2, 3) for order in "<>"
]


def index_of(content: bytes) -> FileIndex:
    examination = examine(content)
    assert examination.index is not None, examination.faults
    return examination.index


def shared_model(make: Maker) -> bytes:
    return make.file(
        [make.text("general.architecture", "llama"), make.u32("llama.block_count", 2)],
        [Tensor("a", [3, 2]), Tensor("b", [32], 32, kind=8), Tensor("c", [], 96)],
        nbytes=128,
    )


# What is read


@pytest.mark.parametrize(("version", "order"), LAYOUTS)
def test_every_version_and_byte_order(version: int, order: str) -> None:
    content = shared_model(Maker(version, order))
    examination = examine(content)
    index = examination.index
    assert index is not None
    assert [fault.code for fault in examination.faults] == (["WK202"] if version == 1 else [])
    assert (index.version, index.byteorder) == (str(version), "little" if order == "<" else "big")
    assert index.metadata == {"general.architecture": "llama", "llama.block_count": 2}
    assert index.data_start == len(content) - 128
    assert [(t.name, t.dtype.name, t.shape, t.byteorder) for t in index.tensors] == [
        ("a", "f32", (2, 3), index.byteorder),
        ("b", "q8_0", (32,), index.byteorder),
        ("c", "f32", (), index.byteorder),
    ]
    start = index.data_start
    assert [t.data for t in index.tensors] == [
        Extent(0, start, 24),
        Extent(0, start + 32, 34),
        Extent(0, start + 96, 4),
    ]


def test_the_main_set_and_no_set_without_tensors() -> None:
    index = index_of(shared_model(V3))
    assert [(s.key, s.kind) for s in index.sets] == [("", "model")]
    assert index_of(V3.file([V3.text("general.name", "vocabulary")])).sets == ()


def test_shapes_are_outermost_first() -> None:
    content = V3.file(tensors=[Tensor("x", [2, 3, 4, 5])], nbytes=480)
    assert index_of(content).tensors[0].shape == (5, 4, 3, 2)


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        (U8, "B", 255),
        (I8, "b", -128),
        (U16, "H", 65535),
        (I16, "h", -2),
        (U32, "I", 1 << 31),
        (I32, "i", -3),
        (F32, "f", 0.5),
        (BOOL, "B", True),
        (U64, "Q", (1 << 64) - 1),
        (I64, "q", -(1 << 63)),
        (F64, "d", 0.1),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_scalar_and_its_array(kind: int, code: str, value: float, order: str) -> None:
    make = Maker(3, order)
    packed = make.number(code, value)
    content = make.file(
        [make.pair("one", kind, packed), make.array("three", kind, 3, packed * 3), make.u32("z", 7)]
    )
    metadata = index_of(content).metadata
    assert metadata == {"one": value, "three": [value] * 3, "z": 7}
    assert type(metadata["one"]) is type(value)


def test_text_keeps_its_characters() -> None:
    text = "{{ 'é▁🦙' }}\n\x00 after a NUL"
    assert index_of(V3.file([V3.text("tokenizer.chat_template", text)])).metadata == {
        "tokenizer.chat_template": text
    }


def test_split_keys_stay_in_the_metadata() -> None:
    content = V3.file(
        [
            V3.pair("split.no", U16, V3.number("H", 1)),
            V3.pair("split.count", U16, V3.number("H", 2)),
            V3.pair("split.tensors.count", I32, V3.number("i", 21)),
        ],
        [Tensor("x", [1])],
        nbytes=4,
    )
    metadata = index_of(content).metadata
    assert [metadata[f"split.{key}"] for key in ("no", "count", "tensors.count")] == [1, 2, 21]


@pytest.mark.parametrize("number", sorted(GGML))
def test_every_type_has_its_place(number: int) -> None:
    row = GGML[number]
    dims = [row.items * 2, 3]
    nbytes = row.nbytes * 6
    content = V3.file(tensors=[Tensor("x", dims, 0, number)], nbytes=nbytes)
    examination = examine(content)
    assert examination.faults == ()
    assert examination.index is not None
    (tensor,) = examination.index.tensors
    assert (tensor.dtype, tensor.shape) == (row, (3, row.items * 2))
    assert tensor.data.nbytes == tensor.nbytes == nbytes


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_the_alignment_of_the_file(alignment: int) -> None:
    content = V3.file(
        [V3.u32("general.alignment", alignment)],
        [Tensor("a", [1]), Tensor("b", [1], alignment)],
        nbytes=alignment + 4,
        alignment=alignment,
    )
    examination = examine(content)
    assert examination.faults == ()
    assert examination.index is not None
    assert examination.index.alignment == alignment
    assert examination.index.data_start % alignment == 0
    assert examination.index.tensors[1].data.offset == len(content) - 4


def test_a_member_of_an_archive_has_its_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "outer"
    path.write_bytes(b"x" * 100 + shared_model(V3))
    with Source(path) as source:
        inner = Window(source, 100, source.size - 100, "model.gguf")
        index = gguf.examine(inner).index
        assert index is not None
        start = index.data_start
        assert [t.data.offset - start for t in index.tensors] == [100, 132, 196]


def test_accepts_by_content() -> None:
    assert gguf.accepts(b"GGUF\x03")
    assert gguf.accepts(b"FUGG\x03")
    assert not gguf.accepts(b"GGU")
    assert not gguf.accepts(b"ggml")
    assert not gguf.accepts(b"")


# Arrays


def test_a_long_array_stays_in_the_file() -> None:
    scores = V3.number("2000f", *range(2000))
    content = V3.file([V3.array("scores", F32, 2000, scores), V3.u32("after", 1)])
    metadata = index_of(content).metadata
    ref = metadata["scores"]
    assert ref == ArrayRef("f32", 2000, content.index(scores), 8000)
    assert metadata["after"] == 1
    source = Buffer(content)
    assert gguf.read_array(source, ref) == list(range(2000))
    assert gguf.read_array(source, ref, limit=3) == [0, 1, 2]


@pytest.mark.parametrize(("version", "order"), LAYOUTS)
def test_a_vocabulary_stays_in_the_file(version: int, order: str) -> None:
    make = Maker(version, order)
    tokens = ["<unk>", "", "é", *(f"token {i}" for i in range(2000))]
    content = make.file([make.strings("tokens", tokens), make.u32("after", 1)])
    metadata = index_of(content).metadata
    ref = metadata["tokens"]
    assert isinstance(ref, ArrayRef)
    assert (ref.kind, ref.length) == ("string", len(tokens))
    assert metadata["after"] == 1
    read = gguf.read_array(Buffer(content), ref, order, version=version)
    assert read == tokens
    named = {"<": "little", ">": "big"}[order]
    assert gguf.read_array(Buffer(content), ref, named, version=version) == tokens
    assert gguf.read_array(Buffer(content), ref, order, limit=2, version=version) == ["<unk>", ""]


def test_strings_around_the_ends_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ["x" * n for n in (0, 1, 7, 8, 9, 30, 100, 0, 5, 64, 63)] * 9
    content = V3.file([V3.strings("tokens", tokens), V3.u32("after", 1)])
    for window in range(8, 80):
        monkeypatch.setattr(pairs, "WINDOW", window)
        metadata = index_of(content).metadata
        assert metadata["after"] == 1
        assert gguf.read_array(Buffer(content), metadata["tokens"]) == tokens


def test_few_strings_are_read_at_once() -> None:
    tags = ["text-generation", "en", "é"]
    assert index_of(V3.file([V3.strings("general.tags", tags)])).metadata["general.tags"] == tags


def test_a_long_text_stays_in_the_file() -> None:
    text = "x" * (pairs.SMALL_TEXT + 1)
    content = V3.file([V3.text("tokenizer.huggingface.json", text), V3.u32("after", 1)])
    metadata = index_of(content).metadata
    ref = metadata["tokenizer.huggingface.json"]
    assert ref == ArrayRef("text", len(text), content.index(b"xxx"), len(text))
    assert metadata["after"] == 1
    assert gguf.read_array(Buffer(content), ref) == [text]


def test_what_is_decoded_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "DECODED_NBYTES", 100)
    content = V3.file([V3.text(f"key{i}", "x" * 40) for i in range(4)])
    kinds = [type(value) for value in index_of(content).metadata.values()]
    assert kinds == [str, str, ArrayRef, ArrayRef]


def test_nested_arrays() -> None:
    inner = V3.elements(I32, 2, V3.number("2i", 1, -2)) + V3.elements(U8, 0, b"")
    deeper = V3.elements(STRING, 1, V3.string("s"))
    nested = V3.elements(ARRAY, 2, inner) + V3.elements(ARRAY, 1, deeper)
    content = V3.file([V3.array("nested", ARRAY, 2, nested), V3.u32("after", 1)])
    examination = examine(content)
    assert [fault.code for fault in examination.faults] == ["WK209"]
    assert examination.index is not None
    assert examination.index.metadata == {"nested": [[[1, -2], []], [["s"]]], "after": 1}


def test_a_long_nested_array_stays_in_the_file() -> None:
    rows = b"".join(V3.elements(U8, 1, bytes([i])) for i in range(100))
    content = V3.file([V3.array("rows", ARRAY, 100, rows)])
    ref = index_of(content).metadata["rows"]
    assert ref == ArrayRef("array", 100, content.index(rows), len(rows))
    assert gguf.read_array(Buffer(content), ref) == [[i] for i in range(100)]


def test_an_array_that_changed_is_no_traceback() -> None:
    content = V3.file([V3.strings("tokens", ["token"] * 100)])
    ref = index_of(content).metadata["tokens"]
    changed = content.replace(b"\x05\0\0\0\0\0\0\0", b"\xff" * 8)
    with pytest.raises(AccessError) as caught:
        gguf.read_array(Buffer(changed), ref)
    assert caught.value.code == "WK012"
    with pytest.raises(FormatError) as too_long:
        gguf.read_array(Buffer(content), ArrayRef("string", 1, 0, 1 << 40))
    assert too_long.value.code == "WK002"


def test_a_big_vocabulary_is_skipped_fast() -> None:
    """Half a million strings; the loop takes some 40 ms and no memory to speak of."""
    token = V3.string("token")
    content = V3.file([V3.array("tokens", STRING, 500_000, token * 500_000)])
    start = time.process_time()
    index_of(content)
    assert time.process_time() - start < 1


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; import weightkit.formats.gguf;"
        "print([m for m in ('numpy', 'gguf', 'torch', 'rich', 'click') if m in sys.modules])"
    )
    with os.popen(f'{sys.executable} -c "{program}"') as run:
        assert run.read().strip() == "[]"


# What is wrong: one file per rule. ``whole`` says that the header is still described.

ZERO_TAIL = bytes(64)


def alignment_file(pair: bytes) -> bytes:
    return V3.file([pair], [Tensor("x", [1])], nbytes=4)


def two_tensors(first: int, second: int, nbytes: int = 64) -> bytes:
    return V3.file(tensors=[Tensor("a", [8], first), Tensor("b", [8], second)], nbytes=nbytes)


def one_tensor(dims: list[int], kind: int = 0, nbytes: int = 64, name: str = "x") -> bytes:
    return V3.file(tensors=[Tensor(name, dims, 0, kind)], nbytes=nbytes)


def deep_array(depth: int) -> bytes:
    payload = b""
    for _ in range(depth):
        payload = V3.elements(ARRAY, 1, payload) if payload else V3.elements(U8, 0, b"")
    return V3.pair("deep", ARRAY, payload)


DUPLICATE_KEY = V3.file([V3.u32("key", 1), V3.u32("key", 2)])
LONG_NAME = "n" * 64

# code, offset of the fault, whether the header is still described, content
BAD = [
    ("WK001", 4, False, b"GGUF"),
    ("WK001", 8, False, V3.header(0, 0)[:20]),
    ("WK001", 37, False, V3.file([V3.u32("k", 1)])[:-1]),
    ("WK001", 32 + 8 + 1, False, V3.header(1, 0) + V3.entry(Tensor("x" * 5, [1]))[:-8]),
    ("WK002", 8, False, V3.header(300_000, 0) + bytes(24 * 300_000)),
    ("WK002", 16, False, V3.header(0, 200_000) + bytes(13 * 200_000)),
    ("WK003", 0, False, b"GGJT" + bytes(40)),
    ("WK201", 4, False, b"GGUF" + bytes(40)),
    ("WK201", 4, False, Maker(4).file()),
    ("WK201", 4, False, Maker(7, ">").file()),
    ("WK202", 4, True, Maker(1).file()),
    ("WK203", 0, True, Maker(3, ">").file(magic=b"FUGG")),
    ("WK204", 24, False, V3.header(0, 1) + V3.length(1 << 40) + ZERO_TAIL),
    ("WK204", 37, False, V3.header(0, 1) + V3.pair("k", STRING, V3.length(1 << 63)) + ZERO_TAIL),
    ("WK204", 24, False, V3.header(1, 0) + V3.length(1000) + ZERO_TAIL),
    ("WK205", 8, False, V3.header(1 << 60, 0) + ZERO_TAIL),
    ("WK205", 16, False, V3.header(0, 10**9) + ZERO_TAIL),
    ("WK205", 16, False, V3.header(0, 1 << 63) + ZERO_TAIL),
    ("WK206", 41, False, V3.header(0, 1) + V3.array("k", STRING, 1 << 40, ZERO_TAIL)),
    ("WK206", 41, False, V3.header(0, 1) + V3.array("k", U8, 1 << 40, ZERO_TAIL)),
    ("WK206", 41, False, V3.header(0, 1) + V3.array("k", F64, 1 << 61, ZERO_TAIL)),
    ("WK206", 41, False, V3.header(0, 1) + V3.array("k", ARRAY, (1 << 64) - 1, ZERO_TAIL)),
    ("WK207", 33, False, V3.file([V3.pair("k", 13, bytes(8))])),
    ("WK207", 37, False, V3.file([V3.array("k", 99, 1, bytes(8))])),
    ("WK209", 37 + 3, True, V3.file([V3.array("deep", ARRAY, 1, V3.elements(U8, 0, b""))])),
    ("WK211", 24, True, V3.file([V3.u32("", 1)])),
    ("WK212", 24 + 19, True, DUPLICATE_KEY),
    ("WK213", 24, False, V3.file([V3.u32("k" * 65536, 1)])),
    ("WK213", 24, False, V3.file(tensors=[Tensor("k" * 65536, [1])], nbytes=4)),
    ("WK214", 24, True, V3.file([V3.text("tokenizer.chat_template\0.x", "{{ 1 }}")])),
    ("WK214", 24, True, V3.file(tensors=[Tensor("a\0b", [1])], nbytes=4)),
    ("WK214", 24, True, V3.file(tensors=[Tensor("a\0", [1])], nbytes=4)),
    ("WK215", 24, True, Maker(2).file([Maker(2).u32("key\0", 1)])),
    ("WK215", 24 + 15, True, Maker(2).file([Maker(2).text("key", "value\0")])),
    ("WK216", 24, True, V3.file([V3.u32(b"\xff", 1)])),
    ("WK216", 24 + 13, True, V3.file([V3.text("k", b"ok\xc3(")])),
    ("WK216", 24, True, V3.file(tensors=[Tensor(b"\xe2\x82", [1])], nbytes=4)),
    ("WK217", 37, True, V3.file([V3.pair("k", BOOL, b"\x02")])),
    ("WK217", 50, True, V3.file([V3.array("k", BOOL, 3, b"\x01\xff\x00")])),
    ("WK218", 49, True, alignment_file(V3.u32("general.alignment", 0))),
    ("WK218", 49, True, alignment_file(V3.u32("general.alignment", 48))),
    ("WK218", 49, True, alignment_file(V3.pair("general.alignment", U64, V3.number("Q", 32)))),
    ("WK218", 49, True, alignment_file(V3.text("general.alignment", "32"))),
    ("WK218", 49, True, alignment_file(V3.array("general.alignment", U32, 1, bytes(4)))),
    ("WK219", 49, True, V3.file([V3.u32("general.alignment", 4)])),
    ("WK219", 49, True, V3.file([V3.u32("general.alignment", 1 << 31)])),
    ("WK220", 24 + 33, True, V3.file(tensors=[Tensor("a", [8]), Tensor("a", [8], 32)], nbytes=64)),
    ("WK221", 24, True, one_tensor([16], name=LONG_NAME)),
    ("WK222", 24, True, one_tensor([1, 1, 1, 1, 16])),
    ("WK222", 24, False, one_tensor([1] * 9)),
    ("WK222", 24, False, V3.header(1, 0) + V3.string("x") + b"\xff" * 40),
    ("WK224", 24, True, one_tensor([16, 0], nbytes=0)),
    ("WK225", 24, True, one_tensor([16], kind=99)),
    ("WK225", 24, True, one_tensor([16], kind=(1 << 32) - 1)),
    ("WK226", 24, True, one_tensor([32], kind=31, nbytes=18)),
    ("WK227", 24, True, one_tensor([16, 2], kind=8, nbytes=34)),
    ("WK227", 24, True, one_tensor([], kind=8, nbytes=34)),
    ("WK228", 24, True, V3.file(tensors=[Tensor("a", [8], 4)], nbytes=36)),
    ("WK229", 24, True, one_tensor([1 << 40])),
    ("WK229", 24, True, one_tensor([8], nbytes=31)),
    ("WK229", 24, True, one_tensor([1 << 31, 1 << 31])),
    ("WK230", 24 + 33, True, two_tensors(0, 0, 32)),
    ("WK231", 24 + 33, True, two_tensors(0, 64, 96)),
    ("WK231", 24, True, two_tensors(32, 64, 96)),
    ("WK232", 24, True, two_tensors(32, 0)),
    ("WK233", 24 + 37, True, V3.file(tensors=[Tensor("abcde", [8])])[: 24 + 37]),
    ("WK234", 96, True, one_tensor([8], nbytes=33)),
    ("WK234", 32, True, V3.file() + bytes(9)),
]


@pytest.mark.parametrize(
    ("code", "offset", "whole", "content"),
    BAD,
    ids=[f"{row[0]}-{number}" for number, row in enumerate(BAD)],
)
def test_exactly_one_fault(code: str, offset: int, whole: bool, content: bytes) -> None:
    examination = examine(content)
    assert [(fault.code, fault.offset) for fault in examination.faults] == [(code, offset)]
    assert (examination.index is not None) == whole
    assert whole or RULES[code].fatal
    (fault,) = examination.faults
    assert fault.path == "x.gguf"
    assert len(fault.message) < 400


def test_every_rule_has_a_test() -> None:
    elsewhere = {"WK208", "WK210", "WK223"}
    assert {rule.code for rule in GGUF_RULES} - elsewhere <= {row[0] for row in BAD}


def test_nesting_has_a_limit() -> None:
    assert codes(V3.file([deep_array(pairs.MAX_DEPTH)])) == ["WK209"]
    examination = examine(V3.file([deep_array(100_000)]))
    assert [fault.code for fault in examination.faults] == ["WK209", "WK208"]
    assert examination.index is None


def test_the_limits_of_llama_cpp(tmp_path: Path) -> None:
    head = V3.header(0, 2) + V3.array("bytes", U8, (1 << 30) + 1, b"")
    tail = V3.pair("text", STRING, V3.length((1 << 30) + 1))
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(head)
        file.seek((1 << 30) + 1, os.SEEK_CUR)
        file.write(tail)
        file.truncate(file.tell() + (1 << 30) + 1)
    with Source(path) as source:
        examination = gguf.examine(source)
    assert [fault.code for fault in examination.faults] == ["WK210", "WK210"]
    assert examination.index is not None


def test_a_file_of_nothing_but_strings_ends_soon(tmp_path: Path) -> None:
    """A hole of 8 GiB reads as a thousand million empty strings."""
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(V3.header(0, 1) + V3.array("tokens", STRING, 1 << 30, b""))
        file.truncate(9 << 30)
    with Source(path) as source:
        start = time.process_time()
        examination = gguf.examine(source)
    assert time.process_time() - start < 2
    assert [fault.code for fault in examination.faults] == ["WK002"]


def test_many_small_arrays_end_soon() -> None:
    rows = V3.elements(U8, 0, b"") * 300_000
    assert codes(V3.file([V3.array("rows", ARRAY, 300_000, rows)])) == ["WK209", "WK002"]


def test_names_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.walk, "MAX_NAMES_NBYTES", 100)
    content = V3.file([V3.u32(f"{i:060}", 1) for i in range(3)])
    assert codes(content) == ["WK002"]


@pytest.mark.parametrize(
    "dims", [[1 << 63], [1 << 62, 2], [1 << 32, 1 << 31], [(1 << 64) - 1] * 4, [(1 << 64) - 1, 0]]
)
def test_dimensions_that_overflow(dims: list[int]) -> None:
    examination = examine(one_tensor(dims))
    assert "WK223" in [fault.code for fault in examination.faults]
    assert examination.index is not None
    assert examination.index.tensors[0].shape == tuple(reversed(dims))


def test_the_tensor_of_a_fault_is_named() -> None:
    for code, _, _, content in BAD:
        if "WK220" <= code <= "WK232" and RULES[code].what.find("tensor") >= 0:
            assert all(fault.tensor for fault in examine(content).faults), code


def test_a_type_that_nobody_knows_is_listed_among_others() -> None:
    content = V3.file(
        tensors=[Tensor("a", [8]), Tensor("b", [64], 32, 144), Tensor("c", [8], 96)], nbytes=128
    )
    examination = examine(content)
    assert [(fault.code, fault.tensor) for fault in examination.faults] == [("WK225", "b")]
    assert examination.index is not None
    a, b, c = examination.index.tensors
    assert (a.dtype.name, b.dtype.name, c.dtype.name) == ("f32", "ggml_144", "f32")
    assert (b.shape, b.nbytes, b.data.offset - a.data.offset) == ((64,), 0, 32)


@pytest.mark.parametrize("number", sorted(entries.REMOVED))
def test_removed_types_are_named_and_placed(number: int) -> None:
    row = entries.REMOVED[number]
    content = V3.file(
        tensors=[Tensor("a", [row.items], 0, number), Tensor("b", [8], 32)], nbytes=64
    )
    examination = examine(content)
    assert [fault.code for fault in examination.faults] == ["WK226"]
    assert row.name in examination.faults[0].message
    assert examination.index is not None
    assert examination.index.tensors[0].nbytes == row.nbytes


def test_the_first_of_two_keys_stays() -> None:
    assert index_of(DUPLICATE_KEY).metadata == {"key": 1}


def test_keys_and_names_end_at_a_nul() -> None:
    """As for ``gguf_find_key`` and ``ggml_set_name``, which take C strings."""
    hidden = V3.u32("general.alignment\0 of something else", 64)
    content = V3.file([hidden], [Tensor("a\0b", [1])], nbytes=4, alignment=64)
    index = index_of(content)
    assert index.metadata == {"general.alignment": 64}
    assert index.alignment == 64
    assert [tensor.name for tensor in index.tensors] == ["a"]
    twice = V3.file(tensors=[Tensor("a\0b", [8]), Tensor("a\0c", [8], 32)], nbytes=64)
    assert codes(twice) == ["WK214", "WK214", "WK220"]


def test_files_of_the_first_quantize() -> None:
    """llama.cpp's quantize of August 2023 stored every string with its NUL."""
    make = Maker(1)
    content = make.file(
        [make.text("general.architecture\0", "llama\0"), make.strings("tokens\0", ["a\0", "b\0"])],
        [Tensor("x\0", [1])],
        nbytes=4,
    )
    examination = examine(content)
    assert {fault.code for fault in examination.faults} == {"WK202", "WK215"}
    assert examination.index is not None
    assert examination.index.metadata == {"general.architecture": "llama", "tokens": ["a", "b"]}
    assert examination.index.tensors[0].name == "x"


def test_text_that_is_not_utf8_is_escaped() -> None:
    content = V3.file([V3.text("k", b"\xff\xfe!"), V3.strings("s", [b"\x80"])])
    assert index_of(content).metadata == {"k": "\\xff\\xfe!", "s": ["\\x80"]}


def test_faults_that_repeat_are_counted() -> None:
    tensors = [Tensor(f"t{i}", [8], 0, 200) for i in range(500)]
    faults = examine(V3.file(tensors=tensors)).faults
    assert len(faults) == 21
    assert "480 more" in faults[-1].message


def test_tensors_of_no_size_share_a_place() -> None:
    content = V3.file(
        tensors=[Tensor("a", [8]), Tensor("none", [0], 32), Tensor("b", [8], 32)], nbytes=64
    )
    assert codes(content) == ["WK224"]


def test_several_places_at_fault() -> None:
    tensors = [Tensor("a", [8], 0), Tensor("b", [8], 16), Tensor("c", [8], 96)]
    assert codes(V3.file(tensors=tensors, nbytes=128)) == ["WK228", "WK230", "WK231"]


# Properties

SEED = Maker(3).file(
    [
        V3.text("general.architecture", "llama"),
        V3.u32("general.alignment", 16),
        V3.strings("tokens", ["a", "bc", ""]),
        V3.array("scores", F32, 2, V3.number("2f", 1, 2)),
        V3.array("nested", ARRAY, 1, V3.elements(I16, 1, bytes(2))),
        V3.pair("flag", BOOL, b"\x01"),
    ],
    [Tensor("a", [3, 2]), Tensor("b", [32], 32, kind=8), Tensor("c", [4], 80)],
    nbytes=96,
    alignment=16,
)
SEEDS = [SEED, shared_model(Maker(1)), shared_model(Maker(2, ">"))]


def check(content: bytes) -> Examination:
    """An index, or a fatal fault that says why there is none; nothing else is raised."""
    examination = examine(content)
    fatal = [fault for fault in examination.faults if RULES[fault.code].fatal]
    assert examination.index is not None or fatal
    assert all(fault.offset is not None for fault in fatal)
    return examination


@pytest.mark.parametrize("seed", SEEDS)
def test_every_truncation(seed: bytes) -> None:
    whole = check(seed).index
    assert whole is not None
    last = whole.tensors[-1].data
    for end in range(last.offset + last.nbytes):
        examination = check(seed[:end])
        assert any(RULES[fault.code].fatal for fault in examination.faults)
        assert (examination.index is not None) <= (end > whole.data_start - whole.alignment)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_byte_flipped(seed: bytes) -> None:
    for at in range(len(seed)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(seed)
            changed[at] ^= flip
            check(bytes(changed))


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=400))
@example(b"")
@example(b"\xff" * 100)
def test_random_bytes_after_the_magic(content: bytes) -> None:
    for head in (b"GGUF", b"FUGG", b"GGUF\x03\0\0\0", b"GGUF\x01\0\0\0", b"GGUF\0\0\0\x02"):
        check(head + content)


@settings(max_examples=300, deadline=2000)
@given(st.integers(0, len(SEED) - 8), st.integers(0, (1 << 64) - 1))
def test_any_number_anywhere(at: int, number: int) -> None:
    check(SEED[:at] + struct.pack("<Q", number) + SEED[at + 8 :])


@settings(max_examples=200, deadline=2000)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=8),
            st.lists(st.integers(0, 40), max_size=4),
            st.integers(0, 300),
            st.integers(0, 45),
        ),
        max_size=4,
    )
)
def test_tensors_without_a_fatal_fault_lie_apart(
    rows: list[tuple[str, list[int], int, int]],
) -> None:
    tensors = [Tensor(name, dims, offset, kind) for name, dims, offset, kind in rows]
    content = V3.file(tensors=tensors, nbytes=4096)
    examination = check(content)
    if any(RULES[fault.code].fatal for fault in examination.faults):
        return
    assert examination.index is not None
    places = sorted(t.data[1:3] for t in examination.index.tensors if t.data.nbytes)
    end = examination.index.data_start
    for offset, nbytes in places:
        assert offset >= end
        end = offset + nbytes
    assert end <= len(content)
