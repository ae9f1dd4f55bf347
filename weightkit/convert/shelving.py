"""Which file of the target each tensor goes into, what the files are called and say of themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from weightkit.analyses.digests import ALIASES, recorded_aliases
from weightkit.convert import losses as lossy
from weightkit.convert.naming import index_name, shard_name, stem_of
from weightkit.convert.sidecar import values_of
from weightkit.convert.targets import TIED_BY_METADATA, TIED_BY_STORAGE, Target
from weightkit.convert.wishes import Wish
from weightkit.opening import Checkpoint
from weightkit.plans import PlannedFile, Step, Text
from weightkit.tensors import Extent, TensorInfo


def files_of(
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
    index = os.path.join(where, index_name(stem, _suffix(target, checkpoint)))
    return files, [Text(index, _index(files, target))]


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


def _index(files: Sequence[PlannedFile], target: Target) -> str:
    """As transformers writes it: every name that a file holds, the bytes of each tensor once."""
    in_file = target.ties == TIED_BY_STORAGE
    places = {
        name: os.path.basename(file.name)
        for file in files
        for step in file.steps
        for name in (step.name, *(step.ties if in_file else ()))
    }
    total = sum(step.nbytes for file in files for step in file.steps)
    held = {"metadata": {"total_size": total}, "weight_map": places}
    return json.dumps(held, indent=2, sort_keys=True) + "\n"


def _target_tensors(steps: Sequence[Step], target: Target) -> tuple[TensorInfo, ...]:
    """The tensors of a target file as its writer sees them: all steps, then the tied names."""
    by_storage = target.ties == TIED_BY_STORAGE
    # Where they will lie is the writer's to say, who is told how many bytes there are of each.
    extents = {nbytes: Extent(0, 0, nbytes) for nbytes in {step.nbytes for step in steps}}
    found = [
        TensorInfo(
            step.name,
            step.dtype,
            step.shape,
            extents[step.nbytes],
            "little",
            None,
            str(number) if by_storage else "",
        )
        for number, step in enumerate(steps)
    ]
    if by_storage:
        found += [
            found[number]._replace(name=tie)
            for number, step in enumerate(steps)
            for tie in step.ties
        ]
    return tuple(found)


# What they say of themselves


def metadata_of(checkpoint: Checkpoint, wish: Wish, target: Target) -> dict[str, str]:
    """The metadata that is kept, without the record of ties."""
    if not target.metadata:
        return {}
    first = checkpoint.files[0]
    kind = first.format
    kept, _ = lossy.texts_of(checkpoint)
    if kind == "safetensors":
        for alias, _ in recorded_aliases(checkpoint):
            kept.pop(alias, None)  # as the official library records a tied name
    elif kind != "pytorch":
        said = values_of(first)
        lost = {*lossy.lost_metadata(kind, said, target)}
        for key, value in said.items():
            if key not in lost:
                kept[f"{kind}.{key}"] = value if isinstance(value, str) else json.dumps(value)
    if target.name == "npz" and kept.get("format") == "pt":
        del kept["format"]  # numpy would list it; and it is said again of what comes back
    if kind != target.name == "safetensors":
        kept.setdefault("format", "pt")
    return {**kept, **dict(wish.metadata)}


def _with_ties(
    metadata: Mapping[str, str], steps: Iterable[Step], target: Target
) -> dict[str, str]:
    ties = {alias: step.name for step in steps for alias in step.ties}
    if not ties or target.ties != TIED_BY_METADATA:
        return dict(metadata)
    return {**metadata, ALIASES: json.dumps(dict(sorted(ties.items())))}
