"""Tiles of elements against the whole array that Checkpoint.read gives, for every type and layout."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.dtypes import DTYPES, DType, opaque
from weightkit.errors import FormatError, UnsupportedError
from weightkit.opening import Checkpoint, open_checkpoint
from weightkit.source import Buffer, Source
from weightkit.tensors import ABSENT, DEFLATE, TEXT, Extent, TensorInfo, TensorSet
from weightkit.values import canonical, tiles
from weightkit.values.arrays import to_array
from weightkit.values.streams import spooled

Array = np.ndarray[Any, Any]
BLOCKS = 24


def raw(dtype: DType, blocks: int = BLOCKS) -> bytes:
    """Random bits: NaNs of every payload, subnormals, booleans that are neither 0 nor 1."""
    return np.random.default_rng(len(dtype.name)).bytes(blocks * dtype.nbytes)


def info_of(dtype: DType, shape: tuple[int, ...], **more: Any) -> TensorInfo:
    extent = more.pop("data", None) or Extent(0, 0, dtype.nbytes_of(prod(shape)))
    return TensorInfo("w", dtype, shape, extent, **more)


def read(info: TensorInfo, content: bytes, folder: Path) -> Array:
    """What Checkpoint.read gives for a tensor in a file of this content."""
    path = folder / "content"
    path.write_bytes(content)
    with Source(path) as source:
        return Checkpoint("", "", (), (TensorSet("", "model", (info,)),), (source,)).read(info)


def joined(info: TensorInfo, content: bytes, elements: int) -> Array:
    found = list(tiles.tiles(info, Buffer(content), elements=elements))
    assert all(tile.ndim == 1 and tile.size and tile.dtype.isnative for tile in found)
    most = max(elements, info.dtype.items * (2 if info.dtype.name == "f4_x2" else 1))
    assert all(tile.size <= most for tile in found)
    assert len({tile.size for tile in found[:-1]}) <= 1
    return np.concatenate(found)


def same(found: Array, expected: Array) -> None:
    """Bit for bit: NaNs of any payload and negative zeros too."""
    expected = np.ascontiguousarray(expected.astype(expected.dtype.newbyteorder("=")))
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


def known(dtype: DType) -> bool:
    """Whether there is an array for it."""
    try:
        to_array(info_of(dtype, (dtype.items * BLOCKS,)), raw(dtype))
    except UnsupportedError:
        return False
    return True


OWN = {"c32", "f4_x2", "bool"}
"""Types where tiles say more than Checkpoint.read: tests of their own below."""
READABLE = [row for row in DTYPES.values() if row.name not in OWN and known(row)]
UNREADABLE = [row for row in DTYPES.values() if row.name not in OWN and not known(row)]


def test_only_what_gguf_cannot_dequantize_is_unreadable() -> None:
    known_to_gguf = {int(kind) for kind in gguf.quants._type_traits}
    quants = {row.name for row in DTYPES.values() if row.kind == "quant"}
    assert {row.name for row in UNREADABLE} == {
        name for name in quants if DTYPES[name].ggml not in known_to_gguf
    }
    assert len(READABLE) + len(UNREADABLE) + len(OWN) == len(DTYPES)


@pytest.mark.parametrize("elements", [1, 7, 256, 1 << 17])
@pytest.mark.parametrize("dtype", READABLE, ids=str)
def test_every_type(dtype: DType, elements: int, tmp_path: Path) -> None:
    info = info_of(dtype, (2, dtype.items * BLOCKS // 2))
    same(joined(info, raw(dtype), elements), read(info, raw(dtype), tmp_path).reshape(-1))


@pytest.mark.parametrize("dtype", UNREADABLE, ids=str)
def test_types_without_an_array(dtype: DType) -> None:
    info = info_of(dtype, (dtype.items * 2,))
    with pytest.raises(UnsupportedError) as caught:
        list(tiles.tiles(info, Buffer(raw(dtype))))
    assert caught.value.code == "WK603"


@pytest.mark.parametrize("dtype", [row for row in READABLE if row.items == 1], ids=str)
def test_big_endian(dtype: DType, tmp_path: Path) -> None:
    info = info_of(dtype, (BLOCKS,), byteorder="big")
    same(joined(info, raw(dtype), 5), read(info, raw(dtype), tmp_path))


def test_booleans_are_0_or_1() -> None:
    found = joined(info_of(DTYPES["bool"], (4,)), b"\0\1\2\xff", 3)
    assert found.tolist() == [False, True, True, True]
    assert found.tobytes() == b"\0\1\1\1"


@pytest.mark.parametrize("order", ["little", "big"])
def test_complex32_is_widened(order: str) -> None:
    values = np.array([1.5, -2, np.inf, 6e-8, -0.0, 65504], "<f2" if order == "little" else ">f2")
    found = joined(info_of(DTYPES["c32"], (3,), byteorder=order), values.tobytes(), 2)
    assert found.dtype == np.complex64
    assert found.view(np.float32).tolist() == values.tolist()


def test_pairs_of_f4_count_each() -> None:
    content = bytes(range(24))
    pairs, each = info_of(DTYPES["f4_x2"], (2, 12)), info_of(DTYPES["f4"], (2, 24))
    same(joined(pairs, content, 7), joined(each, content, 7))
    assert tiles.count_of(pairs) == tiles.count_of(each) == 48


@pytest.mark.parametrize("name", ["S3", "V5", "a2"])
def test_opaque_types_are_voids(name: str, tmp_path: Path) -> None:
    dtype = opaque(name, int(name[1:]))
    info = info_of(dtype, (BLOCKS,))
    same(joined(info, raw(dtype), 5), read(info, raw(dtype), tmp_path))


@pytest.mark.parametrize(("name", "numel"), [("f4", 5), ("f6_e2m3", 7), ("quint2x4", 6)])
def test_the_last_block_may_be_in_part(name: str, numel: int, tmp_path: Path) -> None:
    info = info_of(DTYPES[name], (numel,))
    assert not canonical.is_addressable(info)
    same(joined(info, raw(DTYPES[name]), 4), read(info, raw(DTYPES[name]), tmp_path))


@pytest.mark.parametrize("name", ["f32", "q4_k", "f4", "c32", "bool"])
@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_elements_no_tiles(name: str, shape: tuple[int, ...]) -> None:
    assert not list(tiles.tiles(info_of(DTYPES[name], shape), Buffer(b"")))


def test_a_scalar() -> None:
    info = info_of(DTYPES["f32"], ())
    assert joined(info, np.float32(2.5).tobytes(), 10).tolist() == [2.5]


# Layouts and encodings


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((4, 6), (1, 4)), ((3, 2, 4), (0, 4, 1)), ((5,), (3,)), ((), ()), ((2, 3), (7, 2))],
)
@pytest.mark.parametrize("name", ["f32", "bf16", "c64", "i64", "u8", "f4_x2", "bool"])
def test_strided_views(
    name: str, shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    dtype = DTYPES[name]
    content = np.random.default_rng(3).bytes(40 * dtype.nbytes)
    info = info_of(dtype, shape, strides=strides, data=Extent(0, 0, len(content)))
    expected = np.ascontiguousarray(read(info, content, tmp_path))
    flat = info._replace(strides=None, data=Extent(0, 0, expected.nbytes))
    same(joined(info, content, 5), joined(flat, expected.tobytes(), 5))


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    DEFLATE: deflated,
    TEXT: lambda content: content.decode("latin-1").encode("utf-8"),
}


STREAMED = [(name, False) for name in ("f32", "bf16", "q4_0", "f4", "i64", "f4_x2")]
STREAMED += [(name, True) for name in ("f32", "bf16", "i64", "f4_x2")]  # blocks have no strides


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize(("name", "strided"), STREAMED)
def test_streams(name: str, encoding: str, strided: bool, tmp_path: Path) -> None:
    dtype = DTYPES[name]
    content = raw(dtype)
    before, shape = b"before", (dtype.items * 4, BLOCKS // 4)
    stored = ENCODERS[encoding](before + content)
    strides = (1, shape[0]) if strided else None
    extent = Extent(0, 0, len(content), encoding, len(before), len(stored))
    plain = info_of(dtype, shape, strides=strides)
    info = plain._replace(data=extent)
    expected = joined(plain, content, 50)
    same(joined(info, stored, 50), expected)
    with spooled(Buffer(stored), info) as held:
        found = list(tiles.tiles(info, Buffer(stored), held, 50))
    same(np.concatenate(found), expected)


def test_pieces_that_end_inside_blocks() -> None:
    """Streams come in pieces of a mebibyte; blocks of 144 bytes know nothing of that."""
    content = raw(DTYPES["q4_k"], 9000)
    stored = deflated(content)
    info = info_of(DTYPES["q4_k"], (9000 * 256,))
    packed = info._replace(data=Extent(0, 0, len(content), DEFLATE, 0, len(stored)))
    same(joined(packed, stored, 10_000), joined(info, content, 10_000))


def test_composites_are_read_by_parts() -> None:
    part = info_of(DTYPES["f32"], (2,))
    info = info_of(DTYPES["f32"], (2, 2), layout="sparse_coo", parts=(part,))
    with pytest.raises(UnsupportedError):
        list(tiles.tiles(info, Buffer(bytes(64))))


def test_absent_values() -> None:
    info = info_of(DTYPES["f32"], (2,), data=Extent(0, 0, 8, ABSENT))
    with pytest.raises(UnsupportedError, match="does not hold"):
        list(tiles.tiles(info, Buffer(b"")))


@pytest.mark.parametrize("strides", [None, (1, 3)])
def test_truncated(strides: tuple[int, ...] | None) -> None:
    info = info_of(DTYPES["f32"], (3, 3), strides=strides)
    with pytest.raises(FormatError) as caught:
        list(tiles.tiles(info, Buffer(bytes(35)), elements=2))
    assert caught.value.code == "WK001"


def test_a_truncated_stream() -> None:
    stored = deflated(bytes(400))
    info = info_of(DTYPES["f32"], (101,), data=Extent(0, 0, 404, DEFLATE, 0, len(stored)))
    with pytest.raises(FormatError):
        list(tiles.tiles(info, Buffer(stored)))


# Ranges


@given(st.sampled_from(READABLE), st.data())
@settings(max_examples=200, deadline=None)
def test_spans(dtype: DType, data: st.DataObject) -> None:
    info = info_of(dtype, (dtype.items * BLOCKS,))
    first = data.draw(st.integers(0, BLOCKS))
    blocks = data.draw(st.integers(0, BLOCKS - first))
    elements = data.draw(st.integers(1, 3000))
    start, count = first * dtype.items, blocks * dtype.items
    found = [*tiles.span(info, Buffer(raw(dtype)), start, count, elements)]
    whole = joined(info, raw(dtype), 1 << 17)
    same(np.concatenate([whole[:0], *found]), whole[start : start + count])


def test_a_span_past_the_end() -> None:
    with pytest.raises(FormatError):
        list(tiles.span(info_of(DTYPES["f32"], (4,)), Buffer(bytes(16)), 2, 3))


# Memory


def test_bounded_memory(tmp_path: Path) -> None:
    """A tensor of 256 MiB, contiguous and transposed, in a few MiB."""
    path = tmp_path / "content"
    with path.open("wb") as file:
        file.truncate(1 << 28)
    info = TensorInfo("w", DTYPES["bf16"], (1 << 13, 1 << 14), Extent(0, 0, 1 << 28))
    for strides, most in ((None, 4 << 20), ((1, 1 << 13), 80 << 20)):
        tracemalloc.start()
        with Source(path) as source:
            counted = sum(t.size for t in tiles.tiles(info._replace(strides=strides), source))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert counted == info.numel
        assert peak < most


def test_a_real_file(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(37, 11).to(torch.bfloat16).t(),
        "b": torch.arange(10)[3:],
        "c": torch.randn(5, dtype=torch.complex64),
    }
    torch.save(tensors, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        for info in checkpoint.tensors:
            found = list(tiles.tiles(info, checkpoint.sources[info.data.file], elements=8))
            same(np.concatenate(found), checkpoint.read(info).reshape(-1))
