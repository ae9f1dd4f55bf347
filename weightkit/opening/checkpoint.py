"""A checkpoint: one or many files opened as one set of tensors, ready to be read."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from weightkit.errors import FormatError, UnknownTensor, UnsupportedError
from weightkit.findings import Finding
from weightkit.opening.examining import Examined
from weightkit.source import CHUNK, Reader, Source
from weightkit.tensors import (
    ABSENT,
    DEFLATE,
    ESCAPED,
    QUOTED,
    RAW,
    TEXT,
    Extent,
    FileIndex,
    TensorInfo,
    TensorSet,
)
from weightkit.text import did_you_mean

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`weightkit.open` gives: tensors of all files of one model, in one place.

    ``files`` are in shard order; ``TensorInfo.data.file`` counts into them. ``sets[0]`` is the main
    set, ``config`` the JSON files beside the weights by name, ``card`` the front matter of the model
    card, ``parts`` the sub-models of a pipeline (or slices that are not merged). Close it, or use
    it as a context manager: that lets go of the descriptors. Reading after that opens the same
    files again, and raises AccessError if they were changed or replaced.
    """

    path: str
    format: str
    files: tuple[FileIndex, ...]
    sets: tuple[TensorSet, ...]
    sources: tuple[Source, ...] = ()
    examined: tuple[Examined, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    beside: tuple[str, ...] = ()
    """Names of the other files in the folder."""
    findings: tuple[Finding, ...] = ()
    parts: tuple[Checkpoint, ...] = ()
    name: str = ""
    """Of a part: its folder or file inside the whole."""

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of the main set; none where the file holds only optimizer state."""
        main = self.sets[0] if self.sets else None
        return main.tensors if main and main.kind != "optimizer" else ()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata of the first file (a split GGUF keeps all of it there), notes included."""
        if not self.files:
            return {}
        first = self.files[0]
        return {**first.notes, **first.metadata} if first.notes else first.metadata

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return any(tensor.name == name for tensor in self.tensors)

    def __getitem__(self, name: str) -> TensorInfo:
        """The tensor of the main set with this name; raises UnknownTensor, which is a KeyError."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        names = [tensor.name for tensor in self.tensors]
        raise UnknownTensor(f"no tensor {name!r}.{did_you_mean(name, names)}", path=self.path)

    def read(self, tensor: TensorInfo | str) -> np.ndarray[Any, Any]:
        """The values of one tensor as a NumPy array in its own shape and type.

        bfloat16, float8 and the like come as ml_dtypes types; quantized GGUF blocks come
        dequantized, as float32. Raises UnknownTensor, and UnsupportedError for what has no array (sparse and quantized
        tensors: read their ``parts``; meta tensors, which hold no values).
        """
        from weightkit.values.arrays import to_array

        info = self[tensor] if isinstance(tensor, str) else tensor
        return to_array(info, self.read_extent(info.data))

    def read_bytes(self, tensor: TensorInfo, limit: int = 1 << 20) -> bytes:
        """The first ``limit`` bytes of a tensor as they are stored."""
        return self.read_extent(tensor.data._replace(nbytes=min(tensor.data.nbytes, limit)))

    def chunks(self, tensor: TensorInfo, nbytes: int = CHUNK) -> Iterator[bytes]:
        """The stored bytes of a tensor in pieces of at most ``nbytes``."""
        extent = tensor.data
        if extent.encoding == RAW:
            yield from self.sources[extent.file].chunks(extent.offset, extent.nbytes, nbytes)
            return
        held = self.read_extent(extent)
        for start in range(0, len(held), nbytes):
            yield held[start : start + nbytes]

    def read_extent(self, extent: Extent) -> bytes:
        """The bytes that an extent stands for. Raises UnsupportedError where there are none."""
        source = self.sources[extent.file]
        if extent.encoding == RAW:
            return source.pread(extent.offset, extent.nbytes)
        decode = _DECODERS.get(extent.encoding)
        if decode is None:
            reason = "the file does not hold the values"
            if extent.encoding != ABSENT:
                reason = "the values lie in nested compressed containers"
            raise source.error("WK603", reason, extent.offset, kind=UnsupportedError)
        return decode(source, extent)

    def without_programs(self) -> Checkpoint:
        """The same without what its files' programs said, which is the larger part of it."""
        parts = tuple(part.without_programs() for part in self.parts)
        return replace(self, examined=(), parts=parts)

    def close(self) -> None:
        """Close all files; reading opens them again."""
        for source in self.sources:
            source.close()
        for part in self.parts:
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _inflate(source: Reader, extent: Extent) -> bytes:
    """A range of a raw deflate stream; what comes before it is inflated and dropped."""
    stream = zlib.decompressobj(-15)
    skip, kept = extent.within, bytearray()
    for chunk in source.chunks(extent.offset, extent.stored):
        while chunk and len(kept) < extent.nbytes:
            try:
                piece = stream.decompress(chunk, CHUNK)
            except zlib.error as error:
                raise source.error(
                    "WK419", f"bad deflate stream: {error}", extent.offset
                ) from error
            chunk = stream.unconsumed_tail
            dropped = min(skip, len(piece))
            skip -= dropped
            kept += piece[dropped:]
        if len(kept) >= extent.nbytes:
            return bytes(kept[: extent.nbytes])
    kept += stream.flush()[skip:]
    return _whole(source, extent, bytes(kept[: extent.nbytes]))


def _decode_text(source: Reader, extent: Extent) -> bytes:
    """Text of a pickle that stands for bytes."""
    text = source.pread(extent.offset, extent.stored)
    try:
        if extent.encoding == QUOTED:
            held = codecs.escape_decode(text.strip()[1:-1])[0]
        else:
            held = text.decode(_CODECS[extent.encoding]).encode("latin-1")
    except ValueError as error:  # UnicodeError is one
        raise source.error("WK304", "array text is no Latin-1", extent.offset) from error
    return _whole(source, extent, held[extent.within : extent.within + extent.nbytes])


def _whole(source: Reader, extent: Extent, held: bytes) -> bytes:
    if len(held) < extent.nbytes:
        message = f"{extent.nbytes} bytes wanted, but the stream gives {len(held)}"
        error = source.error("WK001", message, extent.offset)
        assert isinstance(error, FormatError)
        raise error
    return held


_CODECS = {TEXT: "utf-8", ESCAPED: "raw-unicode-escape"}
_DECODERS = {DEFLATE: _inflate, TEXT: _decode_text, ESCAPED: _decode_text, QUOTED: _decode_text}
