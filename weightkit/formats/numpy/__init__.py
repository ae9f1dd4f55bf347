"""NumPy's ``.npy`` (one array) and ``.npz`` (a zip of them). No array is loaded.

An array of Python objects is a pickle behind the header: it becomes a program, never objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weightkit.archives import Budget, Zip, ZipMember, notes
from weightkit.dtypes import DTYPES
from weightkit.errors import FormatError, UnsupportedError
from weightkit.findings import Examination
from weightkit.formats.numpy.header import MAGIC, Header, data_start, read_header, record_of
from weightkit.machine import read_program
from weightkit.programs import Program
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import Extent, FileIndex, TensorInfo, TensorSet

NAME = "numpy"
SUFFIXES = (".npy", ".npz")

UNNAMED = "arr_0"
"""An ``.npy`` file does not name its array; numpy calls one that was given no name so."""
HEAD = 512
MAX_UNKEPT = 9
"""Names that are kept of members that are no plain arrays."""


class Array(NamedTuple):
    """One ``.npy``: its header and elements, or the program of its objects."""

    header: Header | None
    tensor: TensorInfo | None
    program: Program | None


def accepts(head: bytes) -> bool:
    """Whether the content starts with numpy's magic."""
    return head.startswith(MAGIC)


def examine(source: Reader, budget: Budget | None = None) -> Examination:
    """The array of an ``.npy`` file."""
    faults = Faults(source.path, source.entry)
    array = _array(source, lambda: source, UNNAMED, faults, budget or Budget())
    programs = (array.program,) if array.program else ()
    header = array.header
    if header is None:
        return Examination(None, programs, faults.all())
    index = FileIndex(
        source.path,
        NAME,
        source.size,
        _sets([array.tensor] if array.tensor else []),
        version=header.version,
        data_start=header.data_start,
        alignment=64,
        byteorder=header.item.order,
        metadata={"descr": header.item.dtype.name, "fortran_order": header.fortran},
        container="npy",
    )
    return Examination(index, programs, faults.all())


def _sets(tensors: list[TensorInfo]) -> tuple[TensorSet, ...]:
    return (TensorSet("", "model", tuple(tensors)),) if tensors else ()


def is_npz(archive: Zip) -> bool:
    """Whether a zip holds arrays and nothing else, or is named ``.npz`` and holds any or nothing."""
    names = [
        member.name
        for member in archive.members
        if not member.is_directory and member.name != notes.NAME
    ]
    arrays = sum(name.endswith(".npy") for name in names)
    named = (archive.source.entry or archive.source.path).lower().endswith(".npz")
    if arrays < len(names):
        return named and arrays > 0
    return named or arrays > 0


def examine_npz(source: Reader, archive: Zip, budget: Budget, faults: Faults) -> Examination:
    """The arrays of a zip, as numpy would load them: by content, not by the suffix of a member.

    Every member is looked at, so also those that only another reader than Python's would see.
    """
    found = _Found()
    noted = notes.read(archive, notes.NAME, budget, faults, record_of)
    note = archive.find(notes.NAME) if noted is not None else None
    for member in (*archive.members, *archive.hidden):
        if member.is_directory or member is note:
            continue
        array = _member(archive, member, budget, faults)
        # Of a plain array only the header is looked at: there may be as many as the directory lists.
        plain = array is not None and array.program is None and not budget.level
        if not plain and not budget.member():
            faults.add("WK002", "too many members to examine", member.place)
            break
        if array is None:
            found.others.append(member.name)
        else:
            found.add(array, archive.by_zipfile(member.name) in {member, None}, member, faults)
    kept = dict(noted or {})
    found.recast(notes.dtypes(kept.pop(notes.DTYPES, "{}")))
    lists = {"other_members": found.others, "object_arrays": found.objects}
    index = FileIndex(
        source.path,
        NAME,
        source.size,
        _sets(list(found.tensors.values())),
        version=", ".join(sorted(found.versions)),
        metadata={key: names for key, names in lists.items() if names},
        container="npz",
        notes=kept,
        unkept=(*found.objects, *found.others)[:MAX_UNKEPT],
    )
    return Examination(index, tuple(found.programs), faults.all())


