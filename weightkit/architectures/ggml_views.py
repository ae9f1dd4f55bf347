"""What llama.cpp's conversion does to the elements of a tensor, as views of the tensor it came from.

A view has the elements of the GGUF's tensor in their order, so that nothing has to be converted to
compare the two. Read off llama.cpp's ``conversion/*.py`` (September 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from weightkit.tensors import RAW, TensorInfo


class Target(NamedTuple):
    """The GGUF that a checkpoint is compared with."""

    architecture: str
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @property
    def heads(self) -> int:
        """Heads of queries; 0 if it does not say one number."""
        return self._number("attention.head_count")

    @property
    def heads_kv(self) -> int:
        """Heads of keys; as many as of queries if it does not say."""
        key = f"{self.architecture}.attention.head_count_kv"
        return self._number("attention.head_count_kv") if key in self.metadata else self.heads

    def _number(self, key: str) -> int:
        found = self.metadata.get(f"{self.architecture}.{key}")
        return found if type(found) is int and found > 0 else 0


# Views: None where there is none


def permuted_q(info: TensorInfo, target: Target) -> TensorInfo | None:
    """Rows of queries in the order that llama.cpp turns them in."""
    return permuted(info, target.heads)


def permuted_k(info: TensorInfo, target: Target) -> TensorInfo | None:
    """Rows of keys, likewise."""
    return permuted(info, target.heads_kv)


def permuted(info: TensorInfo, heads: int) -> TensorInfo | None:
    """A view of q or k with the rows of each head as llama.cpp orders them; None if there is none.

    ``LlamaModel.permute``: the two halves of each head are interleaved. The view has the shape
    (heads, half a head, 2, ...) and the elements of the GGUF's tensor in their order.
    """
    rows, tail = _split(info)
    if heads <= 0 or not rows or rows % (2 * heads):
        return None
    row, half = prod(tail), rows // heads // 2
    shape = (heads, half, 2, *tail)
    return view(info, shape, (2 * half * row, row, half * row, *_strides(tail)))


def grouped(info: TensorInfo, target: Target) -> TensorInfo | None:
    """q, k and v of all heads one after the other, which were those of one head after the other."""
    rows, tail = _split(info)
    heads = target.heads
    if not heads or not rows or rows % (3 * heads):
        return None
    row, size = prod(tail), rows // heads // 3
    shape = (3, heads, size, *tail)
    return view(info, shape, (size * row, 3 * size * row, row, *_strides(tail)))


def whole(info: TensorInfo, target: Target) -> TensorInfo:
    """The tensor as it is, of which only the shape becomes another."""
    del target
    return info


def transposed(info: TensorInfo, target: Target) -> TensorInfo | None:
    """The weight of a Conv1D as that of a linear layer."""
    del target
    if len(info.shape) != 2:
        return None
    return view(info, info.shape[::-1], (1, info.shape[1]))


# Pieces: a tensor as several, by their labels; {} where it is none such

Pieces = Mapping[str, TensorInfo]


def halves(info: TensorInfo, target: Target) -> Pieces:
    """gate and up, stacked along the last axis but one."""
    del target
    if len(info.shape) < 2 or info.shape[-2] % 2:
        return {}
    *outer, rows, columns = info.shape
    shape = (*outer, rows // 2, columns)
    strides = _strides(info.shape)
    return _pieces(
        gate=view(info, shape, strides), up=view(info, shape, strides, rows // 2 * columns)
    )


def latent(info: TensorInfo, target: Target) -> Pieces:
    """kv_b of multi-head latent attention: k of each head transposed, and v of each head."""
    rows, tail = _split(info)
    block = block_of(info.name)
    k, v = (target.tensors.get(f"blk.{block}.attn_{name}_b.weight") for name in "kv")
    if k is None or v is None or len(k.shape) != 3 or len(v.shape) != 3 or len(tail) != 1:
        return {}
    heads, rank, size = k.shape
    size_v = v.shape[1]
    if v.shape != (heads, size_v, rank) or (rank,) != tail or rows != heads * (size + size_v):
        return {}
    step = (size + size_v) * rank
    return _pieces(
        k=view(info, (heads, rank, size), (step, 1, rank)),
        v=view(info, (heads, size_v, rank), (step, rank, 1), size * rank),
    )


def block_of(name: str) -> str:
    """The first number in a name, which is that of its block; "" if there is none."""
    return next((part for part in name.split(".") if part.isdecimal()), "")


def by_groups(info: TensorInfo, target: Target) -> Pieces:
    """q, k and v of falcon, where each group of queries is followed by its key and value."""
    rows, tail = _split(info)
    groups = target.heads_kv
    if not groups or target.heads % groups:
        return {}
    each = target.heads // groups
    if not rows or rows % (groups * (each + 2)):
        return {}
    row, size = prod(tail), rows // groups // (each + 2)
    step = (each + 2) * size * row
    shape, strides = (groups, size, *tail), (step, row, *_strides(tail))
    return _pieces(
        q=view(info, (groups, each * size, *tail), strides),
        k=view(info, shape, strides, each * size * row),
        v=view(info, shape, strides, (each + 1) * size * row),
    )


def _pieces(**found: TensorInfo | None) -> Pieces:
    kept = {label: piece for label, piece in found.items() if piece is not None}
    return kept if len(kept) == len(found) else {}


# What views are made of


def view(
    info: TensorInfo, shape: tuple[int, ...], strides: Sequence[int], start: int = 0
) -> TensorInfo | None:
    """A view of a tensor from element ``start`` on; None if it is none of plain numbers in order."""
    if info.strides is not None or info.dtype.items > 1 or info.parts or not info.dtype.nbytes:
        return None
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if not prod(shape) or start + span > info.numel:
        return None
    plain = tuple(strides) == _strides(shape)
    found = _from(info, start * info.dtype.nbytes, span * info.dtype.nbytes)
    return found._replace(shape=shape, strides=None if plain else tuple(strides))


def rows_of(info: TensorInfo, start: int, stop: int) -> TensorInfo | None:
    """Some rows of a tensor, of blocks too; None if its bytes cannot be cut there."""
    rows = info.shape[0] if info.shape else 0
    if not 0 <= start < stop <= rows or info.strides is not None or info.parts:
        return None
    if (info.shape[-1] if len(info.shape) > 1 else 1) % info.dtype.items or info.nbytes % rows:
        return None
    row = info.nbytes // rows
    found = _from(info, start * row, (stop - start) * row)
    return found._replace(shape=(stop - start, *info.shape[1:]), storage="")


def _from(info: TensorInfo, start: int, nbytes: int) -> TensorInfo:
    held = info.data
    if held.encoding == RAW:
        held = held._replace(offset=held.offset + start, nbytes=nbytes)
    else:
        held = held._replace(within=held.within + start, nbytes=nbytes)
    return info._replace(data=held)


def _split(info: TensorInfo) -> tuple[int, tuple[int, ...]]:
    """Rows, and the shape of one."""
    return (info.shape[0], info.shape[1:]) if info.shape else (0, ())


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[at + 1 :]) for at in range(len(shape)))
