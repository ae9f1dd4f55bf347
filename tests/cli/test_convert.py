"""``weightkit convert`` on the command line."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import torch
from click.testing import CliRunner

from tests.cli.test_commands import SCHEMAS, document, run
from weightkit.cli import group

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
STATE_DICT = str(FIXTURES / "torch/state_dict.pt")
CHECKPOINT = str(FIXTURES / "torch/checkpoint.pt")
GGUF = str(FIXTURES / "llama-q8_0.gguf")
LLAMA = str(FIXTURES / "llama")


def test_what_was_done_is_shown(tmp_path: Path) -> None:
    target = str(tmp_path / "out.safetensors")
    text = run("convert", STATE_DICT, target)
    assert "9 moved as they are" in text
    assert "read back and is the same" in text
    own = document("id", target)
    assert f"{own['algorithm']}:{own['id']}" in text


def test_json_of_a_conversion(tmp_path: Path) -> None:
    target = str(tmp_path / "out.safetensors")
    found = document("convert", STATE_DICT, target, "--dtype", "bf16")
    assert found["converted"]
    assert found["verified"]
    assert found["ways"] == {"move": 1, "cast": 8}
    own = document("id", target)
    assert (found["algorithm"], found["content_id"]) == (own["algorithm"], own["id"])
    assert len(found["casts"]) == 8


def test_a_cast_is_identified_where_that_is_asked_for(tmp_path: Path) -> None:
    target, receipt = str(tmp_path / "out.safetensors"), tmp_path / "receipt.json"
    text = run("convert", STATE_DICT, target, "--dtype", "bf16")
    assert "every tensor was read back" in text
    assert "content id  not computed" in text
    own = document("id", target)["id"]
    text = run(
        "convert", STATE_DICT, target, "--dtype", "bf16", "--force", "--receipt", str(receipt)
    )
    assert own in text
    assert own in receipt.read_text()


def test_json_of_a_plan(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    found = document("convert", CHECKPOINT, str(target), "--dry-run", status=2)
    assert not found["converted"]
    assert [item["code"] for item in found["losses"]] == ["WK640", "WK641"]
    assert found["refused"] == ["WK640", "WK641"]
    assert len(found["steps"]) == 9
    assert found["key"] == "model"
    places = sorted((step["offset"], step["bytes"]) for step in found["steps"])
    assert all(a[0] + a[1] == b[0] for a, b in itertools.pairwise(places))
    assert not target.exists()


def test_the_plan_for_people(tmp_path: Path) -> None:
    text = run(
        "convert",
        CHECKPOINT,
        str(tmp_path / "o.safetensors"),
        "--dry-run",
        "--limit",
        "3",
        status=2,
    )
    assert "not written" in text
    assert "--drop-non-tensors" in text
    assert "6 more" in text


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([STATE_DICT], 2),
        ([STATE_DICT, "{}/a.safetensors", "{}/b.safetensors"], 2),
        ([CHECKPOINT, "{}/out.safetensors"], 2),
        ([STATE_DICT, "{}/out.xyz", "--to", "word"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--dtype", "f17"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--shard-size", "much"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--metadata", "none"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--dry-run", "--resume"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--timestamp"], 2),
        ([STATE_DICT, ""], 2),
        ([STATE_DICT, "-"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--resume"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--as-bytes"], 2),
        ([STATE_DICT, "{}/out.pt", "--as-bytes"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--to", "npz"], 2),
        ([STATE_DICT, "{}/out", "--shard-size", "0"], 2),
        ([STATE_DICT, "{}/out", "--shard-size", "-1"], 2),
        ([STATE_DICT, "{}/out", "--shard-size", "5XB"], 2),
        ([STATE_DICT, "{}/out", "--shard-size", "9" * 400], 2),
        ([STATE_DICT, "{}/out", "--shard-size", ""], 2),
        ([STATE_DICT, CHECKPOINT, "--into", "", "--force"], 2),
        ([STATE_DICT, "{}/out.pt", "--receipt", ""], 2),
        ([CHECKPOINT, "{}/out.pt", "--sidecar="], 2),
        ([STATE_DICT, "{}/out.safetensors", "--jobs", "-1"], 2),
        ([STATE_DICT, "{}/out.safetensors", "--shard-size", "1KB"], 2),
        ([STATE_DICT, "{}/out/", "--shard-size", "1KB", "--to", "npz"], 2),
        ([STATE_DICT, CHECKPOINT, "--into", "{}/out", "--sidecar={}/side.json"], 2),
        (["{}/absent.pt", "{}/out.safetensors"], 3),
        ([str(FIXTURES / "hostile/os_system.pt"), "{}/out.safetensors"], 2),
    ],
)
def test_refusals(tmp_path: Path, words: list[str], status: int) -> None:
    run("convert", *(word.format(tmp_path) for word in words), status=status)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["{}/out.safetensors", "--dtype", "f17"], "no type is called 'f17'. Did you mean 'f16'"),
        (["{}/out.safetensors", "--to", "safetensor"], "npz). Did you mean 'safetensors'?"),
        (["{}/out.safetensor"], "Did you mean '.safetensors'?"),
        (["{}/out.safetensors", "--color", "Alway"], "'never'. Did you mean 'always'?"),
        (["{}/out.safetensors", "--dryrun"], "Did you mean '--dry-run'?"),
        (["{}/out", "--shard-size", "0"], "'0' is no size that a file could have"),
        (["{}/out.safetensors", "--resume"], "a single file is not resumed"),
        (["{}/out.safetensors", "--as-bytes"], "safetensors says the type of all it holds"),
        (["{}/out.safetensors", "--to", "npz"], ".safetensors is a name for another format"),
        (["{}/out.safetensors", "--key", "model"], "there is '' (the top level)"),
        (["-"], "- is a list of sources"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, words: list[str], hint: str) -> None:
    given = ["convert", STATE_DICT, *(word.format(tmp_path) for word in words)]
    done = CliRunner().invoke(group, given)
    assert done.exit_code == 2
    assert hint in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "report"),
    [
        (["a.pt", "a.safetensors"], "a.pt"),
        (["a.pt", "a.safetensors"], "a.safetensors"),
        (["a.pt", "folder/"], "folder/report"),
        (["folder", "b.safetensors"], "folder/model.safetensors"),
        (["a.pt", "a.safetensors", "--receipt", "r.json"], "r.json"),
        (["a.pt", "a.safetensors", "--sidecar=s.json"], "s.json"),
        (["a.pt", "a.safetensors", "--sidecar"], "a.sidecar.json"),
        (["--beside", "a.pt"], "a.pt"),
        (["--beside", "a.pt"], "a.safetensors"),
        (["--recursive", "folder", "--to=pt"], "folder/model.safetensors"),
    ],
)
def test_the_report_takes_no_place_of_weights(
    tmp_path: Path, words: list[str], report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(STATE_DICT, "a.pt")
    shutil.copytree(LLAMA, "folder")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = CliRunner().invoke(group, ["convert", *words, "-o", report, "--force"])
    assert done.exit_code == 2
    assert "-o would overwrite" in done.stderr
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "out.pt").mkdir()
    for target in ("out.pt", "new.pt/"):
        run("convert", STATE_DICT, f"{tmp_path}/{target}", "--to=safetensors", "--force")


def test_rules_from_a_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("# names\n\n0.*=first.*\n")
    target = str(tmp_path / "out.safetensors")
    run("convert", STATE_DICT, target, "--rename-from", str(rules))
    names = [item["name"] for item in document("inspect", target, "--tensors")["tensors"]]
    assert "first.weight" in names


def test_a_tree_in_one_command(tmp_path: Path) -> None:
    tree = tmp_path / "models"
    shutil.copytree(FIXTURES / "torch", tree / "torch")
    text = run("convert", "--recursive", str(tree), status=2)
    assert (tree / "torch/state_dict.safetensors").exists()
    assert "WK640" in text  # checkpoint.pt, with its optimizer
    again = run("convert", "--recursive", str(tree), "--drop-non-tensors")
    assert "3 of 3" in again
    assert "verified, accepted: WK640, WK641" in again
    done = CliRunner().invoke(group, ["convert", "--recursive", str(tree)])
    assert "nothing to convert" in done.stdout
    assert "passed over, whose targets exist" in done.stderr


def test_a_dry_run_of_a_tree_makes_no_folder(tmp_path: Path) -> None:
    into = tmp_path / "out"
    text = run("convert", "--into", str(into), "--dry-run", STATE_DICT, CHECKPOINT, status=2)
    assert "refused  1 of 2" in text
    assert "refused until accepted: WK640, WK641" in text
    assert "planned" in text
    assert "converted" not in text
    assert not into.exists()


def test_a_dry_run_says_where_nothing_can_be_written(tmp_path: Path) -> None:
    """And ends as the conversion would, so that a script can ask first."""
    target, folder = tmp_path / "out.safetensors", tmp_path / "out"
    target.write_bytes(b"old")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"old")
    before = sorted(tmp_path.rglob("*"))
    words = ["convert", STATE_DICT, "--dry-run"]
    for place in (target, folder):
        assert document(*words, str(place), status=2)["refused"] == ["WK665"]
        assert "refused" not in run(*words, str(place), "--force")
    assert "no folder" in run(*words, str(tmp_path / "absent" / "out.safetensors"), status=2)
    for more in (f"--sidecar={target}", f"--receipt={target}"):
        words = ["convert", CHECKPOINT, str(tmp_path / "new.pt"), "--key=model", "--dry-run", more]
        assert "WK665" in run(*words, "--allow-lossy", status=2)
    found = run("convert", "--dry-run", "--into", str(tmp_path), "--to=pt", STATE_DICT)
    assert "planned  1 of 1" in found
    (tmp_path / "state_dict.pt").write_bytes(b"old")
    found = run("convert", "--dry-run", "--into", str(tmp_path), "--to=pt", STATE_DICT, status=2)
    assert "the target exists; --force replaces it" in found
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "state_dict.pt"])


def test_what_was_accepted_is_said_without_advice(tmp_path: Path) -> None:
    target = str(tmp_path / "out.safetensors")
    planned = run("convert", CHECKPOINT, target, "--dry-run", status=2)
    assert "until accepted: WK640, WK641" in planned
    assert "until accepted" not in run("convert", CHECKPOINT, target, "--dry-run", "--allow-lossy")
    text = run("convert", CHECKPOINT, target, "--drop-non-tensors", "--dtype", "f16")
    assert "WK640" in text
    assert "--drop-non-tensors" not in text
    assert "the same, but for the casts" in text


def test_a_refusal_names_every_loss_and_what_accepts_them_together(tmp_path: Path) -> None:
    words = ["convert", CHECKPOINT, str(tmp_path / "out.safetensors")]
    assert CliRunner().invoke(group, words).stderr.splitlines() == [
        f"weightkit: {CHECKPOINT}: WK640 2 kinds of loss (WK640, WK641); accept all with "
        "--drop-non-tensors, or with --allow-lossy",
        "  WK640 1 other state dict left behind: optimizer (optimizer): --key or --drop-non-tensors",
        "  WK641 values that are no tensors: epoch: --sidecar or --drop-non-tensors",
    ]
    run(*words, "--drop-non-tensors")


def test_a_refusal_as_json_has_the_same_lines(tmp_path: Path) -> None:
    words = ["convert", CHECKPOINT, str(tmp_path / "out.safetensors"), "--json"]
    found = json.loads(run(*words, status=2))
    schema = json.loads((SCHEMAS / "convert.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    assert [line[:5] for line in found["error"]["details"]] == ["WK640", "WK641"]


def test_what_a_refusal_shows_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    held = {"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.ones(2)}, "\x1b[2J\n": 1}
    torch.save(held, tmp_path / "in.pt")
    words = ["convert", str(tmp_path / "in.pt"), str(tmp_path / "out.safetensors")]
    said = CliRunner().invoke(group, words).stderr
    assert len(said.splitlines()) == 3
    assert "\x1b" not in said


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_a_sidecar_keeps_is_no_warning(tmp_path: Path, more: list[str]) -> None:
    target = str(tmp_path / "out.safetensors")
    found = document("convert", CHECKPOINT, target, "--sidecar", "--key", "model", *more)
    assert [(item["code"], item["severity"]) for item in found["losses"]] == [
        ("WK640", "warning"),
        ("WK641", "note"),
    ]
    kept = f"kept in {tmp_path / 'out.sidecar.json'}"
    assert found["losses"][1]["message"] == f"values that are no tensors: epoch; {kept}"
    text = run("convert", CHECKPOINT, target, "--sidecar", "--allow-lossy", "--force", *more)
    assert f"note     WK641  values that are no tensors: epoch; {kept}" in text
    dropped = document("convert", CHECKPOINT, target, "--allow-lossy", "--force", *more)
    assert {item["severity"] for item in dropped["losses"]} == {"warning"}


def test_metadata_that_a_sidecar_keeps_is_no_warning(tmp_path: Path) -> None:
    target = str(tmp_path / "out.safetensors")
    words = ["convert", GGUF, target, "--dtype", "f32", "--sidecar", "--dry-run"]
    losses = document(*words)["losses"]
    assert [(item["code"], item["severity"]) for item in losses] == [("WK643", "note")]


@pytest.mark.parametrize("target", ["out.safetensors", "out/"])
@pytest.mark.parametrize("named", [False, True])
def test_an_empty_sidecar_is_not_written(target: str, named: bool, tmp_path: Path) -> None:
    flag = f"--sidecar={tmp_path / 'side.json'}" if named else "--sidecar"
    words = ["convert", STATE_DICT, f"{tmp_path}/{target}", flag]
    for more in (["--dry-run"], ["--receipt", str(tmp_path / "receipt.json")]):
        found = document(*words, *more)
        assert found["sidecar"] is None
        assert [item["code"] for item in found["notes"]] == ["WK653"]
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in names if "side" in name]
    assert len(names) == 2
    assert "no sidecar is written" in run(*words, "--force")


def test_json_of_a_batch(tmp_path: Path) -> None:
    words = ["convert", "--into", str(tmp_path / "out"), STATE_DICT, CHECKPOINT, "--json"]
    found = json.loads(run(*words, status=2))
    schema = json.loads((SCHEMAS / "convert.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(found)
    assert found["results"][0]["verified"]
    assert found["results"][1]["error"]["code"] == "WK640"


def test_a_refusal_of_a_batch_is_explained_once(tmp_path: Path) -> None:
    words = ["convert", "--into", str(tmp_path), STATE_DICT, CHECKPOINT, str(tmp_path / "none.pt")]
    done = CliRunner().invoke(group, words)
    assert "2 kinds of loss" in done.stderr
    assert "2 kinds of loss" not in done.stdout
    assert "refused: WK640" in done.stdout
    assert "failed: WK010" in done.stdout
    assert done.exit_code == 3


def test_json_of_a_planned_batch_lists_every_tensor(tmp_path: Path) -> None:
    found = document(
        "convert", "--dry-run", "--into", str(tmp_path / "out"), STATE_DICT, STATE_DICT
    )
    (plan,) = found["results"]
    assert len(plan["steps"]) == plan["tensors"] > 0


@pytest.mark.parametrize("source", ["llama-sharded", "pipeline", "llama-split-gguf"])
def test_a_plan_says_where_in_which_file_the_bytes_are(tmp_path: Path, source: str) -> None:
    """With that alone, and no reader, the target's bytes are found in the source."""
    words = ["convert", str(FIXTURES / source), f"{tmp_path}/out/"]
    plan = document(*words, "--dry-run", "--drop-non-tensors")
    run(*words, "--drop-non-tensors")
    for step in plan["steps"]:
        origin = step["source"]
        read = Path(origin["file"]).read_bytes()[origin["offset"] :][: origin["bytes"]]
        written = (tmp_path / "out" / step["file"]).read_bytes()[step["offset"] :]
        assert written[: step["bytes"]] == read