class _Found:
    """What the members of an ``.npz`` came to."""

    def __init__(self) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        self.programs: list[Program] = []
        self.versions: set[str] = set()
        self.objects: list[str] = []
        self.others: list[str] = []

    def add(self, array: Array, chosen: bool, member: ZipMember, faults: Faults) -> None:
        """Take over one array; ``chosen``: zipfile takes this member for its name."""
        if array.program:
            self.programs.append(array.program)
        if array.header:
            self.versions.add(array.header.version)
            if array.header.item.objects:
                self.objects.append(member.name)
        tensor = array.tensor
        if tensor and chosen:
            if tensor.name in self.tensors:
                message = f"two members are the array {tensor.name!r}"
                faults.add("WK507", message, member.place, tensor=tensor.name)
            self.tensors[tensor.name] = tensor

    def recast(self, recorded: dict[str, object]) -> None:
        """Give arrays of raw bytes the types that a conversion recorded for them."""
        for name, tensor in self.tensors.items():
            dtype = DTYPES.get(str(recorded.get(name)))
            if dtype and dtype.items == 1 and tensor.dtype.name == f"V{dtype.nbytes}":
                self.tensors[name] = tensor._replace(dtype=dtype)


def _member(archive: Zip, member: ZipMember, budget: Budget, faults: Faults) -> Array | None:
    """The array that a member holds; None, and a fault, where it holds none."""
    try:
        if archive.head(member, len(MAGIC)) != MAGIC:
            message = f"{member.name!r} is no array"
            faults.add("WK506", message, member.place, subject=member.name)
            return None
        stored = member.method == 0
        source = archive.reader(member, budget) if stored else Packed(archive, member)
        name = member.name.removesuffix(".npy")
        # Of a deflated member the head is enough, but for a pickle.
        return _array(source, lambda: archive.reader(member, budget), name, faults, budget)
    except (FormatError, UnsupportedError) as error:
        faults.add(error.code, error.message, error.offset, entry=error.entry)
        return Array(None, None, None)


class Packed(Reader):
    """A compressed member of which only the first bytes are inflated: the header is all we need."""

    def __init__(self, archive: Zip, member: ZipMember) -> None:
        self.archive = archive
        self.member = member
        self.path = archive.source.path
        outer = archive.source.entry
        self.entry = f"{outer}!{member.name}" if outer else member.name
        self.size = member.size
        self._head = archive.head(member, HEAD)

    def pread(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        end = offset + nbytes
        if end > len(self._head):
            self._head = self.archive.head(self.member, end)
        if end > len(self._head):
            raise self.error("WK419", f"{nbytes} bytes wanted, but the stream ends", offset)
        return self._head[offset:end]

    def extent(self, offset: int, nbytes: int) -> Extent:
        return self.archive.extent(self.member, offset, nbytes)


def _array(
    source: Reader, whole: Callable[[], Reader], name: str, faults: Faults, budget: Budget
) -> Array:
    """What ``source`` holds; ``whole`` gives a reader that has all of its bytes."""
    where = {"path": source.path, "entry": source.entry}
    try:
        header = read_header(source)
    except FormatError as error:
        faults.add(error.code, error.message, error.offset, **where)
        return Array(None, None, _behind(source, whole, budget))
    for odd in header.odd:
        faults.add("WK503", odd.message, odd.offset, **where)
    start, nbytes = header.data_start, header.nbytes
    if header.item.objects:
        faults.add("WK508", f"{_lengths(header)} Python objects, in a pickle", start, **where)
        return Array(header, None, _objects(whole(), start, faults, budget))
    left = source.size - start - nbytes
    if left < 0:
        message = f"{nbytes} bytes of elements announced, but {source.size - start} remain"
        faults.add("WK001", message, start, **where)
    elif left:
        faults.add("WK505", f"{left} bytes follow the array", start + nbytes, **where)
    item, extent = header.item, source.extent(start, nbytes)
    strides = header.strides
    tensor = TensorInfo(name, item.dtype, header.shape, extent, item.order, strides)
    return Array(header, tensor, None)


def _lengths(header: Header) -> str:
    return "×".join(map(str, header.shape)) or "1"


def _objects(source: Reader, start: int, faults: Faults, budget: Budget) -> Program:
    """The pickle in the place of the elements, and what is wrong with it."""
    where = {"path": source.path, "entry": source.entry}
    program = _read(source, start, budget)
    for code, offset, message in program.faults:
        faults.add(code, message, offset, **where)
    if program.stopped:
        faults.add(program.stop_code, program.stopped, program.end, **where)
    elif program.end < source.size:
        left = source.size - program.end
        faults.add("WK505", f"{left} bytes follow the pickle", program.end, **where)
    return program


def _read(source: Reader, start: int, budget: Budget) -> Program:
    program = read_program(source, start, limits=budget.limits)
    budget.ran([program, *program.others])
    budget.let_go(program)
    return program


def _behind(source: Reader, whole: Callable[[], Reader], budget: Budget) -> Program | None:
    """A pickle behind a header that is not understood here: numpy may understand it."""
    try:
        program = _read(whole(), data_start(source), budget)
    except FormatError:
        return None
    return program if program.calls or not program.stopped else None
