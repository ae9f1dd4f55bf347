"""From a checkpoint and a wish to a plan: pure, no byte of a tensor is read.

Which tensors, under which names, in which type, in which file, and everything that will not be in
the target any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from weightkit import __version__
from weightkit.analyses.digests import ALIASES, recorded_aliases
from weightkit.convert import losses as lossy
from weightkit.convert.carrying import carried_files
from weightkit.convert.naming import check_renames, preferred, renaming, shard_name, stem_of
from weightkit.convert.targets import TIED_BY_METADATA, TIED_BY_STORAGE, Target, target_of
from weightkit.convert.wishes import DEFAULT_SIDECAR, EVERYTHING, Wish, matches
from weightkit.dtypes import DTYPES, DType
from weightkit.errors import PlanError, UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.plans import (
    CAST,
    DENSE,
    GATHER,
    INFLATE,
    MOVE,
    TURN,
    Plan,
    PlannedFile,
    Step,
    Text,
)
from weightkit.rules import finding
from weightkit.tensors import ABSENT, NESTED, RAW, Extent, TensorInfo
from weightkit.values import canonical, dense
from weightkit.values.narrowing import REFUSED, fit

PIECES = 48 << 20
"""Bytes that moving needs at most on two threads, with a reserve."""
GATHERS = 160 << 20


def plan(checkpoint: Checkpoint, target: str, wish: Wish, *, folder: bool = False) -> Plan:
    """What converting ``checkpoint`` to the path ``target`` will do.

    ``folder`` asks for a folder of files instead of one. Raises PlanError for what cannot be done;
    what would be lost is in ``losses``, refused or accepted by whoever carries the plan out.
    """
    try:
        return _plan(checkpoint, target, wish, folder)
    except PlanError as error:
        error.path = error.path or checkpoint.path
        raise


def _plan(checkpoint: Checkpoint, target: str, wish: Wish, folder: bool) -> Plan:
    kind = target_of(target, wish.format or ("safetensors" if folder else ""))
    parts = [*_parts(checkpoint, "")]
    if len(parts) > 1 and not folder:
        names = ", ".join(prefix for prefix, _ in parts[:8])
        message = f"{len(parts)} checkpoints ({names}); name a folder as target, or one of them"
        raise PlanError(message, path=checkpoint.path, code="WK667")
    if wish.shard_nbytes and not folder:
        message = "shards need a folder as target"
        raise PlanError(message, path=target, code="WK667")
    files: list[PlannedFile] = []
    texts: list[Text] = []
    found, said, left = [], [], []
    for number, (prefix, part) in enumerate(parts):
        chosen, out = _chosen(part, wish)
        steps = [*_steps(number, part, chosen, wish, kind)]
        left += [prefix + name for name in out]
        found += [*lossy.losses(part, steps, kind)]
        said += [*lossy.notes(part, steps, kind, wish)]
        metadata = _metadata(part, steps, wish, kind)
        more, index = _files(part, prefix, steps, metadata, wish, kind, folder)
        files += more
        texts += index
    for item in lossy.trust(checkpoint):
        (found if item.code == "WK648" else said).append(item)
    if left:
        message = f"{len(left)} tensors are left out: {', '.join(left[:8])}"
        said.append(finding("WK647", message, path=checkpoint.path))
    carried, uncarried = carried_files(checkpoint, files) if folder else ((), ())
    if uncarried:
        message = f"not carried over: {', '.join(uncarried[:8])}"
        said.append(finding("WK646", message, path=checkpoint.path))
    made = Plan(
        checkpoint.path,
        target,
        kind.name,
        folder,
        tuple(files),
        carried,
        tuple(texts),
        _sidecar(parts, target, wish, folder),
        tuple(found),
        tuple(said),
        wish.accepted | {flag for flag in ["--key"] if wish.key is not None},
        ", ".join(dict.fromkeys(part.sets[0].key for _, part in parts if part.sets[0].key)),
        tuple(left),
        memory=_memory(files),
    )
    return replace(made, digest=_digest(made, checkpoint))


def checkpoints(checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoints that the steps of a plan count into."""
    return [part for _, part in _parts(checkpoint, "")]


def _parts(checkpoint: Checkpoint, prefix: str) -> Iterator[tuple[str, Checkpoint]]:
    """The checkpoint, or the parts of a pipeline, each with its path inside the whole."""
    if checkpoint.tensors or not checkpoint.parts:
        yield prefix, checkpoint
    for part in checkpoint.parts:
        yield from _parts(part, os.path.join(prefix, part.name))


# Which tensors


