"""A baseline: the findings that were accepted before, so that a scan tells only of new ones.

Findings are known by their fingerprints, which do not depend on where a file lies. A danger is
accepted for exactly the bytes that it was found in: a file that changes shows it again. What was not
read cannot be accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weightkit.analyses.safety import UNSCANNED, verdict
from weightkit.errors import AccessError, PolicyError
from weightkit.findings import Finding, ScannedFile, ScanReport
from weightkit.rules import finding
from weightkit.rules.fingerprints import fingerprinted
from weightkit.source import Source

SCHEMA_VERSION = 1
MAX_BASELINE = 64 << 20


@dataclass(frozen=True)
class Baseline:
    """The fingerprints in a baseline file."""

    path: str
    accepted: frozenset[str]


def read_baseline(path: str) -> Baseline:
    """Read a baseline. Raises PolicyError where it is none, AccessError."""
    with Source(path) as source:
        if source.size > MAX_BASELINE:
            raise PolicyError(f"{source.size} bytes of baseline", path=path)
        raw = source.pread(0, source.size)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"not JSON: {error}", path=path) from error
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise PolicyError(f"no baseline of schema_version {SCHEMA_VERSION}", path=path)
    rows = document.get("accepted")
    accepted: set[str] = set()
    for row in rows if isinstance(rows, list) else [None]:
        print_ = row.get("fingerprint") if isinstance(row, dict) else None
        if not isinstance(print_, str):
            raise PolicyError("accepted must be a list of fingerprints", path=path)
        accepted.add(print_)
    return Baseline(path, frozenset(accepted))


def apply_baseline(report: ScanReport, baseline: Baseline) -> ScanReport:
    """The report without the findings that were accepted before; verdicts of what is left."""
    hidden: set[str] = set()
    files = []
    count = 0
    for file in report.files:
        kept = []
        for item, print_ in _prints(file):
            if print_ in baseline.accepted and item.code not in UNSCANNED:
                hidden.add(print_)
                count += 1
            else:
                kept.append(item)
        left = tuple(kept)
        files.append(file._replace(findings=left, verdict=verdict(left)))
    notices = (*report.notices, *_stale(baseline, hidden))
    return report._replace(files=tuple(files), notices=notices, accepted=report.accepted + count)


def baseline_of(report: ScanReport) -> dict[str, Any]:
    """What ``--write-baseline`` writes: everything in the report that could be accepted."""
    rows = [
        {
            "fingerprint": print_,
            "code": item.code,
            "path": file.path,
            "subject": item.subject or None,
            "message": item.message,
        }
        for file in report.files
        for item, print_ in _prints(file)
        if item.severity != "note" and item.code not in UNSCANNED
    ]
    rows.sort(key=lambda row: (row["path"], row["code"], row["fingerprint"]))
    return {"schema_version": SCHEMA_VERSION, "accepted": rows}


def _prints(file: ScannedFile) -> Iterator[tuple[Finding, str]]:
    grave = any(item.severity == "danger" for item in file.findings)
    return fingerprinted(file.findings, _digest(file.path) if grave else "")


def _digest(path: str) -> str:
    """SHA-256 of a file; of one that cannot be read nothing was found in any bytes."""
    found = hashlib.sha256()
    try:
        with Source(path) as source:
            for chunk in source.chunks(0, source.size):
                found.update(chunk)
    except AccessError:
        return "unreadable"
    return found.hexdigest()


def _stale(baseline: Baseline, hidden: set[str]) -> Iterator[Finding]:
    stale = len(baseline.accepted - hidden)
    if stale:
        message = f"{stale} of {len(baseline.accepted)} accepted findings are not there any more"
        yield finding("WK963", message, path=baseline.path)
