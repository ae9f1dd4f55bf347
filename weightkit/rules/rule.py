"""The shape of a rule, and the remedies that many of them share."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """What a finding says, why it matters and what to do about it.

    ``fatal`` marks the faults that break a format's rules: readers of the format refuse the file,
    and so do ``inspect`` and ``convert``; ``scan`` reports them beside everything else it finds.
    ``severity`` is note, warning or danger.
    """

    code: str
    name: str
    severity: str
    what: str
    why: str
    remedy: str
    fatal: bool = False


FETCH_AGAIN = "Get the file again from its source and compare its checksum."
WRITE_AGAIN = "Ask the producer to write the file again with a current library."
DO_NOT_LOAD = "Do not load the file."
LOOK = "Look at it before you rely on the file."
