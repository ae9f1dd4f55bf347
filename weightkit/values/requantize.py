"""Whether quantizing numbers gives the very blocks that a GGUF holds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values import canonical
from weightkit.values.arrays import Array


def same_blocks(tiles: Iterable[Array], info: TensorInfo, source: Reader) -> bool:
    """Whether the numbers in ``tiles``, quantized as ``info`` is, are its blocks.

    False too where gguf cannot quantize to the type: it knows the plain ones, not the K types.
    """
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import quantize

    dtype = info.dtype
    assert dtype.ggml is not None, "blocks are ggml's"
    at = 0
    for tile in tiles:
        if not canonical.is_addressable(info) or tile.size % dtype.items:
            return False
        rows = tile.astype(np.float32).reshape(-1, dtype.items)
        try:
            blocks = quantize(rows, GGMLQuantizationType(dtype.ggml))
        except (NotImplementedError, ValueError):  # unknown to gguf, or not written by it
            return False
        held = b"".join(canonical.part(info, source, at, blocks.nbytes))
        if blocks.tobytes() != held:
            return False
        at += blocks.nbytes
    return True
