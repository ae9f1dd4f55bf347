"""Everything that ``weightkit inspect`` knows about a checkpoint, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from weightkit.analyses import adapters, experts, pipelines, structure, summary, tables
from weightkit.analyses.aliases import repeated_elements, repeated_nbytes, tied_groups
from weightkit.analyses.components import MAX_KINDS, UNREAD, classify_folds
from weightkit.analyses.folding import fold
from weightkit.analyses.harm import harmful
from weightkit.analyses.kinds import BIAS, BUFFER, PARAMETER
from weightkit.analyses.quantization import Counted, count
from weightkit.analyses.runs import Run, runs_of
from weightkit.analyses.scene import Scene
from weightkit.analyses.tables import BY
from weightkit.collecting import paused_collection
from weightkit.findings import Finding
from weightkit.opening.examining import Examined
from weightkit.reports import FileEntry, Inspection, Parameters, SetSummary, TensorRow
from weightkit.rules import Faults
from weightkit.tensors import FileIndex, TensorInfo, TensorSet

__all__ = ["BY", "Checkpoint", "explain", "inspect"]


class Checkpoint(Protocol):
    """What is needed of an opened checkpoint."""

    @property
    def path(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[FileIndex, ...]: ...
    @property
    def sets(self) -> tuple[TensorSet, ...]: ...
    @property
    def tensors(self) -> tuple[TensorInfo, ...]: ...
    @property
    def config(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def card(self) -> str: ...
    @property
    def beside(self) -> tuple[str, ...]: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def examined(self) -> tuple[Examined, ...]: ...
    @property
    def parts(self) -> Sequence[Checkpoint]: ...
    def read_bytes(self, tensor: TensorInfo, limit: int) -> bytes:
        """The bytes of a small tensor."""
        ...


_STATE_LIMIT = 1 << 12
"""Bytes that are read of one tensor: quantization keeps shapes and scales as data."""


def inspect(checkpoint: Checkpoint, *, by: str = "component", rows: bool = False) -> Inspection:
    """Describe a checkpoint; ``by`` chooses the shares, ``rows`` lists every tensor."""
    with paused_collection():
        return _inspect(checkpoint, by, rows)


def _inspect(checkpoint: Checkpoint, by: str, rows: bool) -> Inspection:
    config = main_config(checkpoint)
    faults = Faults(checkpoint.path)
    found = _analyse(checkpoint, config, faults)
    counted, tied = found.counted, found.tied
    nbytes = _nbytes(counted) - repeated_nbytes(checkpoint.tensors)
    counts = _parameters(counted, found.mixture)
    report = Inspection(
        path=checkpoint.path,
        format=checkpoint.format,
        files=tuple(
            FileEntry(f.path, f.format, f.size, sum(len(s.tensors) for s in f.sets), f.container)
            for f in checkpoint.files
        ),
        size=sum(file.size for file in checkpoint.files),
        tensors=len(checkpoint.tensors),
        parameters=counts,
        components=tables.components(counted),
        dtypes=tables.dtypes(counted),
        layers=_layers(found.runs),
        bits_per_weight=_bits(counted, nbytes, counts.unique),
        nbytes=nbytes,
        groups=tables.groups(counted),
        metadata=checkpoint.metadata,
        tied=tuple(tuple(tensor.name for tensor in group) for group in tied),
        sets=tuple(
            SetSummary(
                part.key, part.kind, len(part.tensors), *_size(part, checkpoint, counted), at == 0
            )
            for at, part in enumerate(checkpoint.sets)
        ),
        findings=(*checkpoint.findings, *harmful(checkpoint.examined), *faults.all()),
        summary=found.facts,
        shares=tables.shares(counted, by, checkpoint.files),
        by=by,
        rows=tables.rows(counted, checkpoint.tensors, checkpoint.files, tied) if rows else None,
        parts=tuple(_inspect(part, by, rows) for part in checkpoint.parts),
    )
    return pipelines.whole(report)


def explain(checkpoint: Checkpoint, name: str) -> TensorRow:
    """What one tensor counts as, and which rule says so; raises KeyError for an unknown name."""
    for row in inspect(checkpoint, rows=True).rows or ():
        if row.name == name:
            return row
    raise KeyError(name)


class _Analysis(NamedTuple):
    """What the analyses found, before it is put into tables."""

    counted: list[Counted]
    tied: list[list[TensorInfo]]
    runs: list[Run]
    mixture: experts.Mixture | None
    facts: dict[str, Any]


def _analyse(checkpoint: Checkpoint, config: Mapping[str, Any], faults: Faults) -> _Analysis:
    def read(tensor: TensorInfo) -> bytes:
        return checkpoint.read_bytes(tensor, _STATE_LIMIT)

    metadata = checkpoint.metadata
    scene = Scene(fold(checkpoint.tensors), config, metadata, checkpoint.format)
    settings = quantization_settings(checkpoint, config)
    kinds = classify_folds(scene)
    if any(kin is UNREAD for _, kin in kinds):
        faults.add("WK705", f"more than {MAX_KINDS:,} kinds of names; the rest counts as other")
    counted = count(kinds, scene, settings, read, faults)
    real = [item for item in counted if item.kin.kind in (PARAMETER, BIAS)]
    mixture = experts.mixture(real, config, metadata)
    tied = tied_groups(checkpoint.tensors)
    adapter = adapters.recognise(counted, config, metadata, read, faults)
    runs = runs_of(counted)
    if adapter is None:
        packed = bool(settings) or any(item.method for item in counted)
        declared = _declared_totals(checkpoint)
        structure.check(
            structure.Whole(
                counted, runs, tied, mixture, config, metadata, packed, _total(real), declared
            ),
            faults,
        )
    facts = summary.facts(
        config, metadata, checkpoint.card, checkpoint.beside, settings, counted, mixture, adapter
    )
    return _Analysis(counted, tied, runs, mixture, facts)


# What the config says


def main_config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The parsed config.json, or adapter_config.json where there is only that; {} for none."""
    for name in ("config.json", "adapter_config.json", "params.json"):
        if isinstance(checkpoint.config.get(name), Mapping):
            return checkpoint.config[name]
    return {}


