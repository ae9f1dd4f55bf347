"""How many parameters packed tensors stand for.

A packed tensor's elements are containers (int32 words, bytes), not parameters. What they stand for
follows from the shapes that belong together (packed weight, scales, zero points, order of columns),
from what the config declares, and from shapes that some methods store as data. Every derivation
that a layout allows is made, and they must agree; where they do not, or none is possible, the count
is unknown, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from weightkit.analyses.components import BOOKKEEPING, Kin
from weightkit.analyses.folding import Fold
from weightkit.analyses.scene import Scene
from weightkit.reports import Finding
from weightkit.rules import finding
from weightkit.tensors import TensorInfo

ReadBytes = Callable[[TensorInfo], bytes]


class Counted(NamedTuple):
    """A fold with the logical parameters of each of its members; None where they are unknown."""

    fold: Fold
    kin: Kin
    parameters: int | None
    method: str = ""
    """The layout that packs it; "" for a plain tensor."""


class Evidence(NamedTuple):
    """One way to derive a count. ``shapes`` rests on tensors alone, else something declared it."""

    elements: int
    source: str
    shapes: bool = True


class Packed:
    """A packed tensor with what stands beside it in its module."""

    def __init__(
        self,
        fold: Fold,
        beside: Mapping[str, Fold],
        settings: Mapping[str, Any],
        read_bytes: ReadBytes | None,
    ) -> None:
        self.fold = fold
        self.beside = beside
        self.settings = settings
        self.read_bytes = read_bytes
        self.numel = fold.numel
        self.shape = fold.shape
        self.container = 8 * fold.dtype.nbytes

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The shape of the tensor ``name`` of the same module."""
        fold = self.beside.get(name)
        return None if fold is None else fold.shape

    def declared(self, *names: str) -> int | None:
        """The first of these settings that is a sensible small number."""
        for name in names:
            value = self.settings.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20:
                return value
        return None

    def content(self, name: str, limit: int = 4096) -> bytes:
        """The bytes of the tensor ``name`` beside the first member; empty if they cannot be had."""
        fold = self.beside.get(name)
        if fold is None or self.read_bytes is None or fold.nbytes > limit:
            return b""
        return self.read_bytes(fold.members[0])


