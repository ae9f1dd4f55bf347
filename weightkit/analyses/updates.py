"""The pairs of matrices that make a low-rank update, by module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weightkit.analyses.folding import Fold
from weightkit.analyses.quantization import Counted
from weightkit.architectures.adapters import PAIRS
from weightkit.rules import Faults
from weightkit.tensors import TensorInfo


class Update(NamedTuple):
    """A low-rank update of one module."""

    module: str
    rank: int
    inputs: int
    outputs: int


def updates_of(parts: Sequence[Counted], faults: Faults) -> list[Update]:
    """The pairs of matrices; halves of a pair are findings."""
    halves: dict[str, dict[str, TensorInfo]] = {}
    for item in parts:
        side = _side(item.fold)
        if side:
            suffix, which = side
            for member in item.fold.members:
                halves.setdefault(member.name[: -len(suffix)], {})[which] = member
    found = []
    for module, pair in halves.items():
        down, up = pair.get("down"), pair.get("up")
        if down is None or up is None:
            there = next(iter(pair.values()))
            faults.add("WK720", "the other matrix of the update is missing", tensor=there.name)
            continue
        update = _update(module.rstrip("._"), down, up)
        if update is None:
            shapes = f"{list(down.shape)} and {list(up.shape)}"
            faults.add("WK720", f"{shapes} share no rank", tensor=down.name)
        else:
            found.append(update)
    return found


def _side(fold: Fold) -> tuple[str, str] | None:
    for down, up in PAIRS:
        for suffix, which in ((down, "down"), (up, "up")):
            if _ends(fold.template, suffix):
                return suffix, which
    return None


def _ends(template: str, suffix: str) -> bool:
    """Whether a name ends so: ``lora_A`` as a whole segment, not that of ``randlora_A``."""
    before = template[: -len(suffix)]
    whole = suffix.startswith(("lora.", "_")) or not before or before[-1] == "."
    return whole and template.endswith(suffix)


def _update(module: str, down: TensorInfo, up: TensorInfo) -> Update | None:
    if not down.shape or len(up.shape) < 2:
        return None
    if "embedding" in down.name.rpartition(".")[2] and down.shape[0] != up.shape[1]:
        return None
    rank = down.shape[0]
    if not rank or up.shape[1] != rank:
        return None
    return Update(module, rank, down.numel // rank, up.numel // rank)


_UPDATES = (
    "lora_a",
    "lora_b",
    "lora_e",
    "lora_down",
    "lora_up",
    "lora_mid",
    "lora_emb",
    "lora_linear",
    "lora_magnitude",
    *(
        "hada_",
        "lokr_",
        "oft_",
        "dora_",
        "ia3_",
        "vera_",
        "boft_",
        "bone_",
        "miss_",
        "c3a_",
        "hra_",
    ),
    *("fourierft_", "poly_", "vblora_", "randlora_", "shira_", "road_", "waveft_", "adaption_"),
)
"""How the first segment begins that is an adapter's, no longer its base's."""


def module_of(name: str) -> str:
    """The module that a tensor of an adapter belongs to."""
    segments = name.split(".")
    for at, segment in enumerate(segments):
        if segment.lower().startswith(_UPDATES):
            return ".".join(segments[:at])
        if segment.lower().rstrip("0123456789").endswith("_lora"):
            return ".".join([*segments[:at], segment[: segment.lower().rindex("_lora")]])
    return ".".join(segments[:-1])
