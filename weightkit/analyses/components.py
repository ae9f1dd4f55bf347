"""What each tensor is: its component, region, layer, expert and kind.

Follows from the name's innermost known module, the dimensions of the module's weight, what stands
beside it and the config; the rules are rows of :mod:`weightkit.architectures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from weightkit.analyses.folding import Fold, fold
from weightkit.analyses.naming import Matcher
from weightkit.architectures import adapters, ggml, language, leaves, quantizers, regions
from weightkit.architectures.rows import Row, expand, segment_matches
from weightkit.tensors import TensorInfo

WEIGHTS = frozenset({"weight", "qweight", "weight_packed", "kernel", "w", "embedding"})
NORMALISED_WEIGHTS = ("weight_v", "parametrizations.weight.original#")
VECTORS = ("norm", "lora", "other")
"""Components that have one-dimensional weights of their own."""
PARAMETER, BIAS, BUFFER, BOOKKEEPING = "parameter", "bias", "buffer", "bookkeeping"


class Classified(NamedTuple):
    """What one tensor is, and the rule that says so."""

    component: str
    region: str
    layer: int | None
    expert: int | None
    expert_role: str
    """routed, shared or ""."""
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
    for group, kin in classify_folds(fold(tensors), config, metadata, format):
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


def classify_folds(
    folds: Sequence[Fold],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    format: str,  # noqa: A002
) -> list[tuple[Fold, Kin]]:
    """Like :func:`classify` for folds; one that mixes kinds of modules comes back in parts."""
    scene = Scene(folds, config, metadata, format)
    return [(part, scene.kin(part)) for group in folds for part in scene.split(group)]


def _matchers() -> dict[str, Matcher[Any]]:
    return {
        "modules": Matcher([*adapters.ROWS, *language.ROWS]),
        "gguf": Matcher([*adapters.ROWS, *ggml.ROWS, *language.ROWS]),
        "weak": Matcher(language.WEAK),
        "buffers": Matcher([*leaves.BUFFERS, *adapters.BUFFERS]),
        "gguf buffers": Matcher(leaves.GGUF_BUFFERS),
        "regions": Matcher(regions.REGIONS),
    }


MATCHERS = _matchers()
_SUFFIXES = ("_weight", "_bias", "_blocks", "_scales", "_scale_inv", "_scale")


class Scene:
    """The whole checkpoint, as far as it matters to what one of its tensors is."""

    def __init__(
        self,
        folds: Sequence[Fold],
        config: Mapping[str, Any],
        metadata: Mapping[str, Any],
        format: str,  # noqa: A002
    ) -> None:
        self.config = config
        self.format = format
        self.model_type = _text(config.get("model_type")) or _text(config.get("_class_name"))
        self.modules = MATCHERS["gguf" if format == "gguf" else "modules"]
        self.by_template: dict[str, list[Fold]] = {}
        for group in folds:
            self.by_template.setdefault(group.template, []).append(group)
        self.by_module: dict[str, list[str]] = {}
        for template in self.by_template:
            self._note_modules(template)
        self.blocks_with_experts = _blocks_with_experts(self.by_template)
        self.default_region = self._default_region()

    def _note_modules(self, template: str) -> None:
        module = template.rpartition(".")[0]
        self.by_module.setdefault(module, []).append(template)
        # bitsandbytes puts its tensors one and two levels below the module: `weight.absmax`.
        outer, _, inner = module.rpartition(".")
        if inner == "weight":
            self.by_module.setdefault(outer, []).append(template)
        elif inner == "quant_state":
            self.by_module.setdefault(outer.rpartition(".")[0], []).append(template)

    def under(self, prefix: str) -> list[str]:
        """Templates of the tensors of one module, given with its dot."""
        return self.by_module.get(prefix.rstrip("."), [])

    def siblings(self, group: Fold, *names: str) -> list[Fold]:
        """The folds that have the same module and one of these parameter names."""
        module = group.template.rpartition(".")[0]
        prefix = f"{module}." if module else ""
        return [fold for name in names for fold in self.by_template.get(prefix + name, [])]

    def has_low_rank(self, group: Fold) -> bool:
        """Whether the fold's module also has the matrices of a low-rank update."""
        module = group.template.rpartition(".")[0]
        below = (f"{module}.lora_", f"{module}.hada_", f"{module}.lokr_", f"{module}.oft_")
        return any(template.startswith(below) for template in self.by_template)

    def split(self, group: Fold) -> list[Fold]:
        """The fold in parts, where its members belong to weights of different dimensions.

        ``downsample.0.bias`` is a convolution's and ``downsample.1.bias`` its norm's.
        """
        weights = self.siblings(group, *WEIGHTS)
        ranks = {len(weight.shape) for weight in weights}
        if len(ranks) < 2 or weights[0].template == group.template:
            return [group]
        rank_of = {
            member.name.rpartition(".")[0]: len(weight.shape)
            for weight in weights
            for member in weight.members
        }
        parts: dict[int, list[TensorInfo]] = {}
        for member in group.members:
            rank = rank_of.get(member.name.rpartition(".")[0], 0)
            parts.setdefault(rank, []).append(member)
        return [group.part(members) for members in parts.values()]

    def _default_region(self) -> str:
        if self.format == "gguf" or "_class_name" in self.config:
            return "main"
        images = any(
            len(group.shape) == 4 and group.shape[1] == 3 and group.segments[-1] in WEIGHTS
            for group in self._groups()
        )
        tokens = any("embed_tokens" in t or "word_embeddings" in t for t in self.by_template)
        return "vision" if images and not tokens else "main"

    def _groups(self) -> list[Fold]:
        return [group for groups in self.by_template.values() for group in groups]

    # What a fold is

    def kin(self, group: Fold) -> Kin:
        """Classify one fold."""
        segments = tuple(segment.lower() for segment in group.segments)
        role, expert = _expert(segments)
        kind, fixed = self.kind(group, segments)
        component, rule = fixed or self.component(group, segments)
        region = "adapter" if component == "lora" else self.region(segments)
        return Kin(component, region, _layer(segments), expert, role, kind, rule)

    def kind(self, group: Fold, segments: tuple[str, ...]) -> tuple[str, tuple[str, str] | None]:
        """Parameter, bias, buffer or bookkeeping; for some buffers also component and rule."""
        if self._is_bookkeeping(group, segments):
            return BOOKKEEPING, None
        buffer = self._buffer(group, segments)
        if buffer is not None:
            return BUFFER, buffer
        leaf = segments[-1]
        if leaf == "bias" or leaf.endswith("_bias") or leaf.startswith("bias_"):
            return BIAS, None
        norm = leaf == "beta" and self.component(group, segments)[0] == "norm"
        return (BIAS if norm else PARAMETER), None

    def _is_bookkeeping(self, group: Fold, segments: tuple[str, ...]) -> bool:
        for row in quantizers.AUXILIARIES:
            if not any(_ends_with(segments, leaf) for leaf in expand(row.leaf)):
                continue
            if not row.beside:
                return True
            for name in row.beside.split():
                if name.startswith("*"):
                    name = group.segments[-1].removesuffix(row.leaf[1:]) + name[1:]
                if any(
                    s.dtype.kind != "float" or s.dtype.nbytes == 1
                    for s in self.siblings(group, name)
                ):
                    return True
        return False

    def _buffer(self, group: Fold, segments: tuple[str, ...]) -> tuple[str, str] | None:
        flat = self.format == "gguf" and segments[-1] in ("weight", "bias")
        named = segments[:-1] if flat else segments

        def allowed(row: Row, begin: int, end: int) -> bool:
            if end != len(named) - 1:
                return False
            return not row.when or CONDITIONS[row.when](Place(self, named, begin, end, group))

        match = MATCHERS["gguf buffers" if flat else "buffers"].find(named, allowed)
        if match is not None:
            return match[0].component, f"{match[0].pattern} is a buffer"
        if group.dtype.kind == "bool" or (
            group.dtype.kind in ("int", "uint") and group.dtype.nbytes == 8
        ):
            return "other", "integers that are no packed weight"
        return None

    def component(self, group: Fold, segments: tuple[str, ...]) -> tuple[str, str]:
        """The component of a fold and the rule that gives it."""
        rank = self._rank(group, segments)
        for path in _paths(segments):
            for strength in (self.modules, MATCHERS["weak"]):
                match = strength.find(path, self._allowed(path, group, rank))
                if match is not None and match[0].component:
                    row = match[0]
                    if rank == 1 and row.component not in VECTORS and self._has_vector(segments):
                        return "norm", "a vector as weight"
                    return row.component, row.pattern + (f" ({row.when})" if row.when else "")
        return _by_rank(segments, rank)

    def _allowed(
        self, path: tuple[str, ...], group: Fold, rank: int
    ) -> Callable[[Row, int, int], bool]:
        def allowed(row: Row, begin: int, end: int) -> bool:
            for word in row.when.split():
                if not CONDITIONS[word](Place(self, path, begin, end, group, rank)):
                    return False
            if row.component == "norm" and rank > 1 and not _is_norm_weight(group, path, end):
                return False
            return not (row.component == "embedding" and _layer_between(path, end))

        return allowed

    def _has_vector(self, segments: tuple[str, ...]) -> bool:
        """Whether a weight of one dimension is a norm's: only where names do not say it all."""
        activation = any(part in language.ACTIVATIONS for part in segments)
        return self.format != "gguf" and segments[-1] in ("weight", "bias") and not activation

    def _rank(self, group: Fold, segments: tuple[str, ...]) -> int:
        """Dimensions of the weight of the fold's module; 0 where a bias has none beside it."""
        if segments[-1] != "bias":
            return len(group.shape)
        for names in (WEIGHTS, NORMALISED_WEIGHTS):
            weights = self.siblings(group, *names)
            if len({len(weight.shape) for weight in weights}) == 1:
                return len(weights[0].shape)
            if weights:
                return self._rank_by_name(group, weights)
        return 0

    def _rank_by_name(self, group: Fold, weights: Sequence[Fold]) -> int:
        module = group.members[0].name.rpartition(".")[0]
        for weight in weights:
            if any(member.name.rpartition(".")[0] == module for member in weight.members):
                return len(weight.shape)
        return 0

    def region(self, segments: tuple[str, ...]) -> str:
        """The part of the model that a name belongs to."""

        def allowed(row: regions.Region, begin: int, end: int) -> bool:
            return row.model in self.model_type

        match = MATCHERS["regions"].find(segments[:-1] or segments, allowed)
        return match[0].region if match else self.default_region


