"""The ``.pt`` files that we lay out, against those of torch, and loaded by torch."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layouts import filled, sparse
from weightkit.analyses.scanning import scan_file
from weightkit.dtypes import DTYPES, TORCH
from weightkit.errors import PlanError
from weightkit.formats.pytorch.pickling import contiguous
from weightkit.formats.pytorch.writing import holds, layout
from weightkit.layouts import Layout
from weightkit.opening import open_checkpoint
from weightkit.tensors import Extent, TensorInfo

StateDict = dict[str, torch.Tensor]

torch.manual_seed(0)
W = torch.arange(12, dtype=torch.float32).reshape(3, 4)
SAVED = {*torch.storage._dtype_to_storage_type_map(), *torch.storage._new_dtypes()}
PLAIN = [
    dtype
    for row in TORCH.values()
    if row.kind != "qint" and (dtype := getattr(torch, row.torch)) in SAVED
]
SHELLS = [row for row in TORCH.values() if getattr(torch, row.torch) not in PLAIN]


def raw(tensor: torch.Tensor) -> bytes:
    """The elements, row-major."""
    if not tensor.numel():
        return b""
    whole = tensor.detach().contiguous().reshape(-1).untyped_storage()
    return bytes(whole)[: tensor.numel() * tensor.element_size()]


def described(tensors: StateDict) -> list[TensorInfo]:
    found = []
    for name, tensor in tensors.items():
        size = tensor.element_size()
        span = Extent(0, tensor.storage_offset() * size, tensor.numel() * size)
        dtype = TORCH[str(tensor.dtype).removeprefix("torch.")]
        strides = None if tensor.is_contiguous() else tensor.stride()
        key = str(tensor.untyped_storage()._cdata)
        found.append(TensorInfo(name, dtype, tuple(tensor.shape), span, "little", strides, key))
    return found


def ours(tensors: StateDict, metadata: dict[str, str] | None = None) -> bytes:
    made = layout(described(tensors), metadata or {})
    contents = {
        slot: raw(tensor)
        for slot, tensor in zip(made.slots, tensors.values(), strict=True)
        if tensor.is_contiguous()
    }
    return filled(made, [contents[slot] for slot in made.slots])


def theirs(tensors: StateDict) -> bytes:
    stream = io.BytesIO()
    torch.save(OrderedDict(tensors), stream)
    return stream.getvalue()


def without_id(blob: bytes) -> bytes:
    """A file without what may differ: the first half of an id, and the CRC of the id."""
    name = "archive/.data/serialization_id"
    with zipfile.ZipFile(io.BytesIO(blob)) as opened:
        info = opened.getinfo(name)
        serial = opened.read(name)
    assert len(serial) == 40
    assert serial.isdigit()
    at = blob.index(serial, info.header_offset)
    crc = info.CRC.to_bytes(4, "little")
    assert blob[at + 44 : at + 48] == crc
    record = blob.rindex(b"PK\1\2")
    cut = blob[:at] + blob[at + 20 : at + 44] + blob[at + 48 : record]
    return cut + blob[record:].replace(crc, b"")


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return found.dtype == wanted.dtype and found.shape == wanted.shape and raw(found) == raw(wanted)


STATE_DICTS: dict[str, StateDict] = {
    "nothing": {},
    "one": {"w": W},
    "scalar": {"w": torch.tensor(3.5), "b": W},
    "empty": {"w": torch.zeros(0, 7), "v": torch.zeros(3, 0), "n": torch.zeros(0)},
    "dimensions": {"w": torch.zeros(1, 2, 1, 3, 1, 2), "v": W},
    "unicode": {"größe.重み": W, "🤖": W + 1},
    "no name": {"": W},
    "odd names": {
        name: W + number
        for number, name in enumerate(["a/b", "..", "\n", "\0", "12", "data.pkl", "x" * 3000])
    },
    "module": torch.nn.Linear(30, 20).state_dict(),
    "tied": {"embed.weight": W, "other": W + 1, "head.weight": W.detach()},
    "tied, transposed": {"w": W, "t": W.t(), "flat": W.view(-1)},
    "tied, strided first": {"t": W.t(), "w": W},
    "many": {f"layers.{n}.weight": torch.full((n % 5, 2), n) for n in range(2001)},
    **{f"{n} items": {str(k): W[:1] + k for k in range(10, n + 10)} for n in (999, 1000, 1001)},
    **{str(dtype): {"w": torch.empty(3, 2, dtype=dtype)} for dtype in PLAIN},
}  # fmt: skip
CASES = pytest.mark.parametrize("tensors", STATE_DICTS.values(), ids=STATE_DICTS)


@CASES
def test_same_bytes_as_torch(tensors: StateDict) -> None:
    plain = OrderedDict(tensors)  # without the attribute that modules add
    mine, reference = ours(plain), theirs(plain)
    assert len(mine) == len(reference)
    assert without_id(mine) == without_id(reference)


@CASES
@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
def test_torch_loads_it(tensors: StateDict, mapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(ours(tensors, {"format": "pt"}))
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert list(found) == list(tensors)
    assert all(same(found[name], tensor) for name, tensor in tensors.items())
    memory = {tensor.untyped_storage()._cdata for tensor in found.values()}
    assert len(memory) == len({t.untyped_storage()._cdata for t in tensors.values()})


@CASES
def test_our_reader_and_scanner(tensors: StateDict, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(ours(tensors, {"format": "pt", "note": "ü"}))
    with open_checkpoint(path) as found:
        assert found.metadata == {"format": "pt", "note": "ü"}
        listed = [(t.name, t.dtype.torch, t.shape) for t in found.tensors]
    wanted = [(n, str(t.dtype)[6:], tuple(t.shape)) for n, t in tensors.items()]
    assert listed == wanted
    assert scan_file(str(path)).verdict == "safe"


@CASES
def test_python_reads_the_archive(tensors: StateDict) -> None:
    metadata = {"format": "pt"}
    with zipfile.ZipFile(io.BytesIO(ours(tensors, metadata))) as opened:
        assert opened.testzip() is None
        assert json.loads(opened.read("archive/weightkit.json")) == metadata


def test_without_metadata_there_is_no_record() -> None:
    with zipfile.ZipFile(io.BytesIO(ours({"w": W}))) as opened:
        assert "archive/weightkit.json" not in opened.namelist()


def test_the_same_input_gives_the_same_bytes() -> None:
    tensors = STATE_DICTS["tied, transposed"]
    assert ours(tensors, {"a": "1", "b": "2"}) == ours(tensors, {"b": "2", "a": "1"})


def test_twenty_thousand_tensors() -> None:
    tensors = {f"h.{n}.w": torch.full((4,), float(n)) for n in range(20_000)}
    mine = ours(tensors)
    assert without_id(mine) == without_id(theirs(tensors))


@pytest.mark.parametrize("sizes", [[10, 5 << 30, 7], [1 << 32, 1], [(1 << 32) - 1000, 8, 8]])
def test_beyond_four_gibibytes(sizes: list[int], tmp_path: Path) -> None:
    """Against torch's own header for storages that are left out."""
    tensors = {f"t{n}": torch.empty(size, dtype=torch.uint8) for n, size in enumerate(sizes)}
    with torch.serialization.skip_data():
        torch.save(OrderedDict(tensors), tmp_path / "archive.pt")
    made = layout(described(tensors), {})
    with (tmp_path / "ours.pt").open("wb") as stream:
        sparse(made, stream, [0] * len(sizes))
    assert _headers(tmp_path / "ours.pt", made) == _headers(tmp_path / "archive.pt", made)
    found = torch.load(tmp_path / "ours.pt", weights_only=True, mmap=True)
    assert [tensor.numel() for tensor in found.values()] == sizes
    with open_checkpoint(tmp_path / "ours.pt") as opened:
        assert [tensor.nbytes for tensor in opened.tensors] == sizes
        assert opened.findings == ()


