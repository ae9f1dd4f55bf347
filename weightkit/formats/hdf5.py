"""HDF5, as far as it can do harm: the texts in its attributes, and its ways out of the file.

Keras keeps a model's config as a JSON text in an attribute (``model_config``), PyTables keeps
pickles in attributes. A link or dataset may point to another file, which whoever opens it reads
(CVE-2026-1669). The values of datasets are numbers and are not read; h5py, of the extra ``h5``,
reads the rest. Without it only the texts that can be made out in the bytes are given.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from weightkit.errors import MissingExtra
from weightkit.source import Reader

NAME = "hdf5"
SUFFIXES = (".h5", ".hdf5", ".keras", ".he5")
MAGIC = b"\x89HDF\r\n\x1a\n"
USER_BLOCKS = (0, 512, 1024, 2048)
"""Where the format allows its signature, as far as the first bytes of a file reach."""

MAX_OBJECTS = 100_000
MAX_ATTRIBUTE = 8 << 20
MAX_SEARCHED = 32 << 20
"""Bytes of either end of the file that are searched for texts without h5py."""


class Attribute(NamedTuple):
    """A text or byte string, and the object that it belongs to."""

    owner: str
    name: str
    value: str | bytes


class Held(NamedTuple):
    """What a file holds beside numbers."""

    attributes: tuple[Attribute, ...]
    elsewhere: tuple[tuple[str, str], ...]
    """(object, file that it reads)."""
    unread: str = ""
    """Why not all of it was read, if so."""


def accepts(head: bytes) -> bool:
    """Whether the signature stands where it may."""
    return any(head.startswith(MAGIC, start) for start in USER_BLOCKS)


def read(source: Reader) -> Held:
    """All attributes and links. Raises MissingExtra without h5py."""
    try:
        import h5py
    except ImportError as error:
        message = "HDF5, which needs h5py: pip install 'weightkit[h5]'"
        raise MissingExtra(message, path=source.path, code="WK004") from error
    file = io.BufferedReader(_File(source), 1 << 16)
    try:
        with h5py.File(file, "r", locking=False) as opened:
            return _Walk(h5py).held(opened)
    except _BROKEN as error:
        return Held((), (), f"h5py cannot read it: {error}")


# What h5py raises for a broken file; it has no error class of its own.
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError)


class _Walk:
    """Follows hard links only: soft and external ones are told, not opened."""

    def __init__(self, h5py: Any) -> None:
        self.h5py = h5py
        self.attributes: list[Attribute] = []
        self.elsewhere: list[tuple[str, str]] = []
        self.unread = ""
        self.seen: set[int] = set()

    def held(self, root: Any) -> Held:
        stack = [("/", root)]
        while stack:
            path, node = stack.pop()
            address = self.h5py.h5o.get_info(node.id).addr
            if address in self.seen:
                continue
            self.seen.add(address)
            if len(self.seen) > MAX_OBJECTS:
                self.unread = f"more than {MAX_OBJECTS} objects"
                break
            self.object(path, node)
            if isinstance(node, self.h5py.Group):
                stack += self.members(path, node)
        return Held(tuple(self.attributes), tuple(self.elsewhere), self.unread)

    def members(self, path: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name in group:
            link = group.get(name, getlink=True)
            below = f"{path.rstrip('/')}/{name}"[-400:]
            if isinstance(link, self.h5py.ExternalLink):
                self.elsewhere.append((below, f"{link.filename}!{link.path}"))
            elif isinstance(link, self.h5py.HardLink):
                yield below, group[name]

    def object(self, path: str, node: Any) -> None:
        if isinstance(node, self.h5py.Dataset):
            for file, _, _ in node.external or ():
                self.elsewhere.append((path, str(file)))
            if node.is_virtual:
                self.elsewhere += [
                    (path, str(piece.file_name))
                    for piece in node.virtual_sources()
                    if piece.file_name != "."
                ]
        for name in node.attrs:
            value = self.value(node, name)
            if value is not None:
                self.attributes.append(Attribute(path, str(name), value))

    def value(self, node: Any, name: str) -> str | bytes | None:
        """An attribute that is one text or byte string; None for any other."""
        attribute = node.attrs.get_id(name)
        if attribute.shape != () or attribute.get_storage_size() > MAX_ATTRIBUTE:
            return None
        if attribute.get_type().get_class() not in (self.h5py.h5t.STRING, self.h5py.h5t.OPAQUE):
            return None
        value = node.attrs[name]
        if isinstance(value, str):
            return value
        return value if isinstance(value, bytes) else bytes(getattr(value, "tobytes", bytes)())


class _File(io.RawIOBase):
    """A reader as the file object that h5py wants."""

    def __init__(self, source: Reader) -> None:
        self.source = source
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.source.size}[whence]
        self.at = max(0, base + offset)
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        piece = self.source.peek(self.at, len(buffer))
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


# Without h5py

_TEXT = re.compile(rb'\{\s*"[a-z_]{1,40}"\s*:[^\x00-\x08\x0e-\x1f]{16,}')


def made_out(source: Reader) -> Iterator[str]:
    """Texts in the bytes that start like a JSON object, wherever they stand."""
    for start, nbytes in _ends(source.size):
        for found in _TEXT.finditer(source.pread(start, nbytes)):
            yield found[0][:MAX_ATTRIBUTE].decode("utf-8", "replace")


def _ends(size: int) -> list[tuple[int, int]]:
    if size <= 2 * MAX_SEARCHED:
        return [(0, size)]
    return [(0, MAX_SEARCHED), (size - MAX_SEARCHED, MAX_SEARCHED)]
