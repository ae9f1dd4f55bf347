"""What an expression of a template may be, as far as its texts are concerned.

A :class:`Value` is a rough upper bound: constants are followed exactly through joining, slicing and
folding; of anything else only what matters for names is kept: can it be a text that the template
put together, and can that start with an underscore?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

MOST = 64
"""Constants that are told apart; beyond that only whether an underscore is among them."""
LONGEST = 256


class Value(NamedTuple):
    """What an expression may be: of a container, what its elements may be."""

    constants: frozenset[str] = frozenset()
    text: bool = False
    """Surely a text: indexing it picks characters."""
    crafted: bool = False
    """May be a text that the template put together, and that may start with an underscore."""
    opaque: bool = False
    """A function or generator, or a text of unknown parts: there may be underscores to pick."""

    def __or__(self, other: Value) -> Value:
        return joined((self, other))

    @property
    def underscored(self) -> bool:
        """Whether an underscore may come out of it."""
        return self.crafted or any("_" in text for text in self.constants)

    @property
    def leads(self) -> bool:
        """Whether a text that starts with it may start with an underscore."""
        return self.crafted or any(text.startswith("_") for text in self.constants)


NOTHING = Value()
"""Data, which the template's author does not choose."""
OPAQUE = Value(opaque=True)
TEXT = Value(text=True, opaque=True)
CRAFTED = Value(text=True, crafted=True)


def joined(values: Iterable[Value]) -> Value:
    """What may be any of ``values``."""
    values = list(values)
    if not values:
        return NOTHING
    constants = frozenset().union(*(value.constants for value in values))
    crafted = any(value.crafted for value in values)
    if len(constants) > MOST:
        crafted = crafted or any(text.startswith("_") for text in constants)
        constants = frozenset(sorted(constants)[:MOST])
    opaque = any(value.opaque for value in values)
    return Value(constants, all(value.text for value in values), crafted, opaque)


def rendered(body: list[Any]) -> Value:
    """What a block of statements renders to: exact for plain text, else anything."""
    parts = [part for node in body for part in getattr(node, "nodes", [node])]
    if all(type(part).__name__ == "TemplateData" for part in parts):
        return Value(frozenset(["".join(part.data for part in parts)]), text=True)
    return CRAFTED


def concatenated(values: list[Value], text: bool = False) -> Value:
    """Texts one behind the other; numbers and lists that are added stay what they are."""
    if not text and not any(value.text for value in values):
        return joined(values)._replace(text=False)
    whole = [""]
    for value in values:
        if not value.constants or value.crafted or len(whole) * len(value.constants) > MOST:
            return _started(values)
        whole = [head + tail for head in whole for tail in sorted(value.constants)]
    if max(map(len, whole)) > LONGEST:
        return _started(values)
    return Value(frozenset(whole), text=True)


def _started(values: list[Value]) -> Value:
    """A text of which only the beginning matters: can it be an underscore?"""
    for value in values:
        if value.leads:
            return CRAFTED
        if "" not in value.constants:
            break
    return TEXT


def formatted(form: Value, sign: str) -> Value:
    """A format filled in: its beginning is that of the format, or anything (``%c``)."""
    if form.leads:
        return CRAFTED
    if any(text.startswith(sign) for text in form.constants):
        return CRAFTED
    return Value(text=form.text)


def put_together(items: Value) -> Value:
    """A join of data is data; of constants, any order of them."""
    known = items.constants or items.crafted or items.opaque or items.text
    return CRAFTED if known else NOTHING


def made(base: Value, arguments: Value, spelt: bool = False) -> Value:
    """A text changed by a filter or method: of data it is data, unless an object is spelt out."""
    if not (base.text or base.constants or base.crafted or base.opaque):
        return TEXT if spelt else NOTHING
    return Value(frozenset(), True, base.underscored or arguments.underscored, base.opaque or spelt)


def picked(text: Value) -> Value:
    """Characters or pieces of a text."""
    return CRAFTED if text.opaque or text.underscored else Value(text=True)


def sliced(text: Value, at: Any) -> Value | None:
    """``text[2]`` and ``text[::-1]`` of constants."""
    if text.crafted or not text.constants:
        return None
    index = _index(at)
    if index is None:
        return None
    if isinstance(index, int):
        return Value(frozenset(t[index] for t in text.constants if -len(t) <= index < len(t)), True)
    return Value(frozenset(constant[index] for constant in text.constants), text=True)


def _index(at: Any) -> int | slice | None:
    if type(at).__name__ != "Slice":
        value = _integer(at)
        return None if value in (None, "?") else value  # type: ignore[return-value]
    bounds = [_integer(bound) for bound in (at.start, at.stop, at.step)]
    return None if "?" in bounds or bounds[2] == 0 else slice(*bounds)


def _integer(node: Any) -> int | str | None:
    """A constant integer; None for no node, "?" for anything else."""
    if node is None:
        return None
    if type(node).__name__ == "Neg":
        inner = _integer(node.node)
        return -inner if isinstance(inner, int) else "?"
    value = getattr(node, "value", "?")
    return value if isinstance(value, int) else "?"


def folded(text: Value, fold: Callable[[str], str]) -> Value:
    constants = frozenset(fold(constant[: LONGEST * 2]) for constant in text.constants)
    return text._replace(constants=constants)
