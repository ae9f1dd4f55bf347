"""One room per format. A module *is* a format if it has what :class:`Format` lists.

A room knows its magic, its tables and its byte layout; nothing outside it does. Rooms never import
one another. :func:`weightkit.opening` recurses into containers through ``members``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from weightkit.archives import Budget
from weightkit.findings import Examination
from weightkit.source import Reader


class Format(Protocol):
    """What a module under ``weightkit.formats`` provides."""

    NAME: str
    """As reports and ``--to`` spell it."""
    SUFFIXES: tuple[str, ...]
    """With the dot; a hint about the order of asking, never proof."""

    def accepts(self, head: bytes) -> bool:
        """Whether content that starts with ``head`` (up to 4 KiB) may be this format; never raises."""
        ...

    def examine(self, source: Reader) -> Examination:
        """Index, programs and every fault of the file. Faults are values; only AccessError raises."""
        ...


class Pickled(Protocol):
    """A format that holds pickles, which all parts of a file share one budget for."""

    def examine(self, source: Reader, budget: Budget | None = None) -> Examination: ...


class Member(NamedTuple):
    """A file inside a container."""

    name: str
    reader: Reader | None
    """None: it cannot be read; ``reason`` says why."""
    reason: str = ""
