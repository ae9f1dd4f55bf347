"""Composite tensors made plain, against torch's own ``to_dense()`` and ``dequantize()``."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.dtypes import DTYPES
from weightkit.errors import FormatError, UnsupportedError, WeightkitError
from weightkit.opening import open_checkpoint
from weightkit.source import Buffer
from weightkit.tensors import Extent, TensorInfo
from weightkit.values import dense, sparse
from weightkit.values.casts import caster
from weightkit.values.narrowing import Counts

pytestmark = pytest.mark.filterwarnings("ignore")
Save = Callable[[Any, Path], None]


def save_zip(value: Any, path: Path) -> None:
    torch.save(value, path)


def save_legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def save_deflated(value: Any, path: Path) -> None:
    plain = path.with_suffix(".plain")
    torch.save(value, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))


WRITERS = [save_zip, save_legacy, save_deflated]


def made_plain(tensor: torch.Tensor, tmp_path: Path, save: Save = save_zip) -> torch.Tensor:
    path = tmp_path / "m.pt"
    save({"w": tensor}, path)
    with open_checkpoint(path) as checkpoint:
        (info,) = checkpoint
        form = dense.form_of(info)
        content = b"".join(dense.pieces(info, checkpoint.sources))
    assert len(content) == form.nbytes
    kind = getattr(torch, DTYPES[form.dtype].torch)
    found = torch.frombuffer(bytearray(content), dtype=kind) if content else torch.empty(0)
    return found.to(kind).reshape(form.shape)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Bit for bit."""
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if found.numel():
        bits = [tensor.contiguous().flatten().view(torch.uint8) for tensor in (found, wanted)]
        assert torch.equal(*bits)


# Quantized

torch.manual_seed(5)
VALUES = torch.randn(7, 300, 3) * 4
SCALES = torch.rand(300, dtype=torch.float64) / 10 + 0.01
ZEROS = torch.randint(-5, 6, (300,))
QUANTIZED = {
    "uint8": torch.quantize_per_tensor(VALUES, 0.1, 10, torch.quint8),
    "int8": torch.quantize_per_tensor(VALUES, 0.0371, -3, torch.qint8),
    "int32": torch.quantize_per_tensor(VALUES, 0.00123, 1_000_000, torch.qint32),
    "transposed": torch.quantize_per_tensor(VALUES, 0.1, 10, torch.quint8).transpose(0, 1),
    "channel of 1": torch.quantize_per_channel(VALUES, SCALES, ZEROS, 1, torch.qint8),
    "channel of 0": torch.quantize_per_channel(VALUES, SCALES[:7], ZEROS[:7], 0, torch.qint32),
    "channel of 2": torch.quantize_per_channel(
        VALUES, SCALES[:3], ZEROS[:3].abs(), 2, torch.quint8
    ),
    "strided scales": torch.quantize_per_channel(
        VALUES, torch.rand(14, dtype=torch.float64)[::2] + 0.1, ZEROS[:7], 0, torch.qint8
    ),
    "float zero points": torch.quantize_per_channel(
        VALUES, SCALES.float(), torch.rand(300) * 9, 1, torch.quint8
    ),
    "4 bits": torch.quantize_per_channel(
        torch.randn(7, 300), torch.rand(7) + 0.1, torch.rand(7) * 9, 0, torch.quint4x2
    ),
    "2 bits": torch.quantize_per_channel(
        torch.randn(7, 300), torch.rand(7) + 0.1, torch.rand(7), 0, torch.quint2x4
    ),
    "scalar": torch.quantize_per_tensor(torch.tensor(3.3), 0.1, 0, torch.qint8),
    "empty": torch.quantize_per_tensor(torch.empty(0, 4), 0.1, 0, torch.qint8),
    "larger than a tile": torch.quantize_per_channel(
        torch.randn(3, 99_999), SCALES[:3], ZEROS[:3], 0, torch.qint8
    ),
}


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_tensors(kind: str, save: Save, tmp_path: Path) -> None:
    same(made_plain(QUANTIZED[kind], tmp_path, save), QUANTIZED[kind].dequantize())


