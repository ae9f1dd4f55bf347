#!/usr/bin/env python3
"""Mutate good files and look at what weightkit makes of them, for as long as you like.

    scripts/fuzz.py [--seconds 60] [--iterations N] [--jobs 2] [--seed S] [--only WORD] [FILE...]

Starts from fixtures/ and the hostile files of the tests, or from the files given. Each mutant must
give an index or one typed error with file, code and offset, within 5 s and 300 MB, and must neither
run a program, open a socket nor load a pickle. Whatever does not is kept, with its seed, in
.fuzz/ and printed; exit status 1 then. The same seed, jobs and files give the same mutants.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import hostile

KEPT = ROOT / ".fuzz"
FUSE = 4 << 30
"""Address space of a worker: what would eat the machine dies of MemoryError instead."""
GROWTH = hostile.MEMORY


class Work(NamedTuple):
    number: int
    seed: int
    seconds: float
    iterations: int
    files: list[Path]


class Report(NamedTuple):
    worker: int
    done: int
    indexes: int
    errors: dict[str, int]
    crashes: list[str]
    """What was wrong and where the file is kept."""
    peak: int


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def through_the_command(path: Path, *options: str) -> None:
    """``weightkit inspect --json --tensors`` in this process: its exit status must be 0 or 3."""
    from weightkit.cli import group

    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    words = ["inspect", "--json", "--tensors", *options, str(path)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            group.main(words, prog_name="weightkit")
        except SystemExit as end:
            status = end.code
    if status not in (0, None, 2, 3) or "Traceback" in err.getvalue():
        raise AssertionError(f"exit status {status}: {err.getvalue()[-300:]}")
    json.loads(out.getvalue())


def leniently(path: Path) -> None:
    """The same for what can be described in spite of everything."""
    through_the_command(path, "--lenient")


LOOKS = [None, None, None, None, through_the_command, leniently]


def work(task: Work, answers: Queue[Report]) -> None:
    """Mutate until the time or the number is used up."""
    resource.setrlimit(resource.RLIMIT_AS, (FUSE, FUSE))
    hostile.judge(hostile.FIXTURES / "llama")
    hostile.judge(hostile.FIXTURES / "llama", through_the_command)
    hostile.forbid_side_effects()
    contents = {path: path.read_bytes() for path in task.files}
    end = time.monotonic() + task.seconds
    done, indexes, errors, crashes = 0, 0, dict[str, int](), list[str]()
    with tempfile.TemporaryDirectory(dir=ram_disk()) as folder:
        while time.monotonic() < end and done < task.iterations:
            chance = random.Random(f"{task.seed}-{task.number}-{done}")
            origin = chance.choice(task.files)
            mutant = Path(folder) / f"mutant{origin.suffix}"
            mutant.write_bytes(hostile.mutate(contents[origin], chance))
            before = peak_memory()
            verdict = hostile.judge(mutant, chance.choice(LOOKS))
            done += 1
            indexes += verdict.kind == "index"
            if verdict.kind == "error":
                errors[verdict.code] = errors.get(verdict.code, 0) + 1
            grown = peak_memory() - before
            if verdict.crashed or grown > GROWTH:
                reason = verdict.reason if verdict.crashed else f"took {grown >> 20} MiB"
                crashes.append(keep(mutant, origin, task, done - 1, reason))
    answers.put(Report(task.number, done, indexes, errors, crashes, peak_memory()))


def keep(mutant: Path, origin: Path, task: Work, iteration: int, reason: str) -> str:
    KEPT.mkdir(exist_ok=True)
    name = f"{origin.stem}-{task.seed}-{task.number}-{iteration}{origin.suffix}"
    (KEPT / name).write_bytes(mutant.read_bytes())
    line = f"{name}: {reason}"
    print(line, flush=True)
    return line


def ram_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def origins(folder: Path) -> list[Path]:
    """Fixtures, and the hostile files that are small enough to change."""
    files = hostile.seeds()
    for row in hostile.HOSTILE:
        path = folder / row.name
        row.build(path)
        if path.stat().st_size <= 1 << 16:
            files.append(path)
        else:
            path.unlink()
    return files


def summary(reports: list[Report]) -> str:
    done = sum(report.done for report in reports)
    codes: dict[str, int] = {}
    for report in reports:
        for code, count in report.errors.items():
            codes[code] = codes.get(code, 0) + count
    listed = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
    return (
        f"{done} mutants: {sum(report.indexes for report in reports)} indexes, "
        f"{sum(codes.values())} typed errors ({listed}), "
        f"{sum(len(report.crashes) for report in reports)} crashes; "
        f"peak {max(report.peak for report in reports) >> 20} MiB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--iterations", type=int, default=sys.maxsize, help="for each worker")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", default="", help="start from files with this in their path")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.jobs} workers", flush=True)
    with tempfile.TemporaryDirectory(dir=ram_disk()) as folder:
        files = arguments.files or origins(Path(folder))
        files = [path for path in files if arguments.only in str(path)]
        reports = fan_out(arguments, files)
    print(summary(reports))
    if len(reports) < arguments.jobs:
        print(f"{arguments.jobs - len(reports)} workers died", file=sys.stderr)
    return 1 if len(reports) < arguments.jobs or any(r.crashes for r in reports) else 0


def fan_out(arguments: argparse.Namespace, files: list[Path]) -> list[Report]:
    """The reports of all workers that came back."""
    context = multiprocessing.get_context("spawn")
    answers: Queue[Report] = context.Queue()
    tasks = [
        Work(number, arguments.seed, arguments.seconds, arguments.iterations, files)
        for number in range(arguments.jobs)
    ]
    workers = [context.Process(target=work, args=(task, answers)) for task in tasks]
    for worker in workers:
        worker.start()
    reports: list[Report] = []
    while len(reports) < len(workers):
        try:
            reports.append(answers.get(timeout=1))
        except Exception:  # queue.Empty: look whether anyone is left
            if not any(worker.is_alive() for worker in workers) and answers.empty():
                break
    for worker in workers:
        worker.join()
    return reports


if __name__ == "__main__":
    sys.exit(main())
