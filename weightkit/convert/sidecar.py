"""The values of a checkpoint that are no tensors, as JSON beside the target.

Hyper-parameters, epoch, a GGUF's metadata with its vocabulary: what weights in another format have
no place for. NaN, infinities and what JSON cannot say are text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from weightkit.convert.losses import values_of
from weightkit.opening import Checkpoint
from weightkit.source import Source
from weightkit.tensors import ArrayRef, FileIndex

VERSION = 1
NAME = "weightkit.sidecar.json"
"""In a folder; beside ``model.safetensors`` it is ``model.sidecar.json``."""
MAX_ELEMENTS = 1 << 24


def sidecar_path(target: str, folder: bool) -> str:
    """Where a sidecar goes if nobody says."""
    if folder:
        return os.path.join(target, NAME)
    return f"{os.path.splitext(target)[0]}.sidecar.json"


def sidecar_text(parts: Iterable[Checkpoint]) -> str:
    """All values of all files, "" for none. Raises FormatError for an array that cannot be read."""
    files = [
        {
            "path": os.path.basename(file.path),
            "format": file.format,
            "values": _plain(values_of(file), file, part.sources[number]),
        }
        for part in parts
        for number, file in enumerate(part.files)
        if values_of(file)
    ]
    if not files:
        return ""
    held = {"kind": "weightkit sidecar", "version": VERSION, "files": files}
    return json.dumps(held, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


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
