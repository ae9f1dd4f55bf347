"""Which texts of a template can become names: constants and made-up words, followed to their use.

jinja2 looks ``x[key]`` up as an attribute too when ``key`` is a text, so a template that may not
say ``x.__class__`` says ``x['__cla' ~ 'ss__']``, or picks an underscore out of another text. What
an expression can be is bounded by a :class:`Value`; names are followed through assignments, loops,
macros and namespaces, without regard to order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from weightkit.analyses.templates.values import (
    CRAFTED,
    NOTHING,
    OPAQUE,
    Value,
    concatenated,
    folded,
    formatted,
    joined,
    made,
    picked,
    put_together,
    rendered,
    sliced,
)
from weightkit.analyses.templates.words import FUNCTIONS
from weightkit.text import words

if TYPE_CHECKING:
    from jinja2 import nodes

ROUNDS = 64
MAX_WORK = 200_000
"""Assignments followed in all rounds together."""


class Flow:
    """What the expressions of one template may be; ``of`` is asked after :meth:`settle`."""

    def __init__(self, macros: dict[str, nodes.Macro]) -> None:
        self.macros = macros
        self.names: dict[str, Value] = {}
        self.seen: dict[int, Value] = {}
        self.changed = False

    def bind(self, name: str, value: Value) -> None:
        """``name`` may also be ``value``."""
        before = self.names.get(name)
        after = value if before is None else before | value
        if after != before:
            self.names[name] = after
            self.changed = True

    def of(self, node: nodes.Node | None) -> Value:
        """What ``node`` may be."""
        if node is None:
            return NOTHING
        found = self.seen.get(id(node))
        if found is None:
            evaluate = _EXPRESSIONS.get(type(node).__name__)
            found = evaluate(self, node) if evaluate else NOTHING
            self.seen[id(node)] = found
        return found

    def all_of(self, nodes: Iterable[Any]) -> Value:
        """What any of ``nodes`` may be."""
        return joined(self.of(node) for node in nodes)

    # Statements

    def settle(self, statements: list[nodes.Node]) -> bool:
        """Follow all assignments until nothing changes; False if they go on changing."""
        binders = [
            (_STATEMENTS[kind], node)
            for node in statements
            if (kind := type(node).__name__) in _STATEMENTS
        ]
        for _ in range(min(ROUNDS, 1 + MAX_WORK // (1 + len(binders)))):
            self.changed = False
            self.seen.clear()
            for bind, node in binders:
                bind(self, node)
            if not self.changed:
                return True
        return False

    def target(self, target: Any, value: Value) -> None:
        """Assign ``value`` (or its elements) to a name, an attribute of a namespace, or several."""
        kind = type(target).__name__
        if kind == "Name":
            self.bind(target.name, value)
        elif kind == "NSRef":
            self.bind(f"{target.name}.{target.attr}", value)
        elif kind in ("Tuple", "List"):
            for item in target.items:
                self.target(item, value)

    def assign(self, node: Any) -> None:
        value = self.of(node.node)
        self.target(node.target, value)
        if type(node.node).__name__ == "Call" and type(node.target).__name__ == "Name":
            for keyword in node.node.kwargs:  # namespace(a=...)
                self.bind(f"{node.target.name}.{keyword.key}", self.of(keyword.value))

    def assign_block(self, node: Any) -> None:
        self.target(node.target, rendered(node.body) | self.of(node.filter))

    def loop(self, node: Any) -> None:
        value = self.of(node.iter)
        self.target(node.target, picked(value) if value.text else value)

    def scope(self, node: Any) -> None:
        for target, value in zip(node.targets, node.values, strict=True):
            self.target(target, self.of(value))

    def macro(self, node: Any) -> None:
        for argument, value in zip(reversed(node.args), reversed(node.defaults), strict=False):
            self.bind(argument.name, self.of(value))

    def call(self, node: Any) -> None:
        """Arguments become parameters of the macro called, or of any, if it is unknown which."""
        name = node.node.name if type(node.node).__name__ == "Name" else None
        if name == "caller":
            self.bind("caller()", self.arguments(node))
            return
        if name in self.macros:
            self.enter(self.macros[name], node)
        elif name is not None and name not in FUNCTIONS:
            for macro in self.macros.values():
                self.enter(macro, node)

    def call_block(self, node: Any) -> None:
        value = self.names.get("caller()")
        for argument in node.args if value else ():
            self.bind(argument.name, value)  # type: ignore[arg-type]

    def enter(self, macro: Any, call: Any) -> None:
        parameters = [argument.name for argument in macro.args]
        for number, argument in enumerate(call.args):
            name = parameters[number] if number < len(parameters) else "varargs"
            self.bind(name, self.of(argument))
        for keyword in call.kwargs:
            name = keyword.key if keyword.key in parameters else "kwargs"
            self.bind(name, self.of(keyword.value))

    def arguments(self, call: Any) -> Value:
        """All arguments of a call or filter, names of keywords included."""
        spread = [node for node in (call.dyn_args, call.dyn_kwargs) if node is not None]
        keywords = frozenset(keyword.key for keyword in call.kwargs)
        values = [*call.args, *(keyword.value for keyword in call.kwargs), *spread]
        found = [Value(keywords)] if keywords else []
        return joined([*found, *(self.of(value) for value in values)])

    # Expressions

    def constant(self, node: Any) -> Value:
        if isinstance(node.value, str):
            return Value(frozenset([node.value]), text=True)
        return NOTHING

    def data(self, node: Any) -> Value:
        return Value(frozenset([node.data]), text=True)

    def name(self, node: Any) -> Value:
        found = self.names.get(node.name)
        if found is not None:
            return found
        if node.name in _OBJECTS or node.name in self.macros:
            return OPAQUE
        # The special tokens come out of the same files as the template does.
        return CRAFTED if node.name.endswith("_token") else NOTHING

    def container(self, node: Any) -> Value:
        return self.all_of(node.items)._replace(text=False)

    def pair(self, node: Any) -> Value:
        return self.of(node.key) | self.of(node.value)

    def either(self, node: Any) -> Value:
        if type(node).__name__ == "CondExpr":
            return self.all_of([node.expr1, node.expr2] if node.expr2 else [node.expr1])
        return self.all_of([node.left, node.right])

    def concat(self, node: Any) -> Value:
        return concatenated([self.of(item) for item in node.nodes], text=True)

    def add(self, node: Any) -> Value:
        return concatenated([self.of(node.left), self.of(node.right)])

    def multiply(self, node: Any) -> Value:
        text = self.of(node.left) | self.of(node.right)
        if not text.constants and not text.crafted:
            return NOTHING
        return Value(text=True, crafted=text.leads or "" in text.constants)

    def modulo(self, node: Any) -> Value:
        return formatted(self.of(node.left), "%")

    def attribute(self, node: Any) -> Value:
        base = self.of(node.node)
        if type(node.node).__name__ == "Name":
            found = self.names.get(f"{node.node.name}.{node.attr}")
            if found is not None:
                return found
        return NOTHING if base.text else base

    def item(self, node: Any) -> Value:
        base = self.of(node.node)
        if not base.text:
            return base
        exact = sliced(base, node.arg)
        return picked(base) if exact is None else exact

    def filtered(self, node: Any) -> Value:
        base = self.of(node.node)
        arguments = self.arguments(node)
        name = node.name
        if name in _COUNTING:
            return NOTHING
        if name in _KEEPING:
            kept = base | arguments if node.args or node.kwargs else base
            return kept._replace(opaque=base.opaque or name in _LAZY, text=base.text)
        if name in _FOLDED and base.text and not node.args and not node.kwargs:
            return folded(base, _FOLDED[name])
        if name in _PICKING and base.text:
            return picked(base)
        if name == "format":
            return formatted(base, "%")
        if name == "join":
            return put_together(base)
        return made(base, arguments, spelt=name in _SPELLING)

    def called(self, node: Any) -> Value:
        arguments = self.arguments(node)
        kind = type(node.node).__name__
        if kind == "Getattr":
            return self.method(node, node.node.attr, self.of(node.node.node), arguments)
        if kind == "Name" and node.node.name in FUNCTIONS - {"caller", "super", "loop"}:
            return arguments._replace(text=False, opaque=True)
        return CRAFTED  # what a macro renders

    def method(self, node: Any, name: str, base: Value, arguments: Value) -> Value:
        if name in _GIVING and not base.text:
            return joined([base, *(self.of(default) for default in node.args[1:])])
        if name == "format":
            return formatted(base, "{")
        if name == "join":
            return put_together(arguments)
        return made(base, arguments)


_KEEPING = words(
    "batch d default dictsort e escape forceescape groupby items map max min reject rejectattr "
    "safe select selectattr slice sort unique"
)
_LAZY = words("batch items map reject rejectattr select selectattr slice unique")
_PICKING = words("first last list random")
_SPELLING = words("pprint string tojson xmlattr")
_GIVING = words("copy get items keys pop popitem setdefault values")
_OBJECTS = FUNCTIONS - {"loop"} | {"self"}
_COUNTING = words("abs count filesizeformat float int length round sum wordcount")
_FOLDED: dict[str, Callable[[str], str]] = {
    "capitalize": str.capitalize,
    "lower": str.lower,
    "reverse": lambda text: text[::-1],
    "string": str,
    "title": str.title,
    "trim": str.strip,
    "upper": str.upper,
}

_EXPRESSIONS: dict[str, Callable[[Flow, Any], Value]] = {
    "Add": Flow.add,
    "And": Flow.either,
    "Call": Flow.called,
    "Concat": Flow.concat,
    "CondExpr": Flow.either,
    "Const": Flow.constant,
    "Dict": Flow.container,
    "Filter": Flow.filtered,
    "Getattr": Flow.attribute,
    "Getitem": Flow.item,
    "List": Flow.container,
    "Mod": Flow.modulo,
    "Mul": Flow.multiply,
    "Name": Flow.name,
    "Or": Flow.either,
    "Pair": Flow.pair,
    "TemplateData": Flow.data,
    "Tuple": Flow.container,
}
_STATEMENTS: dict[str, Callable[[Flow, Any], None]] = {
    "Assign": Flow.assign,
    "AssignBlock": Flow.assign_block,
    "Call": Flow.call,
    "CallBlock": Flow.call_block,
    "For": Flow.loop,
    "Macro": Flow.macro,
    "With": Flow.scope,
}
