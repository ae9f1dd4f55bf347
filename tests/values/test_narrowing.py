"""What a cast keeps, said before it is made: the ranges against ml_dtypes, the words by example."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import ml_dtypes
import numpy as np
import pytest

from weightkit.dtypes import DTYPES
from weightkit.values import narrowing
from weightkit.values.narrowing import (
    COMPONENTS,
    FLOATS,
    INTEGERS,
    LOSSLESS,
    NARROWING,
    REFUSED,
    Counts,
    Fit,
    code_below,
    fit,
    value_of,
)


def verdict(source: str, target: str) -> Fit:
    return fit(DTYPES[source], DTYPES[target])


@pytest.mark.parametrize("name", FLOATS)
def test_the_ranges_of_floats_are_those_of_ml_dtypes(name: str) -> None:
    found, known = FLOATS[name], ml_dtypes.finfo(np.dtype(DTYPES[name].numpy))
    assert found.largest == float(known.max)
    assert found.mantissa == known.nmant
    least = known.smallest_normal if name == "f8_e8m0" else known.smallest_subnormal
    assert 2.0**found.low == float(least)


@pytest.mark.parametrize("name", sorted(INTEGERS.keys() - {"bool"}))
def test_the_ranges_of_integers_are_those_of_numpy(name: str) -> None:
    found, known = INTEGERS[name], np.iinfo(DTYPES[name].numpy)
    assert (found.digits, found.signed) == (int(known.max).bit_length(), known.min < 0)
    assert found.largest == float(known.max)


@pytest.mark.parametrize("name", FLOATS.keys() - {"f64"})
def test_codes_grow_with_the_values_they_stand_for(name: str) -> None:
    grid, dtype = FLOATS[name], DTYPES[name]
    count = min(1 << 8 * dtype.nbytes - grid.signed, 1 << 16)
    codes = np.arange(count, dtype=f"u{dtype.nbytes}")
    with np.errstate(invalid="ignore"):
        values = codes.view(np.dtype(dtype.numpy)).astype(np.float64)
    finite = [(int(code), float(value)) for code, value in zip(codes, values, strict=True)]
    for code, value in finite[:: max(1, count // 999)]:
        if np.isfinite(value):
            assert value_of(code, grid) == value
            assert code_below(value, grid) == code
            assert code_below(np.nextafter(value, np.inf), grid) == code
    assert code_below(np.inf, grid) == code_below(grid.largest, grid)


@pytest.mark.parametrize(
    ("source", "target", "mantissa", "in_range"),
    [
        ("bf16", "f16", False, True),
        ("f16", "bf16", True, False),
        ("f32", "bf16", True, True),
        ("f32", "f16", True, True),
        ("f64", "f32", True, True),
        ("f16", "f8_e5m2", True, True),
        ("f8_e4m3", "f8_e4m3fnuz", False, True),
        ("f8_e5m2", "f8_e4m3", False, True),
        ("i32", "f32", True, False),
        ("i32", "f16", True, True),
        ("u8", "i8", True, True),
        ("c128", "c64", True, True),
        ("q4_k", "f16", True, True),
    ],
)
def test_what_narrows(source: str, target: str, mantissa: bool, in_range: bool) -> None:
    found = verdict(source, target)
    assert found.verdict == NARROWING
    assert (found.mantissa, found.range) == (mantissa, in_range)
    assert found.words


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *[(name, name) for name in (*FLOATS, *INTEGERS, *COMPONENTS, "q4_0", "qint8", "f6_e2m3")],
        *[(name, "f64") for name in (*FLOATS, "i32", "u32", "u8", "bool", "q6_k")],
        *[(name, "f32") for name in ("f16", "bf16", "f8_e4m3", "f8_e8m0", "i16", "q4_0")],
        *[(name, "bf16") for name in ("f8_e4m3", "f8_e5m2fnuz", "f8_e8m0", "u8", "bool")],
        *[(name, "f16") for name in ("f8_e4m3", "f8_e5m2", "f8_e4m3fnuz", "i8", "bool")],
        ("c64", "c128"),
        ("u32", "i64"),
        ("bool", "u8"),
    ],
)
def test_what_is_lossless(source: str, target: str) -> None:
    assert verdict(source, target) == Fit(LOSSLESS)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("f32", "i8", "fractions"),
        ("f8_e8m0", "u8", "fractions"),
        ("q4_0", "i8", "fractions"),
        ("f32", "c64", "complex"),
        ("c64", "f32", "complex"),
        ("u8", "bool", "bool"),
        ("u8", "f8_e8m0", "scales"),
        ("f32", "q8_0", "quantizing"),
        ("f32", "f4", "nothing is cast"),
        ("qint8", "f32", "qint8 is only moved"),
        ("bits8", "u8", "bits8 is only moved"),
        ("i4", "i8", "i4 is only moved"),
    ],
)
def test_what_is_refused(source: str, target: str, words: str) -> None:
    found = verdict(source, target)
    assert found.verdict == REFUSED
    assert words in found.words


def test_every_pair_of_types_has_an_answer() -> None:
    for source, target in product(DTYPES.values(), repeat=2):
        found = fit(source, target)
        assert found.verdict in (LOSSLESS, NARROWING, REFUSED)
        assert bool(found.words) == (found.verdict != LOSSLESS)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (
            "bf16",
            "f16",
            "values beyond 65504 become Inf; values below 2^-14 are rounded, up to 2^-25 to 0",
        ),
        ("f16", "bf16", "11 significant bits become 8"),
        (
            "f8_e5m2",
            "f8_e4m3fnuz",
            "values beyond 240 become NaN; values below 2^-7 are rounded, up to 2^-11 to 0;"
            " Inf becomes NaN",
        ),
        ("i16", "u8", "15 significant bits become 8; values beyond 255 are set to it;"
            " negative values are set to 0"),
    ],
)  # fmt: skip
def test_the_words(source: str, target: str, words: str) -> None:
    assert verdict(source, target).words == words


def test_counts_add_up() -> None:
    found = Counts(5, overflow=1, nan=2) + Counts(3, overflow=2, underflow=1)
    assert found == Counts(8, 3, 0, 1, 2)
    assert found.changed == 6


def test_planning_needs_no_numpy() -> None:
    code = "import sys, weightkit.values.narrowing; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_castable_types_are_those_with_a_range() -> None:
    """Blocks of ggml are read as floats."""
    ranged = {*narrowing.FLOATS, *narrowing.INTEGERS, *narrowing.COMPONENTS}
    blocks = {row.name for row in DTYPES.values() if row.kind == "quant" and row.nbytes}
    assert {row.name for row in DTYPES.values() if row.castable} == ranged | blocks
