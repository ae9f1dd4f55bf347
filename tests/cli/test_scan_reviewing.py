"""``weightkit scan`` for reviewers: policies, baselines, further outputs, folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from weightkit.cli import group

ODD = b"cmine.models\nThing\n."
EVIL = b"cos\nsystem\n(S'id'\ntR."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "odd.pkl").write_bytes(ODD)
    (tmp_path / "models" / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "models" / "notes.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        group.main(["scan", *arguments])
    status = ended.value.code
    assert isinstance(status, int)
    return status, capsys.readouterr().out


def verdicts(text: str) -> dict[str, str]:
    return {Path(file["path"]).name: file["verdict"] for file in json.loads(text)["files"]}


def test_a_policy_changes_verdicts_and_status(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.toml").write_text(
        '[[allow]]\nglobal = "mine.models.Thing"\nreason = "ours"\nexpires = 2999-01-01\n'
    )
    assert run(capsys, "models/odd.pkl")[0] == 1
    assert run(capsys, "models/odd.pkl", "--policy", "p.toml")[0] == 0


def test_a_wrong_policy_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.toml").write_text("[[")
    assert run(capsys, "models", "--policy", "p.toml")[0] == 2


def test_a_baseline_is_written_and_heeded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "models", "--write-baseline", "b.json")[0] == 1
    status, text = run(capsys, "models", "--baseline", "b.json", "--json")
    assert status == 0
    assert json.loads(text)["accepted"] == 2
    status, text = run(capsys, "models", "--baseline", "b.json")
    assert "2 findings accepted by the baseline" in text


def test_sarif_and_junit_are_written_beside(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(capsys, "models", "--sarif", "s.json", "--junit", "j.xml", "--json")
    assert status == 1
    assert set(verdicts(text).values()) == {"review", "unsafe"}
    (log,) = json.loads((folder / "s.json").read_text())["runs"]
    assert log["invocations"][0]["exitCode"] == 1
    assert ElementTree.parse(folder / "j.xml").getroot()[0].get("failures") == "2"


def test_an_output_does_not_overwrite_an_input(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "models/odd.pkl", "--sarif", "models/odd.pkl")[0] == 2
    assert (folder / "models" / "odd.pkl").read_bytes() == ODD


@pytest.mark.parametrize(
    ("options", "scanned"),
    [
        (["--include", "odd*"], {"odd.pkl"}),
        (["--exclude", "*.pkl"], set()),
        (["--exclude", "e*", "--exclude", "n*"], {"odd.pkl"}),
    ],
)
def test_patterns_choose_the_files_of_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], scanned: set[str]
) -> None:
    status, text = run(capsys, "models", "--json", *options)
    assert verdicts(text).keys() == scanned
    assert len(json.loads(text)["skipped"]) == 3 - len(scanned)
    assert status == (1 if scanned else 3)


def test_several_processes_find_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (run(capsys, "models", "--json", "--jobs", jobs) for jobs in ("1", "2"))
    assert one == two


def test_links_that_leave_the_folder_are_not_followed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "outside.pkl").write_bytes(b"N.")
    (folder / "models" / "link.pkl").symlink_to(folder / "outside.pkl")
    (folder / "models" / "inside.pkl").symlink_to("odd.pkl")
    (folder / "models" / "up").symlink_to(folder)
    _, text = run(capsys, "models", "--json")
    found = {Path(file["path"]).name: file for file in json.loads(text)["files"]}
    assert [item["code"] for item in found["link.pkl"]["findings"]] == ["WK620"]
    assert found["link.pkl"]["verdict"] == "unscanned"
    assert found["inside.pkl"]["verdict"] == "review"
    skipped = {Path(item["path"]).name: item["reason"] for item in json.loads(text)["skipped"]}
    assert "link to a folder" in skipped["up"]


def test_links_in_a_circle_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink(folder, folder / "models" / "up")
    status, text = run(capsys, "models", "--json", "--follow-symlinks", "--include", "*.pkl")
    assert status == 1
    assert sorted(verdicts(text)) == ["evil.pkl", "odd.pkl"]
