"""Mixtures of experts: how many parameters there are and how many of them one token uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from weightkit.analyses.quantization import Counted
from weightkit.architectures import mixtures


class Mixture(NamedTuple):
    """Counts of a mixture of experts; None where the files do not say."""

    experts: int | None
    """Routed experts per layer, if all layers have as many."""
    top_k: int | None
    routed: int
    shared: int
    per_expert: int | None
    """Parameters of one routed expert over all layers."""
    active: int | None
    active_without_input_embedding: int | None
    unknown: str = ""


def mixture(
    counted: Sequence[Counted], config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Mixture | None:
    """The mixture that the parameters make up; None for a dense model."""
    routed = [c for c in counted if c.kin.expert_role == "routed"]
    if not routed:
        return None
    sizes = [_size(c) for c in counted]
    shared = sum(_size(c) for c in counted if c.kin.expert_role == "shared")
    in_experts = sum(_size(c) for c in routed)
    top_k = _setting(config, metadata, mixtures.TOP_K, "expert_used_count")
    total = _setting(config, metadata, mixtures.COUNT, "expert_count")
    if top_k is None or not total:
        why = "neither config nor metadata say how many experts a token uses"
        return Mixture(total, top_k, in_experts, shared, None, None, None, why)
    active = sum(sizes) - in_experts + in_experts * Fraction(top_k, total)
    embedding = sum(
        _size(c)
        for c in counted
        if c.kin.component == "embedding" and c.kin.region in ("main", "text")
    )
    return Mixture(
        total, top_k, in_experts, shared, in_experts // total, int(active), int(active) - embedding
    )


def _size(item: Counted) -> int:
    return (item.parameters or 0) * len(item.fold.members)


def _setting(
    config: Mapping[str, Any], metadata: Mapping[str, Any], names: Sequence[str], key: str
) -> int | None:
    sections = [config, *(config.get(name) for name in mixtures.NESTED)]
    for section in sections:
        if isinstance(section, Mapping):
            for name in names:
                value = section.get(name)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return value if isinstance(value, int) and value > 0 else None
