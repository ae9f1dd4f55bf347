"""The content id against a second implementation of docs/content-id.md, and the same in all forms."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from weightkit.analyses import digests
from weightkit.analyses.digests import content_id
from weightkit.dtypes import DTYPES
from weightkit.errors import AccessError, UnsupportedError
from weightkit.opening import open_checkpoint
from weightkit.reports import ContentId
from weightkit.source import Source

ROOT = Path(__file__).resolve().parent.parent.parent
Arrays = Mapping[str, np.ndarray[Any, Any]]


# docs/content-id.md, implemented again.


def field(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def tensor_digest(dtype: str, shape: tuple[int, ...], canonical: bytes) -> bytes:
    size = 4194304
    chunks = [canonical[at : at + size] for at in range(0, len(canonical), size)] or [b""]
    leaves = [sha256(chunk).digest() for chunk in chunks]
    data = leaves[0] if len(leaves) == 1 else sha256(b"".join(leaves)).digest()
    dimensions = b"".join(struct.pack("<Q", size) for size in shape)
    return sha256(field(b"wk1 tensor") + field(dtype.encode()) + field(dimensions) + data).digest()


def expected(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> str:
    listed = b"".join(
        field(name.encode()) + tensor_digest(*tensors[name]) for name in sorted(tensors)
    )
    return sha256(field(b"wk1 checkpoint") + listed).hexdigest()


def of_arrays(arrays: Arrays) -> str:
    """The id of little-endian arrays, by the second implementation."""
    names = {row.numpy: row.name for row in DTYPES.values() if row.numpy}
    return expected(
        {name: (names[a.dtype.name], a.shape, a.tobytes()) for name, a in arrays.items()}
    )


def identify(path: Path | str, **options: Any) -> ContentId:
    with open_checkpoint(path) as checkpoint:
        return content_id(checkpoint, **options)


def random_arrays(names: list[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Random bits of each type, NaNs of every payload among them."""
    random = np.random.default_rng(7)
    found = {}
    for number, name in enumerate(names):
        dtype = np.dtype(name)
        shape = (3 + number, 8)
        bits = random.integers(0, 2 if name == "bool" else 256, 8 * shape[0] * dtype.itemsize)
        found[f"t{number}.{name}"] = bits.astype(np.uint8).view(dtype).reshape(shape)
    return found


FLOATS = ["float64", "float32", "float16", "bfloat16"]
INTS = ["int64", "int32", "int16", "int8"]
UINTS = ["uint64", "uint32", "uint16", "uint8"]
F8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


def to_torch(array: np.ndarray[Any, Any]) -> torch.Tensor:
    flat = torch.frombuffer(bytearray(array.tobytes()), dtype=getattr(torch, array.dtype.name))
    return flat.reshape(array.shape)


# The same weights, saved by the real libraries


def save_zip(path: Path, arrays: Arrays) -> None:
    torch.save({name: to_torch(array) for name, array in arrays.items()}, path)


def save_legacy(path: Path, arrays: Arrays) -> None:
    tensors = {name: to_torch(array) for name, array in arrays.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def save_transposed(path: Path, arrays: Arrays) -> None:
    """The same values as views of transposed memory."""
    tensors = {name: to_torch(np.ascontiguousarray(a.T)).t() for name, a in arrays.items()}
    torch.save(tensors, path)


def save_reversed(path: Path, arrays: Arrays) -> None:
    tensors = {name: to_torch(array) for name, array in reversed(arrays.items())}
    torch.save({"epoch": 3, "state_dict": tensors}, path)


def save_safetensors(path: Path, arrays: Arrays) -> None:
    tensors = {name: to_torch(array) for name, array in arrays.items()}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "who": "me"})


def save_shards(path: Path, arrays: Arrays) -> None:
    path.mkdir()
    names = list(arrays)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    placed = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        part = {name: to_torch(arrays[name]) for name in names if placed[name] == file}
        safetensors.torch.save_file(part, path / file)
    index = json.dumps({"metadata": {}, "weight_map": placed})
    (path / "model.safetensors.index.json").write_text(index, encoding="utf-8")


SAVERS = {
    "a.pt": save_zip,
    "b.pt": save_legacy,
    "c.pt": save_transposed,
    "d.pt": save_reversed,
    "e.safetensors": save_safetensors,
    "f": save_shards,
}


@pytest.mark.parametrize("name", SAVERS)
def test_torch_and_safetensors(tmp_path: Path, name: str) -> None:
    arrays = random_arrays([*FLOATS, *INTS, *UINTS, *F8, "bool", "complex64"])
    SAVERS[name](tmp_path / name, arrays)
    found = identify(tmp_path / name)
    assert found.id == of_arrays(arrays)
    assert found.tensors == len(arrays)


def fortran(arrays: Arrays) -> Arrays:
    return {name: np.asfortranarray(array) for name, array in arrays.items()}


def big_endian(arrays: Arrays) -> Arrays:
    return {name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()}


