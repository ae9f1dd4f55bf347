"""What ``torch.save`` writes since 1.6, TorchScript archives, and ``torch.package``.

A zip whose members share one folder, of any name: ``data.pkl`` is the object, ``data/0``, ``data/1``
... its storages, uncompressed and aligned so that they can be mapped; ``version`` and ``byteorder``
are short texts. A ``weightkit.json`` is metadata that we wrote. TorchScript adds ``constants.pkl``, ``constants/0`` ... and ``code/*.py``.

Source: ``torch/serialization.py`` and ``caffe2/serialize/inline_container.cc`` of torch 2.13.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weightkit.archives import Budget, Zip, ZipMember, notes
from weightkit.errors import WeightkitError
from weightkit.findings import Examination
from weightkit.formats.pytorch.objects import Collected, collect, divide
from weightkit.formats.pytorch.rebuilds import REBUILDS
from weightkit.formats.pytorch.storages import are_whole, locate
from weightkit.formats.pytorch.strays import strays
from weightkit.formats.pytorch.tensors import Tensors
from weightkit.machine import read_program
from weightkit.programs import Program
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import Extent, FileIndex, TensorSet

MAX_CODE = 16 << 20
"""Bytes of TorchScript source that are read for the names of parameters and buffers."""

_PICKLES = (".pkl", ".pickle", ".debug_pkl")
_WITH_TENSORS = ("data.pkl", "constants.pkl")


def accepts_zip(archive: Zip) -> bool:
    """Whether the archive has the record that every torch archive has."""
    return (
        bool(_data_name(archive))
        or archive.find(f"{archive.root}/.data/extern_modules") is not None
    )


_is_own = re.compile(r"[^/]*/weightkit\.json").fullmatch
_is_note = re.compile(
    r"[^/]*/(version|byteorder|\.format_version|\.storage_alignment|\.data/\w+)"
).fullmatch
"""Short texts: versions, the order of bytes, names of modules."""
_is_plain = re.compile(rb"[0-9A-Za-z_.\s]{0,65536}").fullmatch
"""Nothing that an unpickler could call anything with: it would need a mark or a tuple."""

_is_storage = re.compile(r"[^/]*/data/[0-9]+").fullmatch
"""What nearly all members are: told apart first, because there may be tens of thousands."""


def others(archive: Zip) -> list[ZipMember]:
    """Every member that some reader may see and that is no storage by its name."""
    return [m for m in (*archive.members, *archive.hidden) if not _is_storage(m.name)]


def explains(member: ZipMember) -> bool:
    """Whether a member of a torch archive is one that is read here, or source of TorchScript.

    A storage is, if a pickle refers to it: see :func:`unused`. Of a hidden member nobody knows where
    it ends, so that its short text is taken by its name.
    """
    name = member.name
    known = _holds_storage(name) or _is_own(name) or (member.is_hidden and _is_note(name))
    return bool(known) or name.endswith(_PICKLES) or is_code(name)


def is_note(reader: Reader) -> bool:
    """Whether a member is one of torch's short texts, by its name and by what it holds."""
    held = reader.peek(0, 1 << 16)
    return bool(_is_note(reader.entry)) and len(held) == reader.size and bool(_is_plain(held))


def unused(archive: Zip, programs: Iterable[Program]) -> list[ZipMember]:
    """The storages that no pickle refers to; none where a pickle breaks off, which is said."""
    used: set[str] = set()
    for program in programs:
        if program.stopped:
            return []
        pids = (item.pid for item in program.persistents)
        used.update(
            pid[2]
            for pid in pids
            if type(pid) is tuple and len(pid) > 2 and isinstance(pid[2], str)
        )
    roots, left = _roots(archive), [*archive.members]
    for root in roots:  # nearly all are told apart here
        usual, cut = f"{root}/data/", len(root) + len("/data/")
        left = [m for m in left if m.name[cut:] not in used or not m.name.startswith(usual)]
    folders = {f"{root}/{name}" for root in roots for name in _FOLDERS}
    return [m for m in left if _holds_storage(m.name) and not _is_used(m.name, used, folders)]


def _is_used(name: str, used: set[str], folders: set[str]) -> bool:
    folder, _, last = name.rpartition("/")
    key = last.removesuffix(".storage") if folder.endswith("/.data") else last
    return key in used and folder in folders