def _chosen(checkpoint: Checkpoint, wish: Wish) -> tuple[list[TensorInfo], list[str]]:
    """The tensors that are wanted, and the names of the rest."""
    tensors = checkpoint.tensors
    if not tensors:
        raise PlanError("no tensors in it", path=checkpoint.path, code="WK604")
    names = [item.name for item in tensors]
    for pattern in (*wish.only, *wish.exclude, *(pattern for pattern, _ in wish.dtypes)):
        if not any(matches(name, (pattern,)) for name in names):
            message = f"no tensor matches {pattern!r}"
            raise PlanError(message, path=checkpoint.path, code="WK664")
    check_renames(wish, names, checkpoint.path)
    if not wish.only and not wish.exclude:
        return list(tensors), []
    chosen = [
        item
        for item in tensors
        if (not wish.only or matches(item.name, wish.only)) and not matches(item.name, wish.exclude)
    ]
    if not chosen:
        message = "--only and --exclude leave no tensor"
        raise PlanError(message, path=checkpoint.path, code="WK664")
    kept = {item.name for item in chosen}
    return chosen, [name for name in names if name not in kept]


def _steps(
    number: int, checkpoint: Checkpoint, tensors: Sequence[TensorInfo], wish: Wish, target: Target
) -> Iterator[Step]:
    """The tensors as they will be written; those over the same elements are one step."""
    renamed = renaming(wish)
    recorded = _recorded(checkpoint, wish)
    groups: dict[Any, list[tuple[str, TensorInfo, DType]]] = {}
    for at, info in enumerate(tensors):
        dtype = _dtype(info, wish)
        shared = info.storage and not info.parts and info.numel
        key = (canonical.same_elements(info), dtype) if shared else at
        group = groups.setdefault(key, [])
        group.append((renamed(info.name), info, dtype))
        group += [(renamed(alias), info, dtype) for alias in recorded.get(info.name, ())]
    seen: dict[str, str] = {}
    for group in groups.values():
        for name, info, _ in group:
            if name in seen:
                message = f"{seen[name]!r} and {info.name!r} would both be called {name!r}"
                raise PlanError(message, path=checkpoint.path, code="WK661", tensor=info.name)
            seen[name] = info.name
        yield from _grouped(number, group, target)


def _recorded(checkpoint: Checkpoint, wish: Wish) -> dict[str, list[str]]:
    """Names that the file's metadata records for tensors that it stores once, by the stored name."""
    found: dict[str, list[str]] = {}
    for alias, name in recorded_aliases(checkpoint):
        wanted = not wish.only or matches(alias, wish.only)
        if wanted and not matches(alias, wish.exclude):
            found.setdefault(name, []).append(alias)
    return found


def _grouped(
    number: int, group: Sequence[tuple[str, TensorInfo, DType]], target: Target
) -> Iterator[Step]:
    by_name = {name: (info, dtype) for name, info, dtype in group}
    first, *ties = preferred(by_name) if len(group) > 1 else by_name
    if not target.ties:
        for name in (first, *ties):
            yield _step(number, name, *by_name[name], ())
        return
    yield _step(number, first, *by_name[first], tuple(ties))


def _step(number: int, name: str, info: TensorInfo, dtype: DType, ties: tuple[str, ...]) -> Step:
    form = _form(info)
    own = DTYPES.get(form.dtype, info.dtype)
    if dtype.name != form.dtype:
        verdict = fit(own, dtype)
        if verdict.verdict == REFUSED:
            message = f"{own.name} cannot be cast to {dtype.name}: {verdict.words}"
            raise PlanError(message, code="WK671", tensor=info.name)
    return Step(name, dtype, form.shape, info, number, _way(info, dtype.name != form.dtype), ties)


def _form(info: TensorInfo) -> canonical.Form:
    """What a tensor is as a plain one; raises PlanError where it is none, or has no values."""
    if info.data.encoding in (ABSENT, NESTED) and info.numel and not info.parts:
        where = "in nested compressed containers" if info.data.encoding == NESTED else "nowhere"
        message = f"its values are {where} in the file; leave it out with --exclude"
        raise PlanError(message, code="WK603", tensor=info.name)
    try:
        return dense.form_of(info)
    except UnsupportedError as error:
        message = f"{error.message}; leave it out with --exclude"
        raise PlanError(message, code="WK671", tensor=info.name) from error


def _way(info: TensorInfo, cast: bool) -> str:
    if info.parts:
        return DENSE
    if cast:
        return CAST
    if info.data.encoding != RAW:
        return INFLATE
    if info.strides is not None:
        return GATHER
    return MOVE if canonical.is_verbatim(info) else TURN


def _dtype(info: TensorInfo, wish: Wish) -> DType:
    """The type in the target: that of the last rule that matches, else its own."""
    found = DTYPES.get(_form(info).dtype, info.dtype)
    for pattern, dtype in wish.dtypes:
        if pattern == EVERYTHING:
            if found.kind in ("float", "quant"):
                found = dtype
        elif matches(info.name, (pattern,)):
            found = dtype
    return found


# Which files


