"""Statistics against plain NumPy, for every type, on any bits, cut up in any way."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from weightkit.statistics import Histogram, Numbers
from weightkit.values import tallies
from weightkit.values.sums import together
from weightkit.values.tallies import Tally

Array = np.ndarray[Any, Any]

FLOATS = ["float16", "bfloat16", "float32", "float64"]
SMALL = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
TINY = {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}
INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]
COMPLEX = ["complex64", "complex128"]
ALL = [*FLOATS, *SMALL, *TINY, *INTS, *COMPLEX]


def of_bits(raw: bytes, name: str) -> Array:
    """Numbers of these very bits, as far as the type has them."""
    dtype = np.dtype(name)
    held = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], np.uint8)
    if name in TINY:
        held = held & ((1 << TINY[name]) - 1)
    return (held & 1 if name == "bool" else held).astype(np.uint8).view(dtype)


def tally(array: Array, row: int = 0, cuts: tuple[int, ...] = ()) -> Tally:
    """The tally of an array that is cut into parts, each counted by itself; the last come first."""
    edges = [0, *sorted(cut % (len(array) + 1) for cut in cuts), len(array)]
    parts = []
    per = 2 if array.dtype.kind == "c" else 1
    for start, end in pairwise(edges):
        part = Tally(row * per, start * per)
        for tile in np.array_split(array[start:end], 3):
            if len(tile):
                part.add(tile)
        parts.append(part)
    whole = Tally(row * per)
    for part in reversed(parts):
        whole.merge(part)
    return whole


def check(array: Array, numbers: Numbers) -> None:
    """Hold ``numbers`` against what NumPy says of the whole array."""
    if array.dtype.kind == "c":
        array = array.view(array.real.dtype)
    with np.errstate(invalid="ignore"):
        wide = array.astype(np.longdouble if array.dtype.kind in "iu" else np.float64)
    real = wide[np.isfinite(wide)]
    size = np.abs(real)
    assert numbers.elements == array.size
    assert numbers.nan == np.count_nonzero(np.isnan(wide))
    assert numbers.inf == np.count_nonzero(np.isinf(wide))
    assert numbers.finite == real.size
    assert numbers.zeros == np.count_nonzero(real == 0)
    assert numbers.subnormal == np.count_nonzero((size > 0) & (size < smallest_normal(array)))
    assert numbers.beyond_fp16 == np.count_nonzero(size >= 65520)
    assert sum(numbers.histogram.counts) == real.size
    assert sum(numbers.magnitudes.counts) == real.size - numbers.zeros
    if not real.size:
        assert (numbers.min, numbers.max, numbers.mean, numbers.std) == (None,) * 4
        return
    assert numbers.min == real.min()
    assert numbers.max == real.max()
    assert numbers.absmax == size.max()
    check_moments(real.astype(np.float64), numbers)
    check_bins(real, numbers)


def check_moments(real: Array, numbers: Numbers) -> None:
    """Against exactly rounded sums; unknown only where float64 has no room for the squares."""
    scale = 2.0 ** min(max(math.frexp(np.abs(real).max())[1], -1000), 1000)
    real = real / scale
    mean = math.fsum(real) / len(real)
    std = math.sqrt(math.fsum(np.square(real - mean)) / len(real))
    close = 1e-12 * max(1.0, float(np.abs(real).max()))
    if numbers.mean is None:
        assert scale > 1e300
    else:
        assert abs(numbers.mean / scale - mean) <= close
    if numbers.std is None:
        assert scale > 1e150 or std * scale < 1e-140
    else:
        assert abs(numbers.std / scale - std) <= close


def smallest_normal(array: Array) -> float:
    if array.dtype.kind in "iub":
        return 0.0
    return float(ml_dtypes.finfo(array.dtype).smallest_normal)


def check_bins(real: Array, numbers: Numbers) -> None:
    histogram = numbers.histogram
    expected: dict[int, int] = {}
    for value in real:
        at = 0
        if histogram.width:
            at = int(np.floor(abs(value) / np.longdouble(histogram.width)))
            at = -1 - at if value < 0 else at
        expected[at] = expected.get(at, 0) + 1
    found = {at: count for at, count in enumerate(histogram.counts, histogram.first) if count}
    assert found == expected
    assert len(histogram.counts) <= 32
    assert histogram.counts[0] > 0 < histogram.counts[-1]
    sizes: dict[int, int] = {}
    for value in real[real != 0]:
        exponent = int(np.frexp(abs(value))[1]) - 1
        exponent = max(-127, min(exponent, 128))
        sizes[exponent] = sizes.get(exponent, 0) + 1
    magnitudes = numbers.magnitudes
    assert {e: n for e, n in enumerate(magnitudes.counts, magnitudes.first) if n} == sizes


@pytest.mark.parametrize("name", ALL)
@given(raw=st.binary(max_size=400), cuts=st.tuples(st.integers(0), st.integers(0)))
@settings(max_examples=60, deadline=None)
def test_any_bits(name: str, raw: bytes, cuts: tuple[int, int]) -> None:
    array = of_bits(raw, name)
    check(array, tally(array, cuts=cuts).numbers())


@pytest.mark.parametrize("few", [0, 1000, 4096])
@pytest.mark.parametrize("name", ALL)
def test_many_random_bits(name: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "FEW", few)
    array = of_bits(np.random.default_rng(5).bytes(20_001), name)
    check(array, tally(array, cuts=(7, 1000, 1001)).numbers())


@pytest.mark.parametrize("name", [*FLOATS, "float8_e4m3fn", "int64", "complex64"])
@pytest.mark.parametrize(("middle", "scale"), [(0, 1), (1000, 0.001), (-3, 40), (0, 1e-7)])
def test_normal_numbers(name: str, middle: float, scale: float) -> None:
    random = np.random.default_rng(9)
    with np.errstate(all="ignore"):
        array = (random.standard_normal(30_000) * scale + middle).astype(np.dtype(name))
    check(array, tally(array, cuts=(11_111,)).numbers())


@pytest.mark.parametrize("name", ["float32", "float64"])
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_numbers(name: str, data: st.DataObject) -> None:
    """Hypothesis likes the edges: zeros of both signs, subnormals, powers of two."""
    array = data.draw(arrays_of.arrays(np.dtype(name), st.integers(0, 40)))
    check(array, tally(array, cuts=(3,)).numbers())


@pytest.mark.parametrize("name", ["int64", "uint64"])
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_integers(name: str, data: st.DataObject) -> None:
    array = data.draw(arrays_of.arrays(np.dtype(name), st.integers(0, 40)))
    check(array, tally(array).numbers())


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_edges_of_bins(name: str) -> None:
    """Powers of two, their neighbours, and the smallest numbers, on both sides of zero."""
    dtype = np.dtype(name)
    powers = np.float64(2) ** np.arange(-140 if name == "float32" else -1060, 3)
    edges = np.concatenate([powers, powers * 3, powers * 5]).astype(dtype)
    near = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 9)]).astype(dtype)
    array = np.concatenate([near, -near, [0.0, -0.0]]).astype(dtype)
    for absmax in (8, 1, 2.0**-20, 2.0**-126, 2.0**-140, 2.0**-1000, 2.0**-1030):
        part = array[np.abs(array) <= absmax]
        check(part, tally(part).numbers())


def test_beyond_float16_is_what_a_cast_makes_infinite() -> None:
    middle = np.float32(65520)
    values = [65504, np.nextafter(middle, np.float32(0)), middle, 65536, 1e30, np.inf, np.nan]
    array = np.array([*values, *(-value for value in values)], np.float32)
    with np.errstate(over="ignore"):
        cast = np.isinf(array.astype(np.float16)) & np.isfinite(array)
        assert (torch.from_numpy(array).half().isinf().numpy() & np.isfinite(array)).sum() == 6
    assert tally(array).numbers().beyond_fp16 == np.count_nonzero(cast) == 6


def test_nothing_but_nan() -> None:
    for name in (*FLOATS, "float8_e5m2"):
        array = np.array([np.nan, np.inf, -np.inf], np.dtype(name))
        numbers = tally(array).numbers()
        assert (numbers.nan, numbers.inf, numbers.finite) == (1, 2, 0)
        assert (numbers.min, numbers.mean, numbers.absmax) == (None, None, None)


def test_sums_that_float64_cannot_hold_are_unknown() -> None:
    array = np.array([1.7e308, 1.7e308, -1.7e308])
    numbers = tally(array).numbers()
    assert (numbers.std, numbers.max) == (None, 1.7e308)
    assert together([numbers, numbers]).mean is None


@pytest.mark.parametrize("name", [*FLOATS, "float8_e4m3fn", "int64"])
def test_equal_numbers_have_no_spread(name: str) -> None:
    array = np.full(10_007, 0.1 if name != "int64" else 3).astype(np.dtype(name))
    numbers = tally(array, cuts=(77,)).numbers()
    assert (numbers.std, numbers.mean) == (0.0, float(array[0]))


def test_no_numbers_at_all() -> None:
    assert tally(np.zeros(0, np.float32)).numbers() == Numbers()
    assert together([]) == Numbers()


def test_the_order_of_the_parts_makes_no_difference() -> None:
    array = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    parts = []
    for start in range(0, 10_000, 1000):
        parts.append(Tally(0, start))
        parts[-1].add(array[start : start + 1000])
    found = set()
    for order in (parts, parts[::-1], parts[5:] + parts[:5]):
        whole = Tally()
        for part in order:
            whole.merge(part)
        found.add(whole.numbers())
    assert len(found) == 1


def test_a_small_spread_far_from_zero() -> None:
    """Where a sum of squares would have lost every digit."""
    array = 1e6 + np.tile([-1.0, 1.0], 50_000)
    assert tally(array, cuts=(33_333,)).numbers().std == pytest.approx(1, rel=1e-12)


# Rows


@pytest.mark.parametrize("name", [*FLOATS, "float8_e4m3fn", "float8_e4m3fnuz", "int8", "int64"])
@given(st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_dead_rows(name: str, rows: int, row: int, data: st.DataObject) -> None:
    array = np.ones((rows, row)).astype(np.dtype(name))
    for at in data.draw(st.sets(st.integers(0, rows - 1))):
        array[at] = 0
    if name in FLOATS:
        array[0] *= np.array(-1).astype(array.dtype)  # zero, all the same
    for at in data.draw(st.sets(st.integers(0, rows * row - 1), max_size=3)):
        array.reshape(-1)[at] = 0
    cuts = data.draw(st.tuples(st.integers(0), st.integers(0), st.integers(0)))
    expected = np.count_nonzero((array.astype(np.float64) == 0).all(axis=1))
    assert tally(array.reshape(-1), row, cuts).dead_rows == expected


def test_nan_is_no_zero() -> None:
    """In the fnuz types NaN has the bits of a negative zero."""
    array = np.full(4, 0x80, np.uint8).view(np.dtype("float8_e4m3fnuz"))
    found = tally(array, 2)
    assert (found.numbers().nan, found.numbers().zeros, found.dead_rows) == (4, 0, 0)


# Together


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_together_is_as_one(raws: list[bytes]) -> None:
    parts = [of_bits(raw, name) for raw, name in zip(raws, FLOATS[:3] * 2, strict=False)]
    with np.errstate(invalid="ignore"):
        whole = np.concatenate([part.astype(np.float64) for part in parts])
    found = together(tally(part).numbers() for part in parts)
    alone = tally(whole).numbers()
    for name in ("elements", "min", "max", "absmax", "zeros", "nan", "inf", "beyond_fp16"):
        assert getattr(found, name) == getattr(alone, name)
    if alone.finite and alone.absmax:
        assert found.histogram == alone.histogram or alone.absmax < 1e-30
        assert found.mean == pytest.approx(alone.mean, abs=1e-12 * alone.absmax)
        assert found.std == pytest.approx(alone.std, abs=1e-12 * alone.absmax)


def test_all_zero_joins_any_histogram() -> None:
    zeros = tally(np.zeros(5, np.float32)).numbers()
    assert zeros.histogram == Histogram(0.0, 0, (5,))
    both = together([zeros, tally(np.array([1.0, -1.5])).numbers()])
    assert both.histogram == Histogram(0.125, -13, (1, *[0] * 12, 5, *[0] * 7, 1))


# torch


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]
)
def test_torch_says_the_same(dtype: torch.dtype) -> None:
    tensor = (torch.randn(20_000, dtype=torch.float64) * 3).to(dtype)
    name = str(dtype).removeprefix("torch.")
    array = tensor.view(torch.uint8).numpy().view(np.dtype(name))
    numbers, wide = tally(array).numbers(), tensor.double()
    assert numbers.min == wide.min().item()
    assert numbers.max == wide.max().item()
    assert numbers.mean == pytest.approx(wide.mean().item(), abs=1e-12)
    assert numbers.std == pytest.approx(wide.std(correction=0).item(), rel=1e-12)
    assert numbers.zeros == (wide == 0).sum().item()