_FOLDERS = ("data", "constants", ".data")
"""Of torch.save and TorchScript, of TorchScript's constants, of torch.package."""
_holds_storage = re.compile(r"[^/]*/((data|constants)/[^/]+|\.data/[^/]+\.storage)").fullmatch


def _roots(archive: Zip) -> set[str]:
    return {archive.root, _data_name(archive).removesuffix("data.pkl").rstrip("/")}


def is_code(name: str) -> bool:
    """Whether a member is source that torch's interpreter compiles and runs."""
    return name.partition("/")[2].startswith("code/") and name.endswith(".py")


_ACTING = re.compile(rb"\b(?:torch|ops\.\w+)\.(save|_save\w*|from_file|load_library|rpc_\w+)\(")
"""TorchScript operators that read or write files, or call other machines."""
_MAX_CODE = 8 << 20


def examine_code(source: Reader) -> Examination:
    """What TorchScript source would do to files: torch's interpreter has operators for that."""
    faults = Faults(source.path, source.entry)
    if source.size > _MAX_CODE:
        faults.add("WK002", f"{source.size} bytes of code; {_MAX_CODE} are searched", 0)
    for found in _ACTING.finditer(source.peek(0, _MAX_CODE)):
        call = found[0].decode().rstrip("(")
        line = source.peek(found.start(), 200).partition(b"\n")[0].decode("utf-8", "replace")
        message = f"TorchScript code calls {call}"
        faults.add("WK817", message, found.start(), subject=call, evidence=line)
    return Examination(None, (), faults.all())


def _data_name(archive: Zip) -> str:
    name = f"{archive.root}/data.pkl"
    if archive.find(name) is not None:
        return name
    others = (
        m.name for m in archive.members if m.name.endswith("/data.pkl") or m.name == "data.pkl"
    )
    return next(others, "")


def examine_zip(
    source: Reader, archive: Zip, budget: Budget, faults: Faults, *, tensors: bool = True
) -> Examination:
    """Index and programs of a torch archive. Every pickle in it is read, not only ``data.pkl``.

    Without ``tensors`` the storages are held against their records, but the index lists no tensors.
    """
    opened = _Archive(source, archive, budget, faults)
    opened.listing = tensors
    index = opened.index()
    return Examination(index, tuple(opened.programs.values()), faults.all())


