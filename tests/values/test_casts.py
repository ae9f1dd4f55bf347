"""Casts of pieces and of whole tensors in files; tests/oracle has what becomes of each value."""

from __future__ import annotations

import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from weightkit.dtypes import DTYPES, DType
from weightkit.errors import FormatError, UnsupportedError
from weightkit.source import Buffer
from weightkit.tensors import ABSENT, DEFLATE, Extent, TensorInfo
from weightkit.values.casts import TILE, casted, caster
from weightkit.values.narrowing import COMPONENTS, Counts

F32, F16, BF16 = (DTYPES[name] for name in ("f32", "f16", "bf16"))
Array = np.ndarray[Any, Any]


def info_of(dtype: DType, shape: tuple[int, ...], **more: Any) -> TensorInfo:
    extent = more.pop("data", None) or Extent(0, 0, dtype.nbytes_of(prod(shape)))
    return TensorInfo("w", dtype, shape, extent, **more)


def whole(info: TensorInfo, content: bytes, target: DType) -> tuple[bytes, Counts]:
    pieces, counts = [], Counts()
    for piece, more in casted(info, Buffer(content), target):
        pieces.append(bytes(piece))
        counts += more
    return b"".join(pieces), counts


def floats(count: int) -> Array:
    return np.random.default_rng(3).standard_normal(count).astype("<f4")


# Pieces


@pytest.mark.parametrize("count", [0, 1, TILE - 1, TILE, TILE + 1, 3 * TILE + 5])
def test_a_piece_may_be_of_any_length(count: int) -> None:
    values = floats(count)
    found, counts = caster(F32, F16)(values.tobytes())
    assert bytes(found) == values.astype("<f2").tobytes()
    assert counts == Counts(count)
    assert found.format == "B"
    assert len(found) == 2 * count


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_piece_may_be_anything_that_holds_bytes(kind: Any) -> None:
    values = floats(9)
    found, _ = caster(F32, F16)(kind(values.tobytes()))
    assert bytes(found) == values.astype("<f2").tobytes()


def test_a_piece_may_start_at_any_address() -> None:
    values = floats(999)
    found, _ = caster(F32, F16)(memoryview(b"?" + values.tobytes())[1:])
    assert bytes(found) == values.astype("<f2").tobytes()


def test_what_comes_out_is_not_overwritten_by_the_next_piece() -> None:
    cast = caster(F32, F16)
    first, _ = cast(floats(9).tobytes())
    kept = bytes(first)
    cast(np.zeros(9, "<f4").tobytes())
    assert bytes(first) == kept


@pytest.mark.parametrize(
    "pair", ["bf16:f16", "f32:f16", "f32:bf16", "f64:f8_e4m3", "i64:f16", "f32:f8_e4m3fnuz"]
)
def test_threads_may_share_a_cast(pair: str) -> None:
    source, target = (DTYPES[name] for name in pair.split(":"))
    cast = caster(source, target)
    pieces = [np.random.default_rng(seed).bytes(source.nbytes * 50_000) for seed in range(16)]
    alone = [(bytes(found), counts) for found, counts in map(cast, pieces)]
    with ThreadPoolExecutor(4) as pool:
        beside = [(bytes(found), counts) for found, counts in pool.map(cast, pieces)]
    assert beside == alone


@pytest.mark.parametrize("name", ["f32", "bool", "c128", "q4_k", "qint8", "f6_e2m3", "i4"])
def test_to_the_same_type_bytes_stay(name: str) -> None:
    dtype = DTYPES[name]
    piece = np.random.default_rng(2).bytes(dtype.nbytes * 7)
    assert caster(dtype, dtype)(piece) == (piece, Counts(7 * dtype.items))


