"""numpy's dtype descriptions: ``<f4``, ``|V2``, ``[('a', '<i2'), ('b', '>f8', (3,))]``.

Which types there are and what their codes mean: "Array interface protocol" and
``numpy.lib.format.descr_to_dtype`` of numpy 2. What numpy also takes but never writes (``float32``,
``i4,f8``) is read where it is plain what it means.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, NamedTuple

from weightkit.dtypes import NUMPY, DType, opaque

_CODE = re.compile(r"([<>|=]?)([a-zA-Z?])([0-9]{0,10})(\[[\w/]{1,20}\])?")
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}
_LETTERS = {
    "?": "b1", "b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "q": "i8",
    "Q": "u8", "e": "f2", "f": "f4", "d": "f8", "F": "c8", "D": "c16", "g": "f16", "G": "c32",
    "m": "m8", "M": "M8",
}  # fmt: skip
"""What one letter alone means, where that is the same on every machine."""
_ITEMS = {"S": 1, "a": 1, "U": 4, "V": 1, "M": 1, "m": 1}
"""Bytes per counted item of the types that have a length."""
MAX_SHOWN = 200
MAX_NBYTES = 1 << 31
"""Of one element: numpy counts them in a C int."""


class Description(NamedTuple):
    """What a description says of one element."""

    dtype: DType
    order: str
    """little, big or native."""
    objects: bool = False
    """Whether Python objects are in it: then a pickle stands in the place of the elements."""


class NoDescription(ValueError):
    """numpy would not take it, or it means something else on another machine."""


def describe(descr: Any, depth: int = 0) -> Description:
    """The element type that ``descr`` names; raises NoDescription."""
    if depth > 32:
        raise NoDescription("records in records without end")
    if isinstance(descr, str):
        return _plain(descr)
    if isinstance(descr, tuple) and len(descr) == 2:
        return _array_of(describe(descr[0], depth + 1), descr[1])
    if isinstance(descr, list):
        return _record(descr, depth)
    raise NoDescription(f"{_shown(descr)} is no description")


def _plain(descr: str) -> Description:
    if descr in {"object", "object_", "O"}:
        return Description(opaque("object", 8), "little", objects=True)
    if descr in NUMPY:
        return Description(NUMPY[descr], "native")
    if "," in descr:
        parts = [_plain(part.strip()) for part in descr.split(",") if part.strip()]
        return _joined(descr, parts)
    match = _CODE.fullmatch(descr)
    if match is None:
        raise NoDescription(f"{_shown(descr)} is no type")
    order, letter, digits, unit = match.groups()
    if letter == "O":
        return Description(opaque("object", 8), "little", objects=True)
    if not digits and letter in _LETTERS:
        letter, digits = _LETTERS[letter][0], _LETTERS[letter][1:]
        order = order or "="
    dtype = _sized(letter, int(digits or 0), descr if unit else "")
    if dtype.nbytes <= 1 or letter in "SaV":
        return Description(dtype, "little")  # bytes have no order
    return Description(dtype, {"<": "little", ">": "big"}.get(order, "native"))


def _sized(letter: str, size: int, unit: str) -> DType:
    if letter == "b" and size == 1:
        return NUMPY["bool"]
    if letter == "f" and size == 1:
        return NUMPY["float8_e5m2"]  # as ml_dtypes writes it; its other small types are V
    if letter in _KINDS:
        dtype = NUMPY.get(f"{_KINDS[letter]}{8 * size}")
        if dtype is not None:
            return dtype
        if letter in "fc" and size in {12, 16, 24, 32}:
            return opaque(f"{_KINDS[letter]}{8 * size}", size)  # long doubles
    if letter in _ITEMS and size < MAX_NBYTES // 4 and (letter not in "mM" or size == 8):
        return opaque(unit.lstrip("<>|=") or f"{letter}{size}", size * _ITEMS[letter])
    raise NoDescription(f"'{letter}{size}' is no type")


def _array_of(item: Description, shape: Any) -> Description:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(length, int) and length >= 0 for length in lengths):
        raise NoDescription(f"{_shown(shape)} is no shape")
    name = f"{item.dtype.name}{list(lengths)}"
    return _named(name, item.dtype.nbytes * prod(lengths), item.objects)


def _record(fields: list[Any], depth: int) -> Description:
    parts: list[Description] = []
    names: list[str] = []
    for field in fields:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            raise NoDescription(f"{_shown(field)} is no field")
        item = describe(field[1], depth + 1)
        parts.append(_array_of(item, field[2]) if len(field) == 3 else item)
        name = field[0][-1] if isinstance(field[0], tuple) and field[0] else field[0]
        names.append(f"{name}: {parts[-1].dtype.name}")
    return _joined(", ".join(names), parts)


def _joined(inside: str, parts: list[Description]) -> Description:
    nbytes = sum(part.dtype.nbytes for part in parts)
    return _named(f"record({inside})", nbytes, any(part.objects for part in parts))


def _named(name: str, nbytes: int, objects: bool) -> Description:
    if nbytes >= MAX_NBYTES:
        raise NoDescription(f"an element of {nbytes} bytes")
    if len(name) > MAX_SHOWN:
        name = f"{name[:MAX_SHOWN]}…"
    return Description(opaque(name, nbytes), "little", objects)


def _shown(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, str | int) else f"a {type(value).__name__}"
