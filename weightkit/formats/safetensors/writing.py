"""Where the bytes of a safetensors file go, header included.

The order is the official library's, so that a plain state dict gives the same bytes as
``safetensors.torch.save_file``: widest type first (in the order of its ``Dtype`` enum), then by
name. With two or more metadata keys that library's order is random; ours is sorted.

Source: ``prepare`` in ``tensor.rs`` of safetensors 0.8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from weightkit.dtypes import SAFETENSORS, DType
from weightkit.errors import PlanError
from weightkit.layouts import Layout, Slot
from weightkit.tensors import TensorInfo
from weightkit.text import is_text

_ORDER = (
    "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 F8_E5M2 "
    "I8 U8 F6_E3M2 F6_E2M3 F4 BOOL"
).split()
_RANK = {SAFETENSORS[name]: rank for rank, name in enumerate(_ORDER)}
RESERVED = "__metadata__"
MAX_HEADER = 100_000_000
"""Bytes: what the official reader takes."""


def layout(tensors: Sequence[TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """The file that holds ``tensors``. Raises PlanError for what the format cannot say."""
    for tensor in tensors:
        _check(tensor)
    order = sorted(range(len(tensors)), key=lambda at: _key(tensors[at]))
    places: list[tuple[int, int]] = [(0, 0)] * len(tensors)
    entries = [f'"{RESERVED}":{_json(dict(sorted(metadata.items())))}'] if metadata else []
    end = 0
    for at in order:
        tensor = tensors[at]
        start, end = end, end + tensor.nbytes
        places[at] = start, end - start
        entries.append(_entry(tensor, start, end))
    header = _header(entries)
    first = len(header)
    slots = tuple(Slot(first + start, nbytes) for start, nbytes in places)

    def literals(_: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        yield 0, header

    return Layout(first + end, slots, literals)


def holds(dtype: DType) -> bool:
    """Whether the format has a name for this type."""
    return bool(dtype.safetensors)


def _check(tensor: TensorInfo) -> None:
    if not tensor.dtype.safetensors:
        message = f"safetensors has no {tensor.dtype.name}; cast it with --dtype, or leave it out"
        raise PlanError(message, code="WK660", tensor=tensor.name)
    if tensor.name == RESERVED:
        message = f"safetensors keeps the name {RESERVED} for itself; --rename it"
        raise PlanError(message, code="WK662", tensor=tensor.name)
    if not is_text(tensor.name):
        message = "the name is no Unicode text, as safetensors has it; --rename it"
        raise PlanError(message, code="WK662", tensor=tensor.name)
    if tensor.numel % tensor.dtype.items:
        message = f"{tensor.numel} elements of {tensor.dtype.name} fill no whole bytes"
        raise PlanError(message, code="WK660", tensor=tensor.name)


def _key(tensor: TensorInfo) -> tuple[int, bytes]:
    return _RANK[tensor.dtype], tensor.name.encode("utf-8", "surrogatepass")


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _entry(tensor: TensorInfo, start: int, end: int) -> str:
    shape = ",".join(map(str, tensor.shape))
    head = f'{_json(tensor.name)}:{{"dtype":"{tensor.dtype.safetensors}","shape":[{shape}]'
    return f'{head},"data_offsets":[{start},{end}]}}'


def _header(entries: Sequence[str]) -> bytes:
    """The length and the JSON, padded with spaces so that the data is aligned to 8 bytes."""
    try:
        text = f"{{{','.join(entries)}}}".encode()
    except UnicodeEncodeError as error:
        message = f"a value of the metadata is no Unicode text: {error.reason}"
        raise PlanError(message, code="WK662") from error
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        message = f"a header of {len(text):,} bytes; readers take {MAX_HEADER:,}"
        raise PlanError(message, code="WK663")
    return len(text).to_bytes(8, "little") + text
