"""torch's quantized tensors multiplied out, as ``Tensor.dequantize()`` does it.

Sources: ``aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp`` of torch 2.13, and
fbgemm's ``Dequantize`` for whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from weightkit.errors import FormatError, UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values.arrays import Array
from weightkit.values.tiles import tiles

MAX_CHANNELS = 1 << 22
"""Scales and zero points are held."""


def dequantized(info: TensorInfo, sources: Sequence[Reader]) -> Iterator[bytes]:
    """The values of a quantized tensor as f32, in row-major order."""
    scheme, *params = info.details
    channels = _whole if scheme == "per_tensor_affine" else _channels
    of = channels(info, dict(params), sources)
    (codes,) = (part for part in info.parts if part.name == "data")
    at = 0
    for tile in tiles(codes, sources[codes.data.file]):
        with np.errstate(all="ignore"):
            found = _FORMULAS[scheme](tile, *of(at, at + tile.size)).astype("<f4")
        yield found.tobytes()
        at += tile.size


Channels = Callable[[int, int], tuple[Any, Any]]
"""Gives scales and zero points of elements ``[start, stop)``."""


def _whole(info: TensorInfo, params: dict[str, Any], _: Sequence[Reader]) -> Channels:
    scale, zero = params.get("scale"), params.get("zero_point")
    if not isinstance(scale, int | float) or not isinstance(zero, int) or zero.bit_length() > 62:
        raise _broken(info, "no numbers for scale and zero point")
    return lambda start, stop: (scale, zero)


def _channels(info: TensorInfo, params: dict[str, Any], sources: Sequence[Reader]) -> Channels:
    axis = params.get("axis")
    if not isinstance(axis, int) or not 0 <= axis < len(info.shape):
        raise _broken(info, f"channels along axis {axis} of {len(info.shape)}")
    count, inner = info.shape[axis], prod(info.shape[axis + 1 :])
    parts = [part for part in info.parts if part.name in ("scale", "zero_point")]
    if [part.shape for part in parts] != [(count,)] * 2:
        raise _broken(info, f"{count} channels, but other numbers of scales or zero points")
    if count > MAX_CHANNELS:
        raise UnsupportedError(f"{count} channels", code="WK603", tensor=info.name)
    scales, zeros = (_joined(part, sources) for part in parts)

    def of(start: int, stop: int) -> tuple[Any, Any]:
        channel = np.arange(start, stop) // inner % count
        return scales[channel], zeros[channel]

    return of


def _joined(part: TensorInfo, sources: Sequence[Reader]) -> Array:
    found = list(tiles(part, sources[part.data.file]))
    return np.concatenate(found) if found else np.empty(0)


# A scale of the whole is a float of 32 bits there, one of a channel a double.


def _per_tensor(codes: Array, scale: float, zero: int) -> Array:
    return np.float32(scale) * (codes.astype(np.int64) - zero).astype(np.float32)


def _per_channel(codes: Array, scale: Array, zero: Array) -> Array:
    if zero.dtype.kind == "f":  # float_qparams; files call them per_channel_affine too
        return (codes.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return (codes.astype(np.int64) - zero.astype(np.int64)) * scale.astype(np.float64)


_FORMULAS: dict[str, Callable[[Array, Any, Any], Array]] = {
    "per_tensor_affine": _per_tensor,
    "per_channel_affine": _per_channel,
    "per_channel_affine_float_qparams": _per_channel,
}


def _broken(info: TensorInfo, reason: str) -> FormatError:
    return FormatError(f"a quantized tensor with {reason}", code="WK323", tensor=info.name)
