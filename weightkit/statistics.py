"""What ``weightkit stats`` says about values: plain frozen records, as in :mod:`weightkit.reports`.

Apart from the others, because only one command needs these.
"""

from __future__ import annotations

from typing import NamedTuple

FLAGS = ("nan", "inf", "fp16", "subnormal", "zero", "constant", "dead-rows", "duplicate")
"""What a tensor is flagged with, and what ``--fail-on`` takes."""


class Histogram(NamedTuple):
    """How many numbers lie where, in bins that are a power of two wide; bins of zero width: all 0.

    Bin ``i`` of ``counts`` reaches from ``(first + i) * width`` to the next multiple of ``width``.
    It holds the one of its two edges that is nearer to zero; zero is in the bin from 0 up.
    """

    width: float
    first: int
    counts: tuple[int, ...]


class Magnitudes(NamedTuple):
    """How many numbers are how large: ``counts[i]`` with 2^(first + i) <= |x| < 2^(first + i + 1).

    Zero is in none. What is smaller than 2^-126 is counted as 2^-127, what is larger than 2^128 as
    that.
    """

    first: int
    counts: tuple[int, ...]


NO_HISTOGRAM, NO_MAGNITUDES = Histogram(0.0, 0, ()), Magnitudes(0, ())


class Numbers(NamedTuple):
    """What is counted of some numbers. All counts are exact.

    ``min``, ``max``, ``mean``, ``std`` (of the population: divided by n), ``absmax`` and both
    histograms are of the finite numbers; None where there are none, or where float64 cannot hold it.
    """

    elements: int = 0
    min: int | float | None = None
    max: int | float | None = None
    mean: float | None = None
    std: float | None = None
    absmax: int | float | None = None
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    subnormal: int = 0
    """In the tensor's own type."""
    beyond_fp16: int = 0
    """Finite, but infinite as float16: 65,520 and more."""
    histogram: Histogram = NO_HISTOGRAM
    magnitudes: Magnitudes = NO_MAGNITUDES

    @property
    def finite(self) -> int:
        """How many numbers are neither NaN nor infinite."""
        return self.elements - self.nan - self.inf


class TensorStatistics(NamedTuple):
    """One tensor's statistics; composite tensors (sparse, quantized) have a row for each ``part``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numbers: Numbers
    nbytes: int = 0
    component: str = ""
    part: str = ""
    dead_rows: int = 0
    """Indices of the first axis, of two and more, under which everything is zero."""
    flags: tuple[str, ...] = ()
    """What is worth a look, by the names of ``--fail-on``."""
    unread: str = ""
    """Why there are no numbers."""


class ComponentStatistics(NamedTuple):
    """All tensors of one component; tensors that share memory count once."""

    component: str
    tensors: int
    numbers: Numbers


class Duplicates(NamedTuple):
    """Tensors that hold the same, each in memory of its own; ``nbytes`` of one of them."""

    digest: str
    nbytes: int
    names: tuple[str, ...]


class Statistics(NamedTuple):
    """What ``weightkit stats`` says about one checkpoint."""

    path: str
    format: str
    tensors: tuple[TensorStatistics, ...]
    components: tuple[ComponentStatistics, ...]
    total: Numbers
    duplicates: tuple[Duplicates, ...] = ()
    dead_rows: int = 0
    flags: tuple[str, ...] = ()
