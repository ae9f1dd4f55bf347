"""The values of a checkpoint that are no tensors, as JSON beside the target.

Hyper-parameters, epoch, a GGUF's metadata with its vocabulary: what weights in another format have
no place for. NaN, infinities and what JSON cannot say are text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from io import StringIO
from math import isfinite
from typing import Any

from weightkit.opening import Checkpoint
from weightkit.source import Source
from weightkit.tensors import ArrayRef, FileIndex

VERSION = 1
NAME = "weightkit.sidecar.json"
"""In a folder; beside ``model.safetensors`` it is ``model.sidecar.json``."""
_OF_THE_FILE = {"numpy": "", "gguf": "split."}
"""What keys begin with that say how bytes are stored: of the target it would be wrong."""
MAX_ELEMENTS, MAX_NBYTES = 1 << 22, 64 << 20
"""Of all arrays of one file: a large vocabulary with its merges has 1.5 million elements in 20 MB."""


def sidecar_path(target: str, folder: bool) -> str:
    """Where a sidecar goes if nobody says."""
    if folder:
        return os.path.join(target, NAME)
    return f"{os.path.splitext(target)[0]}.sidecar.json"


def beyond(file: FileIndex) -> tuple[str, ...]:
    """Keys of the arrays of a file that a sidecar has no room for, beside those before them."""
    found = []
    elements, nbytes = MAX_ELEMENTS, MAX_NBYTES
    for key, value in values_of(file).items():
        if not isinstance(value, ArrayRef):
            continue
        count = (
            value.nbytes if value.kind == "array" else value.length
        )  # of arrays the least is known
        if count > elements or value.nbytes > nbytes:
            found.append(key)
        else:
            elements, nbytes = elements - count, nbytes - value.nbytes
    return tuple(found)


def values_of(file: FileIndex) -> Mapping[str, Any]:
    """What a file says beside its tensors, but for what is about the file alone."""
    own = _OF_THE_FILE.get(file.format)
    if own is None:
        return file.metadata
    return {key: value for key, value in file.metadata.items() if not key.startswith(own)}


def sidecar_text(parts: Iterable[Checkpoint]) -> str:
    """All values of all files, "" for none. Raises FormatError for an array that cannot be read."""
    files = [
        {
            "path": os.path.basename(file.path),
            "format": file.format,
            "values": _plain(_kept(file), file, part.sources[number]),
        }
        for part in parts
        for number, file in enumerate(part.files)
        if values_of(file)
    ]
    if not files:
        return ""
    held = {"kind": "weightkit sidecar", "version": VERSION, "files": files}
    encoder = json.JSONEncoder(indent=1, allow_nan=False)
    text = StringIO()
    for piece in encoder.iterencode(held):  # a list of all would take several times the text
        text.write(piece)
    return f"{text.getvalue()}\n"


def _kept(file: FileIndex) -> Mapping[str, Any]:
    left = beyond(file)
    return {key: value for key, value in values_of(file).items() if key not in left}


def _plain(value: Any, file: FileIndex, source: Source) -> Any:
    if isinstance(value, ArrayRef):
        from weightkit.formats.gguf.pairs import read_array

        version = int(file.version or 3)
        found = read_array(source, value, file.byteorder, MAX_ELEMENTS, version)
        return _plain(found, file, source)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, file, source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, file, source) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
