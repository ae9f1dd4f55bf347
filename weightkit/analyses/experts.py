"""Mixtures of experts: how many parameters there are and how many of them one token uses.

    active = all that is no routed expert + for each layer: one expert × the experts per token

Experts are counted from the tensors (numbered ones, or the first dimension of a stack); how many
a token uses stands only in the config or the metadata. Layers that predict further tokens are no
part of a token's way through the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any, NamedTuple

from weightkit.analyses.quantization import Counted
from weightkit.architectures import mixtures


class Mixture(NamedTuple):
    """Counts of a mixture of experts; None where the files do not say."""

    experts: int | None
    """Routed experts of a layer; None if the layers differ."""
    declared: int | None
    """The same as the config says."""
    top_k: int | None
    """Experts that a token uses in a layer; None if the layers differ."""
    routed: int
    shared: int
    per_expert: int | None
    """Parameters of one routed expert, over all layers."""
    layers: int
    """Layers with experts."""
    active: int | None
    active_without_input_embedding: int | None
    unknown: str = ""
    """Why ``active`` is None."""


class _Use(NamedTuple):
    """Experts that a token uses: the same number everywhere, or a number by layer."""

    everywhere: int | None
    by_layer: tuple[int, ...] = ()
    unknown: str = "neither config nor metadata say how many experts a token uses"

    def at(self, layer: int | None) -> int | None:
        if self.everywhere is not None:
            return self.everywhere
        known = layer is not None and layer < len(self.by_layer)
        return self.by_layer[layer] if known and layer is not None else None


def mixture(
    counted: Sequence[Counted], config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Mixture | None:
    """The mixture that the parameters make up; None for a dense model."""
    counted = [item for item in counted if item.kin.region != "mtp"]
    routed = [item for item in counted if item.kin.expert_role == "routed"]
    if not routed:
        return None
    declared = _whole(config, metadata, mixtures.COUNT, mixtures.COUNT, "expert_count")
    use = _top_k(config, metadata)
    shares = [share for item in routed for share in _shares(item, declared)]
    numbers = {share.experts for share in shares}
    active, unknown = _active(counted, shares, use)
    in_experts = sum(size_of(item) for item in routed)
    return Mixture(
        experts=numbers.pop() if len(numbers) == 1 else None,
        declared=declared,
        top_k=use.everywhere,
        routed=in_experts,
        shared=sum(size_of(item) for item in counted if item.kin.expert_role == "shared"),
        per_expert=_per_expert(shares),
        layers=len({share.layer for share in shares}),
        active=active,
        active_without_input_embedding=None
        if active is None
        else active - _input_embedding(counted),
        unknown=unknown,
    )


class _Share(NamedTuple):
    """The routed parameters of one layer that come from one kind of tensor."""

    layer: int | None
    experts: int
    parameters: int


def _shares(item: Counted, declared: int | None) -> Iterator[_Share]:
    kin, fold = item.kin, item.fold
    size = item.parameters or 0
    layers: Sequence[int | None] = [None] * len(fold.members)
    if kin.layer is not None:
        layers = fold.column_of(kin.layer)
    if kin.expert is None:
        experts = _stacked(fold.shape, declared)
        yield from (_Share(layer, experts, size) for layer in layers)
    else:
        members = Counter(layers)
        experts_of = members
        if len(fold.columns) > 2:  # `experts.3.w1` and `experts.3.w3` are one expert's
            pairs = set(zip(layers, fold.column_of(kin.expert), strict=True))
            experts_of = Counter(layer for layer, _ in pairs)
        yield from (_Share(layer, experts_of[layer], size * n) for layer, n in members.items())


def _stacked(shape: tuple[int, ...], declared: int | None) -> int:
    """Experts in one tensor: its first dimension, unless they are stacked along the rows."""
    first = shape[0] if shape else 1
    if len(shape) == 2 and declared and first != declared and first % declared == 0:
        return declared
    return max(first, 1)


def _active(
    counted: Sequence[Counted], shares: Sequence[_Share], use: _Use
) -> tuple[int | None, str]:
    if any(item.parameters is None for item in counted):
        return None, "the logical count of some tensors is unknown"
    if any(item.kin.expert_role == "grouped" for item in counted):
        return None, "how many grouped experts a token uses differs from token to token"
    total = sum(size_of(item) for item in counted if item.kin.expert_role != "routed")
    routed, apart = 0, 1  # a fraction: of each layer's experts, a token uses top_k
    for share in shares:
        top_k = use.at(share.layer)
        if top_k is None:
            return None, use.unknown
        if top_k > share.experts:
            return None, f"a token would use {top_k} of {share.experts} experts"
        routed = routed * share.experts + share.parameters * top_k * apart
        apart *= share.experts
        common = gcd(routed, apart)
        routed, apart = routed // common, apart // common
    if apart != 1:
        return None, "the experts are not of one size"
    return total + routed, ""


def _per_expert(shares: Sequence[_Share]) -> int | None:
    if len({share.experts for share in shares}) != 1:
        return None
    total, experts = sum(share.parameters for share in shares), shares[0].experts
    return total // experts if total % experts == 0 else None


def _input_embedding(counted: Sequence[Counted]) -> int:
    """Embeddings of the language model, if a matrix of its own makes the output."""
    language = [item for item in counted if item.kin.region in ("main", "text")]
    if not any(item.kin.component == "output_head" for item in language):
        return 0
    return sum(size_of(item) for item in language if item.kin.component == "embedding")


def size_of(item: Counted) -> int:
    """Logical parameters of all members of a fold; 0 where they are unknown."""
    return (item.parameters or 0) * len(item.fold.members)


# What config and metadata say


def _top_k(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> _Use:
    numbers = {_first(section) for section in (config, *_sections(config))} - {None}
    if len(numbers) > 1:
        return _Use(None, unknown="the parts of the model use different numbers of experts")
    whole = _whole(config, metadata, mixtures.TOP_K, mixtures.NESTED_TOP_K, "expert_used_count")
    if whole is not None:
        return _Use(whole)
    for section in (config, *_sections(config)):
        for name in mixtures.TOP_K:
            value = section.get(name)
            if isinstance(value, list) and value and all(_is_count(item) for item in value):
                return _Use(value[0]) if len(set(value)) == 1 else _Use(None, tuple(value))
    model = config.get("model_type")
    return _Use(mixtures.TOP_K_OF_MODEL.get(model) if isinstance(model, str) else None)


def _first(section: Mapping[str, Any]) -> int | None:
    values = (section.get(name) for name in mixtures.TOP_K)
    return next((value for value in values if isinstance(value, int) and _is_count(value)), None)


def _whole(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    names: Sequence[str],
    nested: Sequence[str],
    key: str,
) -> int | None:
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    if isinstance(value, int) and _is_count(value):
        return value
    for section, keys in [(config, names), *((part, nested) for part in _sections(config))]:
        for name in keys:
            value = section.get(name)
            if isinstance(value, int) and _is_count(value):
                return value
    return None


def _sections(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [config.get(name) for name in mixtures.SECTIONS]
    inner = [part.get("text_config") for part in found if isinstance(part, Mapping)]
    return [part for part in (*found, *inner) if isinstance(part, Mapping)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 20
