"""One look at one file: recognise it, let its room examine it, go down into containers.

``inspect``, ``convert`` and ``scan`` all start here, so they see the same faults. The recursion into
archives and compressed streams shares one budget of bytes, members and depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from weightkit.archives import (
    Budget,
    Tar,
    Zip,
    ZipMember,
    decompress,
    gives_bytes,
    is_tar,
    is_zip,
    read_tar,
    read_zip,
    sniff,
)
from weightkit.errors import FormatError, MissingExtra, WeightkitError
from weightkit.findings import Examination, Finding
from weightkit.formats import Pickled
from weightkit.opening.recognition import accepting, known, promised, room
from weightkit.rules import RULES, Faults
from weightkit.source import Reader, Window
from weightkit.tensors import FileIndex

HEAD = 4096
ZIP_START = (b"PK\3\4", b"PK\5\6")
SEVENZIP_START = b"7z\xbc\xaf\x27\x1c"
_ZIPPED = ("zip", "pytorch", "numpy")

TEXTS = (".json", ".yaml", ".yml", ".jinja", ".jinja2", ".j2")
"""Read as text by those who go by the name, whatever else the content may be."""

TORCHSCRIPT_CODE = "TorchScript code"
"""The format of a member that torch's own interpreter runs: listed, and searched for a few calls."""

CONCATENATED = ".distcp"
"""One torch archive after another: torch.distributed.checkpoint reads each by its place in .metadata."""
_SEAMS = {"WK404", "WK409", "WK412"}

TAILS = frozenset(["WK133", "WK234", "WK413", "WK440", "WK505"])
"""Codes of bytes behind the end of what was read; their offset is where those bytes start."""

Look = Callable[[Reader, bytes], tuple[str, Examination] | None]
"""Asked about content that no room accepts, with its first bytes: what it is, and what is in it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What one file turned out to be; ``parts`` are the files inside it, if it is a container.

    ``format`` is the name of a room, "zip", "tar" or a compression for a container, or the name of
    something recognised but not read; "" for content that nobody knows.
    """

    name: str
    format: str
    examination: Examination
    parts: tuple[Examined, ...] = ()

    @property
    def index(self) -> FileIndex | None:
        return self.examination.index

    @property
    def read(self) -> bool:
        """Whether a room read it, so that nothing found means something."""
        return not any(fault.code in ("WK003", "WK004") for fault in self.examination.faults)

    def faults(self) -> Iterator[Finding]:
        """Its own faults, then those of its parts."""
        yield from self.examination.faults
        for part in self.parts:
            yield from part.faults()

    def all(self) -> Iterator[Examined]:
        """Itself and everything inside it."""
        yield self
        for part in self.parts:
            yield from part.all()


def fatal(finding: Finding) -> bool:
    """Whether readers of the format refuse a file with this fault."""
    return RULES[finding.code].fatal


def examine(
    source: Reader,
    budget: Budget | None = None,
    *,
    tensors: bool = True,
    look: Look | None = None,
) -> Examined:
    """Examine the whole content of ``source``. Faults are values; only AccessError is raised.

    Without ``tensors`` a torch archive's programs and storages are read, but its tensors are not
    looked for: a scan judges what a pickle does, not what it holds. ``look`` is asked about what no
    room reads, in containers too.
    """
    return _Examiner(budget or Budget(), tensors, look or _nothing).examine(source)


def _nothing(source: Reader, head: bytes) -> None:
    """Knows of no further formats."""


