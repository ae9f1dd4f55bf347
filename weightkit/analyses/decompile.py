"""A program as readable pseudo-Python, for people: bounded, whatever the pickle is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.programs import Blob, Call, Global, Group, Pairs, Persistent, Program
from weightkit.text import safe_text

WIDTH = 200
DEPTH = 4
ITEMS = 6


def expression(value: Any, depth: int = DEPTH, width: int = WIDTH) -> str:
    """``value`` as an expression of at most ``width`` characters; deep or long parts become ``…``."""
    return safe_text(_shown(value, depth)[:width])


def _shown(value: Any, depth: int) -> str:
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() < 256 else f"<int of {value.bit_length()} bits>"
    if isinstance(value, str):
        return repr(str(value[:WIDTH])) + ("…" if len(value) > WIDTH else "")
    if isinstance(value, Blob):
        return _blob(value)
    if isinstance(value, Global):
        return value.path if value.extension is None else f"extension({value.extension})"
    if depth <= 0:
        return "…"
    return _compound(value, depth - 1)


def _blob(value: Blob) -> str:
    if value.value is None:
        return f"<{value.nbytes} bytes @ 0x{value.offset:x}>"
    return repr(value.value[:80]) + ("…" if len(value.value) > 80 else "")


def _compound(value: Any, depth: int) -> str:
    if isinstance(value, Call):
        return f"{_shown(value.target, depth)}({_arguments(value.args, depth)})"
    if isinstance(value, Persistent):
        return f"persistent({_shown(value.pid, depth)})"
    if isinstance(value, tuple):
        return f"({_list(value, depth)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{_list(value, depth)}]"
    if isinstance(value, Group):
        return f"{value.kind}([{_list(value.items, depth)}])"
    if isinstance(value, Pairs):
        return f"{{{_pairs(value.items, depth)}}}"
    return f"<{type(value).__name__}>"


def _list(items: Any, depth: int) -> str:
    shown = [_shown(item, depth) for item in items[:ITEMS]]
    return ", ".join([*shown, "…"] if len(items) > ITEMS else shown)


def _pairs(items: list[Any], depth: int) -> str:
    keys, values = items[: 2 * ITEMS : 2], items[1 : 2 * ITEMS : 2]
    shown = [
        f"{_shown(key, depth)}: {_shown(value, depth)}"
        for key, value in zip(keys, values, strict=False)
    ]
    return ", ".join([*shown, "…"] if len(items) > 2 * ITEMS else shown)


def _arguments(args: Any, depth: int) -> str:
    return _list(args, depth) if isinstance(args, tuple) else f"*{_shown(args, depth)}"


def call_text(call: Call) -> str:
    """One call as a statement: ``os.system('id')``, ``obj.__setstate__(...)``, ``obj[k] = v``."""
    target = expression(call.target, 2, 80)
    if call.opcode == "BUILD":
        return f"{target}.__setstate__({expression(call.args, 3)})"
    if call.opcode in ("SETITEM", "SETITEMS"):
        return f"{target}.update({{{safe_text(_pairs(list(call.args), 3)[:WIDTH])}}})"
    if call.opcode in ("APPEND", "APPENDS", "ADDITEMS"):
        return f"{target}.extend({expression(call.args, 3)})"
    name = f"{target}.__new__" if call.opcode.startswith("NEWOBJ") else target
    return f"{name}({safe_text(_arguments(call.args, 3)[:WIDTH])})"


def decompile(program: Program, limit: int = 1000) -> Iterator[tuple[int, str]]:
    """(offset, line) of every import and call, in the order in which loading would run them."""
    events: list[tuple[int, str]] = [
        (node.offset, f"import {node.path}" if node.extension is None else expression(node))
        for node in program.globals
    ]
    events += [(call.offset, call_text(call)) for call in program.calls]
    events.sort(key=lambda event: event[0])
    yield from events[:limit]
    if len(events) > limit:
        yield program.end, f"… and {len(events) - limit} more"
    if program.stopped:
        yield program.end, f"stops: {program.stopped}"
    else:
        yield program.end, f"return {expression(program.root, 3)}"
