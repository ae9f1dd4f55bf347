"""What the README shows is what the commands say: those that work on the fixtures are run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from weightkit.cli import group

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> Iterator[list[tuple[str, str]]]:
    """The console blocks about fixtures: (command, output) pairs; ``...`` cuts an output short."""
    for block in _BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        commands = re.split(r"^\$ weightkit ", block, flags=re.MULTILINE)[1:]
        if commands and all("fixtures/" in item for item in commands):
            yield [(line, text) for line, _, text in (item.partition("\n") for item in commands)]


@pytest.mark.parametrize("block", [*examples()], ids=lambda block: block[0][0])
def test_the_readme_shows_what_is_said(
    block: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for line, shown in block:
        said = CliRunner().invoke(group, shlex.split(line)).output
        whole, cut, _ = shown.rstrip("\n").partition("\n...")
        assert said.startswith(whole) if cut else said.rstrip("\n") == whole


def test_there_are_examples() -> None:
    assert len([*examples()]) >= 4
