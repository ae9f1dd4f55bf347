"""Layouts of packed weights: how many parameters a packed tensor stands for, by every derivation.

A derivation from shapes rests on the tensors alone; one that needs the config is *declared*. Some
methods store a shape as the content of a small tensor, which is neither: *stored*. Derivations
must agree; :mod:`weightkit.analyses.quantization` decides what is counted.

Sources: AutoGPTQ and GPTQModel (``nn_modules/qlinear``), AutoAWQ (``modules/linear``),
bitsandbytes (``functional.QuantState``), compressed-tensors (``compressors``), ModelOpt
(``export/quant_utils``), MLX (``mlx/nn/layers/quantized.py``), HQQ (``core/quantize.py``),
ExLlamaV2 and V3 (``exl2``, ``exl3`` modules), AQLM (``inference.py``), optimum-quanto.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple, TypeGuard

from weightkit.analyses.folding import Fold

Content = Callable[[Fold], bytes]
SHAPES, DECLARED, STORED = "shapes", "declared", "stored"


class Evidence(NamedTuple):
    """One way to derive a count, and what it rests on: shapes, declared or stored."""

    elements: int
    source: str
    rests: str = SHAPES


class Packed:
    """A packed tensor with what stands beside it in its module, and what the config says of it."""

    def __init__(
        self,
        fold: Fold,
        beside: Mapping[str, Fold],
        settings: Mapping[str, Any],
        content: Content,
    ) -> None:
        self.fold = fold
        self.beside = beside
        self.settings = settings
        self._content = content
        self.shape = fold.shape
        self.numel = fold.numel
        self.container = 8 * fold.dtype.nbytes
        self.faults: list[str] = []

    def shape_of(self, *names: str) -> tuple[int, ...] | None:
        """The shape of the first of these tensors that the module has."""
        return next((self.beside[name].shape for name in names if name in self.beside), None)

    def number(self, *names: str) -> int | None:
        """The first of these settings that is a sensible size."""
        for name in names:
            value = self.settings.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20:
                return value
        return None

    def content(self, name: str) -> bytes:
        """The bytes of a small tensor beside the first member; none if they cannot be had."""
        fold = self.beside.get(name)
        return b"" if fold is None or fold.nbytes > 4096 else self._content(fold)

    def integers(self, name: str) -> list[int]:
        """The content of a small tensor of integers."""
        fold, content = self.beside.get(name), self.content(name)
        if fold is None or fold.dtype.kind not in ("int", "uint"):
            return []
        size, signed = fold.dtype.nbytes, fold.dtype.kind == "int"
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        return [int.from_bytes(piece, "little", signed=signed) for piece in pieces]

    def by_bits(self, bits: int | None) -> list[Evidence]:
        """All containers filled without a gap."""
        total = self.numel * self.container
        if bits is None or bits > self.container or total % bits:
            return []
        return [Evidence(total // bits, f"{bits} bits declared", DECLARED)]

    def by_groups(self, scales: tuple[int, ...] | None, size: int | None) -> list[Evidence]:
        """A scale for every group of ``size``."""
        if scales is None or size is None:
            return []
        return [Evidence(prod(scales) * size, f"scales of groups of {size} declared", DECLARED)]


BITS = ("bits", "w_bit", "weight_bits", "num_bits", "nbits")
GROUP = ("group_size", "q_group_size")


def gptq_awq(packed: Packed) -> list[Evidence]:
    """GPTQ packs the rows of (in, out) into words, AWQ its columns; scales are (groups, out).

    GPTQ's 3 bits leave no gap either: 32 values take 3 words.
    """
    found = packed.by_bits(packed.number(*BITS))
    scales, zeros = packed.shape_of("scales"), packed.shape_of("qzeros")
    order = packed.shape_of("g_idx")
    if len(packed.shape) != 2 or scales is None or len(scales) != 2:
        return found
    rows, columns = packed.shape
    out = scales[1]
    if columns != out:
        return [*found, Evidence(rows * out, "rows and scales")]
    if order is not None and len(order) == 1:
        found.append(Evidence(order[0] * out, "g_idx and scales"))
    if zeros is not None and len(zeros) == 2 and zeros[1] and rows * out % zeros[1] == 0:
        found.append(Evidence(rows * out // zeros[1] * out, "qzeros and scales"))
    return found


def bitsandbytes(packed: Packed) -> list[Evidence]:
    """4-bit: two values to a byte, absmax for each block of 64, the shape in the quant state."""
    halves = packed.numel * 2
    found = [Evidence(halves, "two to a byte")]
    state = next((name for name in packed.beside if name.startswith("weight.quant_state.")), "")
    read = _quant_state(packed.content(state)) if state else None
    if state and read is None:
        packed.faults.append("the quant state is no JSON object with a shape")
    if read is not None:
        shape, block = read
        if prod(shape) == halves - 1:  # an odd count fills its last byte by half
            found = []
        found.append(Evidence(prod(shape), "quant state", STORED))
    else:
        block = 64
    absmax = packed.shape_of("weight.absmax")
    if absmax is not None and halves % block == 0 and found[0].elements == halves:
        found.append(Evidence(prod(absmax) * block, f"absmax of blocks of {block}", DECLARED))
    return found


def _quant_state(content: bytes) -> tuple[list[int], int] | None:
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        return None
    shape = state.get("shape") if isinstance(state, dict) else None
    if not isinstance(shape, list) or len(shape) > 8 or not all(_is_size(n) for n in shape):
        return None
    block = state.get("blocksize")
    return shape, block if _is_size(block) and block else 64


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def one_to_one(packed: Packed) -> list[Evidence]:
    """One element for each parameter; the scales must have a shape that fits."""
    for name in ("weight_scale_inv", "weight_scale", "scale", "weight_scale_2", "SCB"):
        scale = packed.shape_of(name)
        if scale is not None and not _scale_fits(packed, scale):
            shown = f"{name} {list(scale)} fits no blocks or rows of {list(packed.shape)}"
            packed.faults.append(shown)
    return [Evidence(packed.numel, "one element each")]


def _scale_fits(packed: Packed, scale: tuple[int, ...]) -> bool:
    """One number, one per row or expert, or one per block."""
    shape = packed.shape
    rows = prod(shape[:-1])
    if prod(scale) in (1, rows, shape[0] if shape else 1):
        return True
    if len(scale) != len(shape):
        return False
    blocks = packed.settings.get("weight_block_size")
    if isinstance(blocks, list) and len(blocks) == 2 and all(_is_size(n) and n for n in blocks):
        sizes = zip(shape[-2:], blocks, strict=False)
        return scale[-2:] == tuple(-(-size // block) for size, block in sizes)
    return all(_divides(part, whole) for part, whole in zip(scale, shape, strict=True))


def _divides(blocks: int, size: int) -> bool:
    """Whether ``size`` in blocks of one length, the last maybe shorter, makes ``blocks``."""
    return blocks > 0 and -(-size // -(-size // blocks)) == blocks if size else blocks == 0


def blocks_and_scales(packed: Packed) -> list[Evidence]:
    """MXFP4 of gpt-oss: (..., blocks, 16 bytes) beside (..., blocks) scales of 32 values each."""
    leaf = packed.fold.segments[-1].removesuffix("_blocks")
    found = [Evidence(packed.numel * 2, "two to a byte")]
    scales = packed.shape_of(f"{leaf}_scales")
    if scales is not None:
        found.append(Evidence(prod(scales) * 32, "scales of 32"))
    return found


def fp4(packed: Packed) -> list[Evidence]:
    """NVFP4 and MXFP4: two to a byte, a float8 scale for 16 values or an exponent for 32.

    BitNet stores four values of two bits to a byte, with one scale for all.
    """
    scale = packed.beside.get("weight_scale") or packed.beside.get("scale")
    if packed.settings.get("quant_method") == "bitnet":
        return [Evidence(packed.numel * 4, "four to a byte")]
    if scale is None or len(scale.shape) < len(packed.shape):
        return packed.by_bits(packed.number(*BITS))
    size = 16 if scale.dtype.name == "f8_e4m3" else 32
    if (
        scale.numel == packed.numel // size
        and packed.container == 8
        and scale.numel * size != packed.numel * 2
    ):
        return [Evidence(packed.numel, "one element each")]
    return [
        Evidence(packed.numel * 2, "two to a byte"),
        Evidence(scale.numel * size, f"scales of {size}"),
    ]


def compressed_tensors(packed: Packed) -> list[Evidence]:
    """Whole values only in each word: 32 // bits of them; the shape is stored beside."""
    if packed.container == 8:
        return fp4(packed)
    found = []
    shape = packed.integers("weight_shape")
    if shape and any(shape):
        found.append(Evidence(prod(shape), "weight_shape", STORED))
    elif shape:
        packed.faults.append("weight_shape holds no shape")
    scales = packed.shape_of("weight_scale")
    rows, words = prod(packed.shape[:-1]), packed.shape[-1] if packed.shape else 0
    for bits, group in _widths(packed.settings):
        per_word = packed.container // bits
        columns = words * per_word
        if group and scales is not None and scales[-1:] != (1,):
            columns = scales[-1] * group
        elif found and rows:  # the last word of a row may be filled in part
            columns = found[0].elements // rows
        if -(-columns // per_word) == words:
            found.append(Evidence(rows * columns, f"{bits} bits declared", DECLARED))
    return found


def _widths(settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The (bits, group size) of every group of the config; 0 where a row has one scale.

    Which layers a group means is written as regular expressions, which are never evaluated: the
    pairs that do not fit the shapes drop out.
    """
    groups = settings.get("config_groups")
    tables = [group.get("weights") for group in _values(groups) if isinstance(group, Mapping)]
    found: dict[tuple[int, int], None] = {}
    for table in tables or [settings]:
        if isinstance(table, Mapping):
            bits, size = table.get("num_bits"), table.get("group_size")
            if _is_size(bits) and 0 < bits <= 32:
                found[bits, size if _is_size(size) and size < 1 << 20 else 0] = None
    return list(found)


def _values(table: object) -> list[Any]:
    return list(table.values())[:100] if isinstance(table, Mapping) else []


def mlx(packed: Packed) -> list[Evidence]:
    """Words without a gap along the last dimension; scales and biases for each group of it."""
    scales = packed.shape_of("scales")
    return [
        *packed.by_bits(packed.number("bits")),
        *packed.by_groups(scales, packed.number("group_size")),
    ]


def hqq(packed: Packed) -> list[Evidence]:
    """The shape is stored; words or bytes hold ``nbits`` each."""
    shape = packed.integers("shape")
    found = [Evidence(prod(shape), "shape", STORED)] if any(shape) else []
    bits = next(iter(packed.integers("nbits")), 0) or packed.number("nbits", "bits")
    if bits != 3:  # ten values to a word, the last one padded
        found += packed.by_bits(bits if bits and 0 < bits <= 8 else None)
    return found


def exllama2(packed: Packed) -> list[Evidence]:
    """Rows of several widths: the order of the rows has one entry for each input."""
    order = packed.shape_of("q_invperm", "q_perm")
    if order is None or len(packed.shape) != 2:
        return []
    return [Evidence(order[0] * packed.shape[1], "row order and columns")]


def exllama3(packed: Packed) -> list[Evidence]:
    """A trellis of 16 × 16 tiles; sign vectors for inputs and outputs beside it."""
    found = []
    if len(packed.shape) == 3:
        found.append(Evidence(packed.shape[0] * packed.shape[1] * 256, "tiles of 16 × 16"))
    inputs, outputs = packed.shape_of("suh", "su"), packed.shape_of("svh", "sv")
    if inputs is not None and outputs is not None and packed.beside.get("suh"):
        found.append(Evidence(prod(inputs) * prod(outputs), "suh and svh"))
    return found


def aqlm(packed: Packed) -> list[Evidence]:
    """Codes (out / og, in / ig, books) into code books (books, size, og, ig)."""
    books = packed.shape_of("codebooks")
    if books is None or len(books) != 4 or len(packed.shape) != 3:
        return []
    return [Evidence(prod(packed.shape[:2]) * books[2] * books[3], "codes and code books")]


def quanto(packed: Packed) -> list[Evidence]:
    """Bytes hold one value each, or of 2 and 4 bits four and two."""
    if packed.fold.dtype.name != "u8":
        return [Evidence(packed.numel, "one element each")]
    bits = {"int4": 4, "int2": 2, "qint4": 4, "qint2": 2}.get(str(packed.settings.get("weights")))
    return packed.by_bits(bits)


def uncountable(packed: Packed) -> list[Evidence]:
    """A layout that is recognised, but whose shapes do not say what it stands for."""
    return []
