"""``weightkit verify``: every kind of damage is found and named; manifests are hostile input."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner, Result

from tests.cli.test_commands import document, run
from weightkit.analyses import claims, manifests
from weightkit.cli import group
from weightkit.errors import FormatError
from weightkit.reports import ManifestFile
from weightkit.source import Source

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
MANIFEST = "weightkit.manifest.json"
FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
LLAMA = str(FIXTURES / "llama/model.safetensors")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest in it, all of it last changed long ago."""
    target = tmp_path_factory.mktemp("made") / "model"
    shutil.copytree(FIXTURES / "llama-sharded", target)
    for path in target.iterdir():
        os.utime(path, (1e9, 1e9))
    run("checksum", "--no-cache", "--manifest", str(target))
    return target


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to do damage to."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["verify", *map(str, arguments)])


def differences(*arguments: str | Path) -> list[tuple[str, str]]:
    found = document("verify", *map(str, arguments), status=1)
    assert found["same"] is False
    return [(item["kind"], item["path"]) for item in found["differences"]]


def test_nothing_is_wrong(folder: Path) -> None:
    found = document("verify", str(folder))
    assert (found["same"], found["checked"], found["differences"]) == (True, 4, [])
    assert "same" in verify(folder).stdout


# Damage


def flip(path: Path, at: int = -1) -> None:
    """Change one bit, and leave size and time as they were: only reading finds that."""
    status = path.stat()
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path], Any], list[tuple[str, str]]]] = {
    "altered": (lambda f: flip(f / FIRST), [("altered", FIRST)]),
    "cut": (lambda f: os.truncate(f / FIRST, 100), [("altered", FIRST)]),
    "emptied": (lambda f: os.truncate(f / "config.json", 0), [("altered", "config.json")]),
    "grown": (lambda f: (f / FIRST).open("ab").write(b"x"), [("altered", FIRST)]),
    "missing": (lambda f: (f / FIRST).unlink(), [("missing", FIRST)]),
    "extra": (lambda f: (f / "new.py").touch(), [("extra", "new.py")]),
    "renamed": (lambda f: (f / FIRST).rename(f / "x.bin"), [("renamed", FIRST)]),
    "swapped": (
        lambda f: [(f / FIRST).rename(f / "config.json"), (f / FIRST).write_bytes(b"x")],
        [("altered", "config.json"), ("altered", FIRST)],
    ),
    "shards swapped": (
        lambda f: [
            (f / FIRST).rename(f / "x"),
            (f / SECOND).rename(f / FIRST),
            (f / "x").rename(f / SECOND),
        ],
        [("altered", FIRST), ("altered", SECOND)],
    ),
    "moved": (
        lambda f: [(f / "sub").mkdir(), (f / FIRST).rename(f / "sub" / FIRST)],
        [("renamed", FIRST)],
    ),
    "other case": (
        lambda f: (f / "config.json").rename(f / "Config.json"),
        [("renamed", "config.json")],
    ),
    "copied": (
        lambda f: shutil.copy(f / "config.json", f / "copy.json"),
        [("extra", "copy.json")],
    ),
    "a folder in place of a file": (
        lambda f: [(f / FIRST).unlink(), (f / FIRST).mkdir(), (f / FIRST / "x").touch()],
        [("missing", FIRST), ("extra", f"{FIRST}/x")],
    ),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), [("extra", "pipe")]),
    "a link to nowhere": (lambda f: (f / "x").symlink_to("nowhere"), [("extra", "x")]),
    "a link out": (lambda f: (f / "x").symlink_to("/etc/passwd"), [("extra", "x")]),
    "a linked folder": (lambda f: (f / "x").symlink_to("/etc"), [("extra", "x")]),
    "a link out and more": (
        lambda f: [(f / "x").symlink_to("/etc/passwd"), flip(f / FIRST)],
        [("altered", FIRST), ("extra", "x")],
    ),
    "a link out in place of a file": (
        lambda f: [relink(f / "config.json", "/etc/passwd"), flip(f / FIRST)],
        [("unread", "config.json"), ("altered", FIRST)],
    ),
    "dangling": (
        lambda f: [(f / FIRST).unlink(), (f / FIRST).symlink_to("nowhere")],
        [("missing", FIRST)],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(folder: Path, kind: str) -> None:
    damage, expected = DAMAGE[kind]
    damage(folder)
    assert differences(folder) == expected
    text = verify(folder)
    assert text.exit_code == 1
    assert "differs" in text.stdout
    for what, path in expected:
        assert f"{what}  " in text.stdout
        assert path in text.stdout


def test_the_cache_is_never_trusted(folder: Path) -> None:
    """The damage of "altered" leaves everything as it was that the cache goes by."""
    run("checksum", str(folder))
    flip(folder / "config.json", 1)
    assert document("checksum", str(folder / "config.json"))["files"][0]["cached"]
    assert differences(folder) == [("altered", "config.json")]


def test_where_a_file_went(folder: Path) -> None:
    (folder / FIRST).rename(folder / "moved.safetensors")
    (found,) = document("verify", str(folder), status=1)["differences"]
    assert found["renamed_to"] == "moved.safetensors"


def test_whose_content_it_is(folder: Path) -> None:
    DAMAGE["shards swapped"][0](folder)
    first, second = document("verify", str(folder), status=1)["differences"]
    assert first["reason"] == f"has the content of {SECOND}"
    assert second["reason"] == f"has the content of {FIRST}"
    assert first["tensors"] == []


def test_a_link_out_in_place_of_a_file_is_not_read(folder: Path) -> None:
    relink(folder / "config.json", "/etc/passwd")
    (found,) = document("verify", str(folder), status=3)["differences"]
    assert found["kind"] == "unread"
    assert found["reason"] == "a link that leaves the folder, to /etc/passwd"
    assert found["found"] is None


def test_sums_may_list_the_manifest(folder: Path, tmp_path: Path) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(run("checksum", str(folder)), encoding="utf-8")
    assert "weightkit.manifest.json" in sums.read_text(encoding="utf-8")
    assert verify(folder, "--sums", sums).exit_code == 0
    (folder / "weightkit.manifest.json").write_text("{}", encoding="utf-8")
    assert differences(folder, "--sums", sums) == [("altered", "weightkit.manifest.json")]
    (folder / "weightkit.manifest.json").unlink()
    assert differences(folder, "--sums", sums) == [("missing", "weightkit.manifest.json")]


def test_a_link_out_of_a_folder_that_sums_are_of(folder: Path) -> None:
    listed = sums_of(folder)
    (folder / "x").symlink_to("/etc/passwd")
    assert differences(folder, "--sums", listed) == [("extra", "x")]


def test_extra_files_may_be_allowed(folder: Path) -> None:
    (folder / "README.md").touch()
    assert verify(folder, "--allow-extra").exit_code == 0


def test_what_cannot_be_read(folder: Path) -> None:
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)
    found = document("verify", str(folder), status=3)
    assert [item["kind"] for item in found["differences"]] == ["unread"]
    assert verify(folder / "nowhere").exit_code == 3
    assert verify(folder / "nowhere", "--sha256", "0" * 64).exit_code == 3


