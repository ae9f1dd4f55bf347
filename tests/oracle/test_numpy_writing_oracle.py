"""The ``.npz`` files that we lay out, against those of numpy, and loaded by numpy."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layouts import filled, sparse
from weightkit.analyses.scanning import scan_file
from weightkit.dtypes import DTYPES, NUMPY, opaque
from weightkit.errors import PlanError
from weightkit.formats.numpy.writing import VOIDS, holds, holds_as_bytes, layout
from weightkit.opening import open_checkpoint
from weightkit.tensors import Extent, TensorInfo

np = pytest.importorskip("numpy")
ml_dtypes = pytest.importorskip("ml_dtypes")

NATIVE = [row for row in DTYPES.values() if holds(row)]
Arrays = dict[str, Any]


def described(arrays: Arrays) -> list[TensorInfo]:
    found = []
    for name, array in arrays.items():
        text = array.dtype.str.lstrip("<|>")
        dtype = NUMPY.get(array.dtype.name) or opaque(text, array.dtype.itemsize)
        found.append(TensorInfo(name, dtype, array.shape, Extent(0, 0, array.nbytes)))
    return found


def ours(arrays: Arrays, metadata: dict[str, str] | None = None, **wish: bool) -> bytes:
    made = layout(described(arrays), metadata or {}, **wish)
    return filled(made, [array.tobytes() for array in arrays.values()])


ARRAYS: dict[str, Arrays] = {
    "nothing": {},
    "plain": {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(3)},
    "scalar": {"w": np.array(3.5), "n": np.array(True)},
    "empty": {"w": np.zeros((0, 7)), "v": np.zeros((3, 0), "i2")},
    "dimensions": {"w": np.zeros((1,) * 32)},
    "names": {"a/b": np.ones(1), "größe": np.ones(2), "🤖": np.ones(3), "": np.ones(4)},
    "suffix": {"w.npy": np.ones(1)},
    "texts": {"s": np.array(["a", "bcd"]), "y": np.array([b"xx"]), "v": np.zeros(2, "V3")},
    "times": {"t": np.array(["2020-01-01"], "M8[D]"), "d": np.zeros(1, "m8[25s]")},
    "many": {f"layers.{n}": np.full((n % 5, 2), n) for n in range(2000)},
    **{row.name: {"w": np.zeros((2, 3), row.numpy)} for row in NATIVE},
}
CASES = pytest.mark.parametrize("arrays", ARRAYS.values(), ids=ARRAYS)


@CASES
def test_numpy_loads_it(arrays: Arrays) -> None:
    with np.load(io.BytesIO(ours(arrays)), allow_pickle=False) as found:
        assert found.files == [name.removesuffix(".npy") for name in (f"{n}.npy" for n in arrays)]
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes()


@CASES
def test_same_members_as_numpy_writes(arrays: Arrays) -> None:
    reference = io.BytesIO()
    np.savez(reference, **arrays)
    with zipfile.ZipFile(reference) as theirs, zipfile.ZipFile(io.BytesIO(ours(arrays))) as mine:
        assert mine.testzip() is None
        assert mine.namelist() == theirs.namelist()
        for name in mine.namelist():
            assert mine.read(name) == theirs.read(name)


@CASES
def test_our_reader_and_scanner(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(ours(arrays, {"note": "ü"}))
    infos = described(arrays)
    with open_checkpoint(path) as found:
        assert found.metadata == {"note": "ü"}
        listed = [(tensor.name, tensor.dtype.name, tensor.shape) for tensor in found.tensors]
    assert listed == [(info.name, info.dtype.name, info.shape) for info in infos]
    assert scan_file(str(path)).verdict == "safe"


def test_metadata_has_a_member_of_its_own() -> None:
    blob = ours({"w": np.ones(2)}, {"b": "2", "a": "1"})
    assert blob == ours({"w": np.ones(2)}, {"a": "1", "b": "2"})
    with np.load(io.BytesIO(blob)) as found:
        assert found.files == ["w", "weightkit.json"]
        assert found["weightkit.json"].tobytes() == b'{\n"a": "1",\n"b": "2"\n}\n'
        assert {type(array) for array in found.values()} == {np.ndarray}
        assert found["weightkit.json"].dtype == np.uint8


def test_twenty_thousand_arrays(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(ours({f"h.{n}": np.full(4, n, "i2") for n in range(20_000)}))
    with open_checkpoint(tmp_path / "x.npz") as found:
        assert len(found.tensors) == 20_000
        assert found.findings == ()


@pytest.mark.parametrize("sizes", [[10, 5 << 30, 7], [1 << 32]])
def test_beyond_four_gibibytes(sizes: list[int], tmp_path: Path) -> None:
    infos = [TensorInfo(str(n), DTYPES["u8"], (n,), Extent(0, 0, n)) for n in sizes]
    with (tmp_path / "x.npz").open("wb") as stream:
        crcs = [zlib.crc32(bytes(n)) if n < 100 else 0 for n in sizes]
        sparse(layout(infos, {}), stream, crcs)
    with zipfile.ZipFile(tmp_path / "x.npz") as opened:
        for info, size in zip(opened.infolist(), sizes, strict=True):
            with opened.open(info) as member:
                assert np.lib.format.read_magic(member) == (1, 0)
                assert np.lib.format.read_array_header_1_0(member)[0] == (size,)
    with open_checkpoint(tmp_path / "x.npz") as found:
        assert [tensor.nbytes for tensor in found.tensors] == sizes
        assert found.findings == ()


# Types that numpy lacks


@pytest.mark.parametrize("name", VOIDS)
def test_types_that_go_as_bytes(name: str, tmp_path: Path) -> None:
    dtype = DTYPES[name]
    info = TensorInfo("w", dtype, (2, 3), Extent(0, 0, 6 * dtype.nbytes))
    advice = "cast it" if dtype.castable else "keep its bytes"
    with pytest.raises(PlanError, match=f"numpy has no plain {name}; {advice}") as caught:
        layout([info], {})
    assert (caught.value.code, caught.value.tensor) == ("WK660", "w")
    content = bytes(range(6 * dtype.nbytes))
    path = tmp_path / "x.npz"
    path.write_bytes(filled(layout([info], {}, as_bytes=True), [content]))
    with open_checkpoint(path) as found:
        assert [(t.name, t.dtype, t.shape) for t in found.tensors] == [("w", dtype, (2, 3))]
        assert found.metadata == {}
        assert found.findings == ()
    with np.load(path) as loaded:
        assert loaded["w"].dtype == np.dtype(f"V{dtype.nbytes}")
        if dtype.numpy:
            assert loaded["w"].view(dtype.numpy).shape == (2, 3)
        assert loaded["w"].tobytes() == content


def test_as_bytes_changes_nothing_where_it_is_not_needed() -> None:
    arrays = ARRAYS["plain"]
    assert ours(arrays, as_bytes=True) == ours(arrays)


def test_f4_goes_in_pairs(tmp_path: Path) -> None:
    info = TensorInfo("w", DTYPES["f4"], (3, 4), Extent(0, 0, 6))
    path = tmp_path / "x.npz"
    path.write_bytes(filled(layout([info], {}, as_bytes=True), [b"abcdef"]))
    with open_checkpoint(path) as found:
        assert [(t.dtype.name, t.shape) for t in found.tensors] == [("f4_x2", (3, 2))]
    with pytest.raises(PlanError, match="f4 is kept in pairs"):
        layout([info._replace(shape=(3, 3))], {}, as_bytes=True)


@pytest.mark.parametrize("name", ["f6_e2m3", "q4_k", "qint8", "bits8", "u4"])
def test_types_that_do_not_go_at_all(name: str) -> None:
    assert not holds_as_bytes(DTYPES[name])
    with pytest.raises(PlanError, match=f"numpy has no plain {name}"):
        layout([TensorInfo("w", DTYPES[name], (256,), Extent(0, 0, 256))], {}, as_bytes=True)


def test_records_are_refused() -> None:
    record = TensorInfo("w", opaque("record(a: f32)", 4), (1,), Extent(0, 0, 4))
    with pytest.raises(PlanError, match="numpy has no plain record"):
        layout([record], {})


@pytest.mark.parametrize(
    "recorded", ['{"w": "f32"}', '{"w": "q8_0"}', '{"w": 1}', "[]", "nonsense"]
)
def test_a_record_that_does_not_fit_changes_nothing(recorded: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(ours({"w": np.zeros(3, "V2")}, {"weightkit.dtypes": recorded}))
    with open_checkpoint(path) as found:
        assert found.tensors[0].dtype.name == "V2"


# Names


NAMES = {
    "weightkit.json": "numpy would load the member",
    "/etc/passwd": "leads out",
    "../up": "leads out",
    "a/../../b": "leads out",
    "C:x": "leads out",
    "a\0b": "no text",
    "\ud800": "no text",
    "x" * 65_532: "no text",
}
LONGEST = "x" * 65_531


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_names_that_no_npz_can_hold(name: str) -> None:
    info = TensorInfo(name, DTYPES["u8"], (1,), Extent(0, 0, 1))
    with pytest.raises(PlanError, match=NAMES[name]) as caught:
        layout([info], {"a": "b"})
    assert caught.value.code == "WK662"


def test_the_longest_name() -> None:
    with np.load(io.BytesIO(ours({LONGEST: np.ones(1)}))) as found:
        assert found.files == [LONGEST]


def test_names_that_numpy_mixes_up() -> None:
    """numpy strips ``.npy`` from members, but takes a key for a member's full name first."""
    arrays = {"w": np.ones(1), "w.npy": np.ones(2)}
    with pytest.raises(PlanError, match=r"no .npz holds 'w.npy': numpy would load"):
        ours(arrays)


SHAPE = st.lists(st.integers(0, 4), max_size=4)
NAME = st.text("abc/ü.", max_size=8).map(lambda name: f"n{name}x")


@given(st.dictionaries(NAME, st.tuples(st.sampled_from(NATIVE), SHAPE), max_size=6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_arrays(items: dict[str, tuple[Any, list[int]]], noted: bool) -> None:
    arrays = {name: np.zeros(shape, dtype.numpy) for name, (dtype, shape) in items.items()}
    metadata = {"k": "v"} if noted else {}
    with np.load(io.BytesIO(ours(arrays, metadata))) as found:
        assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())
