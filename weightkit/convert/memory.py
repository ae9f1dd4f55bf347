"""How much memory carrying a plan out takes, at most: measured, with a reserve."""

from __future__ import annotations

from collections.abc import Sequence

from weightkit.analyses.cores import cores
from weightkit.analyses.digests import LEAF
from weightkit.plans import CAST, DENSE, GATHER, INFLATE, MOVE, TURN, PlannedFile, Step

MIB = 1 << 20
BASE = 24 * MIB
"""Modules, and what does not grow with anything."""
A_TENSOR = 5 << 10
"""Of the index, the plan, the target's header and its check, for each tensor."""
A_THREAD = {
    MOVE: 4 * MIB,
    TURN: 8 * MIB,
    INFLATE: 16 * MIB,
    CAST: 16 * MIB,
    GATHER: 64 * MIB,
    DENSE: 128 * MIB,
}
"""The pieces that one thread works on, by the way of the tensor."""
HELD = {"crow_indices", "ccol_indices", "scale", "zero_point"}
"""Parts of composite tensors that are held whole, while they are made three times."""


A_LETTER = 9
"""Of a sidecar's text, for each of its characters: the values themselves, the text, its bytes."""


def memory_of(files: Sequence[PlannedFile], jobs: int, letters: int = 0) -> int:
    """Bytes beyond start-up; an upper estimate. ``jobs`` is as for :func:`run_jobs`.

    ``letters`` is the length of a sidecar's text.
    """
    steps = [step for file in files for step in file.steps]
    chunks = max((sum(map(_chunks, file.steps)) for file in files), default=0)
    threads = max(1, min(jobs or cores(), chunks))
    ways = {GATHER if step.info.strides else step.way for step in steps}
    piece = max((A_THREAD[way] for way in ways), default=0)
    held = sorted(map(_held, steps))[-threads:]
    return BASE + A_TENSOR * len(steps) + piece * threads + sum(held) + A_LETTER * letters


def _held(step: Step) -> int:
    """Bytes of a composite tensor that whoever makes it plain holds at once."""
    return 3 * sum(part.nbytes for part in step.info.parts if part.name in HELD)


def _chunks(step: Step) -> int:
    """How many threads can work on it at once."""
    return 1 if step.way in (DENSE, INFLATE) else -(-step.nbytes // LEAF)
