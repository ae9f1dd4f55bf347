"""Statistics of numbers that come in tiles: exact counts, and sums in float64.

Types of up to 16 bits are counted by bit pattern, 65,536 counters at most: every figure follows
from those, exactly and in one pass. Wider types are counted by their upper 16 bits, which is enough
for the histograms, with sums beside them. Tallies of parts of a tensor merge into that of the whole,
and the order in which threads finish makes no difference, not even in the last digit.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from weightkit.statistics import Numbers
from weightkit.values.arrays import Array
from weightkit.values.bins import histogram, magnitudes
from weightkit.values.sums import FP16_INF, Sums, folded, known, sums_of

CODES = 1 << 16
FEW = 1 << 12
"""Numbers of a tensor that are sorted rather than counted."""


class Tally:
    """Counts of consecutive tiles of a tensor, from number ``start`` on.

    ``row`` is how many numbers one index of the first axis holds, 0 if rows are of no interest.
    """

    def __init__(self, row: int = 0, start: int = 0) -> None:
        self.start = self.at = start
        self.kind: _Kind | None = None
        self.few: list[Array] = []
        """Codes, as long as there are so few that sorting them is less work than 65,536 counters."""
        self.counts: Array | None = None
        self.sums = {start: Sums()}
        self.rows = _Rows(row)

    def add(self, tile: Array) -> None:
        """Count a tile; complex numbers count as two, their real and their imaginary part."""
        if tile.dtype.kind == "c":
            tile = tile.view(tile.real.dtype)
        if self.kind is None:
            self.kind = _kind(tile.dtype)
        codes = tile
        if self.kind.table is None:
            self.sums[self.start].merge(sums_of(tile))
            self._count(_upper(tile))
        else:
            codes = tile.view(f"u{tile.itemsize}")
            self._count(codes)
        if self.rows.row:
            self.rows.add(self.at, codes, self.kind)
        self.at += len(tile)

    def merge(self, other: Tally) -> None:
        """Add the tally of another part of the same tensor."""
        if other.kind is None:
            return
        self.kind = other.kind
        for codes in other.few:
            self._count(codes)
        if other.counts is not None:
            self._spread(other.counts)
        self.sums |= other.sums
        self.rows.merge(other.rows)

    def numbers(self) -> Numbers:
        """Everything that is known by now."""
        if self.kind is None:
            return Numbers()
        with np.errstate(all="ignore"):
            codes, counts = self._codes()
            if self.kind.table is not None:
                return _of_codes(self.kind, codes, counts)
            sums = [self.sums[start] for start in sorted(self.sums)]
            return _of_sums(self.kind, codes, counts, folded(sums))

    def _count(self, codes: Array) -> None:
        if self.counts is None and len(codes) + sum(map(len, self.few)) <= FEW:
            self.few.append(codes)
        else:
            self._spread(_counted(codes))

    def _spread(self, counts: Array) -> None:
        """Add counts of all codes, and from now on keep them so."""
        if self.counts is None:
            self.counts = np.zeros_like(counts)
            for codes in self.few:
                self.counts += _counted(codes)
            self.few = []
        self.counts += counts

    def _codes(self) -> tuple[Array, Array]:
        """The codes that there are, and how many of each."""
        if self.counts is None:
            return np.unique(np.concatenate(self.few), return_counts=True)
        codes = np.flatnonzero(self.counts)
        return codes, self.counts[codes]

    @property
    def dead_rows(self) -> int:
        """Rows that are wholly zero, once all parts are merged."""
        return self.rows.total


class _Kind(NamedTuple):
    """How a type is counted. ``table`` has the values of all its codes, or None for wide types."""

    dtype: np.dtype[Any]
    table: Array | None
    zero: Array | None
    """Which codes are zero."""
    normal: float
    """The smallest normal number; 0 for types that have no subnormal ones."""

    @property
    def finest(self) -> int:
        """The exponent of the last of the upper 16 bits of a subnormal number."""
        return -126 - 7 if self.dtype == np.float32 else -1022 - 4


@lru_cache(maxsize=64)
def _kind(dtype: np.dtype[Any]) -> _Kind:
    normal = 0.0
    if dtype.kind not in "iub":
        finfo: Any = ml_dtypes.finfo
        normal = float(finfo(dtype).smallest_normal)
    if dtype.itemsize > 2:
        return _Kind(dtype, None, None, normal)
    codes = 1 << (8 * dtype.itemsize)
    with np.errstate(invalid="ignore"):  # NaNs that signal
        table = np.arange(codes, dtype=f"u{dtype.itemsize}").view(dtype).astype(np.float64)
    return _Kind(dtype, table, table == 0, normal)


def _counted(codes: Array) -> Array:
    """How often each code comes. Bytes are counted by pairs, which takes half the time."""
    if codes.itemsize == 2:
        return np.bincount(codes, minlength=CODES)
    if len(codes) < CODES:
        return np.bincount(codes, minlength=256)
    even = len(codes) & ~1
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=CODES).reshape(256, 256)
    found: Array = pairs.sum(0) + pairs.sum(1) + np.bincount(codes[even:], minlength=256)
    return found


def _upper(tile: Array) -> Array:
    """The upper 16 bits of each number: of a float32 as it is, of anything else as a float64."""
    if tile.dtype == np.float32:
        return tile.view(np.uint16)[1::2]
    if tile.dtype.kind in "iu" and tile.itemsize == 8:
        tile = _cut_to_53_bits(tile)
    return tile.astype(np.float64, copy=False).view(np.uint16)[3::4]


def _cut_to_53_bits(tile: Array) -> Array:
    """Towards zero, so that the conversion to float64 does not round over the edge of a bin."""
    magnitude = tile.astype(np.uint64)
    if tile.dtype.kind == "i":
        magnitude = np.where(tile < 0, np.uint64(0) - magnitude, magnitude)
    mask = np.uint64(0xFFFFFFFFFFFFF800)
    cut = np.where(magnitude >> np.uint64(53), magnitude & mask, magnitude).astype(np.float64)
    return np.where(tile < 0, -cut, cut)


# Rows


class _Rows:
    """Rows of which everything is zero, from pieces in any order."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.dead = 0
        self.pieces: dict[int, bool] = {}
        """Of rows that came in pieces: whether all of them were zero."""

    @property
    def total(self) -> int:
        return self.dead + sum(self.pieces.values())

    def add(self, start: int, codes: Array, kind: _Kind) -> None:
        """Look at the numbers from ``start`` on."""
        first, row = -(-start // self.row), self.row
        head = min(first * row - start, len(codes))
        whole = (len(codes) - head) // row
        tail = head + whole * row
        if head:
            self._piece(first - 1, codes[:head], kind)
        if whole:
            rows = codes[head:tail].reshape(whole, row)
            likely = rows[_zero(rows[:, 0], kind)]
            self.dead += int(np.count_nonzero(_zero(likely, kind).all(axis=1)))
        if tail < len(codes):
            self._piece(first + whole, codes[tail:], kind)

    def _piece(self, index: int, codes: Array, kind: _Kind) -> None:
        alive = self.pieces.get(index, True)
        self.pieces[index] = bool(alive and _zero(codes[:1], kind)[0] and _zero(codes, kind).all())

    def merge(self, other: _Rows) -> None:
        self.dead += other.dead
        for index, zero in other.pieces.items():
            self.pieces[index] = self.pieces.get(index, True) and zero


def _zero(codes: Array, kind: _Kind) -> Array:
    found: Array = codes == 0 if kind.zero is None else kind.zero[codes]
    return found


# What follows from the counts


def _of_codes(kind: _Kind, codes: Array, counts: Array) -> Numbers:
    assert kind.table is not None
    values = kind.table[codes]
    finite = np.isfinite(values)
    nan = _total(counts[np.isnan(values)])
    count = _total(counts)
    values, counts = values[finite], counts[finite]
    size = np.abs(values)
    zeros = _total(counts[size == 0])
    if not len(values):
        return Numbers(elements=count, nan=nan, inf=count - nan)
    total = _total(counts)
    same = values.min() == values.max()  # no rounding where there is nothing to add up
    mean = float(values[0] if same else (values * counts).sum() / total)
    squares = float((np.square(values - mean) * counts).sum())
    number = int if kind.dtype.kind in "iub" else float
    return Numbers(
        elements=count,
        min=number(values.min()),
        max=number(values.max()),
        mean=known(mean),
        std=known(sqrt(squares / total)),
        absmax=number(size.max()),
        zeros=zeros,
        nan=nan,
        inf=count - nan - total,
        subnormal=_total(counts[(size < kind.normal) & (size > 0)]),
        beyond_fp16=_total(counts[size >= FP16_INF]),
        histogram=histogram(values, counts, float(size.max()), -1022),
        magnitudes=magnitudes(size, counts),
    )


def _of_sums(kind: _Kind, codes: Array, counts: Array, sums: Sums) -> Numbers:
    if not sums.finite:
        return Numbers(elements=sums.count, nan=sums.nan, inf=sums.inf)
    values, counts = _lower_ends(kind, codes, counts, sums)
    absmax = max(-sums.low, sums.high)
    size = np.abs(values)
    small = (size < kind.normal) & (size > 0)
    return Numbers(
        elements=sums.count,
        min=sums.low,
        max=sums.high,
        mean=known(sums.mean),
        std=sums.std,
        absmax=absmax,
        zeros=sums.zeros,
        nan=sums.nan,
        inf=sums.inf,
        subnormal=_total(counts[small]),
        beyond_fp16=sums.beyond,
        histogram=histogram(values, counts, float(absmax), kind.finest),
        magnitudes=magnitudes(size, counts),
    )


_TINY = 5e-324


def _lower_ends(kind: _Kind, codes: Array, counts: Array, sums: Sums) -> tuple[Array, Array]:
    """For each code the number nearest to zero that has it, and how many have it.

    The codes of both zeros hold what is almost zero as well: that is told apart by what is known of
    the zeros and of the signs.
    """
    bits = codes.astype(np.uint16)
    if kind.dtype == np.float32:
        values = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    else:
        values = (bits.astype(np.uint64) << np.uint64(48)).view(np.float64)
    real = np.isfinite(values) & (values != 0)
    values, counts = values[real], counts[real]
    below = sums.negative - _total(counts[values < 0])
    above = sums.finite - sums.zeros - below - _total(counts)
    ends = [(0.0, sums.zeros), (-_TINY, below), (_TINY, above)]
    ends = [end for end in ends if end[1]]
    values = np.append(values, [value for value, _ in ends])
    return values, np.append(counts, np.array([count for _, count in ends], np.int64))


def _total(counts: Array) -> int:
    return int(counts.sum())
