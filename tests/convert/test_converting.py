"""The same weights in another form: equal values, equal names, and nothing lost in silence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import weightkit
from weightkit.analyses.digests import content_id
from weightkit.analyses.receipts import against_receipt
from weightkit.convert import convert, losses, plan, provenance, sidecar
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish, parse_dtype_rule, parse_rename, parse_size
from weightkit.errors import AccessError, FormatError, PlanError
from weightkit.findings import Finding
from weightkit.plans import Conversion
from weightkit.tensors import TensorInfo

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
LLAMA = FIXTURES / "llama"
STATE_DICT = FIXTURES / "torch/state_dict.pt"
LOSSY = Wish(accepted=frozenset(["--allow-lossy"]))
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    torch.float8_e8m0fnu,
]


def saved(tmp_path: Path, held: Any, name: str = "model.pt", **options: Any) -> Path:
    path = tmp_path / name
    torch.save(held, path, **options)
    return path


def state_dict() -> dict[str, torch.Tensor]:
    """Tensors of every type that safetensors has, of odd shapes and names."""
    generator = torch.Generator().manual_seed(5)
    found: dict[str, torch.Tensor] = OrderedDict()
    for number, dtype in enumerate(DTYPES):
        shape = [(3, 5), (), (0, 4), (7,)][number % 4]
        raw = torch.randint(0, 2, (int(np.prod(shape)) * 8,), generator=generator)
        found[f"layer.{number}.é"] = raw[: int(np.prod(shape))].reshape(shape).to(dtype)
    return found


def identity(path: Path | str) -> str:
    with weightkit.open(path) as checkpoint:
        return content_id(checkpoint).id


def to_safetensors(source: Path, wish: Wish | None = None) -> Path:
    target = source.parent / f"{source.name}.safetensors"
    done = convert(source, target, wish)
    assert done.content_id == identity(target)
    return target


def tensor(path: Path, name: str) -> TensorInfo:
    with weightkit.open(path) as checkpoint:
        return checkpoint[name]


# The same bytes as the official library


def test_a_state_dict_gives_the_same_bytes_as_the_official_library(tmp_path: Path) -> None:
    held = state_dict()
    target = to_safetensors(saved(tmp_path, held))
    assert target.read_bytes() == safetensors.torch.save(held, metadata={"format": "pt"})


@pytest.mark.parametrize("zipped", [True, False])
def test_values_are_torchs_own(tmp_path: Path, zipped: bool) -> None:
    held = state_dict()
    found = safetensors.torch.load_file(
        to_safetensors(saved(tmp_path, held, _use_new_zipfile_serialization=zipped))
    )
    assert found.keys() == held.keys()
    for name, want in held.items():
        assert found[name].dtype == want.dtype
        assert found[name].shape == want.shape
        assert raw(found[name]) == raw(want)


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any type."""
    return bytes(tensor.contiguous().untyped_storage()) if tensor.numel() else b""


@pytest.mark.parametrize("path", sorted((FIXTURES / "torch").iterdir()), ids=lambda path: path.name)
def test_fixtures_keep_their_content(tmp_path: Path, path: Path) -> None:
    target = tmp_path / "out.safetensors"
    done = convert(path, target, LOSSY)
    assert done.content_id == identity(path) == identity(target)


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    convert(STATE_DICT, one)
    convert(STATE_DICT, other, how=How(jobs=1, verify=False))
    assert one.read_bytes() == other.read_bytes()


# Views and ties


def test_views_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(60.0).reshape(6, 10)
    held = {
        "transposed": base.t(),
        "slice": base[1:3, 2:7],
        "expanded": torch.tensor([1.0, 2.0]).expand(4, 2),
        "step": base[::2, ::3],
        "overlap": base[0:2],
        "overlap2": base[1:3],
    }
    found = safetensors.torch.load_file(to_safetensors(saved(tmp_path, held)))
    assert all(torch.equal(found[name], want) for name, want in held.items())


def test_a_tied_head_is_stored_once_under_its_embedding(tmp_path: Path) -> None:
    weight = torch.randn(8, 4)
    held = {"lm_head.weight": weight, "model.embed_tokens.weight": weight, "x": torch.ones(2)}
    source = saved(tmp_path, held)
    target = to_safetensors(source)
    assert safetensors.torch.load_file(target).keys() == {"model.embed_tokens.weight", "x"}
    assert identity(target) == identity(source)
    with weightkit.open(target) as checkpoint:
        recorded = json.loads(checkpoint.metadata["weightkit.aliases"])
    assert recorded == {"lm_head.weight": "model.embed_tokens.weight"}


def test_ties_survive_a_second_conversion(tmp_path: Path) -> None:
    weight = torch.randn(8, 4)
    source = saved(tmp_path, {"a": weight, "b": weight, "c": torch.ones(3)})
    target = to_safetensors(source)
    again = tmp_path / "again.safetensors"
    convert(target, again, Wish(prefix="model."))
    with weightkit.open(again) as checkpoint:
        assert json.loads(checkpoint.metadata["weightkit.aliases"]) == {"model.b": "model.a"}


def test_a_tie_ends_where_types_differ(tmp_path: Path) -> None:
    weight = torch.randn(8, 4)
    source = saved(tmp_path, {"a": weight, "b": weight})
    target = to_safetensors(source, Wish(dtypes=(parse_dtype_rule("b=f16"),)))
    found = safetensors.torch.load_file(target)
    assert found["a"].dtype == torch.float32
    assert torch.equal(found["b"], weight.half())


# Names


def test_recorded_ties_can_be_named_like_tensors(tmp_path: Path) -> None:
    """What one file stores twice and another once is renamed, chosen and cast alike."""
    shared = torch.arange(6.0).reshape(2, 3)
    held = {"embed.weight": shared, "b": torch.ones(2), "head.weight": shared}
    twice = saved(tmp_path, held)
    once = to_safetensors(twice)
    wishes = [
        Wish(renames=(("head.weight", "lm_head.weight"),), prefix="x."),
        Wish(only=("head*",)),
        Wish(exclude=("head*",)),
        Wish(exclude=("embed*",)),
        Wish(only=("embed*",)),
        Wish(dtypes=(parse_dtype_rule("head*=f64"),)),
        Wish(dtypes=(parse_dtype_rule("*.weight=f64"),)),
    ]
    for number, wish in enumerate(wishes):
        targets = [tmp_path / f"{number}.{side}.safetensors" for side in ("once", "twice")]
        done = [convert(path, at, wish) for path, at in zip((once, twice), targets, strict=True)]
        assert targets[0].read_bytes() == targets[1].read_bytes()
        assert sorted(done[0].plan.left) == sorted(done[1].plan.left)
        assert done[0].content_id == done[1].content_id
    with pytest.raises(PlanError, match="would both be called 'b'"):
        convert(once, tmp_path / "out.safetensors", Wish(renames=(("head.weight", "b"),)))


