"""Histograms whose bins are powers of two wide, so that they join without a loss."""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp, ldexp

import numpy as np

from weightkit.statistics import Histogram, Magnitudes
from weightkit.values.arrays import Array

BINS = 16
"""On either side of zero, at most. With more, the upper 16 bits of a float64 (a sign, 11 bits of
exponent, 4 of fraction) would not tell the edges."""
SMALLEST, LARGEST = -127, 128
"""Exponents that magnitudes are told apart by: those of float32 and bfloat16."""


def histogram(values: Array, counts: Array, absmax: float, finest: int) -> Histogram:
    """The histogram of finite ``values``, each of which is there ``counts`` times.

    No bin is narrower than 2^``finest``.
    """
    if not absmax:
        return Histogram(0.0, 0, (int(counts.sum()),))
    exponent = frexp(absmax)[1] - BINS.bit_length() + 1
    width = ldexp(1.0, max(exponent, finest))
    bins = np.floor(np.abs(values) / width).astype(np.int64)
    bins = np.where(values < 0, ~bins, bins)
    first = int(bins.min())
    found = np.zeros(int(bins.max()) - first + 1, np.int64)
    np.add.at(found, bins - first, counts)
    return Histogram(width, first, tuple(found.tolist()))


def magnitudes(size: Array, counts: Array) -> Magnitudes:
    """The same by the exponents of absolute values."""
    real = size > 0
    if not real.any():
        return Magnitudes(0, ())
    exponents = np.clip(np.frexp(size[real])[1].astype(np.int64) - 1, SMALLEST, LARGEST)
    first = int(exponents.min())
    found = np.zeros(int(exponents.max()) - first + 1, np.int64)
    np.add.at(found, exponents - first, counts[real])
    return Magnitudes(first, tuple(found.tolist()))


def joined_histograms(parts: Iterable[Histogram]) -> Histogram:
    """Bins that are powers of two wide go into wider ones whole."""
    parts = [part for part in parts if part.counts]
    width = max((part.width for part in parts), default=0.0)
    bins: dict[int, int] = {}
    for part in parts:
        shift = frexp(width)[1] - frexp(part.width)[1] if part.width else 0
        for at, count in enumerate(part.counts, part.first):
            bins[at >> shift] = bins.get(at >> shift, 0) + count
    return Histogram(width, *_row_of(bins))


def joined_magnitudes(parts: Iterable[Magnitudes]) -> Magnitudes:
    """The sum of all, exponent by exponent."""
    bins: dict[int, int] = {}
    for part in parts:
        for at, count in enumerate(part.counts, part.first):
            bins[at] = bins.get(at, 0) + count
    return Magnitudes(*_row_of(bins))


def _row_of(bins: dict[int, int]) -> tuple[int, tuple[int, ...]]:
    if not bins:
        return 0, ()
    first = min(bins)
    return first, tuple(bins.get(at, 0) for at in range(first, max(bins) + 1))
