"""The small files beside the weights that tell about them: configs and the model card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from weightkit.errors import AccessError, FormatError
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


def read_configs(folder: str, faults: Faults) -> Mapping[str, Any]:
    """The JSON files that tell about the weights; one that is none is a finding, not an error."""
    found = {}
    for name in CONFIGS:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                found[name] = read_json(path, MAX_CONFIG)
            except (FormatError, AccessError) as error:
                faults.add("WK621", error.message, error.offset, path=path)
    return found


def read_card(folder: str) -> str:
    """The front matter of the model card, as text."""
    path = os.path.join(folder, "README.md")
    if not os.path.isfile(path):
        return ""
    with Source(path) as source:
        text = source.peek(0, MAX_CARD).decode("utf-8", "replace")
    if not text.startswith("---"):
        return ""
    return text[3:].partition("\n---")[0]
