"""What a cast between two types keeps, without casting anything: NumPy is not needed to plan.

A format is its :class:`Range`: so many significant bits on a grid whose finest step is a power of
two. Whether a cast is lossless, and which values it turns into others, follows from the ranges of
both sides. Sources: IEEE 754; the OCP specifications of 8-bit floats and of microscaling formats;
ml_dtypes for the fnuz variants. docs/casts.md has the rules in words.
"""

from __future__ import annotations

from math import frexp, ldexp
from typing import NamedTuple

from weightkit.dtypes import DType

LOSSLESS, NARROWING, REFUSED = "lossless", "narrowing", "refused"


class Range(NamedTuple):
    """Which numbers a type can hold: ``n * 2**low`` and up, ``digits`` bits of n at a time."""

    digits: int
    """Significant bits, the implicit one included."""
    low: int
    """The finest step, and for floats the least magnitude above zero, is ``2**low``."""
    largest: float
    """The largest finite value; of integers rounded to a float."""
    overflow: str = ""
    """What is beyond becomes: inf, nan, or the largest value (saturate)."""
    signed: bool = True
    zero: bool = True
    nan: bool = True

    @property
    def mantissa(self) -> int:
        """Stored significant bits."""
        return self.digits - 1

    @property
    def inf(self) -> bool:
        return self.overflow == "inf"


FLOATS = {
    "f64": Range(53, -1074, ldexp(1 - 2**-53, 1024), "inf"),
    "f32": Range(24, -149, ldexp(1 - 2**-24, 128), "inf"),
    "f16": Range(11, -24, 65504.0, "inf"),
    "bf16": Range(8, -133, ldexp(1 - 2**-8, 128), "inf"),
    # torch sets what is beyond to the largest value here, and to NaN in the fnuz variants.
    "f8_e4m3": Range(4, -9, 448.0, "saturate"),
    "f8_e5m2": Range(3, -16, 57344.0, "inf"),
    "f8_e4m3fnuz": Range(4, -10, 240.0, "nan"),
    "f8_e5m2fnuz": Range(3, -17, 57344.0, "nan"),
    "f8_e8m0": Range(1, -127, ldexp(1, 127), "nan", signed=False, zero=False),
}
INTEGERS = {
    "bool": Range(1, 0, 1.0, "saturate", signed=False, nan=False),
    **{
        f"{sign}{bits}": Range(
            bits - signed, 0, 2.0 ** (bits - signed) - 1, "saturate", bool(signed), nan=False
        )
        for sign, signed in [("i", 1), ("u", 0)]
        for bits in (8, 16, 32, 64)
    },
}
COMPONENTS = {"c32": "f16", "c64": "f32", "c128": "f64"}
"""What each half of a complex number is."""
DEQUANTIZED = "f32"
"""What ggml's blocks are computed in."""


class Counts(NamedTuple):
    """What became of the values of a cast; of a complex number each half counts."""

    values: int = 0
    overflow: int = 0
    """Finite, became Inf."""
    saturated: int = 0
    """Beyond the ends of the target's range, set to that end."""
    underflow: int = 0
    """Not zero, became zero."""
    nan: int = 0
    """A number or Inf, became NaN."""

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]
        return Counts(*(own + more for own, more in zip(self, other, strict=True)))

    @property
    def changed(self) -> int:
        """Values that are not merely rounded."""
        return self.overflow + self.saturated + self.underflow + self.nan


class Fit(NamedTuple):
    """What a cast from one type to another keeps, whatever the values are."""

    verdict: str
    """lossless, narrowing or refused."""
    words: str = ""
    """What is lost, or why there is no such cast."""
    mantissa: bool = False
    """Values may be rounded to fewer significant bits."""
    range: bool = False
    """Values may overflow, saturate, underflow or become NaN."""


def fit(source: DType, target: DType) -> Fit:
    """Whether ``source`` can be cast to ``target``, and what that may lose.

    >>> from weightkit.dtypes import DTYPES
    >>> fit(DTYPES["bf16"], DTYPES["f32"]).verdict
    'lossless'
    """
    if source == target:
        return Fit(LOSSLESS)
    reason = _refusal(source, target)
    if reason:
        return Fit(REFUSED, reason)
    given, wanted = range_of(source), range_of(target)
    mantissa = wanted.digits < given.digits
    losses = _losses(given, wanted)
    words = [f"{given.digits} significant bits become {wanted.digits}"] if mantissa else []
    verdict = NARROWING if mantissa or losses else LOSSLESS
    return Fit(verdict, "; ".join(words + losses), mantissa, bool(losses))


def range_of(dtype: DType) -> Range:
    """The range of a type's values, of the halves of complex ones, of what blocks dequantize to."""
    name = DEQUANTIZED if dtype.kind == "quant" else COMPONENTS.get(dtype.name, dtype.name)
    return FLOATS.get(name) or INTEGERS[name]


