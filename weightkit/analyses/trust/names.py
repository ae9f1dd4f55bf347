"""What a name would do, judged as text."""

from __future__ import annotations

import re
from functools import lru_cache

from weightkit.analyses.stdlib import STDLIB
from weightkit.analyses.trust.dangers import (
    ALIASES,
    ATTRIBUTE,
    CALLED_NAMES,
    CALLED_WORDS,
    COMMON_NAMES,
    DANGEROUS_MODULES,
    DANGEROUS_PARTS,
    HARMFUL_NAMES,
    HARMLESS_PARTS,
    HARMLESS_STDLIB,
    NAMED_ONLY,
    OTHER,
    RESTORING_WORDS,
    SAFE_NAMES,
    TELLING_NAMES,
    Danger,
)

_ERRORS = ("Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration")


def danger(module: str, name: str, called: bool = True) -> Danger | None:
    """What a name would do if it is dangerous; None if nothing is known.

    ``called`` False asks about naming it only: then common words like ``load`` or ``map`` tell
    nothing. Dotted names are walked: every part may be a module that the one before imported, so
    ``random._os.system`` is ``os.system``.
    """
    usual = len(module) + len(name) < _USUAL
    return (_danger if usual else _danger.__wrapped__)(module, name, called)


_USUAL, _MOST_NAMES = 200, 4096
"""Characters of a name that is remembered, and how many are: one may stand a million times."""
_MOST_PARTS = 64
"""Nobody's name has so many; and to walk it takes as many steps, each over all of it."""


@lru_cache(maxsize=_MOST_NAMES)
def _danger(module: str, name: str, called: bool) -> Danger | None:
    module = "builtins" if module == "__builtin__" else module
    if module.count(".") + name.count(".") > _MOST_PARTS:
        return ATTRIBUTE
    if name in SAFE_NAMES.get(module, ()):
        return None
    parts = name.split(".")
    if len(parts) > 1:
        return _walked(module, parts, called)
    if module in ("builtins", "exceptions") and name.endswith(_ERRORS):
        return None
    if (module, name) in HARMFUL_NAMES:
        only_named = not called and (module, name) in NAMED_ONLY
        return None if only_named else HARMFUL_NAMES[module, name]
    by_place = _of_module(module) or DANGEROUS_PARTS.get(f"{module}.{name}")
    return by_place or _reached(module, name) or _told(name, called)


def _of_module(module: str) -> Danger | None:
    """By the longest part of the module's path that the tables know; the standard library else."""
    path = module
    while path:
        if path in HARMLESS_PARTS:
            return None
        found = DANGEROUS_PARTS.get(path) or DANGEROUS_MODULES.get(path)
        if found is not None:
            return found
        path = path.rpartition(".")[0]
    top = module.partition(".")[0]
    harmless = top in HARMLESS_STDLIB or module in HARMLESS_STDLIB
    if top in COMMON_NAMES:
        harmless = not module.startswith(f"{top}.test_")
    return OTHER if top in STDLIB and not harmless else None


def _reached(module: str, name: str) -> Danger | None:
    """What one module of the standard library imports of another: ``uuid.platform``."""
    inside = module.partition(".")[0] in STDLIB and name.strip("_") in STDLIB
    return _of_module(name.strip("_")) if inside else None


def _told(name: str, called: bool) -> Danger | None:
    """By the last part of a name, whatever its module: a module that others import, or a verb."""
    alias = name.strip("_")
    if alias in ALIASES or name in ALIASES:
        return DANGEROUS_MODULES.get(alias) or DANGEROUS_MODULES.get(name) or ATTRIBUTE
    found = TELLING_NAMES.get(name)
    if found is not None or not called:
        return found
    return CALLED_NAMES.get(name) or _worded(name)


_WORD = re.compile(r"[a-z0-9]+|[A-Z][a-z0-9]*")


def _worded(name: str) -> Danger | None:
    """By the words of a function's name; a capital letter in front means a class."""
    if name.lstrip("_")[:1].isupper():
        return None
    words = [word.lower() for word in _WORD.findall(name)]
    if not RESTORING_WORDS.isdisjoint(words):
        return None
    return next((CALLED_WORDS[word] for word in words if word in CALLED_WORDS), None)


def _walked(module: str, parts: list[str], called: bool) -> Danger | None:
    """The danger of a dotted name: of the module or any part on the way."""
    found = _of_module(module)
    only_data = parts[0] in SAFE_NAMES.get(module, ())
    if found is not None and not (only_data and module.partition(".")[0] not in STDLIB):
        return found  # a class of the standard library may be data; its methods act
    first = danger(module, parts[0], called) or _told(parts[0].lstrip("_"), called)
    if first is not None:
        return first
    path = f"{module}.{parts[0]}"
    for part in parts[1:]:
        path = f"{path}.{part}"
        found = DANGEROUS_PARTS.get(path) or _told(part, called) or _told(part.lstrip("_"), called)
        if found is not None:
            return found
        if part.startswith("__"):
            return ATTRIBUTE
    return ATTRIBUTE if parts[0].startswith("__") else None
