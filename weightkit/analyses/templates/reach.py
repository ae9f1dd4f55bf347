"""What a template reaches for: the walk over its tree that finds attributes, calls and loads.

A *chain* is what hangs together by dots, brackets, calls and filters: ``cycler.__init__
.__globals__.os.popen('id')``. Each faulty chain is told once, whole, with the gravest of its faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from weightkit.analyses.templates.flow import Flow
from weightkit.analyses.templates.spelling import spell
from weightkit.analyses.templates.values import NOTHING, Value
from weightkit.analyses.templates.words import (
    ATTRIBUTE_FILTERS,
    CLIMBS,
    DUNDERS,
    EFFECTS,
    FILTERS,
    FORBIDDEN_FUNCTIONS,
    FUNCTIONS,
    METHODS,
    MISTAKEN,
    internal,
)

if TYPE_CHECKING:
    from jinja2 import nodes

MAX_RANGE = 100_000
"""What jinja2's own sandbox allows."""

_FIELD = re.compile(r"\{[^{}]*?[.\[]\s*(_\w*|[gcta][irgb]_\w+|mro)")
"""A replacement field of ``str.format`` that looks an underscored or internal name up."""


class Reach(NamedTuple):
    """Something that a template reaches for."""

    code: str
    message: str
    line: int
    subject: str
    evidence: str
    effect: str


class Fault(NamedTuple):
    """What is wrong with one link of a chain."""

    code: str
    message: str
    subject: str


def reaches(tree: nodes.Template) -> Iterator[Reach]:
    """Everything that ``tree`` reaches for outside the language of chat templates."""
    every, chains = _listed(tree)
    macros = {node.name: node for node in every if type(node).__name__ == "Macro"}
    flow = Flow(macros)
    if not flow.settle(every):
        yield _reach(Fault("WK905", "its assignments cannot be followed", ""), tree)
    look = _Look(flow, {node.name for node in every if type(node).__name__ == "Block"})
    for node in every:
        check = _STATEMENTS.get(type(node).__name__)
        for fault in check(look, node) if check else ():
            yield _reach(fault, node)
    for chain in chains:
        faults = [fault for link in reversed(chain) for fault in look.link(link)]
        if faults:
            yield _reach(min(faults, key=lambda fault: fault.code), chain[0])


def _reach(fault: Fault, node: Any) -> Reach:
    evidence = spell(node)
    return Reach(
        fault.code, fault.message, node.lineno or 0, fault.subject, evidence, _effect(evidence)
    )


def _effect(evidence: str) -> str:
    words = frozenset(re.findall(r"\w+", evidence))
    for names, effect in EFFECTS:
        if words & names:
            return effect
    return CLIMBS if "_" in evidence else ""


def _listed(tree: nodes.Template) -> tuple[list[Any], list[list[Any]]]:
    """All nodes, and the chains among them, each from its outermost link in."""
    every: list[Any] = []
    chains: list[list[Any]] = []
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, inside = stack.pop()
        every.append(node)
        base = getattr(node, "node", None) if type(node).__name__ in _LINKS else None
        if type(node).__name__ in _LINKS and not inside:
            chains.append([*_chain(node)])
        stack += [
            (child, child is base and type(child).__name__ in _LINKS)
            for child in node.iter_child_nodes()
        ]
    every.sort(key=lambda node: node.lineno or 0)  # what jinja2 adds has no line
    chains.sort(key=lambda chain: chain[0].lineno or 0)
    return every, chains


def _chain(node: Any) -> Iterator[Any]:
    while type(node).__name__ in _LINKS:
        yield node
        node = node.node


