"""``weightkit diff``: what people and programs see, exit statuses, and git."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes  # noqa: F401 - teaches numpy, and so safetensors, the name bfloat16
import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner, Result

from tests.cli.test_commands import document, run
from tests.golden import same
from tests.processes import hear_signals
from weightkit.cli import group

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "fixtures"
LLAMA = "fixtures/llama/model.safetensors"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The llama of the fixtures with something of everything."""
    target = tmp_path_factory.mktemp("edited") / "b"
    shutil.copytree(FIXTURES / "llama", target)
    path = target / "model.safetensors"
    held = dict(safetensors.numpy.load_file(path))
    for layer in (0, 1):
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        held[name] = (held[name].astype("f4") * 2).astype(held[name].dtype)
    held["model.norm.weight"] = held["model.norm.weight"].astype("f4")
    held["model.embed.weight"] = held.pop("model.embed_tokens.weight")
    held["lm_head.weight"] = held["lm_head.weight"].reshape(32, 64)
    held["lm_head.bias"] = np.zeros(64, "f4")
    held.pop("model.layers.1.self_attn.q_proj.weight")
    held["model.layers.0.self_attn.q_proj.weight"][0, 0] = np.nan
    safetensors.numpy.save_file(held, path, metadata={"format": "np"})
    config = (target / "config.json").read_text(encoding="utf-8")
    text = config.replace("10000.0", "500000.0")
    (target / "config.json").write_text(text, encoding="utf-8")
    return target


def diff(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["diff", *map(str, arguments)])


def shown(edited: Path, *options: str) -> str:
    result = diff("fixtures/llama", edited, *options)
    assert result.exit_code == 1, result.stderr
    return result.stdout.replace(str(edited), "b")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("content", []),
        ("values", ["--values"]),
        ("headers", ["--headers"]),
        ("tensors", ["--values", "--tensors"]),
        ("limit", ["--tensors", "--limit", "2"]),
        ("ignore", ["--ignore", "recast,renamed", "--ignore", "config"]),
    ],
)
def test_for_people(edited: Path, name: str, options: list[str]) -> None:
    same(f"diff-{name}.txt", shown(edited, *options))


