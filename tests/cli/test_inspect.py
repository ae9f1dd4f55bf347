"""``weightkit inspect``, from the words on the command line to what comes out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.test_commands import document
from weightkit.cli import group

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
GGUF = str(FIXTURES / "llama-q8_0.gguf")
TORCH = str(FIXTURES / "torch/state_dict.pt")


def invoke(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(group, ["inspect", *arguments], input=given)


def run(*arguments: str, given: str | None = None, status: int = 0) -> str:
    result = invoke(*arguments, given=given)
    assert result.exit_code == status, result.stderr
    return result.stdout


def results(*arguments: str, given: str | None = None, status: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("--json", *arguments, given=given, status=status))[
        "results"
    ]
    return found


def broken(folder: Path) -> str:
    """A GGUF that ends in the middle of its header."""
    path = folder / "broken.gguf"
    path.write_bytes(Path(GGUF).read_bytes()[:300])
    return str(path)


def test_default_view() -> None:
    text = run(GGUF)
    assert text.startswith("llama-q8_0.gguf   gguf · ")
    assert "22.69 K · 22,688" in text
    assert "blk.[0-1].attn_q.weight" in text
    assert "general.architecture" in text
    assert "\x1b" not in text
    assert "█" not in text


@pytest.mark.parametrize("path", [GGUF, TORCH, str(FIXTURES / "torch/checkpoint.pt")])
@pytest.mark.parametrize("options", [[], ["--tensors"], ["--by", "layer"], ["--metadata"]])
def test_json_follows_its_schema(path: str, options: list[str]) -> None:
    found = document("inspect", path, *options)
    assert found["path"] == path
    assert ("tensors" in found) == (options == ["--tensors"])


def test_counts() -> None:
    found = document("inspect", GGUF)
    assert found["parameters"]["total"] == 22688
    assert found["tensor_count"] == 21
    assert found["layers"] == 2
    assert {row["component"] for row in found["components"]} == {
        "embedding",
        "attention",
        "feed_forward",
        "norm",
        "output_head",
    }


def test_tensors_by_pattern_sort_and_limit() -> None:
    options = ["--tensors", "blk.0.ffn_*", "--sort", "size"]
    rows = document("inspect", GGUF, *options)["tensors"]
    assert {row["name"].split(".")[2] for row in rows} == {
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    }
    assert [row["bytes"] for row in rows] == sorted((row["bytes"] for row in rows), reverse=True)
    assert len(document("inspect", GGUF, *options, "--limit", "2")["tensors"]) == 2
    text = run(GGUF, *options, "--limit", "2")
    assert "… 2 more (--limit 0 shows all)" in text
    assert len(text.splitlines()) == 4


def test_names_sort_naturally() -> None:
    rows = document("inspect", GGUF, "--tensors", "--sort", "name")["tensors"]
    names = [row["name"] for row in rows]
    assert names.index("blk.1.attn_k.weight") > names.index("blk.0.ffn_up.weight")


def test_a_path_after_tensors_is_a_path() -> None:
    assert len(document("inspect", "--tensors", GGUF)["tensors"]) == 21
    assert invoke(f"--tensors={GGUF}", GGUF).exit_code == 2
    assert len(document("inspect", GGUF, "--tensors", "--limit", "3")["tensors"]) == 3
    assert run("--metadata", "--", GGUF).startswith("metadata")


def test_one_metadata_value() -> None:
    assert run(GGUF, "--metadata", "general.name") == "Tiny Llama of noise\n"
    assert document("inspect", GGUF, "--metadata", "general.name")["metadata"] == {
        "general.name": "Tiny Llama of noise"
    }


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (
            ["--metadata", "general.nam"],
            "no metadata key 'general.nam'. Did you mean 'general.name'",
        ),
        (["--tensors", "output.weigth"], "no tensor 'output.weigth'. Did you mean 'output.weight'"),
        (["--explain", "attn_q"], "no tensor 'attn_q'. Did you mean 'blk.0.attn_q.weight'"),
    ],
)
def test_unknown_names_are_suggested(options: list[str], hint: str) -> None:
    result = invoke(GGUF, *options)
    assert result.exit_code == 2
    assert hint in result.stderr
    assert result.stdout == ""


def test_a_pattern_that_matches_nothing_is_said() -> None:
    result = invoke(GGUF, "--tensors", "x*")
    assert result.exit_code == 0
    assert result.stderr == f"weightkit: hint: {GGUF}: no tensor matches 'x*'\n"
    assert invoke(GGUF, "--tensors", "x*", "--quiet").stderr == ""


def test_a_malformed_file_gets_a_hint(tmp_path: Path) -> None:
    assert "hint: --lenient" in invoke(broken(tmp_path)).stderr
    assert "hint" not in invoke(broken(tmp_path), "--lenient").stderr
    assert "hint" not in invoke(broken(tmp_path), "-q").stderr
    assert "hint" not in invoke(str(tmp_path / "no")).stderr


def test_explain() -> None:
    text = run(GGUF, "--explain", "blk.0.attn_norm.weight")
    assert "component   norm" in text
    assert "because" in text
    rows = document("inspect", GGUF, "--explain", "blk.0.attn_norm.weight")["tensors"]
    assert [row["name"] for row in rows] == ["blk.0.attn_norm.weight"]
    assert rows[0]["rule"]


def test_several_paths() -> None:
    found = document("inspect", GGUF, TORCH)
    assert [result["path"] for result in found["results"]] == [GGUF, TORCH]
    text = run(GGUF, TORCH, "--tensors")
    assert "llama-q8_0.gguf   gguf" in text
    assert "state_dict.pt   pytorch" in text


def test_work_goes_on_after_an_error(tmp_path: Path) -> None:
    found = document("inspect", broken(tmp_path), str(tmp_path / "no"), GGUF, status=3)["results"]
    assert [result.get("error", {}).get("code", "fine")[:2] for result in found] == [
        "WK",
        "WK",
        "fi",
    ]
    result = invoke(broken(tmp_path), GGUF)
    assert result.exit_code == 3
    assert "broken.gguf @ 0x" in result.stderr
    assert "llama-q8_0.gguf" in result.stdout


def test_one_error_is_an_object(tmp_path: Path) -> None:
    found = document("inspect", str(tmp_path / "no"), status=3)
    assert list(found) == ["schema_version", "error"]
    assert found["error"]["path"] == str(tmp_path / "no")


def test_lists_of_paths(tmp_path: Path) -> None:
    assert [result["path"] for result in results("-", given=f"{GGUF}\n\n{TORCH}\r\n")] == [
        GGUF,
        TORCH,
    ]
    assert len(results("-", given=f"{GGUF}\0{TORCH}\0")) == 2
    assert len(results("--files-from", "-", given=GGUF)) == 1
    assert results("-", given="") == []
    named = tmp_path / "list"
    named.write_text(TORCH, encoding="utf-8")
    assert len(results(GGUF, "--files-from", str(named))) == 2
    assert invoke("--files-from", str(tmp_path / "no")).exit_code == 3


def test_fail_on(tmp_path: Path) -> None:
    lying = tmp_path / "model.gguf"
    shutil.copy(TORCH, lying)
    assert [found["code"] for found in document("inspect", str(lying))["findings"]] == ["WK005"]
    run(str(lying), "--fail-on", "danger")
    run(str(lying), "--fail-on", "warning", status=1)
    run(str(lying), "--fail-on", "note", status=1)
    run(str(lying), str(tmp_path / "no"), "--fail-on", "note", status=1)


def test_lenient_describes_but_exits_3(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(Path(GGUF).read_bytes()[:-100])
    run(str(path), status=3)
    text = run(str(path), "--lenient", status=3)
    assert "blk.[0-1].attn_q.weight" in text
    assert "danger" in text


def test_output_file(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    assert run(GGUF, "--json", "-o", str(target)) == ""
    assert json.loads(target.read_text(encoding="utf-8"))["path"] == GGUF
    assert os.listdir(tmp_path) == ["out.json"]


def test_output_file_is_whole_or_not_there(tmp_path: Path) -> None:
    result = invoke(GGUF, "-o", str(tmp_path / "no/out.json"))
    assert result.exit_code == 3
    assert "No such file or directory" in result.stderr
    copy = tmp_path / "copy.gguf"
    shutil.copy(GGUF, copy)
    result = invoke(str(copy), "-o", str(copy))
    assert result.exit_code == 2
    assert "would overwrite" in result.stderr
    assert copy.read_bytes() == Path(GGUF).read_bytes()


def test_output_file_keeps_the_old_content_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightkit.render import inspection

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "out.txt"
    target.write_text("old", encoding="utf-8")
    monkeypatch.setattr(inspection, "to_blocks", stop)
    assert invoke(GGUF, "-o", str(target)).exit_code == 130
    assert target.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_colors_when_asked() -> None:
    assert "\x1b[" in run(GGUF, "--color", "always")
    assert "\x1b[" not in run(GGUF, "--color", "never")


@pytest.mark.parametrize("columns", [60, 72, 80])
def test_nothing_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for options in ([], ["--tensors"], ["--metadata"], ["--by", "module"]):
        assert max(map(len, run(GGUF, *options).splitlines())) <= columns


def test_a_name_that_no_encoding_can_hold() -> None:
    result = invoke(os.fsdecode(b"no\xff\x1b[31m"))
    assert result.exit_code == 3
    assert "no\\udcff\\x1b[31m" in result.stderr


SHARDED = FIXTURES / "llama-sharded"
SPLIT = FIXTURES / "llama-split-gguf"


def test_shards_of_one_checkpoint_are_shown_once() -> None:
    shards = [str(path) for path in sorted(SHARDED.glob("model*"))]
    done = invoke(*shards)
    assert done.stdout.count("parameters    5,712") == 1
    assert f"{shards[0]} and 2 more are of one checkpoint, shown once" in done.stderr
    found = results(*shards)
    assert [item["path"] for item in found] == shards[:1], "a list still: several paths were given"
    assert len(found[0]["files"]) == 2


@pytest.mark.parametrize("command", ["id", "stats", "memory"])
def test_other_commands_show_them_once_too(command: str) -> None:
    paths = [str(path) for path in [*sorted(SPLIT.iterdir()), SHARDED, *SHARDED.glob("model-*")]]
    done = CliRunner().invoke(group, [command, "--json", "-"], input="\n".join(paths))
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["results"]) == 3, "the split, the folder, the shards"


def test_what_only_looks_alike_is_shown_each(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SHARDED, copy)
    shards = [str(folder / "model-00001-of-00002.safetensors") for folder in (SHARDED, copy)]
    assert len(results(*shards)) == 2
    assert len(results(GGUF, GGUF)) == 2
    gone = [str(tmp_path / f"none/model-0000{n}-of-00002.safetensors") for n in (1, 2)]
    assert len(results(*gone, status=3)) == 2


def test_a_shard_that_is_shown_with_others_is_not_overwritten() -> None:
    first, second = sorted(map(str, SHARDED.glob("model-*")))
    run(first, second, "-o", second, status=2)


def test_nothing_stands_before_the_first_that_could_be_read(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none"), GGUF, status=3).startswith("llama-q8_0.gguf")
    assert run(GGUF, GGUF).count("\n\nllama-q8_0.gguf") == 1


def test_files_are_named_from_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHARDED)
    assert "\nmodel-00002-of-00002.safetensors  " in run("model-00001-of-00002.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
@pytest.mark.parametrize("name", ["two\nlines.gguf", "ends in\r"])
def test_a_list_ended_by_nuls_may_name_any_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(GGUF)
    named = tmp_path / "list"
    named.write_bytes(os.fsencode(tmp_path / name) + b"\0")
    assert len(results("--files-from", str(named))) == 1
    assert len(results("-", given=f"{tmp_path / name}\0")) == 1
