"""The pickle of a plain state dict, written opcode by opcode as ``torch.save`` writes it.

Protocol 2, with the memo and the batches of CPython's pickler. Nothing is pickled: the opcodes are
those of a fixed template, filled with names, numbers and storage keys.

Source: ``pickletools.opcodes`` of CPython; ``torch.Tensor.__reduce_ex__`` of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from struct import pack
from typing import NamedTuple

from weightkit.dtypes import DType

BATCH = 1000
"""Items that one SETITEMS adds."""
_MARK, _TUPLE, _PERSID, _REDUCE = b"(", b"t", b"Q", b"R"
_EMPTY_TUPLE, _FALSE = b")", b"\x89"
_TUPLES = {1: b"\x85", 2: b"\x86", 3: b"\x87"}


class View(NamedTuple):
    """A tensor to be written: a view of the storage ``key``, from its first element on."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    key: str
    nbytes: int
    """Of the storage."""


def state_dict(views: Sequence[View]) -> bytes:
    """An OrderedDict of tensors."""
    return _Pickle().whole(views)


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides as torch counts them: an empty dimension counts as one element."""
    backwards = accumulate((max(size, 1) for size in reversed(shape[1:])), mul, initial=1)
    return tuple(backwards)[::-1] if shape else ()


class _Pickle:
    """Bytes that grow, and the memo: what was written already, by kind and value."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.memo: dict[object, int] = {}
        self.noted = 0

    def whole(self, views: Sequence[View]) -> bytes:
        self.ordered_dict()
        for start in range(0, len(views), BATCH):
            self.items(views[start : start + BATCH])
        return bytes(self.out + b".")

    def items(self, batch: Sequence[View]) -> None:
        several = len(batch) > 1
        if several:
            self.out += _MARK
        for view in batch:
            self.text(view.name)
            self.tensor(view)
        self.out += b"u" if several else b"s"

    # torch's objects

    def tensor(self, view: View) -> None:
        """``_rebuild_tensor_v2(storage, 0, size, stride, requires_grad=False, hooks={})``.

        Types that have no storage class of their own are views of bytes, and their type is the
        last argument of ``_rebuild_tensor_v3``.
        """
        typed = bool(view.dtype.storage)
        self.path("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        self.out += _MARK
        self.storage(view)
        self.integer(0)
        self.numbers(view.shape)
        self.numbers(view.strides)
        self.out += _FALSE
        self.ordered_dict()
        if not typed:
            self.path("torch", view.dtype.torch)
        self.out += _TUPLE
        self.note()
        self.out += _REDUCE
        self.note()

    def storage(self, view: View) -> None:
        """The persistent id ("storage", class, key, "cpu", number of elements)."""
        dtype = view.dtype
        self.out += _MARK
        self.text("storage")
        if dtype.storage:
            self.path("torch", dtype.storage)
        else:
            self.path("torch.storage", "UntypedStorage")
        self.text(view.key, "key")
        self.text("cpu")
        self.integer(view.nbytes // dtype.nbytes if dtype.storage else view.nbytes)
        self.out += _TUPLE
        self.note()
        self.out += _PERSID

    def ordered_dict(self) -> None:
        self.path("collections", "OrderedDict")
        self.out += _EMPTY_TUPLE + _REDUCE
        self.note()

    # Plain values

    def note(self) -> None:
        """Memoize what was written last."""
        number = self.noted
        self.out += bytes((ord("q"), number)) if number < 256 else pack("<cI", b"r", number)
        self.noted += 1

    def recall(self, value: object) -> bool:
        """Write a reference to ``value`` if it was written before; else expect it to be."""
        number = self.memo.setdefault(value, self.noted)
        if number == self.noted:
            return False
        self.out += bytes((ord("h"), number)) if number < 256 else pack("<cI", b"j", number)
        return True

    def text(self, value: str, kind: str = "") -> None:
        """Equal texts of one ``kind`` are one object."""
        if not self.recall((kind, value)):
            encoded = value.encode("utf-8", "surrogatepass")
            self.out += pack("<cI", b"X", len(encoded)) + encoded
            self.note()

    def path(self, module: str, name: str) -> None:
        """A global: only ever one of torch's, or OrderedDict."""
        if not self.recall((module, name)):
            self.out += f"c{module}\n{name}\n".encode("ascii")
            self.note()

    def integer(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self.out += pack("<cB", b"K", value)
        elif 0 <= value < 1 << 16:
            self.out += pack("<cH", b"M", value)
        elif -1 << 31 <= value < 1 << 31:
            self.out += pack("<ci", b"J", value)
        else:
            encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += pack("<cB", b"\x8a", len(encoded)) + encoded

    def numbers(self, values: tuple[int, ...]) -> None:
        """A tuple of integers."""
        if not values:
            self.out += _EMPTY_TUPLE
            return
        self.out += _MARK if len(values) > 3 else b""
        for value in values:
            self.integer(value)
        self.out += _TUPLES.get(len(values), _TUPLE)
        self.note()
