"""Help pages: each as it should be, each with examples, nothing wider than a terminal."""

from __future__ import annotations

import importlib

import click
import pytest
from click.testing import CliRunner

from tests.golden import same
from weightkit import __version__
from weightkit.cli import COMMANDS, group
from weightkit.findings import SEVERITIES


def run(*arguments: str) -> str:
    result = CliRunner().invoke(group, [*arguments], terminal_width=80)
    assert result.exit_code == 0
    return result.stdout


def test_the_group() -> None:
    same("help.txt", run("--help"))
    assert run("-h") == run("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command(name: str) -> None:
    text = run(name, "--help")
    same(f"help-{name}.txt", text)
    assert run(name, "-h") == text
    assert "Examples:" in text
    assert f"weightkit {name}" in text.split("Examples:")[1]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    module = importlib.import_module(f"weightkit.cli.{name}")
    help_text = click.unstyle(module.command.help or "")
    assert help_text.split("\n\n")[0].replace("\n", " ") == COMMANDS[name]
    assert module.command.name == name


def test_version() -> None:
    assert run("--version") == f"weightkit {__version__}\n"


def test_choices_are_those_of_the_library() -> None:
    from weightkit.analyses.inspection import BY
    from weightkit.cli import inspect, options
    from weightkit.render.listing import SORTS

    assert inspect.BY == BY
    assert inspect.SORTS == SORTS
    assert tuple(options.SEVERITY.choices) == SEVERITIES
