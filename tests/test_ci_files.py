"""The hooks and the action that others put into their CI do what docs/ci.md says."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from weightkit.analyses.policy import read_policy

ROOT = Path(__file__).resolve().parent.parent


def action() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


def step(name: str) -> dict[str, Any]:
    (found,) = [item for item in action()["runs"]["steps"] if item.get("name") == name]
    return found


def scan_step(folder: Path, **inputs: str) -> tuple[int, str]:
    """Run the action's scan step as a runner would; its output and the status that it keeps."""
    shim = folder / "bin" / "weightkit"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m weightkit "$@"\n')
    shim.chmod(0o755)
    given = {name: str(item.get("default", "")) for name, item in action()["inputs"].items()}
    given |= inputs
    variables = {
        key: re.sub(r"\$\{\{ inputs\.([\w-]+) }}", lambda m: given[m[1]], value)
        for key, value in step("Scan")["env"].items()
    }
    output = folder / "output"
    environment = {
        "PATH": f"{shim.parent}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(output),
        **variables,
    }
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Scan")["run"]]
    done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(output.read_text().removeprefix("status=")), done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "evil.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    (tmp_path / "fine.pkl").write_bytes(b"N.")
    return tmp_path


def test_the_action_keeps_the_status_and_writes_the_log(folder: Path) -> None:
    status, said = scan_step(folder, paths="a b\nfine.pkl\n")
    assert status == 1
    assert "os.system" in said
    log = json.loads((folder / "weightkit.sarif").read_text())
    assert [item["location"]["uri"] for item in log["runs"][0]["artifacts"]] == [
        "a%20b/evil.pkl",
        "fine.pkl",
    ]


def test_the_action_is_fine_with_fine_files(folder: Path) -> None:
    assert scan_step(folder, paths=".", exclude="evil*\nbin/*\noutput")[0] == 0


def test_an_input_is_never_a_command(folder: Path) -> None:
    evil = '$(touch gone); `touch gone`; " ; touch gone #'
    status, _ = scan_step(folder, paths="fine.pkl", policy=evil)
    assert status == 3
    assert not (folder / "gone").exists()


def test_the_last_step_ends_with_the_status() -> None:
    last = action()["runs"]["steps"][-1]
    assert last["env"] == {"STATUS": "${{ steps.scan.outputs.status }}"}
    done = subprocess.run(["bash", "-c", last["run"]], env={"STATUS": "3"}, check=False)
    assert done.returncode == 3


def test_no_script_of_the_action_holds_an_expression() -> None:
    assert not [item for item in action()["runs"]["steps"] if "${{" in item.get("run", "")]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("m/pytorch_model.bin", True),
        ("x.safetensors", True),
        ("a/tokenizer_config.json", True),
        ("chat_template.jinja", True),
        ("package.json", False),
        ("README.md", False),
    ],
)
def test_the_hook_takes_model_files(path: str, wanted: bool) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "weightkit scan"
    assert bool(re.search(hook["files"], path)) is wanted


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert tomllib.loads(text)
    (tmp_path / "policy.toml").write_text(text)
    assert read_policy(str(tmp_path / "policy.toml"), datetime.date(2026, 1, 1)).entries
