#!/usr/bin/env python3
"""Measure weightkit against the bars: whole processes, both sides in turn, medians.

    scripts/bench/run.py [--files DIR] [--runs 5] [--rows WORD] [--write]

Run it with the Python of .venv-test, which has torch, gguf and safetensors. ``--write`` puts the
table into docs/bench.md and leaves its notes as they are. A row to add is an entry in ROWS; a file to add, one in make_files.FILES.
Exit status 1 when a bar is not held.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
import make_files

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/bench.md"
NOTES = "## Notes\n"
MIB = 1 << 20

TORCH_LIST = """
import sys, torch
tensors = torch.load(sys.argv[1], mmap={mmap}, weights_only=True, map_location="cpu")
for name, tensor in tensors.items():
    print(name, tensor.dtype, tuple(tensor.shape))
"""
SAFE_OPEN_LIST = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as file:
    for name in file.keys():
        part = file.get_slice(name)
        print(name, part.get_dtype(), part.get_shape())
"""


TORCH_CONVERT = """
import sys, torch
from safetensors.torch import save_file
tensors = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
save_file(tensors, sys.argv[2], metadata={"format": "pt"})
"""
REFERENCE_CONVERT = """
import sys, torch
from collections import defaultdict
from safetensors.torch import load_file, save_file
loaded = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
shared = defaultdict(list)
for name, tensor in loaded.items():
    shared[tensor.untyped_storage().data_ptr()].append(name)
for names in shared.values():
    for name in sorted(names)[1:]:
        del loaded[name]
loaded = {name: tensor.contiguous() for name, tensor in loaded.items()}
save_file(loaded, sys.argv[2], metadata={"format": "pt"})
again = load_file(sys.argv[2])
assert all(torch.equal(again[name], tensor) for name, tensor in loaded.items())
"""
TORCH_CAST = """
import sys, torch
from safetensors.torch import load_file, save_file
tensors = load_file(sys.argv[1])
save_file({name: tensor.to(torch.float16) for name, tensor in tensors.items()}, sys.argv[2])
"""


class Row(NamedTuple):
    """One comparison. Words ``{file}``, ``{other}`` and ``{copy}`` of a command stand for paths, ``{out}``
    for one that is not there."""

    work: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    file: str = ""
    other: str = ""
    copy: str = ""
    ratio: float = 0
    """Our figure must be at most this many times theirs."""
    figure: str = "cpu"
    extra_ms: float = 0
    """Or: at most this many milliseconds of wall time more."""
    peak_mib: float = 0
    """Our peak memory must be at most this."""
    note: str = ""
    out: str = ""
    """``{out}`` ends like this."""


PYTHON = sys.executable
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
}
"""Every library that is compared was compiled when it was installed; the warm-up compiles ours. And
no side writes its lines one by one."""
WEIGHTKIT = (PYTHON, "-m", "weightkit")
OPENSSL = ("openssl", "dgst", "-sha256", "{file}")
FOUR = ("{file}",) * 4


def torch_list(mmap: bool) -> tuple[str, ...]:
    return (PYTHON, "-c", TORCH_LIST.format(mmap=mmap), "{file}")


def growth(suffix: str) -> Row:
    """The same number of tensors in a thousand times the bytes."""
    return Row(
        f"inspect a 1 GiB {suffix} (300 tensors)",
        (*WEIGHTKIT, "inspect", "{file}"),
        (*WEIGHTKIT, "inspect", "{other}"),
        f"1GiB{suffix}",
        f"1MiB{suffix}",
        extra_ms=30,
        peak_mib=60,
        note="against the same with 1 MiB",
    )


START_UP = 20
"""MiB that the command takes before it does anything."""


def moved(work: str, file: str, out: str, *options: str) -> Row:
    """A conversion that copies bytes, beside ``cp``."""
    ours = (*WEIGHTKIT, "convert", "{file}", "{out}", "--no-verify", *options)
    return Row(
        f"convert {work}, --no-verify",
        ours,
        ("cp", "-r", "{file}", "{out}"),
        file,
        ratio=1.25 if out == ".safetensors" and file.endswith(".bin") else 1.3,
        figure="wall",
        peak_mib=START_UP + 64,
        note="against `cp`",
        out=out,
    )


