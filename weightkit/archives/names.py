"""Member names that would leave the folder they are extracted to, or that readers spell unlike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from weightkit.rules import Faults

_ESCAPES = re.compile(rb"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\x00")
_ODD = re.compile(rb"[\\\x01-\x1f\x7f]|//|(?:^|/)\.(?:/|$)")

# A name needs a closer look only if one of these is in it: most archives have none.
_ORDINARY = bytes(set(range(0x20, 0x100)) - set(rb"\:") - {0x7F}) + b"\n"
_SEGMENTS = (b"//", b"..", b"\n/", b"/./", b"\n./", b"/.\n", b"\n.\n")


def check_names(names: Sequence[bytes], offsets: Iterable[int], faults: Faults) -> None:
    """Note names that escape (WK416) or that are written in no ordinary way (WK417)."""
    joined = b"\n" + b"\n".join(names) + b"\n"
    plain = joined.count(b"\n") == len(names) + 1 and not joined.translate(None, _ORDINARY)
    if plain and not any(segment in joined for segment in _SEGMENTS):
        return
    for name, offset in zip(names, offsets, strict=True):
        check_name(name, offset, faults)


def check_name(name: bytes, offset: int, faults: Faults) -> None:
    """The same for one name."""
    shown = name[:200].decode("utf-8", "backslashreplace")
    if _ESCAPES.search(name):
        faults.add(
            "WK416", f"the member name {shown!r} leads out of its folder", offset, subject=shown
        )
    elif _ODD.search(name):
        faults.add("WK417", f"the member name is {shown!r}", offset, subject=shown)


def escapes(target: bytes, base: bytes = b"") -> bool:
    """Whether a link at the member ``base`` to ``target`` leaves the folder of extraction."""
    if target.startswith((b"/", b"\\")) or re.match(rb"[A-Za-z]:", target) or b"\x00" in target:
        return True
    depth = base.count(b"/")
    for step in re.split(rb"[/\\]", target):
        if step == b"..":
            depth -= 1
        elif step not in {b"", b"."}:
            depth += 1
        if depth < 0:
            return True
    return False
