"""The tar that torch wrote before 0.1.10: members ``sys_info``, ``pickle``, ``storages``, ``tensors``.

``storages``: a pickled count; per storage a pickle (key, location, class), an i64 count and the
bytes; then a pickled list of views (key, root key, offset, numel). ``tensors``: a pickled count; per
tensor a pickle (key, storage key, class), an i32 number of dimensions and 4 bytes of nothing, sizes
and strides as i64, an i64 offset. ``pickle``: the object, whose persistent ids are tensor keys.

Source: ``legacy_load`` inside ``_legacy_load`` of ``torch/serialization.py``, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightkit.archives import Budget
from weightkit.errors import FormatError
from weightkit.findings import Examination
from weightkit.formats.pytorch.objects import collect, divide
from weightkit.formats.pytorch.rebuilds import REBUILDS
from weightkit.formats.pytorch.strays import strays
from weightkit.formats.pytorch.tensors import Malformed, Storage, Tensors, storage_dtype
from weightkit.formats.pytorch.zipped import note_stream
from weightkit.machine import read_program
from weightkit.programs import Persistent, Program, Text
from weightkit.rules import Faults
from weightkit.source import Cursor, Reader
from weightkit.tensors import FileIndex, TensorInfo

MEMBERS = ("pickle", "storages", "tensors")
MAX_ITEMS = 1_000_000


def accepts_tar(names: set[str]) -> bool:
    """Whether a tar has the members that torch's old format has."""
    return names.issuperset(MEMBERS)


def examine_tar(
    source: Reader, members: Mapping[str, Reader], faults: Faults, budget: Budget
) -> Examination:
    """Index and programs of the old tar; ``members`` gives a reader for each name."""
    old = _OldTar(members, faults, budget)
    try:
        old.read_storages()
        old.read_tensors()
    except FormatError as error:
        faults.add(error.code, error.message, error.offset, entry=error.entry)
        old.search()
    except (Malformed, TypeError, ValueError, IndexError, KeyError) as error:
        faults.add("WK323", f"the old tar's tables: {error}", 0)
        old.search()
    reader = members["pickle"]
    program = old.read(reader, 0)
    note_stream(program, reader, faults, budget)
    found = collect(program, old, faults)
    index = FileIndex(
        source.path,
        "pytorch",
        source.size,
        divide(found, faults),
        metadata=found.values,
        container="tar",
        of_module=found.of_module,
        states=found.states,
        unkept=found.unkept,
    )
    return Examination(index, tuple(old.programs), faults.all())


class _OldTar(Tensors):
    """Like :class:`Tensors`, but a persistent id stands for a whole tensor."""

    def __init__(self, members: Mapping[str, Reader], faults: Faults, budget: Budget) -> None:
        super().__init__(REBUILDS, {}, members["pickle"])
        self.members = members
        self.faults = faults
        self.programs: list[Program] = []
        self.budget = budget
        self.by_key: dict[int, TensorInfo] = {}

    def persistent(self, node: Persistent) -> TensorInfo | None:
        """The tensor whose key, in decimal, is the persistent id."""
        text = str(node.pid) if type(node.pid) in (Text, int) else ""
        if not text.isascii() or not text.isdigit() or len(text) > 20:
            return None
        return self.by_key.get(int(text))

    def read(self, reader: Reader, position: int) -> Program:
        program = read_program(reader, position, limits=self.budget.limits)
        self.budget.ran([program, *program.others])
        self.programs.append(program)
        return program

    def search(self) -> None:
        """Look for the pickles of tables that cannot be followed; torch takes more for a count or key."""
        for name in ("storages", "tensors"):
            self.programs.extend(strays(self.members[name], 0, self.budget))

    def value(self, reader: Reader, cursor: Cursor) -> Any:
        """The object of the pickle at the cursor, which moves behind it."""
        program = self.read(reader, cursor.position)
        if program.stopped:
            raise reader.error(program.stop_code, program.stopped, program.end)
        cursor.skip(program.end - cursor.position)
        return program.root

    def read_storages(self) -> None:
        reader = self.members["storages"]
        cursor = Cursor(reader)
        for _ in range(_count(self.value(reader, cursor))):
            key, _location, kind = self.value(reader, cursor)
            dtype = storage_dtype(kind)
            (numel,) = cursor.unpack("q", "the size of a storage", "WK320")
            nbytes = dtype.nbytes_of(numel)
            where = reader.extent(cursor.position, nbytes) if numel >= 0 else None
            cursor.skip(nbytes, f"storage {key}", "WK321")
            assert where is not None  # skip refuses a negative size
            self.storages[str(_key(key))] = Storage(str(key), dtype, nbytes, where)
        for target, root, offset, numel in self.value(reader, cursor):
            whole = self.storages[str(_key(root))]
            start, nbytes = whole.dtype.nbytes_of(offset), whole.dtype.nbytes_of(numel)
            if min(start, nbytes) < 0 or start + nbytes > whole.nbytes:
                raise reader.error("WK322", f"view {target} reaches outside storage {root}")
            where = whole.data._replace(offset=whole.data.offset + start, nbytes=nbytes)
            self.storages[str(_key(target))] = whole._replace(data=where, nbytes=nbytes)

    def read_tensors(self) -> None:
        reader = self.members["tensors"]
        cursor = Cursor(reader)
        for _ in range(_count(self.value(reader, cursor))):
            key, storage_id, _kind = self.value(reader, cursor)
            (ndim, _) = cursor.unpack("ii", f"the shape of tensor {key}")
            if not 0 <= ndim <= 64:
                raise reader.error("WK323", f"tensor {key} has {ndim} dimensions", cursor.position)
            size = cursor.unpack(f"{ndim}q")
            stride = cursor.unpack(f"{ndim}q")
            (offset,) = cursor.unpack("q")
            pid = Persistent(("storage", None, _text(_key(storage_id))), 0)
            self.by_key[_key(key)] = self.strided(pid, offset, size, stride)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ITEMS:
        raise Malformed(f"{str(value)[:40]} is no count")
    return value


def _key(value: Any) -> int:
    if type(value) is not int or value.bit_length() > 64:
        raise Malformed("a key that is no number")
    return value


def _text(number: int) -> Text:
    return Text(str(number))
