"""How far the elements of one tensor are from those of another, a pair of tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any

import ml_dtypes
import numpy as np

from weightkit.reports import Delta
from weightkit.values.arrays import Array

SKETCH = 128
"""Dimensions that a matrix is projected to when its rank is looked for."""
LOW = SKETCH // 4
"""The largest rank that is called low."""
ENERGY = 0.85
"""Share of the sum of squares that the singular values of a low rank must hold."""
WIDEST = 1 << 20
"""Rows or columns of a matrix whose rank is looked for."""


@dataclass(slots=True)
class Sums:
    """What a :class:`Delta` is made of; that of two tensors is the sum of both."""

    elements: int = 0
    changed: int = 0
    max_abs: float = -inf
    delta: float = 0.0
    """Sums of squares, over elements that are finite on both sides."""
    a: float = 0.0
    b: float = 0.0
    dot: float = 0.0
    nonfinite: int = 0
    other_nonfinite: int = 0

    def add(self, other: Sums) -> None:
        """Add what is known of further elements."""
        self.max_abs = max(self.max_abs, other.max_abs)
        for name in ("elements", "changed", "delta", "a", "b", "dot", "nonfinite"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.other_nonfinite += other.other_nonfinite

    def report(self, rank: int | None = None) -> Delta:
        """As figures; what no number stands for is None."""
        cosine = _ratio(self.dot, sqrt(self.a) * sqrt(self.b))
        return Delta(
            self.elements,
            self.changed,
            self.max_abs if isfinite(self.max_abs) else None,
            _ratio(sqrt(self.delta), sqrt(self.a)),
            None if cosine is None else max(-1.0, min(1.0, cosine)),
            self.nonfinite,
            self.other_nonfinite,
            rank,
        )


def _ratio(over: float, under: float) -> float | None:
    found = over / under if under else inf
    return found if isfinite(found) else None


@dataclass(slots=True)
class Comparison:
    """What comparing two tensors element by element gives."""

    sums: Sums
    forward: bool = True
    """Whether B is A, rounded to B's type."""
    backward: bool = True
    """Whether A is B, rounded to A's type."""
    overflow: int = 0
    """Elements that this took beyond what the type holds: infinite, or NaN, on one side only."""
    rank: int | None = None


