"""Bad input ends in one typed error with file, offset and reason, soon, and in little memory.

All of it goes through the public doors: ``weightkit.open`` and the ``weightkit`` command.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weightkit
from weightkit.errors import WeightkitError

ROOT = Path(__file__).resolve().parent.parent
SEEDS = hostile.seeds()
MODELS = [path for path in SEEDS if path.suffix != ".json"]


def name_of(path: Path) -> str:
    return str(path.relative_to(hostile.FIXTURES))


class Outcome(NamedTuple):
    """A finished ``weightkit`` process."""

    status: int
    out: str
    err: str
    seconds: float
    """Of processor time."""
    peak: int


# The kernel's ru_maxrss of a child starts at what its parent had: VmHWM is the child's own.
MAIN = """
import os, sys

def leave(status, path=sys.argv.pop(1), leave=os._exit):
    with open("/proc/self/status") as facts, open(path, "w") as out:
        out.write(next(line.split()[1] for line in facts if line.startswith("VmHWM")))
    leave(status)

os._exit = leave
from weightkit.__main__ import main
main()
"""


def processor_time() -> float:
    """Seconds that finished children have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(*arguments: str | Path) -> Outcome:
    """Run ``weightkit`` as a process of its own."""
    with tempfile.NamedTemporaryFile("r") as peak:
        before = processor_time()
        done = subprocess.run(
            [sys.executable, "-c", MAIN, peak.name, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=hostile.PATIENCE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        )
        seconds = processor_time() - before
        return Outcome(done.returncode, done.stdout, done.stderr, seconds, int(peak.read()) * 1024)


# -- The judge itself can say no --


def test_the_judge_calls_anything_else_a_crash(tmp_path: Path) -> None:
    def fails(_: Path) -> None:
        raise KeyError("x")

    def sleeps(_: Path) -> None:
        time.sleep(60)

    def lacks_an_offset(path: Path) -> None:
        raise weightkit.errors.FormatError("broken", path=str(path), code="WK001")

    assert "KeyError" in hostile.judge(tmp_path, fails).reason
    assert "no offset" in hostile.judge(tmp_path, lacks_an_offset).reason
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostile, "PATIENCE", 0.05)
        assert "still running" in hostile.judge(tmp_path, sleeps).reason


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_the_seeds_are_good(path: Path) -> None:
    assert hostile.judge(path).kind == "index"


def test_the_parts_of_the_hostile_files_are_good_when_nothing_is_wrong(tmp_path: Path) -> None:
    import torch

    hostile.in_zip(hostile.one_tensor())(tmp_path / "a.pt")
    storage = hostile.struct.pack("<q", 4) + bytes(16)
    hostile.legacy(hostile.one_tensor(), b"\x80\x02]U\x010a." + storage)(tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        assert torch.load(tmp_path / name, weights_only=True)["w"].shape == (1,)
        with weightkit.open(tmp_path / name) as checkpoint:
            assert [(row.name, row.shape) for row in checkpoint.tensors] == [("w", (1,))]


# -- Mutations of good files --


def copied(path: Path, tmp_path: Path) -> Path:
    """A copy to spoil; a shard takes the others with it."""
    if "-of-" in path.name:
        shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True)
    else:
        shutil.copy(path, tmp_path)
    return tmp_path / path.name


def boundaries(path: Path) -> list[int]:
    """Where the structures of a good file start and end."""
    try:
        with weightkit.open(path) as checkpoint:
            places = {index.data_start for index in checkpoint.files}
            for tensor in checkpoint.tensors:
                places |= {tensor.data.offset, tensor.data.offset + tensor.data.nbytes}
    except WeightkitError:
        return []
    return sorted(places)