class _Archive:
    def __init__(self, source: Reader, archive: Zip, budget: Budget, faults: Faults) -> None:
        self.source = source
        self.archive = archive
        self.budget = budget
        self.faults = faults
        self.programs: dict[ZipMember, Program] = {}
        self.limits = budget.limits
        self.readers: dict[ZipMember, Reader] = {}
        self.values: dict[str, object] = {}
        self.states: tuple[str, ...] = ()
        self.unkept: tuple[str, ...] = ()
        self.listing = True
        self.of_module = False
        self.others = others(archive)

    def index(self) -> FileIndex | None:
        """Read all pickles, then the tensors of the main one."""
        data_name = _data_name(self.archive)
        root = data_name.removesuffix("data.pkl").rstrip("/") or self.archive.root
        self.read_pickles()
        main = self.archive.find(data_name) if data_name else None
        if main is None or main not in self.programs:
            return None
        prefix = f"{root}/" if root else ""
        sets = self.sets(main, f"{prefix}data/", "", self.roles(prefix))
        constants = self.archive.find(f"{prefix}constants.pkl")
        container = "torchscript" if constants else "zip"
        if constants is not None and constants in self.programs:
            sets += [
                item._replace(kind="other")
                for item in self.sets(constants, f"{prefix}constants/", "constants", {})
            ]
        noted = notes.read(self.archive, f"{prefix}{notes.NAME}", self.budget, self.faults)
        return FileIndex(
            self.source.path,
            "pytorch",
            self.source.size,
            tuple(sets),
            version=self.text(f"{prefix}version"),
            byteorder=self.byteorder(prefix),
            metadata=self.values,
            container=container,
            of_module=self.of_module,
            notes=noted or {},
            states=self.states,
            unkept=self.unkept,
        )

    def read_pickles(self) -> None:
        for member in self.others:
            if not member.name.endswith(_PICKLES) or member.is_directory:
                continue
            reader = self.reader(member)
            if reader is not None:
                if member.name.lower().endswith(_WITH_TENSORS):  # torch finds it in any case
                    self.readers[member] = reader
                program = self.programs[member] = read_program(reader, limits=self.limits)
                self.limits = self.limits.less([program])
                self.budget.ran([program, *program.others])
                note_stream(program, reader, self.faults, self.budget)

    def reader(self, member: ZipMember) -> Reader | None:
        try:
            return self.archive.reader(member, self.budget)
        except WeightkitError as error:
            self.faults.add(error.code, error.message, error.offset, entry=member.name)
            return None

    def sets(
        self, member: ZipMember, folder: str, key: str, roles: dict[tuple[str, str], str]
    ) -> list[TensorSet]:
        """The sets of one pickle, whose storages lie in ``folder``."""
        program, reader = self.programs[member], self.readers[member]
        if not self.listing and are_whole(program, lambda key: self.record_size(folder, key)):
            return []
        faults = Faults(self.source.path, reader.entry)
        storages = locate(program, lambda key: self.record(folder, key), faults)
        byteorder = self.byteorder(folder.partition("/")[0] + "/")
        tensors = Tensors(REBUILDS, storages, reader, byteorder)
        if not self.listing:
            self.faults.extend(faults.all())
            return []
        found: Collected = collect(program, tensors, faults, roles)
        sets = divide(found, faults)
        self.faults.extend(faults.all())
        self.of_module |= found.of_module
        if not key:
            self.values, self.states, self.unkept = found.values, found.states, found.unkept
        return [item._replace(key=".".join(p for p in (key, item.key) if p)) for item in sets]

    def record_size(self, folder: str, key: str) -> int | None:
        member = self.archive.find(folder + key)
        return None if member is None or member.data_offset is None else member.size

    def record(self, folder: str, key: str) -> Extent | None:
        member = self.archive.find(folder + key) or self.archive.find(
            f"{folder.partition('/')[0]}/.data/{key}.storage"
        )
        if member is None or member.data_offset is None:
            return None
        # A number of its own: what is kept of the directory would keep its memory from being reused.
        return self.archive.extent(member, 0, member.size + 0)

    def text(self, name: str) -> str:
        """A short text record, or "" where there is none."""
        member = self.archive.find(name)
        reader = self.reader(member) if member is not None and member.size <= 64 else None
        return reader.peek(0, 64).decode("ascii", "replace").strip() if reader else ""

    def byteorder(self, prefix: str) -> str:
        return "big" if self.text(f"{prefix}byteorder") == "big" else "little"

    def roles(self, prefix: str) -> dict[tuple[str, str], str]:
        """Parameter or buffer, by (class, attribute), from the source of a TorchScript archive."""
        found: dict[tuple[str, str], str] = {}
        left, folder = MAX_CODE, f"{prefix}code/"
        for member in self.archive.members:
            if member.name.startswith(folder) and member.name.endswith(".py"):
                left -= member.size
                reader = self.reader(member) if left > 0 else None
                if reader is not None:
                    module = member.name.removeprefix(folder).removesuffix(".py")
                    source = reader.peek(0, member.size).decode("utf-8", "replace")
                    found.update(_roles(module.replace("/", "."), source))
        return found


def note_stream(program: Program, reader: Reader, faults: Faults, budget: Budget) -> None:
    """Turn a program's own complaints, and bytes behind it, into faults of the file."""
    where = {"path": reader.path, "entry": reader.entry}
    for code, offset, message in program.faults:
        faults.add(code, message, offset, **where)
    if program.stopped:
        faults.add(program.stop_code, program.stopped, program.end, **where)
    elif program.end < reader.size:
        left = reader.size - program.end
        faults.add("WK310", f"{left} bytes follow the pickle", program.end, **where)
        program.others += strays(program.reader, program.end, budget)
    budget.let_go(program)


_CLASS = re.compile(
    r"^class (\w+)\(|^  __(parameters|buffers)__ = \[([^\]]*)\]", re.ASCII | re.MULTILINE
)


def _roles(module: str, source: str) -> Iterator[tuple[tuple[str, str], str]]:
    """The rows of ``__parameters__`` and ``__buffers__`` of each class in a source text."""
    owner = ""
    for match in _CLASS.finditer(source):
        if match[1]:
            owner = f"{module}.{match[1]}"
        else:
            for name in re.findall(r'"([^"]+)"', match[3]):
                yield (owner, name), match[2].rstrip("s")
