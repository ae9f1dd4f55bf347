"""Small, total functions on the inert values of a program: each answers for any input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.programs import Blob, Call, Global, Pairs

MAPPINGS = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.dict",
    "__builtin__.dict",
}


def name_of(node: Any) -> str:
    """``module.name`` of a global, of a dtype that is got by ``getattr``; else ""."""
    return f"{node.module}.{node.name}" if type(node) is Global else ""


def text_of(value: Any, limit: int = 200) -> str:
    """A key or short value as text: str and int as they are, everything else by its kind."""
    if isinstance(value, str):
        return str(value) if len(value) <= limit else f"{value[:limit]}…"
    if value is None or isinstance(value, bool | int | float):
        return _number(value, limit)
    if type(value) is tuple and len(value) <= 8:
        return f"({', '.join(text_of(item, 40) if type(item) is not tuple else '…' for item in value)})"
    return name_of(value) or f"<{type(value).__name__.lower()}>"


class Unkept(str):
    """What stands for a key that is too long to be kept: it tells it from others."""

    __slots__ = ()


def key_of(value: Any) -> str:
    """A key of a dict as part of a tensor's name: texts whole, as far as the file's are kept."""
    if isinstance(value, str):
        return str(value)
    if type(value) is Blob:
        return Unkept(f"<{value.kind} of {value.nbytes} bytes at {value.offset}>")
    return text_of(value)


def _number(value: Any, limit: int) -> str:
    if isinstance(value, int) and value.bit_length() > 4 * limit:
        return f"<int of {value.bit_length()} bits>"
    return str(value)


def integers(value: Any) -> tuple[int, ...]:
    """The sizes or strides in a tuple, list, or ``torch.Size`` call; raises TypeError for others."""
    if type(value) is Call and type(value.args) is tuple and len(value.args) == 1:
        value = value.args[0]  # torch.Size((2, 3))
    if type(value) is list:
        value = tuple(value)
    if type(value) is not tuple or len(value) > 64:
        raise TypeError("no sizes")
    for item in value:
        if type(item) is not int or item.bit_length() > 63:
            raise TypeError("no size")
    return value


def flag(value: Any) -> Any:
    """A plain number, or None."""
    return value if isinstance(value, bool | int | float) else None


def pairs_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a dict, an OrderedDict or the like; nothing for anything else."""
    items = pair_items(value)
    if items:
        yield from zip(items[::2], items[1::2], strict=True)


def pair_items(value: Any) -> list[Any] | None:
    """Keys and values in turn, or None if ``value`` is no mapping."""
    if type(value) is Pairs:
        return value.items
    if type(value) is Call and (value.pairs is not None or name_of(value.target) in MAPPINGS):
        if value.pairs:
            return value.pairs
        return _listed_pairs(value.args)
    return None


def _listed_pairs(args: Any) -> list[Any]:
    """The pairs of ``OrderedDict([[key, value], ...])``, as Python 2 pickled it."""
    found: list[Any] = []
    if type(args) is tuple and len(args) == 1 and type(args[0]) is list:
        for item in args[0]:
            if type(item) in (list, tuple) and len(item) == 2:
                found.extend(item)
    return found
