"""Several files put together as one checkpoint, and the index held against them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from weightkit.errors import AccessError, FormatError
from weightkit.rules import Faults
from weightkit.source import Source
from weightkit.tensors import FileIndex, TensorSet

MAX_JSON = 64 << 20
"""Bytes of a shard index: that of the largest models is some 10 MB."""


def read_json(path: str, limit: int = MAX_JSON) -> dict[str, Any]:
    """A JSON object. Raises FormatError WK621 for anything else, AccessError if it cannot be read."""
    with Source(path) as source:
        if source.size > limit:
            raise source.error("WK621", f"{source.size} bytes of JSON, more than {limit}")
        raw = source.pread(0, source.size)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        offset = error.pos if isinstance(error, json.JSONDecodeError) else None
        raise FormatError(f"not JSON: {error}", path=path, code="WK621", offset=offset) from error
    if not isinstance(found, dict):
        raise FormatError(
            f"a JSON {type(found).__name__} where an object must be", path=path, code="WK621"
        )
    return found


class ShardIndex:
    """A ``*.index.json``: ``weight_map`` gives the file of each tensor."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            held = read_json(path)
        except FormatError as error:
            error.code = "WK610"
            raise
        weight_map = held.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise FormatError("no weight_map", path=path, code="WK610")
        if {*map(type, weight_map.values())} != {str}:
            raise FormatError("a file in weight_map is no text", path=path, code="WK610")
        self.weight_map: dict[str, str] = weight_map
        metadata = held.get("metadata")
        self.metadata: dict[str, Any] = metadata if isinstance(metadata, dict) else {}

    @property
    def files(self) -> tuple[str, ...]:
        """The shards it names, sorted."""
        return tuple(sorted(set(self.weight_map.values())))

    def check(self, names: Sequence[str], files: Sequence[FileIndex], faults: Faults) -> None:
        """Hold the index against the shards, both ways; ``names`` are the files' names in it."""
        if not self._agrees(names, files):
            self._name_differences(names, files, faults)
        total = sum([tensor[3][2] for file in files for tensor in file.tensors])
        declared = self.metadata.get("total_size")
        if isinstance(declared, int | float) and declared != total:
            faults.add("WK615", f"total_size is {declared}, but the tensors have {total} bytes")

    def _agrees(self, names: Sequence[str], files: Sequence[FileIndex]) -> bool:
        """Whether each tensor lies in the file that the index names for it, and none is missing."""
        count = 0
        for name, file in zip(names, files, strict=True):
            here = [tensor[0] for tensor in file.tensors]
            if [*map(self.weight_map.get, here)].count(name) < len(here):
                return False
            # No other file has any of these, or it would not be named for them.
            count += len(set(here))
        return count == len(self.weight_map)

    def _name_differences(
        self, names: Sequence[str], files: Sequence[FileIndex], faults: Faults
    ) -> None:
        left = dict(self.weight_map)
        for name, file in zip(names, files, strict=True):
            for item in file.tensors:
                placed = left.pop(item.name, None)
                if placed is None and item.name not in self.weight_map:
                    faults.add(
                        "WK614", f"{item.name} of {name} is not in the index", tensor=item.name
                    )
                elif placed != name:
                    message = f"the index places {item.name} in {placed}, but {name} holds it"
                    faults.add("WK612", message, tensor=item.name)
        for item_name, name in left.items():
            message = f"the index places {item_name} in {name}, which does not hold it"
            faults.add("WK612", message, tensor=item_name)


def merge(files: Sequence[FileIndex], faults: Faults) -> tuple[TensorSet, ...]:
    """The sets of all files as one: those with the same key are put together in file order."""
    if len(files) == 1:
        return files[0].sets
    merged: dict[str, list[TensorSet]] = {}
    for file in files:
        for item in file.sets:
            merged.setdefault(item.key, []).append(item)
    sets = []
    for key, pieces in merged.items():
        tensors = tuple(chain.from_iterable(piece.tensors for piece in pieces))
        if len(set(map(itemgetter(0), tensors))) != len(tensors):
            _name_doubles(files, faults)
        sets.append(TensorSet(key, pieces[0].kind, tensors))
    return tuple(sets)


def _name_doubles(files: Sequence[FileIndex], faults: Faults) -> None:
    seen: dict[str, str] = {}
    for file in files:
        here = os.path.basename(file.path)
        for tensor in file.tensors:
            there = seen.setdefault(tensor.name, here)
            if there != here:
                faults.add(
                    "WK613", f"{tensor.name} is in {there} and in {here}", tensor=tensor.name
                )


def check_split(files: Sequence[FileIndex], faults: Faults) -> None:
    """Hold the ``split.*`` keys of a split GGUF against the files that are there."""
    total = sum(len(file.tensors) for file in files)
    for number, file in enumerate(files):
        for key, have in (
            ("split.count", len(files)),
            ("split.no", number),
            ("split.tensors.count", total),
        ):
            said = file.metadata.get(key)
            if said is not None and said != have:
                faults.add("WK618", f"{key} is {said}, but here it is {have}", path=file.path)


def missing_shards(folder: str, names: Sequence[str], faults: Faults) -> list[str]:
    """Those of ``names`` that are there; the others are faults."""
    there = []
    for name in names:
        if os.path.exists(os.path.join(folder, name)):
            there.append(name)
        else:
            faults.add("WK611", f"shard {name} is missing")
    return there


__all__ = [
    "AccessError",
    "ShardIndex",
    "check_split",
    "merge",
    "missing_shards",
    "read_json",
]
