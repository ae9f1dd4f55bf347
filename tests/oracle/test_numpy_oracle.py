"""Arrays as numpy writes them, and headers as numpy reads them, against the numpy room."""

from __future__ import annotations

import ast
import io
import random
import tokenize
from pathlib import Path
from typing import Any

import pytest

from weightkit.archives import Budget, read_zip
from weightkit.formats import numpy as room
from weightkit.formats.numpy.descriptions import NoDescription, describe
from weightkit.formats.numpy.literals import NoLiteral, parse
from weightkit.rules import Faults
from weightkit.source import Buffer, Source
from weightkit.tensors import TensorInfo

np = pytest.importorskip("numpy")
ml_dtypes = pytest.importorskip("ml_dtypes")

TYPES = [
    *"?bBhHiIqQlLefdgFDG",
    *(order + code for order in "<>" for code in ("f2", "f4", "f8", "i2", "i8", "u4", "c8", "c16")),
    "S5", "<U4", ">U4", "V3", "M8[ns]", ">m8[25s]", "M8", "S0", "U0",
    [("a", "<f4"), ("b", ">i2", (2, 3))],
    [("a", [("b", "u1"), ("c", "<U2")]), ("d", "M8[D]")],
]  # fmt: skip
SMALL = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"]


def one(blob: bytes) -> TensorInfo:
    found = room.examine(Buffer(blob, "x.npy"))
    assert found.faults == ()
    assert found.index is not None
    return found.index.tensors[0]


def same(tensor: TensorInfo, array: Any, blob: bytes, at: int) -> None:
    """``tensor`` describes ``array``, whose elements stand at ``at`` of ``blob``."""
    assert tensor.shape == array.shape
    assert tensor.dtype.nbytes == array.itemsize
    assert tensor.data.nbytes == array.nbytes
    dtype = array.dtype
    if tensor.dtype.numpy:
        named = np.dtype(tensor.dtype.numpy).newbyteorder(
            "<" if tensor.byteorder == "little" else ">"
        )
        assert named == dtype or tensor.dtype.name.startswith("f8")
    flat = np.frombuffer(blob, dtype, array.size, at)
    strides = tensor.strides
    again = flat.reshape(array.shape)
    if strides:
        steps = [step * array.itemsize for step in strides]
        again = np.lib.stride_tricks.as_strided(flat, array.shape, steps)
    assert again.tobytes() == array.tobytes()


def made(dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    dtype = np.dtype(dtype)
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=int))
    if not nbytes:
        return np.zeros(shape, dtype, order)
    raw = np.frombuffer(random.Random(0).randbytes(nbytes), np.uint8) & 1
    return np.array(raw.view(dtype).reshape(shape), order=order)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 3, 4), (1, 5), (0, 3)])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_arrays(dtype: Any, shape: tuple[int, ...], order: str) -> None:
    array = made(dtype, shape, order)
    buffer = io.BytesIO()
    np.save(buffer, array)
    blob = buffer.getvalue()
    tensor = one(blob)
    assert np.load(io.BytesIO(blob), allow_pickle=False).tobytes() == array.tobytes()
    if array.itemsize:
        same(tensor, array, blob, tensor.data.within)


def test_records_with_holes() -> None:
    dtype = {"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8], "itemsize": 24}
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), dtype))
    assert one(buffer.getvalue()).data.nbytes == 24 * 6


