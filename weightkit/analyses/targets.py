"""Python objects that a config names by their dotted path, for a loader to import and call.

Hydra's ``_target_``, Lightning's ``class_path``, the ``target`` of latent-diffusion configs, tags of
HyperPyYAML and of PyYAML, skops and jsonpickle: all of them import the module and call what it has
under that name, with arguments out of the same file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from weightkit.analyses.documents import Object, Place, Tagged, of, pairs
from weightkit.analyses.trust import Danger, danger
from weightkit.text import words

DOTTED = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")


class Target(NamedTuple):
    """A dotted path that a loader would import, and the arguments beside it."""

    path: str
    arguments: Any
    how: str
    """Who would call it: "hydra", "a YAML tag", ..."""


_MODULES = words(
    "os sys subprocess builtins posix nt shutil socket importlib pty ctypes runpy pickle marshal "
    "webbrowser platform timeit cProfile"
)
"""Modules that others import: ``torch.serialization.os.system`` is ``os.system``."""


_BUILTINS = words(
    "__import__ breakpoint compile delattr eval exec execfile exit getattr globals input locals "
    "open print quit setattr vars"
)


def danger_of(path: str) -> Danger | None:
    """What calling ``path`` would do, as far as the tables know; None if nothing is known."""
    parts = path.split(".")
    module, name = ".".join(parts[:-1]) or "builtins", parts[-1]
    if module in ("builtins", "__builtin__"):
        known = danger("builtins", name) if name in _BUILTINS else None
        return known or (danger(path, "") if len(parts) == 1 else None)  # a module by itself
    found = danger(module, name)
    for place, part in enumerate(parts[1:-1], 1):
        if found is None and part.lstrip("_") in _MODULES:
            found = danger(part.lstrip("_"), ".".join(parts[place + 1 :]))
    return found


def targets(place: Place) -> Iterator[Target]:
    """The targets that one value of a document names."""
    value = place.value
    if isinstance(value, Tagged):
        yield from _of_tag(value)
    elif isinstance(value, dict):
        for read in (_hydra, _with_arguments, _loader, _pickled):
            yield from read(value)


def _hydra(node: dict[str, Any]) -> Iterator[Target]:
    for path in of(node, "_target_"):
        arguments = {key: item for key, item in pairs(node) if key != "_target_"}
        yield Target(_text(path), arguments, "hydra")


# key of the path, key of the arguments that must stand beside it, who reads it
_WITH = [
    ("class_path", "init_args", "Lightning"),
    ("class_path", "dict_kwargs", "Lightning"),
    ("class_path", "", "jsonargparse"),
    ("target", "params", "latent-diffusion"),
    ("__target__", "", "a config loader"),
    ("__import__", "", "a config loader"),
]


def _acts_alone(node: dict[str, Any], path: str) -> bool:
    """A ``class_path`` without arguments is a class of its own code, and said only if it acts."""
    return node.keys().isdisjoint(("init_args", "dict_kwargs")) and danger_of(path) is not None


_JSONPICKLE = ("py/object", "py/type", "py/function", "py/newobj", "py/class")

TARGET_KEYS = {"_target_", "loader_module", *(key for key, _, _ in _WITH), *_JSONPICKLE}
"""A mapping without any of these names no target."""


def _with_arguments(node: dict[str, Any]) -> Iterator[Target]:
    for key, beside, how in _WITH:
        if beside and beside not in node:
            continue
        for path in of(node, key):
            if not isinstance(path, str) or not DOTTED.match(path):
                continue
            if how != "jsonargparse" or _acts_alone(node, path):
                yield Target(path, node.get(beside), how)


def _loader(node: dict[str, Any]) -> Iterator[Target]:
    """MLflow imports ``loader_module`` and calls its ``_load_pyfunc``; mostly it is one of its own."""
    for path in of(node, "loader_module"):
        if isinstance(path, str) and not path.startswith("mlflow."):
            yield Target(path, node.get("data"), "MLflow")


def _pickled(node: dict[str, Any]) -> Iterator[Target]:
    for key in _JSONPICKLE:
        for path in of(node, key):
            if isinstance(path, str):
                yield Target(path, node.get("py/reduce"), "jsonpickle")


# A tag's beginning, and who constructs it.
_TAGS = [
    ("tag:yaml.org,2002:python/object/apply:", "PyYAML"),
    ("tag:yaml.org,2002:python/object/new:", "PyYAML"),
    ("tag:yaml.org,2002:python/object:", "PyYAML"),
    ("tag:yaml.org,2002:python/name:", "PyYAML"),
    ("tag:yaml.org,2002:python/module:", "PyYAML"),
    ("!apply:", "HyperPyYAML"),
    ("!new:", "HyperPyYAML"),
    ("!name:", "HyperPyYAML"),
    ("!module:", "HyperPyYAML"),
    ("!class:", "HyperPyYAML"),
]


def _of_tag(value: Tagged) -> Iterator[Target]:
    for start, how in _TAGS:
        if value.tag.startswith(start):
            yield Target(value.tag[len(start) :], value.value, how)


def shown(arguments: Any) -> str:
    """Arguments as a reader of the finding wants to see them."""
    try:
        text = json.dumps(_plain(arguments, 0), ensure_ascii=False)
    except (ValueError, RecursionError):
        return "…"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _plain(value: Any, depth: int) -> Any:
    if depth > 4:
        return "…"
    if isinstance(value, Tagged):
        return _plain(value.value, depth)
    if isinstance(value, dict | Object):
        return {key[:80]: _plain(item, depth + 1) for key, item in [*value.items()][:8]}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value[:8]]
    return value[:120] if isinstance(value, str) else value


def _text(path: Any) -> str:
    return path if isinstance(path, str) else shown(path)
