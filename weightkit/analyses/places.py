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
    "recurrent": lambda place: place.scene.is_recurrent(place.group, place.end),
    "audio": lambda place: "whisper" in place.scene.model_type,
    "mask": lambda place: len(place.group.shape) > 1,
    "fixed": lambda place: (
        not any(name in place.scene.model_type for name in leaves.LEARNT_POSITIONS)
    ),
    "frozen": lambda place: _is_frozen(place.group, place.scene),
    "low_rank": lambda place: place.scene.has_low_rank(place.group),
}
"""The words of :class:`weightkit.architectures.rows.Row`'s ``when``."""


def _is_frozen(group: Fold, scene: Scene) -> bool:
    return (
        len(group.shape) == 1
        and any(name in scene.model_type for name in leaves.FROZEN_NORMS)
        and scene.has_sibling(group, "running_mean")
        and not scene.has_sibling(group, "num_batches_tracked")
    )
