#!/usr/bin/env python3
"""Mutate files, good and hostile, and look at what weightkit makes of them, as long as you like.

    scripts/fuzz.py [--seconds 60] [--iterations N] [--jobs 2] [--seed S] [--only WORD] [FILE...]

Starts from fixtures/, the hostile files of the tests and the attacks that scanners are scored on, or
from the files given. Most mutants are scanned or inspected in memory, some as files, some by the
command line. Each must give a report in which everything is in order, or one typed error with file,
code and offset, within 5 s of processor time and 300 MB, and must neither run a program, open a
socket nor load a pickle. Whatever does not is kept, with its seed, in .fuzz/ and printed; exit status
1 then. The same seed, jobs and files give the same mutants. docs/fuzz.md holds what came of it.
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
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import hostile

from scripts.bench import attacks
from tests import test_sevenzip as sevens

KEPT = ROOT / ".fuzz"
LARGEST = 1 << 13
"""Bytes of a seed: a mutant of a larger one costs more time than it finds faults."""
COSTLY = ("laughs-of-tensors.pt", "plain-numbers")
"""Seeds that cost as much for what they hold; they have tests of their own."""
NEWS = 60.0
"""Seconds between two lines of a worker about how far it is."""


class Seed(NamedTuple):
    """What mutants are made from. ``kind`` groups the seeds; each group has its share of mutants."""

    name: str
    kind: str
    content: bytes


class Mutant(NamedTuple):
    """A file that exists in memory only, until something is wrong with it."""

    name: str
    kind: str
    content: bytes
    folder: str
    """Where it may be written."""

    def written(self) -> Path:
        path = Path(self.folder) / f"mutant{Path(self.name).suffix}"
        path.write_bytes(self.content)
        return path


class Work(NamedTuple):
    number: int
    seed: int
    seconds: float
    iterations: int
    seeds: list[Seed]


class Report(NamedTuple):
    worker: int
    done: int
    results: dict[str, int]
    """How many mutants each way of looking had, of each kind; and what they came to."""
    crashes: list[str]
    """What was wrong and where the file is kept."""


def limit_memory() -> None:
    """From now on, more memory than a file may cost is a MemoryError, which nothing catches."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + hostile.MEMORY, resource.RLIM_INFINITY))


# Ways to look at a mutant. Each gives a word for what it came to.


def scanned(mutant: Mutant) -> str:
    """``scan``, in memory."""
    from weightkit.analyses.scanning import scan_reader
    from weightkit.source import Buffer

    return in_order(scan_reader(Buffer(mutant.content, mutant.name)))


def explained(mutant: Mutant) -> str:
    """``scan --explain --json``, in memory."""
    from weightkit.analyses.scanning import scan_reader
    from weightkit.findings import ScanReport
    from weightkit.render import scan
    from weightkit.render.blocks import Wish
    from weightkit.source import Buffer

    found = scan_reader(Buffer(mutant.content, mutant.name), explain=True)
    json.dumps(scan.to_json(ScanReport((found,)), Wish()))
    return in_order(found)


def in_order(found: object) -> str:
    """The verdict of a scanned file, when everything that it says is as it should be."""
    from weightkit.analyses.safety import VERDICTS
    from weightkit.rules import RULES

    assert found.verdict in VERDICTS, found.verdict
    for item in found.findings:
        assert item.code in RULES, item
        assert item.message, item
        assert item.offset is None or item.offset >= 0, item
    return str(found.verdict)


def inspected(mutant: Mutant) -> str:
    """``inspect --tensors``, in memory, of whatever has tensors."""
    from weightkit.analyses.inspection import inspect
    from weightkit.opening import Checkpoint, examine
    from weightkit.opening.shards import merge
    from weightkit.rules import Faults
    from weightkit.source import Buffer

    source = Buffer(mutant.content, mutant.name)
    found = examine(source)
    indexes = [part.index for part in found.all() if part.index is not None]
    for index in indexes:
        sets = merge([index], Faults(mutant.name))
        checkpoint = Checkpoint(mutant.name, index.format, (index,), sets, (source,), (found,))
        inspect(checkpoint, rows=True)
    return "index" if indexes else "no index"


