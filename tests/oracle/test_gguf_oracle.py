"""The GGUF room against gguf-py: what one writes or reads, the other reads alike."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import gguf as oracle
import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter

from tests.formats.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    I16,
    I64,
    U8,
    U64,
    V3,
    File,
    Maker,
    Tensor,
    examine,
)
from weightkit.dtypes import GGML
from weightkit.errors import UnsupportedError
from weightkit.formats import gguf
from weightkit.rules import RULES
from weightkit.source import Reader, Source
from weightkit.tensors import ArrayRef, FileIndex
from weightkit.values.arrays import to_array

REAL = sorted((Path(__file__).resolve().parents[2] / "real").glob("llama-cpp-python/**/*.gguf"))
ORDERS = [GGUFEndian.LITTLE, GGUFEndian.BIG]


def write(path: Path, endian: GGUFEndian = GGUFEndian.LITTLE, alignment: int = 32) -> None:
    """A file with every type of value that gguf-py writes, and several types of tensors."""
    writer = GGUFWriter(path, "llama", endianess=endian)
    writer.add_custom_alignment(alignment)
    writer.add_name("Ein Modell — 模型 🦙")
    writer.add_tags(["a", "b"])
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"test.{kind}", 101)
    writer.add_float32("test.float32", 0.5)
    writer.add_float64("test.float64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_array("test.floats", [0.25, -1.0])
    writer.add_array("test.bools", [True, False, True])
    writer.add_token_list([f"token {i}" for i in range(3000)])
    writer.add_token_scores([i / 2 for i in range(3000)])
    writer.add_token_types([1] * 3000)
    writer.add_chat_template("{{ messages }}")
    generator = np.random.default_rng(7)
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64):
        array = generator.integers(-9, 9, (3, 5)).astype(dtype)
        writer.add_tensor(f"plain.{np.dtype(dtype).name}", array)
    writer.add_tensor("vector", np.zeros(7, np.float32))
    writer.add_tensor("cube", np.zeros((2, 3, 4, 5), np.float16))
    floats = generator.normal(size=(4, 256)).astype(np.float32)
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "TQ1_0", "TQ2_0", "MXFP4"):
        kind = oracle.GGMLQuantizationType[name]
        writer.add_tensor(f"packed.{name}", oracle.quantize(floats, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors_of(reader: GGUFReader) -> list[tuple[Any, ...]]:
    return [
        (
            tensor.name,
            int(tensor.tensor_type),
            tuple(reversed(tensor.shape.tolist())),
            tensor.data_offset,
            tensor.n_bytes,
        )
        for tensor in reader.tensors
    ]


def ours(index: FileIndex) -> list[tuple[Any, ...]]:
    return [(t.name, t.dtype.ggml, t.shape, t.data.offset, t.data.nbytes) for t in index.tensors]


def values_of(source: Reader, index: FileIndex) -> dict[str, Any]:
    """The metadata with everything decoded."""
    order = "<" if index.byteorder == "little" else ">"
    return {
        key: gguf.read_array(source, value, order) if isinstance(value, ArrayRef) else value
        for key, value in index.metadata.items()
    }


def fields_of(reader: GGUFReader) -> dict[str, Any]:
    return {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }


@pytest.mark.parametrize("endian", ORDERS)
@pytest.mark.parametrize("alignment", [8, 32, 1024])
def test_files_of_the_official_writer(tmp_path: Path, endian: GGUFEndian, alignment: int) -> None:
    path = tmp_path / "model.gguf"
    write(path, endian, alignment)
    reader = GGUFReader(path)
    with Source(path) as source:
        examination = gguf.examine(source)
        index = examination.index
        assert index is not None
        assert examination.faults == ()
        assert ours(index) == tensors_of(reader)
        assert values_of(source, index) == fields_of(reader)
    assert index.data_start == reader.data_offset
    assert index.alignment == alignment
    assert index.byteorder == endian.name.lower()


def test_the_bytes_are_where_we_say(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(path)
    content = path.read_bytes()
    index = examine(content).index
    assert index is not None
    for tensor, theirs in zip(index.tensors, GGUFReader(path).tensors, strict=True):
        _, offset, nbytes = tensor.data[:3]
        assert content[offset : offset + nbytes] == theirs.data.tobytes()


@pytest.mark.parametrize("number", sorted(set(GGML) - {42}))
def test_every_type(tmp_path: Path, number: int) -> None:
    row = GGML[number]
    content = V3.file(tensors=[Tensor("x", [row.items * 2, 3], 0, number)], nbytes=row.nbytes * 6)
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    index = examine(content).index
    assert index is not None
    assert ours(index) == tensors_of(GGUFReader(path))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_files_by_hand(tmp_path: Path, version: int, order: str) -> None:
    """The official reader takes the files of our tests for what we take them."""
    make = Maker(version, order)
    content = make.file(
        [make.text("a", "b"), make.array("c", I64, 2, make.number("2q", -1, 1 << 40))],
        [Tensor("x", [3, 2]), Tensor("y", [64], 32, 8)],
        nbytes=100,
    )
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    reader = GGUFReader(path)
    index = examine(content).index
    assert index is not None
    assert ours(index) == tensors_of(reader)
    assert values_of(File(content), index) == fields_of(reader)


def test_split_files(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "llama", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"t{number}", np.zeros(number + 1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    seen = []
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        with Source(path) as source:
            examination = gguf.examine(source)
        assert examination.faults == ()
        assert examination.index is not None
        assert examination.index.metadata["split.no"] == number
        assert examination.index.metadata["split.count"] == 3
        assert examination.index.metadata["split.tensors.count"] == 5
        assert ours(examination.index) == tensors_of(GGUFReader(path))
        seen += [tensor.name for tensor in examination.index.tensors]
    assert seen == ["t0", "t1", "t2", "t3", "t4"]


def test_values_of_types_that_gguf_py_lacks() -> None:
    for number in (42, 31, 99):
        content = V3.file(tensors=[Tensor("x", [64], 0, number)], nbytes=36)
        index = examine(content).index
        assert index is not None
        (tensor,) = index.tensors
        with pytest.raises(UnsupportedError) as caught:
            to_array(tensor, content[-tensor.data.nbytes :] if tensor.data.nbytes else b"")
        assert caught.value.tensor == "x"


SEED = V3.file(
    [
        V3.text("general.architecture", "llama"),
        V3.u32("general.alignment", 32),
        V3.strings("tokens", ["a", "bc", ""]),
        V3.array("numbers", U64, 2, V3.number("2Q", 1, 2)),
        V3.array("few", U8, 3, b"abc"),
        V3.array("scores", F32, 1, V3.number("f", 1)),
        V3.pair("flag", BOOL, b"\x01"),
        V3.pair("small", I16, b"\x01\x02"),
    ],
    [Tensor("a", [3, 2]), Tensor("b", [32], 32, kind=8), Tensor("c", [4], 96)],
    nbytes=112,
)
# Where gguf-py sees no difference to a good file, or does not get that far.
SOFT = {"WK202", "WK203", "WK209", "WK214", "WK216"}


def flips(count: int) -> list[bytes]:
    chance = random.Random(11)
    changed = []
    for _ in range(count):
        content = bytearray(SEED)
        content[chance.randrange(len(SEED) - 112)] = chance.choice([0, 1, 2, 7, 9, 32, 64, 255])
        changed.append(bytes(content))
    return changed


def test_what_we_call_sound_the_official_reader_takes_alike(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    sound = 0
    for content in [SEED, *flips(400)]:
        examination = examine(content)
        found = {fault.code for fault in examination.faults}
        if any(RULES[code].fatal for code in found) or found & SOFT:
            continue
        path.write_bytes(content)
        reader = GGUFReader(path)
        assert examination.index is not None
        assert ours(examination.index) == tensors_of(reader)
        try:
            fields = fields_of(reader)
        except UnicodeDecodeError:  # in an array of strings, which we do not decode when listing
            continue
        np.testing.assert_equal(values_of(File(content), examination.index), fields)
        sound += 1
    assert sound > 20


# What gguf-py gets wrong or cannot read, and we describe.
BEYOND = [
    ("version 1", Maker(1).file(tensors=[Tensor("x", [1])], nbytes=4), ["WK202"]),
    ("unknown type", V3.file(tensors=[Tensor("x", [1], 0, 99)], nbytes=4), ["WK225"]),
    ("two keys", V3.file([V3.u32("k", 1), V3.u32("k", 2)]), ["WK212"]),
    ("no UTF-8", V3.file(tensors=[Tensor(b"\xff", [1])], nbytes=4), ["WK216"]),
    ("truncated data", V3.file(tensors=[Tensor("x", [8])], nbytes=8), ["WK229"]),
    (
        "two tensors",
        V3.file(tensors=[Tensor("x", [8]), Tensor("x", [8], 32)], nbytes=64),
        ["WK220"],
    ),
]


@pytest.mark.parametrize(("name", "content", "codes"), BEYOND)
def test_described_although_the_official_reader_stops(
    tmp_path: Path, name: str, content: bytes, codes: list[str]
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises((ValueError, KeyError)):
        GGUFReader(path)
    examination = examine(content)
    assert [fault.code for fault in examination.faults] == codes
    assert examination.index is not None


def test_refused_although_the_official_reader_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(V3.file(tensors=[Tensor("x", [8], 4)], nbytes=64))
    assert GGUFReader(path).tensors[0].data_offset % 32 == 4
    assert [fault.code for fault in examine(path.read_bytes()).faults][:1] == ["WK228"]


def test_nested_arrays_keep_their_shape(tmp_path: Path) -> None:
    """gguf-py flattens them."""
    rows = V3.elements(U8, 2, b"\x01\x02") + V3.elements(U8, 1, b"\x03")
    content = V3.file([V3.array("rows", ARRAY, 2, rows)])
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    assert fields_of(GGUFReader(path))["rows"] == [1, 2, 3]
    index = examine(content).index
    assert index is not None
    assert index.metadata["rows"] == [[1, 2], [3]]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="scripts/fetch_real --large brings the vocabularies")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_really_made_vocabularies(path: Path) -> None:
    reader = GGUFReader(path)
    with Source(path) as source:
        examination = gguf.examine(source)
        index = examination.index
        assert index is not None
        assert examination.faults == ()
        assert ours(index) == tensors_of(reader)
        assert values_of(source, index) == fields_of(reader)