@pytest.mark.parametrize("change", [dict, fortran, big_endian])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy(tmp_path: Path, change: Any, save: Any) -> None:
    arrays = random_arrays([*FLOATS[:3], *INTS, *UINTS, "bool", "complex64", "complex128"])
    save(tmp_path / "a.npz", **change(arrays))
    assert identify(tmp_path / "a.npz").id == of_arrays(arrays)


@pytest.mark.parametrize("endian", [gguf.GGUFEndian.LITTLE, gguf.GGUFEndian.BIG])
def test_gguf(tmp_path: Path, endian: gguf.GGUFEndian) -> None:
    arrays = random_arrays(["float64", "float32", "float16", *INTS])
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama", endianess=endian)
    for name, array in arrays.items():
        writer.add_tensor(name, array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert identify(tmp_path / "a.gguf").id == of_arrays(arrays)


def test_gguf_bfloat16(tmp_path: Path) -> None:
    arrays = random_arrays(["bfloat16"])
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    for name, array in arrays.items():
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, array.view(np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert identify(tmp_path / "a.gguf").id == of_arrays(arrays)


def test_numpy_says_no_more_than_void_of_bfloat16(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros((2, 2), ml_dtypes.bfloat16))
    assert identify(tmp_path / "a.npz").id == expected({"w": ("V2", (2, 2), bytes(8))})


def test_compressed_zip_of_torch(tmp_path: Path) -> None:
    arrays = random_arrays(FLOATS)
    save_zip(tmp_path / "a.pt", arrays)
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as source,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert identify(tmp_path / "b.pt").id == of_arrays(arrays)


def test_f4_counts_elements(tmp_path: Path) -> None:
    packed = torch.arange(24, dtype=torch.uint8).reshape(2, 12).view(torch.float4_e2m1fn_x2)
    torch.save({"w": packed}, tmp_path / "a.pt")
    safetensors.torch.save_file({"w": packed}, tmp_path / "a.safetensors")
    wanted = expected({"w": ("f4", (2, 24), bytes(range(24)))})
    assert identify(tmp_path / "a.pt").id == wanted
    assert identify(tmp_path / "a.safetensors").id == wanted


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_arrays_in_pickles(tmp_path: Path, protocol: int) -> None:
    arrays = random_arrays(["float32", "int64", "uint8"])
    torch.save(dict(arrays), tmp_path / "a.pt", pickle_protocol=protocol)
    assert identify(tmp_path / "a.pt").id == of_arrays(arrays)


# What makes a difference, and what does not


def one(tmp_path: Path, tensor: torch.Tensor, name: str = "w") -> str:
    torch.save({name: tensor}, tmp_path / "one.pt")
    return identify(tmp_path / "one.pt").id


def test_bits_decide(tmp_path: Path) -> None:
    nans = [torch.tensor([bits], dtype=torch.int32) for bits in (0x7FC00000, 0x7FC00001)]
    values = [torch.tensor([0.0]), torch.tensor([-0.0]), *(nan.view(torch.float32) for nan in nans)]
    ids = {one(tmp_path, value) for value in values}
    assert len(ids) == len(values)


def test_name_type_and_shape_decide(tmp_path: Path) -> None:
    zeros = torch.zeros(2, 6, dtype=torch.int16)
    tensors = [zeros, zeros.view(torch.float16), zeros.reshape(3, 4), zeros.reshape(12)]
    ids = {one(tmp_path, tensor) for tensor in tensors} | {one(tmp_path, zeros, "v")}
    assert len(ids) == 5


def test_booleans_are_0_or_1(tmp_path: Path) -> None:
    odd = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(torch.bool)
    assert one(tmp_path, odd) == expected({"w": ("bool", (4,), b"\0\1\1\1")})


@pytest.mark.parametrize(
    "view",
    [
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(24.0).reshape(4, 6)[1:, ::2],
        torch.arange(4.0).expand(3, 2, 4),
        torch.arange(3.0)[:, None].expand(3, 5),
        torch.tensor(4.0),
        torch.zeros(0, 3),
        torch.arange(10.0)[7],
        torch.arange(9.0).as_strided((4, 4), (1, 1)),
    ],
)
def test_views_are_their_copies(tmp_path: Path, view: torch.Tensor) -> None:
    raw = view.contiguous().numpy().tobytes()
    assert one(tmp_path, view) == expected({"w": ("f32", tuple(view.shape), raw)})


def test_a_large_tensor_is_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over chunk borders, contiguous and gathered in slabs; on any number of threads."""
    monkeypatch.setattr("weightkit.values.gathers.SLAB", 1 << 20)
    large = torch.randint(0, 1 << 15, (1500, 2100), dtype=torch.int16)
    columns = large.t().contiguous().t()
    wanted = expected({"w": ("i16", (1500, 2100), large.numpy().tobytes())})
    assert one(tmp_path, large) == one(tmp_path, columns) == wanted
    assert identify(tmp_path / "one.pt", jobs=1).id == identify(tmp_path / "one.pt", jobs=5).id


def test_composites_have_digests_of_their_parts(tmp_path: Path) -> None:
    dense = torch.eye(4)
    scheme = torch.quantize_per_tensor(dense, 0.5, 3, torch.quint8)
    other = torch.quantize_per_tensor(dense, 0.25, 3, torch.quint8)
    channel = torch.quantize_per_channel(
        dense, torch.ones(4), torch.zeros(4, dtype=torch.long), 0, torch.qint8
    )
    tensors = [dense, dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc()]
    ids = [one(tmp_path, tensor) for tensor in [*tensors, scheme, other, channel]]
    assert len(set(ids)) == 7
    assert one(tmp_path, dense.to_sparse()) == ids[1]


def test_sparse_by_the_definition(tmp_path: Path) -> None:
    sparse = torch.eye(2).to_sparse()
    indices = tensor_digest("i64", (2, 2), struct.pack("<4q", 0, 1, 0, 1))
    values = tensor_digest("f32", (2,), struct.pack("<2f", 1, 1))
    head = [b"wk1 composite", b"sparse_coo", b"f32", struct.pack("<2Q", 2, 2), b""]
    parts = field(b"indices") + indices + field(b"values") + values
    digest = sha256(b"".join(map(field, head)) + parts).digest()
    wanted = sha256(field(b"wk1 checkpoint") + field(b"w") + digest).hexdigest()
    assert one(tmp_path, sparse) == wanted


# Tied tensors


def test_ties_count_under_each_name(tmp_path: Path) -> None:
    head = torch.arange(6.0).reshape(2, 3)
    torch.save({"embed": head, "head": head}, tmp_path / "tied.pt")
    torch.save({"embed": head, "head": head.clone()}, tmp_path / "apart.pt")
    model = torch.nn.Module()
    model.embed = torch.nn.Parameter(head)
    model.head = model.embed
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    recorded = {"weightkit.aliases": json.dumps({"head": "embed", "nowhere": "nothing"})}
    safetensors.torch.save_file({"embed": head}, tmp_path / "ours.safetensors", recorded)
    found = [identify(path) for path in sorted(tmp_path.iterdir())]
    assert len({item.id for item in found}) == 1
    assert found[2].aliases == (("head", "embed"),)
    assert found[2].tensors == 2


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 3}', "[" * 100_000, '{"embed": "embed"}'])
def test_odd_alias_maps_are_no_aliases(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"embed": torch.ones(2)}, path, {"weightkit.aliases": text})
    found = identify(path)
    assert (found.aliases, found.tensors) == ((), 1)


def test_metadata_that_looks_like_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"pt": torch.ones(2)}, path, {"format": "pt"})
    assert identify(path).tensors == 1


# What has no digest, and bad input


def test_what_has_no_values(tmp_path: Path) -> None:
    torch.save({"w": torch.empty(3, device="meta")}, tmp_path / "a.pt")
    with pytest.raises(UnsupportedError, match=r"does not hold the values.*'w'") as caught:
        identify(tmp_path / "a.pt")
    assert caught.value.code == "WK603"


def test_records_have_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros(3, [("a", "<i4"), ("b", "<f4")]))
    with pytest.raises(UnsupportedError, match="no canonical form"):
        identify(tmp_path / "a.npz")


def test_no_tensors_have_no_id(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(UnsupportedError, match="no tensors") as caught:
        identify(tmp_path / "a.pt")
    assert caught.value.code == "WK604"


def test_small_file_vast_view(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "a.pt")
    with pytest.raises(UnsupportedError, match="views of"):
        identify(tmp_path / "a.pt")


def test_a_file_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    reading = Source.pread

    def pread(source: Source, offset: int, nbytes: int) -> bytes:
        found = reading(source, offset, nbytes)
        if nbytes == 8 and offset > 8:
            os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(Source, "pread", pread)
    with pytest.raises(AccessError) as caught:
        identify(path)
    assert caught.value.code == "WK012"


# docs/content-id.md


def test_the_vectors_of_the_page() -> None:
    page = (ROOT / "docs/content-id.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| \(([\d, ]*)\) \| `?([^|`]*)`? \| `([0-9a-f]{64})` \|", page, re.M
    )
    assert len(rows) >= 5
    for dtype, shape, content, digest in rows:
        dimensions = tuple(int(size) for size in shape.split(",") if size.strip())
        repeated = re.fullmatch(r"byte 0x(\w\w), ([\d,]+) times", content)
        raw = bytes.fromhex(content) if repeated is None else b""
        if repeated is not None:
            raw = bytes.fromhex(repeated[1]) * int(repeated[2].replace(",", ""))
        assert tensor_digest(dtype, dimensions, raw).hex() == digest
        leaves = [
            sha256(raw[at : at + digests.LEAF]).digest() for at in range(0, len(raw), digests.LEAF)
        ]
        data = digests.data_digest(leaves or [sha256(b"").digest()])
        assert digests.plain_digest(dtype, dimensions, data).hex() == digest
    assert digests.ALGORITHM in page
    fixture = identify(ROOT / "fixtures/llama/model.safetensors")
    assert fixture.id in page