@pytest.mark.parametrize(
    ("source", "target"), [("f32", "i8"), ("c64", "f32"), ("f32", "q4_0"), ("qint8", "f32")]
)
def test_what_makes_no_sense_is_a_typed_error(source: str, target: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no cast from {source} to {target}: ") as caught:
        caster(DTYPES[source], DTYPES[target])
    assert caught.value.code == "WK603"


def test_bool_becomes_one_and_zero() -> None:
    found, _ = caster(DTYPES["bool"], BF16)(b"\x00\x01\x01")
    assert np.frombuffer(found, "<u2").tolist() == [0, 0x3F80, 0x3F80]


# Blocks of ggml


def blocks_of(dtype: DType, count: int) -> Array:
    """Random blocks: scales of every size, Inf and NaN."""
    return np.random.default_rng(count).integers(0, 256, (count, dtype.nbytes), np.uint8)


def dequantized(dtype: DType, blocks: Array) -> Array | None:
    """What gguf makes of blocks; None where it makes nothing."""
    try:
        with np.errstate(all="ignore"):
            found: Array = dequantize(blocks, gguf.GGMLQuantizationType(dtype.ggml))
    except (NotImplementedError, ValueError):
        return None
    return found.reshape(-1)


QUANTS = [dtype for dtype in DTYPES.values() if dtype.kind == "quant"]
KNOWN = [dtype for dtype in QUANTS if dequantized(dtype, blocks_of(dtype, 1)) is not None]


def test_most_quantized_types_can_be_dequantized() -> None:
    assert len(KNOWN) >= 21  # gguf 0.17; later ones know more
    common = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"}
    assert common <= {dtype.name for dtype in KNOWN}


@pytest.mark.parametrize("dtype", KNOWN, ids=str)
def test_blocks_become_what_gguf_says(dtype: DType) -> None:
    blocks = blocks_of(dtype, 2 * TILE // dtype.items + 3)
    wanted = dequantized(dtype, blocks)
    assert wanted is not None
    found, counts = caster(dtype, F32)(blocks.tobytes())
    values = np.frombuffer(found, "<f4")
    numbers = ~np.isnan(wanted)
    assert np.array_equal(np.isnan(values), ~numbers)
    assert np.array_equal(values[numbers].view("u4"), wanted[numbers].view("u4"))  # -0.0 too
    assert counts == Counts(wanted.size)


@pytest.mark.parametrize("target", [F16, DTYPES["f8_e4m3"]], ids=str)
def test_dequantized_values_are_cast_like_others(target: DType) -> None:
    dtype = DTYPES["q4_k"]
    blocks = blocks_of(dtype, 999)
    wide, _ = caster(dtype, F32)(blocks.tobytes())
    wanted, counts = caster(F32, target)(wide)
    assert counts.changed
    assert caster(dtype, target)(blocks.tobytes()) == (wanted, counts)


@pytest.mark.parametrize("dtype", [row for row in QUANTS if row not in KNOWN], ids=str)
def test_types_that_gguf_cannot_dequantize_are_a_typed_error(dtype: DType) -> None:
    with pytest.raises(UnsupportedError, match=r"dequantized|no cast"):
        caster(dtype, F32)


# Whole tensors


@pytest.mark.parametrize("name", ["f32", "f64", "i16", "c64", "bool", "f8_e5m2"])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_tensor_of_either_byte_order(name: str, byteorder: str) -> None:
    dtype = DTYPES[name]
    target = DTYPES["c128" if dtype.kind == "complex" else "bf16"]
    little = np.random.default_rng(1).bytes(dtype.nbytes * 99)
    if name == "bool":
        little = bytes(byte & 1 for byte in little)
    width = DTYPES[COMPONENTS.get(name, name)].nbytes
    stored = np.frombuffer(little, f"u{width}").byteswap().tobytes()
    content = stored if byteorder == "big" else little
    wanted, counts = caster(dtype, target)(little)
    info = info_of(dtype, (9, 11), byteorder=byteorder)
    assert whole(info, content, target) == (bytes(wanted), counts)


def test_a_transposed_tensor() -> None:
    values = floats(35).reshape(5, 7)
    info = info_of(F32, (7, 5), strides=(1, 7), data=Extent(0, 0, 140))
    found, counts = whole(info, values.tobytes(), F16)
    assert found == np.ascontiguousarray(values.T).astype("<f2").tobytes()
    assert counts.values == 35


def test_a_deflated_tensor_whose_stream_is_cut_inside_elements() -> None:
    values = floats(100_000)
    packer = zlib.compressobj(wbits=-15)
    content = packer.compress(b"abc" + values.tobytes()) + packer.flush()
    extent = Extent(0, 0, 400_000, DEFLATE, 3, len(content))
    found, _ = whole(info_of(F32, (100_000,), data=extent), content, F16)
    assert found == values.astype("<f2").tobytes()


def test_part_of_a_block_is_a_typed_error() -> None:
    dtype = DTYPES["q8_0"]
    with pytest.raises(UnsupportedError, match="q8_0 in part of a block"):
        whole(info_of(dtype, (40,)), bytes(68), F32)


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_tensors_without_elements_and_scalars(shape: tuple[int, ...]) -> None:
    found, counts = whole(info_of(F32, shape), bytes(4), F16)
    assert len(found) == 2 * prod(shape)
    assert counts.values == prod(shape)


def test_a_truncated_tensor_is_a_typed_error() -> None:
    with pytest.raises(FormatError):
        whole(info_of(F32, (9,)), bytes(20), F16)


def test_absent_values_are_a_typed_error() -> None:
    info = info_of(F32, (9,), data=Extent(0, 0, 0, ABSENT))
    with pytest.raises(UnsupportedError, match="does not hold the values"):
        whole(info, b"", F16)


def test_a_composite_tensor_is_a_typed_error() -> None:
    info = info_of(F32, (9,), layout="sparse_coo", parts=(info_of(F32, (3,)),))
    with pytest.raises(UnsupportedError, match="a sparse_coo tensor is not cast"):
        whole(info, bytes(36), F16)


def test_memory_is_bounded() -> None:
    count = 1 << 24
    content = Buffer(bytes(4 * count))
    tracemalloc.start()
    for _ in casted(info_of(F32, (count,)), content, F16):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 48 << 20  # of 64 MiB in and 32 MiB out
