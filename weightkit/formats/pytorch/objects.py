"""From the object that a checkpoint's pickle describes to its state dicts (docs/names.md).

A checkpoint is whatever somebody gave to ``torch.save``: a state dict, a training checkpoint that
wraps one beside its optimizer, a whole module, a list. ``collect`` walks it once, by a bounded
loop, and gives each tensor the path to it; ``divide`` sorts the paths into sets.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from weightkit.formats.pytorch.arrays import scalar_of
from weightkit.formats.pytorch.tensors import Malformed, OutsideStorage, Tensors, Unread
from weightkit.formats.pytorch.values import (
    MAPPINGS,
    Unkept,
    key_of,
    name_of,
    pair_items,
    pairs_of,
)
from weightkit.programs import Call, Group, Pairs, Persistent, Program
from weightkit.rules import Faults
from weightkit.tensors import TensorInfo, TensorSet

_CODES: dict[type[Malformed], str] = {OutsideStorage: "WK322", Unread: "WK325"}
SPARE_VISITS = 100_000
"""Objects visited beyond two for each opcode: a file that shares its objects is walked through
every path to each, and a few opcodes can make billions of paths."""
MAX_DEPTH = 64
MAX_VALUES, MAX_TEXT = 20_000, 4 << 20
"""Plain values (hyper-parameters, epoch) kept of one file, and characters of all their texts."""
MAX_BITS = 4_000
"""Of an integer: longer ones have more digits than Python turns into text."""
STATE = "__state__"
"""Stands in a path for what an object is given by ``__setstate__``, if that are no attributes."""
CALLED = "__call__"
"""Stands in a path for what is called, where that is no name."""
MAX_UNKEPT = 9
"""Names that are kept of values that are not."""
MAX_TENSORS = 250_000
"""As of other formats: a file of a few megabytes can name one tensor many million times."""
MAX_NAMES = 32 << 20
"""Characters of all names together: a long key that the file holds once may be a part of very many."""
MAX_PART = 1 << 16
"""Characters of the part of a path that grows by dots, as long as the longest key."""

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "params",
    "weights",
    "model_state",
    "network",
)
"""Keys under which training scripts keep the model's state dict, the likeliest first."""

_EMA = {
    "averaged_model",
    "ema",
    "ema_model",
    "ema_net",
    "ema_params",
    "ema_state_dict",
    "ema_weights",
    "model_ema",
    "params_ema",
    "shadow_params",
    "state_dict_ema",
}
_OPTIMIZER = {
    "amp",
    "amp_scaler",
    "grad_scaler",
    "last_optimizer_state",
    "lr_scheduler",
    "lr_schedulers",
    "opt",
    "opt_state",
    "optim",
    "optim_state",
    "optimizer",
    "optimizer_state",
    "optimizer_state_dict",
    "optimizer_states",
    "optimizers",
    "scaler",
    "scheduler",
    "scheduler_state_dict",
}
_LONGEST = max(map(len, _EMA | _OPTIMIZER))

Path = tuple[str, ...]
_new = tuple.__new__
"""Makes a record of all its values, of which a large checkpoint has very many."""


class Collected(NamedTuple):
    """What a walk found: tensors with their paths (and named by them), and plain values by name."""

    tensors: list[tuple[Path, TensorInfo]]
    values: dict[str, Any]
    start: int
    """Offset of the pickle, for faults that are about all of it."""
    of_module: bool
    """Whether a tensor is an attribute of a whole module."""
    states: tuple[str, ...]
    """Keys of optimizer state that has plain values, none of which are kept."""
    unkept: tuple[str, ...]
    """Names of the first of the other values that are not kept."""


class _Place(NamedTuple):
    """Something still to visit. In a ``module`` the path's last part grows by dots."""

    path: Path
    node: Any
    role: str = ""
    module: bool = False


def collect(
    program: Program,
    tensors: Tensors,
    faults: Faults,
    roles: dict[tuple[str, str], str] | None = None,
) -> Collected:
    """Every tensor that can be reached from the program's root, in the order of the file.

    ``roles`` tells parameter from buffer for the attributes of TorchScript classes, by
    (class name, attribute). What is nested or repeated beyond the limits is one fault.
    """
    walk = _Walk(tensors, faults, roles or {}, program.start)
    walk.run(program.root, SPARE_VISITS + 2 * program.opcodes)
    states, unkept = tuple(walk.states), tuple(walk.unkept)
    return Collected(walk.found, walk.values, program.start, walk.of_module, states, unkept)