def _files(
    checkpoint: Checkpoint,
    prefix: str,
    steps: Sequence[Step],
    metadata: Mapping[str, str],
    wish: Wish,
    target: Target,
    folder: bool,
) -> tuple[list[PlannedFile], list[Text]]:
    """The weight files of one checkpoint, and their index if there are several."""
    shards = [*_shards(steps, wish.shard_nbytes)]
    stem = stem_of(checkpoint, target)
    where = prefix
    if prefix and os.path.splitext(prefix)[1]:  # a slice or member that is a file itself
        where, name = os.path.split(prefix)
        stem = os.path.splitext(name)[0]
    files = []
    for number, shard in enumerate(shards, 1):
        name = shard_name(stem, _suffix(target, checkpoint), number, len(shards))
        held = _with_ties(metadata, shard, target)
        tensors = _target_tensors(shard, target)
        files.append(
            PlannedFile(
                os.path.join(where, name) if folder else "",
                tuple(shard),
                tuple(sorted(held.items())),
                tensors,
                target.layout(tensors, held, wish.as_bytes),
            )
        )
    if len(files) == 1:
        return files, []
    index = os.path.join(where, f"{stem}{_suffix(target, checkpoint)}.index.json")
    return files, [Text(index, _index(files))]


def _suffix(target: Target, checkpoint: Checkpoint) -> str:
    return ".bin" if target.name == "pytorch" else target.suffixes[0]


def _shards(steps: Sequence[Step], limit: int | None) -> Iterator[list[Step]]:
    """Runs of tensors, in their order, of at most ``limit`` bytes (or of one larger tensor)."""
    shard: list[Step] = []
    have = 0
    for step in steps:
        if limit and shard and have + step.nbytes > limit:
            yield shard
            shard, have = [], 0
        shard.append(step)
        have += step.nbytes
    yield shard


def _index(files: Sequence[PlannedFile]) -> str:
    """As transformers writes it."""
    places = {step.name: os.path.basename(file.name) for file in files for step in file.steps}
    total = sum(step.nbytes for file in files for step in file.steps)
    held = {"metadata": {"total_size": total}, "weight_map": places}
    return json.dumps(held, indent=2, sort_keys=True) + "\n"


def _target_tensors(steps: Sequence[Step], target: Target) -> tuple[TensorInfo, ...]:
    """The tensors of a target file as its writer sees them: all steps, then the tied names."""
    found = [
        TensorInfo(
            step.name,
            step.dtype,
            step.shape,
            Extent(0, number, step.nbytes),
            "little",
            None,
            str(number),
        )
        for number, step in enumerate(steps)
    ]
    if target.ties == TIED_BY_STORAGE:
        found += [
            found[number]._replace(name=tie)
            for number, step in enumerate(steps)
            for tie in step.ties
        ]
    return tuple(found)


# What goes into the header


def _metadata(
    checkpoint: Checkpoint, steps: Sequence[Step], wish: Wish, target: Target
) -> dict[str, str]:
    """The metadata that is kept, without the record of ties."""
    if not target.metadata:
        return {}
    first = checkpoint.files[0]
    kind = first.format
    kept = {key: value for key, value in first.notes.items() if key != ALIASES}
    if kind != "pytorch":
        lost = {*lossy.lost_metadata(kind, first.metadata, target)}
        names = {step.info.name for step in steps}
        for key, value in first.metadata.items():
            alias = isinstance(value, str) and value in names and key != "format"
            if key not in lost and key != ALIASES and not (alias and kind == "safetensors"):
                kept[_key(kind, key)] = value if isinstance(value, str) else json.dumps(value)
    if kind != target.name == "safetensors":
        kept.setdefault("format", "pt")
    return {**kept, **dict(wish.metadata)}


def _key(kind: str, key: str) -> str:
    return key if kind == "safetensors" else f"{kind}.{key}"


def _with_ties(
    metadata: Mapping[str, str], steps: Iterable[Step], target: Target
) -> dict[str, str]:
    ties = {alias: step.name for step in steps for alias in step.ties}
    if not ties or target.ties != TIED_BY_METADATA:
        return dict(metadata)
    return {**metadata, ALIASES: json.dumps(dict(sorted(ties.items())))}


def _sidecar(
    parts: Sequence[tuple[str, Checkpoint]], target: str, wish: Wish, folder: bool
) -> Text | None:
    if not wish.sidecar:
        return None
    from weightkit.convert.sidecar import sidecar_path, sidecar_text

    path = sidecar_path(target, folder) if wish.sidecar == DEFAULT_SIDECAR else wish.sidecar
    return Text(path, sidecar_text(part for _, part in parts))


# About the plan as a whole


def _memory(files: Sequence[PlannedFile]) -> int:
    ways = {step.way for file in files for step in file.steps}
    return GATHERS if ways & {CAST, GATHER, DENSE, INFLATE} else PIECES


def _digest(made: Plan, checkpoint: Checkpoint) -> str:
    """Of the plan and the state of the source's files: equal plans have equal results."""
    stamps = [
        (source.path, *source.stamp) for part in checkpoints(checkpoint) for source in part.sources
    ]
    files = [(file.name, file.metadata, [*map(_brief, file.steps)]) for file in made.files]
    text = repr((__version__, made.format, made.folder, files, made.carried, made.texts, stamps))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _brief(step: Step) -> tuple[Any, ...]:
    info = step.info
    return step.name, step.dtype.name, step.shape, step.ties, step.part, info.name, *info.data