def test_one_file_of_a_folder(folder: Path) -> None:
    flip(folder / FIRST)
    assert verify(folder / "config.json").exit_code == 0
    assert differences(folder / FIRST) == [("altered", FIRST)]


def test_a_file_that_changes_while_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Source.chunks

    def meddling(self: Source, *arguments: Any) -> Any:
        if self.path.endswith("config.json"):
            os.utime(self.path, ns=(1, 1))
        return real(self, *arguments)

    monkeypatch.setattr(Source, "chunks", meddling)
    (found,) = document("verify", str(folder), status=3)["differences"]
    assert (found["kind"], found["path"]) == ("unread", "config.json")
    assert "WK012" in found["reason"]


# Which tensors


def tensors(
    folder: Path, change: Callable[[dict[str, Any]], Any], **options: Any
) -> dict[str, str]:
    """What verify says of the tensors of a file that was written again after ``change``."""
    path = folder / "w.safetensors"
    held: dict[str, Any] = {"a": np.ones((2, 3), "f4"), "b": np.zeros(4, "f4")}
    safetensors.numpy.save_file(held, path)
    run("checksum", "--manifest", str(folder))
    change(held)
    safetensors.numpy.save_file(held, path, **options)
    (found,) = document("verify", str(folder), status=1)["differences"]
    assert found["path"] == "w.safetensors"
    if not found["tensors"]:
        assert "all tensors are the same" in found["reason"]
    return {item["name"]: item["what"] for item in found["tensors"]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda held: held.update(a=-held["a"]), {"a": "changed"}),
        (lambda held: held.update(a=held["a"].astype("f2")), {"a": "recast from f32 to f16"}),
        (lambda held: held.update(b=held["b"].reshape(2, 2)), {"b": "reshaped from [4] to [2, 2]"}),
        (lambda held: held.pop("b"), {"b": "missing"}),
        (lambda held: held.update(c=np.ones(1)), {"c": "extra"}),
        (lambda held: held.update(c=held.pop("b")), {"b": "renamed to c"}),
    ],
)
def test_which_tensors_changed(folder: Path, change: Any, expected: dict[str, str]) -> None:
    assert tensors(folder, change) == expected