def opened(mutant: Mutant) -> str:
    """``weightkit.open``, of a file."""
    hostile.listing(mutant.written())
    return "opened"


def through_the_command(mutant: Mutant, words: Sequence[str]) -> str:
    """The command line in this process: the exit status must be one that is documented.

    What it writes is JSON, or text in which the file could not write on a terminal.
    """
    from weightkit.cli import group

    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    command = [*words, str(mutant.written())]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            group.main(command, prog_name="weightkit")
        except SystemExit as end:
            status = end.code
    allowed = (0, 1, 3) if words[0] == "scan" else (0, None, 2, 3)
    if status not in allowed or "Traceback" in err.getvalue():
        raise AssertionError(f"exit status {status}: {err.getvalue()[-300:]}")
    if "--json" in words:
        json.loads(out.getvalue())
    else:
        said = set(out.getvalue()) - {"\n"}
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") for sign in said)
    return f"status {status or 0}"


TARGETS: list[dict[str, Any]] = [
    {"format": "safetensors"},
    {"format": "safetensors", "cast": "f16"},
    {"format": "pytorch"},
    {"format": "pytorch", "cast": "f32"},
    {"format": "npz", "as_bytes": True},
]
"""What is converted to, in turn."""


def converted(mutant: Mutant) -> str:
    """``convert``, of a file, whatever is lost."""
    return conversion(mutant, **TARGETS[zlib.crc32(mutant.content) % len(TARGETS)])


def conversion(mutant: Mutant, *, cast: str = "", **asked: Any) -> str:
    """A whole target that holds what was said, or none; the source is as before, and nothing else
    lies beside it.
    """
    from weightkit.analyses.digests import content_id
    from weightkit.convert import convert
    from weightkit.convert.losses import LOSSY, UNSAFE
    from weightkit.convert.running import How
    from weightkit.convert.wishes import Wish, parse_dtype_rule
    from weightkit.opening import open_checkpoint

    rules = (parse_dtype_rule(cast),) if cast else ()
    source = mutant.written()
    target = source.with_name("made")
    before = set(os.listdir(mutant.folder))
    try:
        wish = Wish(dtypes=rules, accepted=frozenset([LOSSY, UNSAFE]), **asked)
        done = convert(source, target, wish, How(jobs=1))
        assert set(os.listdir(mutant.folder)) == {*before, target.name}
        with open_checkpoint(target) as made:
            assert content_id(made, jobs=1).id == done.content_id
        assert source.read_bytes() == mutant.content
    finally:
        target.unlink(missing_ok=True)
        assert set(os.listdir(mutant.folder)) == before
    return f"converted to {asked['format']}"


LOOKS: list[tuple[str, int, Callable[[Mutant], str]]] = [
    ("scan", 600, scanned),
    ("scan --explain", 60, explained),
    ("inspect", 300, inspected),
    ("open", 30, opened),
    ("convert", 60, converted),
    *(
        (f"the command: {words}", share, partial(through_the_command, words=words.split()))
        for words, share in (
            ("scan --json", 3),
            ("scan --explain", 2),
            ("inspect --json --tensors", 3),
            ("inspect --tensors", 1),
            ("inspect --json --tensors --lenient", 2),
        )
    ),
]
"""Each with its share of a thousand mutants."""


# Mutants


def text_line(chance: random.Random) -> bytes:
    return chance.choice(
        [b"os", b"0", b"1", b"-1", b"a b", b"'x'", b"\xff", b"collections", b"9" * 40]
    )