class _TooMuch(Exception):
    """There is more than is kept; says of what."""


class _Walk:
    def __init__(
        self, tensors: Tensors, faults: Faults, roles: dict[tuple[str, str], str], start: int
    ) -> None:
        self.tensors = tensors
        self.faults = faults
        self.roles = roles
        self.start = start
        self.found: list[tuple[Path, TensorInfo]] = []
        self.values: dict[str, Any] = {}
        self.room = MAX_TEXT
        self.letters = MAX_NAMES
        self.states: dict[str, None] = {}
        self.unkept: list[str] = []
        self.of_module = False
        self.barren: dict[int, Path] = {}
        """Where objects that hold no tensor, or that the walk is inside of, were met first, by their
        identities: objects may contain themselves (a node that knows its parent), or one another a billion times."""

    def run(self, root: Any, visits: int) -> None:
        """Visit what can be reached from ``root``, so many objects at most."""
        try:
            self.walk(root, visits)
        except _TooMuch as error:
            self.faults.add("WK326", f"more than {error}", self.start)

    def walk(self, root: Any, visits: int) -> None:
        left = visits
        inside: list[tuple[Any, int]] = []
        """What the walk is inside of, each with the tensors found before it."""
        rows: list[Iterator[_Place]] = [iter([_Place((), root)])]
        """What is still to be visited in each of them; the outermost is no object."""
        while rows:
            for place in rows[-1]:
                left -= 1
                if left < 0:
                    self.faults.add("WK326", f"more than {visits} objects to visit", self.start)
                    return
                path, node, _, _ = place
                if id(node) in self.barren and self.is_known(place):
                    continue
                if len(path) > MAX_DEPTH:
                    name = self.name(path[:8])
                    message = f"nested deeper than {MAX_DEPTH} below {name!r}"
                    self.faults.add("WK326", message, self.start)
                    continue
                before = len(self.found)
                children = self.visit(place)
                if children is not None:
                    left -= 1  # for coming out of it again
                    self.barren[id(node)] = path
                    inside.append((node, before))
                    rows.append(children)
                    break
            else:
                rows.pop()
                if inside:
                    node, before = inside.pop()
                    if len(self.found) > before:
                        self.barren.pop(id(node), None)

    def name(self, path: Path) -> str:
        """A path as a name. Raises _TooMuch where all names together are too long."""
        name = ".".join(path)
        self.letters -= len(name)
        if self.letters < 0:
            raise _TooMuch(f"{MAX_NAMES} characters of names")
        return name

    def visit(self, place: _Place) -> Iterator[_Place] | None:
        """Note what stands at ``place``; gives what to visit below it."""
        node = place.node
        kind = type(node)
        if kind is Call:
            return self.visit_call(place, node)
        if kind is Pairs:
            return _pairs(place, node.items)
        if kind is list or kind is tuple:
            return _numbered(place, node)
        if kind is Group:
            return _numbered(place, node.items)
        if kind is Persistent:
            self.persistent(place, node)
        else:
            self.value(place, node)
        return None

    def visit_call(self, place: _Place, call: Call) -> Iterator[_Place] | None:
        try:
            info = self.tensors.rebuild(call)
        except Malformed as error:
            code = _CODES.get(type(error), "WK323")
            name = self.name(place.path)
            self.faults.add(code, str(error), call.offset, tensor=name, opcode=call.opcode)
            return None
        if info is not None:
            self.keep(place, info)
            self.of_module |= place.module
            return None
        items = pair_items(call)
        if items is not None:
            pairs = _pairs(place, items)
            more = call.state is not None or name_of(call.target) not in MAPPINGS
            return chain(pairs, _beside(place, call)) if more else pairs
        number = scalar_of(call)
        if number is not None:
            self.value(place, number)
            return None
        return self.attributes(place, call)

    def attributes(self, place: _Place, call: Call) -> Iterator[_Place]:
        """Where the tensors of an object may be: its module tables, its state, its arguments."""
        held, other = _attributes(call.state)
        script = name_of(call.target)
        if "_modules" in held or "_parameters" in held:
            yield from _module(place, held)
        elif script.startswith("__torch__."):
            for name, value in held.items():
                yield _below(place, name, value, self.roles.get((script, name), ""), module=True)
        else:
            for name, value in held.items():
                yield _below(place, name, value)
            yield from _given(place, call)
        if other is not None:
            yield _below(place, STATE, other)

    def persistent(self, place: _Place, node: Persistent) -> None:
        info = self.tensors.persistent(node)
        if info is not None:
            self.keep(place, info)

    def keep(self, place: _Place, info: TensorInfo) -> None:
        """Note a tensor, under its whole path, which is its name where no part of it is cut off."""
        if len(self.found) == MAX_TENSORS:
            raise _TooMuch(f"{MAX_TENSORS} tensors")
        if place.role:
            info = info._replace(role=place.role)
        self.found.append((place.path, _new(TensorInfo, (self.name(place.path), *info[1:]))))

    def is_known(self, place: _Place) -> bool:
        """Whether all is noted of an object that was met before, at another place."""
        first = self.barren[id(place.node)]
        if first and first[0] in self.states and place.path[0] not in self.states:
            return False  # of an optimizer's no value was kept
        if first:
            same = "" if self.is_full() else f"(the same as {self.name(first)})"
            self.value(place, same)
        return True

    def is_full(self) -> bool:
        """Whether no further value is kept or named."""
        return len(self.values) == MAX_VALUES and len(self.unkept) == MAX_UNKEPT

    def value(self, place: _Place, node: Any) -> None:
        """Keep a hyper-parameter; what modules and optimizers are set to is not the checkpoint's."""
        if place.module or not place.path:
            return
        if _kind(place.path[0]) == "optimizer":
            self.states[place.path[0]] = None
            return
        if self.is_full():
            return
        name = self.name(place.path)
        plain = _plain(node)
        size = len(plain) if isinstance(plain, str) else 0
        if plain is _NOT_KEPT or name in self.values or len(self.values) == MAX_VALUES:
            size = MAX_TEXT + 1
        if size <= self.room:
            self.values[name] = plain
            self.room -= size
        elif len(self.unkept) < MAX_UNKEPT:
            self.unkept.append(name)


