"""The canonical bytes of a tensor: what two files must share to hold the same values.

Little-endian, contiguous, row-major; booleans 0 or 1; whatever format, byte order, strides or
compression the file has. docs/content-id.md defines them. They are given in pieces, so that a
tensor may be larger than memory. NumPy is only imported to gather strided views.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from weightkit.dtypes import DType
from weightkit.errors import UnsupportedError
from weightkit.source import CHUNK, Reader
from weightkit.tensors import ABSENT, RAW, Extent, TensorInfo
from weightkit.values.streams import Held, decoded, window

_TRUTH = bytes(1) + b"\x01" * 255
_WORDS = {size: code for code in "BHIQ" for size in [array(code).itemsize]}
_PLAIN_OPAQUE = re.compile(r"[SaV]\d+")
_WIDE_OPAQUE = re.compile(r"(?:U\d+|[mM]8\[[\w/]+\])")


class Form(NamedTuple):
    """What the elements of a tensor are, whichever format they are stored in."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    """Of the canonical bytes."""


def form_of(info: TensorInfo) -> Form:
    """Type, shape and size of the canonical bytes of a tensor that is no composite.

    torch's two f4 in a byte count as two. Raises UnsupportedError for a type whose elements we
    cannot tell from others: of unknown size, or a NumPy record.
    """
    dtype, shape = info.dtype, info.shape
    if dtype.name == "f4_x2":
        return Form("f4", (*shape[:-1], 2 * (shape or (1,))[-1]), info.numel)
    if not dtype.nbytes and info.numel and dtype.kind != "opaque":
        raise _unsupported(info, f"the size of {dtype.name} is unknown")
    if dtype.kind == "opaque" and not _is_plain_opaque(dtype):
        raise _unsupported(info, f"{dtype.name} has no canonical form")
    if dtype.kind == "quant" and info.byteorder == "big":
        raise _unsupported(info, "quantized blocks of a big-endian file")
    if dtype.items > 1 and info.strides is not None:
        raise _unsupported(info, f"a strided view of {dtype.name}")
    return Form(dtype.name, shape, dtype.nbytes_of(info.numel))


def _is_plain_opaque(dtype: DType) -> bool:
    """Text, bytes and times. Of records the byte order of the fields is not recorded."""
    return bool(_PLAIN_OPAQUE.fullmatch(dtype.name) or _WIDE_OPAQUE.fullmatch(dtype.name))


def _unsupported(info: TensorInfo, reason: str) -> UnsupportedError:
    return UnsupportedError(reason, code="WK603", tensor=info.name)


def is_addressable(info: TensorInfo) -> bool:
    """Whether any part of the canonical bytes can be had without those before it."""
    whole = not info.numel % info.dtype.items
    return info.data.encoding == RAW and info.strides is None and whole


def is_verbatim(info: TensorInfo) -> bool:
    """Whether the canonical bytes are those of the file, in one run."""
    return is_addressable(info) and _turning(info) is None


def part(
    info: TensorInfo, source: Reader, start: int, nbytes: int, piece: int = CHUNK
) -> Iterator[bytes]:
    """Canonical bytes ``[start, start + nbytes)`` of an addressable tensor.

    ``start`` and ``piece`` are multiples of 16, so that no element is cut.
    """
    turn = _turning(info)
    held = source.chunks(info.data.offset + start, nbytes, piece)
    return held if turn is None else map(turn, held)


def pieces(info: TensorInfo, source: Reader, held: Held | None = None) -> Iterator[bytes]:
    """All canonical bytes in order, in pieces of up to 16 MiB.

    ``held`` gives the bytes of a tensor that lies in a stream which is already being read. Raises
    UnsupportedError where the file does not hold the values, FormatError where a stream is broken.
    """
    form = form_of(info)
    turn = _turning(info)
    if info.strides is not None:
        found = _gathered(info, source, held)
    elif info.data.encoding == RAW:
        found = source.chunks(info.data.offset, form.nbytes)
    elif held is not None:
        found = held.forward(info.data.within, form.nbytes)
    else:
        found = window(decoded(source, info), info, form.nbytes, source)
    turned = found if turn is None else map(turn, found)
    return _masked(turned, info) if info.numel % info.dtype.items else turned


def _gathered(info: TensorInfo, source: Reader, held: Held | None) -> Iterator[bytes]:
    from weightkit.values.gathers import gather
    from weightkit.values.streams import spooled

    base = info.data
    if base.encoding == RAW:
        yield from gather(info, lambda at, nbytes: source.pread(base.offset + at, nbytes))
        return
    with held or spooled(source, info) as spool:
        yield from gather(info, lambda at, nbytes: spool.pread(base.within + at, nbytes))


# What bytes become


def _turning(info: TensorInfo) -> Callable[[bytes], bytes] | None:
    if info.dtype.kind == "bool":
        return lambda held: held.translate(_TRUTH)
    if info.byteorder != "big":
        return None
    width = component_nbytes(info.dtype)
    if width == 1:
        return None
    if width not in _WORDS:
        raise _unsupported(info, f"big-endian {info.dtype.name}")
    code = _WORDS[width]
    return lambda held: _swapped(code, held)


def component_nbytes(dtype: DType) -> int:
    """Bytes of what a byte order turns round: half of a complex number, a character of text."""
    if dtype.kind == "complex":
        return dtype.nbytes // 2
    if dtype.kind != "opaque":
        return dtype.nbytes if dtype.items == 1 else 1
    return {"U": 4, "m": 8, "M": 8}.get(dtype.name[0], 1)


def _swapped(code: str, held: bytes) -> bytes:
    words = array(code, held)
    words.byteswap()
    return words.tobytes()


def _masked(held: Iterator[bytes], info: TensorInfo) -> Iterator[bytes]:
    """The bits of the last block that belong to no element become 0."""
    dtype = info.dtype
    last = b""
    for piece in held:
        yield last
        last = piece
    bits = 8 * dtype.nbytes // dtype.items * (info.numel % dtype.items)
    kept, block = last[: -dtype.nbytes], int.from_bytes(last[-dtype.nbytes :], "little")
    yield kept + (block & ((1 << bits) - 1)).to_bytes(dtype.nbytes, "little")


def own_parts(info: TensorInfo) -> Sequence[TensorInfo]:
    """The parts of a composite tensor, with its own elements first where they are no part."""
    inside = {part.data for part in info.parts}
    if info.data.encoding == ABSENT or info.data in inside:
        return info.parts
    plain = info._replace(name="", parts=(), layout="strided", details=())
    return (plain, *info.parts)


def same_elements(info: TensorInfo) -> tuple[Extent, str, tuple[int, ...], str, object]:
    """Equal for tensors that are certain to have the same elements: one memory, one view of it."""
    return info.data, info.dtype.name, info.shape, info.byteorder, info.strides