OPERANDS: dict[bytes, Callable[[random.Random], bytes]] = {
    **dict.fromkeys([b"K", b"h", b"q", b"\x80", b"\x82"], lambda c: c.randbytes(1)),
    **dict.fromkeys([b"M", b"\x83"], lambda c: c.randbytes(2)),
    **dict.fromkeys([b"J", b"j", b"r", b"\x84"], lambda c: bytes([c.randrange(9), 0, 0, 0])),
    **dict.fromkeys(
        [b"U", b"C", b"\x8c", b"\x8a"], lambda c: b"\2" + c.choice([b"os", b"ab", b"\xff\0"])
    ),
    **dict.fromkeys(
        [b"X", b"T", b"B", b"\x8b"], lambda c: b"\2\0\0\0" + c.choice([b"os", b"\xc3\xa4"])
    ),
    **dict.fromkeys(
        [b"\x8d", b"\x8e", b"\x96"], lambda c: b"\2" + bytes(7) + c.choice([b"os", b"[]"])
    ),
    **dict.fromkeys(
        [b"I", b"L", b"F", b"S", b"V", b"P", b"g", b"p"], lambda c: text_line(c) + b"\n"
    ),
    **dict.fromkeys([b"c", b"i"], lambda c: text_line(c) + b"\n" + text_line(c) + b"\n"),
    b"G": lambda c: c.randbytes(8),
    b"\x95": lambda c: bytes([c.randrange(256)]) + bytes(7),
}
"""An operand for each opcode that has one."""
OPCODES = [
    bytes([c])
    for c in b"(012.]})\x8ftl\x85\x86\x87d\x91aesu\x90\x94\x93QR\x81\x92ob\x88\x89N\x97\x98"
]
OPCODES += list(OPERANDS)


def opcodes(chance: random.Random) -> bytes:
    """A few opcodes, each with an operand that can be read."""
    made = (chance.choice(OPCODES) for _ in range(chance.choice((1, 2, 8, 30))))
    return b"".join(code + OPERANDS[code](chance) if code in OPERANDS else code for code in made)


def in_a_pickle(content: bytes, chance: random.Random) -> bytes:
    """Opcodes at a place of a stream, or instead of what follows."""
    place = chance.randrange(len(content) + 1)
    return (
        content[:place]
        + opcodes(chance)
        + content[place if chance.random() < 0.8 else len(content) :]
    )


def mutate(seed: Seed, chance: random.Random, folder: str) -> Mutant:
    """Bytes are changed; pickles by opcodes too, and some are then put into a container."""
    content, name = seed.content, seed.name
    pickled = seed.kind == "pickle"
    if pickled and chance.random() < 0.5:
        content = in_a_pickle(content, chance)
    else:
        content = hostile.mutate(content, chance)
    if pickled and chance.random() < 0.2:
        suffix, wrap = chance.choice(list(attacks.CONTAINERS.values()))
        content, name = wrap(content), f"mutant{suffix}"
        if chance.random() < 0.5:
            content = hostile.mutate(content, chance)
    return Mutant(name, seed.kind, content, folder)


# Seeds

KINDS = {
    "pickle": (".pkl", ".pickle", ".ckpt", ".data", ".dill"),
    "torch": (".pt", ".pth", ".bin"),
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "numpy": (".npy", ".npz"),
    "archive": (".zip", ".tar", ".joblib", ".gz", ".7z", ".nemo", ".mar"),
    "keras": (".keras", ".h5", ".hdf5"),
    "graph": (".onnx", ".pb", ".tflite", ".meta"),
    "text": (".json", ".yaml", ".yml", ".jinja", ".xml", ".pmml", ".toml", ".py"),
}


def kind_of(name: str) -> str:
    return next((kind for kind, suffixes in KINDS.items() if name.endswith(suffixes)), "other")


def origins() -> list[Seed]:
    """Fixtures, hostile files and attacks that are small enough to change."""
    files = [(path.name, path.read_bytes()) for path in hostile.seeds()]
    files += [(item.name.replace("/", "-"), item.content) for item in attacks.everything()]
    files += [(f"{what}.7z", sevens.blob(what)) for what in sevens.MADE]
    with tempfile.TemporaryDirectory(dir=ram_disk()) as folder:
        for row in hostile.HOSTILE:
            path = Path(folder) / row.name
            row.build(path)
            if path.stat().st_size <= LARGEST:
                files.append((row.name, path.read_bytes()))
            path.unlink()
    return [
        Seed(name, kind_of(name), content)
        for name, content in files
        if len(content) <= LARGEST and not name.startswith(COSTLY)
    ]


def grouped(seeds: list[Seed]) -> list[list[Seed]]:
    kinds: dict[str, list[Seed]] = {}
    for seed in seeds:
        kinds.setdefault(seed.kind, []).append(seed)
    return list(kinds.values())


# Work


