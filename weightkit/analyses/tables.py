"""The tables of an inspection: components, types, groups of names, shares, single tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from weightkit.analyses.folding import Fold
from weightkit.analyses.kinds import BIAS, PARAMETER
from weightkit.analyses.quantization import Counted
from weightkit.analyses.runs import filled
from weightkit.architectures.rows import COMPONENTS
from weightkit.reports import Component, DTypeShare, Group, Share, TensorRow
from weightkit.tensors import FileIndex, TensorInfo

BY = ("component", "region", "layer", "module", "dtype", "kind", "file", "expert")
"""What :func:`shares` can divide by."""


def logical(item: Counted) -> int:
    """Parameters of one member of a fold: none for buffers and bookkeeping, or where unknown."""
    return (item.parameters or 0) if item.kin.kind in (PARAMETER, BIAS) else 0


def components(counted: Sequence[Counted]) -> tuple[Component, ...]:
    """A row for each component that there is, in the order of the taxonomy."""
    found = []
    for name in COMPONENTS:
        items = [item for item in counted if item.kin.component == name]
        if items:
            found.append(
                Component(
                    name,
                    sum(len(item.fold.members) for item in items),
                    sum(logical(item) * len(item.fold.members) for item in items),
                    sum(item.fold.total_nbytes for item in items),
                    tuple(dict.fromkeys(item.fold.dtype.name for item in items)),
                )
            )
    return tuple(found)


def dtypes(counted: Sequence[Counted]) -> tuple[DTypeShare, ...]:
    """A row for each type, the biggest share first."""
    tensors, elements, nbytes = Counter[str](), Counter[str](), Counter[str]()
    for item in counted:
        name, n = item.fold.dtype.name, len(item.fold.members)
        tensors[name] += n
        elements[name] += item.fold.numel * n
        nbytes[name] += item.fold.total_nbytes
    return tuple(
        DTypeShare(name, tensors[name], elements[name], size) for name, size in nbytes.most_common()
    )


def groups(counted: Sequence[Counted]) -> tuple[Group, ...]:
    """Tensors that repeat over layers and experts, as one row each."""
    return tuple(
        Group(
            pattern_of(part),
            part.dtype.name,
            part.shape,
            len(part.members),
            logical(item) * len(part.members),
            part.total_nbytes,
            item.kin.component,
        )
        for item in counted
        for part in _by_inner_numbers(item.fold)
    )


def _by_inner_numbers(fold: Fold) -> Iterator[Fold]:
    """``fc1`` and ``fc2`` are two things; ``layers.1`` and ``layers.2`` are one."""
    inner = []
    column = 0
    for segment in fold.segments:
        runs = segment.count("#")
        if segment != "#":
            inner += [fold.columns[column + at] for at in range(runs)]
        column += runs
    if not any(len(set(numbers)) > 1 for numbers in inner):
        yield fold
        return
    parts: dict[tuple[int, ...], list[int]] = {}
    for at, key in enumerate(zip(*inner, strict=True)):
        parts.setdefault(key, []).append(at)
    for members in parts.values():
        yield fold.part(members)


def pattern_of(fold: Fold) -> str:
    """The names of a fold as one: ``layers.[0-31].self_attn.q_proj.weight``."""
    pieces = fold.template.split("#")
    text = pieces[0]
    for piece, column in zip(pieces[1:], fold.columns, strict=True):
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


# Shares


def shares(counted: Sequence[Counted], by: str, files: Sequence[FileIndex]) -> tuple[Share, ...]:
    """The checkpoint divided up by one of :data:`BY`."""
    tensors, parameters, nbytes = Counter[str](), Counter[str](), Counter[str]()
    several = len({_prefix(item) for item in counted if item.kin.layer is not None}) > 1
    for item in counted:
        for key, n in _KEYS[by](item, files, several).items():
            tensors[key] += n
            parameters[key] += logical(item) * n
            nbytes[key] += item.fold.nbytes * n
    return tuple(Share(key, n, parameters[key], nbytes[key]) for key, n in tensors.items())


Keys = Callable[[Counted, Sequence[FileIndex], bool], Mapping[str, int]]


def _by_kin(name: str) -> Keys:
    return lambda item, files, several: {str(getattr(item.kin, name)): len(item.fold.members)}


def _by_layer(item: Counted, files: Sequence[FileIndex], several: bool) -> Mapping[str, int]:
    at = item.kin.layer
    if at is None:
        return {"": len(item.fold.members)}
    layers = item.fold.column_of(at)
    if not several:
        return Counter(str(layer) for layer in layers)
    template = ".".join(item.fold.segments[: at + 1])
    outer = zip(*item.fold.columns[: template.count("#")], strict=True)
    return Counter(filled(template, numbers) for numbers in outer)


def _by_expert(item: Counted, files: Sequence[FileIndex], several: bool) -> Mapping[str, int]:
    at = item.kin.expert
    if at is None:
        return {item.kin.expert_role: len(item.fold.members)}
    return Counter(str(number) for number in item.fold.column_of(at))


def _by_file(item: Counted, files: Sequence[FileIndex], several: bool) -> Mapping[str, int]:
    return Counter(_path(member, files) for member in item.fold.members)


_KEYS: dict[str, Keys] = {
    "component": _by_kin("component"),
    "region": _by_kin("region"),
    "kind": _by_kin("kind"),
    "dtype": lambda item, files, several: {item.fold.dtype.name: len(item.fold.members)},
    "module": lambda item, files, several: {
        pattern_of(item.fold).rpartition(".")[0]: len(item.fold.members)
    },
    "layer": _by_layer,
    "expert": _by_expert,
    "file": _by_file,
}


def _prefix(item: Counted) -> str:
    return ".".join(item.fold.segments[: item.kin.layer])


def _path(tensor: TensorInfo, files: Sequence[FileIndex]) -> str:
    return files[tensor.data.file].path if tensor.data.file < len(files) else ""


# Single tensors


def rows(
    counted: Sequence[Counted],
    tensors: Sequence[TensorInfo],
    files: Sequence[FileIndex],
    tied: Sequence[Sequence[TensorInfo]],
) -> tuple[TensorRow, ...]:
    """Every tensor, in the order of the files."""
    first = {tensor.name: group[0].name for group in tied for tensor in group[1:]}
    found = {row[0]: row for item in counted for row in _rows(item, files, first)}
    return tuple([found[tensor[0]] for tensor in tensors])


def _rows(
    item: Counted, files: Sequence[FileIndex], tied: Mapping[str, str]
) -> Iterator[TensorRow]:
    """By columns, most of which are the same for all members: there may be a hundred thousand."""
    kin, fold = item.kin, item.fold
    members, nbytes = fold.members, fold.dtype.nbytes_of(fold.numel)
    names = [tensor[0] for tensor in members]
    paths = {at: file.path for at, file in enumerate(files)}
    unknown = item.parameters is None and kin.kind in (PARAMETER, BIAS)
    columns: tuple[Iterable[Any], ...] = (
        names,
        repeat(fold.dtype.name),
        repeat(fold.shape),
        repeat(None if unknown else logical(item)),
        [tensor.nbytes if tensor[8] else nbytes for tensor in members],
        [paths.get(tensor[3][0], "") for tensor in members],
        [tensor[3][1] for tensor in members],
        repeat(kin.component),
        repeat(kin.region),
        repeat(None) if kin.layer is None else fold.column_of(kin.layer),
        repeat(None) if kin.expert is None else fold.column_of(kin.expert),
        repeat(kin.kind),
        [tied.get(name, "") for name in names] if tied else repeat(""),
        repeat(fold.layout),
        repeat(kin.expert_role),
        repeat(f"{kin.rule}; {item.why}" if item.why else kin.rule),
    )
    return map(TensorRow._make, zip(*columns, strict=False))
