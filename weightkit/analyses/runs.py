"""Runs of layers: modules that repeat under a number, and the layers that do not fit their run.

A layer is described by the logical shapes of its tensors; packing does not make a layer different,
a missing matrix does. Most models have a few kinds of layers (dense and sparse, attention and
recurrence): only a layer that is like no other, in a run where most share their kind, is odd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from weightkit.analyses.kinds import BOOKKEEPING, BUFFER
from weightkit.analyses.quantization import Counted
from weightkit.analyses.scene import WEIGHTS
from weightkit.architectures import regions
from weightkit.rules import Faults

MANY = 6
"""Runs of fewer layers have no kind that is usual."""
WORKING = frozenset({"attention", "mixer", "feed_forward"})
"""Components one of which every layer of a transformer, or of what came after it, has.

Runs without them are sequences of other modules, whose numbers have gaps by nature."""


class Trait(NamedTuple):
    """What some layers of a run have: tensors of one name and size."""

    name: str
    size: tuple[int, ...]
    dtype: str
    layers: Counter[int]
    """How many such tensors each layer has."""


class Run(NamedTuple):
    """Layers under one prefix, ``model.layers``."""

    prefix: str
    region: str
    layers: frozenset[int]
    parameters: int
    traits: tuple[Trait, ...]
    components: frozenset[str]

    @property
    def is_of_layers(self) -> bool:
        """Whether these are layers of a network, not the steps of one module."""
        named = self.prefix.rpartition(".")[2] in regions.LAYERS
        return named and not self.components.isdisjoint(WORKING)


def runs_of(counted: Sequence[Counted]) -> list[Run]:
    """All runs of a checkpoint, the biggest first."""
    traits: dict[tuple[str, str], list[Trait]] = {}
    sizes: Counter[tuple[str, str]] = Counter()
    components: dict[tuple[str, str], set[str]] = {}
    for item in counted:
        if item.kin.layer is None:
            continue
        for prefix, trait in _traits(item, item.kin.layer):
            key = (prefix, item.kin.region)
            traits.setdefault(key, []).append(trait)
            components.setdefault(key, set()).add(item.kin.component)
            sizes[key] += (item.parameters or 0) * trait.layers.total()
    found = [
        Run(
            prefix,
            region,
            frozenset(layer for trait in some for layer in trait.layers),
            sizes[prefix, region],
            tuple(trait for trait in some if trait.name),
            frozenset(components[prefix, region]),
        )
        for (prefix, region), some in traits.items()
    ]
    return sorted(found, key=lambda run: -run.parameters)


def _traits(item: Counted, at: int) -> Iterator[tuple[str, Trait]]:
    """The traits that a fold gives, one for each run that its prefix stands for."""
    fold = item.fold
    prefix, name = ".".join(fold.segments[:at]), ".".join(fold.segments[at + 1 :])
    size: tuple[int, ...] = fold.shape
    if item.method:
        size = (item.parameters or 0,)
        name = f"{name.rpartition('.')[0]}.weight" if fold.segments[-1] in WEIGHTS else name
    if item.kin.kind in (BOOKKEEPING, BUFFER):
        name = ""
    before = prefix.count("#")
    if not before:
        yield prefix, Trait(name, size, fold.dtype.name, Counter(fold.column_of(at)))
        return
    outer = zip(*fold.columns[:before], strict=True)
    groups: dict[tuple[int, ...], Counter[int]] = {}
    for numbers, layer in zip(outer, fold.column_of(at), strict=True):
        groups.setdefault(numbers, Counter())[layer] += 1
    for numbers, layers in groups.items():
        yield filled(prefix, numbers), Trait(name, size, fold.dtype.name, layers)


def filled(template: str, numbers: Sequence[int]) -> str:
    """A template with numbers in place of its ``#``."""
    pieces = template.split("#")
    return "".join(
        piece + (str(numbers[at]) if at < len(numbers) else "") for at, piece in enumerate(pieces)
    )


def audit(runs: Sequence[Run], faults: Faults, mixed: bool) -> None:
    """Find layers that are missing, odd, or of another type; ``mixed`` types are meant to be."""
    for run in runs:
        if not run.is_of_layers:
            continue
        _find_missing(run, faults)
        if len(run.layers) >= MANY:
            odd = _find_odd(run, faults)
            if not mixed:
                _find_other_dtypes(run, faults, odd)


