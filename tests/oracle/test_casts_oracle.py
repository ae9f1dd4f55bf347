"""Casts against torch, and against a rounding of our own that looks up the nearest value.

Sources of 8 and 16 bits go through whole. From f32 and f64 go random codes and the neighbourhood
of every value that the target has and of every middle between two of them.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from weightkit.dtypes import DTYPES
from weightkit.values.casts import caster
from weightkit.values.narrowing import FLOATS, INTEGERS, LOSSLESS, Counts, fit

Array = np.ndarray[Any, Any]
PAIRS = list(permutations(FLOATS, 2))
SMALL = [name for name in FLOATS if DTYPES[name].nbytes <= 2]


def dtype(name: str) -> np.dtype[Any]:
    return np.dtype(DTYPES[name].numpy)


def codes_type(name: str) -> str:
    return f"u{DTYPES[name].nbytes}"


def decoded(codes: Array, name: str) -> Array:
    with np.errstate(invalid="ignore"):
        return codes.view(dtype(name)).astype(np.float64)


@cache
def grid(target: str) -> tuple[Array, Array]:
    """The values of a small type from 0 up with the one that would follow; the middles between."""
    kept = np.arange(1 << 8 * DTYPES[target].nbytes - FLOATS[target].signed)
    values = decoded(kept.astype(codes_type(target)), target)
    values = values[np.isfinite(values)]
    values = np.append(values, 2 * values[-1] - values[-2])
    if target == "f8_e8m0":
        values[-1] = 2.0**128
    return values, (values[:-1] + values[1:]) / 2


@cache
def given(source: str, target: str) -> Array:
    """Codes of the source: all of them, or those where something happens in the target."""
    size = DTYPES[source].nbytes
    if size <= 2:
        return np.arange(1 << 8 * size, dtype=f"u{size}")
    generator = np.random.default_rng(7)
    chance = generator.integers(0, 1 << 8 * size, 100_000, dtype=f"u{size}")
    real = dtype(source)
    if target in SMALL:
        values, middles = grid(target)
    else:
        values = generator.integers(0, 0x7F800000, 50_000, dtype="u4").view("f4").astype("f8")
        middles = (values + np.nextafter(values.astype("f4"), np.float32("inf"))) / 2
    with np.errstate(all="ignore"):
        close = np.concatenate([values, middles]).astype(real)
        close = np.concatenate([close, *(np.nextafter(close, real.type(e)) for e in (0, np.inf))])
    ends = np.array([0, np.inf, np.nan, 1, np.finfo(real).max, np.finfo(real).tiny], real)
    least = np.arange(300, dtype=f"u{size}")
    sign = np.concatenate([close.view(f"u{size}"), ends.view(f"u{size}"), least, chance])
    return np.concatenate([sign, sign ^ (1 << 8 * size - 1)]).astype(f"u{size}")


def cast(codes: Array, source: str, target: str) -> tuple[Array, Counts]:
    out, counts = caster(DTYPES[source], DTYPES[target])(codes.tobytes())
    return np.frombuffer(out, codes_type(target)), counts


def as_torch(codes: Array, name: str) -> torch.Tensor:
    return torch.from_numpy(codes.copy()).view(getattr(torch, DTYPES[name].torch))


def differing(found: Array, wanted: Array, target: str) -> Array:
    """Where the codes differ and are not both NaN."""
    both = np.isnan(decoded(found, target)) & np.isnan(decoded(wanted, target))
    return (found != wanted) & ~both


@pytest.mark.parametrize(("source", "target"), [p for p in PAIRS if "f8_e8m0" not in p[1]])
def test_casts_are_bit_equal_to_torch(source: str, target: str) -> None:
    codes = given(source, target)
    if source == "f64":  # torch goes through f32 and so rounds twice: only what f32 can hold
        held = decoded(codes, "f64")
        with np.errstate(all="ignore"):
            once = (held.astype(np.float32).astype(np.float64) == held) | (target == "f32")
        codes = codes[once | np.isnan(held)]
    found, _ = cast(codes, source, target)
    wanted = as_torch(codes, source).to(getattr(torch, DTYPES[target].torch))
    wanted_codes = wanted.view(getattr(torch, f"uint{8 * DTYPES[target].nbytes}")).numpy()
    wrong = differing(found, wanted_codes, target)
    assert not wrong.any(), (hex(codes[wrong][0]), found[wrong][0], wanted_codes[wrong][0])


def nearest(values: Array, target: str) -> tuple[Array, dict[str, Array]]:
    """Codes, and which values overflow, saturate, ..., by looking among all that there are."""
    kept, middles = grid(target)
    size = np.abs(values)
    codes = np.searchsorted(middles, size, side="left")
    on = (codes < len(middles)) & (size == middles[np.minimum(codes, len(middles) - 1)])
    codes += on & (codes % 2 == 1)
    is_nan, beyond = np.isnan(values), codes >= len(kept) - 1
    signed = FLOATS[target]
    minus = np.signbit(values)
    none = np.zeros(len(values), bool)
    seen = {"overflow": none, "saturated": none, "nan": none}
    top, sign = len(kept) - 1, 1 << 8 * DTYPES[target].nbytes - 1
    if signed.overflow == "inf":
        codes[beyond] = top
        seen["overflow"] = beyond & np.isfinite(values)
    elif signed.overflow == "saturate":
        codes[beyond] = top - 1
        seen["saturated"] = beyond & ~is_nan
    else:
        codes[beyond] = sign
        seen["nan"] = beyond & ~is_nan
    seen["underflow"] = (codes == 0) & (size > 0)
    if signed.overflow == "nan":
        minus = minus & (codes > 0) & ~beyond
    codes[is_nan] = sign - 1 if signed.overflow != "nan" else sign
    return np.where(minus, codes | sign, codes).astype(codes_type(target)), seen


def same_counts(counts: Counts, seen: dict[str, Array]) -> bool:
    return counts._asdict() == {
        "values": len(next(iter(seen.values()))),
        **dict.fromkeys(("overflow", "saturated", "underflow", "nan"), 0),
        **{outcome: int(where.sum()) for outcome, where in seen.items()},
    }


@pytest.mark.parametrize(
    ("source", "target"), [p for p in PAIRS if p[1] in SMALL and p[1] != "f8_e8m0"]
)
def test_values_become_the_nearest_and_what_is_lost_is_counted(source: str, target: str) -> None:
    codes = given(source, target)
    found, counts = cast(codes, source, target)
    wanted, seen = nearest(decoded(codes, source), target)
    wrong = differing(found, wanted, target)
    assert not wrong.any(), (hex(codes[wrong][0]), found[wrong][0], wanted[wrong][0])
    assert same_counts(counts, seen)


@pytest.mark.parametrize("source", [name for name in FLOATS if name not in ("f32", "f64")])
@pytest.mark.parametrize("target", ["f32", "f64"])
def test_nothing_is_lost_in_wider_types(source: str, target: str) -> None:
    codes = given(source, target)
    found, counts = cast(codes, source, target)
    kept, values = decoded(found, target), decoded(codes, source)
    assert np.array_equal(kept, values, equal_nan=True)
    assert np.array_equal(np.signbit(kept)[~np.isnan(kept)], np.signbit(values)[~np.isnan(kept)])
    assert counts == Counts(len(codes))


def test_f64_to_f32_is_counted() -> None:
    codes = given("f64", "f32")
    found, counts = cast(codes, "f64", "f32")
    held = decoded(codes, "f64")
    kept = found.view(np.float32)
    over, under = np.isinf(kept) & np.isfinite(held), (kept == 0) & (held != 0)
    assert same_counts(counts, {"overflow": over, "underflow": under})


@pytest.mark.parametrize("source", [name for name in FLOATS if name != "f8_e8m0"])
def test_scales_are_the_nearest_power_of_two(source: str) -> None:
    codes = given(source, "f8_e8m0")
    found, counts = cast(codes, source, "f8_e8m0")
    values = decoded(codes, source)
    _, middles = grid("f8_e8m0")
    wanted = np.searchsorted(middles, np.abs(values), side="right")
    lost = (values <= 0) | (wanted > 254) | np.isnan(values)
    wanted[lost] = 255
    assert np.array_equal(found, wanted)
    below = (values > 0) & (values < 2.0**-127)
    assert same_counts(counts, {"nan": lost & ~np.isnan(values), "saturated": below})


def test_ml_dtypes_makes_the_same_scales_but_next_to_the_least_one() -> None:
    codes = given("f32", "f8_e8m0")
    values = codes.view(np.float32)
    found, _ = cast(codes, "f32", "f8_e8m0")
    with np.errstate(invalid="ignore"):
        wanted = values.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8)
    apart = found != wanted
    assert apart.any()
    assert ((values[apart] > 2.0**-127) & (values[apart] < 1.5 * 2.0**-127)).all()


def test_f64_is_rounded_once_where_torch_rounds_twice() -> None:
    value = np.array([1 + 2.0**-11 + 2.0**-40])  # in f32 the middle between two f16
    found, _ = cast(value.view("u8"), "f64", "f16")
    assert found.view(np.float16)[0] == 1 + 2.0**-10
    assert torch.from_numpy(value).to(torch.float16)[0] == 1


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_is_called_lossless_comes_back_and_nothing_else(source: str, target: str) -> None:
    codes = given(source, target)
    there, counts = cast(codes, source, target)
    said = fit(DTYPES[source], DTYPES[target])
    if not said.range:
        assert not counts.changed
    back, _ = cast(there, target, source)
    assert differing(back, codes, source).any() == (said.verdict != LOSSLESS)


# Integers, booleans, complex numbers

WHOLE = sorted(INTEGERS)
EXACT = {"f64": 53, "f32": 24, "f16": 11, "bf16": 8}


def whole(source: str) -> Array:
    """Powers of two and their neighbours, middles of every float, and chance."""
    if source == "bool":
        return np.array([0, 1, 1, 0], np.uint8)
    kind = np.iinfo(DTYPES[source].numpy)
    found = {0, 1, kind.min, kind.max}
    for top in range(1, int(kind.max).bit_length() + 1):
        for digits in (0, *EXACT.values(), 4, 3):
            for tail in (-1, 0, 1):
                middle = (1 << top) + (1 << top >> digits) + tail
                found |= {middle, -middle, middle + (1 << top >> digits - 1 if digits else 0)}
    chance = np.random.default_rng(5).integers(kind.min, kind.max, 5000, kind.dtype)
    inside = [number for number in sorted(found) if kind.min <= number <= kind.max]
    return np.append(np.array(inside, kind.dtype), chance)


def rounded_exactly(number: int, target: str) -> float:
    """An integer to nearest even by integer arithmetic; what is beyond stays as large as it is."""
    digits = FLOATS[target].digits
    cut = max(0, abs(number).bit_length() - digits)
    kept, rest = abs(number) >> cut, abs(number) & (1 << cut) - 1
    half = 1 << cut >> 1
    kept += bool(cut) and (rest > half or (rest == half and kept & 1))
    return (kept << cut) * (-1.0 if number < 0 else 1.0)


@pytest.mark.parametrize("source", WHOLE)
@pytest.mark.parametrize("target", [name for name in FLOATS if name != "f8_e8m0"])
def test_integers_are_rounded_once(source: str, target: str) -> None:
    numbers = whole(source)
    out, counts = caster(DTYPES[source], DTYPES[target])(numbers.tobytes())
    found = decoded(np.frombuffer(out, codes_type(target)), target)
    wanted = np.array([rounded_exactly(int(number), target) for number in numbers])
    beyond = np.abs(wanted) > FLOATS[target].largest
    ends = {"inf": np.inf, "saturate": FLOATS[target].largest, "nan": np.nan}
    outcome = {"inf": "overflow", "saturate": "saturated", "nan": "nan"}[FLOATS[target].overflow]
    wanted[beyond] = np.copysign(ends[FLOATS[target].overflow], wanted[beyond])
    assert np.array_equal(found, wanted, equal_nan=True)
    assert same_counts(counts, {outcome: beyond})


@pytest.mark.parametrize(
    ("source", "target"), [p for p in permutations(WHOLE, 2) if p[1] != "bool"]
)
def test_integers_are_kept_or_set_to_the_nearest_end(source: str, target: str) -> None:
    numbers = whole(source)
    out, counts = caster(DTYPES[source], DTYPES[target])(numbers.tobytes())
    ends = np.iinfo(DTYPES[target].numpy)
    wanted = [min(max(int(number), ends.min), ends.max) for number in numbers]
    assert np.frombuffer(out, DTYPES[target].numpy).tolist() == wanted
    changed = np.array([int(number) for number in numbers], object) != np.array(wanted, object)
    assert same_counts(counts, {"saturated": changed})


@pytest.mark.parametrize(("source", "target"), list(permutations(["c32", "c64", "c128"], 2)))
def test_complex_numbers_are_cast_by_halves(source: str, target: str) -> None:
    halves = {"c32": "f16", "c64": "f32", "c128": "f64"}
    codes = given(halves[source], halves[target])
    out, counts = caster(DTYPES[source], DTYPES[target])(codes.tobytes())
    wanted, same = caster(DTYPES[halves[source]], DTYPES[halves[target]])(codes.tobytes())
    assert (bytes(out), counts) == (bytes(wanted), same)
