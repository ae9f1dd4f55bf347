"""Statistics of checkpoints as the real libraries write them, against torch and NumPy."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch

from weightkit.analyses import statistics
from weightkit.analyses.digests import content_id
from weightkit.errors import AccessError, FormatError, UnknownName, UnsupportedError
from weightkit.opening import open_checkpoint
from weightkit.source import Source
from weightkit.statistics import FLAGS, Statistics, TensorStatistics

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"


def stats(path: Path, pattern: str = "", jobs: int = 2) -> Statistics:
    with open_checkpoint(path) as checkpoint:
        return statistics.statistics(checkpoint, pattern, jobs)


def saved(tmp_path: Path, **tensors: torch.Tensor) -> Statistics:
    torch.save(tensors, tmp_path / "a.pt")
    return stats(tmp_path / "a.pt")


def rows(report: Statistics) -> dict[str, TensorStatistics]:
    return {statistics.title(row.name, row.part): row for row in report.tensors}


def agrees(row: TensorStatistics, tensor: torch.Tensor) -> None:
    wide = tensor.double().reshape(-1)
    real = wide[wide.isfinite()]
    found = row.numbers
    assert found.elements == tensor.numel()
    assert found.nan == wide.isnan().sum().item()
    assert found.inf == wide.isinf().sum().item()
    assert found.zeros == (wide == 0).sum().item()
    assert found.min == real.min().item()
    assert found.max == real.max().item()
    assert found.mean == pytest.approx(real.mean().item(), abs=1e-12 * found.absmax)
    assert found.std == pytest.approx(real.std(correction=0).item(), abs=1e-12 * found.absmax)
    if tensor.dim() > 1:
        assert row.dead_rows == (tensor.reshape(len(tensor), -1) == 0).all(1).sum().item()


def test_the_flags_are_those_of_the_records() -> None:
    assert (*statistics.TESTS, "duplicate") == FLAGS


FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.int8, torch.uint8, torch.bool])
@pytest.mark.parametrize("save", ["torch", "safetensors", "legacy"])
def test_what_torch_says(tmp_path: Path, dtype: torch.dtype, save: str) -> None:
    tensors = {
        "matrix": (torch.randn(301, 77) * 5).to(dtype),
        "vector": (torch.randn(1000) * 5).to(dtype),
        "scalar": torch.tensor(3.0).to(dtype),
        "kernel": (torch.randn(8, 4, 3, 3) * 5).to(dtype),
    }
    tensors["matrix"][[3, 100, 300]] = 0
    tensors["kernel"][5] = 0
    path = tmp_path / "a.pt"
    if save == "safetensors":
        safetensors.torch.save_file(tensors, path := tmp_path / "a.safetensors")
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=save == "torch")
    found = rows(stats(path))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        agrees(found[name], tensor)


def test_large_tensors_on_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans, tiles and rows that end anywhere; the same on any number of threads, to the last digit."""
    for name, value in (("SPAN", 1 << 12), ("NARROW_TILE", 1000), ("WIDE_TILE", 300)):
        monkeypatch.setattr(statistics, name, value)
    tensors = {}
    for dtype in (torch.bfloat16, torch.float32, torch.float64, torch.int32):
        tensors[str(dtype)] = (torch.randn(77, 997) * 1000).to(dtype)
        tensors[str(dtype)][11:13] = 0
    tensors["long rows"] = torch.zeros(3, 50_000)
    tensors["long rows"][0, 49_999] = math.nan
    torch.save(tensors, tmp_path / "a.pt")
    found = stats(tmp_path / "a.pt", jobs=1)
    for row in found.tensors:
        agrees(row, tensors[row.name])
    assert all(stats(tmp_path / "a.pt", jobs=jobs) == found for jobs in (2, 3, 8))


