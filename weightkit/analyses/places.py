"""Where a naming rule matched, and the conditions that rules can make of the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weightkit.analyses.folding import Fold
from weightkit.analyses.scene import Scene
from weightkit.architectures import leaves


class Place(NamedTuple):
    """Where a rule matched: segments ``[begin, end]`` of a name."""

    scene: Scene
    group: Fold
    path: tuple[str, ...]
    begin: int
    end: int
    rank: int
    """Dimensions of the weight of the module."""


CONDITIONS: dict[str, Callable[[Place], bool]] = {
    "top": lambda place: not any("#" in part for part in place.path[: place.begin]),
    "matrix": lambda place: place.rank in (2, 3),
    "kernel": lambda place: place.rank > 2,
    "flat": lambda place: place.rank < 3,
    "experts": lambda place: ".".join(place.path[: place.end]) in place.scene.blocks_with_experts,
    "own": lambda place: place.end == len(place.path) - 1,
    "attends": lambda place: place.scene.attends(place.group, place.end),
    "paired": lambda place: all(
        place.scene.has_sibling(place.group, name) for name in ("gamma", "beta")
    ),
    "recurrent": lambda place: place.scene.is_recurrent(place.group, place.end),
    "audio": lambda place: "whisper" in place.scene.model_type,
    "mask": lambda place: len(place.group.shape) > 1,
    "vector": lambda place: len(place.group.shape) == 1,
    "balance": lambda place: (
        not any(name in place.scene.model_type for name in leaves.LEARNT_BALANCES)
    ),
    "fixed": lambda place: (
        not any(name in place.scene.model_type for name in leaves.LEARNT_POSITIONS)
    ),
    "frozen": lambda place: _is_frozen(place.group, place.scene),
    "low_rank": lambda place: place.scene.has_low_rank(place.group),
}
"""The words of :class:`weightkit.architectures.rows.Row`'s ``when``."""


def _is_frozen(group: Fold, scene: Scene) -> bool:
    """Such a norm has no ``num_batches_tracked``; neither has one of PyTorch before 0.4.1, which
    learnt, but which no config of transformers describes."""
    return (
        len(group.shape) == 1
        and isinstance(scene.config.get("model_type"), str)
        and scene.has_sibling(group, "running_mean")
        and not scene.has_sibling(group, "num_batches_tracked")
    )
