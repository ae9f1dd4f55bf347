"""An index that names shards which are not there is not scanned wholly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from weightkit.analyses.policy import read_policy
from weightkit.analyses.scanning import scan, scan_file
from weightkit.errors import PolicyError
from weightkit.findings import Finding

SHARDED = Path(__file__).resolve().parents[2] / "fixtures" / "llama-sharded"
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHARDED, tmp_path / "model"))


def judged(folder: Path) -> tuple[str, tuple[Finding, ...]]:
    (found,) = [item for item in scan([str(folder)]).files if item.path.endswith(INDEX)]
    return found.verdict, found.findings


def name_in_index(folder: Path, *names: str) -> None:
    named = {f"tensor.{number}": name for number, name in enumerate(names)}
    (folder / INDEX).write_text(json.dumps({"weight_map": named}))


def test_all_are_there(folder: Path) -> None:
    assert judged(folder) == ("safe", ())


def test_one_is_absent(folder: Path, tmp_path: Path) -> None:
    (folder / SECOND).unlink()
    verdict, (found,) = judged(folder)
    assert (verdict, found.code, found.severity) == ("unscanned", "WK611", "danger")
    assert found.message == f"shard {SECOND} is not here"
    policy = tmp_path / "policy.toml"
    policy.write_text('[rules.WK611]\nseverity = "note"\nreason = "x"\nexpires = 2999-01-01\n')
    with pytest.raises(PolicyError, match="cannot be made to pass"):
        read_policy(str(policy))


def test_many_are_absent(folder: Path) -> None:
    name_in_index(folder, FIRST, *(f"{number}.safetensors" for number in range(9)))
    verdict, (found,) = judged(folder)
    assert verdict == "unscanned"
    expected = "9 of 10 shards are not here: 0.safetensors, 1.safetensors, 2.safetensors, …"
    assert found.message == expected


def test_none_is_there(folder: Path) -> None:
    for name in (FIRST, SECOND):
        (folder / name).unlink()
    assert judged(folder)[0] == "unscanned"
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}.")
    verdict, (found,) = judged(folder)
    assert (verdict, found.code, found.severity) == ("safe", "WK611", "note"), "another form"


def test_shards_in_a_folder_of_it(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / SECOND).rename(folder / "parts" / SECOND)
    name_in_index(folder, FIRST, f"parts/{SECOND}")
    assert judged(folder)[0] == "safe"


@pytest.mark.parametrize("name", [f"../{SECOND}", str(SHARDED / SECOND), "nul\0", "x" * 5000])
def test_names_that_lead_elsewhere_are_not_here(folder: Path, name: str) -> None:
    shutil.copy(SHARDED / SECOND, folder.parent)
    name_in_index(folder, FIRST, name)
    assert judged(folder)[0] == "unscanned"


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": 1}', '{"weight_map": {"a": 1}}'])
def test_what_is_no_index_of_shards(folder: Path, content: str) -> None:
    path = folder / "faiss.index.json"
    path.write_text(content)
    assert scan_file(str(path)).verdict == "safe"


def test_an_index_without_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert scan_file(INDEX).verdict == "safe"
    (folder / FIRST).unlink()
    assert scan_file(INDEX).verdict == "unscanned"
