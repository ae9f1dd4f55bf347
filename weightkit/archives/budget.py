"""What may still be spent on containers inside containers."""

from __future__ import annotations

from collections.abc import Iterable

from weightkit.machine import LIMITS, Limits, let_go
from weightkit.programs import Program

MEBIBYTE = 1 << 20
ALL_PICKLES = LIMITS._replace(opcodes=2 * LIMITS.opcodes)
STRAYS = LIMITS._replace(opcodes=500_000, memory=32 << 20)


class Budget:
    """Shared by all containers and pickles of one examination, however deep.

    ``nbytes`` bounds what is inflated altogether (time), ``buffer`` one inflated member (memory),
    ``members`` how many are opened, ``depth`` how many containers lie inside one another. Every
    level down halves ``buffer``, as the outer ones are still held, and makes a member count for
    ten: archives whose members overlap hold themselves a hundred times at every level. ``pickles``
    bounds all pickles together, as each of them is bounded by ``LIMITS``, and ``strays`` what is read
    behind their ends.
    """

    def __init__(
        self,
        nbytes: int = 768 * MEBIBYTE,
        buffer: int = 96 * MEBIBYTE,
        members: int = 10_000,
        depth: int = 4,
        pickles: Limits = ALL_PICKLES,
        strays: Limits = STRAYS,
    ) -> None:
        self.nbytes = nbytes
        self.buffer = buffer
        self.members = members
        self.depth = depth
        self.level = 0
        self.pickles = pickles
        self.strays = strays
        self.kept = buffer

    @property
    def room(self) -> int:
        """Bytes that the next inflated member may have."""
        return max(0, min(self.nbytes, self.buffer >> self.level))

    def spend(self, nbytes: int) -> None:
        """Count ``nbytes`` inflated bytes."""
        self.nbytes -= nbytes

    @property
    def limits(self) -> Limits:
        """What the next pickle may have."""
        return self.pickles._replace(opcodes=min(self.pickles.opcodes, LIMITS.opcodes))

    def ran(self, programs: Iterable[Program]) -> None:
        """Count pickles that were read."""
        self.pickles = self.pickles.less(programs)

    def let_go(self, program: Program) -> None:
        """Count the bytes of a pickle that are kept, and let go of those that are not needed."""
        self.kept -= let_go(program, self.kept)

    def member(self) -> bool:
        """Count an opened member; False when there were too many."""
        self.members -= 10 ** max(0, self.level - 1)
        return self.members >= 0

    def enter(self) -> bool:
        """Go one container down; False (and nothing changed) when it is too deep."""
        if self.level >= self.depth:
            return False
        self.level += 1
        return True

    def leave(self) -> None:
        """Come back out of a container that ``enter`` allowed."""
        self.level -= 1
