"""A reviewer's policy: which globals are allowed or denied, and how grave the rules are.

A TOML file, with a reason and an expiry date for every entry::

    [[allow]]
    global = "sklearn.svm._classes.SVC"
    reason = "our own model, reviewed in March"
    expires = 2027-03-31
    paths = ["models/*.pkl"]          # optional

    [[deny]]
    global = "argparse.Namespace"
    reason = "not in our checkpoints"
    expires = 2027-03-31

    [rules.WK910]
    severity = "note"
    reason = "remote code is reviewed elsewhere"
    expires = 2027-03-31

An allowed global is told as a note; a denied one makes its file unsafe. What was not read stays
unscanned, whatever a policy says. Entries that have expired do nothing and are reported, and so are
entries that nothing matched.
"""

from __future__ import annotations

import datetime
import fnmatch
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weightkit.analyses.safety import UNSCANNED, verdict
from weightkit.errors import PolicyError
from weightkit.findings import SEVERITIES, Finding, ScannedFile, ScanReport
from weightkit.rules import RULES, finding
from weightkit.source import Source

MAX_POLICY = 4 << 20
ALLOW, DENY, RULE = "allow", "deny", "rule"
_FIELDS = {
    ALLOW: {"global", "reason", "expires", "paths"},
    DENY: {"global", "reason", "expires", "paths"},
    RULE: {"severity", "reason", "expires", "paths"},
}


@dataclass(eq=False)
class Entry:
    """One entry: ``name`` is a global, or the code of a rule. ``used`` once it has matched."""

    kind: str
    name: str
    reason: str
    expires: datetime.date
    paths: tuple[str, ...] = ()
    severity: str = ""
    used: bool = field(default=False)

    def covers(self, path: str) -> bool:
        """Whether it is about the file at ``path``."""
        return not self.paths or any(fnmatch.fnmatch(path, pattern) for pattern in self.paths)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.reason}; expires {self.expires})"


@dataclass(frozen=True)
class Policy:
    """The entries of one file, those in force and those that have expired."""

    path: str
    entries: tuple[Entry, ...]
    expired: tuple[Entry, ...]

    def find(self, kind: str, name: str, path: str) -> Entry | None:
        """The entry in force for a global or code of the file at ``path``."""
        for entry in self.entries:
            if entry.kind == kind and entry.name == name and entry.covers(path):
                entry.used = True
                return entry
        return None


def read_policy(path: str, today: datetime.date | None = None) -> Policy:
    """Read a policy. Raises PolicyError for anything that it cannot mean, AccessError."""
    with Source(path) as source:
        if source.size > MAX_POLICY:
            raise PolicyError(f"{source.size} bytes of policy", path=path)
        raw = source.pread(0, source.size)
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"not TOML: {error}", path=path) from error
    try:
        entries = tuple(_entries(document))
    except _Wrong as error:
        raise PolicyError(str(error), path=path) from error
    day = today or datetime.datetime.now(datetime.UTC).date()
    valid = tuple(entry for entry in entries if entry.expires >= day)
    return Policy(path, valid, tuple(entry for entry in entries if entry.expires < day))


class _Wrong(Exception):
    """What is wrong with an entry."""


def _entries(document: Mapping[str, Any]) -> Iterator[Entry]:
    unknown = document.keys() - {ALLOW, DENY, "rules"}
    if unknown:
        raise _Wrong(f"unknown table {sorted(unknown)[0]!r}; there are allow, deny and rules")
    for kind in (ALLOW, DENY):
        tables = document.get(kind, [])
        if not isinstance(tables, list):
            raise _Wrong(f"{kind} must be a list: [[{kind}]]")
        for table in tables:
            yield _entry(kind, _text(table, "global", kind), table)
    rules = document.get("rules", {})
    for code, table in rules.items() if isinstance(rules, dict) else ():
        if code not in RULES:
            raise _Wrong(f"rules.{code}: there is no such rule")
        if code in UNSCANNED:
            raise _Wrong(f"rules.{code}: what was not read cannot be made to pass")
        severity = _text(table, "severity", f"rules.{code}")
        if severity not in SEVERITIES:
            raise _Wrong(f"rules.{code}: severity is {severity!r}, not one of {SEVERITIES}")
        yield replace(_entry(RULE, code, table), severity=severity)


def _entry(kind: str, name: str, table: Any) -> Entry:
    where = f"{kind} {name}"
    unknown = table.keys() - _FIELDS[kind]
    if unknown:
        raise _Wrong(f"{where}: unknown key {sorted(unknown)[0]!r}")
    expires = table.get("expires")
    if isinstance(expires, datetime.datetime) or not isinstance(expires, datetime.date):
        raise _Wrong(f"{where}: expires must be a date, as in expires = 2027-03-31")
    paths = table.get("paths", [])
    if not isinstance(paths, list) or not all(isinstance(item, str) for item in paths):
        raise _Wrong(f"{where}: paths must be a list of patterns")
    return Entry(kind, name, _text(table, "reason", where), expires, tuple(paths))


def _text(table: Any, key: str, where: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"{where}: {key} must be given, as a text")
    return value


# Applying


def apply_policy(report: ScanReport, policy: Policy) -> ScanReport:
    """The report as the policy has it: severities, verdicts, and notices about the policy."""
    files = tuple(_judged(file, policy) for file in report.files)
    return report._replace(files=files, notices=(*report.notices, *_notices(policy)))


def _judged(file: ScannedFile, policy: Policy) -> ScannedFile:
    findings = [_changed(item, file.path, policy) for item in file.findings]
    findings += _denied(file, policy)
    return file._replace(findings=tuple(findings), verdict=verdict(findings))


def _changed(item: Finding, path: str, policy: Policy) -> Finding:
    if item.code in UNSCANNED:
        return item
    rule = policy.find(RULE, item.code, path)
    if rule is not None:
        item = item._replace(severity=rule.severity)
    allow = policy.find(ALLOW, item.subject, path) if item.subject else None
    if allow is not None:
        message = f"{item.message} (allowed: {allow.reason})"
        item = item._replace(severity="note", message=message)
    return item


def _denied(file: ScannedFile, policy: Policy) -> Iterator[Finding]:
    named = {*file.globals, *(item.subject for item in file.findings)} - {""}
    for name in sorted(named):
        deny = policy.find(DENY, name, file.path)
        if deny is not None:
            message = f"names {name}, which the policy denies: {deny.reason}"
            yield finding("WK960", message, path=file.path, subject=name)


def _notices(policy: Policy) -> Iterator[Finding]:
    for entry in policy.expired:
        yield finding("WK961", f"expired: {entry}", path=policy.path, subject=entry.name)
    for entry in _unused(policy.entries):
        yield finding("WK962", f"matched nothing: {entry}", path=policy.path, subject=entry.name)


def _unused(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if not entry.used)