def test_ties_that_end_are_said(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    source = saved(tmp_path, {"embed.weight": shared, "head.weight": shared, "b": shared[:0]})
    wish = Wish(dtypes=(parse_dtype_rule("head*=f64"),))
    said = {item.code for item in plan(source, tmp_path / "out.safetensors", wish).notes}
    assert said == {"WK652"}
    assert not plan(source, tmp_path / "out.safetensors").notes


def test_the_index_of_bins_names_what_they_tie(tmp_path: Path) -> None:
    shared = torch.arange(60.0)
    source = saved(tmp_path, {"embed.weight": shared, "b": shared + 1, "head.weight": shared})
    wish = Wish(format="pytorch", shard_nbytes=300)
    convert(source, tmp_path / "out", wish)
    (path,) = (tmp_path / "out").glob("*.index.json")
    index = json.loads(path.read_text())
    assert index["metadata"] == {"total_size": 480}
    held = {
        name: shard.name
        for shard in (tmp_path / "out").glob("*.bin")
        for name in torch.load(shard, weights_only=True)
    }
    assert index["weight_map"] == held


@pytest.mark.parametrize(
    "held", [{"": torch.ones(2)}, {"": torch.ones(2), "tensor": torch.zeros(2)}]
)
def test_a_tensor_without_a_name_keeps_none(tmp_path: Path, held: dict[str, torch.Tensor]) -> None:
    target = to_safetensors(saved(tmp_path, held))
    reference = tmp_path / "reference"
    safetensors.torch.save_file(held, reference, metadata={"format": "pt"})
    assert target.read_bytes() == reference.read_bytes()


def test_every_view_that_overlaps_is_counted(tmp_path: Path) -> None:
    whole = torch.arange(40.0)
    views = [whole[:12], whole[2:4], whole[8:20], whole[20:24], whole[30:36], whole[31:32]]
    source = saved(tmp_path, {f"v{number}": view for number, view in enumerate(views)})
    (note,) = plan(source, tmp_path / "out.safetensors").notes
    assert note.message == "5 views that overlap are written whole"


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (
            torch.float16,
            "bf16",
            "2 tensors narrowed from f16 to bf16: 11 significant bits become 8",
        ),
        (torch.bfloat16, "f16", "narrowed from bf16 to f16: values beyond 65504 become Inf"),
        (torch.float16, "f32", ""),
    ],
)
def test_what_narrows_is_said_with_the_plan(
    tmp_path: Path, source: torch.dtype, target: str, said: str
) -> None:
    path = saved(tmp_path, {"a": torch.ones(3, dtype=source), "b": torch.ones(3, dtype=source)})
    wish = Wish(dtypes=(parse_dtype_rule(target),))
    notes = plan(path, tmp_path / "out.safetensors", wish).notes
    assert [item.code for item in notes] == ["WK651"] * bool(said)
    assert said in "".join(item.message for item in notes)


def test_renaming(tmp_path: Path) -> None:
    source = saved(tmp_path, {"module.a": torch.ones(1), "module.b.c": torch.ones(2)})
    wish = Wish(
        renames=(parse_rename("module.b.*=module.d.*"),), strip_prefix="module.", prefix="x."
    )
    assert safetensors.torch.load_file(to_safetensors(source, wish)).keys() == {"x.a", "x.d.c"}


@pytest.mark.parametrize(
    "wish", [Wish(strip_prefix="w"), Wish(renames=(("w*", "*"),))], ids=["strip", "rename"]
)
def test_no_name_is_stripped_to_nothing(tmp_path: Path, wish: Wish) -> None:
    source = saved(tmp_path, {"w": torch.ones(2), "wb": torch.ones(3)})
    with pytest.raises(PlanError, match="nothing would be left of the name 'w'") as caught:
        convert(source, tmp_path / "out.safetensors", wish)
    assert (caught.value.code, caught.value.tensor) == ("WK664", "w")


def test_choosing(tmp_path: Path) -> None:
    source = saved(tmp_path, {"a.w": torch.ones(1), "a.b": torch.ones(2), "b.w": torch.ones(3)})
    wish = Wish(only=("a.*",), exclude=("*.b",))
    target = tmp_path / "out.safetensors"
    done = convert(source, target, wish)
    assert safetensors.torch.load_file(target).keys() == {"a.w"}
    assert set(done.plan.left) == {"a.b", "b.w"}
    assert [note.code for note in done.plan.notes] == ["WK647"]


@pytest.mark.parametrize(
    ("held", "wish", "code"),
    [
        ({"a": 1, "b": 2}, Wish(renames=(("a", "b"),)), "WK661"),
        ({"__metadata__": 1}, Wish(), "WK662"),
        ({"bad\ud800": 1}, Wish(), "WK662"),
        ({"a": 1}, Wish(renames=(("b", "c"),)), "WK664"),
        ({"a": 1}, Wish(only=("b*",)), "WK664"),
        ({"a": 1}, Wish(exclude=("a",)), "WK664"),
        ({"a": 1}, Wish(strip_prefix="b"), "WK664"),
        ({"a": 1}, Wish(dtypes=(parse_dtype_rule("b=f16"),)), "WK664"),
        ({"a": 1}, Wish(dtypes=(parse_dtype_rule("a=bool"),)), "WK671"),
    ],
)
def test_what_cannot_be_done_says_why(
    tmp_path: Path, held: dict[str, int], wish: Wish, code: str
) -> None:
    source = saved(tmp_path, {name: torch.full((2,), value) for name, value in held.items()})
    target = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target, wish)
    assert caught.value.code == code
    assert caught.value.path == str(source)
    assert os.listdir(tmp_path) == [source.name]


def test_a_reserved_name_can_be_renamed(tmp_path: Path) -> None:
    source = saved(tmp_path, {"__metadata__": torch.ones(2)})
    target = to_safetensors(source, Wish(renames=(("__metadata__", "metadata"),)))
    assert safetensors.torch.load_file(target).keys() == {"metadata"}


def test_types_that_the_target_lacks_are_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, {"z": torch.ones(2, dtype=torch.complex128)})
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "out.safetensors")
    assert (caught.value.code, caught.value.tensor) == ("WK660", "z")
    target = to_safetensors(source, Wish(dtypes=(parse_dtype_rule("z=c64"),)))
    assert safetensors.torch.load_file(target)["z"].dtype == torch.complex64


# Types


def test_casts_are_torchs_own(tmp_path: Path) -> None:
    held = {"w": torch.randn(300, 70), "norm": torch.randn(70), "ids": torch.arange(5)}
    source = saved(tmp_path, held)
    rules = tuple(map(parse_dtype_rule, ("bf16", "norm=f32")))
    found = safetensors.torch.load_file(to_safetensors(source, Wish(dtypes=rules)))
    assert torch.equal(found["w"], held["w"].bfloat16())
    assert torch.equal(found["norm"], held["norm"])
    assert torch.equal(found["ids"], held["ids"])


def test_a_cast_view_is_the_cast_of_its_values(tmp_path: Path) -> None:
    weight = torch.randn(40, 30)
    source = saved(tmp_path, {"w": weight.t(), "v": weight[3:9, 4:5]})
    target = to_safetensors(source, Wish(dtypes=(parse_dtype_rule("f16"),)))
    found = safetensors.torch.load_file(target)
    assert torch.equal(found["w"], weight.t().half())
    assert torch.equal(found["v"], weight[3:9, 4:5].half())


