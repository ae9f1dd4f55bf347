"""What a weight file *is*: tensors with names, types, shapes and the place of their bytes.

Reading a header yields these; nothing here holds tensor data. The records that a big checkpoint
has tens of thousands of are NamedTuples, which build three times as fast as slotted dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

from weightkit.dtypes import DType

RAW, DEFLATE, ABSENT, NESTED = "raw", "deflate", "absent", "nested"
TEXT, ESCAPED, QUOTED = "text", "escaped", "quoted"

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No metadata: a record's default."""


class Extent(NamedTuple):
    """Where bytes are, in one of a checkpoint's files.

    ``raw``: the bytes are ``[offset, offset + nbytes)`` of the file. For the other encodings
    ``[offset, offset + stored)`` holds a stream, and the bytes are ``[within, within + nbytes)`` of
    what it decodes to: ``deflate`` a raw deflate stream (zip members); ``text`` UTF-8 text, and
    ``escaped`` raw-unicode-escape text, whose Latin-1 encoding is the data; ``quoted`` a Python 2
    string literal (arrays in pickles of protocol 2, of 0 and 1, and of Python 2). ``absent``: the
    file does not hold the bytes (torch's meta tensors). ``nested``: inside more than one compressed
    container; described, but not addressable.
    """

    file: int
    offset: int
    nbytes: int
    encoding: str = RAW
    within: int = 0
    stored: int = 0


class TensorInfo(NamedTuple):
    """One tensor of a checkpoint. ``shape`` is outermost first, whatever the format stores."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: Extent
    """For a strided view: the span of its storage from the first to the last element."""
    byteorder: str = "little"
    strides: tuple[int, ...] | None = None
    """In elements; None is contiguous, row-major."""
    storage: str = ""
    """Tensors with the same non-empty value are views of the same memory."""
    layout: str = "strided"
    """strided, sparse_coo, sparse_csr (csc, bsr, bsc), quantized, or the name of a subclass."""
    parts: tuple[TensorInfo, ...] = ()
    """Of a composite tensor: indices and values, or data, scale and zero point."""
    role: str = ""
    """parameter or buffer where the file says which (whole modules, TorchScript), else empty."""
    details: tuple[Any, ...] = ()
    """Of a quantized tensor: the scheme, then (name, number) pairs: scale, zero_point, axis."""

    @property
    def numel(self) -> int:
        """Number of elements: the product of the shape (1 for a scalar)."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as a contiguous array; of a composite, of its parts as stored."""
        if self.parts:
            return sum(part.nbytes for part in self.parts)
        return self.dtype.nbytes_of(prod(self.shape))


class TensorSet(NamedTuple):
    """The tensors under one key of a file; ``key`` is "" for the top level."""

    key: str
    kind: str
    """model, ema, optimizer or other."""
    tensors: tuple[TensorInfo, ...]


class ArrayRef(NamedTuple):
    """A metadata array left in the file: a GGUF vocabulary is not worth 262,144 Python strings.

    ``offset`` is where its first element starts, ``nbytes`` what all of them take.
    """

    kind: str
    length: int
    offset: int
    nbytes: int


class FileIndex(NamedTuple):
    """Everything the header of one file says."""

    path: str
    format: str
    size: int
    sets: tuple[TensorSet, ...]
    """The main set first; a file without tensors has none."""
    version: str = ""
    data_start: int = 0
    alignment: int = 1
    byteorder: str = "little"
    metadata: Mapping[str, Any] = NOTHING
    """Plain values only: str, int, float, bool, None, lists and dicts of them, ArrayRef."""
    container: str = ""
    """How the tensors are wrapped: zip, torchscript, legacy, tar, pickle, npz, ..."""
    of_module: bool = False
    """Whether the tensors are those of a pickled object or program (an ``nn.Module``, TorchScript)."""
    notes: Mapping[str, str] = NOTHING
    """Metadata that a conversion of ours kept beside the format's own (docs/decisions/0010)."""
    states: tuple[str, ...] = ()
    """Keys of an optimizer's state, a scheduler's or the like, whose plain values are not kept."""
    unkept: tuple[str, ...] = ()
    """Names of the first of the values that are too long, too many, or bytes: not in ``metadata``."""

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of the main set, in file order; none where all are optimizer state."""
        main = self.sets[0] if self.sets else None
        return main.tensors if main and main.kind != "optimizer" else ()
