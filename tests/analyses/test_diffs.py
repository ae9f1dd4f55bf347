"""What differs: every kind of change, its figures against numpy's own, all forms of a checkpoint."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tests.analyses.test_content_id import SAVERS, random_arrays
from weightkit.analyses import diffs, outcomes
from weightkit.analyses.diffs import IGNORABLE
from weightkit.cli import diff as command
from weightkit.errors import AccessError, FormatError, UnsupportedError
from weightkit.opening import open_checkpoint
from weightkit.reports import CHANGES, Diff, TensorChange

ROOT = Path(__file__).resolve().parent.parent.parent
Arrays = dict[str, np.ndarray[Any, Any]]
BF16 = ml_dtypes.bfloat16


def diff(a: Path, b: Path, compared: str = "content", **options: Any) -> Diff:
    with open_checkpoint(a) as one, open_checkpoint(b) as other:
        return diffs.diff(one, other, compared, **options)


def noise(*shape: int, seed: int = 0, dtype: Any = "f4") -> np.ndarray[Any, Any]:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.02).astype(dtype)


def model(dtype: Any = "f4", layers: int = 3, width: int = 160) -> Arrays:
    """A small transformer as transformers names it."""
    found = {"model.embed_tokens.weight": noise(300, width, seed=1, dtype=dtype)}
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        for at, name in enumerate(("q", "k", "v", "o")):
            values = noise(width, width, seed=10 * layer + at + 2, dtype=dtype)
            found[f"{stem}.self_attn.{name}_proj.weight"] = values
        found[f"{stem}.input_layernorm.weight"] = np.ones(width, dtype)
    return found


def saved(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], **options: Any) -> Path:
    safetensors.numpy.save_file(
        {n: np.ascontiguousarray(a) for n, a in arrays.items()}, path, **options
    )
    return path


def compare(folder: Path, a: Arrays, b: Arrays, compared: str = "content", **options: Any) -> Diff:
    return diff(
        saved(folder / "a.safetensors", a), saved(folder / "b.safetensors", b), compared, **options
    )


def only(report: Diff) -> TensorChange:
    (change,) = report.changes
    return change


# The same in any form


FORMS = [*SAVERS, "g.npz", "h.npz"]


@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("other", ["e.safetensors", "h.npz"])
def test_the_same_weights_in_any_two_forms(tmp_path: Path, one: str, other: str) -> None:
    arrays = random_arrays(["float64", "float32", "float16", "int64", "uint8", "bool", "complex64"])
    savers: dict[str, Any] = {
        **SAVERS,
        "g.npz": lambda path, held: np.savez(path, **held),
        "h.npz": lambda path, held: np.savez_compressed(
            path, **{n: a.astype(a.dtype.newbyteorder(">")) for n, a in held.items()}
        ),
    }
    for side, name in (("a", one), ("b", other)):
        (tmp_path / side).mkdir()
        savers[name](tmp_path / side / name, arrays)
    report = diff(tmp_path / "a" / one, tmp_path / "b" / other, ignore={"metadata"})
    assert report.same
    assert report.kinds == dict.fromkeys(CHANGES, 0) | {"same": len(arrays)}
    assert (report.changes, report.groups, report.looks_like) == ((), (), ())


@pytest.mark.parametrize("one", FORMS)
def test_one_bit_in_any_form(tmp_path: Path, one: str) -> None:
    arrays = random_arrays(["float32", "float16", "int64", "bool"])
    saver: Any = SAVERS.get(one) or (lambda path, held: np.savez_compressed(path, **held))
    saver(tmp_path / one, arrays)
    name = "t2.int64"
    arrays[name][2, 3] ^= 1
    report = diff(tmp_path / one, saved(tmp_path / "z.safetensors", arrays))
    assert (only(report).name, only(report).kind, only(report).values) == (
        name,
        "changed",
        "differ",
    )


# Kinds of change


def changed_kinds(report: Diff) -> dict[str, tuple[str, str]]:
    return {change.name: (change.kind, change.values) for change in report.changes}


def test_kinds(tmp_path: Path) -> None:
    a = {name: noise(4, 6, seed=at) for at, name in enumerate("abcdefghijk")}
    b = dict(a)
    b["a"] = a["a"] + 1
    b["b"] = a["b"].astype("f2")
    b["c"] = a["c"].astype("f8")
    b["d"] = a["d"].reshape(6, 4)
    b["e"] = a["e"][:2]
    b["new.f"] = b.pop("f")
    del b["g"]
    b["z"] = np.zeros(3, "f4")
    b["h"] = a["h"].astype("f2") + np.float16(1)
    b["i"] = a["i"].reshape(6, 4) + 1
    report = compare(tmp_path, a, b)
    assert not report.same
    assert changed_kinds(report) == {
        "a": ("changed", "differ"),
        "b": ("recast", "rounded"),
        "c": ("recast", "equal"),
        "d": ("reshaped", "equal"),
        "e": ("reshaped", "differ"),
        "f": ("renamed", "equal"),
        "g": ("removed", "unknown"),
        "h": ("changed", "differ"),
        "i": ("reshaped", "differ"),
        "z": ("added", "unknown"),
    }
    assert report.kinds["same"] == 2
    by_name = {change.name: change for change in report.changes}
    assert by_name["f"].b is not None
    assert by_name["f"].b.name == "new.f"
    assert by_name["b"].note == "B is A, rounded"


def test_headers_read_no_values(tmp_path: Path) -> None:
    a = {"a": noise(4, 4), "b": noise(4, 4), "c": noise(4), "d": noise(3)}
    b = {"a": a["a"] + 1, "b": a["b"].astype("f2"), "c": noise(5), "e": noise(3)}
    report = compare(tmp_path, a, b, "headers")
    assert changed_kinds(report) == {
        "b": ("recast", "unknown"),
        "c": ("reshaped", "unknown"),
        "d": ("removed", "unknown"),
        "e": ("added", "unknown"),
    }
    hole = tmp_path / "hole.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}})
    hole.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    os.truncate(hole, 8 + len(header) + (1 << 40))
    assert diff(hole, hole, "headers").same


@pytest.mark.parametrize("prefix", ["module.", "model.", "base_model.model."])
def test_a_prefix_is_a_renaming_even_where_values_changed(tmp_path: Path, prefix: str) -> None:
    a = model(layers=1)
    b = {prefix + name: array for name, array in a.items()}
    changed = next(iter(a))
    b[prefix + changed] = b[prefix + changed] + 1
    report = compare(tmp_path, a, b)
    assert report.kinds["renamed"] == len(a) - 1
    assert report.kinds["changed"] == 1
    assert report.kinds["added"] == report.kinds["removed"] == 0
    assert {row.what for row in report.groups if row.kind == "renamed"} >= {
        f"is {prefix}model.layers.0.input_layernorm.weight"
    }


def test_of_the_same_contents_names_alike_are_paired(tmp_path: Path) -> None:
    a = {f"old.{at}.norm": np.ones(4, "f4") for at in range(12)}
    b = {f"new.{at}.norm": np.ones(4, "f4") for at in range(12)}
    report = compare(tmp_path, a, b)
    assert [(c.a.name, c.b.name) for c in report.changes if c.a and c.b] == [
        (f"old.{at}.norm", f"new.{at}.norm") for at in range(12)
    ]
    (row,) = report.groups
    assert (row.pattern, row.count, row.what) == ("old.[0-11].norm", 12, "is new.[0-11].norm")


def test_recorded_aliases_are_tensors(tmp_path: Path) -> None:
    table = noise(8, 4)
    tied = {"embed.weight": torch.from_numpy(table.copy())}
    tied["head.weight"] = tied["embed.weight"]
    torch.save(tied, tmp_path / "a.pt")
    one = {"embed.weight": table}
    saved(tmp_path / "b.safetensors", one, metadata={"head.weight": "embed.weight"})
    assert diff(tmp_path / "a.pt", tmp_path / "b.safetensors").same
    saved(tmp_path / "b.safetensors", one)
    change = only(diff(tmp_path / "a.pt", tmp_path / "b.safetensors"))
    assert (change.kind, change.name) == ("removed", "head.weight")
    assert change.note == "the same as embed.weight"
    back = only(diff(tmp_path / "b.safetensors", tmp_path / "a.pt"))
    assert (back.kind, back.note) == ("added", "the same as embed.weight")


def test_components_and_layers(tmp_path: Path) -> None:
    a = model()
    b = dict(a)
    for layer in (1, 2):
        name = f"model.layers.{layer}.self_attn.q_proj.weight"
        b[name] = b[name] + 1
    report = compare(tmp_path, a, b)
    assert [(row.key, dict(row.kinds)) for row in report.components] == [
        ("embedding", {"same": 1}),
        ("attention", {"same": 10, "changed": 2}),
        ("norm", {"same": 3}),
    ]
    assert [(row.key, dict(row.kinds)) for row in report.layers] == [
        ("0", {"same": 5}),
        ("1", {"same": 4, "changed": 1}),
        ("2", {"same": 4, "changed": 1}),
        ("", {"same": 1}),
    ]
    (row,) = report.groups
    assert (row.pattern, row.count) == ("model.layers.[1-2].self_attn.q_proj.weight", 2)


# Values


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("elements", [1, 1000, (1 << 17) + 7, 3 << 17])
def test_figures_are_those_of_numpy(tmp_path: Path, name: str, elements: int) -> None:
    a = noise(elements, seed=1).astype(name)
    b = (a.astype("f8") + 0.01 * noise(elements, seed=2)).astype(name)
    b[::3] = a[::3]
    if elements > 1:
        b[1] = a[1] + np.dtype(name).type(1)
    else:
        b[0] = a[0] + np.dtype(name).type(1)
    # numpy has no float8 in safetensors: torch's writer
    for path, array in (("a", a), ("b", b)):
        tensor = torch.frombuffer(
            bytearray(array.tobytes()), dtype=getattr(torch, TORCH.get(name, name))
        )
        safetensors.torch.save_file({"w": tensor}, tmp_path / f"{path}.safetensors")
    delta = only(diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "values")).delta
    assert delta is not None
    x, y = a.astype("f8"), b.astype("f8")
    assert (delta.elements, delta.changed) == (elements, int((x != y).sum()))
    assert delta.max_abs == np.abs(y - x).max()
    assert delta.relative_l2 == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12)
    cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
    assert delta.cosine == pytest.approx(cosine, rel=1e-12, abs=1e-12)


TORCH: dict[str, str] = {}


def test_values_that_are_none(tmp_path: Path) -> None:
    a = np.array([1, 2, np.nan, np.nan, np.inf, 0.0, 5, -np.inf], "f4")
    b = np.array([1, np.nan, np.nan, 4, np.inf, -0.0, 6, np.inf], "f4")
    delta = only(compare(tmp_path, {"w": a}, {"w": b}, "values")).delta
    assert delta is not None
    # NaN is NaN, inf is inf, 0 is -0
    assert (delta.changed, delta.nonfinite, delta.other_nonfinite) == (4, 4, 4)
    assert delta.max_abs == 1
    assert delta.relative_l2 == pytest.approx(1 / np.sqrt(1 + 25))


def test_bytes_decide_about_content(tmp_path: Path) -> None:
    a = np.array([0.0, 1], "f4")
    change = only(compare(tmp_path, {"w": a}, {"w": np.array([-0.0, 1], "f4")}, "values"))
    assert (change.kind, change.note) == ("changed", "only signs of zeros or bits of NaN")
    assert change.delta is not None
    assert change.delta.changed == 0
    nan = np.array([0x7FC00000], "u4").view("f4")
    other = np.array([0x7FC00001], "u4").view("f4")
    assert only(compare(tmp_path, {"w": nan}, {"w": other})).kind == "changed"
    assert compare(tmp_path, {"w": nan}, {"w": nan.copy()}, "values").same


def test_nothing_to_measure_by(tmp_path: Path) -> None:
    zero, one = np.zeros(3, "f4"), np.ones(3, "f4")
    delta = only(compare(tmp_path, {"w": zero}, {"w": one}, "values")).delta
    assert delta is not None
    assert (delta.relative_l2, delta.cosine, delta.max_abs) == (None, None, 1.0)
    nan = np.full(3, np.nan, "f4")
    delta = only(compare(tmp_path, {"w": nan}, {"w": one}, "values")).delta
    assert delta is not None
    assert (delta.relative_l2, delta.cosine, delta.max_abs) == (None, None, None)


@pytest.mark.parametrize(
    ("a", "b", "changed", "largest"),
    [
        (np.array([1 << 62, 5], "i8"), np.array([(1 << 62) + 1, 5], "i8"), 1, 0.0),
        (np.array([250, 5], "u1"), np.array([3, 5], "u1"), 1, 247.0),
        (np.array([True, False]), np.array([False, False]), 1, 1.0),
        (np.array([3 + 4j, 1], "c8"), np.array([0, 1], "c8"), 1, 5.0),
    ],
)
def test_other_numbers(tmp_path: Path, a: Any, b: Any, changed: int, largest: float) -> None:
    np.savez(tmp_path / "a.npz", w=a)
    np.savez(tmp_path / "b.npz", w=b)
    delta = only(diff(tmp_path / "a.npz", tmp_path / "b.npz", "values")).delta
    assert delta is not None
    assert (delta.changed, delta.max_abs) == (changed, largest)


def test_complex_and_real(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array([1 + 0j, 2], "c8"), v=np.array([1 + 1j, 2], "c8"))
    np.savez(tmp_path / "b.npz", w=np.array([1, 2], "f4"), v=np.array([1, 2], "f4"))
    report = diff(tmp_path / "a.npz", tmp_path / "b.npz", "values")
    assert changed_kinds(report) == {"v": ("changed", "differ"), "w": ("recast", "equal")}


def test_types_that_cannot_be_compared(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array(["a", "b"], "U1"))
    np.savez(tmp_path / "b.npz", w=np.array(["a", "b"], "U2"))
    change = only(diff(tmp_path / "a.npz", tmp_path / "b.npz"))
    assert (change.kind, change.values) == ("recast", "unknown")
    assert change.note == "not comparable by content"


def test_text_has_no_figures(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array(["a", "b"]))
    np.savez(tmp_path / "b.npz", w=np.array(["a", "c"]))
    change = only(diff(tmp_path / "a.npz", tmp_path / "b.npz", "values"))
    assert (change.kind, change.delta) == ("changed", None)


@pytest.mark.parametrize("one", ["float64", "float32", "float16", "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("other", ["float64", "float32", "float16", "bfloat16", "float8_e5m2"])
def test_a_recast_is_told_from_a_change(tmp_path: Path, one: str, other: str) -> None:
    a = noise(64, 8).astype(one)
    b = a.astype(other)
    for path, array in (("a", a), ("b", b)):
        tensor = torch.frombuffer(
            bytearray(array.tobytes()), dtype=getattr(torch, array.dtype.name)
        )
        safetensors.torch.save_file({"w": tensor}, tmp_path / f"{path}.safetensors")
    report = diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    if one == other:
        assert report.same
        return
    exact = bool((b.astype(one) == a).all())
    assert only(report).kind == "recast"
    assert only(report).values == ("equal" if exact else "rounded")
    assert report.looks_like[0].startswith("a recast of 1 tensor")
    back = diff(tmp_path / "b.safetensors", tmp_path / "a.safetensors")
    assert only(back).kind == "recast"
    b.reshape(-1)[5] = b.dtype.type(3)
    tensor = torch.frombuffer(bytearray(b.tobytes()), dtype=getattr(torch, other))
    safetensors.torch.save_file({"w": tensor}, tmp_path / "b.safetensors")
    assert only(diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")).kind == "changed"


@pytest.mark.parametrize("compared", ["content", "values"])
@pytest.mark.parametrize(
    ("kind", "beyond"), [("float16", 2), ("bfloat16", 1), ("float8_e4m3fn", 3), ("float8_e5m2", 2)]
)
def test_a_recast_that_overflows_is_told(
    tmp_path: Path, kind: str, beyond: int, compared: str
) -> None:
    """Infinities and NaN that were there before are none of its doing."""
    numbers = noise(64)
    plain = numbers.astype(kind)
    numbers[:6] = [1e5, -3.4e38, np.inf, np.nan, 1000, 1.1]
    with np.errstate(all="ignore"):
        rounded = numbers.astype(kind)
    numbers_too = noise(64)
    for path, arrays in (
        ("a", {"w": numbers, "v": numbers_too}),
        ("b", {"w": rounded, "v": plain}),
    ):
        tensors = {
            name: torch.frombuffer(
                bytearray(array.tobytes()), dtype=getattr(torch, array.dtype.name)
            )
            for name, array in arrays.items()
        }
        safetensors.torch.save_file(tensors, tmp_path / f"{path}.safetensors")
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for report, note in (
        (diff(one, other, compared), "B is A, rounded"),
        (diff(other, one, compared), "A is B, rounded"),
    ):
        v, w = report.changes
        assert (v.note, v.overflow) == (note, 0)
        assert (w.note, w.overflow) == (f"{note}, and overflowed", beyond)
        assert w.values == "rounded"
        (line,) = report.looks_like
        noun = "element" if beyond == 1 else "elements"
        assert line.endswith(f": all rounded; {beyond} {noun} of 1 tensor overflowed")


def test_cut_integers_are_no_rounded_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array([1, 257], "i8"), v=np.array([1, 5], "i8"))
    np.savez(tmp_path / "b.npz", w=np.array([1, 1], "u1"), v=np.array([1, 5], "u1"))
    report = diff(tmp_path / "a.npz", tmp_path / "b.npz")
    assert changed_kinds(report) == {"v": ("recast", "equal"), "w": ("changed", "differ")}


# What it looks like as a whole


def looks(folder: Path, change: Callable[[Arrays], Any], dtype: Any = "f4") -> tuple[str, ...]:
    a = model(dtype)
    b = {name: array.copy() for name, array in a.items()}
    change(b)
    return compare(folder, a, b, "values").looks_like


def train(arrays: Arrays) -> None:
    for at, (name, array) in enumerate(arrays.items()):
        arrays[name] = (array.astype("f4") + 0.1 * noise(*array.shape, seed=100 + at)).astype(
            array.dtype
        )


def merge(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if "q_proj" in name or "v_proj" in name:
            update = noise(array.shape[0], 4, seed=7) @ noise(4, array.shape[1], seed=8)
            arrays[name] = (array.astype("f4") + 3 * update).astype(array.dtype)


def flip(arrays: Arrays) -> None:
    raw = arrays["model.layers.1.self_attn.k_proj.weight"].reshape(-1).view("u1")
    raw[77] ^= 0x40


def poison(arrays: Arrays) -> None:
    arrays["model.layers.1.self_attn.k_proj.weight"][3, :2] = np.nan


def part(arrays: Arrays) -> None:
    name = "model.layers.1.self_attn.k_proj.weight"
    arrays[name] = (arrays[name].astype("f4") * 1.1).astype(arrays[name].dtype)
    arrays["model.embed_tokens.weight"] = noise(300, 160, seed=1, dtype="f4") + 0.01


def replace(arrays: Arrays) -> None:
    for at, (name, array) in enumerate(arrays.items()):
        arrays[name] = noise(*array.shape, seed=200 + at).astype(array.dtype)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            train,
            "training (a fine-tune): ",
        ),
        (
            merge,
            "a low-rank update, as of merging a LoRA: rank up to 4 in 6 tensors (q_proj, v_proj)",
        ),
        (flip, "damage, or an edit by hand: 1 of 25,600 elements of 1 tensor changed"),
        (part, "training of a part: "),
        (poison, "damage: 2 elements became NaN or infinite, in 1 tensor"),
        (replace, "other weights altogether: cosine "),
        (lambda arrays: arrays.update(more=np.ones(3)), "1 tensor added (3 elements)"),
    ],
)
def test_what_it_looks_like(tmp_path: Path, change: Any, said: str, dtype: str) -> None:
    (found,) = looks(tmp_path, change, dtype)
    assert found.startswith(said)


def test_full_rank_is_no_low_rank(tmp_path: Path) -> None:
    a = {"w.weight": noise(256, 200)}
    b = {"w.weight": a["w.weight"] + 0.1 * noise(256, 200, seed=9)}
    delta = only(compare(tmp_path, a, b, "values")).delta
    assert delta is not None
    assert delta.rank is None


@pytest.mark.parametrize("times", [0.5, 1, 1.2, 1.5, 2, 3, 5, 20])
@pytest.mark.parametrize("shape", [(256, 200), (300, 1000), (128, 900), (128, 128)])
def test_updates_without_structure_have_no_low_rank(
    tmp_path: Path, times: float, shape: tuple[int, int]
) -> None:
    """Of whatever size beside the rounding of bf16, whose unit is 1/256."""
    a = noise(*shape).astype(BF16)
    update = times / 256 * noise(*shape, seed=9)
    b = (a.astype("f4") + update).astype(BF16)
    for path, array in (("a", a), ("b", b)):
        tensor = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.bfloat16)
        safetensors.torch.save_file({"w": tensor.reshape(shape)}, tmp_path / f"{path}.safetensors")
    delta = only(diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "values")).delta
    assert delta is not None
    assert delta.rank is None


@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_the_rank_of_a_merged_lora_whose_values_decay(tmp_path: Path, decay: float) -> None:
    a = noise(512, 400).astype(BF16)
    weights = decay ** np.arange(16)
    update = (noise(512, 16, seed=3) * weights) @ noise(16, 400, seed=4)
    b = (a.astype("f4") + 2 * update).astype(BF16)
    for path, array in (("a", a), ("b", b)):
        tensor = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.bfloat16)
        safetensors.torch.save_file(
            {"w": tensor.reshape(512, 400)}, tmp_path / f"{path}.safetensors"
        )
    delta = only(diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "values")).delta
    assert delta is not None
    assert delta.rank is not None
    assert delta.rank == 16 if decay == 1 else 4 <= delta.rank <= 16


@pytest.mark.parametrize("rank", [1, 7, 32])
@pytest.mark.parametrize("shape", [(200, 1300), (1300, 200), (400, 401)])
def test_ranks(tmp_path: Path, rank: int, shape: tuple[int, int]) -> None:
    a = {"w": noise(*shape)}
    update = noise(shape[0], rank, seed=3) @ noise(rank, shape[1], seed=4)
    delta = only(compare(tmp_path, a, {"w": a["w"] + update}, "values")).delta
    assert delta is not None
    assert delta.rank == rank


# Composite, strided, empty, absent


def test_sparse_tensors_are_compared_by_their_parts(tmp_path: Path) -> None:
    dense = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    for name, held in (("a", dense), ("b", dense.clone()), ("c", 2 * dense)):
        torch.save({"w": held.to_sparse(), "v": torch.ones(2)}, tmp_path / f"{name}.pt")
    torch.save({"w": dense, "v": torch.ones(2)}, tmp_path / "d.pt")
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt", "values").same
    assert only(diff(tmp_path / "a.pt", tmp_path / "c.pt", "values")).kind == "changed"
    assert not diff(tmp_path / "a.pt", tmp_path / "d.pt", "values").same


def test_views(tmp_path: Path) -> None:
    base = torch.from_numpy(noise(40, 30))
    views = {"t": base.t(), "s": base[::2, 1:], "e": base[:1].expand(50, 30)}
    torch.save(views, tmp_path / "a.pt")
    torch.save({name: view.contiguous() for name, view in views.items()}, tmp_path / "b.pt")
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt").same
    torch.save({name: view + 1 for name, view in views.items()}, tmp_path / "b.pt")
    report = diff(tmp_path / "a.pt", tmp_path / "b.pt", "values")
    largest = [change.delta.max_abs for change in report.changes if change.delta]
    assert largest == [pytest.approx(1.0)] * 3


def test_empty_tensors(tmp_path: Path) -> None:
    a = {"w": np.zeros((0, 4), "f4"), "v": np.zeros(0, "f4")}
    assert compare(tmp_path, a, dict(a), "values").same
    b = {"w": np.zeros((4, 0), "f4"), "v": np.zeros(0, "f2")}
    assert changed_kinds(compare(tmp_path, a, b, "values")) == {
        "w": ("reshaped", "equal"),
        "v": ("recast", "equal"),
    }


def test_values_that_the_file_does_not_hold(tmp_path: Path) -> None:
    torch.save({"w": torch.empty(3, device="meta"), "v": torch.ones(2)}, tmp_path / "a.pt")
    torch.save({"w": torch.ones(3), "v": torch.ones(2)}, tmp_path / "b.pt")
    report = diff(tmp_path / "a.pt", tmp_path / "b.pt")
    assert (only(report).kind, only(report).note) == (
        "unknown",
        "the file does not hold the values",
    )
    assert (report.verdict, command.status(report)) == ("unknown", 3)
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt", ignore={"unknown"}).same
    torch.save({"w": torch.ones(3), "v": torch.zeros(2)}, tmp_path / "b.pt")
    assert command.status(diff(tmp_path / "a.pt", tmp_path / "b.pt")) == 1


def test_small_files_of_vast_views_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "a.pt")
    half = torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 20)
    torch.save({"w": half}, tmp_path / "b.pt")
    for other in ("a.pt", "b.pt"):
        with pytest.raises(UnsupportedError, match="views of") as caught:
            diff(tmp_path / "a.pt", tmp_path / other, "values")
        assert caught.value.code == "WK603"
    assert diff(tmp_path / "a.pt", tmp_path / "a.pt", "headers").same


def test_tied_tensors_are_compared_once(tmp_path: Path) -> None:
    for name, values in (("a", noise(1 << 20)), ("b", noise(1 << 20, seed=1))):
        tensor = torch.from_numpy(values)
        torch.save({f"w{number}": tensor for number in range(200)}, tmp_path / f"{name}.pt")
    read: list[int] = []
    report = diff(tmp_path / "a.pt", tmp_path / "b.pt", "values", tick=read.append)
    assert report.kinds["changed"] == 200
    assert sum(read) < 32 << 20
    deltas = {change.delta for change in report.changes}
    assert len(deltas) == 1


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.safetensors", {"w": noise(40, 40)})
    other = saved(tmp_path / "b.safetensors", {"w": noise(40, 40)})
    real = outcomes.same_bytes

    def meddling(*arguments: Any) -> Any:
        os.utime(path, ns=(1, 1))
        return real(*arguments)

    monkeypatch.setattr(outcomes, "same_bytes", meddling)
    with pytest.raises(AccessError) as caught:
        diff(path, other)
    assert caught.value.code == "WK012"


def test_other_sets_are_named(tmp_path: Path) -> None:
    path = ROOT / "fixtures/torch/checkpoint.pt"
    (first, second) = diff(path, path).notes
    assert first == "not compared: the 18 tensors of A's set 'optimizer'"
    assert second == "not compared: the 18 tensors of B's set 'optimizer'"


def test_pipelines(tmp_path: Path) -> None:
    path = ROOT / "fixtures/pipeline"
    report = diff(path, path)
    assert report.same
    assert report.a.tensors == report.kinds["same"] > 0


# Settings


def settings(report: Diff) -> dict[tuple[str, str], tuple[Any, Any]]:
    return {(item.place, item.key): (item.a, item.b) for item in report.settings}


def folder(path: Path, config: Any, template: str = "", **files: str) -> Path:
    path.mkdir()
    saved(path / "model.safetensors", {"w": noise(3)})
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if template:
        held = {"chat_template": template, "bos_token": "<s>"}
        (path / "tokenizer_config.json").write_text(json.dumps(held), encoding="utf-8")
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return path


def test_configs_and_templates(tmp_path: Path) -> None:
    config = {"rope": {"theta": 1, "kind": "x"}, "layers": [1, 2], "gone": 1, "same": 3}
    other = {"rope": {"theta": 2, "kind": "x"}, "layers": [1, 3], "came": None, "same": 3}
    a = folder(tmp_path / "a", config, "{{ a }}", tokenizer__json="{}")
    b = folder(tmp_path / "b", other, "{{ b }}", tokenizer__json="[]", vocab__txt="x")
    report = diff(a, b)
    found = settings(report)
    assert not report.same
    assert found["config.json", "rope.theta"] == (1, 2)
    assert found["config.json", "layers"] == ([1, 2], [1, 3])
    assert found["config.json", "gone"] == (1, None)
    assert found["chat template", "default"] == ("{{ a }}", "{{ b }}")
    assert found["vocab.txt", ""][0] is None
    assert ("tokenizer.json", "") in found
    assert ("tokenizer_config.json", "chat_template") not in found
    assert diff(a, b, ignore={"config", "template", "tokenizer"}).same
    assert not diff(a, b, ignore={"config", "template"}).same
    assert {item.kind for item in report.settings} == {"config", "template", "tokenizer"}
    assert (report.verdict, command.status(report)) == ("differ", 1)
    assert diff(a, a).settings == ()


def test_a_config_that_only_one_folder_has(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", {"x": 1}), folder(tmp_path / "b", {"x": 1})
    (b / "config.json").unlink()
    assert settings(diff(a, b)) == {("config.json", ""): ("there", None)}
    # Files by themselves have no config of their own to miss.
    assert diff(a / "model.safetensors", b / "model.safetensors").same


def test_metadata(tmp_path: Path) -> None:
    arrays = {"w": noise(3)}
    a = saved(tmp_path / "a.safetensors", arrays, metadata={"who": "me", "format": "np"})
    b = saved(tmp_path / "b.safetensors", arrays, metadata={"who": "you", "format": "np"})
    report = diff(a, b)
    assert settings(report) == {("metadata", "who"): ("me", "you")}
    assert not report.same
    assert diff(a, b, ignore={"metadata"}).same
    np.savez(tmp_path / "c.npz", **arrays)
    assert diff(a, tmp_path / "c.npz").same  # formats have metadata of their own


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_hostile_documents(tmp_path: Path, name: str) -> None:
    a, b = folder(tmp_path / "a", {"x": 1}), folder(tmp_path / "b", {"x": 1})
    (b / name).write_bytes(b"[" * 100_000)
    diff(a, b)
    deep: Any = {}
    for _ in range(500):
        deep = {"a": deep}
    (b / name).write_text(json.dumps(deep), encoding="utf-8")
    diff(a, b)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", {"x": 1}), folder(tmp_path / "b", {"x": 1})
    (tmp_path / "secret").write_text('{"key": 1}', encoding="utf-8")
    (b / "tokenizer_config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError) as caught:
        diff(a, b)
    assert caught.value.code == "WK620"
    report = diff(a, b, follow_symlinks=True)
    assert settings(report) == {("tokenizer_config.json", ""): (None, "there")}


# The command's own table


def test_what_can_be_ignored() -> None:
    assert command.IGNORABLE == IGNORABLE


@pytest.mark.parametrize("kind", ["recast", "renamed", "reshaped", "added", "removed", "changed"])
def test_ignoring(tmp_path: Path, kind: str) -> None:
    a = {"w": noise(4, 4), "x": noise(3)}
    change: dict[str, Callable[[Arrays], Any]] = {
        "recast": lambda held: held.update(w=held["w"].astype("f2")),
        "renamed": lambda held: held.update(v=held.pop("w")),
        "reshaped": lambda held: held.update(w=held["w"].reshape(2, 8)),
        "added": lambda held: held.update(v=noise(9)),
        "removed": lambda held: held.pop("w"),
        "changed": lambda held: held.update(w=held["w"] + 1),
    }
    b = dict(a)
    change[kind](b)
    report = compare(tmp_path, a, b, ignore={kind})
    assert report.same
    assert report.kinds[kind] == 1
    assert report.ignored == (kind,)
    assert command.status(report) == 0


def test_broken_streams_are_errors(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(10_000)}, tmp_path / "stored.pt")
    a, b = tmp_path / "a.pt", tmp_path / "b.pt"
    with zipfile.ZipFile(tmp_path / "stored.pt") as old, zipfile.ZipFile(a, "w") as new:
        for member in old.namelist():
            new.writestr(member, old.read(member), zipfile.ZIP_DEFLATED)
        (info,) = (info for info in new.infolist() if info.filename.endswith("data/0"))
    raw = bytearray(a.read_bytes())
    raw[info.header_offset + 30 + len(info.filename)] = 0x07  # a block of no known kind
    b.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        diff(a, b)
    assert caught.value.code == "WK419"
