"""What may still be spent on containers inside containers."""

from __future__ import annotations

MEBIBYTE = 1 << 20


class Budget:
    """Shared by all containers of one examination, however deep.

    ``nbytes`` bounds what is inflated altogether (time), ``buffer`` one inflated member (memory),
    ``members`` how many are opened, ``depth`` how many containers lie inside one another. Every
    level down halves ``buffer``, as the outer ones are still held, and makes a member count for
    ten: archives whose members overlap hold themselves a hundred times at every level.
    """

    def __init__(
        self,
        nbytes: int = 768 * MEBIBYTE,
        buffer: int = 96 * MEBIBYTE,
        members: int = 10_000,
        depth: int = 4,
    ) -> None:
        self.nbytes = nbytes
        self.buffer = buffer
        self.members = members
        self.depth = depth
        self.level = 0

    @property
    def room(self) -> int:
        """Bytes that the next inflated member may have."""
        return max(0, min(self.nbytes, self.buffer >> self.level))

    def spend(self, nbytes: int) -> None:
        """Count ``nbytes`` inflated bytes."""
        self.nbytes -= nbytes

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
