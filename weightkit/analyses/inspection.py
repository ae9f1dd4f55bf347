"""Everything that ``weightkit inspect`` knows about a checkpoint, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from weightkit.analyses import experts, pipelines
from weightkit.analyses.aliases import repeated_elements, tied_groups
from weightkit.analyses.components import BIAS, BOOKKEEPING, BUFFER, PARAMETER, classify_folds
from weightkit.analyses.folding import Fold, fold
from weightkit.analyses.quantization import Counted, count
from weightkit.analyses.scene import Scene
from weightkit.architectures.rows import COMPONENTS
from weightkit.reports import (
    Component,
    DTypeShare,
    FileEntry,
    Finding,
    Group,
    Inspection,
    Parameters,
    SetSummary,
    Share,
    TensorRow,
)
from weightkit.rules import Faults
from weightkit.tensors import FileIndex, TensorInfo, TensorSet


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
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def parts(self) -> Sequence[Checkpoint]: ...
    def read_bytes(self, tensor: TensorInfo, limit: int) -> bytes:
        """The bytes of a small tensor."""
        ...


BY = ("component", "region", "layer", "module", "dtype", "kind", "file", "expert")
_STATE_LIMIT = 1 << 16


def inspect(checkpoint: Checkpoint, *, by: str = "component", rows: bool = False) -> Inspection:
    """Describe a checkpoint; ``by`` chooses the shares, ``rows`` lists every tensor."""
    config = main_config(checkpoint)
    faults = Faults(checkpoint.path)
    scene = Scene(fold(checkpoint.tensors), config, checkpoint.metadata, checkpoint.format)
    counted = count(
        classify_folds(scene),
        scene,
        quantization_settings(config),
        lambda tensor: checkpoint.read_bytes(tensor, _STATE_LIMIT),
        faults,
    )
    tied = tied_groups(checkpoint.tensors)
    report = Inspection(
        path=checkpoint.path,
        format=checkpoint.format,
        files=tuple(
            FileEntry(f.path, f.format, f.size, sum(len(s.tensors) for s in f.sets), f.container)
            for f in checkpoint.files
        ),
        size=sum(f.size for f in checkpoint.files),
        tensors=len(checkpoint.tensors),
        parameters=parameters(counted, scene, config, checkpoint.metadata),
        components=_components(counted),
        dtypes=_dtypes(counted),
        layers=_layers(counted),
        bits_per_weight=_bits(counted),
        nbytes=sum(c.fold.nbytes * len(c.fold.members) for c in counted),
        groups=_groups(counted),
        metadata=checkpoint.metadata,
        tied=tuple(tuple(t.name for t in group) for group in tied),
        sets=tuple(_set(s, at == 0) for at, s in enumerate(checkpoint.sets)),
        findings=(*checkpoint.findings, *faults.all()),
        shares=_shares(counted, by, checkpoint),
        by=by,
        rows=_rows(counted, checkpoint) if rows else None,
        parts=tuple(inspect(part, by=by, rows=rows) for part in checkpoint.parts),
    )
    return pipelines.whole(report)


def main_config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The parsed config.json, or adapter_config.json where there is only that; {} for none."""
    for name in ("config.json", "adapter_config.json", "params.json"):
        if isinstance(checkpoint.config.get(name), Mapping):
            return checkpoint.config[name]
    return {}


