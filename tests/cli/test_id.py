"""``weightkit id``, and the progress that long readings show."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.test_commands import SCHEMAS, document, run
from weightkit.analyses.digests import ALGORITHM
from weightkit.cli import progress

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
LLAMA = str(FIXTURES / "llama/model.safetensors")


def test_the_id_is_shown() -> None:
    found = document("id", LLAMA)
    assert f"{ALGORITHM}:{found['id']}" in run("id", LLAMA)
    assert found["tensors"] == 21
    assert "digests" not in found


def test_tensors_are_listed() -> None:
    found = document("id", LLAMA, "--tensors")
    assert [item["name"] for item in found["digests"]] == sorted(
        item["name"] for item in found["digests"]
    )
    text = run("id", LLAMA, "--tensors")
    assert all(item["digest"] in text for item in found["digests"])


def test_parts_of_a_pipeline_are_told_apart() -> None:
    names = [
        item["name"] for item in document("id", str(FIXTURES / "pipeline"), "--tensors")["digests"]
    ]
    assert {name.split("/")[0] for name in names} == {"text_encoder", "unet", "vae"}


def test_what_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(LLAMA).read_bytes()[:-1])
    found = json.loads(run("id", LLAMA, str(cut), "--json", status=3))
    schema = json.loads((SCHEMAS / "id.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    assert "id" in found["results"][0]
    assert found["results"][1]["error"]["path"] == str(cut)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_waits_a_second_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    screen = Terminal()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", screen)
    with progress.progress("id", quiet=False) as display:
        display.total = 4 << 20
        display.tick(1 << 20)
        assert screen.getvalue() == ""
        now[0] += 2
        display.tick(1 << 20)
        assert screen.getvalue().strip() == "id: 2 MiB of 4 MiB (50 %), 1 MiB/s, 0:02 left"
    assert screen.getvalue().endswith("\r")


@pytest.mark.parametrize(("quiet", "lines"), [(False, 1), (True, 0)])
def test_progress_in_a_log(quiet: bool, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    log = io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", log)
    with progress.progress("id", quiet) as display:
        for _ in range(15):
            now[0] += 1
            display.tick(1)
    assert len(log.getvalue().splitlines()) == lines
