"""The small files beside the weights that tell about them: configs and the model card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from weightkit.errors import AccessError, FormatError
from weightkit.opening.folders import Folder
from weightkit.opening.shards import read_json
from weightkit.rules import Faults
from weightkit.source import Source

CONFIGS = (
    "config.json",
    "adapter_config.json",
    "model_index.json",
    "params.json",
    "generation_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "hf_quant_config.json",
)
"""JSON files that tell about the weights beside them."""
MAX_CONFIG = 8 << 20
MAX_CARD = 1 << 16


def read_configs(folder: Folder, faults: Faults) -> Mapping[str, Any]:
    """The JSON files that tell about the weights; one that is none is a finding, not an error."""
    found = {}
    for name in CONFIGS:
        path = _path(folder, name, faults)
        if path:
            try:
                found[name] = read_json(path, MAX_CONFIG)
            except (FormatError, AccessError) as error:
                faults.add("WK621", error.message, error.offset, path=path)
    return found


def read_card(folder: Folder, faults: Faults) -> str:
    """The front matter of the model card, as text."""
    path = _path(folder, "README.md", faults)
    if not path:
        return ""
    with Source(path) as source:
        text = source.peek(0, MAX_CARD).decode("utf-8", "replace")
    if not text.startswith("---"):
        return ""
    return text[3:].partition("\n---")[0]


def _path(folder: Folder, name: str, faults: Faults) -> str:
    """Where a file of the folder is; "" if it is not there, or a link that leads out of it."""
    try:
        path = folder.join(name)
    except FormatError as error:
        faults.add("WK624", f"not read: {name}, {error.message}", path=error.path)
        return ""
    return path if os.path.isfile(path) else ""