_NOT_KEPT = object()


def _plain(node: Any) -> Any:
    """A value as it is kept: numbers and texts whole, of a type its name."""
    if node is None or isinstance(node, bool | float):
        return node
    if type(node) is int:
        return node if node.bit_length() < MAX_BITS else _NOT_KEPT
    if isinstance(node, str):
        return str(node)
    return name_of(node) or _NOT_KEPT


def _below(place: _Place, name: str, node: Any, role: str = "", *, module: bool = False) -> _Place:
    if (place.module or module) and place.path and place.module:
        path = (*place.path[:-1], f"{place.path[-1]}.{name}")
        # A module's depth hides in one part; count its dots so that nesting stays bounded.
        if len(path[-1]) > MAX_PART or path[-1].count(".") > MAX_DEPTH:
            path = (*path, *[""] * MAX_DEPTH)
    else:
        path = (*place.path, name)
    return _Place(path, node, role or place.role, module or place.module)


def _pairs(place: _Place, items: list[Any]) -> Iterator[_Place]:
    path, role = place.path, place.role
    pairs = zip(items[::2], items[1::2], strict=False)
    if place.module:
        return (_below(place, key_of(key), value) for key, value in pairs)
    return (_new(_Place, ((*path, key_of(key)), value, role, False)) for key, value in pairs)


def _attributes(state: Any) -> tuple[dict[str, Any], Any]:
    """What a state sets as attributes, of ``__dict__`` and slots; or what else it is."""
    both = type(state) is tuple and len(state) == 2
    if both and all(part is None or type(part) is Pairs for part in state):
        items = [pair for part in state for pair in pairs_of(part)]
    elif state is None or pair_items(state) is not None:
        items = [*pairs_of(state)]
    else:
        return {}, state
    return {key_of(key): value for key, value in items}, None


def _given(place: _Place, call: Call) -> Iterator[_Place]:
    """What was appended to an object, and what it was made of."""
    yield from _numbered(place, call.items or ())
    if type(call.args) is tuple:
        yield from _numbered(place, call.args)
    for key, value in pairs_of(call.kwargs):
        yield _below(place, key_of(key), value)
    if type(call.target) is Call:  # a partial function
        yield _below(place, CALLED, call.target)