def _find_missing(run: Run, faults: Faults) -> None:
    first, last = min(run.layers), max(run.layers)
    if run.region == "mtp" or last - first + 1 == len(run.layers):
        return
    gaps = (layer for layer in range(first, last + 1) if layer not in run.layers)
    missing = list(islice(gaps, 9))  # the last number may be anything
    shown = ", ".join(str(layer) for layer in missing[:8]) + (", …" if len(missing) > 8 else "")
    name = "layer" if len(missing) == 1 else "layers"
    faults.add(
        "WK710", f"{run.prefix}: {name} {shown} of {first} to {last} missing", tensor=run.prefix
    )


def _find_odd(run: Run, faults: Faults) -> set[int]:
    kinds: dict[int, list[tuple[int, int]]] = {layer: [] for layer in run.layers}
    for number, trait in enumerate(_without_dtype(run.traits)):
        for layer, times in trait.layers.items():
            kinds[layer].append((number, times))
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for layer, kind in kinds.items():
        groups.setdefault(tuple(kind), []).append(layer)
    usual = max(groups, key=lambda kind: len(groups[kind]))
    odd = {layers[0] for kind, layers in groups.items() if len(layers) == 1}
    if len(groups[usual]) * 2 <= len(run.layers) or len(odd) > max(2, len(run.layers) // 8):
        return set()
    traits = _without_dtype(run.traits)
    odd = {layer for layer in odd if _stands_alone(layer, kinds)}
    for layer in sorted(odd):
        _say_odd(run, layer, dict(kinds[layer]), dict(usual), traits, faults)
    return odd


def _stands_alone(layer: int, kinds: Mapping[int, list[tuple[int, int]]]) -> bool:
    """Whether the layers around it are of one kind: else it is where one stage leads to the next."""
    around = [kinds[other] for other in (layer - 1, layer + 1) if other in kinds]
    return len(around) < 2 or around[0] == around[1]


def _without_dtype(traits: Sequence[Trait]) -> list[Trait]:
    merged: dict[tuple[str, tuple[int, ...]], Trait] = {}
    for trait in traits:
        key = (trait.name, trait.size)
        known = merged.get(key)
        merged[key] = trait._replace(layers=known.layers + trait.layers) if known else trait
    return list(merged.values())


def _say_odd(
    run: Run,
    layer: int,
    own: dict[int, int],
    usual: dict[int, int],
    traits: Sequence[Trait],
    faults: Faults,
) -> None:
    more = [traits[number] for number in own if own[number] > usual.get(number, 0)]
    less = [traits[number] for number in usual if usual[number] > own.get(number, 0)]
    reshaped = {trait.name for trait in more} & {trait.name for trait in less}
    other = [trait for trait in more if trait.name not in reshaped]
    # The first and the last layer often have a module of their own: dense instead of sparse, a
    # position table, an adapter to what comes next; or no norm, which stands outside.
    norms = all("norm" in trait.name or "ln" in trait.name for trait in less)
    if (other or (norms and not reshaped)) and layer in (min(run.layers), max(run.layers)):
        return
    said = [
        *(f"{name} has another shape" for name in sorted(reshaped)),
        *(f"{trait.name} is missing" for trait in less if trait.name not in reshaped),
        *(f"only it has {trait.name}" for trait in other),
    ]
    shown = "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")
    faults.add("WK711", f"layer {layer} is like no other: {shown}", tensor=f"{run.prefix}.{layer}")


def _find_other_dtypes(run: Run, faults: Faults, odd: set[int]) -> None:
    """Tensors that are of one type in most layers and of another in a few."""
    by_name: dict[tuple[str, tuple[int, ...]], list[Trait]] = {}
    for trait in run.traits:
        by_name.setdefault((trait.name, trait.size), []).append(trait)
    for traits in by_name.values():
        usual = max(traits, key=lambda trait: len(trait.layers))
        for trait in traits:
            few = len(trait.layers) * 4 <= len(usual.layers)
            if trait is not usual and few and not set(trait.layers) <= odd:
                layers = ", ".join(str(layer) for layer in sorted(trait.layers)[:8])
                message = f"{trait.name} is {trait.dtype} in layer {layers}, else {usual.dtype}"
                faults.add(
                    "WK712", message, tensor=f"{run.prefix}.{min(trait.layers)}.{trait.name}"
                )
