"""What arguments are like where an honest pickler wrote them: one predicate per shape."""

from __future__ import annotations

import re
from typing import Any

from weightkit.analyses.trust.names import danger
from weightkit.programs import Blob, Call, Global, Pairs, Persistent


def anything(_: tuple[Any, ...]) -> bool:
    """Whatever is put in is judged by itself."""
    return True


def plains(args: tuple[Any, ...]) -> bool:
    """Numbers, text, bytes, and nestings of them: nothing that could act.

    Bounded, since a tuple may hold another a thousand times.
    """
    left: list[Any] = list(args[:MOST])
    for _ in range(MOST):
        if not left:
            return True
        item = left.pop()
        if type(item) in (tuple, list):
            left.extend(item[:MOST])
        elif type(item) is Pairs:
            left.extend(item.items[:MOST])
        elif not plain(item):
            return False
    return False


MOST = 4000


def plain(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float | str) or type(value) is Blob:
        return True
    return type(value) is Call and spells_bytes(value)


def bounded(args: tuple[Any, ...]) -> bool:
    """What ``bytes`` and ``bytearray`` make of bytes or text; a number would be a length."""
    return plains(args) and not any(type(item) is int for item in args)


def spells_bytes(value: Call) -> bool:
    """Bytes as protocol 2 spells them: a call that is judged on its own."""
    target = value.target
    return type(target) is Global and target.path in ("_codecs.encode", "__builtin__.bytes")


def iterable(args: tuple[Any, ...]) -> bool:
    """Nothing, or one list or tuple: what ``set([...])`` and ``OrderedDict([...])`` take."""
    return not args or (len(args) == 1 and type(args[0]) in (list, tuple, Pairs))


def items(args: tuple[Any, ...]) -> bool:
    """``deque([...], maxlen)``."""
    return iterable(args[:1]) and len(args) <= 2 and all(map(plain, args[1:]))


def factory(args: tuple[Any, ...]) -> bool:
    """``defaultdict(list)``: a builtin type that makes an empty value."""
    if not args or args[0] is None:
        return True
    factory = args[0]
    known = {"list", "dict", "int", "float", "set", "str", "bool", "tuple", "bytes"}
    known |= {"complex", "bytearray", "frozenset"}
    known |= {"long", "unicode"}  # as protocols 0 to 2 call int and str
    return type(factory) is Global and (
        (factory.module in ("builtins", "__builtin__") and factory.name in known)
        or (factory.module, factory.name) == ("collections", "OrderedDict")
    )


def storage_first(args: tuple[Any, ...]) -> bool:
    """A storage (a persistent id), then plain sizes and the like."""
    return bool(args) and isinstance(args[0], Persistent | Call)


def rebuilt_first(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], Call | Persistent)


def dtype_first(args: tuple[Any, ...]) -> bool:
    """A global of torch's dtypes, then plain values and a layout."""
    return bool(args) and type(args[0]) is Global


def layouts(args: tuple[Any, ...]) -> bool:
    return len(args) >= 2


def latin1(args: tuple[Any, ...]) -> bool:
    """``_codecs.encode(text, "latin1")``: bytes as protocol 2 spells them."""
    encoding = args[1] if len(args) > 1 else "latin1"
    return (
        bool(args)
        and isinstance(args[0], str | Blob)
        and (
            isinstance(encoding, str)
            and encoding.lower() in ("latin1", "latin-1", "utf-8", "utf8", "ascii")
        )
    )


def reconstructed(args: tuple[Any, ...]) -> bool:
    """``copyreg._reconstructor(class, base, state)``: classes are judged on their own."""
    return (
        len(args) == 3
        and type(args[0]) is Global
        and type(args[1]) is Global
        and not isinstance(args[2], int)  # which would be a length
        and (type(args[2]) is not Call or spells_bytes(args[2]))
    )


def generator(args: tuple[Any, ...]) -> bool:
    """A bit generator's name, class or object; and what makes one of it, which it calls."""
    if not args:
        return True
    what, *maker = args
    made = what.target if type(what) is Call else what
    known = isinstance(what, str) or _is_of(made, "numpy.random.")
    return known and (
        not maker or (len(maker) == 1 and _is_of(maker[0], "numpy.random._pickle.__bit_generator_"))
    )


def _is_of(value: Any, prefix: str) -> bool:
    return type(value) is Global and value.path.startswith(prefix)


def one(args: tuple[Any, ...]) -> bool:
    """One plain value: with more of them an enumeration makes a new one."""
    return len(args) == 1 and plain(args[0])


_LARGE_POWER = re.compile(r"[eE][+-]?[0-9_]{6,}")


def fraction(args: tuple[Any, ...]) -> bool:
    """Plain values that end: ``Fraction("1e999999999")`` computes the power of ten."""
    texts = [str(item) for item in args if isinstance(item, str)]
    return plains(args) and not any(map(_LARGE_POWER.search, texts))


def numeric_function(args: tuple[Any, ...]) -> bool:
    """``_ufunc_reconstruct(module, name)``, which imports: only of modules that hold ufuncs."""
    if len(args) != 2 or not all(isinstance(item, str) for item in args):
        return False
    module, name = map(str, args)
    if module not in UFUNCS or not name.isidentifier():
        return False
    return danger("numpy", name) is None or name.startswith("eval_")  # scipy's polynomials


UFUNCS = {"numpy", "scipy.special", "scipy.special._ufuncs"} | {
    f"numpy.{core}.{module}"
    for core in ("core", "_core")
    for module in ("umath", "_multiarray_umath")
}
"""Modules of which ``_ufunc_reconstruct`` may look names up."""


def keywords(args: tuple[Any, ...]) -> bool:
    """One dict: its values are judged by themselves."""
    return len(args) == 1 and type(args[0]) is Pairs


def class_first(args: tuple[Any, ...]) -> bool:
    return bool(args) and type(args[0]) is Global
