"""Pickles that follow one another in a plain file: bare ones, torch before 1.6, and joblib.

The legacy format of torch is five pickles (magic number, protocol version, system facts, the
object, the keys of its storages) and then, per key, an i64 count of elements and their bytes.

Source: ``_legacy_save`` and ``_legacy_load`` of ``torch/serialization.py``, torch 2.13;
``joblib/numpy_pickle.py`` of joblib 1.5.
"""

from __future__ import annotations

from typing import Any

from weightkit.archives import Budget
from weightkit.errors import FormatError
from weightkit.findings import Examination
from weightkit.formats.pytorch.arrays import array_dtype, holds_objects, item_size
from weightkit.formats.pytorch.objects import collect, divide
from weightkit.formats.pytorch.rebuilds import REBUILDS
from weightkit.formats.pytorch.storages import declared, locate
from weightkit.formats.pytorch.strays import strays
from weightkit.formats.pytorch.tensors import Malformed, Tensors
from weightkit.formats.pytorch.values import integers, name_of, pairs_of, text_of
from weightkit.formats.pytorch.zipped import note_stream
from weightkit.machine import Limits, read_program
from weightkit.programs import Call, Program, Text
from weightkit.rules import Faults
from weightkit.source import Buffer, Cursor, Reader
from weightkit.tensors import Extent, FileIndex

MAGIC = 0x1950A86A20F9469CFC6C
MAX_PROGRAMS = 256
JOBLIB_WRAPPERS = (
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
)


def examine_stream(source: Reader, budget: Budget) -> Examination:
    """The pickles of ``source``, one after the other, and the tensors of the object in them."""
    faults = Faults(source.path, source.entry)
    joblib = _Joblib(source, budget.limits)
    first = _read(source, 0, joblib)
    if type(first.root) is int and first.root == MAGIC:
        return _examine_legacy(source, first, faults, budget)
    programs = [first]
    while len(programs) < MAX_PROGRAMS and _another(source, programs):
        programs.append(_read(source, programs[-1].end, joblib))
    for read in (*programs, *joblib.programs):
        budget.ran([read, *read.others])
    *before, last = programs
    for program in before:
        note_stream(program, _Part(source, program.end), faults, budget)
    note_stream(last, source, faults, budget)
    index = None
    if not first.stopped:
        index = _index(source, first, {}, "pickle", "little", faults)
    return Examination(index, (*programs, *joblib.programs), faults.all())


class _Part(Reader):
    """Names a source and the end of one pickle in it."""

    def __init__(self, source: Reader, end: int) -> None:
        self.path, self.entry, self.size = source.path, source.entry, end


def _read(source: Reader, start: int, joblib: _Joblib) -> Program:
    """The pickle at ``start``; those before it in the file have used some of the limits."""
    program = read_program(source, start, limits=joblib.limits, inline=joblib.nbytes)
    joblib.limits = joblib.limits.less([program])
    return program


def _another(source: Reader, programs: list[Program]) -> bool:
    """Whether a further pickle follows: a loader that is called again would read it."""
    last = programs[-1]
    if last.stopped or last.end >= source.size:
        return False
    return is_pickle(source.peek(last.end, 4096))


def is_pickle(head: bytes) -> bool:
    """Whether bytes start like a pickle: an unpickler would get somewhere with them.

    A protocol mark alone proves nothing: a safetensors header of 128 bytes starts with one. The
    bytes of a header's length, and the brace after them, may even be a string that ends at the
    first dot of a name; only what imports something is worth calling a pickle there.
    """
    if not head or head[0] not in _FIRST or head.startswith(b"PK\x03\x04"):
        return False  # a zip starts like PERSID, which fails at once where no loader defines it
    if head[0] == 0x80 and head[1:2] > b"\x05":
        return False  # no unpickler goes on after a protocol that is not there yet
    program = read_program(Buffer(head))
    imports = any(item.module.replace(".", "_").isidentifier() for item in program.globals)
    if head[4:9] == b"\0\0\0\0{" and not imports:
        return False
    if not program.stopped:
        return program.opcodes > 1
    marked = head[0] == 0x80 and program.opcodes > 3
    cut = program.stop_code == "WK301" or program.end >= len(head)
    broken_off = cut and (head[0] == 0x80 or program.opcodes > 8)
    return marked or broken_off or bool(program.calls)


_FIRST = frozenset(
    b"\x80(c]}lditSVIFLNKMJGTUX)\x8c\x8d\x8f\x95\x82\x83\x84PQ\x88\x89\x8a\x8bBC\x8e\x96"
)
"""Opcodes that can stand first: they take nothing from the stack."""


