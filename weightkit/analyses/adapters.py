"""Adapters: low-rank updates and their kin, in the names of PEFT, kohya, diffusers, LyCORIS, GGUF.

What an update adds to its module's weight (Hu et al. 2021; Kalajdzievski 2023 for the root):

    ΔW = scale · up · down        scale = alpha / rank, or alpha / √rank

The rank is a dimension of the tensors; alpha stands in a tensor beside them (kohya), in the
metadata (GGUF) or only in the config (PEFT), and is unknown where there is none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from weightkit.analyses.kinds import BUFFER
from weightkit.analyses.quantization import Counted, ReadBytes
from weightkit.analyses.scales import alphas_of, scales_of
from weightkit.analyses.updates import Update, module_of, updates_of
from weightkit.architectures.adapters import ECOSYSTEMS, METHODS
from weightkit.architectures.rows import expand, segment_matches
from weightkit.rules import Faults


class Adapter(NamedTuple):
    """What an adapter is and does; None where nothing says so."""

    method: str
    """LoRA, DoRA, LoHa, LoKr, OFT, IA3, VeRA, prompt; or adapter."""
    ecosystem: str
    """Whose names it has: PEFT, kohya, diffusers, GGUF, ...; "" where that is not clear."""
    modules: int
    targets: tuple[str, ...]
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    scales: tuple[float, ...]
    parameters: int
    adapted: int
    """Parameters of the weights that the updates add to."""
    base: str
    whole_modules: int
    """Tensors that replace those of the base (``modules_to_save``)."""

    def facts(self) -> dict[str, Any]:
        """For the summary of a report."""
        found: dict[str, Any] = {
            "method": self.method,
            "names": self.ecosystem,
            "modules": self.modules,
            "rank": _one_or_range(self.ranks),
            "alpha": _one_or_range(self.alphas),
            "scale": _one_or_range(self.scales),
            "targets": list(self.targets),
            "base": self.base,
            "replaced_tensors": self.whole_modules,
        }
        if self.adapted:
            found["share_of_adapted_weights"] = round(self.parameters / self.adapted, 6)
        return {key: value for key, value in found.items() if value not in ("", None, [], 0)}


def _one_or_range(values: Sequence[float]) -> float | str | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else f"{min(values):g} to {max(values):g}"


def recognise(
    counted: Sequence[Counted],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    read_bytes: ReadBytes,
    faults: Faults,
) -> Adapter | None:
    """The adapter that the tensors are; None where they are none."""
    parts = [item for item in counted if item.kin.component == "lora"]
    declared = "peft_type" in config or metadata.get("general.type") == "adapter"
    if not parts and not declared:
        return None
    updates = updates_of(parts, faults)
    alphas = alphas_of(parts, config, metadata, read_bytes)
    ranks = tuple(sorted({update.rank for update in updates}))
    learnt = [item for item in parts if item.kin.kind != BUFFER] or parts
    modules = {module_of(member.name) for item in learnt for member in item.fold.members}
    adapter = Adapter(
        method=_method(parts or counted, config),
        ecosystem=_ecosystem(parts, config, metadata),
        modules=len(modules),
        targets=_targets(modules),
        ranks=ranks,
        alphas=tuple(sorted(set(alphas.values()))),
        scales=scales_of(updates, alphas, config),
        parameters=sum((item.parameters or 0) * len(item.fold.members) for item in parts),
        adapted=sum(update.inputs * update.outputs for update in updates),
        base=_base(config, metadata),
        whole_modules=sum(
            len(item.fold.members) for item in counted if item.kin.component != "lora"
        ),
    )
    _check(adapter, updates, modules, config, faults)
    return adapter


def _method(parts: Sequence[Counted], config: Mapping[str, Any]) -> str:
    segments = {segment.lower() for item in parts for segment in item.fold.segments}
    for method in METHODS:
        for pattern in expand(method.leaf):
            if any(segment_matches(pattern, segment) for segment in segments):
                return method.name
    kind = config.get("peft_type")
    return kind[:40] if isinstance(kind, str) and kind else "adapter"


def _ecosystem(
    parts: Sequence[Counted], config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> str:
    if metadata.get("general.type") == "adapter":
        return "GGUF"
    name = parts[0].fold.members[0].name if parts else ""
    dotted_kohya = any("lora_down" in item.fold.template for item in parts)
    for row in ECOSYSTEMS:
        if name.startswith(row.prefix):
            mixed = dotted_kohya and row.name != "kohya"
            return f"{row.name} paths with kohya suffixes" if mixed else row.name
    return "PEFT" if "peft_type" in config else ""


def _targets(modules: set[str]) -> tuple[str, ...]:
    """The last names of the modules: ``q_proj``; of flattened names what follows the last number."""
    found = set()
    for module in modules:
        last = module.rpartition(".")[2]
        if last.startswith("lora_") and "_" in last:
            digits = [at for at, letter in enumerate(last) if letter.isdigit()]
            last = last[digits[-1] + 1 :].strip("_") if digits else last
        if last and not last.isdigit():
            found.add(last)
    return tuple(sorted(found)[:50])


def _base(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    places = [
        (config, "base_model_name_or_path"),
        (metadata, "general.base_model.0.name"),
        (metadata, "ss_sd_model_name"),
        (metadata, "ss_base_model_version"),
        (metadata, "modelspec.architecture"),
    ]
    for table, key in places:
        value = table.get(key)
        if isinstance(value, str) and value:
            return value[:300]
    return ""


# What does not fit


def _check(
    adapter: Adapter,
    updates: Sequence[Update],
    modules: set[str],
    config: Mapping[str, Any],
    faults: Faults,
) -> None:
    declared = config.get("init_r" if config.get("peft_type") == "ADALORA" else "r")
    plain = isinstance(declared, int) and not config.get("rank_pattern")
    if plain and adapter.ranks and set(adapter.ranks) != {declared}:
        shown = ", ".join(str(rank) for rank in adapter.ranks[:8])
        faults.add("WK721", f"r is {declared}, the tensors have {shown}", subject="r")
    if updates and not adapter.alphas and not adapter.scales:
        faults.add("WK723", f"alpha of {len(updates)} updates is unknown")
    targets = config.get("target_modules")
    if isinstance(targets, list) and modules:
        _check_targets([t for t in targets if isinstance(t, str)], modules, faults)


def _check_targets(targets: Sequence[str], modules: set[str], faults: Faults) -> None:
    """Targets are the ends of module names; one that is a pattern is never evaluated."""
    ends: Callable[[str], bool] = lambda name: any(  # noqa: E731
        module == name or module.endswith(f".{name}") for module in modules
    )
    missing = [target for target in targets if not ends(target)]
    strange = [
        module
        for module in sorted(modules)
        if not any(module == t or module.endswith(f".{t}") for t in targets)
    ]
    if missing:
        faults.add("WK722", f"no tensors for the targets {', '.join(missing[:8])}")
    if strange and len(strange) == len(modules):
        faults.add("WK722", "no tensor belongs to a declared target", tensor=strange[0])
