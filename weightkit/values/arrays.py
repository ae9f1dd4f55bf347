"""One tensor's bytes as a NumPy array."""

from __future__ import annotations

from typing import Any

import ml_dtypes  # noqa: F401 - teaches numpy.dtype() the names bfloat16, float8_e4m3fn, ...
import numpy as np

from weightkit.errors import UnsupportedError
from weightkit.tensors import TensorInfo

Array = np.ndarray[Any, Any]


def to_array(info: TensorInfo, held: bytes | memoryview) -> Array:
    """The tensor ``info`` whose extent holds ``held``, as an array of its shape.

    The array is read-only where it can be a view. Types of less than a byte come one element per
    item, as ml_dtypes types; GGUF's quantized blocks come dequantized, as float32. Raises
    UnsupportedError for composite tensors and for types that have no array.
    """
    if info.parts and info.layout != "strided":
        message = f"a {info.layout} tensor has no single array; read its parts"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    if info.dtype.kind == "quant":
        return _dequantized(info, held)
    if info.dtype.items > 1:
        return _unpacked(info, held)
    flat = np.frombuffer(held, _numpy_dtype(info))
    if info.strides is None:
        return flat.reshape(info.shape)
    steps = tuple(stride * flat.itemsize for stride in info.strides)
    # The room has checked that shape and strides stay inside the extent.
    return np.lib.stride_tricks.as_strided(flat, info.shape, steps, writeable=False)


def _numpy_dtype(info: TensorInfo) -> np.dtype[Any]:
    dtype = info.dtype
    if not dtype.nbytes:  # a GGUF type that ggml does not define
        message = f"the size of {dtype.name} is unknown"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    if dtype.kind == "opaque":
        return np.dtype(f"V{dtype.nbytes}")
    name = dtype.numpy or _SUBSTITUTES.get(dtype.name, "")
    if not name:
        message = f"NumPy has no type for {dtype.name}"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    found = np.dtype(name)
    return found.newbyteorder(">") if info.byteorder == "big" else found


_SUBSTITUTES = {
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "f4_x2": "uint8",
    "bits8": "uint8",
    "bits16": "uint16",
    "bits1x8": "uint8",
    "bits2x4": "uint8",
    "bits4x2": "uint8",
    **{f"i{bits}": "int8" for bits in range(1, 8)},
    **{f"u{bits}": "uint8" for bits in range(1, 8)},
}
"""Types that NumPy lacks and whose raw elements another one can carry."""

_SMALL = {
    "f4": ("float4_e2m1fn", 4),
    "f6_e2m3": ("float6_e2m3fn", 6),
    "f6_e3m2": ("float6_e3m2fn", 6),
}


def _unpacked(info: TensorInfo, held: bytes | memoryview) -> Array:
    """Elements of 2, 4 or 6 bits, the first in the lowest bits."""
    name, bits = _SMALL.get(info.dtype.name, ("", 8 * info.dtype.nbytes // info.dtype.items))
    stream = np.unpackbits(np.frombuffer(held, np.uint8), bitorder="little")
    rows = stream[: info.numel * bits].reshape(-1, bits)
    codes = np.packbits(rows, axis=1, bitorder="little").reshape(info.shape)
    return codes.view(np.dtype(name)) if name else codes


def _dequantized(info: TensorInfo, held: bytes | memoryview) -> Array:
    from weightkit.values.blocks import dequantized

    if info.byteorder == "big":
        message = "quantized blocks of a big-endian file"
        raise UnsupportedError(message, code="WK603", tensor=info.name)
    try:
        return dequantized(info.dtype, held).reshape(info.shape)
    except UnsupportedError as error:
        error.tensor = info.name
        raise
