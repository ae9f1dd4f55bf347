"""Floats rounded to narrower floats, to nearest even, by whole arrays of their codes.

A code is the bits of a number as an unsigned integer. NumPy's and ml_dtypes' own casts to 8 and 16
bits go through one value at a time; a few integer operations on arrays that stay in the cache are
several times as fast, and what happens at the ends of the range is ours to say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import frexp
from typing import Any

import ml_dtypes  # noqa: F401 - teaches numpy.dtype() the names bfloat16, ...
import numpy as np

from weightkit.dtypes import DTYPES
from weightkit.values.narrowing import FLOATS, Range
from weightkit.values.rooms import room

Array = np.ndarray[Any, Any]
Rounder = Callable[[Array, Array, int, Array], None]
"""Takes codes, the same without their signs, which it may overwrite, and the highest of these; fills
its last argument with what they round to."""

MAGNITUDE, EXPONENT = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
LEAST_F16, BEYOND_F16 = np.uint16(127 - 14 << 7), 127 + 16 << 7
"""Codes of bf16: the least number that f16 has as a normal one, and what is beyond its largest."""
BIAS, STORED = 127, 23
"""Of f32: what is added to an exponent, and how many bits of the mantissa are stored."""


def codes_of(name: str) -> np.dtype[Any]:
    """The unsigned integers of the size of a type."""
    return np.dtype(f"<u{DTYPES[name].nbytes}")


def array_type(name: str) -> np.dtype[Any]:
    """The type that NumPy or ml_dtypes has for a float or integer."""
    return np.dtype(DTYPES[name].numpy)


def rounder(source: str, target: str) -> Rounder:
    """The rounding between two different float types.

    What has 16 bits or fewer is looked up in a table of all its codes; f64 goes, where the target
    is narrower than f32, through f32 rounded to odd, which rounds once and not twice.
    """
    if (source, target) == ("bf16", "f32"):
        return _widen_bf16
    if (source, target) == ("bf16", "f16"):
        return partial(_shift_bf16, _table(source, target))
    if DTYPES[source].nbytes <= 2:
        return partial(_look_up, _table(source, target))
    if source == "f32":
        return _from_f32(target)
    if target == "f32":
        return partial(_astype, np.float64, np.float32)
    return partial(_through_odd, _from_f32(target))


def _look_up(table: Array, codes: Array, _: Array, __: int, out: Array) -> None:
    np.take(table, codes, out=out, mode="clip")


def _shift_bf16(table: Array, codes: Array, held: Array, highest: int, out: Array) -> None:
    """bf16 to f16: what is a normal number in both has room for its mantissa, and is shifted.

    The exponent's offset falls from 127 to 15, which is 112 << 10 less after the shift (of that,
    16 bits are seen). The few below the least normal number of f16 are looked up, and all of a tile
    where they are many, or where one lies beyond the largest.
    """
    low = np.less(held, LEAST_F16, out=room("low", len(held), np.bool_))
    if highest >= BEYOND_F16 or np.count_nonzero(low) > len(low) >> 4:
        _look_up(table, codes, held, highest, out)
        return
    np.left_shift(held, np.uint16(3), out=out)
    out -= np.uint16(112 << 10 & 0xFFFF)
    out |= np.bitwise_xor(codes, held, out=held)  # the sign
    few = np.flatnonzero(low)
    out[few] = table[codes[few]]


def _table(source: str, target: str) -> Array:
    codes = np.arange(1 << 8 * DTYPES[source].nbytes, dtype=codes_of(source))
    wide = codes.view(array_type(source)).astype(np.float32).view(np.uint32)
    if target == "f32":
        return wide
    out = np.empty(len(codes), codes_of(target))
    _rounded(_from_f32(target), wide, out)
    return out


def _astype(source: Any, target: Any, codes: Array, _: Array, __: int, out: Array) -> None:
    with np.errstate(all="ignore"):
        np.copyto(out.view(target), codes.view(source), casting="unsafe")


def _widen_bf16(codes: Array, _: Array, __: int, out: Array) -> None:
    np.left_shift(codes, 16, out=out, dtype=np.uint32, casting="unsafe")


# From f32


def _from_f32(target: str) -> Rounder:
    if target in ("f64", "bf16"):
        return partial(_astype, np.float32, array_type(target))
    if target == "f8_e8m0":
        return _to_scale
    grid = FLOATS[target]
    return partial(_to_unsigned_zero if grid.overflow == "nan" else _to_grid, grid)


def _rounded(narrow: Rounder, codes: Array, out: Array) -> None:
    held = codes & MAGNITUDE
    narrow(codes, held, int(held.max()), out)


def _to_grid(grid: Range, codes: Array, held: Array, highest: int, out: Array) -> None:
    """f32 to a float with Inf, or with a largest value that stands for all beyond."""
    sign = out.dtype.type(1 << 8 * out.itemsize - 1)
    _round(grid, held, highest, out)
    if highest > EXPONENT:
        np.putmask(out, codes & MAGNITUDE > EXPONENT, sign - out.dtype.type(1))
    out |= np.bitwise_and(_top(codes, out), sign, out=held.view(out.dtype)[: len(out)])


def _to_unsigned_zero(grid: Range, codes: Array, held: Array, highest: int, out: Array) -> None:
    """f32 to a float whose NaN is the code of minus zero, one step above the largest value."""
    _round(grid, held, highest, out)
    number = np.subtract(out, 1, out=room("number", len(out), np.uint8)) < 0x7F
    out |= np.bitwise_and(_top(codes, out), number.view(np.uint8) << np.uint8(7))


def _top(codes: Array, out: Array) -> Array:
    """The highest bits of codes of f32, as many as the codes of ``out`` have."""
    shifted = room("step", len(codes), np.uint32)
    np.right_shift(codes, np.uint32(32 - 8 * out.itemsize), out=shifted)
    top = room("top", len(codes), out.dtype)
    np.copyto(top, shifted, casting="unsafe")
    return top


def _round(grid: Range, held: Array, highest: int, out: Array) -> None:
    """Magnitudes, as codes of f32, to those of a narrower grid; ``held`` is overwritten.

    To ``m * 2**e`` a power of two is added whose own last bit is the last one that the grid has at
    this exponent: the addition rounds, to nearest even, also what is below the least normal number,
    and leaves in the lowest bits how many of these steps there are. With the code where exponent e
    begins added too, they are the code of the result. Beyond the largest value it is that of Inf
    or NaN, or of the largest value itself.
    """
    shift = STORED - grid.mantissa
    least = grid.low + grid.mantissa + BIAS
    step, begins = (room(name, len(held), np.uint32) for name in ("step", "begins"))
    ceiling = _ceiling(grid)
    # NumPy's minimum and maximum with a scalar are three times as slow as its clip.
    if highest > ceiling:
        np.clip(held, np.uint32(0), ceiling, out=held)
    np.bitwise_and(held, EXPONENT, out=step)
    np.clip(step, np.uint32(least << STORED), EXPONENT, out=step)
    np.right_shift(step, np.uint32(shift), out=begins)
    step += begins
    step += np.uint32((shift << STORED) - (least << grid.mantissa))
    sums = held.view(np.float32)
    sums += step.view(np.float32)
    np.copyto(out, held, casting="unsafe")


def _ceiling(grid: Range) -> np.uint32:
    """What magnitudes are cut to: a saturating grid's largest value, else the power of two above."""
    largest = grid.largest if grid.overflow == "saturate" else 2.0 ** frexp(grid.largest)[1]
    return np.float32(largest).view(np.uint32)


