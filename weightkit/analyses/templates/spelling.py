"""Expressions of a template spelt out again, for the one who reads the finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

LONGEST = 240
DEEPEST = 40


def spell(node: Any) -> str:
    """``node`` as a template says it; … where it goes too far."""
    text = _spell(node, 0)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _spell(node: Any, depth: int) -> str:
    form = _FORMS.get(type(node).__name__)
    return form(node, depth + 1) if form and depth < DEEPEST else "…"


def _list(nodes: Iterable[Any], depth: int, sign: str = ", ") -> str:
    shown = []
    for number, node in enumerate(nodes):
        if number == 8:
            shown.append("…")
            break
        shown.append(_spell(node, depth))
    return sign.join(shown)


def _call(node: Any, depth: int) -> str:
    return f"{_spell(node.node, depth)}({_list([*node.args, *node.kwargs], depth)})"


def _filter(node: Any, depth: int) -> str:
    arguments = _list([*node.args, *node.kwargs], depth)
    base = _spell(node.node, depth) if node.node is not None else ""
    return f"{base}|{node.name}({arguments})" if arguments else f"{base}|{node.name}"


def _slice(node: Any, depth: int) -> str:
    bounds = [node.start, node.stop, *([node.step] if node.step else [])]
    return ":".join(_spell(bound, depth) if bound else "" for bound in bounds)


def _load(node: Any, depth: int) -> str:
    return f"{{% {type(node).__name__.lower()} {_spell(node.template, depth)} %}}"


_FORMS: dict[str, Callable[[Any, int], str]] = {
    "Add": lambda node, depth: f"{_spell(node.left, depth)} + {_spell(node.right, depth)}",
    "Call": _call,
    "Concat": lambda node, depth: _list(node.nodes, depth, " ~ "),
    "Const": lambda node, depth: repr(node.value)[:LONGEST],
    "Dict": lambda node, depth: f"{{{_list(node.items, depth)}}}",
    "Extends": _load,
    "Filter": _filter,
    "FromImport": _load,
    "Getattr": lambda node, depth: f"{_spell(node.node, depth)}.{node.attr}",
    "Getitem": lambda node, depth: f"{_spell(node.node, depth)}[{_spell(node.arg, depth)}]",
    "Import": _load,
    "Include": _load,
    "Keyword": lambda node, depth: f"{node.key}={_spell(node.value, depth)}",
    "List": lambda node, depth: f"[{_list(node.items, depth)}]",
    "Mod": lambda node, depth: f"{_spell(node.left, depth)} % {_spell(node.right, depth)}",
    "Mul": lambda node, depth: f"{_spell(node.left, depth)} * {_spell(node.right, depth)}",
    "NSRef": lambda node, depth: f"{node.name}.{node.attr}",
    "Name": lambda node, depth: str(node.name),
    "Neg": lambda node, depth: f"-{_spell(node.node, depth)}",
    "Pair": lambda node, depth: f"{_spell(node.key, depth)}: {_spell(node.value, depth)}",
    "Pow": lambda node, depth: f"{_spell(node.left, depth)} ** {_spell(node.right, depth)}",
    "Slice": _slice,
    "Tuple": lambda node, depth: f"({_list(node.items, depth)})",
}
