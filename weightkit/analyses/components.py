"""What each tensor is: its component, region, layer, expert and kind.

Follows from the name's innermost known module, the dimensions of the module's weight, what stands
beside it and the config; the rules are rows of :mod:`weightkit.architectures`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from weightkit.analyses.folding import Fold, fold
from weightkit.analyses.kinds import BOOKKEEPING, BUFFER, PARAMETER, kind_of
from weightkit.analyses.naming import Matcher
from weightkit.analyses.places import CONDITIONS, Place
from weightkit.analyses.scene import MAX_NAME, NORMALISED_WEIGHTS, WEIGHTS, Scene, layer_segment
from weightkit.architectures import adapters, ggml, language, regions
from weightkit.architectures.rows import Row
from weightkit.tensors import TensorInfo

VECTORS = ("norm", "lora", "other")
"""Components that have one-dimensional weights of their own."""

CONTAINERS = ("embedding", "attention")
"""Components whose names whole encoders bear as well (``memory_attention.layers.0.linear1``)."""


MAX_KINDS = 20_000
"""Kinds of names that are looked at; the biggest published models have some hundreds."""


class Classified(NamedTuple):
    """What one tensor is, and the rule that says so."""

    component: str
    region: str
    layer: int | None
    expert: int | None
    expert_role: str
    """routed, shared, grouped or ""."""
    kind: str
    """parameter, bias, buffer or bookkeeping."""
    rule: str


class Kin(NamedTuple):
    """What all tensors of a fold are. ``layer`` and ``expert`` are segments of the name."""

    component: str
    region: str
    layer: int | None
    expert: int | None
    expert_role: str
    kind: str
    rule: str


UNREAD = Kin("other", "main", None, None, "", PARAMETER, "one of too many kinds of names")
"""What tensors are that come after :data:`MAX_KINDS`."""


def classify(
    tensors: Sequence[TensorInfo],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    format: str,  # noqa: A002
) -> list[Classified]:
    """What each tensor is, in the order given.

    ``config`` is the parsed ``config.json`` ({} if there is none), ``metadata`` what the file says
    about itself (GGUF's key-values), ``format`` the format's name.
    """
    found: dict[int, Classified] = {}
    for group, kin in classify_folds(Scene(fold(tensors), config, metadata, format)):
        layers = group.column_of(kin.layer) if kin.layer is not None else None
        experts = group.column_of(kin.expert) if kin.expert is not None else None
        for at, member in enumerate(group.members):
            found[id(member)] = Classified(
                kin.component,
                kin.region,
                layers[at] if layers else None,
                experts[at] if experts else None,
                *kin[4:],
            )
    return [found[id(tensor)] for tensor in tensors]


def classify_folds(scene: Scene) -> list[tuple[Fold, Kin]]:
    """Like :func:`classify` for folds; one that mixes kinds of modules comes back in parts."""
    known: dict[Hashable, Kin] = {}
    found = []
    for groups in scene.by_template.values():
        for group in groups:
            for part in scene.split(group):
                key = _likeness(part, scene)
                if key not in known:
                    if len(known) >= MAX_KINDS:
                        found.append((part, UNREAD))
                        continue
                    known[key] = kin_of(part, scene)
                found.append((part, known[key]))
    return found


def _likeness(group: Fold, scene: Scene) -> Hashable:
    """What decides about a fold: folds that differ only in sizes need no second look."""
    shape = group.shape
    segments = group.segments
    return (
        group.template,
        len(shape),
        group.dtype.name,
        prod(shape) == max(shape, default=1),
        prod(shape) > 1,
        shape[:1] == (scene.vocabulary,),
        _rank(group, segments, scene) if segments[-1] == "bias" else 0,
        scene.predicts_further(group),
        scene.recurs(group),
    )


MODULES = Matcher([*adapters.ROWS, *language.ROWS])
FLAT_MODULES = Matcher([*adapters.ROWS, *ggml.ROWS, *language.ROWS])
WEAK = Matcher(language.WEAK)
REGIONS = Matcher(regions.REGIONS)
EXPERTS = Matcher(regions.EXPERTS)


def kin_of(group: Fold, scene: Scene) -> Kin:
    """Classify one fold of those that ``scene.split`` gives."""
    if len(group.template) > MAX_NAME:
        return Kin("other", "main", None, None, "", PARAMETER, "a name too long to be one")
    segments = tuple(group.template.lower().split("."))
    rank = _rank(group, segments, scene)
    role, expert = _expert(group, segments)
    component, rule = _component(group, segments, rank, scene)
    kind, reason = kind_of(group, segments, component, scene)
    if kind == BUFFER and reason:
        component, rule = reason
    elif kind == BOOKKEEPING and reason:
        rule = f"{rule}; {reason[1]}"
    region = _region(segments, component, group, scene)
    return Kin(component, region, layer_segment(segments), expert, role, kind, rule)


def _rank(group: Fold, segments: tuple[str, ...], scene: Scene) -> int:
    """Dimensions of the weight of the fold's module; 0 where a bias has none beside it."""
    if segments[-1] != "bias":
        return len(group.shape)
    if len(group.shape) > 1 and any(
        weight.shape == group.shape for weight in scene.siblings(group, *WEIGHTS)
    ):
        return 1  # of the weight's own shape, so the two work by element
    for names in (WEIGHTS, NORMALISED_WEIGHTS):
        ranks = scene.ranks_of(group, *names)
        if len(ranks) == 1:
            return next(iter(ranks))
        if ranks:
            module = group.members[0].name.rpartition(".")[0]
            return scene.rank_by_module(group, *names).get(module, 0)
    return 0


# Components


def _component(group: Fold, segments: tuple[str, ...], rank: int, scene: Scene) -> tuple[str, str]:
    """The component of a fold and the rule that gives it."""
    for path in _paths(segments):
        allowed = _allowed(group, path, rank, scene)
        for matcher in (FLAT_MODULES if scene.flat else MODULES, WEAK):
            match = matcher.find(path, allowed)
            if match is None or not match[0].component:
                continue
            row = match[0]
            if rank == 1 and row.component not in VECTORS and _is_scale(segments, scene):
                return "norm", "a vector as weight"
            return row.component, _reason(row, path[match[1] : match[2] + 1])
    return _by_shape(group, segments, rank, scene)


_WORDS = {
    "top": "before any layer",
    "matrix": "a matrix",
    "kernel": "a kernel",
    "flat": "no kernel",
    "experts": "beside experts",
    "recurrent": "with a state that is carried on",
    "attends": "with queries and keys",
    "own": "the parameter itself",
    "paired": "gamma beside beta",
    "audio": "of a model that reads sound",
}
"""The conditions of a rule, as an explanation words them."""


def _reason(row: Row, matched: Sequence[str]) -> str:
    words = ", ".join(_WORDS[word] for word in row.when.split())
    return f"{row.pattern} matches {'.'.join(matched)}" + (f" ({words})" if words else "")


def _paths(segments: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The name; after it, the name without what a fused module appends: ``gate_up_proj_bias``."""
    leaf = segments[-1]
    for suffix in ("_weight", "_bias", "_blocks", "_scales", "_scale_inv", "_scale"):
        if leaf.endswith(suffix) and leaf != suffix:
            return [segments, (*segments[:-1], leaf.removesuffix(suffix))]
    return [segments]


def _allowed(
    group: Fold, path: tuple[str, ...], rank: int, scene: Scene
) -> Callable[[Row, int, int], bool]:
    def allowed(row: Row, begin: int, end: int) -> bool:
        for word in row.when.split():
            if not CONDITIONS[word](Place(scene, group, path, begin, end, rank)):
                return False
        if row.component == "norm" and rank > 1 and not _is_norm_weight(group, path, end):
            return False
        return not (row.component in CONTAINERS and _layer_between(path, end))

    return allowed


def _is_norm_weight(group: Fold, path: tuple[str, ...], end: int) -> bool:
    """Norms have vectors, also as (C, 1, 1), and a vector per head as a matrix of their own."""
    if path[-1] == "bias":
        return False
    vector = prod(group.shape) == max(group.shape, default=1)
    return vector or (len(group.shape) == 2 and end >= len(path) - 2)


def _layer_between(path: tuple[str, ...], end: int) -> bool:
    """Whether what matched holds whole layers, so that it says nothing about what is in them."""
    return any(part.endswith(regions.LAYER_ENDS) for part in path[end + 1 : -3])


def _is_scale(segments: tuple[str, ...], scene: Scene) -> bool:
    """Whether a weight of one dimension is a norm's: so it is where names do not say it all."""
    slope = any(part in language.SLOPES for part in segments)
    return not scene.flat and segments[-1] in ("weight", "bias") and not slope


def _by_shape(group: Fold, segments: tuple[str, ...], rank: int, scene: Scene) -> tuple[str, str]:
    leaf = segments[-1]
    normalised = leaf in ("weight_v", "weight_g") or segments[-3:-1] == (
        "parametrizations",
        "weight",
    )
    if leaf not in WEIGHTS and leaf != "bias" and not normalised:
        return "other", "a parameter of no known module"
    if rank == 1 and not any(part in language.SLOPES for part in segments):
        return "norm", "a vector as weight"
    if rank == 2 and scene.vocabulary and group.shape[0] == scene.vocabulary:
        if scene.has_token_table:
            return "output_head", "a row per token, beside an embedding"
        return "embedding", "a row per token"
    if rank == 2:
        return "projection", "a matrix of no known module"
    return ("conv", "a kernel of no known module") if rank > 2 else ("other", "no rule")


# Region, layer and expert


def _region(segments: tuple[str, ...], component: str, group: Fold, scene: Scene) -> str:
    if component == "lora":
        return "adapter"
    if scene.predicts_further(group):
        return "mtp"

    def allowed(row: regions.Region, begin: int, end: int) -> bool:
        return row.model in scene.model_type and (begin == 0 or not row.first)

    match = REGIONS.find(segments[:-1] or segments, allowed)
    return match[0].region if match else scene.default_region


def _expert(group: Fold, segments: tuple[str, ...]) -> tuple[str, int | None]:
    """The role of an expert's tensor, and the segment with the expert's number."""

    def allowed(row: regions.Expert, begin: int, end: int) -> bool:
        return not row.stacked or len(group.shape) == 3

    match = EXPERTS.find(segments, allowed)
    if match is None:
        return "", None
    row, _, at = match
    if "#" in segments[at]:
        return row.role, at
    return row.role, at + 1 if segments[at + 1 : at + 2] == ("#",) else None
