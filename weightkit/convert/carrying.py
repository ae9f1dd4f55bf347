"""Which small files of a folder go along with its weights, and which do not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from weightkit.analyses.checksums import names_below
from weightkit.convert.naming import index_name
from weightkit.opening import Checkpoint
from weightkit.opening.folders import INDEX, SHARD, WEIGHTS
from weightkit.opening.recognition import accepting
from weightkit.plans import Carried, PlannedFile
from weightkit.source import Source

SMALL = 256 << 20
"""Bytes: a vocabulary is some 30 MB; what is larger than this is data or weights."""
_OTHER_WEIGHTS = (
    *(".h5", ".hdf5", ".keras", ".onnx", ".onnx_data", ".msgpack", ".ot", ".pb", ".tflite"),
    *(".mlmodel", ".pickle", ".pdparams", ".joblib", ".engine", ".nemo", ".tar"),
)
_STALE = re.compile(
    r"(^|/)(weightkit\.manifest\.json|model\.sig|SHA256SUMS(\.txt)?|[^/]+\.index\.json)$"
)
"""They tell about the very files that change."""
_PRIVATE = re.compile(r"(^|/)(\.git|\.cache|__pycache__)(/|$)|(^|/)\.[^/]*\.weightkit-[^/]*\.tmp")


def carried_files(
    checkpoint: Checkpoint, planned: Sequence[PlannedFile], follow: bool = False
) -> tuple[tuple[Carried, ...], tuple[str, ...]]:
    """The files that are copied as they are, and the names of those that are not."""
    if not os.path.isdir(checkpoint.path):
        return (), ()
    taken = {os.path.realpath(path) for path in _weight_paths(checkpoint)}
    taken |= {os.path.realpath(path) for path in map(_index_of, _weight_paths(checkpoint))}
    made = {item.name for item in planned}
    carried, left = [], [] if follow else [*_linked_folders(checkpoint.path)]
    for name in names_below(checkpoint.path, follow):
        path = os.path.join(checkpoint.path, name)
        if os.path.realpath(path) in taken or _PRIVATE.search(name):
            continue
        nbytes = _nbytes_if_plain(path, name)
        if nbytes is None or name in made:
            left.append(name)
        else:
            carried.append(Carried(name, nbytes))
    return tuple(carried), tuple(sorted(left))


def _linked_folders(path: str) -> Iterator[str]:
    """Links to folders, which nobody follows unasked: what they lead to is carried under its own name."""
    for base, folders, _ in os.walk(path):
        for name in folders:
            whole = os.path.join(base, name)
            inside = os.path.relpath(whole, path)
            if os.path.islink(whole) and not _PRIVATE.search(inside):
                yield inside


def _weight_paths(checkpoint: Checkpoint) -> Iterator[str]:
    for file in checkpoint.files:
        yield file.path
    for part in checkpoint.parts:
        yield from _weight_paths(part)


def _index_of(path: str) -> str:
    """Where the index of a shard is, which the target has no use for."""
    folder, name = os.path.split(path)
    shard = SHARD.match(name)
    if not shard:
        return os.path.join(folder, f"{name}.index.json")
    variant, _, suffix = shard["rest"].rpartition(".")
    return os.path.join(folder, index_name(shard["stem"] + variant, f".{suffix}"))


def _nbytes_if_plain(path: str, name: str) -> int | None:
    """The size of a file that goes along; None for weights, pickles and what tells about them."""
    lower = name.lower()
    if lower.endswith(WEIGHTS) or lower.endswith(_OTHER_WEIGHTS) or _STALE.search(name):
        return None
    if INDEX.match(os.path.basename(name)):
        return None
    with Source(path) as source:
        head = source.peek(0, 4096)
        large = source.size > SMALL
        return None if large or any(accepting(head)) else source.size