def lost_no_more_than_its_end(path: Path, whole: bytes) -> bool:
    """A tar that is cut between two members has no end mark; one cut after the mark lost nothing."""
    if path.suffix != ".tar":
        return False
    with weightkit.open(path) as checkpoint:
        said = "WK434" in {finding.code for finding in checkpoint.findings}
    return said or path.stat().st_size >= len(whole.rstrip(b"\0")) + 512


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_truncations(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    part = copied(path, tmp_path)
    wrong = []
    for length in hostile.truncations(content, boundaries(path), seed=1):
        part.write_bytes(content[:length])
        verdict = hostile.judge(part)
        if verdict.kind != "error" and not lost_no_more_than_its_end(part, content):
            wrong.append((length, verdict))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_flipped_bytes(path: Path, tmp_path: Path) -> None:
    part = copied(path, tmp_path)
    wrong = []
    for number, content in enumerate(hostile.flips(path.read_bytes(), 300, seed=2)):
        part.write_bytes(content)
        verdict = hostile.judge(part)
        if verdict.crashed:
            wrong.append((number, verdict))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("name", ["llama", "llama-sharded", "lora", "pipeline"])
def test_flipped_bytes_in_the_json_of_a_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(hostile.FIXTURES / name, folder)
    wrong = []
    for path in sorted(folder.rglob("*.json")):
        good = path.read_bytes()
        changed = [good[: len(good) * step // 8] for step in range(8)]
        for content in (*hostile.flips(good, 40, seed=3), *changed, b"[" * 100_000, b"\xff"):
            path.write_bytes(content)
            verdict = hostile.judge(folder)
            if verdict.crashed:
                wrong.append((path.name, content[:80], verdict))
        path.write_bytes(good)
    assert not wrong, wrong[:5]


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    magic=st.sampled_from(sorted(hostile.MAGICS)),
    rest=st.binary(max_size=600),
    suffix=st.sampled_from([".safetensors", ".gguf", ".pt", ".bin", ".npy", ".npz", ".pkl", ""]),
)
def test_random_bytes_after_each_magic(
    magic: str, rest: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"random{suffix}"
    path.write_bytes(hostile.MAGICS[magic] + rest)
    verdict = hostile.judge(path)
    assert not verdict.crashed, verdict


# -- Files made to hurt --


@pytest.mark.parametrize("row", hostile.HOSTILE, ids=lambda row: row.name)
def test_hostile_files(row: hostile.Hostile, tmp_path: Path) -> None:
    path = tmp_path / row.name
    row.build(path)
    outcome = command("inspect", path)
    path.unlink()
    assert "Traceback" not in outcome.err
    assert outcome.status in row.status, outcome
    assert outcome.seconds < hostile.SECONDS
    assert outcome.peak < hostile.MEMORY
    if outcome.status == 3:
        line, *hints = outcome.err.splitlines()
        assert row.name in line
        assert "WK" in line
        assert len(hints) <= 1


@pytest.mark.parametrize("row", hostile.HOSTILE, ids=lambda row: row.name)
def test_hostile_files_through_the_library(row: hostile.Hostile, tmp_path: Path) -> None:
    path = tmp_path / row.name
    row.build(path)
    verdict = hostile.judge(path)
    path.unlink()
    assert verdict.kind == "error" or (verdict.kind == "index" and 0 in row.status), verdict


@pytest.mark.parametrize("row", hostile.HOSTILE, ids=lambda row: row.name)
def test_hostile_files_leniently(row: hostile.Hostile, tmp_path: Path) -> None:
    """What is described in spite of fatal faults is bounded all the same."""
    path = tmp_path / row.name
    row.build(path)
    outcome = command("inspect", "--lenient", "--json", "--tensors", path)
    path.unlink()
    assert "Traceback" not in outcome.err
    assert outcome.status in {0, 3}, outcome
    assert outcome.seconds < hostile.SECONDS
    assert outcome.peak < hostile.MEMORY
    answer = json.loads(outcome.out)
    assert outcome.status == 0 or "error" in answer or answer["findings"]


def test_an_error_is_json_too(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((hostile.FIXTURES / "llama/model.safetensors").read_bytes()[:1000])
    outcome = command("inspect", "--json", path)
    assert outcome.status == 3
    error = json.loads(outcome.out)["error"]
    assert error["code"] in {"WK001", "WK103"}
    assert error["path"] == str(path)
    assert isinstance(error["offset"], int)


def test_one_bad_file_among_good_ones(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    outcome = command("inspect", hostile.FIXTURES / "numpy/array.npy", bad)
    assert outcome.status == 3
    assert "array.npy" in outcome.out
    assert "bad.gguf" in outcome.err


# -- Paths that are no file, or do not stay one --


def error_of(path: Path) -> WeightkitError:
    with pytest.raises(WeightkitError) as caught:
        hostile.listing(path)
    assert not hostile.flaw(caught.value)
    return caught.value


def test_missing(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.pt").code == "WK010"


def test_an_empty_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path).code == "WK601"


@pytest.mark.parametrize("name", ["pipe.gguf", "pipe.safetensors", "pipe"])
def test_a_fifo_is_refused_at_once(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    outcome = command("inspect", tmp_path / name)
    assert outcome.status == 3
    assert "WK011" in outcome.err
    assert outcome.seconds < hostile.SECONDS


def test_a_fifo_in_a_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "config.json")
    outcome = command("inspect", tmp_path)
    assert outcome.status == 3
    assert outcome.seconds < hostile.SECONDS
    assert "Traceback" not in outcome.err


def test_a_device(tmp_path: Path) -> None:
    assert error_of(Path("/dev/zero")).code == "WK011"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("s.gguf")
        assert error_of(Path("s.gguf")).code in {"WK010", "WK011"}


@pytest.mark.parametrize("target", ["none", "loop"])
def test_links_to_nothing(target: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(target)
    assert error_of(tmp_path / "loop").code == "WK010"


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder in which we are not root, so that permissions mean something."""
    folder = Path(tempfile.mkdtemp())
    hostile.listing(hostile.FIXTURES / "numpy/array.npy")
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_permission(what: str, nobody: Path) -> None:
    inside = nobody / "model"
    inside.mkdir()
    path = inside / "array.npy"
    shutil.copy(hostile.FIXTURES / "numpy/array.npy", path)
    (path if what == "file" else inside).chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        code = error_of(path if what == "file" else inside).code
    finally:
        if root:
            os.seteuid(0)
        inside.chmod(0o755)
    assert code == "WK010"


class AtRead:
    """Does something to a file right before the ``nth`` read of any file."""

    def __init__(self, nth: int, act: Any) -> None:
        self.reads = 0
        self._nth, self._act, self._pread = nth, act, os.pread

    def __call__(self, *arguments: Any) -> bytes:
        self.reads += 1
        if self.reads == self._nth:
            self._act()
        return self._pread(*arguments)


SURPRISED = [*MODELS, *(hostile.FIXTURES / name for name in ("llama", "llama-sharded", "pipeline"))]


@pytest.mark.parametrize("change", ["cut", "grown", "rewritten"])
@pytest.mark.parametrize(
    "path",
    [path for path in MODELS if "hostile" not in path.parts and "-of-" not in path.name],
    ids=name_of,
)
def test_a_file_that_changes_while_it_is_read(
    path: Path, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(path, tmp_path)
    content = path.read_bytes()
    long_ago = 1_000_000_000

    def act() -> None:
        if change == "cut":
            os.truncate(copy, len(content) // 2)
        elif change == "grown":
            os.truncate(copy, len(content) + 1000)
        else:
            copy.write_bytes(content[::-1])

    for nth in range(1, 40):
        copy.write_bytes(content)
        os.utime(copy, (long_ago, long_ago))
        spy = AtRead(nth, act)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", spy)
            verdict = hostile.judge(copy)
        if spy.reads < nth:
            assert nth > 1
            assert verdict.kind == "index"
            break
        assert verdict.kind == "error", (nth, verdict)


@pytest.mark.parametrize("name", ["llama", "llama-sharded", "llama-split-gguf", "pipeline", "lora"])
def test_a_folder_that_vanishes_while_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    reached = 0
    for nth in range(1, 60):
        shutil.copytree(hostile.FIXTURES / name, folder)
        spy = AtRead(nth, lambda: shutil.rmtree(folder))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", spy)
            verdict = hostile.judge(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if spy.reads < nth:
            break
        reached += 1
        assert not verdict.crashed, (nth, verdict)
    assert reached >= 2


# -- The fuzz script --


def test_a_short_run_of_the_fuzz_script_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/fuzz.py", "--iterations", "400", "--jobs", "1", "--seed", "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "400 mutants" in done.stdout
    assert "seed 7" in done.stdout