class Place(NamedTuple):
    """Where a rule matched: segments ``[begin, end]`` of a module's path."""

    scene: Scene
    path: tuple[str, ...]
    begin: int
    end: int
    group: Fold
    rank: int = 0


CONDITIONS: dict[str, Callable[[Place], bool]] = {
    "top": lambda place: not any("#" in part for part in place.path[: place.begin]),
    "matrix": lambda place: place.rank in (2, 3),
    "kernel": lambda place: place.rank > 2,
    "flat": lambda place: place.rank < 3,
    "experts": lambda place: ".".join(place.path[: place.end]) in place.scene.blocks_with_experts,
    "audio": lambda place: "whisper" in place.scene.model_type,
    "mask": lambda place: len(place.group.shape) > 1,
    "fixed": lambda place: (
        not any(name in place.scene.model_type for name in leaves.LEARNT_POSITIONS)
    ),
    "frozen": lambda place: _is_frozen(place),
    "low_rank": lambda place: place.scene.has_low_rank(place.group),
}


def _is_frozen(place: Place) -> bool:
    scene = place.scene
    return (
        len(place.group.shape) == 1
        and any(name in scene.model_type for name in leaves.FROZEN_NORMS)
        and bool(scene.siblings(place.group, "running_mean"))
        and not scene.siblings(place.group, "num_batches_tracked")
    )


