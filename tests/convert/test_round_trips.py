"""There and back again: the same bits, names, ties and metadata, through every format."""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import weightkit
from weightkit.analyses.digests import content_id
from weightkit.convert import convert, plan
from weightkit.convert.running import How, run
from weightkit.convert.wishes import Wish, parse_dtype_rule
from weightkit.dtypes import TORCH
from weightkit.errors import FormatError, PlanError

StateDict = dict[str, torch.Tensor]
RAW = Wish(as_bytes=True)
HELD = [getattr(torch, row.torch) for row in TORCH.values() if row.safetensors]
"""Types of torch that safetensors has too."""
W = torch.arange(12, dtype=torch.float32).reshape(3, 4)
FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"


def saved(tensors: Any, path: Path, **options: Any) -> Path:
    torch.save(tensors, path, **options)
    return path


def identity(path: Path) -> str:
    with weightkit.open(path) as checkpoint:
        return content_id(checkpoint).id


def loaded(path: Path) -> StateDict:
    found: StateDict = torch.load(path, weights_only=True)
    return found


def raw(tensor: torch.Tensor) -> bytes:
    if not tensor.numel():
        return b""
    flat = tensor.contiguous().reshape(-1)
    start = flat.storage_offset() * flat.element_size()
    return bytes(flat.untyped_storage())[start : start + flat.numel() * flat.element_size()]


def same(found: StateDict, wanted: StateDict) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == want.dtype
        and found[name].shape == want.shape
        and raw(found[name]) == raw(want)
        for name, want in wanted.items()
    )


def random_bits(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    """Any bits that a type can have, NaNs with payloads too; booleans are 0 or 1."""
    count = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    bits = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, count, "u1")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(bits).view(dtype).reshape(shape)


# torch and safetensors


@pytest.mark.parametrize("dtype", HELD, ids=str)
def test_bin_to_safetensors_to_bin(dtype: torch.dtype, tmp_path: Path) -> None:
    held = {"a": random_bits(dtype, [3, 5], 1), "b": random_bits(dtype, [], 2)}
    source = saved(held, tmp_path / "a.bin")
    convert(source, tmp_path / "b.safetensors")
    done = convert(tmp_path / "b.safetensors", tmp_path / "c.bin")
    assert same(loaded(tmp_path / "c.bin"), held)
    assert done.content_id == identity(source)


def test_safetensors_to_bin_to_safetensors_is_the_same_file(tmp_path: Path) -> None:
    held = {"é": W, "b": W.to(torch.bfloat16), "empty": W[:0]}
    safetensors.torch.save_file(held, tmp_path / "a.safetensors", {"format": "pt", "k": "ü"})
    convert(tmp_path / "a.safetensors", tmp_path / "b.pt")
    convert(tmp_path / "b.pt", tmp_path / "c.safetensors")
    with weightkit.open(tmp_path / "b.pt") as checkpoint:
        assert checkpoint.metadata == {"format": "pt", "k": "ü"}
    convert(tmp_path / "c.safetensors", tmp_path / "d.pt")
    assert (tmp_path / "d.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    first, last = (
        safetensors.torch.load_file(tmp_path / n) for n in ("a.safetensors", "c.safetensors")
    )
    assert same(first, last)
    with weightkit.open(tmp_path / "c.safetensors") as checkpoint:
        assert checkpoint.metadata == {"format": "pt", "k": "ü"}


def test_pt_to_pt_is_what_torch_writes(tmp_path: Path) -> None:
    """All of it but an id, whose first half torch makes otherwise."""
    held = OrderedDict(a=W, b=W.to(torch.float16), c=torch.tensor(1))
    source = saved(held, tmp_path / "archive.pt")
    convert(source, tmp_path / "b.pt")
    assert members(tmp_path / "b.pt") == members(source)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as opened:
        names = [name for name in opened.namelist() if "serialization_id" not in name]
        return {name: opened.read(name) for name in names}


