r"""The header of an ``.npy`` file.

    \x93NUMPY | major minor | header length, 2 bytes (4 from version 2) | header | elements

The header is a Python dict as text, in Latin-1 (UTF-8 from version 3), filled up with spaces:
``{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }``. Format: NEP 1, and
``numpy.lib.format`` of numpy 2.
"""

from __future__ import annotations

from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, NamedTuple

from weightkit.formats.numpy.descriptions import Description, NoDescription, describe
from weightkit.formats.numpy.literals import NoLiteral, Pairs, parse
from weightkit.source import Reader

MAGIC = b"\x93NUMPY"
VERSIONS = {(1, 0): (2, "latin-1"), (2, 0): (4, "latin-1"), (3, 0): (4, "utf-8")}
"""Bytes of the header's length, and its encoding."""
KEYS = ("descr", "fortran_order", "shape")
USUAL_LENGTH = 10_000
"""numpy takes no longer header unless it is told to trust the file."""
MAX_LENGTH = 1 << 20
MAX_DIMENSIONS = 64


def record_of(held: bytes) -> bytes:
    """The record of metadata in an ``.npz``: the elements of an array of bytes, or there by itself."""
    if not held.startswith(MAGIC):
        return held
    return held[len(MAGIC) + 4 + int.from_bytes(held[len(MAGIC) + 2 : len(MAGIC) + 4], "little") :]


class Odd(NamedTuple):
    """Something that numpy reads, but does not write."""

    message: str
    offset: int


class Header(NamedTuple):
    """What the header says."""

    version: str
    item: Description
    fortran: bool
    shape: tuple[int, ...]
    data_start: int
    odd: tuple[Odd, ...] = ()

    @property
    def nbytes(self) -> int:
        """Of all elements."""
        return prod(self.shape) * self.item.dtype.nbytes

    @property
    def strides(self) -> tuple[int, ...] | None:
        """In elements; None where row-major says the same."""
        if not self.fortran or sum(length != 1 for length in self.shape) < 2 or 0 in self.shape:
            return None
        return tuple(accumulate(self.shape[:-1], mul, initial=1))


def data_start(source: Reader) -> int:
    """Where the elements begin; raises FormatError WK501, WK002, or WK001 when cut off."""
    return _measure(source).end


class _Text(NamedTuple):
    """Where the text of a header is, and how it is encoded."""

    version: str
    begin: int
    end: int
    encoding: str


def _measure(source: Reader) -> _Text:
    head = source.pread(0, 8)
    if head[:6] != MAGIC:
        raise source.error("WK501", "no .npy file: its first bytes are others", 0)
    version = f"{head[6]}.{head[7]}"
    if (head[6], head[7]) not in VERSIONS:
        raise source.error("WK501", f"version {version} of the .npy format", 6)
    width, encoding = VERSIONS[head[6], head[7]]
    length = int.from_bytes(source.pread(8, width), "little")
    begin = 8 + width
    if begin + length > source.size:
        have = source.size - begin
        raise source.error("WK001", f"a header of {length} bytes, but {have} remain", 8)
    if length > MAX_LENGTH:
        raise source.error("WK002", f"a header of {length} bytes", 8)
    return _Text(version, begin, begin + length, encoding)


def read_header(source: Reader) -> Header:
    """The header of the array in ``source``.

    Raises FormatError: WK501 for another version, WK502 for text that is no such dict, WK504 for an
    element type that numpy does not know, WK001 and WK002 for lengths.
    """
    version, begin, start, encoding = _measure(source)
    raw = source.pread(begin, start - begin)
    odd: list[Odd] = []
    if len(raw) > USUAL_LENGTH:
        odd.append(Odd(f"a header of {len(raw)} bytes, which numpy does not take unasked", 8))
    try:
        value = parse(raw.decode(encoding))
    except UnicodeDecodeError as error:
        raise source.error("WK502", "the header is not UTF-8", begin + error.start) from error
    except NoLiteral as error:
        raise source.error("WK502", f"in the header {error}", begin + error.offset) from error
    said = _said(value, source, begin)
    if len(value) > len(said):
        odd.append(Odd("a key stands twice in the header: readers may take either", begin))
    item = _item(said["descr"], source, begin)
    if item.order == "native":
        odd.append(Odd("the byte order is whatever the reader's machine has", begin))
        item = item._replace(order="little")
    shape = _shape(said["shape"], source, begin)
    return Header(version, item, said["fortran_order"], shape, start, tuple(odd))


def _said(value: Any, source: Reader, at: int) -> dict[str, Any]:
    pairs = value if isinstance(value, Pairs) else Pairs()
    keys = [key for key, _ in pairs if isinstance(key, str)]
    if sorted(set(keys)) != list(KEYS) or len(keys) < len(pairs):
        raise source.error("WK502", f"the header is no dict of {', '.join(KEYS)}", at)
    said = dict(pairs)
    if not isinstance(said["fortran_order"], bool):
        raise source.error("WK502", "fortran_order is neither True nor False", at)
    return said


def _item(descr: Any, source: Reader, at: int) -> Description:
    try:
        return describe(descr)
    except NoDescription as error:
        raise source.error("WK504", f"the type of the elements: {error}", at) from error


def _shape(shape: Any, source: Reader, at: int) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        raise source.error("WK502", "the shape is no tuple of integers", at)
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= length < 1 << 63 for length in shape):
        raise source.error("WK502", f"a shape of {len(shape)} dimensions, or out of range", at)
    return tuple(int(length) for length in shape)
