"""Where the bytes of a file to be written go: what a format's writer gives, before a byte is moved.

A file is tensors' bytes at known places, and literal bytes around them (headers, directories). A
room's ``layout`` computes both from names, types and shapes alone; the bytes are moved by
:mod:`weightkit.convert`, from wherever they are and in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Literals = Callable[[Sequence[int]], Iterable[tuple[int, bytes]]]


class Slot(NamedTuple):
    """Room for the little-endian, contiguous, row-major bytes of one tensor."""

    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One file: its size in bytes, a slot for each tensor (in the order they were given), the rest.

    Tensors that share memory have the same slot, which is written once. ``literals`` gives
    (offset, bytes) of everything outside the slots; it is called once the slots are written, with
    the CRC-32 of each slot's bytes if ``checksums`` says that it needs them (zip archives), else
    with nothing.
    """

    size: int
    slots: tuple[Slot, ...]
    literals: Literals
    checksums: bool = False


def unheld(kind: str, what: str, castable: bool, other: str = "leave it out") -> str:
    """That a kind of file has no such type, and what can be done: ``other``, or a cast where there is one."""
    cast = "cast it with --dtype, or " if castable else ""
    return f"{kind} has no {what}; {cast}{other}"