def work(task: Work, answers: Queue[Report]) -> None:
    """Mutate until the time or the number is used up."""
    with tempfile.TemporaryDirectory(dir=ram_disk()) as folder:
        os.chdir(folder)  # nothing beside a mutant may be taken for a part of it
        warm_up(folder)
        limit_memory()
        hostile.forbid_side_effects()
        answers.put(fuzz(task, folder))


def warm_up(folder: str) -> None:
    """Import what will be needed before imports are watched."""
    for _, _, look in LOOKS:
        hostile.judge(Mutant("a.safetensors", "", b"\2" + bytes(7) + b"{}", folder), look)
    ordinary = (ROOT / "fixtures/lora/adapter_model.safetensors").read_bytes()
    for target in TARGETS:
        conversion(Mutant("b.safetensors", "", ordinary, folder), **target)


def fuzz(task: Work, folder: str) -> Report:
    """Make mutants and look at each."""
    begun = told = time.monotonic()
    groups, results = grouped(task.seeds), Counter[str]()
    names, shares = [row[0] for row in LOOKS], [row[1] for row in LOOKS]
    looks = {name: look for name, _, look in LOOKS}
    done, crashes = 0, list[str]()
    while (now := time.monotonic()) < begun + task.seconds and done < task.iterations:
        chance = random.Random(task.seed << 40 | task.number << 32 | done)
        mutant = mutate(chance.choice(chance.choice(groups)), chance, folder)
        name = chance.choices(names, shares)[0]
        outcome, verdict = judged(looks[name], mutant)
        done += 1
        results.update([f"look {name}", f"kind {mutant.kind}", f"came to {outcome}"])
        if verdict.crashed:
            crashes.append(keep(mutant, name, task, done - 1, verdict.reason))
        if now - told > NEWS:
            told = now
            print(f"worker {task.number}: {done} mutants, {len(crashes)} crashes", flush=True)
    return Report(task.number, done, results, crashes)


def judged(look: Callable[[Mutant], str], mutant: Mutant) -> tuple[str, hostile.Verdict]:
    """What a look came to, and whether that is as it should be."""
    said: list[str] = []
    verdict = hostile.judge(mutant, lambda item: said.append(look(item)))
    return said[0] if said else verdict.code or verdict.kind, verdict


def keep(mutant: Mutant, look: str, task: Work, iteration: int, reason: str) -> str:
    KEPT.mkdir(exist_ok=True)
    stem, suffix = Path(mutant.name).stem[:60], Path(mutant.name).suffix
    name = f"{stem}-{task.seed}-{task.number}-{iteration}{suffix}"
    (KEPT / name).write_bytes(mutant.content)
    line = f"{name}: {look}: {reason}"
    print(line, flush=True)
    return line


def ram_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def summary(reports: list[Report]) -> str:
    results = Counter[str]()
    for report in reports:
        results.update(report.results)
    lines = [
        f"{sum(report.done for report in reports)} mutants, "
        f"{sum(len(report.crashes) for report in reports)} crashes"
    ]
    for word in ("kind", "look", "came to"):
        listed = sorted((name, n) for name, n in results.items() if name.startswith(f"{word} "))
        shown = ", ".join(f"{name.removeprefix(word).strip()} {n}" for name, n in listed)
        lines.append(f"{word}: {shown}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--iterations", type=int, default=sys.maxsize, help="for each worker")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--only", default="", help="start from files with this in their name or kind"
    )
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.jobs} workers", flush=True)
    seeds = [Seed(path.name, kind_of(path.name), path.read_bytes()) for path in arguments.files]
    seeds = seeds or origins()
    seeds = [seed for seed in seeds if arguments.only in seed.name or arguments.only in seed.kind]
    reports = fan_out(arguments, seeds)
    print(summary(reports))
    if len(reports) < arguments.jobs:
        print(f"{arguments.jobs - len(reports)} workers died", file=sys.stderr)
    return 1 if len(reports) < arguments.jobs or any(r.crashes for r in reports) else 0


def fan_out(arguments: argparse.Namespace, seeds: list[Seed]) -> list[Report]:
    """The reports of all workers that came back."""
    context = multiprocessing.get_context("spawn")
    answers: Queue[Report] = context.Queue()
    tasks = [
        Work(number, arguments.seed, arguments.seconds, arguments.iterations, seeds)
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
