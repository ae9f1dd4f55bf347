"""The small commands: rules, formats, doctor, completion; and the schemas of all JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

import weightkit
from weightkit.cli import group
from weightkit.rules import RULES

SCHEMAS = Path(weightkit.__file__).parent / "schemas"


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(group, [*arguments])
    assert result.exit_code == status, result.stderr
    return result.stdout


def document(*arguments: str, status: int = 0) -> dict[str, Any]:
    """The JSON of a command, held against the schema of its name."""
    found: dict[str, Any] = json.loads(run(*arguments, "--json", status=status))
    schema = json.loads((SCHEMAS / f"{arguments[0]}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    return found


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_schemas_are_schemas(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["inspect", "x", "--sort", "siez"], "Did you mean 'size'?"),
        (["scan", "x", "--fail-on", "UNSAVE"], "Did you mean 'unsafe'?"),
        (["checksum", "x", "--algorithm", "sha265"], "Did you mean 'sha256'"),
        (["completion", "fsh"], "Did you mean 'fish' or 'zsh'?"),
    ],
)
def test_misspelt_choices_are_suggested(words: list[str], hint: str) -> None:
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 2
    assert hint in done.stderr


def test_rules_lists_all() -> None:
    found = document("rules")
    assert [rule["code"] for rule in found["rules"]] == [*RULES]
    assert all(code in run("rules") for code in RULES)


def test_rules_explains_some() -> None:
    assert [rule["code"] for rule in document("rules", "wk002", "WK001")["rules"]] == [
        "WK002",
        "WK001",
    ]
    text = run("rules", "WK001")
    assert RULES["WK001"].why in text
    assert "danger, fatal" in text


def test_formats() -> None:
    found = document("formats")["formats"]
    read = {note["name"]: note for note in found if note["reads"]}
    assert ".gguf" in read["gguf"]["suffixes"]
    assert any(not note["reads"] and "HDF5" in note["name"] for note in found)
    assert "HDF5" in run("formats")


def test_doctor() -> None:
    found = document("doctor")
    assert found["version"] == weightkit.__version__
    assert found["cores"] >= 1
    assert found["python"] in run("doctor")


def test_doctor_reads_requirements() -> None:
    from weightkit.cli.doctor import _requirement

    assert _requirement("click>=8.1").version is not None
    absent = _requirement("no-such-thing-at-all>=2.4 ; extra == 'torch'")
    assert (absent.name, absent.version, absent.extra) == ("no-such-thing-at-all", None, "torch")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = run("completion", shell)
    assert "_WEIGHTKIT_COMPLETE" in script
    assert script == run("completion", shell)


def test_bash_accepts_its_completion(tmp_path: Path) -> None:
    script = tmp_path / "complete"
    script.write_text(run("completion", "bash"), encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)


def test_a_folder_without_files_is_not_called_scanned(tmp_path: Path) -> None:
    assert "nothing: no file is there" in run("scan", str(tmp_path), status=3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("weightkit ins", "plain,inspect\n"),
        ("weightkit inspect --by lay", "plain,layer\n"),
        ("weightkit inspect fixt", "file,fixt\n"),
        ("weightkit inspect x -o out", "file,out\n"),
        ("weightkit convert --to py", "plain,pytorch\n"),
        ("weightkit convert --dtype bf", "plain,bf16\n"),
        ("weightkit stats --fail-on nan,in", "plain,nan,inf\n"),
        ("weightkit diff --ignore recast,tok", "plain,recast,tokenizer\n"),
    ],
)
def test_what_is_completed(words: str, expected: str) -> None:
    environ = {
        "_WEIGHTKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    result = CliRunner().invoke(group, [], prog_name="weightkit", env=environ)
    assert result.stdout == expected
    assert result.exit_code == 0