def _unpacked(packed: Packed, bits: int) -> list[int]:
    total = packed.numel * packed.container
    return [total // bits] if total % bits == 0 else []


def _gptq_awq(packed: Packed) -> list[Evidence]:
    """GPTQ packs the rows of (in, out) into words, AWQ the columns; scales are (groups, out)."""
    found = []
    bits = packed.declared("bits", "w_bit", "weight_bits")
    if bits is not None:
        found += [
            Evidence(count, f"{bits} bits declared", False) for count in _unpacked(packed, bits)
        ]
    scales, zeros = packed.shape_of("scales"), packed.shape_of("qzeros")
    order = packed.shape_of("g_idx")
    if len(packed.shape) != 2 or scales is None or len(scales) != 2:
        return found
    rows, columns = packed.shape
    out = scales[1]
    if columns != out and rows and columns:
        return [*found, Evidence(rows * out, "scales")]
    if order is not None and len(order) == 1:
        found.append(Evidence(order[0] * out, "g_idx and scales"))
    if zeros is not None and len(zeros) == 2 and zeros[1] and (rows * out) % zeros[1] == 0:
        found.append(Evidence(rows * out // zeros[1] * out, "qzeros and scales"))
    return found


def _bitsandbytes(packed: Packed) -> list[Evidence]:
    found = [Evidence(packed.numel * 2, "two to a byte")]
    for name in packed.beside:
        if name.startswith("weight.quant_state."):
            shape = _state_shape(packed.content(name))
            if shape is not None and prod(shape) <= packed.numel * 2:
                odd = packed.numel * 2 - prod(shape) == 1
                found = [Evidence(prod(shape), "two to a byte")] if odd else found
                found.append(Evidence(prod(shape), "quant state"))
    return found


def _state_shape(content: bytes) -> list[int] | None:
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        return None
    shape = state.get("shape") if isinstance(state, dict) else None
    return shape if isinstance(shape, list) and all(_is_size(item) for item in shape) else None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _one_to_one(packed: Packed) -> list[Evidence]:
    return [Evidence(packed.numel, "one element each")]


def _blocks(packed: Packed) -> list[Evidence]:
    found = [Evidence(packed.numel * 2, "two to a byte")]
    leaf = packed.fold.segments[-1].removesuffix("_blocks")
    scales = packed.beside.get(f"{leaf}_scales")
    if scales is not None:
        found.append(Evidence(scales.numel * 32, "scales of 32"))
    return found


def _nvfp4(packed: Packed) -> list[Evidence]:
    found = [Evidence(packed.numel * 2, "two to a byte")]
    scale = packed.beside.get("weight_scale")
    if scale is not None and len(scale.shape) == len(packed.shape):
        size = 16 if scale.dtype.name == "f8_e4m3" else 32
        found.append(Evidence(scale.numel * size, f"scales of {size}"))
    return found


def _compressed(packed: Packed) -> list[Evidence]:
    found = []
    if packed.fold.dtype.nbytes == 1:
        return _nvfp4(packed)
    content = packed.content("weight_shape")
    if len(content) in (8, 16) and any(content):
        step = len(content) // 2
        shape = [int.from_bytes(content[at : at + step], "little") for at in (0, step)]
        found.append(Evidence(prod(shape), "weight_shape"))
    bits = packed.declared("num_bits")
    if bits is not None:
        found += [
            Evidence(count, f"{bits} bits declared", False) for count in _unpacked(packed, bits)
        ]
    scale, size = packed.shape_of("weight_scale"), packed.declared("group_size")
    if scale is not None and size is not None and scale[-1:] != (1,):
        found.append(Evidence(prod(scale) * size, f"groups of {size}", False))
    return found


def _mlx(packed: Packed) -> list[Evidence]:
    found = []
    bits = packed.declared("bits")
    if bits is not None:
        found += [
            Evidence(count, f"{bits} bits declared", False) for count in _unpacked(packed, bits)
        ]
    scales, size = packed.shape_of("scales"), packed.declared("group_size")
    if scales is not None and size is not None:
        found.append(Evidence(prod(scales) * size, f"groups of {size}", False))
    return found


class Layout(NamedTuple):
    """How a method packs a weight: told by the leaf name, its type and one tensor beside it."""

    method: str
    leaf: str
    kinds: str
    """Kinds or names of types that the packed tensor may have."""
    beside: str
    derive: Callable[[Packed], list[Evidence]]


LAYOUTS = [
    Layout("gptq/awq", "qweight", "int uint", "", _gptq_awq),
    Layout("compressed-tensors", "weight_packed", "int uint", "", _compressed),
    Layout("bitsandbytes", "weight", "u8 i8", "weight.absmax", _bitsandbytes),
    Layout("mxfp4", "*_blocks", "u8", "*_scales", _blocks),
    Layout("nvfp4", "weight", "u8", "weight_scale", _nvfp4),
    Layout("mlx", "weight", "u32", "scales", _mlx),
]


def count(
    folds: Sequence[tuple[Fold, Kin]],
    scene: Scene,
    settings: Mapping[str, Any],
    read_bytes: ReadBytes | None = None,
) -> tuple[list[Counted], list[Finding]]:
    """The logical parameters of every tensor, and what does not add up.

    ``settings`` is the config's quantization section; ``read_bytes`` gives the content of a small
    tensor (some layouts store shapes as data).
    """
    counted: list[Counted] = []
    findings: list[Finding] = []
    for group, kin in folds:
        layout = None if kin.kind == BOOKKEEPING else _layout(group, scene)
        if layout is None:
            counted.append(Counted(group, kin, group.numel))
            continue
        beside = _beside(group, scene)
        evidence = layout.derive(Packed(group, beside, settings, read_bytes))
        total, fault = _decide(group, layout, evidence)
        counted.append(Counted(group, kin, total, layout.method))
        if fault is not None:
            findings.append(fault)
    return counted, findings


def _layout(group: Fold, scene: Scene) -> Layout | None:
    leaf = group.segments[-1]
    for layout in LAYOUTS:
        stem = layout.leaf[1:]
        if leaf != layout.leaf and not (layout.leaf[0] == "*" and leaf.endswith(stem)):
            continue
        if not {group.dtype.kind, group.dtype.name} & set(layout.kinds.split()):
            continue
        beside = layout.beside
        if beside.startswith("*"):
            beside = leaf.removesuffix(stem) + beside[1:]
        if not beside or scene.siblings(group, beside):
            return layout
    return None


def _beside(group: Fold, scene: Scene) -> dict[str, Fold]:
    return {name: folds[0] for name, folds in scene.beside(group).items()}


def _decide(
    group: Fold, layout: Layout, evidence: list[Evidence]
) -> tuple[int | None, Finding | None]:
    name = group.members[0].name
    if not evidence:
        message = f"logical count unknown: {layout.method} without the bits and group size"
        return None, finding("WK701", message, tensor=name)
    counts = {item.elements for item in evidence}
    if len(counts) == 1:
        return evidence[0].elements, None
    by_shapes = {item.elements for item in evidence if item.shapes}
    agreed = ", ".join(f"{item.elements:,} by {item.source}" for item in evidence)
    fault = finding("WK702", f"derivations of the shape disagree: {agreed}", tensor=name)
    return (by_shapes.pop() if len(by_shapes) == 1 else None), fault
