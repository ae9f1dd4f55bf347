"""The storages that a pickle's persistent ids declare, and where a container keeps their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from weightkit.dtypes import DType
from weightkit.formats.pytorch.tensors import (
    NOWHERE,
    Malformed,
    Storage,
    storage_dtype,
    storage_key,
)
from weightkit.programs import Global, Program, Text
from weightkit.rules import Faults
from weightkit.tensors import ABSENT, Extent

_new = tuple.__new__
MOST = 1 << 60
"""Elements of a storage."""


class Declared(NamedTuple):
    """A persistent id ``("storage", class, root key, device, numel[, (view key, offset, numel)])``.

    Sizes are in bytes. ``key`` names the storage that tensors use, ``root`` the record it lies in:
    only in the legacy format can the two differ.
    """

    key: str
    root: str
    dtype: DType
    root_nbytes: int
    start: int
    nbytes: int
    offset: int
    """Of the opcode that made it, in the pickle."""


def declared(program: Program, faults: Faults) -> Iterator[Declared]:
    """Every storage that ``program`` names, once for each key."""
    seen: set[str] = set()
    dtypes: dict[object, DType] = {}  # by the global that names the class, of which there are few
    for node in program.persistents:
        pid = node.pid
        usual = type(pid) is tuple and len(pid) == 5 and type(pid[2]) is Text
        key = str(pid[2]) if usual and pid[0] == "storage" else storage_key(pid)
        if not key or key in seen:
            continue
        seen.add(key)
        try:
            dtype = dtypes.get(pid[1]) if type(pid[1]) is Global else None
            if dtype is None:
                dtype = dtypes[pid[1]] = storage_dtype(pid[1])
            numel = pid[4]
            if usual and type(numel) is int and 0 <= numel < MOST:
                nbytes = numel * dtype.nbytes
                yield _new(Declared, (key, key, dtype, nbytes, 0, nbytes, node.offset))
            else:
                yield _declaration(key, dtype, pid, node.offset)
        except (Malformed, TypeError, ValueError, IndexError) as error:
            faults.add("WK323", f"storage {key!r}: {error}", node.offset)


def _declaration(key: str, dtype: DType, pid: tuple[Any, ...], offset: int) -> Declared:
    root_nbytes = _nbytes(dtype, pid[4])
    if len(pid) < 6 or pid[5] is None:
        return Declared._make((key, key, dtype, root_nbytes, 0, root_nbytes, offset))
    root = str(pid[2]) if isinstance(pid[2], Text) else key
    if root == key:
        return Declared(key, root, dtype, root_nbytes, 0, root_nbytes, offset)
    view = pid[5]
    assert type(view) is tuple
    start, nbytes = _nbytes(dtype, view[1]), _nbytes(dtype, view[2])
    if start + nbytes > root_nbytes:
        raise Malformed("a view reaches outside its storage")
    return Declared(key, root, dtype, root_nbytes, start, nbytes, offset)


def _nbytes(dtype: DType, numel: object) -> int:
    if type(numel) is not int or not 0 <= numel < MOST:
        raise Malformed(f"a size that is no count: {str(numel)[:40]}")
    return numel * dtype.nbytes  # of a type that packs several elements, torch counts the bytes


Place = Callable[[str], Extent | None]
"""Where a container keeps the record of a root key; None if it has none."""


def are_whole(program: Program, nbytes_of: Callable[[str], int | None]) -> bool:
    """Whether every storage has a record of its size: the usual case, told without looking closer.

    ``nbytes_of`` gives the size of the record with a key. ``locate`` says what is wrong if any is.
    """
    itemsizes: dict[Global, int] = {}
    for node in program.persistents:
        pid = node.pid
        if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage":
            return False
        _, kind, key, _, numel = pid
        if type(kind) is not Global or type(key) is not Text or type(numel) is not int:
            return False
        itemsize = itemsizes.get(kind)
        if itemsize is None:
            itemsize = itemsizes[kind] = _itemsize(kind)
        if not itemsize or nbytes_of(key) != numel * itemsize:
            return False
    return True


def _itemsize(kind: Global) -> int:
    """Bytes of an item; 0 for what is no storage class."""
    try:
        return storage_dtype(kind).nbytes
    except Malformed:
        return 0


def locate(program: Program, place: Place, faults: Faults) -> dict[str, Storage]:
    """The storages of ``program`` by key; a record that is missing or of another size is a fault."""
    found: dict[str, Storage] = {}
    for item in declared(program, faults):
        key, root, dtype, root_nbytes, start, nbytes, offset = item
        where = place(root)
        if where is None:
            faults.add("WK320", f"no record for storage {root!r}", offset)
            where = NOWHERE
        elif where.nbytes != root_nbytes:
            message = f"storage {root!r} has {root_nbytes} bytes, its record {where.nbytes}"
            faults.add("WK321", message, offset)
        if start and where.encoding != ABSENT:
            where = where._replace(offset=where.offset + start, nbytes=nbytes)
        found[key] = _new(Storage, (key, dtype, nbytes, where))
    return found