def compare(
    pairs: Iterable[tuple[Array, Array]],
    tick: Callable[[int], Any],
    shape: tuple[int, ...] = (),
    figures: bool = True,
) -> Comparison:
    """Compare two streams of tiles of the same sizes; ``tick`` is told of elements.

    ``shape`` of a matrix is that of both tensors, if the rank of the difference is to be found.
    Without ``figures`` nothing is summed up, and it ends where neither side is the other rounded.
    """
    found = Comparison(Sums())
    sketch = _Sketch(*shape) if len(shape) == 2 and _is_sketched(shape) else None
    kind: Any = None
    with np.errstate(all="ignore"):
        for a, b in pairs:
            tick(a.size)
            if not figures:
                _round(found, a, b, found.forward and a.dtype == b.dtype and _equal(a, b))
                if found.forward or found.backward:
                    continue
                break
            delta = _measure(found.sums, a, b)
            _round(found, a, b, not found.sums.changed)
            if sketch is not None:
                sketch.add(delta)
            kind = b.dtype
        if sketch is not None and found.sums.changed:
            found.rank = sketch.rank(sqrt(found.sums.b) * _unit(kind))
    return found


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether elements of this type can be subtracted: no text, bytes, times or records."""
    return dtype.kind in "biufc" or dtype.name in _FLOATS


_FLOATS = {
    name
    for name in dir(ml_dtypes)
    if name.startswith(("bfloat", "float", "int", "uint"))
    and isinstance(getattr(ml_dtypes, name), type)
}


def _wide(values: Array) -> Array:
    """The same values in a type that NumPy itself computes with."""
    return values.astype(np.float32) if values.dtype.name in _FLOATS else values


def _round(found: Comparison, a: Array, b: Array, equal: bool) -> None:
    """Whether one tile is the other in its own type; ``equal`` is it where both have one type."""
    if a.dtype == b.dtype:
        found.forward = found.backward = equal
        return
    if (a.dtype.kind == "c") != (b.dtype.kind == "c"):
        found.forward = found.backward = found.forward and _equal(a, b)
        return
    forward = found.forward and _equal(a.astype(b.dtype), b)
    backward = found.backward and _equal(b.astype(a.dtype), a)
    if not (_is_float(a) and _is_float(b)):  # a cut integer is no rounded one
        forward = backward = forward and backward
    elif forward != backward:
        found.overflow += _overflow(a, b) if forward else _overflow(b, a)
    found.forward, found.backward = forward, backward


def _overflow(values: Array, rounded: Array) -> int:
    """How many elements are beyond what the type that they were rounded to holds."""
    if values.dtype == np.float32 or values.dtype == np.float64:
        holds = float(ml_dtypes.finfo(rounded.dtype).max)  # type: ignore[no-untyped-call]
        if values.size and values.max() <= holds and values.min() >= -holds:  # no NaN is
            return 0
    return _nonfinite(rounded) - _nonfinite(values)


def _nonfinite(values: Array) -> int:
    return values.size - int(np.count_nonzero(np.isfinite(_wide(values))))


def _is_float(values: Array) -> bool:
    return values.dtype.kind in "fc" or values.dtype.name in _FLOATS


def _equal(a: Array, b: Array) -> bool:
    return not _differing(_wide(a), _wide(b)).any()


def _differing(a: Array, b: Array) -> Array:
    """Where two arrays differ; NaN equals NaN."""
    differs: Array = a != b
    if a.dtype.kind in "fc" and b.dtype.kind in "fc":
        differs &= ~((a != a) & (b != b))
    return differs


def _measure(sums: Sums, a: Array, b: Array) -> Array:
    """Add a pair of tiles to the sums; the difference, with 0 where it is not finite."""
    a, b = _wide(a), _wide(b)
    changed = int(np.count_nonzero(_differing(a, b)))
    sums.elements += a.size
    sums.changed += changed
    complex_ = "c" in (a.dtype.kind, b.dtype.kind)
    kind: Any = np.complex128 if complex_ else np.float64
    a, b = a.astype(kind), b.astype(kind)
    finite = np.isfinite(a), np.isfinite(b)
    sums.nonfinite += a.size - int(np.count_nonzero(finite[0]))
    sums.other_nonfinite += b.size - int(np.count_nonzero(finite[1]))
    both = finite[0] & finite[1]
    if not both.all():
        a[~both] = b[~both] = 0
    sums.a += _dot(a, a)
    sums.b += _dot(b, b)
    sums.dot += _dot(a, b)
    b -= a
    if changed:
        sums.delta += _dot(b, b)
    if both.any():
        sums.max_abs = max(sums.max_abs, float(np.abs(b).max()))
    return b


def _dot(a: Array, b: Array) -> float:
    """The real part of the inner product; not by BLAS, whose threads would fight with ours."""
    if a.dtype.kind == "c":
        a, b = a.view(np.float64), b.view(np.float64)
    return float(np.einsum("i,i->", a, b))


# What a conversion by llama.cpp computes


def plus_1(values: Array) -> Array:
    """With 1 added as it does: in f16 as f16, all else in f32."""
    if values.dtype == np.float16:
        return values + np.float16(1)
    return values.astype(np.float32) + np.float32(1)


def minus_exp(values: Array) -> Array:
    """Minus the exponential, rounded once to the type that it computes in."""
    with np.errstate(all="ignore"):
        found = -np.exp(values.astype(np.float64))
        return found.astype(np.float16 if values.dtype == np.float16 else np.float32)


FORMULAS = {"plus_1": plus_1, "minus_exp": minus_exp}


def settled(computed: Array, held: Array, units: int) -> Array:
    """What we computed, with what the file holds where that is as near as ``units``."""
    if held.dtype.kind != "f":
        return computed
    with np.errstate(all="ignore"):
        wanted = held.astype(computed.dtype)
        near = np.abs(computed - wanted) <= units * np.abs(np.spacing(wanted))
    return np.where(near, wanted, computed)


# Rank


def _is_sketched(shape: tuple[int, ...]) -> bool:
    return min(shape) >= SKETCH and max(shape) <= WIDEST


def _unit(dtype: np.dtype[Any]) -> float:
    """Half the distance from 1 to the next number of a type: what rounding may change."""
    if dtype.kind == "f" or dtype.name in _FLOATS:
        return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]
    return 0.5


class _Projection:
    """Adds up coordinates with random signs in random groups, as many of each; always the same.

    Clarkson and Woodruff, Low-rank approximation and regression in input sparsity time, 2013. Its
    columns are orthogonal. (Random normal ones would need BLAS, whose threads fight with ours.)
    """

    def __init__(self, size: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.groups = draw.permutation(size) % SKETCH
        self.signs = draw.choice(np.array([-1.0, 1.0]), size)
        self.scale = sqrt(SKETCH / size)


class _Sketch:
    """A matrix between two random projections, which keeps its rank up to :data:`SKETCH`."""

    def __init__(self, rows: int, columns: int) -> None:
        self.left = _Projection(rows, 1)
        self.right = _Projection(columns, 2)
        self.core = np.zeros(SKETCH * SKETCH)
        self.columns = columns
        self.at = 0

    def add(self, delta: Array) -> None:
        """Add the next elements of the matrix, in row-major order."""
        if not delta.any():
            self.at += delta.size
            return
        while delta.size:
            row, column = divmod(self.at, self.columns)
            rows = delta.size // self.columns if not column else 0
            taken = rows * self.columns if rows else min(delta.size, self.columns - column)
            self._add(delta[:taken].reshape(max(rows, 1), -1), row, column)
            delta = delta[taken:]
            self.at += taken

    def _add(self, block: Array, row: int, column: int) -> None:
        """Add some whole rows, or a piece of one."""
        down = slice(row, row + block.shape[0])
        across = slice(column, column + block.shape[1])
        cells = self.left.groups[down, None] * SKETCH + self.right.groups[across]
        weights = block * self.left.signs[down, None] * self.right.signs[across]
        self.core += np.bincount(cells.ravel(), weights.ravel(), SKETCH * SKETCH)

    def rank(self, noise: float) -> int | None:
        """Singular values that stand out of the rounding of one side; None for many, or none.

        ``noise`` is the Frobenius norm that rounding may have. Noise without structure stays so
        between projections: a square of the same density, whose singular values lie on a quarter
        circle. The largest quarter of them holds 57 % of the sum of squares: a low rank must hold
        more.
        """
        if not np.isfinite(self.core).all():
            return None
        core = self.core.reshape(SKETCH, SKETCH) * (self.left.scale * self.right.scale)
        values = np.linalg.svd(core, compute_uv=False)
        floor = 2 * noise * self.left.scale * self.right.scale / sqrt(SKETCH)
        found = int(np.count_nonzero(values > max(floor, 1e-5 * values[0])))
        held = float(np.sum(values[:found] ** 2))
        low = 1 <= found <= LOW and held >= ENERGY * float(np.sum(values**2))
        return found if low else None
