#!/usr/bin/env python3
"""Score weightkit and its peers on the set of attacks.py, and write docs/score.md.

    scripts/bench/score.py [--venvs FOLDER] [--only TOOL,...] [--every N] [--timeout S] [--write]

Each peer is installed by pip, in its newest version, into a virtual environment of its own below
FOLDER (kept for the next time). Every file is given to every tool's command line, one at a time, by
itself, as a user or a CI job would. Nothing is loaded.
"""

from __future__ import annotations

import argparse
import collections
import csv
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

FOUND, SILENT, UNREAD, FAILED = "found", "silent", "not scanned", "crash or hang"

# fickling's command line reads plain pickles; zips are for its library.
FICKLING = """
import sys, zipfile
from fickling import scan_zip_archive
from fickling.__main__ import main
path = sys.argv[1]
if not zipfile.is_zipfile(path):
    sys.exit(main(["fickling", "--check-safety", path]))
results = scan_zip_archive(path).values()
print(*results)
sys.exit(0 if results and all(r.is_safe for r in results) else 1 if results else 3)
"""


class Tool(NamedTuple):
    """How a scanner is installed, asked, and understood."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    outcome: Callable[[int, str], str]
    note: str


def by_status(found: set[int], silent: set[int], unread: set[int]) -> Callable[[int, str], str]:
    def outcome(status: int, said: str) -> str:
        if "Traceback (most recent call last)" in said:
            return FAILED
        for statuses, name in ((found, FOUND), (silent, SILENT), (unread, UNREAD)):
            if status in statuses:
                return name
        return FAILED

    return outcome


def of_weightkit(status: int, said: str) -> str:
    try:
        verdicts = {file["verdict"] for file in json.loads(said)["files"]}
    except (ValueError, KeyError):
        return FAILED
    if verdicts & {"review", "unsafe"}:
        return FOUND
    return UNREAD if "unscanned" in verdicts or not verdicts else SILENT


def of_strict_weightkit(status: int, said: str) -> str:
    outcome = of_weightkit(status, said)
    return SILENT if outcome == FOUND and status != 1 else outcome


TOOLS = [
    Tool("weightkit", (), ("-m", "weightkit", "scan", "--json"), of_weightkit, "review or unsafe"),
    Tool(
        "weightkit, unsafe only",
        (),
        ("-m", "weightkit", "scan", "--json", "--fail-on", "unsafe"),
        of_strict_weightkit,
        "--fail-on unsafe",
    ),
    Tool(
        "picklescan",
        ("picklescan",),
        ("bin/picklescan", "-p"),
        by_status({1}, {0}, {2}),
        "exit 1; 2 is not scanned",
    ),
    Tool(
        "modelscan",
        ("modelscan",),
        ("bin/modelscan", "-p"),
        by_status({1}, {0}, {2, 3, 4}),
        "exit 1; 2 and 3 are not scanned",
    ),
    Tool(
        "fickling",
        ("fickling", "typing_extensions"),
        ("bin/python", "-c", FICKLING),
        by_status({1}, {0}, {2, 3}),
        "exit 1, or a zip's member is not LIKELY_SAFE; typing_extensions, which it lacks, is added",
    ),
    Tool(
        "modelaudit",
        ("modelaudit",),
        ("bin/modelaudit", "scan", "--format", "json"),
        by_status({1}, {0}, {2}),
        "exit 1 (a warning or worse); 2 is not scanned; telemetry off",
    ),
]


def install(tool: Tool, venvs: Path) -> tuple[list[str], str]:
    """The tool's command and version; its environment is made if it is not there."""
    if not tool.packages:
        import weightkit

        return [sys.executable, *tool.command], weightkit.__version__
    home = venvs / tool.name
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    if not (home / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([*pip, "-q", "install", *tool.packages], check=True)
        (home / "done").touch()
    shown = subprocess.run([*pip, "show", tool.packages[0]], capture_output=True, text=True)
    version = next(
        (line.split()[1] for line in shown.stdout.splitlines() if line.startswith("Version:")), "?"
    )
    return [str(home / tool.command[0]), *tool.command[1:]], version


class Run(NamedTuple):
    outcome: str
    seconds: float


def ask(tool: Tool, command: list[str], path: Path, cwd: str, timeout: float) -> Run:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT) if not tool.packages else "",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "1",
    }
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, str(path)],
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            env=environment,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Run(FAILED, timeout)
    seconds = time.perf_counter() - begun
    said = done.stdout if not tool.packages else done.stdout + done.stderr
    return Run(tool.outcome(done.returncode, said), seconds)


