"""From paths to verdicts: every file opened, recognised, examined and judged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from weightkit.analyses.decompile import decompile
from weightkit.analyses.listing import EVERYTHING, Wanted, list_files
from weightkit.analyses.safety import judge, resolve, verdict
from weightkit.archives import Budget
from weightkit.collecting import paused_collection
from weightkit.errors import AccessError, WeightkitError
from weightkit.findings import (
    Examination,
    Finding,
    ProgramText,
    ScannedFile,
    ScanReport,
    SkippedFile,
)
from weightkit.opening.examining import TORCHSCRIPT_CODE, Examined, examine
from weightkit.opening.folders import INDEX
from weightkit.opening.recognition import promised
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

IN_PICKLES = 128 << 20
"""Bytes inflated out of the files inside pickles: torch writes none of those compressed."""

MAX_LISTED = 50
"""Files of code that a finding names."""


def scan(
    paths: Sequence[str],
    *,
    explain: bool = False,
    wanted: Wanted = EVERYTHING,
    jobs: int = 1,
) -> ScanReport:
    """Judge files, and all files below folders. Never raises for what a file holds.

    What is asked for by name and cannot be read is ``unscanned``; files of a folder that are no
    weights are listed as skipped, with the reason.
    """
    listed = [*list_files(paths, wanted)]
    asked = [item.path for item in listed if not item.reason and item.error is None]
    judged = _judged(asked, explain, jobs)
    files: list[ScannedFile] = []
    skipped: list[SkippedFile] = []
    for item in listed:
        if item.reason:
            skipped.append(SkippedFile(item.path, item.reason))
            continue
        found = _refused(item.path, item.error) if item.error is not None else next(judged)
        if item.in_folder and _is_other(item.path, found):
            skipped.append(SkippedFile(item.path, found.findings[0].message))
        else:
            files.append(found)
    return ScanReport(tuple(files), tuple(skipped))


def _judged(paths: Sequence[str], explain: bool, jobs: int) -> Iterator[ScannedFile]:
    """The files in their order, by so many processes."""
    judge_one = partial(scan_file, explain=explain)
    if jobs <= 1 or len(paths) < 2:
        yield from map(judge_one, paths)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with ProcessPoolExecutor(min(jobs, len(paths)), mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(judge_one, paths, chunksize=1 + len(paths) // (jobs * 8))
        except BrokenProcessPool as error:
            raise AccessError("a process that scanned was ended from outside") from error


def scan_file(path: str, *, explain: bool = False) -> ScannedFile:
    """Judge one file, and an index of shards also by whether they are there."""
    try:
        with Source(path) as source:
            scanned = scan_reader(source, explain=explain)
            source.check_unchanged()
        if not INDEX.match(os.path.basename(path)):
            return scanned
        from weightkit.analyses.absent import absent_shards

        found = (*scanned.findings, *absent_shards(path))
        return scanned._replace(findings=found, verdict=verdict(found))
    except WeightkitError as error:
        return _refused(path, error)


def scan_reader(source: Reader, *, explain: bool = False) -> ScannedFile:
    """Judge the bytes of one file, wherever they are. Raises AccessError only."""
    with paused_collection():
        examined = examine(source, tensors=False, look=_look)
        found = (*findings(examined), *metadata_findings(examined, source))
        texts = tuple(program_texts(examined)) if explain else ()
        names = tuple(sorted(globals_named(examined)))
        return ScannedFile(source.path, verdict(found), examined.format, found, texts, names)


def _refused(path: str, error: WeightkitError) -> ScannedFile:
    """A file of which nothing could be read."""
    return ScannedFile(path, "unscanned", "", (_as_finding(error, path),))


def _as_finding(error: WeightkitError, path: str) -> Finding:
    faults = Faults(path, error.entry)
    faults.add(error.code or "WK010", error.message, error.offset)
    return faults.all()[0]


def findings(examined: Examined) -> Iterator[Finding]:
    """The faults of a file and of everything inside it, and the judgement of its programs."""
    budget = Budget(IN_PICKLES)
    yield from examined.examination.faults
    for part in examined.all():
        if part is not examined and not _is_no_weights(part.name, part.examination.faults):
            yield from part.examination.faults
        for program in part.examination.programs:
            yield from judge(program, program.reader, budget=budget)
        index = part.index
        if index is not None and index.container == "torchscript":
            faults = Faults(index.path, part.name if part is not examined else "")
            code = [item.name for item in part.parts if item.format == TORCHSCRIPT_CODE]
            message = f"a TorchScript archive: {len(code)} files of code for torch's interpreter"
            faults.add("WK814", message, evidence=", ".join(code[:MAX_LISTED]))
            yield from faults.all()


def metadata_findings(examined: Examined, source: Reader) -> Iterator[Finding]:
    """What the templates in the metadata of weight files would do."""
    for part in examined.all():
        if part.index is not None and part.index.metadata:
            from weightkit.analyses.configs import judge_index

            yield from judge_index(part.index, source if part is examined else None)


def _look(source: Reader, head: bytes) -> tuple[str, Examination] | None:
    # Its tables take as long to load as a small checkpoint takes to scan.
    from weightkit.analyses.folder import look

    return look(source, head)


def program_texts(examined: Examined) -> Iterator[ProgramText]:
    """Every program as pseudo-Python."""
    for part in examined.all():
        for program in part.examination.programs:
            for reading in (program, *program.others):
                yield ProgramText(program.entry, program.start, tuple(decompile(reading)))


def globals_named(examined: Examined) -> set[str]:
    """Every global in the programs of a file, under its present name."""
    return {
        resolve(node).path
        for part in examined.all()
        for program in part.examination.programs
        for node in program.globals
        if not node.operands
    }


def _is_other(path: str, found: ScannedFile) -> bool:
    """Whether a file of a folder is no weight file at all: text, a config, a picture."""
    return found.verdict == "unscanned" and _is_no_weights(path, found.findings)


def _is_no_weights(name: str, found: Iterable[Finding]) -> bool:
    """Whether nobody reads a file, and neither its content nor its name promises weights."""
    codes = {item.code for item in found}
    named = promised(name) or name.lower().endswith(WEIGHTS)
    return bool(codes) and codes <= {"WK003", "WK004"} and not named
