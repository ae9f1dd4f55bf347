"""``weightkit checksum`` and ``weightkit cache``, held against sha256sum, git and hashlib."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from tests.cli.test_commands import SCHEMAS, document, run
from weightkit.analyses import checksums, digest_cache
from weightkit.cli import checksum as module
from weightkit.cli import group
from weightkit.source import Source

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
ODD_NAMES = [
    "plain",
    "two words",
    "new\nline",
    "back\\slash",
    "return\r",
    "-dash",
    os.fsdecode(b"\xff"),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of weights, last changed long ago."""
    target = tmp_path / "model"
    shutil.copytree(FIXTURES / "llama-sharded", target)
    for path in target.iterdir():
        os.utime(path, (1e9, 1e9))
    return target


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all reads."""
    seen: list[str] = []
    reading = Source.pread

    def pread(source: Source, offset: int, nbytes: int) -> bytes:
        seen.append(source.path)
        return reading(source, offset, nbytes)

    monkeypatch.setattr(Source, "pread", pread)
    return seen


@pytest.mark.parametrize("name", ["sha256", "sha512", "blake2b"])
def test_hashlib_agrees(folder: Path, name: str) -> None:
    found = document("checksum", "-a", name, str(folder))["files"]
    assert len(found) == 4
    for item in found:
        raw = Path(item["path"]).read_bytes()
        assert item["digests"] == {name: hashlib.new(name, raw).hexdigest()}
        assert item["size"] == len(raw)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_agrees(folder: Path) -> None:
    path = str(folder / "config.json")
    theirs = subprocess.run(
        ["git", "hash-object", path], capture_output=True, check=True, text=True
    )
    assert run("checksum", "-a", "git-sha1", path).split()[0] == theirs.stdout.strip()


@pytest.mark.parametrize("flags", [[], ["-a", "sha256", "-a", "sha256"]])
def test_sha256sum_accepts_it(tmp_path: Path, flags: list[str]) -> None:
    for name in ODD_NAMES:
        (tmp_path / name).write_text(name, encoding="utf-8", errors="surrogateescape")
    lines = CliRunner().invoke(group, ["checksum", *flags, str(tmp_path)]).stdout_bytes
    sums = tmp_path.parent / f"{tmp_path.name}.sums"
    sums.write_bytes(lines)
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", sums], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b": OK") == len(ODD_NAMES)


def test_several_algorithms_from_one_read(folder: Path, reads: list[str]) -> None:
    path = str(folder / "config.json")
    text = run("checksum", "-a", "sha256", "-a", "sha512", path)
    assert [line.split()[0] for line in text.splitlines()] == ["SHA256", "SHA512"]
    assert len(reads) == 1


def test_blake3_names_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    result = CliRunner().invoke(group, ["checksum", "-a", "blake3", str(folder)])
    assert result.exit_code == 3
    assert "weightkit[blake3]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_blake3_agrees_with_its_test_vectors(tmp_path: Path) -> None:
    """https://github.com/BLAKE3-team/BLAKE3, test_vectors.json: bytes that count to 250."""
    pytest.importorskip("blake3", reason="the extra blake3 is not installed")
    vectors = {
        0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
    }
    for nbytes, digest in vectors.items():
        path = tmp_path / str(nbytes)
        path.write_bytes(bytes(at % 251 for at in range(nbytes)))
        assert run("checksum", "-a", "blake3", str(path)).split()[0] == digest


def test_blake3_of_many_pieces(tmp_path: Path) -> None:
    blake3 = pytest.importorskip("blake3", reason="the extra blake3 is not installed")
    raw = random.Random(1).randbytes((5 << 20) + 7)
    (tmp_path / "a").write_bytes(raw)
    found = document("checksum", "-a", "blake3", "-a", "sha256", str(tmp_path / "a"))["files"]
    digests = {"blake3": blake3.blake3(raw).hexdigest(), "sha256": hashlib.sha256(raw).hexdigest()}
    assert found[0]["digests"] == digests


@pytest.mark.skipif(shutil.which("cksum") is None, reason="cksum is not installed")
def test_cksum_accepts_what_it_knows(folder: Path) -> None:
    names = [word for name in ("sha256", "sha512", "blake2b") for word in ("-a", name)]
    lines = run("checksum", *names, str(folder))
    checked = subprocess.run(
        ["cksum", "--strict", "-c"], input=lines, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK") == 12


def test_blake3_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hash:
        AUTO = -1

        def __init__(self, max_threads: int) -> None:
            self.inner = hashlib.md5()
            self.update = self.inner.update
            self.hexdigest = self.inner.hexdigest

    stand_in: Any = types.ModuleType("blake3")
    stand_in.blake3 = Hash
    monkeypatch.setitem(sys.modules, "blake3", stand_in)
    path = folder / "config.json"
    wanted = hashlib.md5(path.read_bytes()).hexdigest()
    assert run("checksum", "-a", "blake3", str(path)).split()[0] == wanted


def test_what_cannot_be_read_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "a-pipe")
    result = CliRunner().invoke(group, ["checksum", str(folder), str(tmp_path / "absent")])
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 4
    assert "a-pipe" in result.stderr
    assert "absent" in result.stderr
    found = document("checksum", str(folder), str(tmp_path / "absent"), status=3)
    assert (len(found["files"]), len(found["unread"])) == (4, 2)


def test_links_that_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert "WK620" in CliRunner().invoke(group, ["checksum", str(folder)]).stderr
    assert len(run("checksum", "--follow-symlinks", str(folder)).splitlines()) == 5