def _text(value: object) -> str:
    return value.lower()[:200] if isinstance(value, str) else ""


def _ends_with(segments: tuple[str, ...], pattern: str) -> bool:
    parts = pattern.split(".")
    return len(segments) >= len(parts) and all(
        segment_matches(part, segment)
        for part, segment in zip(parts, segments[-len(parts) :], strict=True)
    )


def _paths(segments: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The name, after it without what a fused module appends: ``gate_up_proj_bias``."""
    leaf = segments[-1]
    for suffix in _SUFFIXES:
        if leaf.endswith(suffix) and leaf != suffix:
            return [segments, (*segments[:-1], leaf.removesuffix(suffix))]
    return [segments]


def _is_norm_weight(group: Fold, path: tuple[str, ...], end: int) -> bool:
    """Norms have vectors, also as (C, 1, 1), and a vector per head as a matrix of their own."""
    if path[-1] == "bias":
        return False
    shape = group.shape
    vector = prod(shape) == max(shape, default=1)
    return vector or (len(shape) == 2 and end >= len(path) - 2)


def _layer_between(path: tuple[str, ...], end: int) -> bool:
    return any(part in regions.LAYERS for part in path[end + 1 : -2])


def _by_rank(segments: tuple[str, ...], rank: int) -> tuple[str, str]:
    if segments[-1] not in WEIGHTS and segments[-1] != "bias":
        return "other", "a parameter of no known module"
    if rank == 1:
        return "norm", "a vector as weight"
    if rank == 2:
        return "projection", "a matrix of no known module"
    return ("conv", "a kernel of no known module") if rank > 2 else ("other", "no rule")


def _layer(segments: tuple[str, ...]) -> int | None:
    for at, segment in enumerate(segments):
        if segment == "#" and at and segments[at - 1] != "experts":
            return at
    return None


def _expert(segments: tuple[str, ...]) -> tuple[str, int | None]:
    for at, segment in enumerate(segments):
        for pattern, role in regions.EXPERTS:
            if segment_matches(pattern, segment):
                if "#" in segment:
                    return role, at
                index = at + 1 if segments[at + 1 : at + 2] == ("#",) else None
                return role, index
    return "", None


def _blocks_with_experts(templates: Mapping[str, Any]) -> set[str]:
    found = set()
    for template in templates:
        segments = template.lower().split(".")
        for at, segment in enumerate(segments):
            if any(segment_matches(pattern, segment) for pattern, _ in regions.EXPERTS):
                found.add(".".join(segments[:at]))
    return found
