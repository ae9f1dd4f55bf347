"""What became of each pair of tensors: the same, changed, recast, quantized, reshaped, renamed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from weightkit.analyses.elements import Measured, measure
from weightkit.analyses.equality import Item, check_sizes, same_bytes, why_unread
from weightkit.analyses.jobs import Tick
from weightkit.analyses.pairing import BY_CONTENT, BY_MAP, BY_NAME, Pair
from weightkit.reports import (
    CHANGED,
    QUANTIZED,
    RECAST,
    RENAMED,
    RESHAPED,
    SAME,
    UNKNOWN_CHANGE,
)
from weightkit.values.canonical import form_of as _form

EQUAL, ROUNDED, DIFFER, UNKNOWN = "equal", "rounded", "differ", "unknown"
HEADERS, CONTENT, VALUES = "headers", "content", "values"


class Outcome(NamedTuple):
    """What became of a pair of tensors."""

    kind: str
    values: str
    note: str = ""
    measured: Measured | None = None
    overflow: int = 0
    """Elements that rounding made infinite or NaN."""


def judged(pairs: Sequence[Pair], compared: str, jobs: int, tick: Tick) -> list[Outcome]:
    """What became of each pair, by headers, content or values."""
    if compared == HEADERS:
        return [Outcome(_kind(pair, UNKNOWN), UNKNOWN) for pair in pairs]
    found = _judged(pairs, compared, jobs, tick)
    # Not everyone who writes a GGUF puts its rows in the order that llama.cpp does.
    again = [at for at, pair in enumerate(pairs) if _is_permuted(pair) and not _is_kept(found[at])]
    plain = _judged([pairs[at].as_stored for at in again], compared, jobs, tick)
    for at, outcome in zip(again, plain, strict=True):
        if _is_kept(outcome):
            found[at] = outcome
    return found


def _is_permuted(pair: Pair) -> bool:
    return pair.match is not None and pair.match.known and bool(pair.match.change)


def _is_kept(outcome: Outcome) -> bool:
    return outcome.values in (EQUAL, ROUNDED)


def _judged(pairs: Sequence[Pair], compared: str, jobs: int, tick: Tick) -> list[Outcome]:
    unread = [why_unread(pair.a.info) or why_unread(pair.b.info) for pair in pairs]
    asked = [at for at, pair in enumerate(pairs) if not unread[at] and not _is_computed(pair)]
    asked = [at for at in asked if pairs[at].how != BY_CONTENT]
    check_sizes(pair.views for at, pair in enumerate(pairs) if not unread[at])
    equal = {at for at, pair in enumerate(pairs) if pair.how == BY_CONTENT}
    same = same_bytes([_aligned(pairs[at]) for at in asked], jobs, tick)
    equal |= {at for at, found in zip(asked, same, strict=True) if found}
    left = [at for at in range(len(pairs)) if at not in equal and not unread[at]]
    wanted = [at for at in left if _is_measured(pairs[at], compared)]
    found = measure([pairs[at] for at in wanted], compared == VALUES, jobs, tick)
    measured = dict(zip(wanted, found, strict=True))
    return [
        Outcome(_kind(pair, EQUAL), EQUAL)
        if at in equal
        else Outcome(UNKNOWN_CHANGE, UNKNOWN, unread[at])
        if unread[at]
        else _outcome(pair, measured.get(at))
        for at, pair in enumerate(pairs)
    ]


def _aligned(pair: Pair) -> tuple[Item, Item]:
    """Both sides in one shape, if the elements of B can be taken in that of A."""
    a, b = pair.views
    if a.info.shape == b.info.shape:
        return a, b
    plain = not (a.info.parts or b.info.parts) and b.info.strides is None
    if plain and _form(a.info).shape != _form(b.info).shape and a.info.numel == b.info.numel:
        b = b._replace(info=b.info._replace(shape=a.info.shape))
    return a, b


def _is_computed(pair: Pair) -> bool:
    return pair.match is not None and pair.match.formula != ""


def _is_measured(pair: Pair, compared: str) -> bool:
    """Whether the elements of a pair that differs in bytes are looked at."""
    a, b = (item.info for item in pair.views)
    if a.parts or b.parts or prod(_form(a).shape) != prod(_form(b).shape):
        return False
    known = pair.match is None or pair.match.known
    recast = _form(a).dtype != _form(b).dtype
    return recast or _is_computed(pair) or (known and compared == VALUES)


def _outcome(pair: Pair, measured: Measured | None) -> Outcome:
    """What became of a pair that is not the same in every byte."""
    values, note = DIFFER, ""
    if measured is not None and (measured.forward or measured.backward):
        values = EQUAL if measured.forward and measured.backward else ROUNDED
        note = "" if values == EQUAL else _rounding(pair, measured)
    elif pair.match is not None and not pair.match.known:
        note = "a conversion to this architecture may rearrange values: not comparable by content"
        return Outcome(UNKNOWN_CHANGE, UNKNOWN, note)
    elif measured is None and type_of(pair.a) != type_of(pair.b) and _is_of_one_size(pair):
        values, note = UNKNOWN, "not comparable by content"
    kind = _kind(pair, values)
    if kind == QUANTIZED and values == DIFFER:
        values = UNKNOWN
    if kind == CHANGED and measured is not None and not measured.sums.changed and measured.whole:
        note = "only signs of zeros or bits of NaN"
    if pair.match is not None and pair.match.change and kind != SAME:
        note = ", ".join(filter(None, [f"{pair.match.change} by the conversion", note]))
    overflow = measured.overflow if measured is not None and values == ROUNDED else 0
    figures = measured if measured is None or measured.whole else None
    return Outcome(kind, values, note, figures, overflow)


def _is_of_one_size(pair: Pair) -> bool:
    a, b = pair.views
    return a.info.numel == b.info.numel


def _rounding(pair: Pair, measured: Measured) -> str:
    if pair.match is not None and pair.match.slack:
        return f"to {pair.match.slack} units in the last place"
    how = "rounded, and overflowed" if measured.overflow else "rounded"
    return f"B is A, {how}" if measured.forward else f"A is B, {how}"


def _kind(pair: Pair, values: str) -> str:
    """The kind of a change, by what both headers say and by what is known of the values."""
    match = pair.match
    a, b = (item.info for item in (pair.views if match and match.change else (pair.a, pair.b)))
    if _shape(pair, a.shape) != _shape(pair, b.shape):
        return RESHAPED
    recast = type_of(pair.a) != type_of(pair.b)
    if recast and "quant" in (a.dtype.kind, b.dtype.kind) and values != EQUAL:
        return QUANTIZED
    if values == DIFFER:
        return CHANGED
    if recast or values == ROUNDED:
        return RECAST
    return SAME if pair.how in (BY_NAME, BY_MAP) else RENAMED


def _shape(pair: Pair, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape; between GGUF and others without the ones that a conversion drops."""
    return shape if pair.match is None else tuple(size for size in shape if size != 1)


def type_of(item: Item) -> str:
    """The type as reports show it, of a composite tensor with its layout."""
    info = item.info
    return f"{info.layout} {info.dtype.name}" if info.parts else info.dtype.name
