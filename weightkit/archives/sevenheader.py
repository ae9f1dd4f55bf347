"""The header of a 7z archive: folders of packed bytes, and the files in them.

Every part begins with a byte that says what it is; numbers are 1 to 9 bytes long: as many more as the
first one has leading ones.

Source of the layout: DOC/7zFormat.txt of the LZMA SDK.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from weightkit.errors import WeightkitError
from weightkit.source import Cursor, Reader

START = 32
"""Packed streams begin here."""
MAX_ITEMS = 100_000

END, HEADER, ARCHIVE, MORE_STREAMS, STREAMS, FILES, PACK, UNPACK, SUBSTREAMS = range(9)
SIZE, CRC, FOLDER, UNPACK_SIZE, UNPACK_COUNT, EMPTY_STREAM = range(9, 15)
NAMES, ENCODED = 17, 23


class Coder(NamedTuple):
    """One step of unpacking; as many streams go in and come out."""

    identity: bytes
    properties: bytes
    inputs: int = 1
    outputs: int = 1


@dataclass
class Folder:
    """Packed bytes, and what comes of them."""

    coders: list[Coder]
    """The first is given the packed bytes, each other what the one before it makes."""
    streams: int
    """Packed streams that it is made of."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each file in it."""
    offset: int = 0
    nbytes: int = 0
    unpacked: int = 0


def _order(count: int, bonds: list[tuple[int, int]]) -> list[int]:
    """Coders in the order of unpacking; ``bonds`` tell whose output (second) goes into which."""
    fed = {into for into, _ in bonds}
    order = [next((number for number in range(count) if number not in fed), 0)]
    into = {out: number for number, out in bonds if number < count}
    while order[-1] in into and len(order) < count:
        order.append(into[order[-1]])
    return order