def converted(
    work: str, script: str, file: str, ratio: float, peak: float, *options: str, note: str
) -> Row:
    """A conversion with everything that it does by default, beside a script."""
    ours = (*WEIGHTKIT, "convert", "{file}", "{out}", *options)
    theirs = (PYTHON, "-c", script, "{file}", "{out}")
    return Row(
        work,
        ours,
        theirs,
        file,
        ratio=ratio,
        figure="wall",
        peak_mib=START_UP + peak,
        note=note,
        out=".safetensors",
    )


TORCH_STATS = """
import sys, torch
from safetensors import safe_open
with safe_open(sys.argv[1], framework="pt") as file:
    for name in file.keys():
        w = file.get_tensor(name).float()
        print(name, w.min(), w.max(), w.mean(), w.std(), (w == 0).sum(), w.isnan().sum())
"""
NUMPY_STATS = """
import sys, ml_dtypes, numpy as np
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as file:
    for name in file.keys():
        w = file.get_tensor(name).astype(np.float32)
        print(name, w.min(), w.max(), w.mean(), w.std(), (w == 0).sum(), np.isnan(w).sum())
"""


def counted(script: str, library: str) -> Row:
    """Statistics of all values beside a plain script that makes a float32 of each tensor."""
    return Row(
        "statistics of a 2 GiB checkpoint in bf16 with 201 tensors",
        (*WEIGHTKIT, "stats", "{file}"),
        (PYTHON, "-c", script, "{file}"),
        "llama.safetensors",
        ratio=0.5,
        figure="wall",
        peak_mib=300,
        note=f"against min, max, mean, std, zeros, NaN with {library}",
    )


DECODE_HEADERS = """
import json, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with path.open("rb") as file:
        json.loads(file.read(int.from_bytes(file.read(8), "little")))
"""


def scanned(work: str, file: str, ratio: float) -> Row:
    """Beside picklescan, which must be on the PATH."""
    ours, theirs = (*WEIGHTKIT, "scan", "{file}"), ("picklescan", "-p", "{file}")
    return Row(work, ours, theirs, file, ratio=ratio, note="against picklescan")