def _examine_legacy(source: Reader, magic: Program, faults: Faults, budget: Budget) -> Examination:
    programs = [magic]
    while len(programs) < 5 and not programs[-1].stopped:
        limits = budget.limits.less(programs)
        programs.append(read_program(source, programs[-1].end, limits=limits))
    for program in programs:
        budget.ran([program, *program.others])
    for program in programs:
        note_stream(program, _Part(source, program.end), faults, budget)
    index = None
    if len(programs) == 5 and not programs[-1].stopped:
        _, version, facts, data, keys = programs
        byteorder = "big" if _fact(facts.root, "little_endian") is False else "little"
        try:
            records = _records(source, data, keys, byteorder, faults, budget)
        except FormatError as error:
            faults.add(error.code, error.message, error.offset)
            records = {}
        index = _index(source, data, records, "legacy", byteorder, faults)
        index = _versioned(index, text_of(version.root))
    return Examination(index, tuple(programs), faults.all())


def _versioned(index: FileIndex, version: str) -> FileIndex:
    return index._replace(version=version)


def _fact(root: Any, name: str) -> Any:
    return next((value for key, value in pairs_of(root) if text_of(key) == name), None)


def _records(
    source: Reader, data: Program, keys: Program, byteorder: str, faults: Faults, budget: Budget
) -> dict[str, Extent]:
    """Where each storage's bytes are: one behind the other, in the order of the keys."""
    sizes = {item.root: item.dtype.nbytes for item in declared(data, Faults(""))}
    cursor = Cursor(source, keys.end, "<" if byteorder == "little" else ">")
    found: dict[str, Extent] = {}
    for key in keys.root if type(keys.root) is list else []:
        name = str(key) if isinstance(key, Text) else ""
        if name not in sizes:
            faults.add(
                "WK323", f"a record for {name[:40]!r}, which no tensor uses", cursor.position
            )
            break  # its size cannot be known
        (numel,) = cursor.unpack("q", "the size of a storage", "WK320")
        nbytes = numel * sizes[name]
        start = cursor.position
        cursor.skip(nbytes, f"storage {name!r}", "WK321")
        found[name] = source.extent(start, nbytes)
    if cursor.remaining:
        message = f"{cursor.remaining} bytes follow the last storage"
        faults.add("WK310", message, cursor.position)
        keys.others += strays(source, cursor.position, budget)
    return found


def _index(
    source: Reader,
    program: Program,
    records: dict[str, Extent],
    container: str,
    byteorder: str,
    faults: Faults,
) -> FileIndex:
    storages = locate(program, records.get, faults)
    found = collect(program, Tensors(REBUILDS, storages, source, byteorder), faults)
    return FileIndex(
        source.path,
        "pytorch" if storages or container == "legacy" else "pickle",
        source.size,
        divide(found, faults),
        byteorder=byteorder,
        metadata=found.values,
        container=container,
        of_module=found.of_module,
        states=found.states,
        unkept=found.unkept,
    )


_MAKERS = [
    f"{module}.{name}"
    for module in ("copyreg", "copy_reg")
    for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
]


def _class_of(made: Call) -> str:
    """The class of an object. Protocols 0 and 1 make objects by a function of ``copyreg``."""
    name = name_of(made.target)
    if name in _MAKERS and type(made.args) is tuple and made.args:
        return name_of(made.args[0])
    return name


class _Joblib:
    """joblib writes an array's bytes behind the opcode that built its ``NumpyArrayWrapper``.

    An array of objects is a pickle of its own there; those read are kept in ``programs``.
    """

    def __init__(self, source: Reader, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.programs: list[Program] = []

    def nbytes(self, build: Call, position: int) -> int:
        """How many bytes of array (and padding before it) start at ``position``."""
        target = build.target
        if type(target) is not Call or _class_of(target) not in JOBLIB_WRAPPERS:
            return 0
        held = {text_of(key): value for key, value in pairs_of(build.args)}
        if holds_objects(held.get("dtype")):
            return self.nested(position)
        try:
            dtype, _ = array_dtype(held.get("dtype"))
            shape = integers(held.get("shape"))
        except (Malformed, TypeError, ValueError, IndexError):
            self.nested(position)  # should joblib take it for objects after all
            return 0
        padding = 0
        if held.get("numpy_array_alignment_bytes") is not None:
            padding = 1 + int.from_bytes(self.source.peek(position, 1), "little")
        nbytes = item_size(held.get("dtype"), dtype)
        for size in shape:
            nbytes *= size
        return max(0, min(padding + nbytes, self.source.size - position))

    def nested(self, position: int) -> int:
        """Read the pickle at ``position``; nothing of it is passed over if it breaks off.

        joblib reads it by an unpickler of Python's own, which knows of no arrays between opcodes.
        """
        program = read_program(self.source, position, limits=self.limits)
        self.limits = self.limits.less([program])
        self.programs.append(program)
        return 0 if program.stopped else program.end - position