def test_rows_that_end_inside_a_byte_are_not_described(tmp_path: Path) -> None:
    scales, zeros = torch.rand(4) + 0.1, torch.rand(4)
    tensor = torch.quantize_per_channel(torch.randn(4, 5), scales, zeros, 0, torch.quint4x2)
    torch.save({"w": tensor, "b": torch.ones(2)}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [info.name for info in checkpoint] == ["b"]
        assert [finding.code for finding in checkpoint.findings] == ["WK325"]


# Views with a flag

COMPLEX = torch.randn(70_001, 3, dtype=torch.complex64)
FLAGGED = {
    "conj": COMPLEX.conj(),
    "conj of 128 bits": COMPLEX.to(torch.complex128).conj(),
    "conj of 32 bits": COMPLEX[:9].to(torch.complex32).conj(),
    "conj of a view": COMPLEX.t()[1:].conj(),
    "neg": COMPLEX.conj().imag,
    "neg of 64 bits": COMPLEX.to(torch.complex128).conj().imag,
    "neg of complex numbers": torch._neg_view(COMPLEX),
    "neg of bf16": torch._neg_view(VALUES.bfloat16()),
    "neg of f16": torch._neg_view(VALUES.half()),
    "neg of special numbers": torch._neg_view(torch.tensor([0.0, -0.0, 1e-45, torch.inf])),
    "scalar": COMPLEX[0, 0].conj(),
    "empty": COMPLEX[:0].conj(),
}


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", FLAGGED)
def test_views_that_torch_negates_or_conjugates(kind: str, save: Save, tmp_path: Path) -> None:
    wanted = FLAGGED[kind].resolve_conj().resolve_neg()
    same(made_plain(FLAGGED[kind], tmp_path, save), wanted)


def test_views_that_are_not_made_plain(tmp_path: Path) -> None:
    both, integers = torch._neg_view(COMPLEX[:2].conj()), torch._neg_view(ZEROS)
    torch.save({"both": both, "integers": integers}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [finding.code for finding in checkpoint.findings] == ["WK325"]
        (info,) = checkpoint
        with pytest.raises(UnsupportedError, match="a negated tensor of i64"):
            dense.form_of(info)


# Sparse


def scattered(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """A tenth of the elements are set."""
    values = torch.randn(*shape) * 9
    return torch.where(torch.rand(*shape) < 0.1, values, 0).to(kind)


def doubled(kind: torch.dtype) -> torch.Tensor:
    """Several values at the same places."""
    places = torch.randint(0, 4, (2, 60))
    return torch.sparse_coo_tensor(places, (torch.randn(60) * 3).to(kind), (4, 5))


SPARSE = {
    "coo": scattered(30, 40).to_sparse(),
    "coo of 3 dimensions": scattered(7, 8, 9).to_sparse(),
    "coo of rows": scattered(30, 40).to_sparse(1),
    "coo of matrices": scattered(7, 8, 9).to_sparse(1),
    "coo without a sparse dimension": torch.sparse_coo_tensor(
        torch.empty(0, 2, dtype=torch.int64), torch.randn(2, 3, 4), (3, 4)
    ),
    "coo with nothing in it": torch.sparse_coo_tensor(size=(3, 4)),
    "coo of no size": torch.sparse_coo_tensor(size=(0, 4)),
    "coo, indices transposed": torch.sparse_coo_tensor(
        torch.tensor([[0, 1], [2, 3], [3, 0]]).T, torch.tensor([1.0, 2.0, 3.0]), (4, 4)
    ),
    **{
        f"coo, values that add up, {kind}": doubled(kind)
        for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8)
    },
    **{
        f"coo of {kind}": scattered(9, 9, kind=kind).to_sparse()
        for kind in (torch.bool, torch.int64, torch.uint8, torch.complex64, torch.bfloat16)
    },
    "csr": scattered(30, 40).to_sparse_csr(),
    "csr, empty rows": torch.diag(torch.tensor([0.0, 0, 5, 0, 0, 7, 0])).to_sparse_csr(),
    "csr of i32": torch.sparse_csr_tensor(
        torch.tensor([0, 1, 3], dtype=torch.int32),
        torch.tensor([1, 0, 2], dtype=torch.int32),
        torch.tensor([1.0, 2, 3]),
        (2, 3),
    ),
    "csr of rows": torch.sparse_csr_tensor(
        torch.tensor([0, 1, 3]), torch.tensor([1, 0, 2]), torch.randn(3, 4), (2, 3, 4)
    ),
    "csc": scattered(30, 40).to_sparse_csc(),
    "csc with nothing in it": torch.zeros(3, 4).to_sparse_csc(),
    "bsr": scattered(30, 40).to_sparse_bsr((3, 5)),
    "bsc": scattered(30, 40).to_sparse_bsc((5, 8)),
    "bsr of f64": scattered(8, 8, kind=torch.float64).to_sparse_bsr((2, 4)),
}


def to_dense(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout == torch.sparse_csr and tensor.dense_dim():
        rows, crow = [], tensor.crow_indices()
        for row in range(tensor.shape[0]):  # torch has no to_dense for these
            rows.append(torch.zeros(tensor.shape[1:], dtype=tensor.dtype))
            for at in range(int(crow[row]), int(crow[row + 1])):
                rows[-1][int(tensor.col_indices()[at])] = tensor.values()[at]
        return torch.stack(rows)
    return tensor.to_dense()


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_tensors(kind: str, save: Save, tmp_path: Path) -> None:
    same(made_plain(SPARSE[kind], tmp_path, save), to_dense(SPARSE[kind]))


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_tensors_in_many_slabs_and_tiles(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "SLAB", 100)
    monkeypatch.setattr(sparse, "TILE", 7)
    same(made_plain(SPARSE[kind], tmp_path), to_dense(SPARSE[kind]))


LARGE = {
    "rows": torch.sparse_coo_tensor(
        torch.tensor([[2, 0, 2]]), torch.randn(3, 400_000), (4, 400_000)
    ),
    "rows turned": torch.sparse_coo_tensor(
        torch.tensor([[1, 0]]), torch.randn(400_000, 2).T, (2, 400_000)
    ),
    "blocks": torch.sparse_bsr_tensor(
        torch.tensor([0, 1, 2]), torch.tensor([1, 0]), torch.randn(2, 600, 700), (1200, 1400)
    ),
    "blocks of columns": torch.sparse_bsc_tensor(
        torch.tensor([0, 1, 2]), torch.tensor([1, 0]), torch.randn(2, 600, 700), (1200, 1400)
    ),
}


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("slab", [16 << 20, 1 << 20, 999_996])
@pytest.mark.parametrize("kind", LARGE)
def test_entries_that_are_larger_than_a_tile(
    kind: str, slab: int, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "SLAB", slab)
    same(made_plain(LARGE[kind], tmp_path, save), LARGE[kind].to_dense())


def test_a_large_entry_takes_memory_for_a_few_tiles(tmp_path: Path) -> None:
    rows = torch.sparse_coo_tensor(torch.tensor([[2]]), torch.ones(1, 20_000_000), (3, 20_000_000))
    torch.save(rows, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (info,) = checkpoint
        tracemalloc.start()
        assert sum(map(len, dense.pieces(info, checkpoint.sources))) == 240_000_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100 << 20


class Counting(Buffer):
    """Counts the bytes that are read."""

    read = 0

    def pread(self, offset: int, nbytes: int) -> bytes:
        Counting.read += nbytes
        return super().pread(offset, nbytes)


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
def test_a_list_is_not_read_again_for_every_slab(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sorted one only the tiles that have something in the slab, of a stream all of it once."""
    monkeypatch.setattr(sparse, "SLAB", 1 << 14)
    monkeypatch.setattr(sparse, "TILE", 1 << 7)
    tensor = scattered(600, 400).to_sparse().coalesce()
    save(tensor, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (info,) = checkpoint
        Counting.read = 0
        source = Counting((tmp_path / "m.pt").read_bytes())
        found = b"".join(dense.pieces(info, [source]))
    assert found == tensor.to_dense().numpy().tobytes()
    assert Counting.read < 3 * (tmp_path / "m.pt").stat().st_size


def test_what_is_made_plain_can_be_cast_on(tmp_path: Path) -> None:
    torch.save(SPARSE["coo"], tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (info,) = checkpoint
        cast = caster(DTYPES["f32"], DTYPES["bf16"])
        found, counts = b"", Counts()
        for piece, more in cast.over(dense.pieces(info, checkpoint.sources)):
            found, counts = found + bytes(piece), counts + more
    wanted = SPARSE["coo"].to_dense().to(torch.bfloat16).view(torch.uint16)
    assert np.array_equal(np.frombuffer(found, "u2"), wanted.flatten().numpy())
    assert counts == Counts(1200)


def test_plain_tensors_are_their_own(tmp_path: Path) -> None:
    tensor = torch.randn(5, 7).to(torch.bfloat16).T
    same(made_plain(tensor, tmp_path), tensor)


# Files that lie

F32, I64 = DTYPES["f32"], DTYPES["i64"]


def part(name: str, values: Any, at: int = 0) -> tuple[TensorInfo, bytes]:
    array = np.asarray(values)
    dtype = I64 if array.dtype.kind == "i" else F32
    content = array.astype("<i8" if dtype is I64 else "<f4").tobytes()
    return TensorInfo(name, dtype, array.shape, Extent(0, at, len(content))), content


def lie(layout: str, shape: tuple[int, ...], *arrays: Any, **more: Any) -> list[bytes]:
    parts, content = [], b""
    for number, values in enumerate(arrays):
        info, held = part(str(number), values, len(content))
        parts.append(info)
        content += held
    nowhere = Extent(0, 0, 0, "absent")
    info = TensorInfo("w", F32, shape, nowhere, layout=layout, parts=tuple(parts), **more)
    return list(dense.pieces(info, [Buffer(content)]))


CONTRADICTIONS: dict[str, tuple[Any, ...]] = {
    "index too large": ("sparse_coo", (2, 2), [[0, 2], [0, 0]], [1.0, 2.0]),
    "index negative": ("sparse_coo", (2, 2), [[0, -1], [0, 0]], [1.0, 2.0]),
    "index no integer": ("sparse_coo", (2, 2), [[0.0, 1.0], [0.0, 0.0]], [1.0, 2.0]),
    "more indices": ("sparse_coo", (2, 2), [[0, 1, 1], [0, 0, 1]], [1.0, 2.0]),
    "too many dimensions": ("sparse_coo", (2,), [[0], [0]], [1.0]),
    "indices of one dimension": ("sparse_coo", (2, 2), [0, 1], [1.0, 2.0]),
    "values of another shape": ("sparse_coo", (2, 2), [[0, 1]], [[1.0], [2.0]]),
    "one part": ("sparse_coo", (2, 2), [1.0]),
    "pointers too few": ("sparse_csr", (2, 2), [0, 1], [0], [1.0]),
    "pointers go down": ("sparse_csr", (2, 2), [0, 2, 1], [0], [1.0]),
    "pointers start late": ("sparse_csr", (2, 2), [1, 1, 1], [0], [1.0]),
    "pointers end early": ("sparse_csr", (2, 2), [0, 0, 0], [0], [1.0]),
    "column too large": ("sparse_csr", (2, 2), [0, 1, 1], [2], [1.0]),
    "row too large": ("sparse_csc", (2, 2), [0, 1, 1], [2], [1.0]),
    "values missing": ("sparse_csr", (2, 2), [0, 1, 2], [0, 1], [1.0]),
    "blocks that do not fit": ("sparse_bsr", (3, 4), [0, 1, 1], [0], np.ones((1, 2, 2))),
    "blocks without size": ("sparse_bsr", (2, 2), [0, 1], [0], np.ones((1, 0, 2))),
    "blocks that are none": ("sparse_bsc", (2, 2), [0, 1], [0], [1.0]),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_sparse_parts_that_contradict_one_another(kind: str) -> None:
    with pytest.raises(FormatError) as caught:
        lie(*CONTRADICTIONS[kind])
    assert (caught.value.code, caught.value.tensor) == ("WK323", "w")


UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "unknown layout": ("nested", (2,), [1.0]),
    "a batch": ("sparse_csr", (1, 2, 2), [[0, 1, 1]], [[0]], [[1.0]]),
    "an absurd size": ("sparse_coo", (1 << 40,), [[5]], [1.0]),
    "an absurd size of many dimensions": ("sparse_coo", (1 << 62,) * 9, [[5]] * 9, [1.0]),
    "a negative size": ("sparse_coo", (-3,), [[0]], [1.0]),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_has_no_plain_form(kind: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        lie(*UNSUPPORTED[kind])
    assert (caught.value.code, caught.value.tensor) == ("WK603", "w")


def test_an_expanded_list_of_values_is_refused() -> None:
    values = TensorInfo("values", F32, (1 << 28,), Extent(0, 0, 4), strides=(0,))
    indices = TensorInfo("indices", I64, (1, 1 << 28), Extent(0, 0, 8), strides=(1, 0))
    info = TensorInfo("w", F32, (9,), Extent(0, 0, 0, "absent"), layout="sparse_coo")
    with pytest.raises(UnsupportedError, match="repeats"):
        list(dense.pieces(info._replace(parts=(indices, values)), [Buffer(bytes(8))]))


QINT8 = DTYPES["qint8"]
DATA = TensorInfo("data", QINT8, (4, 3), Extent(0, 0, 12))


@pytest.mark.parametrize(
    "details",
    [
        ("per_tensor_affine",),
        ("per_tensor_affine", ("scale", "x"), ("zero_point", 0)),
        ("per_tensor_affine", ("scale", 0.5), ("zero_point", 0.5)),
        ("per_tensor_affine", ("scale", 0.5), ("zero_point", 1 << 70)),
        ("per_channel_affine", ("axis", 0)),
        ("per_channel_affine", ("axis", 7)),
        ("per_channel_affine", ("axis", -1)),
        ("per_channel_affine",),
    ],
)
def test_quantized_tensors_without_usable_parameters(details: tuple[Any, ...]) -> None:
    info = DATA._replace(name="w", layout="quantized", parts=(DATA,), details=details)
    with pytest.raises(FormatError) as caught:
        list(dense.pieces(info, [Buffer(bytes(12))]))
    assert (caught.value.code, caught.value.tensor) == ("WK323", "w")


@pytest.mark.parametrize("details", [(), ("per_tensor_symmetric",), (("scale", 1.0),)])
def test_unknown_schemes_are_refused(details: tuple[Any, ...]) -> None:
    info = DATA._replace(name="w", layout="quantized", parts=(DATA,), details=details)
    with pytest.raises(UnsupportedError, match="qint8, quantized"):
        dense.form_of(info)


def test_scales_of_another_count_are_refused_unread() -> None:
    scale = TensorInfo("scale", DTYPES["f64"], (1 << 50,), Extent(0, 0, 8), strides=(0,))
    zero = scale._replace(name="zero_point", dtype=I64)
    details = ("per_channel_affine", ("axis", 0))
    info = DATA._replace(name="w", layout="quantized", parts=(DATA, scale, zero), details=details)
    with pytest.raises(FormatError, match="4 channels"):
        list(dense.pieces(info, [Buffer(bytes(12))]))


CONVERTERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse_coo": torch.Tensor.to_sparse,
    "sparse_csr": torch.Tensor.to_sparse_csr,
    "sparse_csc": torch.Tensor.to_sparse_csc,
    "sparse_bsr": lambda tensor: tensor.to_sparse_bsr((2, 3)),
    "sparse_bsc": lambda tensor: tensor.to_sparse_bsc((2, 3)),
}


def parts_of(tensor: torch.Tensor) -> list[Any]:
    if tensor.layout == torch.sparse_coo:
        return [tensor.coalesce().indices().numpy(), tensor.coalesce().values().numpy()]
    rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    names = ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices")
    return [getattr(tensor, name)().numpy().copy() for name in (*names, "values")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CONVERTERS)), st.data())
def test_any_change_to_the_indices_gives_a_tensor_or_a_typed_error(
    layout: str, drawn: st.DataObject
) -> None:
    parts = parts_of(CONVERTERS[layout](torch.eye(6)))
    part = drawn.draw(st.integers(0, len(parts) - 2))
    held = parts[part].reshape(-1)
    held[drawn.draw(st.integers(0, len(held) - 1))] = drawn.draw(st.integers(-2, 9))
    if drawn.draw(st.booleans()):
        parts[part] = held[: drawn.draw(st.integers(0, len(held)))]
    shape = drawn.draw(st.sampled_from([(6, 6), (6, 6), (4, 6), (6,), (6, 6, 1), (0, 6), (12, 3)]))
    error: WeightkitError | None = None
    found: list[bytes] = []
    try:
        found = lie(layout, shape, *parts)
    except (FormatError, UnsupportedError) as caught:
        error = caught
    assert error.tensor == "w" if error else sum(map(len, found)) == 4 * prod(shape)
