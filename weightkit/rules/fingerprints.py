"""The fingerprint of a finding: the same while what was found is the same, wherever the file lies.

It is made of the code, the member, the global and its arguments, not of paths, offsets or
versions, so a moved or renamed file, or one that another tool rewrote, keeps its fingerprints.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from weightkit.findings import Finding


def fingerprint(finding: Finding, occurrence: int = 0, content: str = "") -> str:
    """32 hexadecimal digits. ``occurrence`` tells equal findings of one file apart; ``content``,
    a digest of the file, binds the fingerprint to exactly these bytes."""
    what = finding.subject or finding.tensor or finding.message
    parts = (finding.code, finding.entry, what, finding.opcode, finding.evidence)
    text = "\0".join([*parts, str(occurrence), content])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def fingerprinted(findings: Iterable[Finding], content: str = "") -> Iterator[tuple[Finding, str]]:
    """The findings of one file with their fingerprints; dangers are bound to ``content``."""
    counts: Counter[str] = Counter()
    for finding in findings:
        bound = content if finding.severity == "danger" else ""
        plain = fingerprint(finding, content=bound)
        yield finding, fingerprint(finding, counts[plain], bound)
        counts[plain] += 1
