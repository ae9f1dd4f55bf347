"""Pickles in bytes that nothing explains, behind the end of what a file is read as.

The loader that the file is made for stops before them. But a program that seeks to them runs them,
and nobody else has a use for them there. Behind a pickle that breaks off nothing is looked for: what
loads it fails there, and a text about attacks would be taken for one.
They are looked for by how pickles begin, so what is found may be chance: only a dangerous call
counts, which chance does not make (``judge``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from weightkit.archives import Budget
from weightkit.machine import LIMITS, read_program
from weightkit.programs import Program
from weightkit.source import Reader

WINDOW = 1 << 18
"""Bytes that are searched."""
MOST = 200
"""Places that look like a beginning."""
STRAY_LIMITS = LIMITS._replace(opcodes=20_000, memory=4 << 20)
"""Of all behind one end together; ``Budget.strays`` bounds those of a whole file."""

_MARK = re.compile(
    rb"\x80[\x00-\x05]"
    rb"|\x8c[\x01-\x3f][A-Za-z_][\w.]{0,62}\x94?\x8c[\x01-\x3f][A-Za-z_][\w.]{0,62}\x94?\x93",
    re.ASCII | re.DOTALL,
)
"""A protocol mark; or two texts that make a name, where it was left out."""
_LINE = re.compile(rb"\n[A-Za-z_][\w.]{0,62}\n", re.ASCII)
_LINE_BEFORE = re.compile(rb"c[A-Za-z_][\w.]{0,62}\Z", re.ASCII)
"""The second line of a GLOBAL, and its first: protocol 0 has no mark."""


def strays(source: Reader, start: int, budget: Budget) -> tuple[Program, ...]:
    """The programs from ``start`` on that call something; ``reading`` says that they are strays."""
    found: list[Program] = []
    limits, end = STRAY_LIMITS.least(budget.strays), start
    for offset in _beginnings(source.peek(start, WINDOW)):
        place = start + offset
        if place < end:
            continue  # inside one that was read
        program = read_program(source, place, limits=limits.least(budget.limits))
        read = [program, *program.others]
        limits = limits.less(read)
        budget.ran(read)
        budget.strays = budget.strays.less(read)
        if program.globals:
            end = program.end
        if program.calls:
            program.reading = "stray"
            found.append(program)
    return tuple(found)


def _beginnings(held: bytes) -> list[int]:
    """Offsets where a pickle may begin, in their order."""
    marks = [match.start() for match in islice(_MARK.finditer(held), MOST)]
    for match in islice(_LINE.finditer(held), MOST):
        at = match.start()
        line = _LINE_BEFORE.search(held, max(0, at - 64), at)
        if line is not None:
            marks.append(line.start())
    return sorted(marks)


def are_by_chance(programs: Sequence[Program]) -> bool:
    """Whether programs may be numbers that look like some: if so, they are strays from now on.

    Some bytes in ten thousand begin as a pickle does, and a few opcodes may follow. But what ends
    where the bytes do is a pickle.
    """
    chance = (
        not programs or programs[-1].stopped != "" or programs[-1].end < programs[-1].reader.size
    )
    for program in programs if chance else ():
        program.reading = "stray"
    return chance
