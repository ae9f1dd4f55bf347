"""GGUF files written by hand, so that every byte of one can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from weightkit.findings import Examination
from weightkit.formats import gguf
from weightkit.source import Buffer
from weightkit.tensors import Extent

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
ONE_F32 = 0


class Tensor(NamedTuple):
    """A tensor entry; ``dims`` as stored, innermost first."""

    name: str | bytes
    dims: Sequence[int]
    offset: int = 0
    kind: int = ONE_F32


class Maker:
    """Packs the pieces of one version and byte order."""

    def __init__(self, version: int = 3, order: str = "<") -> None:
        self.version = version
        self.order = order
        self.length_code = "I" if version == 1 else "Q"

    def number(self, code: str, *values: float) -> bytes:
        return struct.pack(self.order + code, *values)

    def length(self, count: int) -> bytes:
        return self.number(self.length_code, count)

    def string(self, text: str | bytes) -> bytes:
        raw = text if isinstance(text, bytes) else text.encode()
        return self.length(len(raw)) + raw

    def pair(self, key: str | bytes, kind: int, value: bytes) -> bytes:
        return self.string(key) + self.number("I", kind) + value

    def text(self, key: str | bytes, text: str | bytes) -> bytes:
        return self.pair(key, STRING, self.string(text))

    def u32(self, key: str | bytes, value: int) -> bytes:
        return self.pair(key, U32, self.number("I", value))

    def elements(self, kind: int, count: int, payload: bytes) -> bytes:
        return self.number("I", kind) + self.length(count) + payload

    def array(self, key: str, kind: int, count: int, payload: bytes) -> bytes:
        return self.pair(key, ARRAY, self.elements(kind, count, payload))

    def strings(self, key: str, texts: Sequence[str | bytes]) -> bytes:
        return self.array(key, STRING, len(texts), b"".join(map(self.string, texts)))

    def entry(self, tensor: Tensor) -> bytes:
        name, dims, offset, kind = tensor
        shape = self.number("I", len(dims)) + b"".join(map(self.length, dims))
        return self.string(name) + shape + self.number("IQ", kind, offset)

    def header(self, tensors: int, pairs: int, magic: bytes = b"GGUF") -> bytes:
        return magic + self.number("I", self.version) + self.length(tensors) + self.length(pairs)

    def file(
        self,
        pairs: Sequence[bytes] = (),
        tensors: Sequence[Tensor] = (),
        nbytes: int = 0,
        alignment: int = 32,
        magic: bytes = b"GGUF",
    ) -> bytes:
        """A whole file with ``nbytes`` bytes of data."""
        head = self.header(len(tensors), len(pairs), magic) + b"".join(pairs)
        head += b"".join(map(self.entry, tensors))
        if tensors:
            head += bytes(-len(head) % alignment)
        return head + bytes(range(256)) * (nbytes // 256) + bytes(range(nbytes % 256))


V3 = Maker()


class File(Buffer):
    """Bytes that stand for a file on disk."""

    def extent(self, offset: int, nbytes: int) -> Extent:
        return Extent(0, offset, nbytes)


def examine(content: bytes) -> Examination:
    return gguf.examine(File(content, "x.gguf"))


def codes(content: bytes) -> list[str]:
    return [fault.code for fault in examine(content).faults]
