"""Sums over numbers, mergeable: what two parts give makes what the whole gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from weightkit.statistics import Numbers
from weightkit.values.arrays import Array
from weightkit.values.bins import joined_histograms, joined_magnitudes

FP16_INF = 65520
"""float16 ends at 65504, with steps of 32; from half a step beyond on it rounds to infinity."""
_LEAST_SQUARES = 1e-290
"""Below this a float64 begins to lose digits."""


@dataclass(slots=True)
class Sums:
    """What cannot be had from the upper 16 bits. ``finite`` numbers have mean and ``squares``."""

    count: int = 0
    finite: int = 0
    low: int | float = 0
    high: int | float = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared distances from the mean."""
    zeros: int = 0
    negative: int = 0
    nan: int = 0
    inf: int = 0
    beyond: int = 0

    @property
    def std(self) -> float | None:
        """None where the squares of a float64 went beyond its range, at either end."""
        if self.squares < _LEAST_SQUARES and self.low < self.high:
            return None
        return known(sqrt(self.squares / self.finite)) if isfinite(self.squares) else None

    def merge(self, other: Sums) -> None:
        """Chan, Golub and LeVeque 1979: means and squares of two samples make those of both."""
        finite = self.finite + other.finite
        if other.finite:
            self.low = min(self.low, other.low) if self.finite else other.low
            self.high = max(self.high, other.high) if self.finite else other.high
            step = other.mean - self.mean
            self.mean += step * (other.finite / finite)
            self.squares += other.squares + step * step * (self.finite * other.finite / finite)
        self.finite = finite
        for name in ("count", "zeros", "negative", "nan", "inf", "beyond"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def sums_of(tile: Array) -> Sums:
    """Those of a tile of at least one number, of a type that NumPy computes with."""
    found = Sums(count=len(tile), zeros=len(tile) - int(np.count_nonzero(tile)))
    low, high = tile.min(), tile.max()
    if not (isfinite(low) and isfinite(high)):
        found.nan = int(np.count_nonzero(tile != tile))
        tile = tile[np.isfinite(tile)]
        found.inf = found.count - found.nan - len(tile)
        if not len(tile):
            return found
        low, high = tile.min(), tile.max()
    found.finite, found.low, found.high = len(tile), low.item(), high.item()
    found.negative = int(np.count_nonzero(tile < 0)) if low < 0 else 0
    if max(-found.low, found.high) >= FP16_INF:
        found.beyond = int(np.count_nonzero(tile >= FP16_INF))
        found.beyond += int(np.count_nonzero(tile <= -FP16_INF)) if low < 0 else 0
    if low == high:  # no rounding where there is nothing to add up
        found.mean = float(low)
        return found
    with np.errstate(all="ignore"):  # float64 may not hold the sums of its own largest numbers
        wide = tile.astype(np.float64)
        found.mean = float(wide.mean())
        wide -= found.mean
        found.squares = float(np.square(wide, out=wide).sum())
    return found


def folded(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts, in their order."""
    found = Sums()
    for part in parts:
        found.merge(part)
    return found


def known(value: float) -> float | None:
    """A figure, or None where float64 could not hold what it is made of."""
    return value if isfinite(value) else None


def together(parts: Iterable[Numbers]) -> Numbers:
    """The statistics of several tensors as one; the order makes differences in the last digits."""
    parts = list(parts)
    sums = Sums()
    certain = True
    for part in parts:
        if part.finite and (part.mean is None or part.std is None):
            certain = False
        elif part.finite:
            mean, std = part.mean or 0.0, part.std or 0.0
            squares = std * std * part.finite
            sums.merge(Sums(0, part.finite, part.min or 0, part.max or 0, mean, squares))
    certain = certain and sums.finite > 0
    lows = [part.min for part in parts if part.min is not None]
    highs = [part.max for part in parts if part.max is not None]
    return Numbers(
        elements=sum(part.elements for part in parts),
        min=min(lows, default=None),
        max=max(highs, default=None),
        mean=known(sums.mean) if certain else None,
        std=sums.std if certain else None,
        absmax=max((part.absmax for part in parts if part.absmax is not None), default=None),
        zeros=sum(part.zeros for part in parts),
        nan=sum(part.nan for part in parts),
        inf=sum(part.inf for part in parts),
        subnormal=sum(part.subnormal for part in parts),
        beyond_fp16=sum(part.beyond_fp16 for part in parts),
        histogram=joined_histograms([part.histogram for part in parts]),
        magnitudes=joined_magnitudes([part.magnitudes for part in parts]),
    )
