"""Which files a path means, and the index held against the shards (docs/names.md)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import weightkit
from weightkit.errors import (
    AccessError,
    AmbiguousCheckpoint,
    FormatError,
    UnsupportedError,
    WeightkitError,
)
from weightkit.opening import open_checkpoint

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def tensor(values: int = 4) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [values]}


def write(path: Path, names: dict[str, int]) -> Path:
    """A safetensors file of u8 vectors, by name and length."""
    header: dict[str, Any] = {}
    offset = 0
    for name, size in names.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(offset)))
    return path


def write_index(path: Path, weight_map: dict[str, str], total_size: int | None = None) -> Path:
    metadata = {} if total_size is None else {"total_size": total_size}
    path.write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))
    return path


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write(tmp_path / FIRST, {"a": 3, "b": 2})
    write(tmp_path / SECOND, {"c": 4})
    write_index(tmp_path / INDEX, {"a": FIRST, "b": FIRST, "c": SECOND}, 9)
    return tmp_path


def codes(path: Path, **options: Any) -> list[str]:
    with open_checkpoint(path, **options) as checkpoint:
        return [finding.code for finding in checkpoint.findings]


@pytest.mark.parametrize("name", ["", INDEX, FIRST, SECOND])
def test_shards_are_one_checkpoint(sharded: Path, name: str) -> None:
    with open_checkpoint(sharded / name) as checkpoint:
        assert [t.name for t in checkpoint] == ["a", "b", "c"]
        assert [os.path.basename(file.path) for file in checkpoint.files] == [FIRST, SECOND]
        assert bytes(checkpoint.read("c")) == bytes(range(4))
        assert bytes(checkpoint.read("b")) == bytes([3, 4])
        found = [finding.code for finding in checkpoint.findings]
        assert found == (["WK617"] if name.endswith(".safetensors") else [])


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    with pytest.raises(FormatError, match=SECOND) as caught:
        open_checkpoint(sharded)
    assert caught.value.code == "WK611"
    with open_checkpoint(sharded, lenient=True) as checkpoint:
        assert [t.name for t in checkpoint] == ["a", "b"]


def test_a_missing_shard_without_an_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    assert codes(sharded) == ["WK616"]
    (sharded / SECOND).unlink()
    with pytest.raises(FormatError, match="1 of 2 shards"):
        open_checkpoint(sharded)


def test_the_index_names_a_tensor_that_no_shard_has(sharded: Path) -> None:
    write_index(sharded / INDEX, {"a": FIRST, "b": FIRST, "c": SECOND, "d": SECOND})
    with pytest.raises(FormatError, match="places d") as caught:
        open_checkpoint(sharded)
    assert (caught.value.code, caught.value.tensor) == ("WK612", "d")


def test_the_index_places_a_tensor_in_the_wrong_shard(sharded: Path) -> None:
    write_index(sharded / INDEX, {"a": FIRST, "b": SECOND, "c": SECOND})
    with pytest.raises(FormatError) as caught:
        open_checkpoint(sharded)
    assert caught.value.code == "WK612"


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    write(sharded / SECOND, {"c": 4, "a": 3})
    assert "WK613" in codes(sharded, lenient=True)
    with pytest.raises(FormatError):
        open_checkpoint(sharded)


def test_a_tensor_that_the_index_leaves_out(sharded: Path) -> None:
    write(sharded / SECOND, {"c": 4, "extra": 1})
    write_index(sharded / INDEX, {"a": FIRST, "b": FIRST, "c": SECOND}, 10)
    assert codes(sharded) == ["WK614"]


def test_a_wrong_total_size(sharded: Path) -> None:
    write_index(sharded / INDEX, {"a": FIRST, "b": FIRST, "c": SECOND}, 8)
    assert codes(sharded) == ["WK615"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_a_malformed_index(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_text(text)
    with pytest.raises(FormatError) as caught:
        open_checkpoint(sharded)
    assert caught.value.code == "WK610"


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/../../x", "..\\x", "a\0b"])
def test_an_index_entry_cannot_leave_the_folder(sharded: Path, name: str) -> None:
    write_index(sharded / INDEX, {"a": FIRST, "c": name})
    with pytest.raises(FormatError) as caught:
        open_checkpoint(sharded)
    assert caught.value.code == "WK620"


def test_a_link_cannot_leave_the_folder_unasked(tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere" / "real.safetensors", {"a": 1})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(outside)
    with pytest.raises(FormatError) as caught:
        open_checkpoint(folder)
    assert caught.value.code == "WK620"
    assert codes(folder, follow_symlinks=True) == []
    assert codes(folder / "model.safetensors") == []  # named by the user


@pytest.mark.parametrize("name", ["config.json", "README.md"])
@pytest.mark.parametrize("named", ["model", "model/model.safetensors"])
def test_what_lies_beside_is_not_read_through_a_link_unasked(
    tmp_path: Path, name: str, named: str
) -> None:
    folder = tmp_path / "model"
    write(folder / "model.safetensors", {"a": 1})
    (tmp_path / "outside").write_text('{"a": "secret"}' if name[0] == "c" else "---\nsecret\n---\n")
    (folder / name).symlink_to(tmp_path / "outside")
    with open_checkpoint(tmp_path / named) as found:
        assert (found.config, found.card) == ({}, "")
        (finding,) = found.findings
        assert (finding.code, finding.path) == ("WK624", str(folder / name))
        assert str(tmp_path / "outside") in finding.message
    with open_checkpoint(tmp_path / named, follow_symlinks=True) as found:
        assert "secret" in str(found.config) + found.card
        assert not found.findings


def test_links_inside_the_folder_are_read(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    (tmp_path / "real.json").write_text('{"a": 1}')
    (tmp_path / "config.json").symlink_to("real.json")
    with open_checkpoint(tmp_path) as found:
        assert found.config == {"config.json": {"a": 1}}
        assert not found.findings


def test_a_link_to_nowhere_beside_the_weights(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    (tmp_path / "config.json").symlink_to(tmp_path / "nothing.json")
    assert codes(tmp_path) == []


def test_a_pipeline_keeps_to_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    write(folder / "unet" / "diffusion_pytorch_model.safetensors", {"a": 1})
    (folder / "model_index.json").write_text("{}")
    (tmp_path / "secret").write_text('{"a": 1}')
    (folder / "unet" / "config.json").symlink_to(tmp_path / "secret")
    with open_checkpoint(folder) as found:
        (part,) = found.parts
        assert part.config == {}
        assert [finding.code for finding in part.findings] == ["WK624"]


def test_an_index_that_leaves_the_folder(
    sharded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("elsewhere") / "index.json"
    (sharded / INDEX).rename(outside)
    (sharded / INDEX).symlink_to(outside)
    for path in (sharded, sharded / FIRST):
        with pytest.raises(FormatError) as caught:
            open_checkpoint(path)
        assert caught.value.code == "WK620"
        open_checkpoint(path, follow_symlinks=True).close()
    open_checkpoint(sharded / INDEX).close()  # named by the user


def hub_cache(tmp_path: Path, revisions: list[str]) -> Path:
    model = tmp_path / "models--org--name"
    blob = write(model / "blobs" / "abc", {"a": 1})
    for revision in revisions:
        snapshot = model / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    return model


def test_a_hub_cache_keeps_its_files_in_blobs(tmp_path: Path) -> None:
    model = hub_cache(tmp_path, ["r1"])
    assert codes(model) == []
    assert codes(model / "snapshots" / "r1") == []
    (model / "blobs" / "def").write_text('{"a": 1}')
    (model / "snapshots" / "r1" / "config.json").symlink_to("../../blobs/def")
    for path in (model, model / "snapshots/r1", model / "snapshots/r1/model.safetensors"):
        with open_checkpoint(path) as found:
            assert found.config == {"config.json": {"a": 1}}
            assert not found.findings


def test_several_snapshots_need_a_main(tmp_path: Path) -> None:
    model = hub_cache(tmp_path, ["r1", "r2"])
    with pytest.raises(AmbiguousCheckpoint, match="r1, r2"):
        open_checkpoint(model)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("r2")
    with open_checkpoint(model) as checkpoint:
        assert "r2" in checkpoint.path


def test_safetensors_before_bin(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    shutil.copy(FIXTURES / "torch" / "state_dict.pt", tmp_path / "pytorch_model.bin")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.format == "safetensors"
        (found,) = checkpoint.findings
    assert found.code == "WK623"
    assert found.message == "1 more weight file was left alone: pytorch_model.bin"


def test_the_plain_variant_unless_another_is_named(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    write(tmp_path / "model.fp16.safetensors", {"half": 1})
    with open_checkpoint(tmp_path) as checkpoint:
        assert "a" in checkpoint
    with open_checkpoint(tmp_path, variant="fp16") as checkpoint:
        assert "half" in checkpoint
    with pytest.raises(AmbiguousCheckpoint, match="fp16"):
        open_checkpoint(tmp_path, variant="bf16")


def test_a_variant_that_chooses_nothing_is_refused(tmp_path: Path) -> None:
    for path in (
        FIXTURES / "llama-q8_0.gguf",
        FIXTURES / "llama-sharded/model.safetensors.index.json",
        FIXTURES / "llama-sharded/model-00001-of-00002.safetensors",
    ):
        with pytest.raises(AmbiguousCheckpoint, match="this is a file"):
            open_checkpoint(path, variant="fp16")
    with pytest.raises(AmbiguousCheckpoint, match="in any part"):
        open_checkpoint(FIXTURES / "pipeline", variant="fp16")
    with pytest.raises(AccessError):
        open_checkpoint(tmp_path / "none", variant="fp16")


def test_a_pipeline_takes_the_variant_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    for part, variant in [("unet", ".fp16"), ("unet", ""), ("vae", "")]:
        (tmp_path / part).mkdir(exist_ok=True)
        write(tmp_path / part / f"model{variant}.safetensors", {f"{part}{variant}": 1})
    with open_checkpoint(tmp_path, variant="fp16") as checkpoint:
        assert [part.tensors[0].name for part in checkpoint.parts] == ["unet.fp16", "vae"]


def test_unrelated_checkpoints_are_named(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", {"a": 1})
    write(tmp_path / "two.safetensors", {"a": 1})
    with pytest.raises(AmbiguousCheckpoint, match=r"one\.safetensors, two\.safetensors"):
        open_checkpoint(tmp_path)


def test_slices_are_shown_side_by_side(tmp_path: Path) -> None:
    for number in range(2):
        shutil.copy(
            FIXTURES / "torch" / "state_dict.pt", tmp_path / f"consolidated.{number:02}.pth"
        )
    with open_checkpoint(tmp_path) as checkpoint:
        assert [part.name for part in checkpoint.parts] == [
            "consolidated.00.pth",
            "consolidated.01.pth",
        ]
        assert [finding.code for finding in checkpoint.findings] == ["WK622"]


def test_a_pipeline_has_parts() -> None:
    with open_checkpoint(FIXTURES / "pipeline") as checkpoint:
        assert [part.name for part in checkpoint.parts] == ["text_encoder", "unet", "vae"]
        assert all(len(part) for part in checkpoint.parts)
        assert "config.json" in checkpoint.parts[0].config


def test_a_split_gguf_is_one_model() -> None:
    folder = FIXTURES / "llama-split-gguf"
    with open_checkpoint(folder / "llama-00001-of-00002.gguf") as checkpoint:
        assert len(checkpoint.files) == 2
        assert len(checkpoint) == sum(len(file.tensors) for file in checkpoint.files)
        last = checkpoint.tensors[-1]
        assert last.data.file == 1
        assert checkpoint.read(last).shape == last.shape


def test_a_split_gguf_with_a_part_missing(tmp_path: Path) -> None:
    name = "llama-00001-of-00002.gguf"
    shutil.copy(FIXTURES / "llama-split-gguf" / name, tmp_path / name)
    with pytest.raises(FormatError, match="1 of 2 shards"):
        open_checkpoint(tmp_path / name)


def test_configs_lie_beside(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# hello\n")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert checkpoint.config["config.json"]["model_type"] == "llama"
        assert checkpoint.card.strip() == "license: mit"


def test_names_of_the_files_beside(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    (tmp_path / "tokenizer.json").write_text("{}")
    with open_checkpoint(tmp_path) as opened:
        assert "tokenizer.json" in opened.beside


@pytest.mark.parametrize("text", ["", "nope", "[1]", "[" * 100_000, '{"a": 1'])
def test_a_config_that_is_none_is_a_finding(tmp_path: Path, text: str) -> None:
    write(tmp_path / "model.safetensors", {"a": 1})
    (tmp_path / "config.json").write_text(text)
    assert codes(tmp_path) == ["WK621"]


def test_no_weights_here_but_below(tmp_path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.code == "WK601"
    write(tmp_path / "inner" / "model.safetensors", {"a": 1})
    with pytest.raises(WeightkitError, match="inner"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "m.safetensors", "Git LFS"),
        (b"<!DOCTYPE html><html></html>", "m.bin", "HTML"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "m.h5", "HDF5"),
        (b"lmgg" + bytes(64), "ggml-model.bin", "ggml before GGUF"),
        (b"Rar!\x1a\x07" + bytes(64), "m.rar", "RAR"),
        (b"\x18\x00\x00\x00TFL3" + bytes(64), "m.tflite", "TensorFlow Lite"),
        (b"\x08\x07\x12\x07pytorch", "m.onnx", "ONNX"),
        (b"{}", "m.json", "JSON"),
        (b"", "m.bin", "empty"),
        (b"\xfe\xfe\xfe", "m.bin", "fe fe fe"),
    ],
)
def test_what_is_not_read_is_named(content: bytes, name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedError, match=said) as caught:
        open_checkpoint(tmp_path / name)
    assert caught.value.code in ("WK003", "WK004")


def test_a_broken_7z_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "m.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(64))
    with pytest.raises(FormatError) as caught:
        open_checkpoint(tmp_path / "m.7z")
    assert caught.value.code == "WK441"


def test_a_suffix_that_lies(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "torch" / "state_dict.pt", tmp_path / "model.safetensors")
    assert codes(tmp_path / "model.safetensors") == ["WK005"]


def test_a_file_that_is_two_formats(tmp_path: Path) -> None:
    zipped = (FIXTURES / "torch" / "state_dict.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(b"\x80\x02N." + zipped)
    assert "WK006" in codes(tmp_path / "m.pt", lenient=True)


HEADER = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'


@pytest.mark.parametrize("length", [0x0178, 0x5E78, 0x9C78, 0xDA78, 0x10178])
def test_a_length_that_begins_like_a_zlib_stream(length: int, tmp_path: Path) -> None:
    """The length of a safetensors header stands first: 376 is ``78 01``, which zlib begins with."""
    header = HEADER.ljust(length)
    (tmp_path / "m.safetensors").write_bytes(length.to_bytes(8, "little") + header + b"\0")
    assert codes(tmp_path / "m.safetensors") == ["WK155"]


def test_a_length_that_begins_a_zlib_stream(tmp_path: Path) -> None:
    length = bytes.fromhex("78010a0000000000")  # gives bytes when it is inflated
    (tmp_path / "m.safetensors").write_bytes(length + HEADER)
    assert "WK006" in codes(tmp_path / "m.safetensors", lenient=True)


def test_a_missing_path() -> None:
    with pytest.raises(AccessError, match="No such file"):
        open_checkpoint("/nowhere/model.safetensors")


def test_a_name_that_is_not_there_is_an_error_of_ours_and_of_mappings(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors_file = b'{"weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path.write_bytes(len(safetensors_file).to_bytes(8, "little") + safetensors_file + b"x")
    with weightkit.open(path) as checkpoint:
        with pytest.raises(weightkit.UnknownName, match=r"no tensor 'wieght'.*weight") as caught:
            checkpoint.read("wieght")
        assert isinstance(caught.value, KeyError)
        assert str(caught.value).startswith(str(path))


def test_a_closed_checkpoint_reads_the_same_files_again_or_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"w": 4})
    with weightkit.open(path) as checkpoint:
        before = checkpoint.read("w").tolist()
    assert checkpoint.read("w").tolist() == before
    checkpoint.close()
    write(tmp_path / "b.safetensors", {"v": 4}).replace(path)
    with pytest.raises(AccessError, match="WK012"):
        checkpoint.read("w")
    path.unlink()
    with pytest.raises(AccessError, match="WK010"):
        checkpoint.read("w")
