"""The facts about a checkpoint in a few words: architecture, quantization, licence, base, ..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weightkit.analyses.adapters import Adapter
from weightkit.analyses.experts import Mixture
from weightkit.analyses.kinds import BOOKKEEPING, PARAMETER
from weightkit.analyses.quantization import Counted

TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tokenizer.tiktoken",
)
"""Files that are, or come with, a tokenizer."""


def facts(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    card: str,
    beside: Sequence[str],
    settings: Mapping[str, Any],
    counted: Sequence[Counted],
    mixture: Mixture | None,
    adapter: Adapter | None,
) -> dict[str, Any]:
    """What is known, by name; what is not, is left out."""
    front = front_matter(card)
    found: dict[str, Any] = {
        "architecture": architecture(config, metadata),
        "version": _first(_texts(config, "transformers_version", "_diffusers_version")),
        "quantization": quantization(settings, counted, metadata),
        "experts": _experts(mixture),
        "adapter": adapter.facts() if adapter else None,
        "licence": _first(
            [*front.get("license", []), *_texts(metadata, "general.license", "modelspec.license")]
        ),
        "base_model": _first(_bases(config, metadata, front)),
        "tokenizer": tokenizer(metadata, beside),
    }
    return {key: value for key, value in found.items() if value not in (None, "", {}, [])}


def architecture(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The class that the config names, or the family that the metadata names."""
    classes = config.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else None
    named = [first] if isinstance(first, str) else []
    return _first(
        [
            *(name[:200] for name in named),
            *_texts(config, "_class_name", "model_type"),
            *_texts(metadata, "general.architecture", "modelspec.architecture"),
        ]
    )


def quantization(
    settings: Mapping[str, Any], counted: Sequence[Counted], metadata: Mapping[str, Any]
) -> str:
    """Method and widths: as declared, else as the tensors are packed; "" for plain weights."""
    method = _first(_texts(settings, "quant_method", "quant_type", "quant_algo", "format"))
    weights = Counter[str]()
    for item in counted:
        if item.kin.kind == PARAMETER and len(item.fold.shape) > 1:
            name = item.method or (item.fold.dtype.name if item.fold.dtype.kind == "quant" else "")
            weights[name] += (item.parameters or 0) * len(item.fold.members)
    packed = [name for name, _ in weights.most_common(4) if name]
    if "general.architecture" in metadata:
        return " + ".join(packed)
    if not packed and not method:
        return ""
    bits = _number(settings, "bits", "w_bit", "num_bits", "nbits")
    group = _number(settings, "group_size", "q_group_size")
    words = [method or " + ".join(packed)]
    words += [f"{bits} bits"] if bits else []
    words += [f"groups of {group}"] if group else []
    if not packed and not any(item.kin.kind == BOOKKEEPING for item in counted):
        words.append("declared, but no tensor is packed")
    return ", ".join(words)


def _experts(mixture: Mixture | None) -> dict[str, Any] | None:
    if mixture is None:
        return None
    found = {
        "experts": mixture.experts,
        "used": mixture.top_k,
        "layers": mixture.layers,
        "routed_parameters": mixture.routed,
        "shared_parameters": mixture.shared,
        "parameters_per_expert": mixture.per_expert,
    }
    return {key: value for key, value in found.items() if value is not None}


def tokenizer(metadata: Mapping[str, Any], beside: Sequence[str]) -> str:
    """The tokenizer inside the file or the files of one beside it; "" for none."""
    inside = _first(_texts(metadata, "tokenizer.ggml.model", "tokenizer.model"))
    return inside or ", ".join(name for name in TOKENIZERS if name in beside)


def _bases(
    config: Mapping[str, Any], metadata: Mapping[str, Any], front: Mapping[str, list[str]]
) -> Iterator[str]:
    yield from _texts(config, "base_model_name_or_path")
    yield from front.get("base_model", [])
    yield from _texts(
        metadata,
        "general.base_model.0.repo_url",
        "general.base_model.0.name",
        "ss_sd_model_name",
        "ss_base_model_version",
    )


_ENTRY = re.compile(r"([A-Za-z_]+):[ \t]*(.*)")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")


def front_matter(card: str) -> dict[str, list[str]]:
    """The top-level keys of a model card's front matter that hold text or a list of it.

    The few lines that are wanted need no YAML parser, and a hostile card meets none.
    """
    found: dict[str, list[str]] = {}
    key = ""
    for line in card.splitlines()[:2000]:
        entry, item = _ENTRY.fullmatch(line.rstrip()), _ITEM.fullmatch(line.rstrip())
        if entry:
            key, value = entry[1], entry[2].strip()
            inline = value[1:-1].split(",") if value.startswith("[") else [value]
            found[key] = [_unquoted(text) for text in inline if _unquoted(text)]
        elif item and key:
            found[key].append(_unquoted(item[1]))
        elif line.strip():
            key = ""
    return found


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")[:300]


def _texts(table: Mapping[str, Any], *keys: str) -> list[str]:
    values = [table.get(key) for key in keys]
    return [value[:300] for value in values if isinstance(value, str) and value]


def _first(texts: Sequence[str] | Iterator[str]) -> str:
    return next(iter(texts), "")


def _number(settings: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = settings.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