def test_only_metadata_changed(folder: Path) -> None:
    assert tensors(folder, lambda held: None, metadata={"who": "me"}) == {}


def test_a_weight_file_that_is_none_any_more(folder: Path) -> None:
    (folder / FIRST).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (found,) = document("verify", str(folder), status=1)["differences"]
    assert found["reason"]


# Lists of checksums


def sums_of(folder: Path, tool: str = "sha256sum", *flags: str) -> Path:
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    done = subprocess.run([tool, *flags, *names], cwd=folder, capture_output=True, check=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    target = folder.parent / "SUMS"
    target.write_bytes(done.stdout)
    return target


@pytest.mark.parametrize("tool", ["sha256sum", "sha512sum"])
@pytest.mark.parametrize("flags", [[], ["--tag"], ["-b"]])
def test_lists_of_coreutils(folder: Path, tool: str, flags: list[str]) -> None:
    (folder / "new\nline\\").write_bytes(b"x")
    listed = sums_of(folder, tool, *flags)
    assert verify(folder, "--sums", listed).exit_code == 0
    flip(folder / FIRST)
    (folder / "more").touch()
    assert differences(folder, "--sums", listed) == [("altered", FIRST), ("extra", "more")]


def test_our_own_list_with_the_folder_in_front(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    text = run("checksum", "-a", "sha256", "-a", "blake2b", str(folder))
    result = CliRunner().invoke(group, ["verify", str(folder), "--sums", "-"], input=text)
    assert result.exit_code == 0, result.stderr


def test_a_list_inside_the_folder_is_not_extra(folder: Path) -> None:
    listed = sums_of(folder).rename(folder / "SHA256SUMS")
    assert verify(folder, "--sums", listed).exit_code == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "WK630"),
        (b"\n#\n", "WK630"),
        (b"nonsense\n", "WK630"),
        (b"0" * 64, "WK630"),
        (b"0" * 40 + b"  sha1\n", "WK630"),
        (b"\xff" * 100, "WK630"),
        (b"SHA1 (x) = " + b"0" * 40 + b"\n", "WK630"),
        (b"0" * 64 + b"  x\n" + b"1" * 64 + b"  x\n", "WK630"),
        (b"0" * 64 + b"  /etc/passwd\n", "WK620"),
        (b"0" * 64 + b"  ../x\n", "WK620"),
        (b"0" * 64 + b"  a/../../x\n", "WK620"),
        (b"0" * 64 + b"  a\\..\\x\n", "WK620"),
        (b"0" * 64 + b"  a\0b\n", "WK620"),
        (b"\n" * 3_000_000, "WK630"),
    ],
)
def test_hostile_lists(folder: Path, content: bytes, code: str) -> None:
    listed = folder.parent / "SUMS"
    listed.write_bytes(content)
    result = verify(folder, "--sums", listed)
    assert result.exit_code == 3
    assert f": {code} " in result.stderr


