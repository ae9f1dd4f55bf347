"""GGUF versions 1, 2 and 3, in either byte order.

    header    "GGUF", version u32, number of tensors u64, number of pairs u64
    pairs     key string, value type u32, value
    entries   name string, rank u32, rank dimensions u64 (innermost first), ggml type u32, offset u64
    padding   to general.alignment (32 where no pair says otherwise)
    data      each tensor at its offset from here, padded to the alignment, in the order of entries

A string is its length u64 and so many bytes of UTF-8. An array is its element type u32, its length
u64 and the elements. In version 1 lengths, counts and dimensions are u32. Only the version, whose
upper half no version uses, tells which byte order the file has.

Sources: ``docs/gguf.md`` of ggml and its history (version 1: August 2023); ``ggml/src/gguf.cpp``
and ``src/llama-model-loader.h`` of llama.cpp for what a loader refuses.
"""

from __future__ import annotations

from weightkit.collecting import paused_collection
from weightkit.errors import FormatError
from weightkit.findings import Examination
from weightkit.formats.gguf.entries import read_entries
from weightkit.formats.gguf.pairs import Pairs, read_array
from weightkit.formats.gguf.places import check_places
from weightkit.formats.gguf.walk import MAGICS, Walk, padded
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import FileIndex, TensorInfo, TensorSet

__all__ = ["NAME", "SUFFIXES", "accepts", "examine", "read_array"]

NAME = "gguf"
SUFFIXES = (".gguf",)


def accepts(head: bytes) -> bool:
    """Whether ``head`` starts with a magic of GGUF."""
    return head[:4] in MAGICS


def examine(source: Reader) -> Examination:
    """The index and every fault; no index if the header cannot be read to its end."""
    faults = Faults(source.path, source.entry)
    try:
        with paused_collection():
            return Examination(_index(Walk(source, faults)), faults=faults.all())
    except FormatError as error:
        faults.extend([error.as_finding()])
        return Examination(None, faults=faults.all())


def _index(walk: Walk) -> FileIndex:
    """Read everything. Raises FormatError where the structure breaks."""
    tensor_count, pair_count = walk.counts()
    pairs = Pairs(walk)
    pairs.read(pair_count)
    entries = read_entries(walk, tensor_count)
    end = walk.cursor.position
    data_start = padded(end, pairs.alignment)
    check_places(walk, entries, end, pairs.alignment)
    source = walk.source
    byteorder = "little" if walk.order == "<" else "big"
    tensors = tuple(
        TensorInfo(name, dtype, shape, source.extent(data_start + offset, nbytes), byteorder)
        for _, name, dtype, shape, offset, nbytes in entries
    )
    return FileIndex(
        source.path,
        NAME,
        source.size,
        (TensorSet("", "model", tensors),) if tensors else (),
        version=str(walk.version),
        data_start=data_start,
        alignment=pairs.alignment,
        byteorder=byteorder,
        metadata=pairs.metadata,
    )
