"""Memory for training: full, LoRA and QLoRA, each as a sum whose terms are shown.

Sources: Rajbhandari et al. 2020 (ZeRO), section 3.1, for the 16 bytes per parameter of Adam in
mixed precision; Korthikanti et al. 2022 for activations (34·s·b·h bytes per layer when only the
attention matrix is recomputed, 2·s·b·h when everything is); Hu et al. 2021 for LoRA; Dettmers et
al. 2023 for NF4 with and without double quantization.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from weightkit.reports import ESTIMATE, UNKNOWN, MemoryTerm

ZERO = "Rajbhandari et al. 2020 (ZeRO), section 3.1"
ACTIVATIONS = "Korthikanti et al. 2022, Reducing Activation Recomputation"
LORA = "Hu et al. 2021 (LoRA), section 4.1"
QLORA = "Dettmers et al. 2023 (QLoRA), section 3"

FULL, MIXED, LOW_RANK, QUANTIZED = "full f32", "full mixed", "lora", "qlora"


class Part(NamedTuple):
    """Bytes per parameter of one thing that training keeps."""

    method: str
    name: str
    low: float
    high: float
    of: str
    """Whose parameters: base, matrices (of the base), rest (of the base) or adapter."""
    source: str


PARTS: tuple[Part, ...] = (
    Part(FULL, "weights, 32-bit", 4, 4, "base", ZERO),
    Part(FULL, "gradients, 32-bit", 4, 4, "base", ZERO),
    Part(FULL, "Adam moments, 2 × 32-bit", 8, 8, "base", ZERO),
    Part(MIXED, "weights, 16-bit", 2, 2, "base", ZERO),
    Part(MIXED, "gradients, 16- or 32-bit", 2, 4, "base", ZERO),
    Part(MIXED, "master weights, 32-bit", 4, 4, "base", ZERO),
    Part(MIXED, "Adam moments, 2 × 32-bit", 8, 8, "base", ZERO),
    Part(LOW_RANK, "frozen weights, 16-bit", 2, 2, "base", LORA),
    Part(LOW_RANK, "adapter, gradients and moments, 32-bit", 16, 16, "adapter", LORA),
    # 4 bits, and per 64 of them a scale of 8 bits quantized once more (0.127) or of 32 (0.5).
    Part(QUANTIZED, "frozen matrices, NF4", 4.127 / 8, 4.5 / 8, "matrices", QLORA),
    Part(QUANTIZED, "frozen embeddings and norms, 16-bit", 2, 2, "rest", QLORA),
    Part(QUANTIZED, "adapter, gradients and moments, 32-bit", 16, 16, "adapter", QLORA),
)
"""What each method keeps, before activations."""

METHODS = (FULL, MIXED, LOW_RANK, QUANTIZED)


class Trained(NamedTuple):
    """What is trained, and the size of a step."""

    counts: dict[str, tuple[int, int] | None]
    """Parameters, low and high, by what a part is ``of``; None where unknown."""
    unknown: dict[str, str]
    """Why, for those."""
    sequence: int | None
    batch: int
    hidden: int | None
    layers: int | None


def training_terms(trained: Trained) -> tuple[MemoryTerm, ...]:
    """Every part of every method, its activations, and its total."""
    terms: list[MemoryTerm] = []
    for method in METHODS:
        parts = [_term(part, trained) for part in PARTS if part.method == method]
        parts.append(_activations(method, trained))
        terms += [*parts, _total(method, parts)]
    return tuple(terms)


def _term(part: Part, trained: Trained) -> MemoryTerm:
    name = f"{part.method}: {part.name}"
    counts = trained.counts[part.of]
    if counts is None:
        return MemoryTerm(
            name, None, None, UNKNOWN, source=part.source, reason=trained.unknown[part.of]
        )
    return MemoryTerm(
        name,
        ceil(part.low * counts[0]),
        ceil(part.high * counts[1]),
        ESTIMATE,
        formula=f"{_per(part)} B × parameters",
        inputs={f"{part.of} parameters": counts[0] if counts[0] == counts[1] else list(counts)},
        source=part.source,
    )


def _activations(method: str, trained: Trained) -> MemoryTerm:
    sizes = (trained.sequence, trained.hidden, trained.layers)
    names = ("context", "hidden_size", "num_hidden_layers")
    missing = [name for name, size in zip(names, sizes, strict=True) if size is None]
    if missing:
        reason = f"unknown: {', '.join(missing)} missing"
        name = f"{method}: activations"
        return MemoryTerm(name, None, None, UNKNOWN, source=ACTIVATIONS, reason=reason)
    step = trained.batch
    for size in sizes:
        step *= size or 0
    return MemoryTerm(
        f"{method}: activations",
        2 * step,
        34 * step,
        ESTIMATE,
        formula="2 to 34 B × sequence × batch × hidden size × layers",
        inputs={**dict(zip(names, sizes, strict=True)), "batch": trained.batch},
        source=ACTIVATIONS,
        reason="low: every layer recomputed; high: only the attention matrix recomputed",
    )


def _total(method: str, parts: list[MemoryTerm]) -> MemoryTerm:
    name = f"{method}: total"
    formula = " + ".join(map(_summand, parts))
    unknown = next((part for part in parts if part.kind == UNKNOWN), None)
    if unknown is not None:
        return MemoryTerm(name, None, None, UNKNOWN, formula, reason=unknown.reason)
    low = sum(part.low or 0 for part in parts)
    high = sum(part.high or 0 for part in parts)
    return MemoryTerm(name, low, high, ESTIMATE, formula)


def _summand(part: MemoryTerm) -> str:
    """The name of a term with its factor: ``weights 4 B``."""
    name = part.name.split(": ", 1)[1]
    factor = next((row for row in PARTS if f"{row.method}: {row.name}" == part.name), None)
    return name if factor is None else f"{name.split(',')[0]} {_per(factor)} B"


def _per(part: Part) -> str:
    return f"{part.low:.4g}" if part.low == part.high else f"{part.low:.3g}–{part.high:.3g}"
