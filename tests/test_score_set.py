"""The set that scanners are scored on: every attack in it is told, and no ordinary file is."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench.attacks import Made, everything, write
from weightkit.analyses.scanning import scan_file

SET = list(everything())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score") / "set"
    write(folder)
    return folder


def test_no_two_files_have_one_name() -> None:
    assert len({item.name for item in SET}) == len(SET)


@pytest.mark.parametrize("item", SET, ids=lambda item: item.name)
def test_attacks_are_told_and_ordinary_files_are_not(item: Made, folder: Path) -> None:
    verdict = scan_file(str(folder / item.name)).verdict
    assert (verdict in ("review", "unsafe")) is item.malicious, verdict
    if not item.malicious:
        assert verdict == "safe"
