"""fixtures/ is what its script makes, and its README lists it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
FILES = sorted(
    path.relative_to(FIXTURES)
    for path in FIXTURES.rglob("*")
    if path.is_file() and path.name != "README.md"
)
# What other libraries write may change with their release: these bytes are ours or frozen formats.
FROZEN = {".safetensors", ".gguf", ".npy", ".json", ".pkl", ".tar"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by a process of its own: torch numbers TorchScript classes per process."""
    folder = tmp_path_factory.mktemp("fixtures")
    script = ROOT / "scripts/make_fixtures.py"
    subprocess.run([sys.executable, "-W", "ignore", script, folder], check=True)
    return folder


def test_the_script_makes_these_files_and_no_others(made: Path) -> None:
    assert sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file()) == FILES


@pytest.mark.parametrize("name", [name for name in FILES if name.suffix in FROZEN], ids=str)
def test_the_script_makes_the_same_bytes(made: Path, name: Path) -> None:
    assert (made / name).read_bytes() == (FIXTURES / name).read_bytes()


@pytest.mark.parametrize("name", [name for name in FILES if name.suffix == ".npz"], ids=str)
def test_archives_of_arrays_hold_the_same_bytes(made: Path, name: Path) -> None:
    import zipfile

    with zipfile.ZipFile(made / name) as new, zipfile.ZipFile(FIXTURES / name) as old:
        assert [(entry.filename, new.read(entry)) for entry in new.infolist()] == [
            (entry.filename, old.read(entry)) for entry in old.infolist()
        ]


@pytest.mark.parametrize("name", [name for name in FILES if name.suffix == ".pt"], ids=str)
def test_torch_writes_the_same_sizes(made: Path, name: Path) -> None:
    assert (made / name).stat().st_size == (FIXTURES / name).stat().st_size


def test_they_are_small() -> None:
    sizes = [(FIXTURES / name).stat().st_size for name in FILES]
    assert max(sizes) <= 64 * 1024
    assert sum(sizes) <= 500 * 1024


def test_no_path_of_the_machine_that_made_them_is_in_them() -> None:
    for name in FILES:
        assert not re.search(rb"/(home|root|work|tmp|Users|usr)/", (FIXTURES / name).read_bytes())


def test_the_readme_lists_each() -> None:
    listed = re.findall(r"^\| `([^`]+)`", (FIXTURES / "README.md").read_text(), re.MULTILINE)
    for name in FILES:
        assert any(str(name) == row or str(name).startswith(row) for row in listed), name
    for row in listed:
        assert (FIXTURES / row).exists(), row