def _beside(place: _Place, call: Call) -> Iterator[_Place]:
    """What a dict has beside its items, but for the module versions that every state dict has."""
    if name_of(call.target) not in MAPPINGS:
        yield from _given(place, call)
    held, other = _attributes(call.state)
    for name, value in held.items():
        if name != "_metadata":
            yield _below(place, name, value)
    if other is not None:
        yield _below(place, STATE, other)


def _numbered(place: _Place, items: Iterable[Any]) -> Iterator[_Place]:
    return (_below(place, str(number), item) for number, item in enumerate(items))


def _module(place: _Place, held: dict[str, Any]) -> Iterator[_Place]:
    """The tables of an ``nn.Module``, then its other attributes (which no state dict has)."""
    for table, role in (("_parameters", "parameter"), ("_buffers", "buffer"), ("_modules", "")):
        for key, value in pairs_of(held.get(table)):
            if value is not None:
                yield _below(place, key_of(key), value, role, module=True)
    for name, value in held.items():
        if name not in ("_parameters", "_buffers", "_modules") and not name.startswith("_"):
            yield _below(place, name, value, "buffer", module=True)


# Sets


def divide(found: Collected, faults: Faults) -> tuple[TensorSet, ...]:
    """The sets of a file, the main one first, each tensor named by its path inside its set."""
    sets = [
        TensorSet(key, kind, tuple(_named(tensors, cut, found.start, faults)))
        for key, kind, cut, tensors in _sets(found.tensors)
    ]
    return tuple(sorted(sets, key=lambda item: item.kind == "optimizer"))


def _named(
    tensors: list[tuple[Path, TensorInfo]], cut: int, start: int, faults: Faults
) -> Iterator[TensorInfo]:
    seen: set[str] = set()
    for path, info in tensors:
        name = ".".join(path[cut:]) if cut else info.name
        if not path:
            name = "tensor"  # nothing but it was saved
        if Unkept in map(type, path):
            faults.add("WK326", f"a name that is too long: {name}", start, tensor=name)
        if name in seen:
            faults.add("WK324", f"two tensors are named {name!r}", start, tensor=name)
        seen.add(name)
        yield info if info.name == name else info._replace(name=name)


_Set = tuple[str, str, int, list[tuple[Path, TensorInfo]]]


def _sets(tensors: list[tuple[Path, TensorInfo]], depth: int = 0) -> list[_Set]:
    """(key, kind, parts of the path to cut, tensors) of each set below ``depth``."""
    if not tensors:
        return []
    groups: dict[str, list[tuple[Path, TensorInfo]]] = {}
    for entry in tensors:
        path = entry[0]
        key = path[depth] if len(path) > depth + 1 else ""
        groups.setdefault(key, []).append(entry)
    prefix = ".".join(tensors[0][0][:depth])
    wrapper = _wrapper(groups)
    kinds = {key: "model" if key == wrapper else _kind(key) for key in groups}
    apart = {key: None for key, kind in kinds.items() if kind != "other"}
    if set(groups) == {"state", "param_groups"} or (not prefix and set(groups) == {"state"}):
        return [(prefix, "optimizer", depth, tensors)]
    rest = [entry for key, group in groups.items() if key not in apart for entry in group]
    sets = []
    if wrapper is not None:
        sets.extend(_sets(groups[wrapper], depth + 1))
    elif rest:
        sets.append((prefix, "model", depth, rest))
    for key in apart:  # in the order of the file
        if key != wrapper:
            name = f"{prefix}.{key}" if prefix else key
            sets.append((name, kinds[key], depth + 1, groups[key]))
    if wrapper is not None:
        sets.extend(_others(prefix, depth, groups, apart))
    return sets


def _wrapper(groups: dict[str, list[tuple[Path, TensorInfo]]]) -> str | None:
    """The key that holds the model, if the top level is no state dict itself."""
    if "" in groups and len(groups[""]) > 1:
        return None
    return next((key for key in WRAPPERS if key in groups), None)


def _kind(key: str) -> str:
    name = key.lower() if len(key) <= _LONGEST else ""
    return "ema" if name in _EMA else "optimizer" if name in _OPTIMIZER else "other"


def _others(
    prefix: str, depth: int, groups: dict[str, list[tuple[Path, TensorInfo]]], apart: Container[str]
) -> Iterator[_Set]:
    """Beside a wrapped model, every other key with tensors is a set of its own."""
    for key, group in groups.items():
        if key not in apart:
            name = ".".join(part for part in (prefix, key) if part)
            yield name, "other", depth + (key != ""), group