def test_in_a_narrow_place(edited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(edited, "--values")
    same("diff-80.txt", text)
    assert max(map(len, text.splitlines())) <= 80


def test_for_programs(edited: Path) -> None:
    text = shown(edited, "--values", "--json")
    document("diff", "fixtures/llama", str(edited), "--values", status=1)
    same("diff.json", text)


@pytest.mark.parametrize("options", [[], ["--headers"], ["--values"]])
def test_nothing_differs(options: list[str]) -> None:
    found = document("diff", LLAMA, "fixtures/llama", *options)
    assert found["same"] is True
    assert found["changes"] == found["settings"] == []
    text = run("diff", LLAMA, "fixtures/llama", *options)
    assert "21 alike" in text if "--headers" in options else "21 same" in text


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_every_fixture_is_itself(name: str) -> None:
    paths = [FIXTURES / name]
    if paths[0].is_dir() and name in ("torch", "numpy"):
        paths = sorted(paths[0].iterdir())
    for path in paths:
        if name not in ("README.md", "hostile"):
            found = document("diff", str(path), str(path), "--values")
            assert found["same"], path


def test_statuses(tmp_path: Path) -> None:
    assert diff(LLAMA, LLAMA).exit_code == 0
    assert diff(LLAMA, "fixtures/llama-sharded").exit_code == 1
    assert diff(LLAMA).exit_code == 2
    assert diff(LLAMA, LLAMA, LLAMA).exit_code == 2
    assert diff("--headers", "--values", LLAMA, LLAMA).exit_code == 2
    assert diff(LLAMA, tmp_path / "nowhere").exit_code == 3
    assert diff(tmp_path / "nowhere", LLAMA).exit_code == 3
    assert diff(LLAMA, "README.md").exit_code == 3
    assert diff(LLAMA, LLAMA, "-o", LLAMA).exit_code == 2
    raw = Path(LLAMA).read_bytes()
    (tmp_path / "short.safetensors").write_bytes(raw[:-100])
    assert diff(LLAMA, tmp_path / "short.safetensors").exit_code == 3


def test_an_unreadable_side_is_named_in_json(tmp_path: Path) -> None:
    found = document("diff", LLAMA, str(tmp_path / "nowhere"), status=3)
    assert found["error"]["path"] == str(tmp_path / "nowhere")


def test_unknown_kinds() -> None:
    result = diff(LLAMA, LLAMA, "--ignore", "recasts")
    assert result.exit_code == 2
    assert "Did you mean 'recast'" in result.stderr


def test_sets_of_either_side() -> None:
    path = "fixtures/torch/checkpoint.pt"
    assert diff(path, path, "--key", "optimizer").exit_code == 1
    assert diff(path, path, "--key", "optimizer", "--key-b", "optimizer").exit_code == 0
    assert diff(path, path, "--key-b", "nonsense").exit_code == 2


def test_names_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        held = {"\x1b[31mevil": np.full(2, value, "f4")}
        path = tmp_path / f"{name}.safetensors"
        safetensors.numpy.save_file(held, path, metadata={"\x1b[2Jkey": name})
    for options in ([], ["--tensors"], ["--values"]):
        result = diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", *options)
        assert "\x1b" not in result.stdout
        assert "\\x1b" in result.stdout


# For git


def test_lines() -> None:
    same("diff-textconv.txt", run("diff", "--textconv", LLAMA))
    assert "optimizer: state.0.exp_avg f32" in run(
        "diff", "--textconv", "fixtures/torch/checkpoint.pt"
    )


def test_lines_of_one_shard_are_of_that_file_alone() -> None:
    text = run("diff", "--textconv", "fixtures/llama-sharded/model-00001-of-00002.safetensors")
    whole = run("diff", "--textconv", LLAMA)
    assert 0 < text.count("\ntensor ") < whole.count("\ntensor ")


def test_lines_of_what_is_no_weight_file(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
    path = tmp_path / "w.safetensors"
    path.write_text(pointer, encoding="utf-8")
    assert run("diff", "--textconv", str(path)) == pointer
    path.write_bytes(Path(LLAMA).read_bytes()[:-100])
    result = diff("--textconv", path)
    assert result.exit_code == 0
    assert result.stdout.startswith("not read: WK")
    assert "\nsha256 " in result.stdout
    assert "weightkit: " in result.stderr
    assert diff("--textconv", tmp_path / "nowhere").exit_code == 3
    assert diff("--textconv", LLAMA, LLAMA).exit_code == 2
    assert diff("--textconv", LLAMA, "--json").exit_code == 2


def git(folder: Path, *arguments: str) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environ |= {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    # The three lines of docs/diff.md, with this tree's weightkit for the installed one.
    lines = [
        line
        for line in (ROOT / "docs/diff.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(("git config diff.weightkit", "echo '*."))
    ]
    assert len(lines) == 3
    tool = f"{sys.executable} -m weightkit diff --textconv"
    for line in lines:
        done = line.replace("weightkit diff --textconv", tool)
        subprocess.run(["sh", "-c", done], cwd=tmp_path, check=True)
    held = {"a.weight": np.ones((2, 2), "f4"), "b.weight": np.zeros(3, "f4")}
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(held, path)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    held["b.weight"] = np.zeros(4, "f2")
    held["c.weight"] = np.ones(1, "f4")
    safetensors.numpy.save_file(held, path)
    changed = [line for line in git(tmp_path, "diff").splitlines() if line[:1] in "+-"]
    assert [line.rsplit(" ", 1)[0] for line in changed[2:]] == [
        "-tensor b.weight f32 [3]",
        "+tensor b.weight f16 [4]",
        "+tensor c.weight f32 [1]",
    ]
    git(tmp_path, "commit", "-qam", "two")
    assert "+tensor c.weight f32 [1]" in git(tmp_path, "log", "-p", "-1")
    assert "+tensor a.weight" in git(tmp_path, "log", "-p", "--reverse")


# Size


def hole(path: Path, elements: int, last: bytes) -> Path:
    """A safetensors of one F16 tensor that takes no room on disk but for its last element."""
    nbytes = 2 * elements
    entry = {"dtype": "F16", "shape": [elements], "data_offsets": [0, nbytes]}
    header = json.dumps({"w": entry}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(8 + len(header) + nbytes - 2)
        file.write(last)
    return path


# By a small process between: the kernel counts a parent's peak memory as its children's.
MEASURE = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "weightkit", *sys.argv[1:]])
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


@pytest.mark.parametrize("options", [[], ["--values"]])
def test_memory_does_not_grow_with_the_tensor(tmp_path: Path, options: list[str]) -> None:
    a = hole(tmp_path / "a.safetensors", 48 << 20, b"\0\0")
    b = hole(tmp_path / "b.safetensors", 48 << 20, b"\0\x3c")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "diff", *options, "-o", tmp_path / "out", a, b],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    status, peak = map(int, done.stdout.split())
    assert status == 1
    assert peak < 90 << 10  # KiB; each of the tensors has 96 MiB
    if options:
        text = (tmp_path / "out").read_text(encoding="utf-8")
        assert "1 of 50,331,648 changed" in text


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    a = hole(tmp_path / "a.safetensors", 1 << 36, b"\0\0")
    process = subprocess.Popen(
        [sys.executable, "-m", "weightkit", "diff", "--values", a, a],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.send_signal(signal.SIGINT)
    out, complaint = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert complaint.strip() == b"weightkit: interrupted"