def _to_scale(codes: Array, _: Array, __: int, out: Array) -> None:
    """f32 to f8_e8m0: the nearest power of two, ties up; NaN for what is not above zero."""
    half = np.uint32(1 << STORED - 1)
    held = np.minimum(codes, MAGNITUDE + np.uint32(1)) + half >> np.uint32(STORED)
    # Below the least normal number, 2**-126, lies only 2**-127, and ties go up at 1.5 times it.
    np.putmask(held, codes < half * np.uint32(2), codes >= half + (half >> np.uint32(1)))
    np.minimum(held, np.uint32(255), out=held)
    np.putmask(held, codes == 0, 255)
    np.copyto(out, held, casting="unsafe")


# From f64


def _through_odd(narrow: Rounder, codes: Array, held: Array, _: int, out: Array) -> None:
    np.bitwise_and(codes, np.uint64((1 << 63) - 1), out=held)
    odd = to_odd(held)
    highest = int(odd.max())
    signed = room("signed", len(codes), np.uint32)
    np.bitwise_and(codes.view("<u4")[1::2], ~MAGNITUDE, out=signed)
    signed |= odd
    narrow(signed, odd, highest, out)


def to_odd(held: Array) -> Array:
    """Magnitudes as codes of f64 to those of f32, rounded to odd: a rest leaves a 1 in the last place.

    Rounding the result to 22 bits or fewer is rounding the values themselves (Boldo and
    Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    """
    values = held.view(np.float64)
    near, back = room("near", len(held), np.float32), room("back", len(held), np.float64)
    with np.errstate(all="ignore"):
        np.copyto(near, values, casting="unsafe")
        np.copyto(back, near)
        codes = near.view(np.uint32)
        codes -= back > values
        codes |= back != values
    return codes