def test_large_tensors_are_cast_in_many_chunks(tmp_path: Path) -> None:
    weight = torch.randn(1500, 2003)
    source = saved(tmp_path, {"w": weight})
    done = convert(source, tmp_path / "o.safetensors", Wish(dtypes=(parse_dtype_rule("f16"),)))
    assert torch.equal(safetensors.torch.load_file(tmp_path / "o.safetensors")["w"], weight.half())
    assert done.casts[0].values == weight.numel()
    assert done.content_id == identity(tmp_path / "o.safetensors")


def test_overflow_is_refused_and_counted(tmp_path: Path) -> None:
    source = saved(tmp_path, {"w": torch.tensor([1.0, 1e6, -1e6, float("inf"), 1e-30])})
    target = tmp_path / "out.safetensors"
    rules = (parse_dtype_rule("f16"),)
    with pytest.raises(PlanError) as caught:
        convert(source, target, Wish(dtypes=rules))
    assert (caught.value.code, caught.value.tensor) == ("WK650", "w")
    assert os.listdir(tmp_path) == [source.name]
    done = convert(source, target, Wish(dtypes=rules, accepted=LOSSY.accepted))
    (cast,) = done.casts
    assert (cast.overflow, cast.underflow, cast.values) == (2, 1, 5)
    (loss,) = done.plan.losses
    assert (loss.code, loss.tensor) == ("WK650", "w")
    assert loss.message == "2 values of 1 tensor do not fit into their new type"


def test_complex_numbers_are_cast_to_complex_types(tmp_path: Path) -> None:
    held = {"c": torch.tensor([1 + 2j], dtype=torch.complex128), "f": torch.ones(2)}
    target = to_safetensors(saved(tmp_path, held), Wish(dtypes=(parse_dtype_rule("c64"),)))
    found = safetensors.torch.load_file(target)
    assert found["f"].dtype == torch.float32
    assert found["c"].equal(held["c"].to(torch.complex64))


def test_quantized_blocks_are_cast_to_what_gguf_says(tmp_path: Path) -> None:
    source = FIXTURES / "llama-q8_0.gguf"
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "o.safetensors", LOSSY)
    assert caught.value.code == "WK660"
    target = tmp_path / "out.safetensors"
    wish = Wish(dtypes=(parse_dtype_rule("f32"),), accepted=LOSSY.accepted)
    convert(source, target, wish)
    with weightkit.open(source) as mine, weightkit.open(target) as theirs:
        for info in mine:
            assert np.array_equal(mine.read(info), theirs.read(info.name))


# What is no tensor


def test_losses_are_refused_one_by_one(tmp_path: Path) -> None:
    source, target = FIXTURES / "torch/checkpoint.pt", tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert caught.value.code == "WK640"
    assert "--key" in caught.value.details[0]
    with pytest.raises(PlanError) as caught:
        convert(source, target, Wish(key="model"))
    assert caught.value.code == "WK641"
    assert not target.exists()
    wish = Wish(key="model", sidecar=".", accepted=frozenset(["--sidecar"]))
    done = convert(source, target, wish)
    assert {item.code for item in done.plan.losses} == {"WK640", "WK641"}
    held = json.loads((tmp_path / "out.sidecar.json").read_text())
    assert held["files"][0]["values"] == {"epoch": 3}


SIDECAR = Wish(sidecar=".", accepted=frozenset(["--sidecar"]))


@pytest.mark.parametrize("key", ["optimizer", "lr_scheduler", "scaler", "opt"])
def test_the_state_of_a_training_is_missed_even_without_tensors(tmp_path: Path, key: str) -> None:
    held = {"model": {"w": torch.ones(3)}, key: {"param_groups": [{"lr": 0.1}]}}
    source = saved(tmp_path, held)
    with pytest.raises(PlanError, match=f"state of training left behind: {key}") as caught:
        convert(source, tmp_path / "out.safetensors", SIDECAR)
    assert caught.value.code == "WK640"


def test_state_that_is_a_set_is_named_once(tmp_path: Path) -> None:
    found = plan(all_losses(tmp_path), tmp_path / "out.safetensors").losses
    assert [item.code for item in found].count("WK640") == 1


def test_a_sidecar_has_every_value_whole(tmp_path: Path) -> None:
    values = {f"n{number}": number for number in range(3_000)}
    values |= {"config": "x: 1\n" * 5_000, "big": 2**3_998, "best": np.float32(0.5)}
    values |= {"flag": np.bool_(True), "count": np.uint16(65_535), "old": np.float64(-1.5)}
    source = saved(tmp_path, {"model": {"w": torch.ones(3)}, "seen": values})
    done = convert(source, tmp_path / "out.safetensors", SIDECAR)
    beside = tmp_path / "out.sidecar.json"
    both = [beside, tmp_path / "out.safetensors"]
    assert done.plan.disk == sum(path.stat().st_size for path in both)
    (file,) = json.loads(beside.read_text())["files"]
    assert file["values"] == {f"seen.{key}": value for key, value in values.items()}


def test_a_sidecar_says_which_values_are_one_object(tmp_path: Path) -> None:
    shared = {"lr": 0.1, "betas": [1, 2]}
    held = {"model": {"w": torch.ones(3)}, "args": shared, "optimizer": shared, "hparams": shared}
    wish = replace(SIDECAR, accepted=frozenset(["--sidecar", "--drop-non-tensors"]))
    convert(saved(tmp_path, held), tmp_path / "out.safetensors", wish)
    (file,) = json.loads((tmp_path / "out.sidecar.json").read_text())["files"]
    assert file["values"] == {
        "args.lr": 0.1,
        "args.betas.0": 1,
        "args.betas.1": 2,
        "hparams": "(the same as args)",
    }
    convert(
        saved(tmp_path, {"optimizer": shared, "model": {"w": torch.ones(3)}, "args": shared}),
        tmp_path / "after.safetensors",
        wish,
    )
    (file,) = json.loads((tmp_path / "after.sidecar.json").read_text())["files"]
    assert file["values"] == {"args.lr": 0.1, "args.betas.0": 1, "args.betas.1": 2}


@pytest.mark.parametrize(
    ("value", "lost"),
    [
        ("x" * 65_537, "seen"),
        (2**4_000, "seen"),
        ({1: "a", "1": "b"}, "seen.1"),
        ([0] * 20_001, "seen.20000"),
        (["x" * 65_536] * 60 + ["y" * 65_000 + str(n) for n in range(9)], "seen.64, seen.65"),
        ([[str(n) * 70_000] for n in range(9)], "seen.7.0 and more"),
    ],
    ids=["long text", "long number", "same path", "many", "much text", "many long texts"],
)
def test_what_no_sidecar_keeps_is_a_loss_of_its_own(tmp_path: Path, value: Any, lost: str) -> None:
    source = saved(tmp_path, {"model": {"w": torch.ones(3)}, "seen": value})
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "out.safetensors", SIDECAR)
    assert caught.value.code == "WK655"
    assert lost in str(caught.value)
    both = frozenset(["--sidecar", "--drop-non-tensors"])
    convert(source, tmp_path / "out.safetensors", Wish(sidecar=".", accepted=both))


