"""What NumPy's own pickles say of arrays and element types; anything else it would believe unchecked.

``dtype.__setstate__`` takes flags, sizes and offsets as they come. An element type whose flags deny
that it holds objects makes NumPy take bytes of the file for pointers, and call what they point to.

Source: ``arraydescr_reduce`` and ``arraydescr_setstate`` in ``numpy/_core/src/multiarray/descriptor.c``
and ``array_setstate`` in ``methods.c``, NumPy 2.4.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, NamedTuple

from weightkit.analyses.trust.shapes import plain, plains
from weightkit.programs import Blob, Call, Global, Pairs

_CODE = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDGOSUVMmcau])(\d{0,9})", re.ASCII)
_SIZES = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8}
_SIZES |= {
    "e": 2,
    "f": 4,
    "d": 8,
    "g": 16,
    "F": 8,
    "D": 16,
    "G": 32,
    "O": 8,
    "M": 8,
    "m": 8,
    "c": 1,
}
_HOLDS_OBJECTS = 1
_DEEPEST = 16
_MOST_FIELDS = 10_000
_MOST_ZEROS = 1 << 16


class Element(NamedTuple):
    """An element type: its size, None if the file does not tell, and whether it holds objects."""

    nbytes: int | None
    objects: bool


def element(node: Any, depth: int = 0) -> Element | None:
    """The element type that a ``numpy.dtype`` call makes; None if NumPy writes no such thing."""
    if type(node) is Global:
        return Element(None, node.name == "object_")  # numpy.float64, as the dtypes of old pickles
    if type(node) is not Call or depth > _DEEPEST or type(node.args) is not tuple:
        return None
    path = node.target.path if type(node.target) is Global else ""
    if path.startswith("numpy.dtypes."):
        return Element(None, path == "numpy.dtypes.ObjectDType")
    if path != "numpy.dtype" or not dtype(node.args):
        return None
    return described(node, node.state, depth)


_WRITTEN = re.compile(r"[biufcSUVMmO]\d{1,9}", re.ASCII)


def as_written(node: Any) -> bool:
    """Whether an element type is spelt as NumPy's pickles spell it: by its kind and size."""
    if type(node) is not Call or element(node) is None or not node.args:
        return False
    code = node.args[0]
    if type(code) is Global:
        return code.module == "ml_dtypes" or (code.name == "record" and node.state is not None)
    return isinstance(code, str) and bool(_WRITTEN.fullmatch(code))


def dtype(args: tuple[Any, ...]) -> bool:
    """``dtype("f8", False, True)``, or with a class of ml_dtypes."""
    if not args or not plains(args[1:]):
        return False
    code = args[0]
    if type(code) is Global:
        return True
    return isinstance(code, str) and len(code) < 100


def described(call: Call, state: Any, depth: int = 0) -> Element | None:
    """The element type of ``dtype(code)`` with the state ``(version, order, ...)`` set on it."""
    code = call.args[0]
    match = _CODE.fullmatch(code) if isinstance(code, str) else None
    kind, digits = (match[1], match[2]) if match else ("", "")
    whole = Element(_nbytes(kind, digits), kind == "O")
    if state is None:
        return whole
    if type(state) is not tuple or not 8 <= len(state) <= 9 or not _is_plain_head(state):
        return None
    _, _, part, names, fields, nbytes, _, flags, *_ = state
    if part is not None:
        whole = _subarray(kind, part, nbytes, depth) or _WRONG
    elif names is not None:
        whole = _record(kind, names, fields, nbytes, depth) or _WRONG
    elif nbytes >= 0 and whole.nbytes not in (None, nbytes):
        return None
    wrong = whole is _WRONG or whole.objects != bool(flags & _HOLDS_OBJECTS)
    return None if wrong else whole


_WRONG = Element(-1, False)


def _is_plain_head(state: tuple[Any, ...]) -> bool:
    version, order, *_ = state
    numbers = (version, *state[5:8])
    return (
        all(type(number) is int and abs(number) < 1 << 31 for number in numbers)
        and isinstance(order, str)
        and str(order) in ("<", ">", "=", "|")
    )