class _Look:
    """Judges single nodes, given what the expressions of the template may be."""

    def __init__(self, flow: Flow, blocks: set[str]) -> None:
        self.flow = flow
        self.blocks = blocks

    def link(self, node: Any) -> Iterator[Fault]:
        return _LINKS[type(node).__name__](self, node)

    # Links of a chain

    def attribute(self, node: Any) -> Iterator[Fault]:
        if internal(node.attr):
            yield Fault("WK901", f"reaches for the attribute {node.attr}", node.attr)

    def item(self, node: Any) -> Iterator[Fault]:
        if type(node.arg).__name__ != "Slice":
            yield from self.name(self.flow.of(node.arg), spell(node.arg))

    def filter(self, node: Any) -> Iterator[Fault]:
        if node.name not in FILTERS:
            yield Fault("WK907", f"uses the filter {node.name}, which jinja2 lacks", node.name)
        if node.name in ATTRIBUTE_FILTERS:
            yield from self.attribute_filter(node, ATTRIBUTE_FILTERS[node.name])
        if node.name == "map" and node.args:
            yield from self.mapped(node)

    def attribute_filter(self, node: Any, place: int | None) -> Iterator[Fault]:
        named = [keyword.value for keyword in node.kwargs if keyword.key in ("attribute", "name")]
        if place is not None:
            named += node.args[place : place + 1]
        for argument in named:
            value = self.flow.of(argument)
            yield from self.name(value, spell(argument))
            if node.name == "attr" and not value.constants:
                yield _built(spell(argument))

    def mapped(self, node: Any) -> Iterator[Fault]:
        """``map('attr', name)``: a filter by its name."""
        inner = self.flow.of(node.args[0])
        if "attr" in inner.constants:
            for argument in node.args[1:2]:
                value = self.flow.of(argument)
                yield from self.name(value, spell(argument))
                if not value.constants:
                    yield _built(spell(argument))
        elif not inner.constants:
            yield Fault("WK902", "maps a filter whose name is put together", spell(node.args[0]))

    def call(self, node: Any) -> Iterator[Fault]:
        kind = type(node.node).__name__
        if kind == "Name":
            yield from self.function(node.node.name, node)
        elif kind == "Getattr":
            yield from self.method(node.node, node.node.attr)
        elif kind == "Getitem" and isinstance(getattr(node.node.arg, "value", None), str):
            yield from self.method(node.node, node.node.arg.value)
        elif kind != "Getitem" or not _handed_on(self.flow.of(node.node)):
            yield Fault("WK903", "calls what an expression gives", spell(node.node))

    def function(self, name: str, node: Any) -> Iterator[Fault]:
        if name == "range":
            yield from self.range(node)
        if name in FUNCTIONS or name in self.flow.macros:
            return
        if name in FORBIDDEN_FUNCTIONS or name.startswith("__"):
            yield Fault("WK903", f"calls {name}", name)
        elif name in MISTAKEN:
            yield Fault("WK907", f"calls {name}, which jinja2 lacks", name)
        elif not _handed_on(self.flow.names.get(name, NOTHING)):
            yield Fault("WK903", f"calls {name}, which no chat template knows", name)

    def method(self, link: Any, name: str) -> Iterator[Fault]:
        base = self.flow.of(link.node)
        if name in ("format", "format_map"):
            yield from self.formatted(base, spell(link.node))
        of_self = getattr(link.node, "name", "") == "self" and name in self.blocks
        if name not in METHODS and not of_self:
            yield Fault("WK903", f"calls the method {name}, which no chat template uses", name)

    def formatted(self, form: Value, spelt: str) -> Iterator[Fault]:
        """``'{0.__class__}'.format(x)`` looks attributes up."""
        for text in form.constants:
            for found in _FIELD.finditer(text):
                yield Fault("WK901", f"formats the attribute {found[1]}", found[1])
        if (form.text and not form.constants) or form.crafted:
            yield Fault("WK902", "formats with a text put together", spelt)

    def range(self, node: Any) -> Iterator[Fault]:
        for argument in node.args:
            value = getattr(argument, "value", 0)
            if isinstance(value, int) and value > MAX_RANGE:
                yield Fault("WK906", f"counts to {value}", "range")

    def name(self, value: Value, spelt: str) -> Iterator[Fault]:
        """A text that is looked up as an item or attribute."""
        for text in sorted(value.constants):
            for part in re.split(r"[.,]", text):
                if internal(part):
                    yield Fault("WK901", f"reaches for the attribute {part}", part)
        if value.crafted:
            yield _built(spelt)

    # Statements and lone expressions

    def load(self, node: Any) -> Iterator[Fault]:
        yield Fault("WK904", f"{type(node).__name__.lower()} of another template", "")

    def namespace(self, node: Any) -> Iterator[Fault]:
        if internal(node.attr):
            yield Fault("WK901", f"assigns the attribute {node.attr}", node.attr)

    def keyword(self, node: Any) -> Iterator[Fault]:
        if node.key.startswith("__"):
            yield Fault("WK901", f"passes the keyword {node.key}", node.key)

    def variable(self, node: Any) -> Iterator[Fault]:
        if node.name.startswith("__"):
            yield Fault("WK907", f"uses the name {node.name}", node.name)

    def constant(self, node: Any) -> Iterator[Fault]:
        if isinstance(node.value, str) and node.value.strip() in DUNDERS:
            yield Fault("WK907", f"holds the text {node.value!r}", node.value)

    def power(self, node: Any) -> Iterator[Fault]:
        exponent = getattr(node.right, "value", 0)
        if not isinstance(exponent, int) or exponent > MAX_RANGE:
            yield Fault("WK906", "raises to a high power", "")

    def multiple(self, node: Any) -> Iterator[Fault]:
        for side in (node.left, node.right):
            value = getattr(side, "value", 0)
            if isinstance(value, int) and value > MAX_RANGE * 100:
                yield Fault("WK906", f"multiplies by {value}", "")


def _handed_on(value: Value) -> bool:
    """A macro under another name, or out of a list of macros; nothing made of texts."""
    return value.opaque and not value.constants and not value.crafted


def _built(spelt: str) -> Fault:
    return Fault("WK902", "looks up a name that it puts together", spelt)


_LINKS: dict[str, Callable[[_Look, Any], Iterator[Fault]]] = {
    "Call": _Look.call,
    "Filter": _Look.filter,
    "Getattr": _Look.attribute,
    "Getitem": _Look.item,
}
_STATEMENTS: dict[str, Callable[[_Look, Any], Iterator[Fault]]] = {
    "Const": _Look.constant,
    "Extends": _Look.load,
    "FromImport": _Look.load,
    "Import": _Look.load,
    "Include": _Look.load,
    "Keyword": _Look.keyword,
    "Mul": _Look.multiple,
    "NSRef": _Look.namespace,
    "Name": _Look.variable,
    "Pow": _Look.power,
}