def _headers(path: Path, made: Layout) -> list[bytes]:
    """Everything but the slots, the id and its checksum."""
    assert path.stat().st_size == made.size
    *pieces, (serial, _) = made.literals([0] * len(made.slots))
    with path.open("rb") as stream:
        found = [_read(stream, at, len(piece)) for at, piece in pieces]
        crc = _read(stream, serial + 44, 4)
    return [piece.replace(crc, b"") for piece in found]


def _read(stream: BinaryIO, at: int, nbytes: int) -> bytes:
    stream.seek(at)
    return stream.read(nbytes)


# Types


def test_every_type_that_torch_saves_is_held() -> None:
    assert len(PLAIN) == len(SAVED) - 5  # the quantized ones
    for dtype in PLAIN:
        assert holds(TORCH[str(dtype).removeprefix("torch.")])


def test_types_that_torch_does_not_save() -> None:
    for row in SHELLS:
        assert not holds(row)
        with pytest.raises(PlanError, match=f"torch has no plain {row.name}; leave it") as caught:
            layout([TensorInfo("w", row, (2,), Extent(0, 0, 2))], {})
        assert (caught.value.code, caught.value.tensor) == ("WK660", "w")
        if row.kind != "qint":
            with pytest.raises(KeyError):
                torch.save(torch.empty(2, dtype=getattr(torch, row.torch)), io.BytesIO())


