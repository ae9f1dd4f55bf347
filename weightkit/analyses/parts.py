"""A checkpoint of several parts, a pipeline's or the slices of one model, counted as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from weightkit.reports import Component, Inspection, Parameters


def whole(inspection: Inspection) -> Inspection:
    """The inspection with the counts of its parts added to its own."""
    if not inspection.parts:
        return inspection
    every = [inspection, *map(whole, inspection.parts)]
    return inspection._replace(
        parameters=_parameters([part.parameters for part in every]),
        components=_components(every),
        nbytes=sum(part.nbytes for part in every),
        tensors=sum(part.tensors for part in every),
        groups=tuple(group for part in every for group in part.groups),
        parts=(),
    )


def _parameters(counts: Sequence[Parameters]) -> Parameters:
    """The sums; unknown where one of them is. What is active does not add up."""
    return Parameters(
        total=_known_sum([row.total for row in counts]),
        unique=_known_sum([row.unique for row in counts]),
        active=None,
        active_without_input_embedding=None,
        bias=sum(row.bias for row in counts),
        buffers=sum(row.buffers for row in counts),
        stored_elements=sum(row.stored_elements for row in counts),
    )


def _known_sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _components(every: Sequence[Inspection]) -> tuple[Component, ...]:
    rows: dict[str, Component] = {}
    for component in (row for part in every for row in part.components):
        seen = rows.get(component.component)
        rows[component.component] = component if seen is None else _sum(seen, component)
    return tuple(rows.values())


def _sum(one: Component, other: Component) -> Component:
    return one._replace(
        tensors=one.tensors + other.tensors,
        parameters=one.parameters + other.parameters,
        nbytes=one.nbytes + other.nbytes,
        dtypes=tuple(dict.fromkeys([*one.dtypes, *other.dtypes])),
    )