def test_bytes_are_no_value_of_a_sidecar(tmp_path: Path) -> None:
    held = {"model": {"w": torch.ones(3)}, "seen": b"\xff\x00"}
    source = saved(tmp_path, held, pickle_protocol=5)
    with pytest.raises(PlanError, match="not even a sidecar keeps: seen"):
        convert(source, tmp_path / "out.safetensors", SIDECAR)


def all_losses(folder: Path) -> Path:
    sparse = torch.eye(4).to_sparse()
    held = {
        "model": {"w": torch.ones(3), "a": sparse, "b": sparse * 2},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]},
        "epoch": 3,
    }
    torch.save(held, folder / "in.pt")
    return folder / "in.pt"


def test_the_index_of_shards_that_are_merged_is_no_file_left_behind(tmp_path: Path) -> None:
    done = convert(FIXTURES / "llama-sharded", tmp_path / "out")
    assert not done.plan.notes
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_one_error_names_all_losses_and_the_flags_that_accept_them(tmp_path: Path) -> None:
    source, target = all_losses(tmp_path), tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert caught.value.code == "WK640"
    assert [line[:5] for line in caught.value.details] == ["WK640", "WK641", "WK644"]
    assert "(tensor 'a'), and 1 more such: --materialize" in caught.value.details[2]
    assert caught.value.message.endswith(
        "accept all with --drop-non-tensors --materialize, or with --allow-lossy"
    )
    for flags in (["--drop-non-tensors", "--materialize"], ["--allow-lossy"]):
        convert(source, target, Wish(accepted=frozenset(flags)), How(force=True))


def test_losses_of_one_kind_are_counted(tmp_path: Path) -> None:
    accepted = frozenset(["--drop-non-tensors"])
    with pytest.raises(PlanError, match=r"and 1 more such; accept with --materialize") as caught:
        convert(all_losses(tmp_path), tmp_path / "out.safetensors", Wish(accepted=accepted))
    assert not caught.value.details


@pytest.mark.parametrize(
    ("codes", "flags", "everything"),
    [
        ("WK640 WK641", "--drop-non-tensors", "--allow-lossy"),
        ("WK641 WK643", "--sidecar", "--allow-lossy"),
        ("WK640 WK644", "--drop-non-tensors --materialize", "--allow-lossy"),
        ("WK643 WK644", "--sidecar --materialize", "--allow-lossy"),
        (
            "WK641 WK648",
            "--sidecar --allow-unsafe-source",
            "--allow-lossy --allow-unsafe-source",
        ),
        (
            "WK640 WK641 WK642 WK643 WK644 WK648",
            "--drop-non-tensors --materialize --allow-unsafe-source",
            "--allow-lossy --allow-unsafe-source",
        ),
    ],
)
def test_the_fewest_flags_that_accept_all(codes: str, flags: str, everything: str) -> None:
    found = [losses.consent(codes.split(), any_) for any_ in ((), {losses.LOSSY, losses.UNSAFE})]
    assert [{*way} for way in found] == [{*flags.split()}, {*everything.split()}]
    for way in found:
        finding = [Finding(code, "warning", "") for code in codes.split()]
        assert not losses.refused(finding, frozenset(way))


