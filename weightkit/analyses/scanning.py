"""From paths to verdicts: every file opened, recognised, examined and judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from weightkit.analyses.configs import judge_index
from weightkit.analyses.decompile import decompile
from weightkit.analyses.folder import look
from weightkit.analyses.safety import judge, verdict
from weightkit.collecting import paused_collection
from weightkit.errors import AccessError, WeightkitError
from weightkit.opening.examining import Examined, examine
from weightkit.opening.recognition import promised
from weightkit.reports import Finding, ProgramText, ScannedFile, ScanReport, SkippedFile
from weightkit.rules import Faults
from weightkit.source import Reader, Source

WEIGHTS = (
    ".bin",
    ".h5",
    ".hdf5",
    ".keras",
    ".onnx",
    ".pb",
    ".tflite",
    ".zip",
    ".tar",
    ".gz",
    ".7z",
)
"""Suffixes that may hold weights, beside those that promise a format that is read."""


def scan(
    paths: Iterable[str], *, explain: bool = False, follow_symlinks: bool = False
) -> ScanReport:
    """Judge files, and all files below folders. Never raises for what a file holds.

    What is asked for by name and cannot be read is ``unscanned``; files of a folder that are no
    weights are listed as skipped, with the reason.
    """
    files: list[ScannedFile] = []
    skipped: list[SkippedFile] = []
    for path in paths:
        if os.path.isdir(path):
            _scan_folder(path, explain, follow_symlinks, files, skipped)
        else:
            files.append(scan_file(path, explain=explain))
    return ScanReport(tuple(files), tuple(skipped))


def scan_file(path: str, *, explain: bool = False) -> ScannedFile:
    """Judge one file."""
    try:
        with Source(path) as source, paused_collection():
            examined = examine(source, tensors=False, look=look)
            found = (*findings(examined), *metadata_findings(examined, source))
            source.check_unchanged()
            texts = tuple(program_texts(examined)) if explain else ()
            return ScannedFile(path, verdict(found), examined.format, found, texts)
    except WeightkitError as error:
        return ScannedFile(path, "unscanned", "", (_as_finding(error, path),))


def _as_finding(error: WeightkitError, path: str) -> Finding:
    faults = Faults(path, error.entry)
    faults.add(error.code or "WK010", error.message, error.offset)
    return faults.all()[0]


def findings(examined: Examined) -> Iterator[Finding]:
    """The faults of a file and of everything inside it, and the judgement of its programs."""
    yield from examined.examination.faults
    for part in examined.all():
        if part is not examined and not _is_no_weights(part.name, part.examination.faults):
            yield from part.examination.faults
        for program in part.examination.programs:
            yield from judge(program, program.reader)
        index = part.index
        if index is not None and index.container == "torchscript":
            faults = Faults(index.path, part.name if part is not examined else "")
            faults.add("WK814", "a TorchScript archive: a program for torch's interpreter")
            yield from faults.all()


def metadata_findings(examined: Examined, source: Reader) -> Iterator[Finding]:
    """What the templates in the metadata of weight files would do."""
    for part in examined.all():
        if part.index is not None:
            yield from judge_index(part.index, source if part is examined else None)


def program_texts(examined: Examined) -> Iterator[ProgramText]:
    """Every program as pseudo-Python."""
    for part in examined.all():
        for program in part.examination.programs:
            for reading in (program, *program.others):
                yield ProgramText(program.entry, program.start, tuple(decompile(reading)))


def _scan_folder(
    folder: str,
    explain: bool,
    follow: bool,
    files: list[ScannedFile],
    skipped: list[SkippedFile],
) -> None:
    def unreadable(error: OSError) -> None:
        reason = AccessError(
            error.strerror or "unreadable", path=error.filename or "", code="WK010"
        )
        files.append(ScannedFile(reason.path, "unscanned", "", (_as_finding(reason, reason.path),)))

    for path in _walk(folder, follow, unreadable):
        found = scan_file(path, explain=explain)
        if _is_other(path, found):
            skipped.append(SkippedFile(path, found.findings[0].message))
        else:
            files.append(found)


def _walk(folder: str, follow: bool, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    for base, folders, names in os.walk(folder, onerror=unreadable, followlinks=follow):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(base, name)


def _is_other(path: str, found: ScannedFile) -> bool:
    """Whether a file of a folder is no weight file at all: text, a config, a picture."""
    return found.verdict == "unscanned" and _is_no_weights(path, found.findings)


def _is_no_weights(name: str, found: Iterable[Finding]) -> bool:
    """Whether nobody reads a file, and neither its content nor its name promises weights."""
    codes = {item.code for item in found}
    named = promised(name) or name.lower().endswith(WEIGHTS)
    return bool(codes) and codes <= {"WK003", "WK004"} and not named