ROWS = [
    Row(
        "inspect DeepSeek-V3 in FP8: 91,991 tensors in 138 shards, 688 GB",
        (*WEIGHTKIT, "inspect", "{file}"),
        (PYTHON, "-c", DECODE_HEADERS, "{file}"),
        "deepseek-v3",
        ratio=4.5,
        peak_mib=250,
        note="against reading and JSON-decoding its headers",
    ),
    scanned("scan a 1 GiB `.pt` with 300 tensors", "1GiB.pt", 1),
    scanned("scan a `.pt` with 20,000 tensors", "many.pt", 1 / 3),
    Row(
        "`weightkit --help`",
        (*WEIGHTKIT, "--help"),
        (PYTHON, "-c", "import click"),
        ratio=1.5,
        note='against `python -c "import click"`',
    ),
    Row(
        "list a GGUF with 262,144 tokens and merges",
        (*WEIGHTKIT, "inspect", "--tensors", "{file}"),
        (PYTHON, "-m", "gguf.scripts.gguf_dump", "{file}"),
        "vocabulary.gguf",
        ratio=1 / 50,
        peak_mib=60,
        note="against `gguf-dump`",
    ),
    Row(
        "list a `.pt` with 20,000 tensors",
        (*WEIGHTKIT, "inspect", "--tensors", "{file}"),
        torch_list(mmap=True),
        "many.pt",
        ratio=1 / 5,
        note="against `torch.load(mmap=True, weights_only=True)`",
    ),
    Row(
        "list a legacy `.pt` with 20,000 tensors",
        (*WEIGHTKIT, "inspect", "--tensors", "{file}"),
        torch_list(mmap=False),
        "many-legacy.pt",
        ratio=1 / 5,
        note="against `torch.load(weights_only=True)`, which cannot map it",
    ),
    Row(
        "list a legacy `.pt` of 2.2 GB (201 tensors)",
        (*WEIGHTKIT, "inspect", "--tensors", "{file}"),
        torch_list(mmap=False),
        "large-legacy.pt",
        ratio=1 / 20,
        note="against `torch.load(weights_only=True)`, which cannot map it",
    ),
    Row(
        "inspect a safetensors with 50,000 tensors, components counted",
        (*WEIGHTKIT, "inspect", "{file}"),
        (PYTHON, "-c", SAFE_OPEN_LIST, "{file}"),
        "many.safetensors",
        ratio=1.5,
        note='against `safe_open(framework="np")`, name, dtype and shape of each',
    ),
    growth(".pt"),
    growth(".safetensors"),
    growth(".gguf"),
    Row(
        "checksum of a 2 GiB file",
        (*WEIGHTKIT, "checksum", "--no-cache", "{file}"),
        OPENSSL,
        "2GiB.safetensors",
        ratio=1.1,
        figure="wall",
        note="against `openssl dgst -sha256`",
    ),
    Row(
        "checksum of four 1 GiB files on two cores",
        (*WEIGHTKIT, "checksum", "--no-cache", "--jobs", "2", *FOUR),
        (*WEIGHTKIT, "checksum", "--no-cache", "--jobs", "1", *FOUR),
        "1GiB.safetensors",
        ratio=1 / 1.8,
        figure="wall",
        note="against one after another",
    ),
    Row(
        "content id of a 2 GiB checkpoint with 200 tensors",
        (*WEIGHTKIT, "id", "--jobs", "2", "{file}"),
        OPENSSL,
        "2GiB.safetensors",
        ratio=0.6,
        figure="wall",
        peak_mib=150,
        note="on two cores, against `openssl dgst -sha256`",
    ),
    counted(NUMPY_STATS, "numpy"),
    counted(TORCH_STATS, "torch"),
    moved("a `.bin` of 2.2 GB to safetensors", "llama.bin", ".safetensors"),
    moved("a legacy `.pt` of 2.2 GB to safetensors", "llama-legacy.pt", ".safetensors"),
    moved("a `.bin` of 2.2 GB to shards", "llama.bin", "", "--shard-size", "500MB"),
    moved("a safetensors of 2.2 GB to shards", "llama.safetensors", "", "--shard-size", "500MB"),
    converted(
        "convert a `.bin` of 2.2 GB to safetensors, verified",
        REFERENCE_CONVERT,
        "llama.bin",
        0.45,
        64,
        note="against torch: load, de-duplicate, save, reload, compare",
    ),
    converted(
        "convert a `.bin` of 20,000 tensors to safetensors, verified",
        TORCH_CONVERT,
        "many-values.bin",
        0.25,
        64,
        note="against `torch.load` and `save_file`",
    ),
    converted(
        "convert a `.bin` of 20,000 tensors to safetensors, --no-verify",
        TORCH_CONVERT,
        "many-values.bin",
        0.25,
        64,
        "--no-verify",
        note="against `torch.load` and `save_file`, which do not verify either",
    ),
    converted(
        "cast a safetensors of 2.2 GB from BF16 to F16, verified",
        TORCH_CAST,
        "llama.safetensors",
        0.5,
        250,
        "--dtype",
        "f16",
        note="against torch: load, `.to`, save",
    ),
    converted(
        "cast a safetensors of 2.2 GB from BF16 to F16, --no-verify",
        TORCH_CAST,
        "llama.safetensors",
        0.5,
        250,
        "--no-verify",
        "--dtype",
        "f16",
        note="against torch: load, `.to`, save, which does not verify either",
    ),
    Row(
        "diff of two identical 2 GiB checkpoints, safetensors and `.pt`",
        (*WEIGHTKIT, "diff", "{file}", "{other}"),
        ("cmp", "{file}", "{copy}"),
        "2GiB.safetensors",
        "2GiB.pt",
        "2GiB-copy.safetensors",
        ratio=1.5,
        figure="wall",
        peak_mib=150,
        note="against `cmp` of two files of that size",
    ),
]


class Cost(NamedTuple):
    """What one process took, as the kernel accounts for it."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    peak: int
    """Bytes of resident memory at most."""


class Answer(NamedTuple):
    row: Row
    ours: Cost
    theirs: Cost


def run(command: tuple[str, ...]) -> Cost:
    """Run a command to its end, its output thrown away; SystemExit if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}: {process.returncode}\n{complaint.decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def run_anew(command: tuple[str, ...], out: Path) -> Cost:
    """Run a command whose output must not be there yet, and remove it."""
    try:
        return run(command)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        out.unlink(missing_ok=True)


def medians(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.wall for cost in costs),
        int(statistics.median(cost.peak for cost in costs)),
    )