class Score(NamedTuple):
    tool: Tool
    version: str
    runs: list[Run]


def page(scores: list[Score], rows: list[dict[str, str]], every: int) -> str:
    bad = [number for number, row in enumerate(rows) if row["malicious"] == "1"]
    good = [number for number, row in enumerate(rows) if row["malicious"] == "0"]
    lines = [
        "# How scanners score",
        "",
        "Made by `scripts/bench/score.py --write`, which anyone can run again: it makes the files"
        " (`scripts/bench/attacks.py`), installs the newest version of every tool, and gives each file"
        " to each tool's command line.",
        "",
        f"{len(bad)} attacks and {len(good)} ordinary files"
        f"{f' (one in {every} of the set)' if every > 1 else ''}; {datetime.date.today()}, Python"
        f" {platform.python_version()}, {os.cpu_count()} cores.",
        "",
        "**Read it with this in mind:** the attacks are those of weightkit's own tests, most of them"
        " published by the projects compared here or by others, so weightkit knows all of them, and"
        " its own row shows only that its tests pass. What the table does show is what the others do"
        " with attacks that are public. Formats that a tool does not claim to read are in it as well;"
        " by kind, below, tells them apart.",
        "",
        "## All files",
        "",
        "| tool | attacks found | in silence | not scanned | crash or hang | ordinary files cried over"
        " | median s/file |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in scores:
        counts = collections.Counter(score.runs[number].outcome for number in bad)
        cried = sum(score.runs[number].outcome == FOUND for number in good)
        median = statistics.median(run.seconds for run in score.runs)
        share = f"{counts[FOUND] / len(bad):.0%}" if bad else "-"
        lines.append(
            f"| {score.tool.name} {score.version} | {counts[FOUND]} ({share}) | {counts[SILENT]}"
            f" | {counts[UNREAD]} | {counts[FAILED]} | {cried} of {len(good)} | {median:.2f} |"
        )
    lines += ["", "## By kind: found / attacks, and cried over / ordinary files", ""]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    names = " | ".join(score.tool.name for score in scores)
    lines += [f"| kind | {names} |", f"|---|{'---|' * len(scores)}"]
    for kind in kinds:
        cells = []
        for score in scores:
            parts = []
            for group in (bad, good):
                chosen = [number for number in group if rows[number]["kind"] == kind]
                hits = sum(score.runs[number].outcome == FOUND for number in chosen)
                parts.append(f"{hits}/{len(chosen)}" if chosen else "–")
            cells.append(", ".join(parts))
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "## What counts as found", ""]
    lines += [f"- {score.tool.name}: {score.tool.note}." for score in scores]
    lines += [
        "- In silence: the tool ends as it does for a clean file. Times are wall times of whole"
        " processes, start-up included.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "weightkit-score")
    parser.add_argument("--only", default="", help="tools by name, with commas")
    parser.add_argument("--every", type=int, default=1, help="take every Nth file only")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--write", action="store_true", help="write docs/score.md")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from scripts.bench.attacks import write

    chosen = [tool for tool in TOOLS if not options.only or tool.name in options.only.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="weightkit-score-"))
    try:
        write(folder / "set")
        with open(folder / "set" / "manifest.tsv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))[:: options.every]
        scores = []
        for tool in chosen:
            command, version = install(tool, options.venvs)
            runs = []
            for number, row in enumerate(rows):
                path = folder / "set" / row["path"]
                runs.append(ask(tool, command, path, str(folder), options.timeout))
                if runs[-1].outcome != FOUND and row["malicious"] == "1":
                    print(tool.name, runs[-1].outcome, row["path"], row["what"][:80], sep="\t")
                if runs[-1].outcome == FOUND and row["malicious"] == "0":
                    print(tool.name, "cried over", row["path"], row["what"][:80], sep="\t")
                if number % 50 == 0:
                    print(f"{tool.name}: {number}/{len(rows)}", file=sys.stderr)
            scores.append(Score(tool, version, runs))
    finally:
        shutil.rmtree(folder)
    text = page(scores, rows, options.every)
    if options.write:
        (ROOT / "docs" / "score.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
