"""The view of ``weightkit scan``: a verdict per file, and everything behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from weightkit.findings import Finding, ScannedFile, ScanReport
from weightkit.render import findings
from weightkit.render.blocks import Block, Cell, Column, Facts, Lines, Table, Text, Title, Wish
from weightkit.render.json import plain

STYLES = {"safe": "note", "review": "warning", "unscanned": "warning", "unsafe": "danger"}


def to_json(report: ScanReport, wish: Wish) -> dict[str, Any]:
    """``files[]``, each with path, verdict and findings; ``skipped[]``; counts by verdict."""
    return {
        "summary": _counts(report),
        "files": [plain(item) for item in report.files],
        "skipped": [plain(item) for item in report.skipped],
        "notices": [plain(item) for item in report.notices],
        "accepted": report.accepted,
    }


def _counts(report: ScanReport) -> dict[str, int]:
    counts = Counter(item.verdict for item in report.files)
    kinds = ("safe", "review", "unsafe", "unscanned")
    return {**{kind: counts[kind] for kind in kinds}, "skipped": len(report.skipped)}


def to_blocks(report: ScanReport, wish: Wish) -> Iterator[Block]:
    """Files with something to say in full, then what was looked at altogether."""
    for item in report.files:
        yield Title(item.path, item.verdict)
        if item.findings:
            yield _table(item)
        for program in item.programs:
            rows = [f"0x{offset:<8x} {line}" for offset, line in program.lines]
            yield Lines(rows, f"{program.entry or 'pickle'} @ 0x{program.start:x}")
    yield from findings.to_blocks(report.notices, wish)
    yield Facts([("scanned", _summary(report))])


def _summary(report: ScanReport) -> str:
    if not report.files and not report.skipped:
        return "nothing: no file is there"
    counts = _counts(report)
    scanned = len(report.files) - counts["unscanned"]
    kinds = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("unsafe", "review", "safe") if counts[kind]
    )
    text = f"{scanned} of {len(report.files)} files{': ' + kinds if kinds else ''}"
    if counts["unscanned"]:
        text += f"; {counts['unscanned']} unscanned"
    if report.skipped:
        text += f"; {len(report.skipped)} skipped (no weight files, or not asked for)"
    if report.accepted:
        text += f"; {report.accepted} findings accepted by the baseline"
    return text


def _table(item: ScannedFile) -> Table:
    rows: list[list[Cell]] = []
    for found, alike in findings.ranked(item.findings):
        line = findings.message(found, in_file=True)
        rows.append([Text(found.severity, found.severity), Text(found.code, "quiet"), line])
        if alike:
            rows.append([Text("", ""), Text("", "quiet"), alike])
        for label, text in _details(found):
            rows.append([Text("", ""), Text(label, "quiet"), text])
    return Table([Column(""), Column(""), Column("")], rows)


def _details(found: Finding) -> Iterator[tuple[str, str]]:
    if found.evidence:
        yield "would run", found.evidence
    if found.effect:
        yield "effect", found.effect
    if found.severity != "note":
        yield "do", found.remedy