def test_ties_come_back(tmp_path: Path) -> None:
    held = {"embed.weight": W, "head.weight": W, "other": W + 1}
    saved(held, tmp_path / "a.bin")
    convert(tmp_path / "a.bin", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.bin")
    found = loaded(tmp_path / "c.bin")
    assert same(found, held)
    assert found["embed.weight"].data_ptr() == found["head.weight"].data_ptr()
    assert found["other"].data_ptr() != found["head.weight"].data_ptr()
    with weightkit.open(tmp_path / "c.bin") as checkpoint:
        assert "weightkit.aliases" not in checkpoint.metadata


def test_legacy_and_big_endian_to_todays(tmp_path: Path) -> None:
    held = {"a": W, "t": W.t(), "half": W.to(torch.float16)}
    saved(held, tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    convert(tmp_path / "a.bin", tmp_path / "b.pt")
    assert same(loaded(tmp_path / "b.pt"), held)


@pytest.mark.parametrize("target", ["b.safetensors", "b.npz"])
def test_half_a_character_in_a_name(target: str, tmp_path: Path) -> None:
    """Python's pickles may have such; a ``.pt`` keeps it, the others name it."""
    held = {"a\ud800": W, "b": W}
    source = saved(held, tmp_path / "a.pt")
    with pytest.raises(PlanError, match="--rename") as caught:
        convert(source, tmp_path / target)
    assert (caught.value.code, caught.value.tensor) == ("WK662", "a\ud800")
    convert(source, tmp_path / target, Wish(only=("b",)))
    convert(source, tmp_path / "b.pt")
    assert same(loaded(tmp_path / "b.pt"), held)


# Shards


def test_shards_to_one_to_shards(tmp_path: Path) -> None:
    held = {f"layer.{n}.w": random_bits(torch.bfloat16, [20, 20], n) for n in range(12)}
    source = saved(held, tmp_path / "pytorch_model.bin")
    sharded = Wish(shard_nbytes=3000)
    convert(source, tmp_path / "one", sharded)
    assert len([*(tmp_path / "one").glob("*.safetensors")]) == 4
    convert(tmp_path / "one", tmp_path / "model.pt")
    assert same(loaded(tmp_path / "model.pt"), held)
    convert(tmp_path / "model.pt", tmp_path / "two", sharded)
    assert folder(tmp_path / "two") == folder(tmp_path / "one")


def folder(path: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in path.iterdir()}


def test_shards_of_bin(tmp_path: Path) -> None:
    held = {f"layer.{n}.w": W + n for n in range(5)}
    source = saved(held, tmp_path / "pytorch_model.bin")
    convert(source, tmp_path / "bins", Wish(format="pytorch", shard_nbytes=100))
    assert len([*(tmp_path / "bins").glob("pytorch_model-*-of-00003.bin")]) == 3
    assert identity(tmp_path / "bins") == identity(source)


# npz


def test_npz_and_back(tmp_path: Path) -> None:
    held = {
        "a/b": W,
        "é": torch.tensor(3),
        "c": W.to(torch.complex128),
        "u": torch.zeros(2).to(torch.uint16),
    }
    source = saved(held, tmp_path / "a.pt")
    convert(source, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz", allow_pickle=False) as found:
        assert {name: found[name].tolist() for name in found.files} == {
            name: tensor.numpy().tolist() for name, tensor in held.items()
        }
    convert(tmp_path / "b.npz", tmp_path / "c.pt")
    assert same(loaded(tmp_path / "c.pt"), held)


def test_a_plain_safetensors_file_gives_nothing_but_its_arrays(tmp_path: Path) -> None:
    """Every member of the ``.npz`` is a tensor, and the way back gives the same file."""
    safetensors.torch.save_file({"a": W, "b": W[:0]}, tmp_path / "a.safetensors", {"format": "pt"})
    convert(tmp_path / "a.safetensors", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        assert {name: array.shape for name, array in found.items()} == {
            name: tuple(tensor.shape) for name, tensor in [("a", W), ("b", W[:0])]
        }
    convert(tmp_path / "b.npz", tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_metadata_passes_through_npz(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": W}, tmp_path / "a.safetensors", {"format": "pt", "k": "v"})
    convert(tmp_path / "a.safetensors", tmp_path / "b.npz")
    convert(tmp_path / "b.npz", tmp_path / "c.safetensors")
    with weightkit.open(tmp_path / "c.safetensors") as checkpoint:
        assert checkpoint.metadata == {"format": "pt", "k": "v"}


def test_types_that_numpy_lacks_need_consent(tmp_path: Path) -> None:
    held = {n: random_bits(d, [3, 4], 7) for n, d in enumerate(HELD)}
    source = saved({str(n): t for n, t in held.items()}, tmp_path / "a.pt")
    with pytest.raises(PlanError, match=r"numpy has no plain bf16; .* --as-bytes") as caught:
        convert(source, tmp_path / "b.npz")
    assert caught.value.code == "WK660"
    assert not (tmp_path / "b.npz").exists()
    done = convert(source, tmp_path / "b.npz", RAW)
    assert done.content_id == identity(source)
    convert(tmp_path / "b.npz", tmp_path / "c.pt")
    assert same(loaded(tmp_path / "c.pt"), {str(n): t for n, t in held.items()})


def test_f4_goes_everywhere(tmp_path: Path) -> None:
    held = {"w": random_bits(torch.float4_e2m1fn_x2, [3, 4], 3)}
    source = saved(held, tmp_path / "a.pt")
    convert(source, tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.npz", RAW)
    done = convert(tmp_path / "c.npz", tmp_path / "d.pt")
    assert same(loaded(tmp_path / "d.pt"), held)
    assert done.content_id == identity(source)


# Anything


NAMES = st.text(max_size=10).filter(lambda name: name not in ("", "__metadata__"))
TENSORS = st.tuples(
    st.sampled_from(HELD), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 9)
)


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    with TemporaryDirectory() as path:
        yield Path(path)


@given(st.dictionaries(NAMES, TENSORS, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_state_dict(room: Path, items: dict[str, tuple[torch.dtype, list[int], int]]) -> None:
    held = {name: random_bits(*wanted) for name, wanted in items.items()}
    for path in room.iterdir():
        path.unlink()
    convert(saved(held, room / "a.bin"), room / "b.safetensors")
    assert same(safetensors.torch.load_file(room / "b.safetensors"), held)
    convert(room / "b.safetensors", room / "c.bin")
    assert same(loaded(room / "c.bin"), held)
    assert not plan(room / "c.bin", room / "d.safetensors").losses


def test_one_plan_twice(tmp_path: Path) -> None:
    """What a layout lets go of once it is written is made again."""
    source, target = tmp_path / "source.pt", tmp_path / "target.safetensors"
    torch.save({name: torch.rand(3) for name in ["b", "ä", "a"]}, source)
    made = plan(source, target)
    with weightkit.open(source) as checkpoint:
        run(made, checkpoint, How())
        first = target.read_bytes()
        run(made, checkpoint, How(force=True))
    assert target.read_bytes() == first


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "npz"])
def test_a_tensor_without_a_name(suffix: str, tmp_path: Path) -> None:
    source = saved({"": W, "tensor": W + 1}, tmp_path / "a.pt")
    done = convert(source, tmp_path / f"b.{suffix}")
    assert done.content_id == identity(source)
    convert(tmp_path / f"b.{suffix}", tmp_path / "c.pt")
    assert same(loaded(tmp_path / "c.pt"), {"": W, "tensor": W + 1})


@pytest.mark.parametrize("target", ["b.pt", "b.npz"])
def test_types_that_are_never_cast_get_no_advice_to_cast_them(target: str, tmp_path: Path) -> None:
    path = FIXTURES / "dtypes.safetensors"
    with pytest.raises(PlanError, match="no plain f6_e3m2; leave it out") as caught:
        convert(path, tmp_path / target, Wish(as_bytes=target == "b.npz"))
    assert caught.value.tensor == "f6_e3m2"
    with pytest.raises(PlanError, match="keep it with --dtype NAME=f6_e3m2"):
        convert(path, tmp_path / "b.safetensors", Wish(dtypes=(parse_dtype_rule("f16"),)))


def test_a_stream_that_ends_too_soon_is_said_with_its_place(tmp_path: Path) -> None:
    source = tmp_path / "a.npz"
    np.savez_compressed(source, w=np.arange(1000, dtype="<f4"))
    with zipfile.ZipFile(source) as archive:
        held = archive.read("w.npy")
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", held[:-9])
    content = bytearray(source.read_bytes())
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):  # the size, as it would be
        at = content.index(signature) + place
        content[at : at + 4] = len(held).to_bytes(4, "little")
    source.write_bytes(content)
    with pytest.raises(FormatError, match="the stream ends 9 before") as caught:
        convert(source, tmp_path / "b.safetensors", Wish(accepted=frozenset(["--allow-lossy"])))
    assert (caught.value.tensor, caught.value.offset) == ("w", 30 + len("w.npy"))


@pytest.mark.parametrize("shape", [(0, 1 << 60, 1 << 60), (1 << 63, 0), (0, *[1] * 64)], ids=str)
@pytest.mark.parametrize("target", ["b.pt", "b.npz"])
def test_shapes_that_nobody_can_load(target: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Without elements they are in order in a safetensors file; numpy and torch count in 64 bits."""
    entry = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
    header = json.dumps(entry).encode()
    source = tmp_path / "a.safetensors"
    source.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(PlanError, match=r"has no (array|tensor) of the shape") as caught:
        convert(source, tmp_path / target)
    assert (caught.value.code, caught.value.tensor) == ("WK660", "w")
    assert not (tmp_path / target).exists()