def test_what_is_named_twice_is_converted_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(STATE_DICT, tmp_path / "a/x.pt")
    paths = [f"{tmp_path}/a/x.pt", f"{tmp_path}/a/../a/x.pt", f"{tmp_path}/a/./x.pt"]
    assert "1 of 1" in run("convert", "--beside", *paths)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.pt").symlink_to("../a/x.pt")  # another place, so another target
    words = ["convert", "--beside", "--force", paths[0], f"{tmp_path}/b/x.pt"]
    assert "2 of 2" in run(*words)


def test_names_that_meet_keep_their_suffix(tmp_path: Path) -> None:
    for name in ("a.pt", "a.bin"):
        shutil.copy(STATE_DICT, tmp_path / name)
    run("convert", "--beside", str(tmp_path / "a.pt"), str(tmp_path / "a.bin"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.bin", "a.bin.safetensors", "a.pt", "a.pt.safetensors"]


def test_a_receipt_is_a_statement(tmp_path: Path) -> None:
    target, receipt = tmp_path / "out.safetensors", tmp_path / "receipt.json"
    run("convert", STATE_DICT, str(target), "--receipt", str(receipt))
    held = json.loads(receipt.read_text())
    assert held["_type"] == "https://in-toto.io/Statement/v1"
    (subject,) = held["subject"]
    found = document("checksum", str(target))
    assert subject["digest"]["sha256"] == found["files"][0]["digests"]["sha256"]
    predicate = held["predicate"]
    assert predicate["source"]["contentId"] == predicate["target"]["contentId"]


def converted(tmp_path: Path) -> tuple[str, Path]:
    target, receipt = tmp_path / "out.safetensors", tmp_path / "receipt.json"
    run("convert", STATE_DICT, str(target), "--receipt", str(receipt))
    return str(target), receipt


def test_a_receipt_is_held_against_both_sides(tmp_path: Path) -> None:
    target, receipt = converted(tmp_path)
    words = ["verify", target, "--receipt", str(receipt)]
    assert "same" in run(*words)
    assert document(*words, "--source", STATE_DICT)["checked"] == 2
    run(*words, "--source", CHECKPOINT, status=1)
    with open(target, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    found = json.loads(run(*words, "--json", status=1))
    assert [item["kind"] for item in found["differences"]] == ["altered"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("_type",), "x"),
        (("predicateType",), None),
        (("subject",), []),
        (("subject", 0, "name"), "../out.safetensors"),
        (("subject", 0, "digest"), 7),
        (("subject", 0, "digest", "sha256"), "ff"),
        (("predicate", "algorithm"), "md5"),
        (("predicate", "source"), None),
        (("predicate", "target", "contentId"), 3),
    ],
)
def test_a_receipt_is_hostile_input(
    tmp_path: Path, part: tuple[object, ...], value: object
) -> None:
    target, receipt = converted(tmp_path)
    held = json.loads(receipt.read_text())
    inner = held
    for key in part[:-1]:
        inner = inner[key]
    inner[part[-1]] = value
    if part == ("subject", 0, "name"):
        held["subject"].append({**held["subject"][0], "name": "other"})
    receipt.write_text(json.dumps(held))
    found = json.loads(run("verify", target, "--receipt", str(receipt), "--json", status=3))
    assert found["error"]["code"] in ("WK630", "WK620")


def test_a_receipt_of_nonsense(tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    for text in ("", "[]", "{}", "[" * 100_000, "7", '"x"'):
        receipt.write_text(text)
        found = json.loads(run("verify", STATE_DICT, "--receipt", str(receipt), "--json", status=3))
        assert found["error"]["code"] == "WK630"


def test_what_is_made_plain_is_not_said_to_be_the_same(tmp_path: Path) -> None:
    import torch

    source = tmp_path / "a.pt"
    torch.save({"w": torch.eye(3).to_sparse()}, source)
    text = run("convert", str(source), str(tmp_path / "b.safetensors"), "--materialize")
    assert "is the same, but for what was made plain" in text
