"""A file made from its layout, the plain way: every slot filled, every literal put in its place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import BinaryIO

from weightkit.layouts import Layout


def checksums(layout: Layout, contents: Sequence[bytes]) -> list[int]:
    return [zlib.crc32(content) for content in contents] if layout.checksums else []


def filled(layout: Layout, contents: Sequence[bytes]) -> bytes:
    """The file. Every byte of it is written exactly once, by a slot or by a literal."""
    out = bytearray(layout.size)
    seen = bytearray(layout.size)
    slots = dict(zip(layout.slots, contents, strict=True))
    for slot, content in slots.items():
        assert len(content) == slot.nbytes
        _put(out, seen, slot.offset, content)
    for offset, piece in layout.literals(checksums(layout, contents)):
        _put(out, seen, offset, piece)
    assert seen == b"\1" * layout.size
    return bytes(out)


def _put(out: bytearray, seen: bytearray, at: int, piece: bytes) -> None:
    end = at + len(piece)
    assert end <= len(out)
    assert not any(seen[at:end])
    out[at:end] = piece
    seen[at:end] = b"\1" * len(piece)


def sparse(layout: Layout, stream: BinaryIO, crcs: Sequence[int]) -> None:
    """The file with nothing in its slots, which take no room on disk."""
    stream.truncate(layout.size)
    for offset, piece in layout.literals(crcs):
        stream.seek(offset)
        stream.write(piece)