class _Examiner:
    def __init__(self, budget: Budget, tensors: bool, look: Look) -> None:
        self.budget = budget
        self.tensors = tensors
        self.look = look

    def examine(self, source: Reader, inside: bool = False) -> Examined:
        """Recognise ``source`` and examine it as everything that it may be taken for."""
        name = source.entry or source.path
        head = source.peek(0, HEAD)
        expected = promised(name)
        found = list(self.readings(source, head, expected))
        if not found:
            return self.unread(source, name, head, expected, inside)
        main, *others = found
        faults = Faults(source.path, source.entry)
        if others:
            names = " and ".join(item.format for item in found)
            faults.add("WK006", f"the content is {names} at once", 0)
        if expected and main.index is not None and main.index.format not in (expected, "pickle"):
            faults.add("WK005", f"named like {expected}, but its content is {main.format}")
        parts = (*main.parts, *others, *self.tails(source, main))
        whole = main.examination
        whole = Examination(whole.index, whole.programs, (*whole.faults, *faults.all()))
        return Examined(name, main.format, whole, parts)

    def readings(self, source: Reader, head: bytes, expected: str) -> Iterator[Examined]:
        """Everything that a reader may take the content for, the likeliest first."""
        name = source.entry or source.path
        accepted = list(accepting(head, expected))
        zipped = is_zip(source)
        if head.startswith(ZIP_START):  # even if it is cut off
            yield self.zipped(source)
        for accepter in accepted:
            yield Examined(name, accepter, self.by_room(accepter, source))
        kind = sniff(head)
        if kind and accepted and not gives_bytes(source, kind):
            kind = ""  # a safetensors header of 376 bytes begins as zlib does
        if kind:
            yield self.compressed(source, kind)
        if head.startswith(SEVENZIP_START):
            yield self.sevenzipped(source)
        tar = self.tarred(source) if is_tar(source) else None
        if tar is not None:
            yield tar
        packed = head.startswith((*ZIP_START, SEVENZIP_START))
        other = accepted or kind or tar is not None or packed
        if not other or name.lower().endswith(TEXTS):
            seen = self.look(source, head)
            if seen is not None:
                yield Examined(name, *seen)
        # A stored zip at the end of a tar looks like one at the end of the file.
        inside = tar is not None and any(part.format in _ZIPPED for part in tar.parts)
        if zipped and not head.startswith(ZIP_START) and not inside:
            yield self.zipped(source)

    def unread(
        self, source: Reader, name: str, head: bytes, expected: str, inside: bool
    ) -> Examined:
        """Nobody accepts it: name it, or let the room that its suffix promises say what is wrong."""
        faults = Faults(source.path, source.entry)
        kind = known(head)
        if kind:
            faults.add("WK004", f"this is {_article(kind)}", 0)
        elif not head:
            faults.add("WK003", "the file is empty", 0)
        elif expected and not inside:
            return Examined(name, expected, self.by_room(expected, source))
        else:
            faults.add("WK003", f"no known format starts with {head[:8].hex(' ')}", 0)
        return Examined(name, kind, Examination(None, (), faults.all()))

    def tails(self, source: Reader, main: Examined) -> Iterator[Examined]:
        """Pickles in the bytes that follow what the room or the container has read."""
        for fault in main.examination.faults:
            if fault.code in TAILS and fault.entry == source.entry and fault.offset is not None:
                from weightkit.formats.pytorch import strays

                programs = strays(source, fault.offset, self.budget)
                if programs:
                    yield Examined(main.name, "pytorch", Examination(None, programs))

    def by_room(self, name: str, source: Reader) -> Examination:
        """What the room of a format makes of it; those that read pickles share the budget."""
        if name in ("numpy", "pytorch"):
            return cast("Pickled", room(name)).examine(source, self.budget)
        return room(name).examine(source)

    # Containers

    def zipped(self, source: Reader) -> Examined:
        """A zip: a torch archive, an .npz, or a folder of files."""
        from weightkit.formats import numpy, pytorch

        faults = Faults(source.path, source.entry)
        name = source.entry or source.path
        try:
            archive = read_zip(source, faults)
        except FormatError as error:
            faults.add(error.code, error.message, error.offset)
            return Examined(name, "zip", Examination(None, (), faults.all()))
        if pytorch.accepts_zip(archive):
            parts = self.rest(archive, faults)
            found = pytorch.examine_zip(source, archive, self.budget, faults, tensors=self.tensors)
            unused = pytorch.unused(archive, found.programs)
            if unused:
                more = Faults(source.path, source.entry)
                parts += (*self.numbers(self.readers(unused, archive, more)),)
                found = Examination(found.index, found.programs, (*found.faults, *more.all()))
            if name.lower().endswith(CONCATENATED):
                found = Examination(
                    found.index, found.programs, tuple(map(_expected, found.faults))
                )
            return Examined(name, "pytorch", found, parts)
        if numpy.is_npz(archive):
            return self.arrays(source, archive, faults)
        parts = self.inside(self.readers(_files(archive), archive, faults))
        return Examined(name, "zip", Examination(None, (), faults.all()), parts)

    def arrays(self, source: Reader, archive: Zip, faults: Faults) -> Examined:
        """An ``.npz``; numpy hands out what is no array as bytes, other loaders may do more."""
        from weightkit.formats import numpy

        found = numpy.examine_npz(source, archive, self.budget, faults)
        others = found.index.metadata.get("other_members", ()) if found.index is not None else ()
        strangers = [member for member in _files(archive) if member.name in set(others)]
        inside = self.inside(self.readers(strangers, archive, faults)) if strangers else ()
        whole = Examination(found.index, found.programs, faults.all())
        parts = tuple(part for part in inside if part.format)
        return Examined(source.entry or source.path, "numpy", whole, parts)

    def rest(self, archive: Zip, faults: Faults) -> tuple[Examined, ...]:
        """The members of a torch archive that torch's own format does not explain."""
        from weightkit.formats import pytorch

        others = [m for m in pytorch.others(archive) if _has_bytes(m)]
        strangers = (m for m in others if not pytorch.explains(m))
        readers = self.readers(strangers, archive, faults)
        code = (m for m in others if pytorch.is_code(m.name))
        return (
            *self.recognised(item for item in readers if not pytorch.is_note(item)),
            *(
                Examined(reader.entry, TORCHSCRIPT_CODE, pytorch.examine_code(reader))
                for reader in self.readers(code, archive, faults)
            ),
        )

    def numbers(self, readers: Iterator[Reader]) -> Iterator[Examined]:
        """What bytes are that lie where tensors do, though no pickle refers to them."""
        from weightkit.formats import pytorch

        for part in self.recognised(readers):
            whole = part.examination
            if part.format == pytorch.NAME and pytorch.are_by_chance(whole.programs):
                whole = Examination(None, whole.programs)
            yield Examined(part.name, part.format, whole, part.parts)

    def recognised(self, readers: Iterator[Reader]) -> tuple[Examined, ...]:
        """Those of the parts that are something; the others are bytes that nobody runs."""
        return tuple(part for part in self.inside(readers) if part.format)

    def readers(
        self, members: Iterable[ZipMember], archive: Zip, faults: Faults
    ) -> Iterator[Reader]:
        """The bytes of each member that can be had; the others are faults."""
        for member in members:
            if not self.budget.member():
                faults.add("WK002", "too many members to examine", member.place)
                return
            try:
                yield archive.reader(member, self.budget)
            except WeightkitError as error:
                faults.add(error.code, error.message, error.offset, entry=member.name)

    def tarred(self, source: Reader) -> Examined:
        """A tar: torch's oldest format, or a folder of files."""
        from weightkit.formats import pytorch

        faults = Faults(source.path, source.entry)
        name = source.entry or source.path
        try:
            archive = read_tar(source, faults)
        except FormatError as error:
            faults.add(error.code, error.message, error.offset)
            return Examined(name, "tar", Examination(None, (), faults.all()))
        readers = list(self.tar_readers(archive, faults))
        named = _by_name(readers)
        if not pytorch.accepts_tar(set(named)):
            parts = self.inside(reader for _, reader in readers)
            return Examined(name, "tar", Examination(None, (), faults.all()), parts)
        read = [named[member] for member in pytorch.TAR_MEMBERS]
        others = self.inside(reader for _, reader in readers if reader not in read)
        found = pytorch.examine_tar(source, named, faults, self.budget)
        return Examined(name, "pytorch", found, tuple(part for part in others if part.format))

    def tar_readers(self, archive: Tar, faults: Faults) -> Iterator[tuple[str, Reader]]:
        for member in archive.members:
            if archive.unreadable(member):
                continue
            if not self.budget.member():
                faults.add("WK002", "too many members to examine", member.header_offset)
                return
            yield member.name, archive.reader(member)

    def sevenzipped(self, source: Reader) -> Examined:
        """A 7z archive: a folder of files, as far as it can be unpacked."""
        from weightkit.archives.sevenzip import read_7z

        faults = Faults(source.path, source.entry)
        readers: list[Reader] = []
        try:
            for found in read_7z(source, self.budget, faults):
                if not self.budget.member():
                    faults.add("WK002", "too many members to examine", 0)
                    break
                if found.content is not None:
                    readers.append(found.content)
        except FormatError as error:
            faults.add(error.code, error.message, error.offset)
        parts = self.inside(iter(readers))
        name = source.entry or source.path
        return Examined(name, "7z", Examination(None, (), faults.all()), parts)

    def compressed(self, source: Reader, kind: str) -> Examined:
        """A compressed stream: what it decodes to is its one part."""
        faults = Faults(source.path, source.entry)
        readers: list[Reader] = []
        try:
            content = decompress(source, kind, self.budget, faults)
            readers = [Window(content, 0, content.size, kind)]
        except MissingExtra as error:
            faults.add(error.code, error.message, error.offset)
        parts = self.inside(iter(readers))
        name = source.entry or source.path
        return Examined(name, kind, Examination(None, (), faults.all()), parts)

    def inside(self, readers: Iterator[Reader]) -> tuple[Examined, ...]:
        """Examine what a container holds, one level further down."""
        if not self.budget.enter():
            return tuple(self.too_deep(reader) for reader in readers)
        try:
            return tuple(self.examine(reader, inside=True) for reader in readers)
        finally:
            self.budget.leave()

    def too_deep(self, reader: Reader) -> Examined:
        faults = Faults(reader.path, reader.entry)
        faults.add("WK002", "containers nested too deeply", 0)
        return Examined(reader.entry, "", Examination(None, (), faults.all()))


def _by_name(readers: Iterable[tuple[str, Reader]]) -> dict[str, Reader]:
    """The member that counts for each name: the last; one that is spelt ``./name`` if there is no other."""
    exact = dict(readers)
    loose = {name.removeprefix("./"): reader for name, reader in exact.items()}
    return {**loose, **exact}


def _expected(fault: Finding) -> Finding:
    """A fault of archives put one after another, where they are meant to be: all of them are read."""
    return fault._replace(severity="note") if fault.code in _SEAMS else fault


def _files(archive: Zip) -> Iterator[ZipMember]:
    """Every member that some reader may see, but for folders."""
    return filter(_has_bytes, (*archive.members, *archive.hidden))


def _has_bytes(member: ZipMember) -> bool:
    """Whether a member is more than a folder, whatever its name says."""
    return not member.is_directory or member.size > 0


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOUHXR" else f"a {noun}"