def quantization_settings(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The quantization section of the config, or a file of its own; {} for none."""
    for section in (config, config.get("text_config"), config.get("llm_config")):
        for key in ("quantization_config", "quantization", "compression_config"):
            found = section.get(key) if isinstance(section, Mapping) else None
            if isinstance(found, Mapping):
                return found
    for name in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):
        table = checkpoint.config.get(name)
        if isinstance(table, Mapping):
            inner = table.get("quantization")
            return inner if isinstance(inner, Mapping) else table
    return {}


def _declared_totals(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the metadata and the metadata of an index say about the whole."""
    found = dict(checkpoint.metadata)
    for name, table in checkpoint.config.items():
        inner = table.get("metadata")
        if name.endswith(".index.json") and isinstance(inner, Mapping):
            found |= inner
    return found


# Counts


def _parameters(
    counted: Sequence[Counted],
    mixture: experts.Mixture | None,
) -> Parameters:
    real = [item for item in counted if item.kin.kind in (PARAMETER, BIAS)]
    total = _total(real)
    copies = repeated_elements(tensor for item in real for tensor in item.fold.members)
    return Parameters(
        total=total,
        unique=None if total is None else total - copies,
        active=mixture.active if mixture else None,
        active_without_input_embedding=mixture.active_without_input_embedding if mixture else None,
        bias=sum(experts.size_of(item) for item in real if item.kin.kind == BIAS),
        buffers=_stored(item for item in counted if item.kin.kind == BUFFER),
        stored_elements=_stored(counted),
        active_unknown=mixture.unknown if mixture else "",
    )


def _total(counted: Iterable[Counted]) -> int | None:
    total = 0
    for item in counted:
        if item.parameters is None:
            return None
        total += item.parameters * len(item.fold.members)
    return total


def _nbytes(counted: Iterable[Counted]) -> int:
    return sum(item.fold.total_nbytes for item in counted)


def _stored(counted: Iterable[Counted]) -> int:
    return sum(item.fold.numel * len(item.fold.members) for item in counted)


def _layers(runs: Sequence[Run]) -> int | None:
    """Layers of the biggest run: of the language model, where there is one."""
    language = [run for run in runs if run.region in ("main", "text")]
    chosen = language or [run for run in runs if run.region != "mtp"]
    return len(chosen[0].layers) if chosen else None


def _bits(counted: Sequence[Counted], nbytes: int, parameters: int | None) -> float | None:
    if not parameters:
        return None
    buffers = sum(item.fold.total_nbytes for item in counted if item.kin.kind == BUFFER)
    return round(8 * (nbytes - buffers) / parameters, 4)


def _size(part: TensorSet, checkpoint: Checkpoint, counted: Sequence[Counted]) -> tuple[int, int]:
    """Elements and bytes of a set."""
    if part.tensors is checkpoint.tensors:
        return _stored(counted), _nbytes(counted)
    return sum(t.numel for t in part.tensors), sum(t.nbytes for t in part.tensors)
