"""Errors and exit statuses."""

from __future__ import annotations

import json
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from weightkit.cli import boundary, group
from weightkit.errors import AccessError, AmbiguousCheckpoint, FormatError, WeightkitError


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 3], 3),
        ([3, 4], 4),
        ([4, 3, 1], 1),
        ([2, 3], 3),
        ([2, 0], 2),
        ([1, 130], 130),
    ],
)
def test_one_outranks_four_outranks_three(statuses: list[int], expected: int) -> None:
    assert boundary.worst(statuses) == expected


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FormatError("cut off", path="a", code="WK001", offset=4), 3),
        (AccessError("gone", path="a"), 3),
        (AmbiguousCheckpoint("two"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("no"), 2),
    ],
)
def test_what_is_raised_becomes_a_status(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> NoReturn:
        raise error

    assert boundary.guard(work, as_json=False) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


def test_other_errors_are_bugs_and_stay_visible() -> None:
    def work() -> NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        boundary.guard(work, as_json=False)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = FormatError("bad\nname", path="m.gguf", code="WK204", offset=0x1A40)
    boundary.report(error, as_json=False)
    assert capsys.readouterr().err == "weightkit: m.gguf @ 0x1a40: WK204 bad\\x0aname\n"


@pytest.mark.parametrize("error", [WeightkitError, *WeightkitError.__subclasses__()])
def test_every_error_has_a_json_object(
    error: type[WeightkitError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert boundary.report(error("why", path="p", offset=3), as_json=True) in (2, 3)
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": 1,
        "error": {"code": error.__name__, "message": "why", "path": "p", "offset": 3},
    }


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(group, [*arguments])
    return result.exit_code, result.stdout, result.stderr


def test_no_arguments_shows_the_help() -> None:
    status, out, err = invoke()
    assert status == 2
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["inpsect"], "Did you mean 'inspect'?"),
        (["inspect", "--tensor", "x"], "--tensors"),
        (["rules", "WK00l"], "Did you mean 'WK0"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
        (["inspect"], "Name at least one PATH."),
        (["inspect", "--limit", "-1", "x"], "--limit"),
        (["inspect", "--metadata", "--tensors", "--", "x"], "choose one"),
    ],
)
def test_usage_errors_help(arguments: list[str], hint: str) -> None:
    status, out, err = invoke(*arguments)
    assert status == 2
    assert out == ""
    assert hint in err


def test_usage_errors_as_json() -> None:
    status, out, _ = invoke("inspect", "--json")
    assert status == 2
    assert json.loads(out)["error"] == {
        "code": "usage",
        "message": "Name at least one PATH.",
        "path": None,
        "offset": None,
    }
