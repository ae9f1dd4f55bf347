"""Layouts of packed weights: how many parameters a packed tensor stands for, by every derivation.

A derivation from shapes rests on the tensors alone; one that needs the config is *declared*. Some
methods store a shape as the content of a small tensor, which is neither: *stored*. Derivations
must agree; :mod:`weightkit.analyses.quantization` decides what is counted.

Sources: AutoGPTQ and GPTQModel (``nn_modules/qlinear``), AutoAWQ (``modules/linear``),
bitsandbytes (``functional.QuantState``), compressed-tensors (``compressors``), ModelOpt
(``export/quant_utils``), MLX (``mlx/nn/layers/quantized.py``), HQQ (``core/quantize.py``),
ExLlamaV2 and V3 (``exl2``, ``exl3`` modules), AQLM (``inference.py``), optimum-quanto, torchao
(``quantize_/workflows``), FP-Quant and HIGGS (transformers ``integrations``), Nunchaku.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any, TypeGuard

from weightkit.analyses.folding import Fold
from weightkit.analyses.packed import DECLARED, GROUP, STORED, Evidence, Packed


def gptq_awq(packed: Packed) -> list[Evidence]:
    """GPTQ packs the rows of (in, out) into words, AWQ its columns; scales are (groups, out).

    GPTQ's 3 bits leave no gap either: 32 values take 3 words. AWQ for GEMV has a row per output
    and its scales the other way round; Nunchaku has 4 bits in containers of any size.
    """
    if packed.shape_of("wscales") is not None:
        return [Evidence(packed.numel * packed.container // 4, "4 bits each")]
    if packed.container == 8:
        return microscaled(packed, packed.beside.get("scales"))
    found = packed.by_bits(packed.bits())
    scales = packed.shape_of("scales")
    if packed.container != 32 or len(packed.shape) != 2 or scales is None or len(scales) != 2:
        return found
    rows, columns = packed.shape
    if columns == scales[1]:
        return found + _inputs_by_outputs(packed, scales[1])
    if columns * 8 == scales[1]:
        return [*found, Evidence(rows * scales[1], "rows and scales")]
    return [*found, Evidence(packed.numel * 8, "eight to a word")] if rows == scales[0] else found


def _inputs_by_outputs(packed: Packed, out: int) -> list[Evidence]:
    """GPTQ: an entry of ``g_idx`` for each input, zero points as wide as the weights."""
    rows, order, zeros = packed.shape[0], packed.shape_of("g_idx"), packed.shape_of("qzeros")
    found = []
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
    """NVFP4, MXFP4 and MXFP6 in bytes, ModelOpt's integers of 4 bits, and BitNet.

    BitNet stores four values of two bits to a byte, with one scale for all.
    """
    scale = packed.beside.get("weight_scale") or packed.beside.get("scale")
    if packed.settings.get("quant_method") == "bitnet":
        return [Evidence(packed.numel * 4, "four to a byte")]
    if scale is None or len(scale.shape) < len(packed.shape):
        return packed.by_bits(packed.bits())
    if scale.dtype.kind == "float" and scale.dtype.nbytes > 1:
        groups = packed.by_groups(scale.shape, packed.number(*GROUP))
        return [Evidence(packed.numel * 2, "two to a byte"), *groups]
    return microscaled(packed, scale)


def microscaled(packed: Packed, scale: Fold | None) -> list[Evidence]:
    """Values of 4, 6 or 8 bits; a float8 scale for 16 of them or an exponent for 32."""
    if scale is None or scale.dtype.nbytes > 1:
        return packed.by_bits(packed.bits())
    size = 16 if scale.dtype.name == "f8_e4m3" else 32
    values, stored = scale.numel * size, packed.numel * packed.container
    found = [Evidence(values, f"scales of {size}")]
    if values and stored % values == 0 and stored // values in (6, 8):
        return [*found, Evidence(values, f"{stored // values} bits each")]
    return [Evidence(packed.numel * 2, "two to a byte"), *found]


def compressed_tensors(packed: Packed) -> list[Evidence]:
    """Values without a gap, or (before 0.13) only whole ones in each word; the shape is stored."""
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
        columns = 0
        if group and scales is not None and scales[-1:] != (1,):
            columns = scales[-1] * group
        elif found and rows:  # the last word of a row may be filled in part
            columns = found[0].elements // rows
        elif packed.container % bits == 0:
            columns = words * packed.container // bits
        if words in (
            -(-columns * bits // packed.container),
            -(-columns // (packed.container // bits)),
        ):
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
        *packed.by_bits(packed.bits()),
        *packed.by_groups(scales, packed.number("group_size")),
    ]


def hqq(packed: Packed) -> list[Evidence]:
    """The shape is stored; a scale for each row of groups, packed along the rows.

    Ten values of 3 bits go to a word, the last one of a column padded.
    """
    shape = packed.integers("shape")
    found = [Evidence(prod(shape), "shape", STORED)] if any(shape) else []
    table = packed.settings.get("quant_config")
    inner = table.get("weight_quant_params") if isinstance(table, Mapping) else None
    own = inner if isinstance(inner, Mapping) else packed.settings
    bits = next(iter(packed.integers("nbits")), 0) or own.get("nbits") or packed.number("bits")
    if _is_size(bits) and 0 < bits <= 8 and bits != 3:
        found += packed.by_bits(bits)
    return found + _rows_of_groups(packed, "scale")


def _rows_of_groups(packed: Packed, name: str) -> list[Evidence]:
    """Packed along the rows, of which each has a scale: (groups, 1) beside (rows, group)."""
    scale = packed.shape_of(name)
    if scale is None or len(scale) != 2 or scale[1] != 1 or len(packed.shape) != 2:
        return []
    if packed.container > 8 and packed.fold.dtype.kind == "float":  # bytes seen as another type
        return []
    return [Evidence(scale[0] * packed.shape[1], "scales and columns")]


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
    """Bytes hold one value each, or of 2 and 4 bits four and two, packed along the rows."""
    if packed.fold.dtype.name != "u8":
        return [Evidence(packed.numel, "one element each")]
    bits = {"int4": 4, "int2": 2, "qint4": 4, "qint2": 2}.get(str(packed.settings.get("weights")))
    return packed.by_bits(bits) + _rows_of_groups(packed, "_scale")


def torchao(packed: Packed) -> list[Evidence]:
    """Bytes with a scale per row hold one value; of 4 bits, scales are (groups, rows)."""
    leaf = packed.fold.segments[-1].removesuffix("_qdata")
    scale = packed.shape_of(f"{leaf}_scale")
    if scale is None or len(packed.shape) != 2 or len(scale) != 2:
        return []
    rows, (first, last) = packed.shape[0], scale
    if first == rows and packed.container == 8:
        return [Evidence(packed.numel, "one element each")]
    return [Evidence(packed.numel * packed.container // 4, "4 bits each")] if last == rows else []


def higgs(packed: Packed) -> list[Evidence]:
    """HIGGS: words of 16 bits, filled without a gap; scales for each group."""
    groups = packed.by_groups(packed.shape_of("scales"), packed.number(*GROUP))
    return packed.by_bits(packed.bits()) + groups


def sparse(packed: Packed) -> list[Evidence]:
    """Values of a sparse matrix; a bit for each element says which are there."""
    mask = packed.shape_of("weight.bitmask", "bitmask")
    return [Evidence(prod(mask) * 8, "bits of the mask")] if mask is not None else []


def uncountable(packed: Packed) -> list[Evidence]:
    """A layout that is recognised, but whose shapes do not say what it stands for."""
    return []