@pytest.mark.parametrize("name", SMALL)
def test_small_types_are_stored_without_their_names(name: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name))
    buffer = io.BytesIO()
    np.save(buffer, array)
    tensor = one(buffer.getvalue())
    assert tensor.dtype.nbytes == array.itemsize
    assert (tensor.dtype.kind == "opaque") == (name != "float8_e5m2")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions(version: tuple[int, int]) -> None:
    dtype = [("ü" if version == (3, 0) else "a", "<f4")]
    array = np.zeros(3, dtype)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    tensor = one(buffer.getvalue())
    assert tensor.dtype.name == f"record({dtype[0][0]}: f32)"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    arrays = {
        "w": made("<f4", (3, 4), "F"),
        "b": made(">i2", (5,), "C"),
        "s": made("S3", (2,), "C"),
    }
    save(path, **arrays)
    faults = Faults(str(path))
    with Source(path) as source:
        zip_ = read_zip(source, faults)
        found = room.examine_npz(source, zip_, Budget(), faults)
    assert found.faults == ()
    assert found.index is not None
    assert [tensor.name for tensor in found.index.tensors] == list(arrays)
    for tensor, member in zip(found.index.tensors, zip_.members, strict=True):
        if tensor.data.encoding == "raw":
            same(tensor, arrays[tensor.name], path.read_bytes(), tensor.data.offset)
        else:
            assert (tensor.data.encoding, tensor.data.stored) == ("deflate", member.csize)
            assert tensor.data.within == member.size - arrays[tensor.name].nbytes


def test_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with Source(path) as source:
        found = room.examine(source)
    (program,) = found.programs
    assert not program.stopped
    assert program.end == path.stat().st_size
    assert [fault.code for fault in found.faults] == ["WK508"]


def numpy_header(blob: bytes) -> tuple[Any, ...] | None:
    buffer = io.BytesIO(blob)
    try:
        version = np.lib.format.read_magic(buffer)
        reader = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            reader = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(buffer)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, MemoryError, OverflowError):
        return None
    except tokenize.TokenError:
        return None
    return shape, fortran, dtype.itemsize, dtype.hasobject, buffer.tell()


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_headers_changed_at_random() -> None:
    """What we take, numpy takes and understands alike; what we refuse is rare or refused."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros((2, 3), [("a", "<f4"), ("b", ">i2", (2,))]))
    good = buffer.getvalue()[:128]
    rng = random.Random(1)
    alike = beyond = 0
    for _ in range(6000):
        blob = bytearray(good)
        for _ in range(rng.randint(1, 2)):
            blob[rng.randrange(10, 100)] = rng.choice(b"0123456789'()[]{},: <>|=abfiuOUSV\"-_xL")
        expected = numpy_header(bytes(blob))
        try:
            header = room.read_header(Buffer(bytes(blob)))
        except room.FormatError:
            beyond += expected is not None
            continue
        if expected is None:
            # Names that clash, offsets that overflow: what is described is well defined.
            continue
        dtype = header.item
        got = (header.shape, header.fortran, dtype.dtype.nbytes, dtype.objects, header.data_start)
        assert got == expected, bytes(blob)
        alike += 1
    assert alike > 150
    assert beyond < 30  # counts like 4f4, and shapes below zero


@pytest.mark.parametrize(
    "descr",
    [
        *"?bBhHiIqQefdgFDG",
        "O",
        "f4,i8",
        "i4,O",
        "float32",
        "bool",
        "int8",
        "object",
        "=f4",
        "|i4",
        "S",
        "U",
        "V5",
        "complex64",
        ">U3",
        "uint16",
    ],
)
def test_other_spellings(descr: str) -> None:
    dtype = np.dtype(descr)
    found = describe(descr)
    assert (found.dtype.nbytes, found.objects) == (dtype.itemsize, dtype.hasobject)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_literals_like_pythons() -> None:
    """Whatever both read they read alike."""
    rng = random.Random(2)
    read = 0
    for _ in range(40_000):
        text = "".join(rng.choices("01'\"(),[]{}: -xTN\\ua#\n", k=rng.randint(1, 8)))
        try:
            ours = parse(text)
        except NoLiteral:
            continue
        try:
            theirs = ast.literal_eval(text.strip(" \t"))
        except (SyntaxError, ValueError, TypeError, MemoryError):
            continue
        assert plain(ours) == theirs, text
        read += 1
    assert read > 500


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list) and type(value) is not list:
        return {plain(key): plain(item) for key, item in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_no_description_is_an_error_of_its_own() -> None:
    with pytest.raises(NoDescription):
        describe("nonsense")
