"""Reports as JSON: plain integers, stable order, ASCII only, the same keys in every release.

``schema_version`` counts up when a key changes its meaning or goes away; new keys may appear
within a version. ``weightkit/schemas`` holds a JSON Schema for each command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from weightkit.errors import WeightkitError
from weightkit.tensors import ArrayRef

SCHEMA_VERSION = 1

_RENAMED = {"nbytes": "bytes"}
_DEEPEST = 64
_LONGEST_INTEGER = 8192  # bits; Python itself refuses to print integers of more than 4300 digits


def envelope(results: Sequence[Mapping[str, Any]], version: str, many: bool) -> dict[str, Any]:
    """One result as an object of its own, several as ``results`` of one object."""
    head: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "weightkit", "version": version},
    }
    if many:
        return {**head, "results": list(results)}
    (result,) = results
    if "error" in result:
        return {"schema_version": SCHEMA_VERSION, **result}
    return {**head, **result}


def error(fault: WeightkitError) -> dict[str, Any]:
    """An error as a result; its code is the rule's, or the name of the error's class."""
    found = failure(
        fault.code or type(fault).__name__,
        str(fault.message),
        fault.path or None,
        fault.offset,
    )
    if fault.details:
        found["error"]["details"] = list(fault.details)
    return found


def failure(
    code: str, message: str, path: str | None = None, offset: int | None = None
) -> dict[str, Any]:
    """The error object that stands where a result would."""
    return {"error": {"code": code, "message": message, "path": path, "offset": offset}}


def text(document: Mapping[str, Any]) -> str:
    """``document`` as JSON with a newline at the end: nested to read, a table row per line."""
    return _pretty(document, "") + "\n"


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` made of what JSON has: records become objects, ``nbytes`` is spelt ``bytes``.

    A field that is "" by default is null when it is empty. What JSON cannot say (NaN, infinities,
    integers of thousands of digits, nesting deeper than 64) becomes text that says it.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_INTEGER else _long_integer(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if depth > _DEEPEST:
        return "nested too deeply to show"
    if isinstance(value, ArrayRef):
        return {"array": value.kind, "length": value.length}
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if hasattr(value, "_fields") or hasattr(value, "__dataclass_fields__"):
        return record(value, depth)
    return [plain(item, depth + 1) for item in value]


def record(value: Any, depth: int = 0) -> dict[str, Any]:
    """A NamedTuple or dataclass as an object, in the order of its fields."""
    found = {}
    for name, key, nullable in _fields(value):
        item = getattr(value, name)
        if type(item) is not str and type(item) is not int:
            item = plain(item, depth + 1)
        elif type(item) is int and item.bit_length() > _LONGEST_INTEGER:
            item = _long_integer(item)
        found[key] = None if nullable and item == "" else item
    return found


def _fields(value: Any) -> list[tuple[str, str, bool]]:
    """Of a record: each field's name, its key in JSON, and whether "" stands for nothing."""
    kind = type(value)
    if kind not in _FIELDS:
        _FIELDS[kind] = [
            (name, _RENAMED.get(name, name), default == "")
            for name, default in _defaults(kind).items()
        ]
    return _FIELDS[kind]


def _defaults(kind: Any) -> dict[str, Any]:
    """The fields of a kind of record with their defaults, None where there is none."""
    if hasattr(kind, "_fields"):
        return {name: kind._field_defaults.get(name) for name in kind._fields}
    return {name: field.default for name, field in kind.__dataclass_fields__.items()}


_FIELDS: dict[type, list[tuple[str, str, bool]]] = {}


def _long_integer(value: int) -> str:
    return f"an integer of {value.bit_length()} bits"


_encode = json.JSONEncoder(allow_nan=False).encode


def _pretty(value: Any, indent: str) -> str:
    # json's own indent would put every shape on a line per dimension, and it is ten times slower:
    # the C encoder works only without.
    if not _nested(value):
        return _encode(value)
    inner = indent + "  "
    if isinstance(value, Mapping):
        lines = [f"{inner}{_encode(key)}: {_pretty(value[key], inner)}" for key in value]
    else:
        lines = [inner + _pretty(item, inner) for item in value]
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{indent}{closing}"


def _nested(value: Any) -> bool:
    """Whether ``value`` holds objects, or lists of them, and so deserves lines of its own."""
    if type(value) is dict:
        return any(_holds_objects(item) for item in value.values())
    return type(value) is list and _holds_objects(value)


def _holds_objects(value: Any) -> bool:
    if type(value) is list:
        return any(type(item) is dict or (type(item) is list and _nested(item)) for item in value)
    return type(value) is dict
