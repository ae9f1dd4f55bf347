"""JSON and YAML as plain values, within limits, and the walk over what they hold.

Loaders differ in what they do with a key that stands twice, so the values of all of them are kept:
an :class:`Object` is a dict of the last ones and remembers the others. YAML is read event by event:
no tag constructs anything, and aliases are not expanded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_JSON = 3 << 20
"""Characters of JSON that become values; of more, only what stands behind a telling key does."""
MAX_YAML = 4 << 20
MAX_SLOW_YAML = 1 << 18
"""Where libyaml is missing, which is thirty times faster."""
MAX_DEPTH = 200
MAX_VALUES = 1 << 20


class Malformed(Exception):
    """No document of this kind, or beyond the limits; the message says why."""


class Object(dict[str, Any]):
    """A mapping with keys that stood more than once: ``others`` are their earlier values."""

    def __init__(self, values: Any = ()) -> None:
        super().__init__(values)
        self.others: list[tuple[str, Any]] = []


class Tagged(NamedTuple):
    """A YAML value with a tag that is not of YAML's own."""

    tag: str
    value: Any


class Place(NamedTuple):
    """A value in a document, and where it is."""

    above: Place | None
    key: str
    value: Any

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to it, the nearest twelve of them."""
        keys: list[str] = []
        place = self
        while place.above is not None and len(keys) < 12:
            keys.append(place.key)
            place = place.above
        return tuple(reversed(keys))

    @property
    def spelt(self) -> str:
        """The path as people write it: ``model.layers.0``."""
        return ".".join(self.path)[-200:]


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises Malformed."""
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object)
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error


def read_first_json(text: str) -> Any:
    """The JSON value that a text starts with, whatever follows it. Raises Malformed."""
    if len(text) > MAX_JSON:
        raise Malformed(f"{len(text)} characters of JSON are more than {MAX_JSON}")
    try:
        value, _ = json.JSONDecoder(object_pairs_hook=_object).raw_decode(text)
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = Object(made)
    twice.others = [(key, value) for key, value in pairs if made[key] is not value]
    return twice


_KEY = re.compile(r'"((?:[^"\\]|\\.){0,400})"\s*:\s*')
"""A key, not too long: re takes a hundred bytes for each character of a repeated group."""


def values_behind(text: str, keys: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """The values of keys that match, out of a JSON text too long to be read whole.

    Raises Malformed for a value that does not end within the limits.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    for found in _KEY.finditer(text):
        key = _unescaped(found[1])
        if keys.search(key) and text[found.end() : found.end() + 1] in _TELLING_VALUES:
            piece = text[found.end() : found.end() + MAX_JSON]
            try:
                value, _ = decoder.raw_decode(piece)
            except (ValueError, RecursionError) as error:
                raise Malformed(f"the value of {key[:80]!r} cannot be read") from error
            yield key, value


_TELLING_VALUES = ('"', "{", "[", "t")
"""How a value begins that may tell something: in a vocabulary any word may be a key."""


def _unescaped(key: str) -> str:
    if "\\" not in key:
        return key
    try:
        return str(json.loads(f'"{key}"', strict=False))
    except ValueError:
        return key


# YAML


def read_yaml(text: str) -> Iterator[Any]:
    """The documents of a YAML text. Raises Malformed."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    limit = MAX_YAML if loader is not yaml.SafeLoader else MAX_SLOW_YAML
    if len(text) > limit:
        raise Malformed(f"{len(text)} characters of YAML are more than {limit}")
    try:
        yield from _Composer().compose(yaml.parse(text, Loader=loader))
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise Malformed(f"not YAML: {reason}") from error


_PLAIN = re.compile(
    r"(tag:yaml\.org,2002:(null|bool|int|float|str|binary|timestamp|omap|pairs|set|seq|map|merge|value|yaml)|!)$"
)
"""YAML's own tags. Others of the same prefix are classes: of Python, in SnakeYAML of Java."""


class _Composer:
    """Builds values out of parser events with a stack of its own, so depth is bounded."""

    def __init__(self) -> None:
        self.anchors: dict[str, Any] = {}
        self.stack: list[tuple[Any, list[Any], Any]] = []
        self.count = 0

    def compose(self, events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            kind = type(event).__name__
            if kind == "ScalarEvent":
                yield from self.add(event, self.tagged(event, event.value))
            elif kind == "AliasEvent":
                yield from self.add(None, self.anchors.get(event.anchor))
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self.start(event, Object() if kind == "MappingStartEvent" else [])
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                event, flat, made = self.stack.pop()
                self.fill(made, flat)
                yield from self.add(None, self.tagged(event, made))
            elif kind == "DocumentStartEvent":
                self.anchors.clear()

    def start(self, event: Any, made: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise Malformed("nested too deeply")
        if event.anchor:
            self.anchors[event.anchor] = made
        self.stack.append((event, [], made))

    def add(self, event: Any, value: Any) -> Iterator[Any]:
        """Put ``value`` where it belongs; a whole document is given out."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise Malformed(f"more than {MAX_VALUES} values")
        if event is not None and event.anchor:
            self.anchors[event.anchor] = value
        if self.stack:
            self.stack[-1][1].append(value)
        else:
            yield value

    def fill(self, made: Any, flat: list[Any]) -> None:
        if isinstance(made, list):
            made.extend(flat)
            return
        for key, value in zip(flat[::2], flat[1::2], strict=False):
            name = key if isinstance(key, str) else _key(key)
            if name is not key:
                made.others.append((name, key))  # it is built like any other value
            if name in made:
                made.others.append((name, made[name]))
            made[name] = value

    def tagged(self, event: Any, value: Any) -> Any:
        tag = event.tag
        return value if tag is None or _PLAIN.match(tag) else Tagged(tag, value)


def _key(key: Any) -> str:
    """A key that is no plain text, by what is told of it."""
    return f"{key.tag} {key.value}"[:200] if isinstance(key, Tagged) else "?"


# Walking


def walk(document: Any) -> Iterator[Place]:
    """Every text, list, mapping and tag of a document, parents first, what is shared only once."""
    stack = [Place(None, "", document)]
    seen: set[int] = set()
    while stack:
        place = stack.pop()
        value = place.value
        kind = type(value)
        if kind is str:
            yield place
            continue
        if kind not in _HOLDING or id(value) in seen:
            continue
        seen.add(id(value))
        yield place
        if kind is list:
            stack += [Place(place, str(n), item) for n, item in enumerate(value) if item][::-1]
        elif kind is Tagged:
            stack.append(Place(place, "", value.value))
        else:
            stack += [Place(place, key, item) for key, item in pairs(value) if item][::-1]


_HOLDING = {dict, Object, list, Tagged}


def pairs(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of a mapping, those of repeated keys included."""
    yield from value.items()
    if type(value) is Object:
        yield from value.others


def of(value: dict[str, Any], key: str) -> Iterator[Any]:
    """All values that stand behind ``key``."""
    return (item for name, item in pairs(value) if name == key)