def test_a_whole_module_is_refused_without_consent(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        convert(FIXTURES / "torch/whole_module.pt", tmp_path / "out.safetensors")
    assert caught.value.code == "WK642"


def test_gguf_metadata_is_kept_and_its_vocabulary_goes_into_the_sidecar(tmp_path: Path) -> None:
    source = FIXTURES / "llama-split-gguf/llama-00001-of-00002.gguf"
    target = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert caught.value.code == "WK643"
    convert(source, target, Wish(sidecar=".", accepted=frozenset(["--sidecar"])))
    held = json.loads((tmp_path / "out.sidecar.json").read_text())
    assert len(held["files"][0]["values"]["tokenizer.ggml.tokens"]) == 32
    with weightkit.open(target) as checkpoint:
        assert checkpoint.metadata["gguf.general.architecture"] == "llama"
        assert not any("split" in key for key in checkpoint.metadata)  # it is one file now
        assert checkpoint.metadata["format"] == "pt"
    assert identity(target) == identity(source)


def test_safetensors_metadata_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "in.safetensors"
    metadata = {"format": "pt", "note": "x", "a": "b"}
    safetensors.torch.save_file({"w": torch.ones(2)}, source, metadata=metadata)
    target = to_safetensors(source, Wish(metadata=(("added", "1"),)))
    with weightkit.open(target) as checkpoint:
        assert checkpoint.metadata == {**metadata, "added": "1"}


@pytest.mark.parametrize("name", ["out.safetensors", "out.pt", "out.npz"])
def test_metadata_that_names_a_tensor_is_kept(tmp_path: Path, name: str) -> None:
    """Only of a key that is no tensor itself it is the record of a tied name."""
    source = tmp_path / "in.safetensors"
    held = {"w": torch.ones(2), "head": torch.zeros(2)}
    safetensors.torch.save_file(held, source, metadata={"head": "w", "tied": "w"})
    convert(source, tmp_path / name)
    with weightkit.open(tmp_path / name) as checkpoint:
        (file,) = checkpoint.files
        assert {**file.notes, **file.metadata}["head"] == "w"
    assert identity(tmp_path / name) == identity(source)


def test_metadata_of_all_shards_is_kept(tmp_path: Path) -> None:
    shards, target = tmp_path / "in", tmp_path / "out.safetensors"
    shards.mkdir()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    texts: list[dict[str, str]] = [{"format": "pt", "one": "1"}, {"format": "pt", "two": "2"}]
    for name, text, tensor in zip(names, texts, "ab", strict=True):
        safetensors.torch.save_file({tensor: torch.ones(2)}, shards / name, text)
    index = {"metadata": {}, "weight_map": dict(zip("ab", names, strict=True))}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    convert(shards, target)
    with weightkit.open(target) as checkpoint:
        assert checkpoint.metadata == {"format": "pt", "one": "1", "two": "2"}
    safetensors.torch.save_file({"b": torch.ones(2)}, shards / names[1], {"one": "other"})
    with pytest.raises(PlanError, match="of which files say different things: one") as caught:
        convert(shards, tmp_path / "other.safetensors")
    assert caught.value.code == "WK643"
    convert(shards, tmp_path / "other.safetensors", SIDECAR)
    assert "other" in (tmp_path / "other.sidecar.json").read_text()


def test_provenance_names_the_source(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    convert(STATE_DICT, target, Wish(provenance=True))
    with weightkit.open(target) as checkpoint:
        names = json.loads(checkpoint.metadata["weightkit.source"])
        assert "weightkit.time" not in checkpoint.metadata
    assert names.keys() == {STATE_DICT.name}


def test_provenance_and_receipts_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    pipeline, target, receipt = tmp_path / "in", tmp_path / "out", str(tmp_path / "receipt.json")
    for number, name in enumerate(("unet", "vae")):
        (pipeline / name).mkdir(parents=True)
        saved(pipeline / name, {"w": torch.full((3,), number)}, "diffusion_pytorch_model.bin")
    parts = {name: ["diffusers", "AutoencoderKL"] for name in ("unet", "vae")}
    (pipeline / "model_index.json").write_text(json.dumps({"_class_name": "P", **parts}))
    convert(pipeline, target, Wish(provenance=True), receipt=receipt)
    names = {f"{name}/diffusion_pytorch_model.bin" for name in ("unet", "vae")}
    with weightkit.open(target / "vae") as checkpoint:
        assert json.loads(checkpoint.metadata["weightkit.source"]).keys() == names
    assert not against_receipt(str(target), receipt, str(pipeline)).differences


@pytest.mark.parametrize("replaced", [True, False])
def test_no_receipt_names_a_source_that_was_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    source, receipt = saved(tmp_path, {"w": torch.ones(3)}), tmp_path / "receipt.json"
    made = provenance.write_receipt

    def change(*arguments: Any, **options: Any) -> None:
        other = saved(tmp_path, {"w": torch.zeros(3)}, "other.pt")
        if replaced:
            other.rename(source)
        else:
            source.write_bytes(other.read_bytes())
        made(*arguments, **options)

    monkeypatch.setattr(provenance, "write_receipt", change)
    with pytest.raises(AccessError, match="the file changed"):
        convert(source, tmp_path / "out.safetensors", receipt=str(receipt))
    assert not receipt.exists()


def test_a_source_for_review_is_converted_with_a_warning(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    done = convert(FIXTURES / "torch/whole_module.pt", target, LOSSY)
    (note,) = done.plan.notes
    assert (note.code, note.severity) == ("WK649", "warning")


def test_an_unsafe_source_is_converted_with_consent_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return eval, ("print('ran')",)

    source = saved(tmp_path, {"w": torch.ones(2), "x": Bad()})
    target = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target, LOSSY)
    assert caught.value.code == "WK648"
    convert(source, target, Wish(accepted=LOSSY.accepted | {"--allow-unsafe-source"}))
    assert safetensors.torch.load_file(target).keys() == {"w"}
    assert "ran" not in capsys.readouterr().out


# Folders


def index_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    return found


def sharded(tmp_path: Path, size: str = "10KB") -> Path:
    target = tmp_path / "sharded"
    convert(LLAMA, target, Wish(shard_nbytes=parse_size(size)))
    return target


def test_shards_hold_what_the_index_says(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    index = index_of(folder)
    total = 0
    for name in set(index["weight_map"].values()):
        held = safetensors.torch.load_file(folder / name)
        assert {key for key, file in index["weight_map"].items() if file == name} == held.keys()
        sizes = [item.numel() * item.element_size() for item in held.values()]
        total += sum(sizes)
        assert sum(sizes) <= 10_000
    assert index["metadata"]["total_size"] == total
    assert identity(folder) == identity(LLAMA)
    assert (folder / "config.json").read_bytes() == (LLAMA / "config.json").read_bytes()


def test_shards_to_one_to_shards_is_the_same(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    one = tmp_path / "one.safetensors"
    convert(folder, one)
    assert identity(one) == identity(LLAMA)
    merged, again = tmp_path / "merged", tmp_path / "again"
    convert(folder, merged)
    assert sorted(os.listdir(merged)) == ["config.json", "model.safetensors"]
    assert (merged / "model.safetensors").read_bytes() == (LLAMA / "model.safetensors").read_bytes()
    convert(merged, again, Wish(shard_nbytes=10_000))
    assert {name: (again / name).read_bytes() for name in os.listdir(again)} == {
        name: (folder / name).read_bytes() for name in os.listdir(folder)
    }


def test_a_folder_of_bins_becomes_what_loaders_look_for(tmp_path: Path) -> None:
    source = tmp_path / "old"
    (source / "1_Pooling").mkdir(parents=True)
    torch.save({"w": torch.ones(3)}, source / "pytorch_model.bin")
    torch.save({"lr": 1}, source / "training_args.bin")
    (source / "config.json").write_text("{}")
    (source / "1_Pooling/config.json").write_text("{}")
    (source / "vocab.pkl").write_bytes(b"\x80\x02]q\x00.")
    (source / "weightkit.manifest.json").write_text("{}")
    target = tmp_path / "new"
    done = convert(source, target)
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"model.safetensors", "config.json", "1_Pooling/config.json"}
    (note,) = [item for item in done.plan.notes if item.code == "WK646"]
    assert all(name in note.message for name in ("training_args.bin", "vocab.pkl"))


def test_a_pipeline_converts_part_by_part(tmp_path: Path) -> None:
    target = tmp_path / "out"
    convert(FIXTURES / "pipeline", target)
    assert identity(target) == identity(FIXTURES / "pipeline")
    assert (target / "model_index.json").exists()
    with pytest.raises(PlanError) as caught:
        convert(FIXTURES / "pipeline", tmp_path / "one.safetensors")
    assert caught.value.code == "WK667"


def test_one_shard_means_the_whole(tmp_path: Path) -> None:
    shard = FIXTURES / "llama-sharded/model-00001-of-00002.safetensors"
    assert convert(shard, tmp_path / "o.safetensors").content_id == identity(shard)


# The source breaks, the target is in the way


def test_a_truncated_source_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "cut.safetensors"
    source.write_bytes((LLAMA / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(FormatError):
        convert(source, tmp_path / "out.safetensors")
    assert os.listdir(tmp_path) == [source.name]


def test_the_target_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(PlanError) as caught:
        convert(STATE_DICT, target)
    assert caught.value.code == "WK665"
    assert target.read_bytes() == b"mine"
    convert(STATE_DICT, target, how=How(force=True))
    assert identity(target) == identity(STATE_DICT)


def test_a_folder_changes_places_with_its_successor(tmp_path: Path) -> None:
    target = sharded(tmp_path)
    with pytest.raises(PlanError) as caught:
        convert(LLAMA, target)
    assert caught.value.code == "WK665"
    convert(LLAMA, target, how=How(force=True))
    assert sorted(os.listdir(target)) == ["config.json", "model.safetensors"]
    assert os.listdir(tmp_path) == ["sharded"]


@pytest.mark.parametrize("link", [False, True])
def test_the_source_is_never_the_target(tmp_path: Path, link: bool) -> None:
    source = tmp_path / "in.safetensors"
    source.write_bytes((LLAMA / "model.safetensors").read_bytes())
    before = source.read_bytes()
    target = source
    if link:
        target = tmp_path / "link.safetensors"
        target.symlink_to(source)
    with pytest.raises(PlanError) as caught:
        convert(source, target, how=How(force=True))
    assert caught.value.code == "WK666"
    assert source.read_bytes() == before


def test_a_folder_is_never_put_around_or_into_the_source(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    for target in (folder, folder / "inner", tmp_path):
        with pytest.raises(PlanError) as caught:
            convert(folder, target, how=How(force=True))
        assert caught.value.code == "WK666"


def test_strange_targets_are_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.safetensors"
    os.mkfifo(fifo)
    for target in (fifo, tmp_path / "missing/out.safetensors"):
        with pytest.raises(PlanError) as caught:
            convert(STATE_DICT, target, how=How(force=True))
        assert caught.value.code == "WK667"
    for wish in (Wish(shard_nbytes=1), Wish(format="word")):
        with pytest.raises(PlanError) as caught:
            convert(STATE_DICT, tmp_path / "out.safetensors", wish)
        assert caught.value.code == "WK667"


def test_what_dead_conversions_left_is_taken_away(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    dead = tmp_path / ".out.safetensors.weightkit-0123456789abcdef.tmp"
    dead.write_bytes(b"half")
    other = tmp_path / ".other.safetensors.weightkit-0123456789abcdef.tmp"
    other.write_bytes(b"of another target")
    convert(STATE_DICT, target)
    assert sorted(os.listdir(tmp_path)) == sorted([other.name, target.name])


def test_a_target_that_somebody_writes_is_left_alone(tmp_path: Path) -> None:
    import fcntl

    alive = tmp_path / ".out.safetensors.weightkit-0123456789abcdef.tmp"
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PlanError) as caught:
            convert(STATE_DICT, tmp_path / "out.safetensors")
    assert caught.value.code == "WK669"
    assert alive.exists()


# Plans


def test_a_plan_writes_nothing_and_says_all(tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    found = plan(STATE_DICT, target, Wish(dtypes=(parse_dtype_rule("f16"),)))
    assert not os.listdir(tmp_path)
    assert found.steps == 9
    assert {step.way for step in found.files[0].steps} == {"move", "cast"}
    done: Conversion = convert(STATE_DICT, target, Wish(dtypes=(parse_dtype_rule("f16"),)))
    assert done.plan == found
    assert target.stat().st_size == found.nbytes


def scattered() -> torch.Tensor:
    """A million values at random places of a large matrix."""
    places = torch.randint(0, 4_000, (2, 1_000_000))
    return torch.sparse_coo_tensor(places, torch.ones(1_000_000), (5_000, 4_000))


def pointers() -> torch.Tensor:
    """A compressed matrix of very many rows."""
    rows = torch.arange(4_000_001)
    inner = torch.zeros(4_000_000, dtype=torch.int64)
    return torch.sparse_csr_tensor(rows, inner, torch.ones(4_000_000), (4_000_000, 2))


def channels() -> torch.Tensor:
    """A quantized matrix with as many scales as there may be."""
    held, scales = torch.zeros(1 << 22, 2), torch.ones(1 << 22)
    return torch.quantize_per_channel(held, scales, scales.long(), 0, torch.qint8)


PEAK = """
import re, sys
import numpy, ml_dtypes, safetensors
from weightkit.convert import convert, plan
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish, parse_dtype_rule
def peak():
    return int(re.search("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
source, target, jobs, dtype = sys.argv[1:]
wish = Wish(
    dtypes=(parse_dtype_rule(dtype),) if dtype else (), accepted=frozenset(["--materialize"])
)
planned = plan(source, target, wish, jobs=int(jobs)).memory
before = peak()
convert(source, target, wish, How(jobs=int(jobs)))
print(peak() - before, planned)
"""


@pytest.mark.parametrize(
    ("held", "jobs", "dtype", "name"),
    [
        ({f"w{n}": torch.zeros(1024, 2048).t() for n in range(16)}, 16, "", "out.safetensors"),
        ({f"w{n}": torch.zeros(1024, 2048) for n in range(16)}, 32, "", "out.safetensors"),
        ({f"w{n}": torch.zeros(1024, 2048) for n in range(16)}, 32, "f64", "out.safetensors"),
        ({f"w{n}": torch.zeros(2) for n in range(20_000)}, 1, "", "out.pt"),
        ({f"w{n}": scattered() for n in range(2)}, 2, "", "out.safetensors"),
        ({"w": pointers()}, 1, "", "out.safetensors"),
        ({"w": channels()}, 1, "", "out.safetensors"),
    ],
    ids=["views", "moves", "casts", "many", "sparse", "pointers", "channels"],
)
@pytest.mark.filterwarnings("ignore")
def test_the_memory_of_a_plan_is_not_exceeded(
    tmp_path: Path, held: dict[str, torch.Tensor], jobs: int, dtype: str, name: str
) -> None:
    words = [sys.executable, "-c", PEAK, saved(tmp_path, held), tmp_path / name, jobs, dtype]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    used, planned = map(int, done.stdout.split())
    assert used <= planned <= 5 * used + (64 << 20)


def vocabulary(path: Path, words: int, numbers: int) -> Path:
    """A GGUF with an array of texts, one of numbers, and a tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("words", [f"w{number}" for number in range(words)])
    writer.add_array("numbers", list(range(numbers)))
    writer.add_tensor("w", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_memory_of_a_plan_counts_the_sidecar(tmp_path: Path) -> None:
    source = vocabulary(tmp_path / "model.gguf", 500_000, 500_000)
    code = PEAK.replace("dtypes=", "sidecar='.', dtypes=").replace("--materialize", "--sidecar")
    code = code.replace("planned = plan", "before = peak()\nplanned = plan")
    code = code.replace("before = peak()\nconvert", "convert")
    words = [sys.executable, "-c", code, source, tmp_path / "out.safetensors", 1, ""]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    used, planned = map(int, done.stdout.split())
    assert used <= planned <= 3 * used


def test_arrays_that_a_sidecar_has_no_room_for_are_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were cut off, in silence."""
    source, target = vocabulary(tmp_path / "model.gguf", 3_000, 4_000), tmp_path / "out.safetensors"
    monkeypatch.setattr(sidecar, "MAX_ELEMENTS", 4_000)
    with pytest.raises(PlanError, match="not even a sidecar keeps: numbers; accept") as caught:
        convert(source, target, SIDECAR)
    assert caught.value.code == "WK655"
    done = convert(source, target, replace(LOSSY, sidecar="."))
    (said,) = [item.message for item in done.plan.losses if item.code == "WK643"]
    assert said == "metadata without a place: words"
    (file,) = json.loads((tmp_path / "out.sidecar.json").read_text())["files"]
    assert len(file["values"]["words"]) == 3_000
    assert "numbers" not in file["values"]
    monkeypatch.setattr(sidecar, "MAX_ELEMENTS", 7_000)
    monkeypatch.setattr(sidecar, "MAX_NBYTES", 50_000)
    assert [item.code for item in plan(source, target, SIDECAR).refused] == ["WK655"]


def test_a_changed_source_changes_the_plan(tmp_path: Path) -> None:
    source = saved(tmp_path, {"w": torch.ones(2)})
    before = plan(source, tmp_path / "o.safetensors").digest
    os.utime(source, ns=(1, 1))
    assert plan(source, tmp_path / "o.safetensors").digest != before


def test_losses_that_are_made_are_told_with_the_plan() -> None:
    found = plan(FIXTURES / "torch/torchscript.pt", "/nowhere/out.safetensors")
    assert [item.code for item in found.losses] == ["WK642"]
    assert [item.code for item in found.notes] == ["WK649"]


@pytest.mark.parametrize(
    ("text", "nbytes"), [("5GB", 5 * 10**9), ("1.5MiB", 3 << 19), ("17", 17), ("2k", 2000)]
)
def test_sizes(text: str, nbytes: int) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "GB", "-1", "0", "5 parsecs"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(PlanError):
        parse_size(text)


# .pt and .npz


def test_back_to_torch_is_what_it_was(tmp_path: Path) -> None:
    held = state_dict()
    held["tied"] = held["layer.0.é"]
    source = saved(tmp_path, held)
    back = tmp_path / "back.pt"
    convert(to_safetensors(source), back)
    found = torch.load(back, weights_only=True)  # a file that this test made
    assert found.keys() == held.keys()
    assert all(raw(found[name]) == raw(want) for name, want in held.items())
    assert found["tied"].data_ptr() == found["layer.0.é"].data_ptr()
    assert identity(back) == identity(source)


def test_a_pt_of_shards(tmp_path: Path) -> None:
    folder = tmp_path / "bins"
    convert(LLAMA, folder, Wish(format="pytorch", shard_nbytes=10_000))
    names = sorted(os.listdir(folder))
    assert names[1] == "pytorch_model-00001-of-00006.bin"
    assert names[-1] == "pytorch_model.bin.index.json"
    assert identity(folder) == identity(LLAMA)


def test_npz_has_numpys_own_types_only(tmp_path: Path) -> None:
    source = saved(tmp_path, {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.bfloat16)})
    target = tmp_path / "out.npz"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert (caught.value.code, caught.value.tensor) == ("WK660", "b")
    convert(source, target, Wish(dtypes=(parse_dtype_rule("b=f32"),)))
    with np.load(target, allow_pickle=False) as held:
        assert held["b"].tolist() == [1.0, 1.0]
    convert(source, target, Wish(as_bytes=True), How(force=True))
    assert identity(target) == identity(source)


@pytest.mark.parametrize("target", ["out.safetensors", "out.pt", "out.npz"])
def test_what_an_npz_holds_beside_arrays_is_kept_by_no_sidecar(tmp_path: Path, target: str) -> None:
    source = tmp_path / "model.npz"
    np.savez(source, w=np.ones(3), o=np.array([None, 1], dtype=object))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("readme.txt", "read me")
    with pytest.raises(
        PlanError, match=r"keeps: o\.npy, readme\.txt; accept with --drop"
    ) as caught:
        convert(source, tmp_path / target, SIDECAR)
    assert caught.value.code == "WK655"
    done = convert(source, tmp_path / target, LOSSY)
    assert [item.code for item in done.plan.losses] == ["WK655"]


INDEX = {"metadata": {"total_size": 24}, "weight_map": {"a": "ONE", "b": "TWO"}}


@pytest.mark.parametrize(
    ("shards", "index", "wanted"),
    [
        (["pytorch_model.fp16.bin"], "", "model.fp16.safetensors"),
        (["model.safetensors", "model.fp16.safetensors"], "", "model.fp16.safetensors"),
        (
            ["pytorch_model.fp16-00001-of-00002.bin", "pytorch_model.fp16-00002-of-00002.bin"],
            "pytorch_model.bin.index.fp16.json",
            "model.fp16.safetensors",
        ),
        (
            [f"diffusion_pytorch_model-0000{no}-of-00002.fp16.bin" for no in (1, 2)],
            "diffusion_pytorch_model.bin.index.fp16.json",
            "diffusion_pytorch_model.fp16.safetensors",
        ),
    ],
    ids=["file", "beside another", "shards", "shards as diffusers once named them"],
)
def test_a_variant_keeps_its_name(
    tmp_path: Path, shards: list[str], index: str, wanted: str
) -> None:
    """That of its index too, by which transformers and diffusers find it (``variant="fp16"``)."""
    source = tmp_path / "source"
    source.mkdir()
    for name, key in zip(shards, "ab", strict=False):
        held = {key: torch.ones(3)} if index else {"a": torch.ones(3), "b": torch.ones(3)}
        saved(source, held, name) if ".bin" in name else safetensors.torch.save_file(
            held, source / name
        )
    if index:
        said = json.dumps(INDEX).replace("ONE", shards[0]).replace("TWO", shards[1])
        (source / index).write_text(said)
    done = convert(source, tmp_path / "out", variant="fp16")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [wanted]
    assert [item.message for item in done.plan.notes if index] == []
    convert(source, tmp_path / "sharded", Wish(shard_nbytes=12), variant="fp16")
    stem = wanted.removesuffix(".safetensors")
    assert sorted(path.name for path in (tmp_path / "sharded").iterdir()) == [
        f"{stem}-00001-of-00002.safetensors",
        f"{stem}-00002-of-00002.safetensors",
        f"{stem.removesuffix('.fp16')}.safetensors.index.fp16.json",
    ]
    assert identity(tmp_path / "sharded") == done.content_id


def test_the_tensors_of_an_optimizer_are_a_choice(tmp_path: Path) -> None:
    held = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]}
    source, target = saved(tmp_path, held), tmp_path / "out.safetensors"
    with pytest.raises(PlanError, match=r"no tensors in it but those of --key '' \(optimizer\)"):
        convert(source, target)
    convert(source, target, replace(LOSSY, key=""))
    assert [*safetensors.torch.load_file(target)] == ["state.0.exp_avg"]
    empty = saved(tmp_path, {"epoch": 1}, "empty.pt")
    with pytest.raises(PlanError, match=r"no tensors in it$"):
        convert(empty, target)


def test_a_tensor_that_is_not_read_is_a_loss(tmp_path: Path) -> None:
    scales = torch.rand(4) + 0.1
    packed = torch.quantize_per_channel(torch.randn(4, 5), scales, scales, 0, torch.quint4x2)
    source = saved(tmp_path, {"w": packed, "b": torch.ones(2)})
    everything = frozenset(["--drop-non-tensors", "--sidecar", "--materialize"])
    with pytest.raises(PlanError, match=r"not read: .*; accept with --allow-lossy") as caught:
        convert(source, tmp_path / "out.safetensors", Wish(accepted=everything))
    assert (caught.value.code, caught.value.tensor) == ("WK656", "w")
    done = convert(source, tmp_path / "out.safetensors", LOSSY)
    assert [item.code for item in done.plan.losses] == ["WK656"]


def test_a_refusal_counts_all_of_many_losses(tmp_path: Path) -> None:
    scales = torch.rand(4) + 0.1
    held = {f"s{n}": torch.eye(2).to_sparse() for n in range(1_030)}
    for number in range(30):
        held[f"q{number}"] = torch.quantize_per_channel(
            torch.randn(4, 5), scales, scales, 0, torch.quint4x2
        )
    source = saved(tmp_path, held)
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "out.safetensors")
    sparse, unread = caught.value.__notes__
    assert ", and 1,029 more such: --materialize" in sparse
    assert ", and 29 more such: --allow-lossy" in unread
    assert "accept all with --allow-lossy" in str(caught.value)
    assert "--materialize, or" not in str(caught.value)


def test_one_of_two_arrays_of_one_name_is_a_loss(tmp_path: Path) -> None:
    source = tmp_path / "model.npz"
    np.savez(source, w=np.zeros(2))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("w", archive.read("w.npy"))
    with pytest.raises(PlanError, match="two members are the array 'w'") as caught:
        convert(source, tmp_path / "out.safetensors")
    assert caught.value.code == "WK656"


def test_the_code_of_a_frozen_torchscript_is_a_loss(tmp_path: Path) -> None:
    """Its tensors are constants, and no attributes of a module."""
    source = tmp_path / "frozen.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(torch.nn.Linear(3, 2).eval())), source)
    with pytest.raises(PlanError, match="only the tensors are converted") as caught:
        convert(source, tmp_path / "out.safetensors")
    assert caught.value.code == "WK642"


def test_casts_of_what_is_made_plain_are_told(tmp_path: Path) -> None:
    held = {
        "w": torch.ones(3),
        "s": torch.eye(3).to_sparse(),
        "t": torch.eye(3).double().to_sparse(),
    }
    wish = Wish(dtypes=(parse_dtype_rule("f16"),))
    told = plan(saved(tmp_path, held), tmp_path / "out.safetensors", wish).notes
    words = [item.message.partition(":")[0] for item in told if item.code == "WK651"]
    assert words == ["2 tensors narrowed from f32 to f16", "1 tensor narrowed from f64 to f16"]


def test_how_an_npy_was_stored_is_not_said_of_the_target(tmp_path: Path) -> None:
    """It would be wrong: the target's rows come first, and its type is another."""
    np.save(tmp_path / "model.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    wish = Wish(dtypes=(parse_dtype_rule("f16"),), sidecar=".")
    done = convert(tmp_path / "model.npy", tmp_path / "out.safetensors", wish)
    assert done.plan.sidecar is None
    with safetensors.safe_open(tmp_path / "out.safetensors", "np") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_npz_holds_ties_under_each_name(tmp_path: Path) -> None:
    weight = torch.ones(2)
    source = saved(tmp_path, {"a": weight, "b": weight})
    done = convert(source, tmp_path / "out.npz")
    assert [item.code for item in done.plan.notes] == ["WK652"]
    with np.load(tmp_path / "out.npz", allow_pickle=False) as held:
        assert {"a", "b"} <= set(held.files)
    assert identity(tmp_path / "out.npz") == identity(source)


@pytest.mark.parametrize(
    ("source", "target", "wish", "folder"),
    [
        ("llama", "out", Wish(), True),
        ("llama", "out", Wish(format="pytorch"), True),
        ("llama", "out.safetensors", Wish(), False),
        ("llama", "out.dir/", Wish(), True),
        ("torch/state_dict.pt", "out", Wish(), True),
        ("torch/state_dict.pt", "out", Wish(format="npz"), False),
    ],
)
def test_files_and_folders(
    tmp_path: Path, source: str, target: str, wish: Wish, folder: bool
) -> None:
    assert plan(FIXTURES / source, f"{tmp_path}/{target}", wish).folder == folder


# Composite tensors


@pytest.mark.filterwarnings("ignore:.*(deprecated|beta state).*")
def test_composites_are_made_plain_with_consent(tmp_path: Path) -> None:
    matrix = torch.tensor([[0.0, 2.0, 0.0], [-1.5, 0.0, 4.0]])
    held = {
        "coo": matrix.to_sparse(),
        "csr": matrix.to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(matrix, 0.5, 3, torch.qint8),
        "channels": torch.quantize_per_channel(
            matrix, torch.tensor([0.5, 0.25]), torch.tensor([1, 2]), 0, torch.quint8
        ),
    }
    source = saved(tmp_path, held)
    target = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert (caught.value.code, caught.value.tensor) == ("WK644", "coo")
    wish = Wish(accepted=frozenset(["--materialize"]), dtypes=(parse_dtype_rule("csr=f16"),))
    done = convert(source, target, wish)
    found = safetensors.torch.load_file(target)
    assert torch.equal(found["coo"], matrix)
    assert torch.equal(found["csr"], matrix.half())
    assert torch.equal(found["quantized"], held["quantized"].dequantize())
    assert torch.equal(found["channels"], held["channels"].dequantize())
    assert done.content_id == identity(target)


def test_values_that_are_nowhere_are_named(tmp_path: Path) -> None:
    source = saved(tmp_path, {"w": torch.ones(2), "meta": torch.empty(3, device="meta")})
    target = tmp_path / "out.safetensors"
    with pytest.raises(PlanError) as caught:
        convert(source, target)
    assert (caught.value.code, caught.value.tensor) == ("WK603", "meta")
    convert(source, target, Wish(exclude=("meta",)))
    assert safetensors.torch.load_file(target).keys() == {"w"}


def test_a_refused_cast_keeps_no_shards(tmp_path: Path) -> None:
    source = saved(tmp_path, {"a": torch.ones(100), "b": torch.full((100,), 1e6)})
    wish = Wish(dtypes=(parse_dtype_rule("f16"),), shard_nbytes=200)
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "out", wish)
    assert caught.value.code == "WK650"
    assert os.listdir(tmp_path) == [source.name]


def hub_cache(tmp_path: Path) -> Path:
    """A model folder of a hub cache: the snapshot's files are links to blobs."""
    model = tmp_path / "models--a--b"
    snapshot = model / "snapshots/0123"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, path in enumerate(sorted(LLAMA.iterdir())):
        (model / f"blobs/{number}").write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    return model


def test_a_hub_cache_becomes_a_folder_of_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    convert(hub_cache(tmp_path), target)
    assert sorted(os.listdir(target)) == ["config.json", "model.safetensors"]
    assert not (target / "config.json").is_symlink()


def test_links_that_leave_the_folder_are_followed_on_request_only(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    torch.save({"w": torch.ones(3)}, source / "pytorch_model.bin")
    (tmp_path / "secret.json").write_text("{}")
    (source / "config.json").symlink_to("../secret.json")
    target = tmp_path / "out"
    with pytest.raises(FormatError) as caught:
        convert(source, target)
    assert caught.value.code == "WK620"
    assert not target.exists()
    convert(source, target, follow_symlinks=True)
    assert (target / "config.json").read_text() == "{}"


def test_a_link_to_a_folder_is_said_not_to_be_carried(tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(LLAMA, source)
    (source / "real").mkdir()
    (source / "real" / "vocab.txt").write_text("a")
    (source / "linked").symlink_to("real")
    found = plan(source, tmp_path / "out")
    assert [item.name for item in found.carried] == ["config.json", "real/vocab.txt"]
    assert [item.message for item in found.notes] == ["not carried over: linked"]
    followed = plan(source, tmp_path / "out", follow_symlinks=True)
    assert "real/vocab.txt" in [item.name for item in followed.carried]


def test_a_config_is_said_not_to_be_cast(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save({"w": torch.ones(4)}, folder / "pytorch_model.bin")
    (folder / "config.json").write_text('{"torch_dtype": "float32"}')
    cast = Wish(dtypes=(parse_dtype_rule("f16"),))
    notes = {item.code for item in convert(folder, f"{tmp_path}/cast/", cast).plan.notes}
    assert "WK654" in notes
    assert "WK654" not in {item.code for item in convert(folder, f"{tmp_path}/moved/").plan.notes}
