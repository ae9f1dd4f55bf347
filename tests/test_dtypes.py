"""The dtype table against the libraries whose types it names."""

from __future__ import annotations

import json
import re
import struct
import warnings

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors
import torch

from weightkit.dtypes import (
    DTYPES,
    GGML,
    NUMPY,
    SAFETENSORS,
    STORAGES,
    TORCH,
    TORCH_ALIASES,
    DType,
    opaque,
)

# ggml types of llama.cpp that the gguf package does not have yet: items and bytes of a block.
NEWER_THAN_GGUF = {42: (64, 18)}


def rows(table: dict[str, DType]) -> list[DType]:
    return list(table.values())


def name(row: DType) -> str:
    return row.name


def test_ggml_types_are_those_of_gguf() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    ours = {number: (row.items, row.nbytes) for number, row in GGML.items()}
    assert ours == NEWER_THAN_GGUF | theirs


def test_ggml_types_are_named_as_in_gguf() -> None:
    theirs = {int(kind): kind.name.lower() for kind in gguf.GGML_QUANT_SIZES}
    ours = {number: row.name for number, row in GGML.items() if number in theirs}
    assert ours == theirs


def official_header(dtype: str, shape: list[int], nbytes: int) -> bytes:
    entry = {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, nbytes]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + bytes(nbytes)


@pytest.mark.parametrize("row", rows(SAFETENSORS), ids=name)
def test_safetensors_takes_the_type_at_its_size(row: DType) -> None:
    ((_, tensor),) = safetensors.deserialize(
        official_header(row.safetensors, [row.items, 2], row.nbytes * 2)
    )
    assert tensor["dtype"] == row.safetensors
    assert tensor["shape"] == [row.items, 2]
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(
            official_header(row.safetensors, [row.items, 2], row.nbytes * 2 + 1)
        )


def test_safetensors_has_no_other_types() -> None:
    """Its parser lists them all when it is asked for one that it does not know."""
    with pytest.raises(safetensors.SafetensorError) as caught:
        safetensors.deserialize(official_header("?", [1], 1))
    names = re.findall(r"`(\w+)`", str(caught.value).partition("one of")[2])
    assert sorted(names) == sorted(SAFETENSORS)


def torch_dtypes() -> dict[str, torch.dtype]:
    found = {attribute: getattr(torch, attribute) for attribute in dir(torch)}
    return {key: value for key, value in found.items() if isinstance(value, torch.dtype)}


def test_torch_dtypes_are_all_there() -> None:
    assert {str(dtype) for dtype in torch_dtypes().values()} == {f"torch.{key}" for key in TORCH}


@pytest.mark.parametrize("row", rows(TORCH), ids=name)
def test_torch_dtypes_have_our_size(row: DType) -> None:
    assert getattr(torch, row.torch).itemsize == row.nbytes


@pytest.mark.parametrize("row", rows(TORCH), ids=name)
def test_torch_dtypes_have_our_kind(row: DType) -> None:
    dtype = getattr(torch, row.torch)
    assert dtype.is_floating_point == (row.kind in ("float", "scale"))
    assert dtype.is_complex == (row.kind == "complex")


def test_torch_aliases() -> None:
    theirs = {
        key: str(dtype).removeprefix("torch.")
        for key, dtype in torch_dtypes().items()
        if str(dtype) != f"torch.{key}"
    }
    assert theirs == TORCH_ALIASES


def test_packed_quantized_elements_share_a_byte() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in (TORCH["quint4x2"], TORCH["quint2x4"]):
            tensor = torch.quantize_per_channel(
                torch.zeros(2, 8), torch.ones(2), torch.zeros(2), 0, getattr(torch, row.torch)
            )
            assert tensor.untyped_storage().nbytes() == row.nbytes_of(16)


def test_torch_storages() -> None:
    theirs = {
        storage: str(dtype).removeprefix("torch.")
        for dtype, storage in torch.storage._dtype_to_storage_type_map().items()
    }
    assert {key: row.torch for key, row in STORAGES.items()} == theirs


@pytest.mark.parametrize("row", rows(NUMPY), ids=name)
def test_numpy_names_have_our_size(row: DType) -> None:
    assert ml_dtypes.__version__  # registers its names with numpy
    dtype = np.dtype(row.numpy)
    assert dtype.name == row.numpy
    assert dtype.itemsize == row.nbytes
    assert row.items == 1


@pytest.mark.parametrize("row", [row for row in rows(NUMPY) if row.torch], ids=name)
def test_numpy_and_torch_mean_the_same(row: DType) -> None:
    raw = bytes(range(256)) * row.nbytes
    if row.name == "bool":
        raw = bytes([0, 1]) * 128
    ours = np.frombuffer(raw, np.dtype(row.numpy))
    theirs = torch.frombuffer(bytearray(raw), dtype=getattr(torch, row.torch))
    wide, numpy_wide = (
        (torch.complex128, np.complex128)
        if row.kind == "complex"
        else (torch.float64, np.float64)
        if row.kind in ("float", "scale")
        else (theirs.dtype, ours.dtype)
    )
    np.testing.assert_array_equal(theirs.to(wide).numpy(), ours.astype(numpy_wide))


def test_names_are_unique() -> None:
    for column in ("safetensors", "ggml", "torch", "storage", "numpy"):
        values = [getattr(row, column) for row in DTYPES.values()]
        used = [value for value in values if value not in ("", None)]
        assert len(used) == len(set(used)), column
    assert all(key == row.name for key, row in DTYPES.items())


@pytest.mark.parametrize(
    ("dtype", "elements", "nbytes"),
    [("f32", 3, 12), ("f4", 3, 2), ("f6_e2m3", 4, 3), ("q4_k", 257, 288), ("q8_0", 0, 0)],
)
def test_bytes_of_elements(dtype: str, elements: int, nbytes: int) -> None:
    assert DTYPES[dtype].nbytes_of(elements) == nbytes


def test_bits_per_element() -> None:
    assert [DTYPES[key].bits for key in ("bf16", "f4", "f6_e3m2", "q4_k", "q8_0")] == [
        16,
        4,
        6,
        4.5,
        8.5,
    ]


def test_opaque_types_have_a_size_only() -> None:
    row = opaque("<U5", 20)
    assert (row.kind, row.nbytes_of(3), str(row)) == ("opaque", 60, "<U5")
