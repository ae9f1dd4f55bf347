"""Parameter, bias, buffer or bookkeeping: what a tensor is to those who count."""

from __future__ import annotations

from weightkit.analyses.folding import Fold
from weightkit.analyses.naming import Matcher
from weightkit.analyses.places import CONDITIONS, Place
from weightkit.analyses.scene import Scene
from weightkit.architectures import adapters, leaves, quantizers
from weightkit.architectures.rows import Row, expand

PARAMETER, BIAS, BUFFER, BOOKKEEPING = "parameter", "bias", "buffer", "bookkeeping"

BUFFERS = Matcher([*leaves.BUFFERS, *adapters.BUFFERS])
FLAT_BUFFERS = Matcher(leaves.GGUF_BUFFERS)
AUXILIARIES = Matcher(quantizers.AUXILIARIES)


def kind_of(
    group: Fold, segments: tuple[str, ...], component: str, scene: Scene
) -> tuple[str, tuple[str, str] | None]:
    """The kind, with component and rule where they follow from it."""
    auxiliary = _auxiliary(group, segments, scene)
    if auxiliary is not None:
        return BOOKKEEPING, ("", f"{auxiliary.pattern} of {auxiliary.method}")
    buffer = _buffer(group, segments, scene)
    if buffer is not None:
        return BUFFER, buffer
    if group.dtype.kind == "float" and {member.role for member in group.members} == {"buffer"}:
        return BUFFER, None  # the file says so; packed weights are buffers too, but not float
    leaf = segments[-1]
    if leaf == "bias" or leaf.endswith("_bias") or leaf.startswith("bias_"):
        return BIAS, None
    return (BIAS if leaf == "beta" and component == "norm" else PARAMETER), None


def _auxiliary(group: Fold, segments: tuple[str, ...], scene: Scene) -> quantizers.Auxiliary | None:
    def allowed(row: quantizers.Auxiliary, begin: int, end: int) -> bool:
        if row.when == "small" and group.numel > 1:
            return False
        return not row.beside or scene.packs(group, *_names_beside(row, group))

    match = AUXILIARIES.find(segments, allowed, last=True)
    return match[0] if match else None


def _names_beside(row: quantizers.Auxiliary, group: Fold) -> list[str]:
    leaf = group.segments[-1]
    ends = [pattern[1:] for pattern in expand(row.pattern) if pattern.startswith("*")]
    stem = next((leaf.removesuffix(end) for end in ends if leaf.endswith(end)), "")
    return [name.replace("*", stem) for name in row.beside.split()]


def _buffer(group: Fold, segments: tuple[str, ...], scene: Scene) -> tuple[str, str] | None:
    flat = scene.flat and segments[-1] in ("weight", "bias")
    named = segments[:-1] if flat else segments

    def allowed(row: Row, begin: int, end: int) -> bool:
        return not row.when or CONDITIONS[row.when](Place(scene, group, named, begin, end, 0))

    match = (FLAT_BUFFERS if flat else BUFFERS).find(named, allowed, last=True)
    if match is not None:
        return match[0].component, f"{match[0].pattern} is a buffer"
    integer = group.dtype.kind in ("int", "uint") and group.dtype.nbytes == 8
    if group.dtype.kind == "bool" or (integer and segments[-1] not in quantizers.PACKED):
        return "other", "integers that are no packed weight"
    return None
