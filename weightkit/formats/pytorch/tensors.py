"""How PyTorch writes a tensor into a pickle: a view of a storage, rebuilt by a function.

A tensor is a call such as ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``
whose storage is a persistent id, ``("storage", torch.FloatStorage, "0", "cpu", numel)``. The rows
of ``rebuilds`` and ``arrays`` turn one such call, unexecuted, into a :class:`TensorInfo`.

Source: ``torch/serialization.py`` of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from weightkit.dtypes import DTYPES, STORAGES, DType
from weightkit.formats.pytorch.values import integers, name_of
from weightkit.programs import Call, Global, Persistent, Text
from weightkit.source import Reader
from weightkit.tensors import ABSENT, RAW, Extent, TensorInfo

U8 = DTYPES["u8"]
_new = tuple.__new__
"""Makes a record of all its values: half of what naming them costs, of which there are many."""
NOWHERE = Extent(0, 0, 0, ABSENT)


class Storage(NamedTuple):
    """One block of memory: where its bytes are, and its element type (u8 for untyped ones)."""

    key: str
    dtype: DType
    nbytes: int
    data: Extent


class Malformed(Exception):
    """The arguments of a rebuild call are none that torch writes."""


class Unread(Malformed):
    """The bytes are there, but in a file of their own inside the pickle."""


class Tensors:
    """Turns the calls of one program into tensors.

    ``rows`` is the table of rebuild functions by (module, name). ``storages`` maps a storage's key
    to its place, for each persistent id of the program; ``reader`` holds the pickle (arrays that
    lie inside it are found there).
    """

    def __init__(
        self, rows: Rows, storages: dict[str, Storage], reader: Reader, byteorder: str = "little"
    ) -> None:
        self.rows = rows
        self.storages = storages
        self.reader = reader
        self.byteorder = byteorder
        self._seen: dict[Global, Rebuild | None] = {}
        self._spreads: dict[tuple[int, int], _Spread] = {}
        """By the identities of what stands for sizes and strides in the program."""

    def rebuild(self, call: Call) -> TensorInfo | None:
        """The tensor that ``call`` would make, or None if it makes something else.

        The tensor has no name yet. Raises Malformed if torch would not have written it.
        """
        target = call.target
        if type(target) is not Global:
            return None
        row = self._seen.get(target, _unseen)
        if row is _unseen:
            row = self._seen[target] = self.rows.get((target.module, target.name))
        if row is None or type(call.args) is not tuple:
            return None
        try:
            return row(self, call)
        except (IndexError, ValueError, TypeError) as error:
            # Unpacking arguments of the wrong number or kind; nothing of theirs is called.
            raise Malformed(f"{target.path} with unusable arguments") from error

    def strided(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: DType | None = None
    ) -> TensorInfo:
        """The view of a storage with ``size`` and ``stride`` in elements, ``offset`` likewise."""
        _, own, held, where = memory = self.storage(storage)
        dtype = dtype or own
        # A model has thousands of tensors and dozens of shapes, which the program keeps but once.
        both = id(size), id(stride)
        spread = self._spreads.get(both)
        if spread is None:
            spread = self._spreads[both] = _spread(size, stride)
        shape, strides, span, _ = spread
        if type(offset) is not int or offset < 0:
            raise Malformed("a negative offset")
        start, nbytes = dtype.nbytes_of(offset), dtype.nbytes_of(span)
        if start + nbytes > held:
            raise OutsideStorage(f"needs bytes {start} to {start + nbytes} of a storage of {held}")
        if where.nbytes == nbytes and not start:
            data = where  # all of the storage, as nearly always
        elif where.encoding == RAW:
            data = Extent(where.file, where.offset + start, nbytes)
        else:
            data = where._replace(within=where.within + start, nbytes=nbytes)
        row = "", dtype, shape, data, self.byteorder, strides, memory.key, "strided", (), "", ()
        return _new(TensorInfo, row)

    def storage(self, node: Any) -> Storage:
        """The storage that a persistent id stands for."""
        if type(node) is Persistent:
            pid = node.pid
            usual = type(pid) is tuple and len(pid) == 5 and type(pid[2]) is Text
            found = self.storages.get(pid[2] if usual and pid[0] == "storage" else storage_key(pid))
            if found is not None:
                return found
        if type(node) is Call and name_of(node.target) == "torch.storage._load_from_bytes":
            raise Unread("the bytes of a plain pickle's tensor are a file of their own")
        raise Malformed("no storage where one must be")

    def persistent(self, node: Persistent) -> TensorInfo | None:
        """A storage that was saved without a tensor: a vector of its elements."""
        found = self.storages.get(storage_key(node.pid))
        if found is None:
            return None
        shape = (found.nbytes // found.dtype.nbytes * found.dtype.items,)
        return TensorInfo("", found.dtype, shape, found.data, self.byteorder, None, found.key)

    def inner(self, node: Any) -> TensorInfo:
        """A tensor that is an argument of another."""
        found = None
        if type(node) is Call:
            found = self.rebuild(node)
        elif type(node) is Persistent:
            found = self.persistent(node)
        if found is None:
            raise Malformed("no tensor where one must be")
        return found


class OutsideStorage(Malformed):
    """A tensor addresses bytes that its storage does not have."""


Rebuild = Callable[[Tensors, Call], TensorInfo | None]
Rows = Mapping[tuple[str, str], Rebuild]


def _unseen(_: Tensors, __: Call) -> None:
    return None


class _Spread(NamedTuple):
    """Where the elements of a view lie in its storage."""

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """None if they lie in row-major order without gaps."""
    span: int
    """From the first to behind the last, in elements."""
    made_from: tuple[Any, Any]
    """Kept, so that no other object gets their identity."""


def _spread(size: Any, stride: Any) -> _Spread:
    shape, strides = integers(size), integers(stride)
    if len(shape) != len(strides):
        raise Malformed(f"{len(shape)} sizes, but {len(strides)} strides")
    if min((*shape, *strides), default=0) < 0:
        raise Malformed("a negative size or stride")
    if 0 in shape:
        return _Spread(shape, None, 0, (size, stride))
    expected = 1
    contiguous = True
    span = 1
    for count, step in zip(reversed(shape), reversed(strides), strict=True):
        if count != 1:
            contiguous = contiguous and step == expected
            span += (count - 1) * step
            expected *= count
    return _Spread(shape, None if contiguous else strides, span, (size, stride))


def storage_key(pid: Any) -> str:
    """The key that tells a storage from the others of its file ("" if the id names none)."""
    if type(pid) is tuple and len(pid) >= 3 and pid[0] == "storage":
        key = pid[2]
        if len(pid) > 5 and type(pid[5]) is tuple and pid[5]:  # a view, of the legacy format
            key = pid[5][0]
        if isinstance(key, str):
            return str(key)
    return ""


def storage_dtype(node: Any) -> DType:
    """The element type of a storage class, ``torch.FloatStorage`` and the like."""
    name = name_of(node).rpartition(".")[2]
    if name == "UntypedStorage":
        return U8
    dtype = STORAGES.get(name)
    if dtype is None:
        raise Malformed(f"{name or 'nothing'} is no storage class")
    return dtype
