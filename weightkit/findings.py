"""What we find in a file: plain frozen records of what one look at it yields.

Apart from the other reports, because every command needs these and some nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weightkit.programs import Program
from weightkit.tensors import FileIndex

SEVERITIES = ("note", "warning", "danger")


class Finding(NamedTuple):
    """One thing worth saying about a file, with its place, its reason and what to do about it.

    ``code`` is a row of :mod:`weightkit.rules`. ``offset`` is in bytes from the start of ``path``,
    or of the archive member ``entry``. ``subject`` is the global or key that it is about,
    ``evidence`` the literal arguments, ``effect`` what a loader would do with it.
    """

    code: str
    severity: str
    message: str
    path: str = ""
    entry: str = ""
    offset: int | None = None
    tensor: str = ""
    opcode: str = ""
    subject: str = ""
    evidence: str = ""
    effect: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """All that one look at a file found: its index if it has one, its programs, every fault."""

    index: FileIndex | None
    programs: tuple[Program, ...] = ()
    faults: tuple[Finding, ...] = ()


class Part(NamedTuple):
    """A member of a container that is a file in its own right, found while examining it."""

    name: str
    examination: Examination


class ProgramText(NamedTuple):
    """One pickle as pseudo-Python: (offset, line) of each import and call."""

    entry: str
    start: int
    lines: tuple[tuple[int, str], ...]


class ScannedFile(NamedTuple):
    """A file and its verdict: safe, review, unsafe, or unscanned (never reported as clean)."""

    path: str
    verdict: str
    format: str
    findings: tuple[Finding, ...]
    programs: tuple[ProgramText, ...] = ()
    globals: tuple[str, ...] = ()
    """Every global that its pickles name, trusted ones included."""


class SkippedFile(NamedTuple):
    """A file of a folder that is no weight file, and why we think so."""

    path: str
    reason: str


class ScanReport(NamedTuple):
    """What ``weightkit scan`` looked at, and what it passed over."""

    files: tuple[ScannedFile, ...]
    skipped: tuple[SkippedFile, ...] = ()
    notices: tuple[Finding, ...] = ()
    """About the policy and the baseline, not about a file."""
    accepted: int = 0
    """Findings that the baseline hid."""
