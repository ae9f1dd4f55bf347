"""A checkpoint's names as a whole: what stands beside a tensor, in its module and in its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from weightkit.analyses.folding import Fold
from weightkit.analyses.naming import Matcher
from weightkit.architectures import regions

WEIGHTS = ("weight", "qweight", "weight_packed", "kernel", "w", "embedding")
"""What modules call their weight."""
NORMALISED_WEIGHTS = ("weight_v", "parametrizations.weight.original#")
"""What weight normalisation makes of it."""


_EXPERTS = Matcher([row for row in regions.EXPERTS if "." not in row.pattern])
_LOW_RANK = ("lora_", "hada_", "lokr_", "oft_")
MAX_NAME = 2000
"""Longer names say nothing; they are what a hostile file has."""


class Scene:
    """All folds of a checkpoint with what is known about the model as a whole."""

    def __init__(
        self,
        folds: Sequence[Fold],
        config: Mapping[str, Any],
        metadata: Mapping[str, Any],
        format: str,  # noqa: A002
    ) -> None:
        self.config = config
        self.metadata = metadata
        self.flat = format == "gguf"
        """Names are GGUF's: flat, and complete without shapes."""
        self.model_type = _model_type(config)
        self.vocabulary = _vocabulary(config)
        self.by_template: dict[str, list[Fold]] = {}
        for group in folds:
            self.by_template.setdefault(group.template, []).append(group)
        self.blocks_with_experts: set[str] = set()
        self._recurrent: dict[str, set[str]] = {}
        """Modules with the parameters of a recurrence: by template, the names of those that have."""
        self._attending: dict[str, frozenset[str]] = {}
        """For modules that make some of queries, keys and values: which."""
        self.adapted: set[str] = set()
        """Modules with the matrices of a low-rank update."""
        self.next_token_layers: dict[str, set[int]] = {}
        """Where a run of layers stands: numbers of the layers that predict further tokens."""
        self.has_token_table = False
        for template in self.by_template:
            if len(template) <= MAX_NAME:
                self._note(template)
        self.default_region = self._default_region()
        self._ranks: dict[str, frozenset[int]] = {}
        self._rank_by_module: dict[tuple[str, tuple[str, ...]], dict[str, int]] = {}
        self._packed: dict[str, bool] = {}

    def siblings(self, group: Fold, *names: str) -> list[Fold]:
        """The folds that have the same module and one of these parameter names."""
        prefix = module_prefix(group.template)
        return [fold for name in names for fold in self.by_template.get(prefix + name, ())]

    def has_sibling(self, group: Fold, *names: str) -> bool:
        """Whether the fold's module has one of these parameters, in one of its layers at least."""
        prefix = module_prefix(group.template)
        return any(prefix + name in self.by_template for name in names)

    def ranks_of(self, group: Fold, *names: str) -> frozenset[int]:
        """The dimensions that the parameters with these names have in the fold's module."""
        prefix = module_prefix(group.template)
        found: frozenset[int] = frozenset()
        for name in names:
            template = prefix + name
            if template not in self._ranks:
                folds = self.by_template.get(template, ())
                self._ranks[template] = frozenset(len(fold.shape) for fold in folds)
            found |= self._ranks[template]
        return found

    def packs(self, group: Fold, *names: str) -> bool:
        """Whether the fold's module has one of these parameters in a type that packs or scales."""
        prefix = module_prefix(group.template)
        for name in names:
            template = prefix + name
            if template not in self._packed:
                folds = self.by_template.get(template, ())
                self._packed[template] = any(
                    fold.dtype.kind != "float" or fold.dtype.nbytes == 1 for fold in folds
                )
            if self._packed[template]:
                return True
        return False

    def rank_by_module(self, group: Fold, *names: str) -> dict[str, int]:
        """For modules like that of ``group``, by name, the dimensions of their weight."""
        key = (module_prefix(group.template), names)
        if key not in self._rank_by_module:
            self._rank_by_module[key] = {
                member.name.rpartition(".")[0]: len(weight.shape)
                for weight in self.siblings(group, *names)
                for member in weight.members
            }
        return self._rank_by_module[key]

    def is_recurrent(self, group: Fold, end: int) -> bool:
        """Whether the module up to segment ``end`` has the parameters of a recurrence."""
        names = self._recurrent.get(".".join(group.segments[: end + 1]))
        return names is not None and _module(group.members[0].name, end + 1) in names

    def attends(self, group: Fold, end: int) -> bool:
        """Whether the module up to segment ``end`` has queries and keys, and carries no state on."""
        module = ".".join(group.segments[: end + 1])
        makes = self._attending.get(module, "")
        return len(makes) > 1 and not self.is_recurrent(group, end)

    def has_low_rank(self, group: Fold) -> bool:
        """Whether the fold's module also has the matrices of a low-rank update."""
        return group.template.rpartition(".")[0] in self.adapted

    def split(self, group: Fold) -> list[Fold]:
        """The fold in parts that are one kind of thing each.

        ``downsample.0.bias`` is a convolution's and ``downsample.1.bias`` its norm's; the last layer
        may be one that predicts further tokens and has the names of any other.
        """
        parts = self._split_by(group, self._weight_ranks(group))
        if self._recurrent:
            parts = [part for one in parts for part in self._split_by(one, self._recurrence(one))]
        if not self.next_token_layers:
            return parts
        return [part for half in parts for part in self._split_by(half, self._next_token(half))]

    def _split_by(self, group: Fold, keys: Sequence[int] | None) -> list[Fold]:
        if keys is None or len(set(keys)) < 2:
            return [group]
        places = range(len(keys))
        return [
            group.part([*compress(places, map(key.__eq__, keys))]) for key in dict.fromkeys(keys)
        ]

    def _weight_ranks(self, group: Fold) -> Sequence[int] | None:
        if group.segments[-1] in WEIGHTS or len(self.ranks_of(group, *WEIGHTS)) < 2:
            return None
        ranks = self.rank_by_module(group, *WEIGHTS)
        return [ranks.get(member.name.rpartition(".")[0], 0) for member in group.members]

    def _recurrence(self, group: Fold) -> Sequence[int] | None:
        """By member, whether its module carries a state on; other layers may attend instead."""
        for end in range(len(group.segments) - 1, 0, -1):
            names = self._recurrent.get(".".join(group.segments[:end]))
            if names:
                return [_module(member.name, end) in names for member in group.members]
        return None

    def recurs(self, group: Fold) -> bool:
        """Whether a fold that was split is of a module that carries a state on."""
        return bool(self._recurrent) and bool((self._recurrence(group) or [False])[0])

    def _next_token(self, group: Fold, first: int | None = None) -> Sequence[int] | None:
        """For the members (or the ``first`` few) whether their layer predicts further tokens."""
        at = layer_segment(group.segments)
        if at is None:
            return None
        layers = self.next_token_layers.get(".".join(group.segments[:at]))
        return None if layers is None else [*map(layers.__contains__, group.column_of(at)[:first])]

    def predicts_further(self, group: Fold) -> bool:
        """Whether a fold that was split is of a layer that predicts further tokens."""
        return bool(self.next_token_layers) and bool((self._next_token(group, 1) or [False])[0])

    def _note(self, template: str) -> None:
        """Remember what the name of a tensor says about its neighbours."""
        module = template.rpartition(".")[0]
        segments = template.lower().split(".")
        if segments[-1] in regions.RECURRENCE:
            names = self._recurrent.setdefault(module, set())
            for group in self.by_template[template]:
                names.update(member.name.rpartition(".")[0] for member in group.members)
        if segments[-1].startswith(_LOW_RANK):
            self.adapted.add(module)
        elif len(segments) > 1 and segments[-2].startswith(_LOW_RANK):
            self.adapted.add(module.rpartition(".")[0])
        self._note_attention(template, segments)
        self.has_token_table |= any(name in template for name in regions.TOKEN_TABLES)
        for at, segment in enumerate(segments):
            if _EXPERTS.matches(segment):
                self.blocks_with_experts.add(".".join(segments[:at]))
        self._note_next_token(template, segments)

    def _note_attention(self, template: str, segments: Sequence[str]) -> None:
        levels = 1 if segments[-1] == "in_proj_weight" else 2
        makes = regions.ATTENDING.get(segments[-levels]) if len(segments) > levels else None
        if not makes or (segments[-levels - 1] == "#" and "att" not in segments[-levels - 2]):
            return  # also where a layer has its attention and all else at one level
        module = template.rsplit(".", levels)[0]
        self._attending[module] = self._attending.get(module, frozenset()) | makes

    def _note_next_token(self, template: str, segments: Sequence[str]) -> None:
        at = layer_segment(segments)
        if at is None or regions.NEXT_TOKEN.isdisjoint(segments[at + 1 :]):
            return
        prefix = ".".join(template.split(".")[:at])
        layers = self.next_token_layers.setdefault(prefix, set())
        for group in self.by_template[template]:
            layers.update(group.column_of(at))

    def _default_region(self) -> str:
        if self.flat or "_class_name" in self.config:
            return "main"
        if any(name in self.model_type for name in regions.AUDIO_MODELS):
            return "audio"
        images = any(
            len(groups[0].shape) == 4 and groups[0].shape[1] == 3 and template.endswith("weight")
            for template, groups in self.by_template.items()
        )
        return "vision" if images and not self.has_token_table else "main"


def _module(name: str, segments: int) -> str:
    """The first ``segments`` segments of a name."""
    return ".".join(name.split(".", segments)[:segments])


def module_prefix(template: str) -> str:
    """What comes before a parameter's own name, with its dot; "" at the top level."""
    return template[: template.rfind(".") + 1]


def layer_segment(segments: Sequence[str]) -> int | None:
    """Which segment of a name holds the layer's number: the first that is only a number."""
    for at, segment in enumerate(segments):
        if segment == "#" and at and segments[at - 1] != "experts":
            return at
    return None


def _model_type(config: Mapping[str, Any]) -> str:
    for key in ("model_type", "_class_name"):
        value = config.get(key)
        if isinstance(value, str) and value:
            return value.lower()[:200]
    return ""


def _vocabulary(config: Mapping[str, Any]) -> int:
    for section in (config, config.get("text_config")):
        size = section.get("vocab_size") if isinstance(section, Mapping) else None
        if isinstance(size, int) and not isinstance(size, bool) and size > 1:
            return size
    return 0
