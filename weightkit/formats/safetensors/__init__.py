"""safetensors: a length, a JSON header, and the tensors' bytes end to end.

    offset   bytes
    0        8          n, the header's length, u64 little-endian, at most 100,000,000
    8        n          JSON: {"NAME": {"dtype", "shape", "data_offsets": [start, end]}, ...,
                        "__metadata__": {text: text}}, padded with spaces to a multiple of 8
    8 + n    the rest   data; offsets count from here, and the tensors tile it without a hole

What the official reader (the Rust crate, version 0.8) refuses is a fatal fault here, and what it
accepts is not; an oracle test holds the two together. Where the header can still be read, the
tensors are described all the same. The limits of ``serde`` and ``entries`` are ours (WK002): no file
that was made in earnest comes near them, and below them 100 MB of header are read within seconds
and 300 MB of memory.
"""

from __future__ import annotations

from functools import partial

from weightkit.collecting import paused_collection
from weightkit.findings import Examination
from weightkit.formats.safetensors.columns import tensors
from weightkit.formats.safetensors.forms import plain_head, sweep
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import FileIndex, TensorSet

NAME = "safetensors"
SUFFIXES = (".safetensors",)

MAX_HEADER = 100_000_000
_LENGTH = 8
_ALIGNMENT = 8
_SPACE = b" \t\n\r"
_PIECE = 1 << 20


def accepts(head: bytes) -> bool:
    """Whether a JSON object starts after the length, or white space that it may start after."""
    text = head[_LENGTH:].lstrip(_SPACE)
    claimed = int.from_bytes(head[:_LENGTH], "little")
    if not text:
        return len(head) > _LENGTH and len(head) - _LENGTH < claimed <= MAX_HEADER
    if text[:1] != b"{" or text[1:].lstrip(_SPACE)[:1] not in (b'"', b"}", b""):
        return False
    # A length over the limit is still ours to report, unless its bytes are just text.
    return claimed <= MAX_HEADER or not head[:_LENGTH].isascii() or b"\0" in head[:_LENGTH]


def examine(source: Reader) -> Examination:
    """The index and every fault of the file; raises AccessError alone."""
    faults = Faults(source.path, source.entry)
    with paused_collection():
        index = _examine(source, faults)
    return Examination(index, faults=faults.all())


def _examine(source: Reader, faults: Faults) -> FileIndex | None:
    if source.size < _LENGTH:
        faults.add("WK101", f"{source.size} bytes, which cannot hold the header's length", 0)
        return None
    length = int.from_bytes(source.pread(0, _LENGTH), "little")
    have = source.size - _LENGTH
    if length > MAX_HEADER:
        message = f"a header of {length:,} bytes; the limit is {MAX_HEADER:,}"
        faults.add("WK102", message, 0)
        return None
    if length > have:
        faults.add("WK103", f"a header of {length} bytes, but {have} remain", 0)
    header = source.pread(_LENGTH, min(length, have))
    return _index(source, header, length, faults)


def _index(source: Reader, header: bytes, length: int, faults: Faults) -> FileIndex:
    data_start = _LENGTH + length
    whole = len(header) == length
    place = partial(tensors, source, data_start)
    data_nbytes = source.size - data_start
    head = plain_head(header) if whole else None
    found = sweep(header, head[1], data_nbytes, place) if head else None
    if head and found:
        metadata = head[0]
    else:
        from weightkit.formats.safetensors.entries import read_header

        _check_utf8(header, faults)
        metadata, found = read_header(header, _LENGTH, data_nbytes, place, faults, whole=whole)
    if whole:
        _check_padding(header, faults)
    return FileIndex(
        path=source.path,
        format=NAME,
        size=source.size,
        sets=(TensorSet("", "model", found),),
        data_start=data_start,
        alignment=_ALIGNMENT,
        metadata=metadata,
    )


def _check_utf8(header: bytes, faults: Faults) -> None:
    at = 0 if not header.isascii() else len(header)
    while at < len(header):  # in pieces, so that a long header is not held twice
        piece = header[at : at + _PIECE]
        try:
            piece.decode()
        except UnicodeDecodeError as error:
            cut = error.end == len(piece) and at + len(piece) < len(header)
            if not (cut and error.start):
                what = f"byte 0x{piece[error.start]:02x}: {error.reason}"
                faults.add("WK104", what, _LENGTH + at + error.start)
                return
            at += error.start
        else:
            at += len(piece)


def _check_padding(header: bytes, faults: Faults) -> None:
    end = header.rfind(b"}") + 1
    padding = header[end:]
    if end and not padding.strip(_SPACE) and (len(padding) >= _ALIGNMENT or padding.strip(b" ")):
        faults.add("WK155", f"{len(padding)} bytes of padding", _LENGTH + end)
    if len(header) % _ALIGNMENT:
        faults.add("WK152", f"a header of {len(header)} bytes, no multiple of 8", 0)
