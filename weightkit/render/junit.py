"""A scan as JUnit XML, which most CI servers show: a test case for every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from xml.etree import ElementTree

from weightkit.findings import Finding, ScannedFile, ScanReport
from weightkit.text import safe_text

FAILING = frozenset(["review", "unsafe"])


def text(report: ScanReport, failing: Collection[str] = FAILING) -> str:
    """The report as XML; files with a verdict in ``failing`` fail, unscanned ones are errors."""
    counts = Counter(_outcome(file, failing) for file in report.files)
    suite = ElementTree.Element(
        "testsuite",
        name="weightkit scan",
        tests=str(len(report.files) + len(report.skipped)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(len(report.skipped)),
    )
    for file in report.files:
        _case(suite, file, failing)
    for skipped in report.skipped:
        case = ElementTree.SubElement(
            suite, "testcase", classname="weightkit", name=_safe(skipped.path)
        )
        ElementTree.SubElement(case, "skipped", message=_safe(skipped.reason))
    if report.notices:
        lines = [_line(notice) for notice in report.notices]
        ElementTree.SubElement(suite, "system-err").text = "\n".join(lines)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _outcome(file: ScannedFile, failing: Collection[str]) -> str:
    if file.verdict in failing:
        return "failure"
    return "error" if file.verdict == "unscanned" else ""


def _case(suite: ElementTree.Element, file: ScannedFile, failing: Collection[str]) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname="weightkit", name=_safe(file.path))
    told = "\n\n".join(_told(item) for item in file.findings)
    outcome = _outcome(file, failing)
    if outcome:
        first = _line(file.findings[0]) if file.findings else file.verdict
        ElementTree.SubElement(case, outcome, type=file.verdict, message=first).text = told
    elif told:
        ElementTree.SubElement(case, "system-out").text = told


def _line(item: Finding) -> str:
    place = "" if item.offset is None else f" @ 0x{item.offset:x}"
    where = f" ({item.entry}{place})" if item.entry else place
    return _safe(f"{item.code} {item.severity}: {item.message}{where}")


def _told(item: Finding) -> str:
    details = [
        f"  {label}: {_safe(text)}"
        for label, text in (
            ("would run", item.evidence),
            ("effect", item.effect),
            ("do", item.remedy),
        )
        if text
    ]
    return "\n".join([_line(item), *details])


def _safe(text: str) -> str:
    """``text`` with what XML cannot hold escaped; ElementTree sees to the markup."""
    return safe_text(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