def _nbytes(kind: str, digits: str) -> int | None:
    if kind == "U":
        return 4 * int(digits or 0)
    if digits and kind:
        return int(digits)
    return _SIZES.get(kind)


def _subarray(kind: str, part: Any, nbytes: int, depth: int) -> Element | None:
    """``(dtype, shape)`` as one element."""
    if kind != "V" or type(part) is not tuple or len(part) != 2:
        return None
    inner, shape = element(part[0], depth + 1), _sizes(part[1])
    if inner is None or shape is None:
        return None
    fits = inner.nbytes is None or inner.nbytes * prod(shape) == nbytes
    return Element(nbytes, inner.objects) if fits else None


def _sizes(shape: Any) -> tuple[int, ...] | None:
    shape = (shape,) if type(shape) is int else shape
    if type(shape) is not tuple or len(shape) > 64:
        return None
    return shape if all(type(size) is int and 0 <= size < 1 << 62 for size in shape) else None


def _record(kind: str, names: Any, fields: Any, nbytes: int, depth: int) -> Element | None:
    """Fields by name, each ``(dtype, offset)``, that lie inside the element."""
    if kind not in ("V", "") or type(names) is not tuple or type(fields) is not Pairs:
        return None
    if not all(map(plain, names)) or len(fields.items) > _MOST_FIELDS:
        return None
    objects = False
    for field in fields.items[1::2]:
        inner = element(field[0], depth + 1) if type(field) is tuple and len(field) > 1 else None
        if inner is None or type(field[1]) is not int:
            return None
        if not 0 <= field[1] <= nbytes - (inner.nbytes or 0):
            return None
        objects = objects or inner.objects
    return Element(nbytes, objects)


# Arrays


def maker(args: tuple[Any, ...]) -> bool:
    """``_reconstruct(ndarray, (0,), b"b")``: an empty array, which its state fills."""
    return (
        len(args) == 3
        and type(args[0]) is Global
        and args[0].module.partition(".")[0] == "numpy"
        and args[1] == (0,)
        and isinstance(args[2], str | Blob | Call)
    )


def masked_maker(args: tuple[Any, ...]) -> bool:
    """``_mareconstruct(MaskedArray, ndarray, (0,), "b")``."""
    return len(args) == 4 and type(args[0]) is Global and maker(args[1:])


def scalar(args: tuple[Any, ...]) -> bool:
    """``scalar(dtype, bytes)``; never of objects, whose bytes would be pointers."""
    found = element(args[0]) if len(args) in (1, 2) else None
    if found is not None and len(args) == 1 and not 0 < (found.nbytes or 0) <= _MOST_ZEROS:
        return False  # without bytes NumPy makes so many zeros
    return found is not None and (plains(args[1:]) if not found.objects else _is_object(args))


def _is_object(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and not isinstance(args[1], str | Blob | Call)


def from_buffer(args: tuple[Any, ...]) -> bool:
    """``_frombuffer(bytes, dtype, shape, order)``."""
    found = element(args[1]) if len(args) == 4 else None
    return found is not None and not found.objects and _sizes(args[2]) is not None


def dtype_state(call: Call, state: Any) -> bool:
    """Whether the state agrees with the code, and the flags with what is inside."""
    return type(call.args) is tuple and bool(call.args) and described(call, state) is not None


def array_state(call: Call, state: Any) -> bool:
    """``(version, shape, dtype, order, data)``: a list of objects, or bytes for everything else."""
    if type(state) is tuple and len(state) == 4:
        state = (0, *state)  # before NumPy 1.0
    if type(state) is not tuple or not 5 <= len(state) <= 7:
        return False
    _, shape, kind, _, held, *more = state
    found, sizes = element(kind), _sizes(shape)
    if found is None or sizes is None or not all(map(_is_mask, more)):
        return False
    return type(held) is list if found.objects else isinstance(held, str | Blob | Call)


def _is_mask(value: Any) -> bool:
    return value is None or isinstance(value, str | Blob | Call | bool | int | float)