# A single digest


def test_a_digest(folder: Path) -> None:
    path = folder / "config.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert verify(path, "--sha256", digest.upper()).exit_code == 0
    assert verify(path, "--sha256", f"sha256:{digest}").exit_code == 0
    result = verify(path, "--sha256", "0" * 64)
    assert result.exit_code == 1
    assert digest in result.stdout
    assert verify(path, "--sha256", "0" * 63).exit_code == 2
    assert verify(folder, "--sha256", digest).exit_code == 3


# Another checkpoint


def test_the_same_content(folder: Path, tmp_path: Path) -> None:
    held = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(3, "f2")}
    np.savez(tmp_path / "a.npz", **held)
    safetensors.numpy.save_file(held, tmp_path / "a.safetensors")
    assert verify(tmp_path / "a.npz", "--same-content", tmp_path / "a.safetensors").exit_code == 0
    held["b"][1] = 7
    np.savez(tmp_path / "a.npz", **held)
    found = document(
        "verify",
        str(tmp_path / "a.npz"),
        "--same-content",
        str(tmp_path / "a.safetensors"),
        status=1,
    )
    assert found["differences"][0]["tensors"] == [{"name": "b", "what": "changed"}]
    assert verify(LLAMA, "--same-content", tmp_path / "absent").exit_code == 3


# A hub cache


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    model = tmp_path / "models--some--thing"
    snapshot = model / "snapshots" / ("c" * 40)
    for part in (model / "blobs", model / "refs", snapshot / "onnx"):
        part.mkdir(parents=True)
    (model / "refs/main").write_text("c" * 40, encoding="utf-8")
    large, small = b"weights" * 100, b"{}"
    git = hashlib.sha1(b"blob 2\0" + small).hexdigest()
    for name, content, blob in [
        ("w.bin", large, hashlib.sha256(large).hexdigest()),
        ("onnx/config.json", small, git),
    ]:
        (model / "blobs" / blob).write_bytes(content)
        (snapshot / name).symlink_to(
            os.path.relpath(model / "blobs" / blob, (snapshot / name).parent)
        )
    return model


def test_a_hub_cache(hub: Path) -> None:
    found = document("verify", str(hub))
    assert (found["against"], found["checked"]) == ("hub cache", 2)
    assert verify("--hub", hub / "snapshots" / ("c" * 40)).exit_code == 0


def test_damage_in_a_hub_cache(hub: Path) -> None:
    snapshot = hub / "snapshots" / ("c" * 40)
    flip(snapshot / "w.bin")
    (snapshot / "onnx/config.json").resolve().unlink()
    (snapshot / "patched.py").write_bytes(b"import os")
    (snapshot / "linked.py").symlink_to("/etc/passwd")
    assert differences(hub) == [
        ("extra", "linked.py"),
        ("missing", "onnx/config.json"),
        ("extra", "patched.py"),
        ("altered", "w.bin"),
    ]


def test_extra_files_of_a_hub_cache_may_be_allowed(hub: Path) -> None:
    (hub / "snapshots" / ("c" * 40) / "notes.txt").touch()
    assert verify(hub).exit_code == 1
    assert verify(hub, "--allow-extra").exit_code == 0


def test_no_hub_cache(folder: Path) -> None:
    assert verify("--hub", folder).exit_code == 3


# Hostile manifests