def test_gguf_blocks_are_dequantized(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kinds = [gguf.GGMLQuantizationType[name] for name in ("Q8_0", "Q4_0", "Q5_1", "BF16", "F16")]
    values = {kind.name: random.standard_normal((6, 512)).astype(np.float32) for kind in kinds}
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    expected = {}
    for kind in kinds:
        values[kind.name][4] = 0
        raw = gguf.quants.quantize(values[kind.name], kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(raw, kind).astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = rows(stats(tmp_path / "a.gguf"))
    for name, array in expected.items():
        agrees(found[name], torch.from_numpy(array))
        assert found[name].dead_rows == 1


def test_k_quants(tmp_path: Path) -> None:
    """Random blocks: whatever gguf makes of them, NaN and all."""
    kind = gguf.GGMLQuantizationType.Q4_K
    raw = np.frombuffer(np.random.default_rng(2).bytes(144 * 900), np.uint8).reshape(30, -1)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("w", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, kind)
    agrees(rows(stats(tmp_path / "a.gguf"))["w"], torch.from_numpy(expected))


def test_a_type_that_cannot_be_dequantized_says_so(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    raw = np.zeros((2, 292), np.uint8)
    writer.add_tensor("w", raw, raw_dtype=gguf.GGMLQuantizationType.Q8_K)
    writer.add_tensor("v", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = rows(stats(tmp_path / "a.gguf"))
    assert found["w"].unread == "q8_k cannot be dequantized"
    assert found["w"].numbers.elements == 0
    assert found["v"].numbers.max == 1


def test_complex_numbers_count_by_parts(tmp_path: Path) -> None:
    tensor = torch.randn(40, 3, dtype=torch.complex64)
    tensor[7] = 0
    row = rows(saved(tmp_path, w=tensor))["w"]
    agrees(row, torch.view_as_real(tensor))
    assert row.dead_rows == 1


def test_composite_tensors_have_a_row_for_each_part(tmp_path: Path) -> None:
    dense = torch.randn(8, 9).relu()
    quantized = torch.quantize_per_channel(
        torch.randn(4, 5), torch.rand(4) + 0.1, torch.ones(4), 0, torch.qint8
    )
    found = rows(saved(tmp_path, sparse=dense.to_sparse(), quantized=quantized))
    agrees(found["sparse (values)"], dense.to_sparse().coalesce().values())
    agrees(found["sparse (indices)"], dense.to_sparse().coalesce().indices())
    agrees(found["quantized (data)"], quantized.int_repr())
    agrees(found["quantized (scale)"], quantized.q_per_channel_scales())
    assert {row.name for row in found.values()} == {"sparse", "quantized"}


def test_compressed_and_strided(tmp_path: Path) -> None:
    base = torch.randn(50, 60)
    tensors = {"t": base.t(), "s": base[::2, 3:40:3], "e": torch.randn(3, 1).expand(3, 20)}
    torch.save(tensors, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as source,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    for path in (tmp_path / "a.pt", tmp_path / "b.pt"):
        found = rows(stats(path))
        for name, tensor in tensors.items():
            agrees(found[name], tensor)


def test_numpy_files(tmp_path: Path) -> None:
    array = np.asfortranarray(np.random.default_rng(1).standard_normal((9, 7)).astype(">f4"))
    np.savez_compressed(tmp_path / "a.npz", w=array, text=np.array(["a", "b"]))
    found = rows(stats(tmp_path / "a.npz"))
    agrees(found["w"], torch.from_numpy(array.astype("<f4")))
    assert "no type of numbers" in found["text"].unread


@pytest.mark.parametrize(
    "name",
    ["llama", "llama-sharded", "llama-split-gguf", "dtypes.safetensors", "numpy/compressed.npz"],
)
def test_fixtures_are_read_whole(name: str) -> None:
    report = stats(FIXTURES / name)
    assert not any(row.unread for row in report.tensors)
    assert report.total.elements > 0


def test_shards_make_no_difference(tmp_path: Path) -> None:
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    tensors = {f"w{number}": torch.randn(9, 5) for number in range(4)}
    placed = {name: files[number % 2] for number, name in enumerate(tensors)}
    for file in files:
        part = {name: tensors[name] for name in tensors if placed[name] == file}
        safetensors.torch.save_file(part, tmp_path / file)
    index = json.dumps({"metadata": {}, "weight_map": placed})
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    found = rows(stats(tmp_path))
    assert found == rows(saved(tmp_path, **tensors))


def test_parts_of_a_pipeline_are_told_apart() -> None:
    report = stats(FIXTURES / "pipeline")
    assert {row.name.split("/")[0] for row in report.tensors} == {"text_encoder", "unet", "vae"}


# What is odd


def test_flags(tmp_path: Path) -> None:
    ones = torch.ones(3)
    report = saved(
        tmp_path,
        nan=torch.tensor([1, math.nan]),
        inf=torch.tensor([1, -math.inf]),
        fp16=torch.tensor([1.0, 65520.0]),
        subnormal=torch.tensor([1, 2.0**-130]),
        zero=torch.zeros(3),
        constant=torch.full((3,), -2.5),
        scalar=torch.tensor(1.0),
        dead=torch.tensor([[0.0, 0.0], [0.0, 1.0]]),
        fine=torch.tensor([1, -65519.0]),
        one=ones.clone(),
        other=ones.clone(),
        all_nan=torch.full((2,), math.nan),
    )
    assert {row.name: row.flags for row in report.tensors} == {
        "nan": ("nan",),
        "inf": ("inf",),
        "fp16": ("fp16",),
        "subnormal": ("subnormal",),
        "zero": ("zero", "constant"),
        "constant": ("constant",),
        "scalar": (),
        "dead": ("dead-rows",),
        "fine": (),
        "one": ("constant", "duplicate"),
        "other": ("constant", "duplicate"),
        "all_nan": ("nan",),
    }
    assert report.flags == FLAGS


def test_copies_have_the_content_digest(tmp_path: Path) -> None:
    weight = torch.randn(64, 64)
    torch.save({"a": weight, "b": weight.clone(), "c": weight.t().clone()}, tmp_path / "a.pt")
    (group,) = stats(tmp_path / "a.pt").duplicates
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        ids = {item.name: item.digest for item in content_id(checkpoint).digests}
    assert group.names == ("a", "b")
    assert group.digest == ids["a"] == ids["b"] != ids["c"]
    assert group.nbytes == 64 * 64 * 4


def test_a_strided_copy_is_a_copy(tmp_path: Path) -> None:
    """The moments of the two differ in the last digits, because their tiles do."""
    weight = torch.randn(640, 300)
    report = saved(tmp_path, a=weight, b=weight.t().contiguous().t())
    assert [group.names for group in report.duplicates] == [("a", "b")]


def test_permuted_values_are_no_copy(tmp_path: Path) -> None:
    weight = torch.randn(100)
    assert not saved(tmp_path, a=weight, b=weight.flip(0).clone()).duplicates


def test_tied_tensors_are_no_copies_and_count_once(tmp_path: Path) -> None:
    weight = torch.randn(10, 4)
    report = saved(tmp_path, **{"embed_tokens.weight": weight, "lm_head.weight": weight})
    assert not report.duplicates
    assert len(report.tensors) == 2
    assert report.total.elements == 40
    assert {row.component: row.numbers.elements for row in report.components} == {
        "embedding": 40,
        "output_head": 40,
    }


def test_copies_in_different_parts_of_a_pipeline(tmp_path: Path) -> None:
    weight = torch.randn(10, 4)
    for name in ("unet", "vae"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "diffusion_pytorch_model.safetensors"
        safetensors.torch.save_file({"w": weight}, file)
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    assert [group.names for group in stats(tmp_path).duplicates] == [("unet/w", "vae/w")]


# What is wanted


def test_a_pattern_chooses_what_is_read(tmp_path: Path) -> None:
    torch.save({"a.x": torch.ones(2), "a.y": torch.ones(3), "b": torch.ones(4)}, tmp_path / "a.pt")
    assert [row.name for row in stats(tmp_path / "a.pt", "a.*").tensors] == ["a.x", "a.y"]
    assert stats(tmp_path / "a.pt", "b").total.elements == 4
    with pytest.raises(UnknownName, match=r"Did you mean 'a\.x'"):
        stats(tmp_path / "a.pt", "a.xx")


def test_names_with_signs_of_patterns(tmp_path: Path) -> None:
    assert saved(tmp_path, **{"w[0]": torch.ones(2), "w0": torch.ones(3)}).total.elements == 5
    assert stats(tmp_path / "a.pt", "w[0]").total.elements == 5


def test_no_tensors(tmp_path: Path) -> None:
    safetensors.torch.save_file({}, tmp_path / "a.safetensors")
    with pytest.raises((UnsupportedError, FormatError)) as caught:
        stats(tmp_path / "a.safetensors")
    assert caught.value.code == "WK604"


def test_empty_tensors(tmp_path: Path) -> None:
    report = saved(tmp_path, a=torch.zeros(0, 3), b=torch.zeros(4, 0), c=torch.zeros(0))
    assert report.total.elements == 0
    assert report.total.mean is None
    assert report.flags == ()


# Bad input


def test_values_that_are_not_there(tmp_path: Path) -> None:
    found = rows(saved(tmp_path, a=torch.ones(2, device="meta"), b=torch.ones(2)))
    assert "does not hold" in found["a"].unread
    assert found["b"].numbers.max == 1


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(1000)}, path)
    pread = Source.pread

    def touched(self: Source, offset: int, nbytes: int) -> bytes:
        os.utime(path, ns=(1, 1))
        return pread(self, offset, nbytes)

    with open_checkpoint(path) as checkpoint:
        monkeypatch.setattr(Source, "pread", touched)
        with pytest.raises(AccessError) as caught:
            statistics.statistics(checkpoint)
    assert caught.value.code == "WK012"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_is_cut_meanwhile(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"w": torch.ones(1 << 20)}, path)
    with open_checkpoint(path) as checkpoint:
        os.truncate(path, 1 << 20)
        with pytest.raises(AccessError) as caught:
            statistics.statistics(checkpoint, jobs=jobs)
    assert caught.value.code == "WK012"


def test_views_that_expand_without_end(tmp_path: Path) -> None:
    small = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save({"w": small}, tmp_path / "a.pt")
    with pytest.raises(UnsupportedError, match="views of"):
        stats(tmp_path / "a.pt")


PEAK = """
import sys
from weightkit.analyses.statistics import statistics
from weightkit.opening import open_checkpoint
with open_checkpoint(sys.argv[1]) as checkpoint:
    assert statistics(checkpoint, jobs=2).total.zeros == 1 << 28
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bounded_memory(tmp_path: Path) -> None:
    """A tensor of 512 MiB in less than 150 MiB, most of which is NumPy."""
    path = tmp_path / "a.safetensors"
    header = {"w": {"dtype": "BF16", "shape": [1 << 14, 1 << 14], "data_offsets": [0, 1 << 29]}}
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    os.truncate(path, 8 + len(raw) + (1 << 29))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(FIXTURES.parent)},
    )
    assert int(done.stdout) < 150 << 10


def test_progress_tells_of_every_byte(tmp_path: Path) -> None:
    told: list[int] = []
    torch.save({"a": torch.randn(1000, 3), "b": torch.randn(5).half()}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        expected = statistics.nbytes_to_read(checkpoint)
        statistics.statistics(checkpoint, tick=told.append)
    assert sum(told) == expected == 12_010
