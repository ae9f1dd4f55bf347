"""A pipeline as a whole: the sums over its sub-models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from weightkit.architectures.rows import COMPONENTS
from weightkit.reports import Component, DTypeShare, Inspection, Parameters, Share

T = TypeVar("T")


def whole(report: Inspection) -> Inspection:
    """``report`` with the counts of its parts added up, if it has no tensors of its own.

    Slices of one model are left alone: what several of them hold alike would count twice.
    """
    parts = report.parts
    if not parts or report.tensors or report.format == "slices":
        return report
    total = added(parts, lambda part: part.parameters.total)
    stored = sum(part.nbytes for part in parts)
    weights = [part.bits_per_weight for part in parts if part.parameters.total]
    known = total is not None and None not in weights
    return report._replace(
        files=tuple(file for part in parts for file in part.files),
        size=report.size + sum(part.size for part in parts),
        tensors=sum(part.tensors for part in parts),
        parameters=parameters(parts),
        components=components(parts),
        dtypes=dtypes(parts),
        bits_per_weight=round(_bits(parts) / total, 4) if known and total else None,
        nbytes=stored,
        shares=shares(parts),
    )


def parameters(parts: Sequence[Inspection]) -> Parameters:
    """The sums; unknown where one is unknown. ``active`` is None: the parts take turns."""
    counts = [part.parameters for part in parts]
    return Parameters(
        total=added(counts, lambda count: count.total),
        unique=added(counts, lambda count: count.unique),
        active=None,
        active_without_input_embedding=None,
        bias=sum(count.bias for count in counts),
        buffers=sum(count.buffers for count in counts),
        stored_elements=sum(count.stored_elements for count in counts),
    )


def components(parts: Sequence[Inspection]) -> tuple[Component, ...]:
    """The rows of all parts, those of one component as one."""
    rows = [row for part in parts for row in part.components]
    grouped = ([row for row in rows if row.component == name] for name in COMPONENTS)
    return tuple(
        Component(
            same[0].component,
            sum(row.tensors for row in same),
            sum(row.parameters for row in same),
            sum(row.nbytes for row in same),
            tuple(dict.fromkeys(dtype for row in same for dtype in row.dtypes)),
        )
        for same in grouped
        if same
    )


def dtypes(parts: Sequence[Inspection]) -> tuple[DTypeShare, ...]:
    """The rows of all parts, those of one type as one, the biggest first."""
    rows = [row for part in parts for row in part.dtypes]
    names = dict.fromkeys(row.dtype for row in rows)
    grouped = ([row for row in rows if row.dtype == name] for name in names)
    merged = [
        DTypeShare(
            same[0].dtype,
            sum(row.tensors for row in same),
            sum(row.elements for row in same),
            sum(row.nbytes for row in same),
        )
        for same in grouped
    ]
    return tuple(sorted(merged, key=lambda row: -row.nbytes))


def shares(parts: Sequence[Inspection]) -> tuple[Share, ...]:
    """The rows of all parts, those of one key as one."""
    rows = [row for part in parts for row in part.shares]
    grouped = (
        [row for row in rows if row.key == key] for key in dict.fromkeys(r.key for r in rows)
    )
    return tuple(
        Share(
            same[0].key,
            sum(row.tensors for row in same),
            sum(row.parameters for row in same),
            sum(row.nbytes for row in same),
        )
        for same in grouped
    )


def added(items: Iterable[T], of: Callable[[T], int | None]) -> int | None:
    """The sum of a count; None where one of the items does not know."""
    counts = [of(item) for item in items]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _bits(parts: Sequence[Inspection]) -> float:
    return sum((part.bits_per_weight or 0) * (part.parameters.total or 0) for part in parts)