def edited(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> str:
    """The code of what verify says to a manifest changed by ``edit``, its root made anew."""
    path = folder / MANIFEST
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    try:
        files = [ManifestFile(i["path"], i["size"], i["digests"]) for i in document["files"]]
        if "root" not in edit.__code__.co_consts:
            document["root"]["value"] = manifests.root_of(files)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # then it is refused before the root is looked at
    path.write_text(json.dumps(document), encoding="utf-8")
    result = verify(folder)
    assert result.exit_code == 3, result.output
    assert result.stderr.splitlines()[0].startswith(f"weightkit: {path}")
    return result.stderr.split(": WK")[1][:3]


def set_first(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["files"][0].update(values)


PATHS = [
    "/etc/passwd",
    "../config.json",
    "a/../../b",
    "a\\..\\..\\b",
    "",
    ".",
    "a//b",
    "./a",
    "a\0b",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_leave_the_folder(folder: Path, path: str) -> None:
    assert edited(folder, set_first(path=path)) == "620"


@pytest.mark.parametrize(
    "edit",
    [
        set_first(path=3),
        set_first(size=-1),
        set_first(size="1"),
        set_first(size=True),
        set_first(size=1 << 64),
        set_first(digests={}),
        set_first(digests=[]),
        set_first(digests={"sha256": "xyz"}),
        set_first(digests={"sha256": "0" * 64, "md5": "0" * 32}),
        set_first(digests={"sha256": "0" * 64, "sha512": "0" * 128}),
        set_first(tensors={}),
        set_first(tensors=[3]),
        set_first(tensors=[{"name": 3}]),
        set_first(tensors=[{"name": "a", "dtype": "f32", "shape": [-1], "digest": "0" * 64}]),
        set_first(tensors=[{"name": "a", "dtype": "f32", "shape": [1], "digest": "0"}]),
        set_first(tensors=2 * [{"name": "a", "dtype": "f32", "shape": [], "digest": "0" * 64}]),
        lambda document: document["files"].append(document["files"][0]),
        lambda document: document.update(files={}),
        lambda document: document.update(files=[[]]),
        lambda document: document.update(kind="something"),
        lambda document: document.update(schema_version=2),
        lambda document: document.update(content_algorithm="md5"),
        lambda document: document.update(root={"value": None}),
        lambda document: document.pop("root"),
    ],
)
def test_manifests_that_are_none(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    assert edited(folder, edit) == "630"


def test_a_manifest_that_was_altered_is_told_from_files_that_were(folder: Path) -> None:
    path = folder / MANIFEST
    text = path.read_text(encoding="utf-8")
    digest = json.loads(text)["files"][0]["digests"]["sha256"]
    path.write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    assert "the manifest was altered" in verify(folder).stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b"\xff\xfe",
        '{"kind": "\U0001f600"}'.encode(),
        b'{"kind": 1, "kind": 2}',
        b"[" + b"{}," * 1_000_000 + b"{}]",
        b"1" * 5000,
        b'{"kind": NaN}',
    ],
)
def test_hostile_json(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    result = verify(folder)
    assert result.exit_code == 3
    assert ": WK630 " in result.stderr


def test_a_vast_manifest_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "vast.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match="more than") as caught:
        claims.read_manifest(str(path))
    assert caught.value.code == "WK630"


def test_no_manifest(tmp_path: Path) -> None:
    result = verify(tmp_path)
    assert result.exit_code == 3
    assert f"no {MANIFEST} in it; make one with" in result.stderr
    assert f"no {MANIFEST} beside it" in verify(shutil.copy(LLAMA, tmp_path)).stderr


def test_one_thing_at_a_time(folder: Path) -> None:
    assert verify(folder, "--hub", "--sums", "x").exit_code == 2


@pytest.mark.parametrize("option", ["--key", "--variant"])
def test_what_chooses_tensors_is_not_ignored(folder: Path, option: str) -> None:
    done = verify(folder, option, "x")
    assert done.exit_code == 2
    assert "go with --same-content" in done.stderr


def test_standard_input_may_be_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightkit.cli.verify import _sums

    monkeypatch.setattr(sys, "stdin", None)
    assert _sums("-") == b""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert _sums("-") == b"x"
