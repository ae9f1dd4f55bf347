"""Where the bytes of a safetensors file go, header included.

The order is the official library's, so that a plain state dict gives the same bytes as
``safetensors.torch.save_file``: widest type first (in the order of its ``Dtype`` enum), then by
name. With two or more metadata keys that library's order is random; ours is sorted.

Source: ``prepare`` in ``tensor.rs`` of safetensors 0.8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring

from weightkit.dtypes import SAFETENSORS, DType
from weightkit.errors import PlanError
from weightkit.layouts import Layout, Slot, unheld
from weightkit.tensors import TensorInfo
from weightkit.text import is_text

_ORDER = (
    "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 F8_E5M2 "
    "I8 U8 F6_E3M2 F6_E2M3 F4 BOOL"
).split()
_RANKS = {SAFETENSORS[name].name: chr(rank) for rank, name in enumerate(_ORDER)}
RESERVED = "__metadata__"
MAX_HEADER = 100_000_000
"""Bytes: what the official reader takes."""


def layout(tensors: Sequence[TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """The file that holds ``tensors``. Raises PlanError for what the format cannot say."""
    for tensor in tensors:
        _check(tensor)
    keys = [*map(_key, tensors)]
    order = sorted(range(len(tensors)), key=keys.__getitem__)
    made = [_header(_entries([tensors[at] for at in order], metadata))]
    end = len(made[0])
    slots = [Slot(0, 0)] * len(tensors)
    for at in order:
        nbytes = tensors[at].data.nbytes
        slots[at] = Slot(end, nbytes)
        end += nbytes

    def literals(_: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        # Megabytes for tens of thousands of tensors: not kept any longer, but made again if asked again.
        yield 0, made.pop() if made else _header(_entries(sorted(tensors, key=_key), metadata))

    return Layout(end, tuple(slots), literals)


def holds(dtype: DType) -> bool:
    """Whether the format has a name for this type."""
    return bool(dtype.safetensors)


def _check(tensor: TensorInfo) -> None:
    name, dtype = tensor.name, tensor.dtype
    if not dtype.safetensors:
        message = unheld("safetensors", dtype.name, dtype.castable)
        raise PlanError(message, code="WK660", tensor=name)
    if name == RESERVED:
        message = f"safetensors keeps the name {RESERVED} for itself; --rename it"
        raise PlanError(message, code="WK662", tensor=name)
    if not is_text(name):
        message = "the name is no Unicode text, as safetensors has it; --rename it"
        raise PlanError(message, code="WK662", tensor=name)
    if dtype.items > 1 and tensor.numel % dtype.items:
        message = f"{tensor.numel} elements of {dtype.name} fill no whole bytes"
        raise PlanError(message, code="WK660", tensor=name)


def _key(tensor: TensorInfo) -> str:
    """Text sorts by code points, which is how its UTF-8 sorts too."""
    return _RANKS[tensor.dtype.name] + tensor.name


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _entries(in_order: Sequence[TensorInfo], metadata: Mapping[str, str]) -> Iterator[str]:
    """The members of the header's object."""
    if metadata:
        yield f'"{RESERVED}":{_json(dict(sorted(metadata.items())))}'
    kinds: dict[tuple[str, tuple[int, ...]], str] = {}  # of which a model has dozens
    end = 0
    for tensor in in_order:
        dtype, shape = tensor.dtype, tensor.shape
        kind = kinds.get((dtype.name, shape))
        if kind is None:
            sizes = ",".join(map(str, shape))
            kind = f'"dtype":"{dtype.safetensors}","shape":[{sizes}]'
            kinds[dtype.name, shape] = kind
        start, end = end, end + tensor.data.nbytes
        name = encode_basestring(tensor.name)
        yield f'{name}:{{{kind},"data_offsets":[{start},{end}]}}'


def _header(entries: Iterable[str]) -> bytes:
    """The length and the JSON, padded with spaces so that the data is aligned to 8 bytes."""
    text = bytearray(8)  # of the length
    try:
        for entry in entries:
            text += b"," if len(text) > 8 else b"{"
            text += entry.encode()
    except UnicodeEncodeError as error:
        message = f"a value of the metadata is no Unicode text: {error.reason}"
        raise PlanError(message, code="WK662") from error
    text += b"}" if len(text) > 8 else b"{}"
    text += b" " * (-len(text) % 8)
    length = len(text) - 8
    if length > MAX_HEADER:
        message = f"a header of {length:,} bytes; readers take {MAX_HEADER:,}"
        raise PlanError(message, code="WK663")
    text[:8] = length.to_bytes(8, "little")
    return bytes(text)
