"""What the same parameters take at other precisions.

The matrices go to the precision, norms and biases stay as the row says; whether embeddings and the
output head are quantized too differs between tools, so where it does the row is a range.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

from weightkit.dtypes import DTYPES
from weightkit.reports import ESTIMATE, EXACT, UNKNOWN, Inspection, MemoryTerm
from weightkit.tensors import TensorInfo


class Precision(NamedTuple):
    """Bits per weight of the matrices (low and high) and of what is not quantized."""

    name: str
    low: float
    high: float
    kept: int
    """Bits of norms and biases."""
    embeddings: str
    """as matrices, or kept (at ``kept`` bits)."""
    reason: str


def _cast(name: str, bits: int) -> Precision:
    return Precision(name, bits, bits, bits, "as matrices", "every parameter at this precision")


def _gguf(name: str, low: str, high: str = "") -> Precision:
    reason = f"every matrix as {low}, norms and biases as f32"
    if high:
        reason = f"low: {reason}; high: as {high} (mixes such as _S, _M and _L lie between)"
    bits = DTYPES[low].bits
    return Precision(name, bits, DTYPES[high].bits if high else bits, 32, "as matrices", reason)


_INTEGER = "embeddings, output head, norms and biases stay 16-bit"

PRECISIONS: tuple[Precision, ...] = (
    _cast("FP32", 32),
    _cast("FP16/BF16", 16),
    # A 16-bit scale per row at least, per 32 weights at most.
    Precision("INT8", 8, 8.5, 16, "kept", f"a scale per row to one per 32 weights; {_INTEGER}"),
    Precision(
        "INT4",
        4 + 16 / 128,
        4 + (16 + 4) / 32,
        16,
        "kept",
        f"a scale per 128 weights to a scale and a zero point per 32; {_INTEGER}",
    ),
    _gguf("GGUF Q8_0", "q8_0"),
    _gguf("GGUF Q6_K", "q6_k"),
    _gguf("GGUF Q5_K", "q5_k", "q6_k"),
    _gguf("GGUF Q4_K", "q4_k", "q5_k"),
    _gguf("GGUF Q4_0", "q4_0", "q5_0"),
    _gguf("GGUF IQ4_XS", "iq4_xs", "q4_k"),
    _gguf("GGUF Q3_K", "q3_k", "q4_k"),
    _gguf("GGUF Q2_K", "q2_k", "q3_k"),
)

GEOMETRY = "bits per weight of each block type, ggml-common.h"


class Makeup(NamedTuple):
    """A checkpoint's parameters by what quantization does with them."""

    total: int | None
    vectors: int
    """Norms and biases."""
    embeddings: int
    """Input embedding and output head."""

    @property
    def matrices(self) -> int:
        """What is left: the weights of linear layers."""
        return max((self.total or 0) - self.vectors - self.embeddings, 0)


def makeup(inspection: Inspection) -> Makeup:
    """Sort the parameters of an inspected checkpoint; aliases count once."""
    counts = {row.component: row.parameters for row in inspection.components}
    parameters = inspection.parameters
    total = parameters.total if parameters.unique is None else parameters.unique
    # The biases of norms are in both, which is too little to matter in an estimate.
    vectors = counts.get("norm", 0) + parameters.bias
    embeddings = counts.get("embedding", 0) + counts.get("output_head", 0)
    ceiling = total or 0
    return Makeup(total, min(vectors, ceiling), min(embeddings, max(ceiling - vectors, 0)))


def weight_terms(
    inspection: Inspection, tensors: Iterable[TensorInfo] = ()
) -> tuple[MemoryTerm, ...]:
    """The weights as they are stored, and at every row of :data:`PRECISIONS`."""
    parts = makeup(inspection)
    return (_stored(inspection, shared_nbytes(tensors)), *(_at(row, parts) for row in PRECISIONS))


def shared_nbytes(tensors: Iterable[TensorInfo]) -> int:
    """Bytes that are counted more than once because several tensors are views of one memory."""
    storages: dict[str, list[TensorInfo]] = {}
    for tensor in tensors:
        if tensor.storage:
            storages.setdefault(tensor.storage, []).append(tensor)
    return sum(_overlap(views) for views in storages.values() if len(views) > 1)


def _overlap(views: list[TensorInfo]) -> int:
    """Bytes of the views together, less the bytes of what they cover."""
    covered = end = 0
    for start, stop in sorted((v.data.offset, v.data.offset + v.data.nbytes) for v in views):
        covered += max(stop - max(start, end), 0)
        end = max(end, stop)
    return max(sum(view.nbytes for view in views) - covered, 0)


def _stored(inspection: Inspection, shared: int) -> MemoryTerm:
    nbytes = max(inspection.nbytes - shared, 0)
    return MemoryTerm(
        "as stored",
        nbytes,
        nbytes,
        EXACT,
        formula="bytes of all tensors of the main set, memory of several names counted once",
        inputs={"tensors": inspection.tensors, "shared bytes": shared},
        source="the file's header",
    )


def _at(row: Precision, parts: Makeup) -> MemoryTerm:
    if parts.total is None:
        reason = "unknown: the logical parameter count is unknown"
        return MemoryTerm(row.name, None, None, UNKNOWN, reason=reason)
    quantized = parts.matrices + (parts.embeddings if row.embeddings == "as matrices" else 0)
    kept = parts.total - quantized
    bits = f"{row.low:g}" if row.low == row.high else f"{row.low:g}–{row.high:g}"
    rest = f" + {kept:,} × {row.kept}" if kept else ""
    return MemoryTerm(
        row.name,
        ceil((quantized * row.low + kept * row.kept) / 8),
        ceil((quantized * row.high + kept * row.kept) / 8),
        ESTIMATE,
        formula=f"({quantized:,} × {bits}{rest}) bits / 8",
        inputs={"parameters": parts.total, "quantized": quantized, "kept": kept},
        source=GEOMETRY if row.name.startswith("GGUF") else "",
        reason=row.reason,
    )