def _refusal(source: DType, target: DType) -> str:
    """Why there is no such cast; empty if there is."""
    if not source.castable:
        return f"{source.name} is only moved, never cast"
    if target.kind == "quant":
        return f"{target.name} is made by quantizing, not by a cast"
    if not target.castable:
        return f"nothing is cast to {target.name}"
    if "complex" in (source.kind, target.kind) and source.kind != target.kind:
        return "complex numbers are only cast to complex numbers"
    if target.name == "bool":
        return "only booleans can be bool"
    if target.name in INTEGERS and source.name not in INTEGERS:
        return "numbers with fractions are not cast to integers"
    if target.kind == "scale" and source.name in INTEGERS:
        return "integers are not cast to scales"
    return ""


def _losses(given: Range, wanted: Range) -> list[str]:
    """What happens to values that the target's range does not hold."""
    found = []
    if given.largest > wanted.largest:
        what = {"inf": "become Inf", "nan": "become NaN", "saturate": "are set to it"}
        found.append(f"values beyond {wanted.largest:g} {what[wanted.overflow]}")
    if given.low < wanted.low and not wanted.zero:
        found.append(f"values below 2^{wanted.low} are set to it")
    elif given.low < wanted.low:
        normal = wanted.low + wanted.mantissa
        found.append(f"values below 2^{normal} are rounded, up to 2^{wanted.low - 1} to 0")
    if given.signed and not wanted.signed:
        found.append(f"negative values {'become NaN' if wanted.nan else 'are set to 0'}")
    if given.zero and not wanted.zero:
        found.append("0 becomes NaN")
    if given.inf and not wanted.inf:
        found.append(f"Inf becomes {'NaN' if wanted.overflow == 'nan' else 'the largest value'}")
    return found


# Codes: the bits of a float read as an unsigned integer, which grows with its magnitude


class Interval(NamedTuple):
    """Codes ``first`` to ``last`` of a source, which a cast turns into something else."""

    outcome: str
    """A field of :class:`Counts`."""
    first: int
    last: int


def intervals(source: Range, target: Range) -> list[Interval]:
    """The codes of float ``source`` that float ``target`` has no near value for.

    They are without their sign, but for a target without sign, where a negative value is out of
    range.
    """
    outcome = {"inf": "overflow", "saturate": "saturated", "nan": "nan"}[target.overflow]
    end = _last(source) + (source.inf and not target.inf)
    found = [Interval(outcome, _first_beyond(source, target), end)]
    if target.zero:
        tiny = code_below(ldexp(1.0, target.low - 1), source)
        found.append(Interval("underflow", int(source.zero), tiny))
    else:
        found += _out_of_scale(source, target)
    return [interval for interval in found if interval.first <= interval.last]


def _out_of_scale(source: Range, target: Range) -> list[Interval]:
    """A scale has no zero and no sign, and its least value stands for all that are less."""
    least = ldexp(1.0, target.low)
    end = _last(source) + source.inf
    sign = 1 << end.bit_length()
    no_minus_zero = source.overflow == "nan"  # that code is NaN
    return [
        Interval("nan", 0, 0),
        Interval("saturated", 1, code_below(least, source) - (target.low >= source.low)),
        Interval("nan", sign + no_minus_zero, sign + end),
    ]


def code_below(value: float, source: Range) -> int:
    """The code of the largest value of a type that is at most ``value``; -1 where there is none."""
    if value < ldexp(1.0, source.low):
        return 0 if source.zero else -1
    value = min(value, source.largest)
    exponent = max(frexp(value)[1] - 1, source.low + source.mantissa)
    steps = int(ldexp(value, source.mantissa - exponent))
    code = steps + (exponent - source.mantissa - source.low << source.mantissa)
    return code - (not source.zero)


def _last(source: Range) -> int:
    """The code of the largest finite value; that of Inf, if there is one, is the next."""
    return code_below(source.largest, source)


def _first_beyond(source: Range, target: Range) -> int:
    """The first code that rounds to more than the target's largest value.

    That is from halfway to the next step on, where ties to even leave an odd mantissa; in a scale
    ties go up.
    """
    step = ldexp(1.0, frexp(target.largest)[1] - target.digits)
    halfway = target.largest + step / 2
    if halfway > source.largest:
        return _last(source) + 1
    tie_stays = target.zero and not (target.largest / step) % 2
    code = code_below(halfway, source)
    return code + (tie_stays or value_of(code, source) != halfway)


def value_of(code: int, source: Range) -> float:
    """The value that a finite code without its sign stands for."""
    code += not source.zero
    rows, steps = divmod(code, 1 << source.mantissa)
    if not rows:
        return ldexp(steps, source.low)
    return ldexp(steps + (1 << source.mantissa), source.low + rows - 1)