def quantization_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The quantization section of a config; {} for none."""
    for section in (config, config.get("text_config"), config.get("llm_config")):
        for key in ("quantization_config", "quantization", "compression_config"):
            found = section.get(key) if isinstance(section, Mapping) else None
            if isinstance(found, Mapping):
                return found
    return {}


def parameters(
    counted: Sequence[Counted],
    scene: Scene,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> Parameters:
    """The counts of the main set."""
    real = [c for c in counted if c.kin.kind in (PARAMETER, BIAS)]
    total = _total(real)
    copies = repeated_elements(t for c in real for t in c.fold.members)
    mixture = experts.mixture(real, config, metadata)
    return Parameters(
        total=total,
        unique=None if total is None else total - copies,
        active=mixture.active if mixture else None,
        active_without_input_embedding=mixture.active_without_input_embedding if mixture else None,
        bias=sum((c.parameters or 0) * len(c.fold.members) for c in real if c.kin.kind == BIAS),
        buffers=sum(c.fold.numel * len(c.fold.members) for c in counted if c.kin.kind == BUFFER),
        stored_elements=sum(c.fold.numel * len(c.fold.members) for c in counted),
        active_unknown=mixture.unknown if mixture else "",
    )


def _total(counted: Iterable[Counted]) -> int | None:
    total = 0
    for item in counted:
        if item.parameters is None:
            return None
        total += item.parameters * len(item.fold.members)
    return total


def _components(counted: Sequence[Counted]) -> tuple[Component, ...]:
    found = []
    for name in COMPONENTS:
        items = [c for c in counted if c.kin.component == name]
        if items:
            found.append(
                Component(
                    name,
                    sum(len(c.fold.members) for c in items),
                    sum(_logical(c) for c in items),
                    sum(c.fold.nbytes * len(c.fold.members) for c in items),
                    tuple(dict.fromkeys(c.fold.dtype.name for c in items)),
                )
            )
    return tuple(found)


def _logical(item: Counted) -> int:
    if item.kin.kind not in (PARAMETER, BIAS):
        return 0
    return (item.parameters or 0) * len(item.fold.members)


def _dtypes(counted: Sequence[Counted]) -> tuple[DTypeShare, ...]:
    found: dict[str, list[int]] = {}
    for item in counted:
        row = found.setdefault(item.fold.dtype.name, [0, 0, 0])
        n = len(item.fold.members)
        row[0] += n
        row[1] += item.fold.numel * n
        row[2] += item.fold.nbytes * n
    ordered = sorted(found.items(), key=lambda pair: -pair[1][2])
    return tuple(DTypeShare(name, *row) for name, row in ordered)


def _layers(counted: Sequence[Counted]) -> int | None:
    runs: dict[str, set[int]] = {}
    for item in counted:
        at = item.kin.layer
        if at is not None:
            run = runs.setdefault(".".join(item.fold.segments[:at]), set())
            run.update(item.fold.column_of(at))
    return max((len(run) for run in runs.values()), default=None)


def _bits(counted: Sequence[Counted]) -> float | None:
    total = _total(c for c in counted if c.kin.kind in (PARAMETER, BIAS))
    if not total:
        return None
    nbytes = sum(c.fold.nbytes * len(c.fold.members) for c in counted if c.kin.kind != BUFFER)
    return round(8 * nbytes / total, 4)


def _groups(counted: Sequence[Counted]) -> tuple[Group, ...]:
    return tuple(
        Group(
            pattern_of(item.fold),
            item.fold.dtype.name,
            item.fold.shape,
            len(item.fold.members),
            _logical(item),
            item.fold.nbytes * len(item.fold.members),
            item.kin.component,
        )
        for item in counted
    )


def pattern_of(group: Fold) -> str:
    """The names of a fold as one: ``layers.[0-31].self_attn.q_proj.weight``."""
    pieces = group.template.split("#")
    text = pieces[0]
    for piece, column in zip(pieces[1:], group.columns, strict=True):
        text += _ranges(sorted(set(column))) + piece
    return text.replace("%", "#")


def _ranges(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:8]]
    return "[" + ",".join(shown) + (",…" if len(runs) > 8 else "") + "]"


def _set(tensors: TensorSet, main: bool) -> SetSummary:
    return SetSummary(
        tensors.key,
        tensors.kind,
        len(tensors.tensors),
        sum(t.numel for t in tensors.tensors),
        sum(t.nbytes for t in tensors.tensors),
        main,
    )


def _shares(counted: Sequence[Counted], by: str, checkpoint: Checkpoint) -> tuple[Share, ...]:
    found: dict[str, list[int]] = {}
    for item in counted:
        for key, n in _keys(item, by, checkpoint).items():
            row = found.setdefault(key, [0, 0, 0])
            row[0] += n
            row[1] += _logical(item) // len(item.fold.members) * n
            row[2] += item.fold.nbytes * n
    return tuple(Share(key, *row) for key, row in found.items())


def _keys(item: Counted, by: str, checkpoint: Checkpoint) -> dict[str, int]:
    kin, group = item.kin, item.fold
    n = len(group.members)
    if by in ("region", "kind", "component"):
        return {getattr(kin, by): n}
    if by == "dtype":
        return {group.dtype.name: n}
    if by == "module":
        return {pattern_of(group).rpartition(".")[0]: n}
    found: dict[str, int] = {}
    if by == "file":
        for member in group.members:
            path = checkpoint.files[member.data.file].path
            found[path] = found.get(path, 0) + 1
        return found
    at = kin.layer if by == "layer" else kin.expert
    if at is None:
        return {"": n}
    for number in group.column_of(at):
        found[str(number)] = found.get(str(number), 0) + 1
    return found


def _rows(counted: Sequence[Counted], checkpoint: Checkpoint) -> tuple[TensorRow, ...]:
    found: dict[str, TensorRow] = {}
    for item in counted:
        kin, group = item.kin, item.fold
        layers = group.column_of(kin.layer) if kin.layer is not None else None
        expert = group.column_of(kin.expert) if kin.expert is not None else None
        for at, tensor in enumerate(group.members):
            found[tensor.name] = TensorRow(
                tensor.name,
                tensor.dtype.name,
                tensor.shape,
                item.parameters if kin.kind != BOOKKEEPING else 0,
                tensor.nbytes,
                checkpoint.files[tensor.data.file].path if checkpoint.files else "",
                tensor.data.offset,
                kin.component,
                kin.region,
                layers[at] if layers else None,
                expert[at] if expert else None,
                kin.kind,
                layout=tensor.layout,
                expert_role=kin.expert_role,
                rule=kin.rule,
            )
    return tuple(found[tensor.name] for tensor in checkpoint.tensors)