def measure(row: Row, folder: Path, runs: int) -> Answer:
    """Both sides in turn, once to warm up and then ``runs`` times."""
    out = folder / f"out{Path(row.out).suffix}"
    paths = {f"{{{name}}}": str(folder / getattr(row, name)) for name in ("file", "other", "copy")}
    paths["{out}"] = str(out)
    sides = [tuple(paths.get(word, word) for word in side) for side in (row.ours, row.theirs)]
    taken = [[run_anew(side, out) for side in sides] for _ in range(runs + 1)][1:]
    ours, theirs = (medians([pair[side] for pair in taken]) for side in (0, 1))
    return Answer(row, ours, theirs)


def ratio(answer: Answer) -> float:
    return getattr(answer.ours, answer.row.figure) / getattr(answer.theirs, answer.row.figure)


def misses(answer: Answer) -> list[str]:
    """The bars of its row that an answer does not hold."""
    row, missed = answer.row, []
    if row.ratio and ratio(answer) > row.ratio:
        missed.append(f"{ratio(answer):.3g} times, over {row.ratio:.3g}")
    if row.extra_ms and 1000 * (answer.ours.wall - answer.theirs.wall) > row.extra_ms:
        missed.append(f"over {row.extra_ms:g} ms more")
    if row.peak_mib and answer.ours.peak > row.peak_mib * MIB:
        missed.append(f"{answer.ours.peak / MIB:.0f} MiB, over {row.peak_mib:g}")
    return missed


def fraction(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"1/{1 / value:.0f}"


def bar(row: Row) -> str:
    bars = [f"≤ {fraction(row.ratio)} of its {row.figure.upper()}"] if row.ratio else []
    bars += [f"≤ {row.extra_ms:g} ms more"] if row.extra_ms else []
    bars += [f"≤ {row.peak_mib:g} MiB"] if row.peak_mib else []
    return ", ".join(bars)


def cost(taken: Cost) -> str:
    return f"{taken.cpu:.2f} s, {taken.wall:.2f} s, {taken.peak / MIB:.0f} MiB"


def line(answer: Answer) -> str:
    row = answer.row
    got = fraction(ratio(answer)) if row.ratio else ""
    if row.extra_ms:
        got = f"{1000 * (answer.ours.wall - answer.theirs.wall):+.0f} ms"
    held = "**no**: " + "; ".join(misses(answer)) if misses(answer) else "yes"
    cells = [f"{row.work}, {row.note}", cost(answer.ours), cost(answer.theirs), got, bar(row), held]
    return f"| {' | '.join(cells)} |"


def installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} (from the tree)"


def notes() -> str:
    """What the page says below its table, which stays."""
    written = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    _, heading, rest = written.partition(NOTES)
    return heading + rest


def table(answers: list[Answer], runs: int) -> str:
    names = ("click", "gguf", "safetensors", "torch")
    return "\n".join(
        [
            "# Bench",
            "",
            "Written by `scripts/bench/run.py --write`. Whole processes, both sides in turn after a",
            f"warm-up, medians of {runs}; output thrown away; files on a RAM disk, made by",
            "`scripts/bench/make_files.py`. A cell is CPU seconds, wall seconds, peak memory. Ratios",
            "travel between machines better than seconds do.",
            "",
            f"CPython {platform.python_version()}, {os.cpu_count()} cores; "
            f"{', '.join(map(installed, names))}.",
            "",
            "| work | weightkit | the other | ratio | bar | held |",
            "|---|---|---|---|---|---|",
            *map(line, answers),
            "",
            notes(),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=Path, default=make_files.default_folder())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", default="", help="only the rows whose text has this word")
    parser.add_argument(
        "--write", action="store_true", help="write the table of docs/bench.md; its notes stay"
    )
    arguments = parser.parse_args()
    # By a process of its own: the kernel counts a parent's peak memory as its children's.
    subprocess.run([PYTHON, make_files.__file__, arguments.files], check=True)
    os.chdir(ROOT)
    answers = []
    for row in ROWS:
        if arguments.rows in row.work:
            answers.append(measure(row, arguments.files, arguments.runs))
            print(line(answers[-1]), flush=True)
    if arguments.write and not arguments.rows:
        PAGE.write_text(table(answers, arguments.runs), encoding="utf-8")
    return 1 if any(misses(answer) for answer in answers) else 0


if __name__ == "__main__":
    sys.exit(main())