def test_links_round_in_a_ring(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    assert len(run("checksum", str(folder)).splitlines()) == 4
    assert len(run("checksum", "--follow-symlinks", str(folder)).splitlines()) == 4


def test_a_file_that_changes_while_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "config.json"
    reading = Source.pread

    def pread(source: Source, offset: int, nbytes: int) -> bytes:
        os.utime(path, (2e9, 2e9))
        return reading(source, offset, nbytes)

    monkeypatch.setattr(Source, "pread", pread)
    assert "WK012" in CliRunner().invoke(group, ["checksum", str(path)]).stderr


# The cache


def test_a_second_run_reads_nothing(folder: Path, reads: list[str]) -> None:
    first = run("checksum", str(folder))
    assert reads
    reads.clear()
    assert run("checksum", str(folder)) == first
    assert not reads
    assert all(item["cached"] for item in document("checksum", str(folder))["files"])
    assert run("checksum", "--no-cache", str(folder)) == first
    assert reads


def change(path: Path) -> None:
    path.write_bytes(b"{}")


def same_size(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-2] + b"!" + raw[-1:])
    os.utime(path, (1e9 + 1, 1e9 + 1))


def other_inode(path: Path) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(path.read_bytes()[:-2] + b"!}")
    os.utime(beside, (1e9, 1e9))
    beside.rename(path)


@pytest.mark.parametrize("how", [change, same_size, other_inode])
def test_a_changed_file_is_read_again(folder: Path, how: Any) -> None:
    path = folder / "config.json"
    first = run("checksum", str(path))
    how(path)
    again = run("checksum", str(path))
    assert again != first
    assert again.split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_changed_just_now_is_not_remembered(folder: Path, reads: list[str]) -> None:
    path = folder / "config.json"
    os.utime(path, (time.time(), time.time()))
    run("checksum", str(path))
    reads.clear()
    run("checksum", str(path))
    assert reads


def test_show_and_clear(folder: Path) -> None:
    assert document("cache", "show")["digests"] == 0
    run("checksum", str(folder))
    assert document("cache")["files"] == 4
    assert "digests  4" in run("cache", "show")
    assert document("cache", "clear")["digests"] == 4
    assert document("cache")["files"] == 0


def test_a_broken_cache_is_told_and_left_alone(folder: Path) -> None:
    path = Path(digest_cache.default_path())
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    result = CliRunner().invoke(group, ["checksum", str(folder)])
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 4)
    assert "the digest cache cannot be used" in result.stderr
    run("cache", "clear")
    assert not path.exists()


# Manifests


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / module.DEFAULT).read_text(encoding="utf-8"))
    schema = json.loads((SCHEMAS / "manifest.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    return found


def test_a_manifest(folder: Path) -> None:
    run("checksum", "--manifest", str(folder))
    found = manifest_of(folder)
    assert [item["path"] for item in found["files"]] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    listed = [tensor for item in found["files"] for tensor in item.get("tensors", ())]
    whole = document("id", str(folder), "--tensors")["digests"]
    key = ("name", "dtype", "shape", "digest")
    assert sorted(listed, key=lambda item: item["name"]) == [{k: t[k] for k in key} for t in whole]


def test_a_manifest_is_the_same_whenever_and_wherever(folder: Path, tmp_path: Path) -> None:
    run("checksum", "--manifest", str(folder))
    first = (folder / module.DEFAULT).read_bytes()
    run("checksum", "--manifest", "--no-cache", str(folder))
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    run("checksum", f"--manifest={tmp_path / 'own.json'}", str(moved))
    assert (folder / module.DEFAULT).read_bytes() == first
    assert (tmp_path / "own.json").read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_a_second_manifest_reads_nothing(folder: Path, reads: list[str]) -> None:
    run("checksum", "--manifest", str(folder))
    first = (folder / module.DEFAULT).read_bytes()
    reads.clear()
    run("checksum", "--manifest", str(folder))
    assert not [path for path in reads if path.endswith(".safetensors")]
    assert (folder / module.DEFAULT).read_bytes() == first


def test_a_manifest_of_its_own_name_leaves_itself_out(folder: Path) -> None:
    for _ in range(2):
        run("checksum", f"--manifest={folder / 'own.json'}", str(folder))
    found = json.loads((folder / "own.json").read_text(encoding="utf-8"))
    assert "own.json" not in [item["path"] for item in found["files"]]


def test_a_manifest_is_whole_or_not_at_all(folder: Path) -> None:
    os.mkfifo(folder / "a-pipe")
    run("checksum", "--manifest", str(folder), status=3)
    assert not (folder / module.DEFAULT).exists()


def test_a_manifest_owns_up_to_what_it_cannot_digest(folder: Path) -> None:
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    result = CliRunner().invoke(group, ["checksum", "--manifest", str(folder)])
    assert "no tensors of model-00001-of-00002.safetensors" in result.stderr
    entry = manifest_of(folder)["files"][1]
    assert "tensors" not in entry
    assert entry["tensors_unread"].startswith("WK")


@pytest.mark.parametrize("words", [["--manifest", "a", "b"], ["--json", "--manifest", "a"]])
def test_wrong_usage(folder: Path, words: list[str]) -> None:
    paths = [str(folder) if word in "ab" else word for word in words]
    run("checksum", *paths, status=2)


def test_the_choices_are_those_of_the_library() -> None:
    assert module.NAMES == tuple(checksums.ALGORITHMS) == tuple(checksums.TAGS)