@pytest.mark.parametrize("name", ["f6_e2m3", "q4_k", "q8_0"])
def test_types_that_torch_has_not(name: str) -> None:
    with pytest.raises(PlanError, match=f"torch has no plain {name}"):
        layout([TensorInfo("w", DTYPES[name], (256,), Extent(0, 0, 256))], {})


def test_composites_are_refused() -> None:
    part = TensorInfo("values", DTYPES["f32"], (2,), Extent(0, 0, 8))
    whole = part._replace(name="s", layout="sparse_coo", parts=(part,))
    with pytest.raises(PlanError, match="torch has no plain sparse_coo"):
        layout([whole], {})


def test_f4_goes_in_pairs() -> None:
    info = TensorInfo("w", DTYPES["f4"], (3, 4), Extent(0, 0, 6))
    blob = filled(layout([info], {}), [b"abcdef"])
    found = torch.load(io.BytesIO(blob), weights_only=True)["w"]
    assert (found.dtype, tuple(found.shape)) == (torch.float4_e2m1fn_x2, (3, 2))
    assert raw(found) == b"abcdef"
    for shape in [(2, 3), ()]:
        with pytest.raises(PlanError, match="f4 in pairs"):
            layout([info._replace(shape=shape)], {})


# Shared memory


def _view(name: str, offset: int, shape: tuple[int, ...], **fields: Any) -> TensorInfo:
    nbytes = 4 * torch.Size(shape).numel()
    return TensorInfo(name, DTYPES["f32"], shape, Extent(0, offset, nbytes), storage="0", **fields)


def test_views_that_overlap_in_part_are_written_whole() -> None:
    made = layout([_view("a", 0, (6,)), _view("b", 8, (6,)), _view("c", 0, (6,))], {})
    assert made.slots[0] == made.slots[2] != made.slots[1]


def test_a_strided_view_without_a_whole_one_is_written_on_its_own() -> None:
    made = layout(
        [_view("a", 0, (2, 3), strides=(1, 2)), _view("b", 0, (3, 2), strides=(1, 3))], {}
    )
    assert len(set(made.slots)) == 2
    found = torch.load(io.BytesIO(filled(made, [bytes(24), bytes(24)])), weights_only=True)
    assert all(tensor.is_contiguous() for tensor in found.values())


def test_a_view_that_would_reach_out_of_its_storage_is_written_on_its_own() -> None:
    made = layout([_view("a", 0, (6,)), _view("b", 0, (2, 3), strides=(9, 1))], {})
    assert len(set(made.slots)) == 2


def test_equal_storages_of_two_types_are_not_shared() -> None:
    """torch refuses to save such."""
    one = _view("a", 0, (6,))
    made = layout([one, one._replace(name="b", dtype=DTYPES["i32"])], {})
    assert len(set(made.slots)) == 2


@given(st.lists(st.integers(0, 9), max_size=6))
def test_strides_as_torch_counts_them(shape: list[int]) -> None:
    assert contiguous(shape) == torch.empty(shape, device="meta").stride()


DTYPE = st.sampled_from(PLAIN)
SHAPE = st.lists(st.integers(0, 4), max_size=4)


@given(st.dictionaries(st.text(max_size=12), st.tuples(DTYPE, SHAPE), max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_state_dict(items: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = {n: torch.empty(shape, dtype=dtype) for n, (dtype, shape) in items.items()}
    mine = ours(tensors)
    found = torch.load(io.BytesIO(mine), weights_only=True)
    assert list(found) == list(tensors)
    assert all(same(found[name], tensor) for name, tensor in tensors.items())
