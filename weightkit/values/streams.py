"""Bytes of tensors that lie in a compressed or escaped stream, in bounded memory."""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from weightkit.errors import FormatError, UnsupportedError
from weightkit.source import CHUNK, Reader, os_errors
from weightkit.tensors import ABSENT, DEFLATE, ESCAPED, QUOTED, TEXT, Extent, TensorInfo

MAX_QUOTED = 32 << 20
"""Bytes of a Python 2 string literal: they are decoded at once."""


def decoded(source: Reader, info: TensorInfo) -> Iterator[bytes]:
    """What the stream that ``info`` lies in decodes to, from its first byte, in pieces.

    Raises UnsupportedError where the file holds no bytes, FormatError for a broken stream.
    """
    extent = info.data
    decode = _DECODERS.get(extent.encoding)
    if decode is None:
        reason = "the values lie in nested compressed containers"
        if extent.encoding == ABSENT:
            reason = "the file does not hold the values"
        raise source.error("WK603", reason, extent.offset, info.name, UnsupportedError)
    return decode(source, extent)


def window(
    stream: Iterator[bytes], info: TensorInfo, nbytes: int, source: Reader
) -> Iterator[bytes]:
    """``nbytes`` bytes of a stream, from where ``info`` begins; raises FormatError WK001 if it ends before."""
    start, left = info.data.within, nbytes
    for piece in stream if left else ():
        if start >= len(piece):
            start -= len(piece)
            continue
        found = piece[start : start + left]
        start = 0
        left -= len(found)
        yield found
        if not left:
            return
    if left:
        message = f"{nbytes} bytes wanted, but the stream ends {left} before"
        raise source.error("WK001", message, info.data.offset, info.name)


class Held(Protocol):
    """The decoded bytes of one stream, kept somewhere."""

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Bytes of the stream."""
        ...

    def forward(self, offset: int, nbytes: int) -> Iterator[bytes]:
        """The same in pieces."""
        ...

    def __enter__(self) -> Held: ...
    def __exit__(self, *_: object) -> None: ...


class Spool(Reader):
    """The decoded bytes of a stream in a temporary file."""

    def __init__(self, source: Reader, begin: int, fd: int, size: int) -> None:
        self.source = source
        self.path, self.entry = source.path, source.entry
        self.begin = begin
        """Where the stream is in the source."""
        self.fd = fd
        self.size = size

    def pread(self, offset: int, nbytes: int) -> bytes:
        if offset + nbytes > self.size:
            message = f"{nbytes} bytes wanted, but the stream ends at {self.size}"
            raise self.source.error("WK001", message, self.begin)
        with os_errors("temporary file"):
            return os.pread(self.fd, nbytes, offset)

    def forward(self, offset: int, nbytes: int) -> Iterator[bytes]:
        for at in range(offset, offset + nbytes, CHUNK):
            yield self.pread(at, min(CHUNK, offset + nbytes - at))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        """Left to whoever made it: several tensors read from one."""


@contextmanager
def spooled(source: Reader, info: TensorInfo, nbytes: int | None = None) -> Iterator[Spool]:
    """The first ``nbytes`` decoded bytes of the stream (as many as ``info`` needs) on disk."""
    import tempfile

    end = info.data.within + info.data.nbytes if nbytes is None else nbytes
    size = 0
    with os_errors("temporary file"):
        file = tempfile.TemporaryFile(prefix="weightkit-")  # noqa: SIM115 - closed below
    with file:
        for piece in decoded(source, info):
            piece = piece[: end - size]
            with os_errors("temporary file"):
                file.write(piece)
            size += len(piece)
            if size >= end:
                break
        with os_errors("temporary file"):
            file.flush()
        yield Spool(source, info.data.offset, file.fileno(), size)


# Decoders


def _inflate(source: Reader, extent: Extent) -> Iterator[bytes]:
    stream = zlib.decompressobj(-15)
    for chunk in source.chunks(extent.offset, extent.stored, 1 << 18):
        while chunk and not stream.eof:
            yield _inflated(stream.decompress, chunk, source, extent)
            chunk = stream.unconsumed_tail
    while not stream.eof:
        piece = _inflated(stream.decompress, b"", source, extent)
        if not piece:
            return
        yield piece


def _inflated(
    decompress: Callable[[bytes, int], bytes], chunk: bytes, source: Reader, extent: Extent
) -> bytes:
    try:
        return decompress(chunk, CHUNK)
    except zlib.error as error:
        raise source.error("WK419", f"bad deflate stream: {error}", extent.offset) from error


def _decode_text(source: Reader, extent: Extent) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(_CODECS[extent.encoding])()
    try:
        for chunk in source.chunks(extent.offset, extent.stored):
            yield decoder.decode(chunk).encode("latin-1")
        yield decoder.decode(b"", True).encode("latin-1")
    except ValueError as error:  # UnicodeError is one
        raise _no_latin(source, extent) from error


def _unquote(source: Reader, extent: Extent) -> Iterator[bytes]:
    if extent.stored > MAX_QUOTED:
        reason = f"a string literal of {extent.stored} bytes"
        raise source.error("WK603", reason, extent.offset, kind=UnsupportedError)
    text = source.pread(extent.offset, extent.stored)
    try:
        yield codecs.escape_decode(text.strip()[1:-1])[0]
    except ValueError as error:
        raise _no_latin(source, extent) from error


def _no_latin(source: Reader, extent: Extent) -> FormatError:
    found = source.error("WK304", "array text is no Latin-1", extent.offset)
    assert isinstance(found, FormatError)
    return found


_CODECS = {TEXT: "utf-8", ESCAPED: "raw-unicode-escape"}
_DECODERS = {DEFLATE: _inflate, TEXT: _decode_text, ESCAPED: _decode_text, QUOTED: _unquote}