class Header:
    """A header being read. Numbers are 1 to 9 bytes long: as many more as the first has leading ones."""

    def __init__(self, source: Reader, position: int = 0) -> None:
        self.cursor = Cursor(source, position)
        self.source = source

    def read(self) -> tuple[list[Folder], list[tuple[str, bool]]]:
        """The folders, and of each file its name and whether it has bytes."""
        folders: list[Folder] = []
        files: list[tuple[str, bool]] = []
        self.expect(HEADER)
        while (kind := self.byte()) != END:
            if kind == STREAMS:
                folders = self.streams()
            elif kind == MORE_STREAMS:
                self.streams()
            elif kind == FILES:
                files = self.files()
            elif kind == ARCHIVE:
                self.skip_properties()
            else:
                raise self.odd(kind)
        return folders, files

    def byte(self) -> int:
        return self.cursor.take(1)[0]

    def expect(self, kind: int) -> None:
        found = self.byte()
        if found != kind:
            raise self.odd(found)

    def odd(self, kind: int) -> WeightkitError:
        message = f"a header with an entry of kind {kind}"
        return self.source.error("WK441", message, self.cursor.position - 1)

    def number(self) -> int:
        first = self.byte()
        more = 8 - (first ^ 0xFF).bit_length()
        high = first & (0x7F >> more)
        return int.from_bytes(self.cursor.take(more), "little") | high << 8 * more

    def count(self) -> int:
        number = self.number()
        if number > MAX_ITEMS:
            raise self.source.error("WK002", f"{number} items", self.cursor.position)
        return number

    def bits(self, count: int) -> list[bool]:
        held = self.cursor.take((count + 7) // 8)
        return [bool(held[i // 8] & 0x80 >> i % 8) for i in range(count)]

    def checks(self, count: int) -> None:
        """CRCs, which are passed over: what is in the bytes is judged, whatever they sum up to."""
        known = count if self.byte() else sum(self.bits(count))
        self.cursor.skip(4 * known)

    def skip_properties(self) -> None:
        while self.byte() != END:
            self.cursor.skip(self.number())

    def streams(self) -> list[Folder]:
        at, packed, folders, counted = 0, list[int](), list[Folder](), False
        while (kind := self.byte()) != END:
            if kind == PACK:
                at, packed = self.packed()
            elif kind == UNPACK:
                folders = self.folders()
            elif kind == SUBSTREAMS:
                self.substreams(folders)
                counted = True
            else:
                raise self.odd(kind)
        for folder in folders:
            if not counted:
                folder.sizes = [folder.unpacked]
            sizes, packed = packed[: folder.streams], packed[folder.streams :]
            folder.offset, folder.nbytes = START + at, sum(sizes)
            at += folder.nbytes
        return folders

    def packed(self) -> tuple[int, list[int]]:
        """Where the packed streams begin, and how long each is."""
        at, count, sizes = self.number(), self.count(), list[int]()
        while (kind := self.byte()) != END:
            if kind == SIZE:
                sizes = [self.number() for _ in range(count)]
            elif kind == CRC:
                self.checks(count)
            else:
                raise self.odd(kind)
        return at, sizes

    def folders(self) -> list[Folder]:
        self.expect(FOLDER)
        count = self.count()
        self.internal()
        made = [self.folder() for _ in range(count)]
        self.expect(UNPACK_SIZE)
        for folder, outputs, last in made:
            sizes = [self.number() for _ in range(outputs)]
            folder.unpacked = sizes[last] if last < len(sizes) else 0
        while (kind := self.byte()) != END:
            if kind != CRC:
                raise self.odd(kind)
            self.checks(count)
        return [folder for folder, _, _ in made]

    def internal(self) -> None:
        """A flag that what follows stands elsewhere, which no writer sets."""
        if self.byte():
            raise self.source.error("WK441", "external properties", self.cursor.position - 1)

    def folder(self) -> tuple[Folder, int, int]:
        """A folder, how many streams come out of its coders, and which of them is its content."""
        coders = [self.coder() for _ in range(self.count())]
        inputs = sum(coder.inputs for coder in coders)
        outputs = sum(coder.outputs for coder in coders)
        bonds = [(self.number(), self.number()) for _ in range(max(0, outputs - 1))]
        streams = inputs - len(bonds)
        if streams > 1:
            for _ in range(streams):
                self.number()
        if not coders or not inputs == outputs == len(coders):  # no chain: not read
            return Folder(coders, 0), outputs, 0
        order = _order(len(coders), bonds)
        return Folder([coders[number] for number in order], streams), outputs, order[-1]

    def coder(self) -> Coder:
        flags = self.byte()
        identity = self.cursor.take(flags & 15)
        inputs, outputs = (self.count(), self.count()) if flags & 0x10 else (1, 1)
        properties = self.cursor.take(self.count()) if flags & 0x20 else b""
        return Coder(identity, properties, inputs, outputs)

    def substreams(self, folders: list[Folder]) -> None:
        """How many files there are in each folder, and how long they are."""
        counts, kind = [1] * len(folders), self.byte()
        if kind == UNPACK_COUNT:
            counts = [self.count() for _ in folders]
            kind = self.byte()
        for folder, count in zip(folders, counts, strict=True):
            given = [self.number() for _ in range(count - 1)] if kind == SIZE else []
            folder.sizes = [*given, max(0, folder.unpacked - sum(given))] if count else []
        while kind != END:
            if kind == CRC:
                self.checks(sum(counts))
            elif kind != SIZE:
                raise self.odd(kind)
            kind = self.byte()

    def files(self) -> list[tuple[str, bool]]:
        count = self.count()
        names, empty = [""] * count, [False] * count
        while (kind := self.byte()) != END:
            nbytes = self.number()
            end = self.cursor.position + nbytes
            if kind == EMPTY_STREAM:
                empty = self.bits(count)
            elif kind == NAMES:
                self.internal()
                names = self.names(nbytes - 1, count)
            self.cursor.skip(end - self.cursor.position)
        return [(name, not none) for name, none in zip(names, empty, strict=True)]

    def names(self, nbytes: int, count: int) -> list[str]:
        """UTF-16, each ended by a zero."""
        text = self.cursor.take(nbytes).decode("utf-16-le", "replace")
        names = text.split("\0")[:count]
        return names + [""] * (count - len(names))
