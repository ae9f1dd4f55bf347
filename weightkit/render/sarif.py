"""A scan as SARIF 2.1.0, for code scanning services and editors.

Offsets are given as ``byteOffset``; the line is always 1, which services want to see and which is
true of a binary file. The finding's own fields (effect, evidence, remedy) are properties.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from weightkit.findings import Finding, ScannedFile, ScanReport
from weightkit.render import json
from weightkit.rules import RULES, Rule
from weightkit.rules.fingerprints import fingerprinted
from weightkit.text import safe_text

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"note": "note", "warning": "warning", "danger": "error"}
SCORES = {"note": "1.0", "warning": "5.0", "danger": "9.0"}
"""How code scanning services rank them, out of ten."""
ROOT = "%SRCROOT%"


def document(report: ScanReport, version: str, status: int = 0) -> dict[str, Any]:
    """A log with one run. ``status`` is the exit status that the scan comes to."""
    used = sorted({item.code for file in report.files for item in file.findings})
    places = {code: number for number, code in enumerate(used)}
    results = [result for file in report.files for result in _results(file, places)]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(version, used)},
                "columnKind": "unicodeCodePoints",
                "invocations": [_invocation(report, status)],
                "artifacts": [_artifact(file) for file in report.files],
                "results": results,
            }
        ],
    }


def text(report: ScanReport, version: str, status: int = 0) -> str:
    """The log as text."""
    return json.text(document(report, version, status))


def _driver(version: str, codes: Iterable[str]) -> dict[str, Any]:
    return {
        "name": "weightkit",
        "version": version,
        "semanticVersion": version,
        "rules": [_rule(RULES[code]) for code in codes],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.title() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.what},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": ["security"], "security-severity": SCORES[rule.severity]},
    }


def _invocation(report: ScanReport, status: int) -> dict[str, Any]:
    return {
        "executionSuccessful": not any(file.verdict == "unscanned" for file in report.files),
        "exitCode": status,
        "toolExecutionNotifications": [*_notifications(report)],
    }


def _notifications(report: ScanReport) -> Iterator[dict[str, Any]]:
    for notice in report.notices:
        yield {"level": LEVELS[notice.severity], "message": _message(notice.message)}
    for file in report.skipped:
        yield {
            "level": "note",
            "message": _message(f"skipped {file.path}: {file.reason}"),
            "locations": [{"physicalLocation": {"artifactLocation": _location(file.path)}}],
        }


def _artifact(file: ScannedFile) -> dict[str, Any]:
    return {
        "location": _location(file.path),
        "properties": {"verdict": file.verdict, "format": file.format},
    }


def _results(file: ScannedFile, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    for item, print_ in fingerprinted(file.findings):
        yield {
            "ruleId": item.code,
            "ruleIndex": places[item.code],
            "level": LEVELS[item.severity],
            "message": _message(item.message),
            "locations": [_place(file, item)],
            "partialFingerprints": {"weightkit/v1": print_},
            "properties": _properties(file, item),
        }


def _place(file: ScannedFile, item: Finding) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": 1}
    if item.offset is not None:
        region["byteOffset"] = item.offset
    place: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": _location(file.path), "region": region}
    }
    if item.entry:
        name = safe_text(item.entry)
        place["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    return place


def _properties(file: ScannedFile, item: Finding) -> dict[str, Any]:
    named = {
        "verdict": file.verdict,
        "subject": item.subject,
        "opcode": item.opcode,
        "tensor": item.tensor,
        "evidence": item.evidence,
        "effect": item.effect,
        "remedy": item.remedy,
    }
    return {key: safe_text(value) for key, value in named.items() if value}


def _message(message: str) -> dict[str, str]:
    return {"text": safe_text(message)}


def _location(path: str) -> dict[str, str]:
    """A URI: relative to the folder of the run where it can be, else absolute."""
    slashed = path.replace(os.sep, "/")
    while slashed.startswith("./"):
        slashed = slashed[2:]
    uri = quote(slashed.encode("utf-8", "surrogateescape"), safe="/-._~!$&'()*+,=@")
    if slashed.startswith("/"):
        return {"uri": f"file://{uri}"}
    return {"uri": uri or ".", "uriBaseId": ROOT}
