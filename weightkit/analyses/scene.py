"""A checkpoint's names as a whole: what stands beside a tensor, in its module and in its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightkit.analyses.folding import Fold
from weightkit.architectures import regions
from weightkit.architectures.rows import expand, segment_matches

WEIGHTS = ("weight", "qweight", "weight_packed", "kernel", "w", "embedding")
"""What modules call their weight."""
NORMALISED_WEIGHTS = ("weight_v", "parametrizations.weight.original#")
"""What weight normalisation makes of it."""


_EXPERTS = [
    pattern for row in regions.EXPERTS if "." not in row.pattern for pattern in expand(row.pattern)
]


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
        self.modules: dict[str, list[str]] = {}
        """Names (relative, as templates) of the tensors in each module."""
        self.blocks_with_experts: set[str] = set()
        self.next_token_layers: dict[str, set[int]] = {}
        """Where a run of layers stands: numbers of the layers that predict further tokens."""
        for template in self.by_template:
            self._note_modules(template)
            self._note_blocks(template)
        self.default_region = self._default_region()

    def siblings(self, group: Fold, *names: str) -> list[Fold]:
        """The folds that have the same module and one of these parameter names."""
        module = group.template.rpartition(".")[0]
        prefix = f"{module}." if module else ""
        return [fold for name in names for fold in self.by_template.get(prefix + name, ())]

    def beside(self, group: Fold) -> Mapping[str, list[Fold]]:
        """All folds of the module of ``group``, by their name in it."""
        module = group.template.rpartition(".")[0]
        prefix = f"{module}." if module else ""
        return {name: self.by_template[prefix + name] for name in self.modules.get(module, ())}

    def has_low_rank(self, group: Fold) -> bool:
        """Whether the fold's module also has the matrices of a low-rank update."""
        module = group.template.rpartition(".")[0]
        starts = ("lora_", "hada_", "lokr_", "oft_")
        return any(name.startswith(starts) for name in self.modules.get(module, ())) or any(
            f"{module}.{name}" in self.modules
            for name in ("lora_down", "lora_up", "lora_A", "lora_B")
        )

    def is_recurrent(self, group: Fold, end: int) -> bool:
        """Whether the module up to segment ``end`` has the parameters of a recurrence."""
        module = ".".join(group.segments[: end + 1])
        return any(name.lower() in regions.RECURRENCE for name in self.modules.get(module, ()))

    def split(self, group: Fold) -> list[Fold]:
        """The fold in parts that are one kind of thing each.

        ``downsample.0.bias`` is a convolution's and ``downsample.1.bias`` its norm's; the last layer
        may be one that predicts further tokens and has the names of any other.
        """
        parts = self._split_by(group, self._ranks(group))
        if not self.next_token_layers:
            return parts
        return [part for half in parts for part in self._split_by(half, self._next_token(half))]

    def _split_by(self, group: Fold, keys: Sequence[int] | None) -> list[Fold]:
        if keys is None or len(set(keys)) < 2:
            return [group]
        parts: dict[int, list[int]] = {}
        for at, key in enumerate(keys):
            parts.setdefault(key, []).append(at)
        return [group.part(members) for members in parts.values()]

    def _ranks(self, group: Fold) -> Sequence[int] | None:
        weights = self.siblings(group, *WEIGHTS)
        if len({len(weight.shape) for weight in weights}) < 2:
            return None
        if any(weight.template == group.template for weight in weights):
            return None
        rank_of = {
            member.name.rpartition(".")[0]: len(weight.shape)
            for weight in weights
            for member in weight.members
        }
        return [rank_of.get(member.name.rpartition(".")[0], 0) for member in group.members]

    def _next_token(self, group: Fold) -> Sequence[int] | None:
        at = layer_segment(group.segments)
        if at is None:
            return None
        layers = self.next_token_layers.get(".".join(group.segments[:at]))
        return None if layers is None else [number in layers for number in group.column_of(at)]

    def predicts_further(self, group: Fold) -> bool:
        """Whether a fold that was split is of a layer that predicts further tokens."""
        return bool(self.next_token_layers) and bool((self._next_token(group) or [False])[0])

    def _note_modules(self, template: str) -> None:
        module, _, leaf = template.rpartition(".")
        self.modules.setdefault(module, []).append(leaf)
        # bitsandbytes puts its tensors one and two levels below the module: `weight.absmax`.
        outer, _, inner = module.rpartition(".")
        if inner == "weight":
            self.modules.setdefault(outer, []).append(f"weight.{leaf}")
        elif inner == "quant_state":
            outer = outer.rpartition(".")[0]
            self.modules.setdefault(outer, []).append(f"weight.quant_state.{leaf}")

    def _note_blocks(self, template: str) -> None:
        segments = template.lower().split(".")
        for at, segment in enumerate(segments):
            if any(segment_matches(pattern, segment) for pattern in _EXPERTS):
                self.blocks_with_experts.add(".".join(segments[:at]))
        at = layer_segment(segments) or len(segments)
        if any(segment in regions.NEXT_TOKEN for segment in segments[at + 1 :]):
            prefix = ".".join(template.split(".")[:at])
            layers = self.next_token_layers.setdefault(prefix, set())
            for group in self.by_template[template]:
                layers.update(group.column_of(at))

    def _default_region(self) -> str:
        if self.flat or "_class_name" in self.config:
            return "main"
        if any(name in self.model_type for name in regions.AUDIO_MODELS):
            return "audio"
        images = tokens = False
        for template, groups in self.by_template.items():
            shape = groups[0].shape
            images |= len(shape) == 4 and shape[1] == 3 and template.endswith("weight")
            tokens |= any(name in template for name in regions.TOKEN_TABLES)
        return "vision" if images and not tokens else "main"


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
