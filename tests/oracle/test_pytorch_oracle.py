"""The PyTorch room against torch itself: torch writes (and reads) files that this test makes."""

from __future__ import annotations

import argparse
import collections
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from weightkit.errors import FormatError
from weightkit.opening import open_checkpoint
from weightkit.tensors import TensorInfo

torch.manual_seed(0)
BASE = torch.arange(24, dtype=torch.float32).reshape(4, 6)


def tied() -> dict[str, torch.Tensor]:
    weight = torch.randn(5, 3)
    return {"embed.weight": weight, "head.weight": weight}


def overlapping() -> dict[str, torch.Tensor]:
    whole = torch.arange(10.0)
    return {"a": whole[:6], "b": whole[4:]}


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32,
    torch.uint64, torch.bool, torch.complex64, torch.complex128, torch.complex32,
]  # fmt: skip

STATE_DICTS: dict[str, Any] = {
    "plain": {"w": BASE, "b": torch.ones(3, dtype=torch.bfloat16)},
    "ordered": collections.OrderedDict(a=BASE, b=BASE + 1),
    "transposed": {"w": BASE.T},
    "expanded": {"w": torch.ones(1, 4).expand(1000, 4)},
    "slice of a big storage": {"w": torch.arange(100_000.0)[500:510]},
    "every second": {"w": torch.arange(20.0)[::2]},
    "scalar": {"w": torch.tensor(3.5)},
    "empty": {"w": torch.zeros(0, 7)},
    "parameter": {"w": torch.nn.Parameter(BASE.clone())},
    "buffer": {"w": torch.nn.Buffer(BASE.clone())},
    "unicode name": {"größe.重み": BASE},
    "int keys": {0: BASE, 1: BASE + 1},
    "tied": tied(),
    "overlapping": overlapping(),
    "named __metadata__": {"__metadata__": BASE},
    "list": [BASE, BASE * 2],
    "bare tensor": BASE,
    "nested dicts": {"encoder": {"w": BASE}, "decoder": {"w": BASE + 1}},
    "negative bit": {"w": torch.tensor([1 + 2j, 3 - 4j]).conj()},
    "module with hooks": torch.nn.Linear(3, 2).state_dict(),
    **{f"dtype {dtype}": {"w": torch.ones(3, 2).to(dtype)} for dtype in DTYPES},
}


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


def save_protocol_4(value: Any, path: Path) -> None:
    torch.save(value, path, pickle_protocol=4)


WRITERS = [save_zip, save_legacy, save_deflated, save_protocol_4]


def flatten(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Names as docs/names.md gives them."""
    if isinstance(value, torch.Tensor):
        return {prefix or "tensor": value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, item in pairs:
        found.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return found


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def torch_bits(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return bytes(plain.flatten().view(torch.uint8).numpy()) if plain.numel() else b""


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", STATE_DICTS)
def test_state_dicts_read_as_torch_wrote_them(kind: str, save: Any, tmp_path: Path) -> None:
    value = STATE_DICTS[kind]
    path = tmp_path / "model.pt"
    save(value, path)
    expected = flatten(value)
    with open_checkpoint(path) as checkpoint:
        assert [t.name for t in checkpoint] == list(expected)
        for info in checkpoint:
            tensor = expected[info.name]
            assert info.shape == tuple(tensor.shape)
            assert info.dtype.torch == str(tensor.dtype).removeprefix("torch.")
            if info.dtype.name == "c32" or tensor.is_conj():
                continue  # NumPy has no complex32; a conjugate view is stored unconjugated
            assert bits(checkpoint.read(info)) == torch_bits(tensor)
        assert not checkpoint.findings


def test_shared_memory_has_one_name(tmp_path: Path) -> None:
    torch.save({**tied(), "other": torch.ones(3)}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        embed, head, other = checkpoint
        assert embed.storage == head.storage != other.storage
        assert embed.data == head.data


def one(value: Any, tmp_path: Path) -> TensorInfo:
    torch.save({"w": value}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (info,) = checkpoint
        return info


def test_quantized_per_tensor(tmp_path: Path) -> None:
    info = one(torch.quantize_per_tensor(BASE, 0.1, 10, torch.quint8), tmp_path)
    assert (info.layout, info.dtype.name, info.shape) == ("quantized", "quint8", (4, 6))
    assert info.details == ("per_tensor_affine", ("scale", 0.1), ("zero_point", 10))
    assert [part.name for part in info.parts] == ["data"]


def test_quantized_per_channel(tmp_path: Path) -> None:
    scales, zeros = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    info = one(torch.quantize_per_channel(BASE, scales, zeros, 0, torch.qint8), tmp_path)
    assert [part.name for part in info.parts] == ["data", "scale", "zero_point"]
    assert info.details == ("per_channel_affine", ("axis", 0))


@pytest.mark.parametrize(
    ("convert", "layout", "parts"),
    [
        (torch.Tensor.to_sparse, "sparse_coo", ["indices", "values"]),
        (torch.Tensor.to_sparse_csr, "sparse_csr", ["crow_indices", "col_indices", "values"]),
        (torch.Tensor.to_sparse_csc, "sparse_csc", ["ccol_indices", "row_indices", "values"]),
    ],
)
def test_sparse(convert: Any, layout: str, parts: list[str], tmp_path: Path) -> None:
    info = one(convert(torch.eye(3)), tmp_path)
    assert (info.layout, info.shape) == (layout, (3, 3))
    assert [part.name for part in info.parts] == parts


def test_meta_tensors_are_absent(tmp_path: Path) -> None:
    info = one(torch.zeros(3, 4, device="meta"), tmp_path)
    assert (info.data.encoding, info.shape, info.dtype.name) == ("absent", (3, 4), "f32")


def test_a_training_checkpoint_is_taken_apart(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 7,
        "model": model.state_dict(),
        "ema": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, name="x"),
        "mean": torch.zeros(3),
    }
    torch.save(value, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [(s.key, s.kind, len(s.tensors)) for s in checkpoint.sets] == [
            ("model", "model", 2),
            ("ema", "ema", 2),
            ("mean", "other", 1),
            ("optimizer", "optimizer", 6),
        ] or {s.key for s in checkpoint.sets} == {"model", "ema", "optimizer", ""}
        assert [t.name for t in checkpoint] == ["weight", "bias"]
        assert checkpoint.metadata["epoch"] == 7
        assert checkpoint.metadata["args.lr"] == 0.1
    with open_checkpoint(tmp_path / "m.pt", key="ema") as checkpoint:
        assert [t.name for t in checkpoint] == ["weight", "bias"]


@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "model", "module", "net", "params"]
)
def test_wrapper_keys(key: str, tmp_path: Path) -> None:
    torch.save({key: {"w": BASE}, "step": 3}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [t.name for t in checkpoint] == ["w"]
        assert checkpoint.sets[0].key == key


def test_an_optimizer_alone_has_no_model(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with open_checkpoint(tmp_path / "optimizer.pt") as checkpoint:
        assert [s.kind for s in checkpoint.sets] == ["optimizer"]
        assert len(checkpoint) == 0


@pytest.mark.parametrize("save", [save_zip, save_legacy], ids=lambda save: save.__name__)
def test_whole_modules_name_parameters_and_buffers(save: Any, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    save(model, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert {t.name: t.role for t in checkpoint} == {
            **{name: "parameter" for name, _ in model.named_parameters()},
            **{name: "buffer" for name, _ in model.named_buffers()},
        }
        for info in checkpoint:
            assert bits(checkpoint.read(info)) == torch_bits(model.state_dict()[info.name])


def test_torchscript_names_parameters_and_buffers(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).eval()
    torch.jit.trace(model, torch.ones(2, 3)).save(tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.files[0].container == "torchscript"
        roles = {t.name: t.role for t in checkpoint}
        assert {n for n, role in roles.items() if role == "parameter"} == {
            name for name, _ in model.named_parameters()
        }
        assert roles["1.running_mean"] == "buffer"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_inside_pickles(protocol: int, order: str, tmp_path: Path) -> None:
    import pickle

    arrays = {
        "a": np.arange(6, dtype=">f4").reshape(2, 3).copy(order),  # type: ignore[call-overload]
        "b": np.arange(300, dtype=np.int16),
        "c": np.array([True, False]),
        "d": np.full((2, 2), 1e300),
    }
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(arrays, protocol))
    with open_checkpoint(tmp_path / "m.pkl") as checkpoint:
        assert [t.name for t in checkpoint] == list(arrays)
        for name, array in arrays.items():
            assert np.array_equal(checkpoint.read(name), array)
            assert checkpoint.read(name).dtype == array.dtype


def test_subclasses_give_their_parts(tmp_path: Path) -> None:
    class Named(torch.Tensor):
        pass

    # Not importable where it is read: only its name matters.
    value = torch.Tensor._make_subclass(Named, BASE.clone())
    Named.__module__, Named.__qualname__ = "test_pytorch_oracle", "Named"
    globals()["Named"] = Named
    torch.save({"w": value}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (info,) = checkpoint
        assert info.layout.endswith("Named")
        assert info.shape == (4, 6)


class OfDevice:
    """Reduced as torch reduces a tensor of a TPU."""

    def __init__(self, held: Any, dtype: torch.dtype, function: str) -> None:
        self.held, self.dtype = held, dtype
        self.function = getattr(torch._utils, function)

    def __reduce__(self) -> Any:
        return self.function, (self.held, self.dtype, "cpu", False)


def test_tensors_of_another_device(tmp_path: Path) -> None:
    array = BASE.numpy()
    held = {
        "now": OfDevice(BASE, BASE.dtype, "_rebuild_device_tensor_from_cpu_tensor"),
        "before": OfDevice(array, BASE.dtype, "_rebuild_device_tensor_from_numpy"),
        "first": OfDevice(array, BASE.dtype, "_rebuild_xla_tensor"),
        "cast": OfDevice(array, torch.bfloat16, "_rebuild_device_tensor_from_numpy"),
    }
    torch.save(held, tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", weights_only=False)
    assert loaded["cast"].dtype == torch.bfloat16
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [info.name for info in checkpoint] == ["now", "before", "first"]
        for info in checkpoint:
            assert torch.equal(torch.tensor(checkpoint.read(info)), loaded[info.name])
        (finding,) = checkpoint.findings
        assert (finding.code, finding.tensor) == ("WK325", "cast")
        assert "stored as f32, and loaded as bf16" in finding.message


class OfTuple:
    def __getstate__(self) -> Any:
        return BASE, {"inner": BASE + 1}

    def __setstate__(self, state: Any) -> None: ...


class OfTensor(OfTuple):
    def __getstate__(self) -> Any:
        return BASE + 2


class OfSlots:
    __slots__ = ("note", "t")

    def __init__(self) -> None:
        self.t, self.note = BASE + 3, "kept"


@dataclass(frozen=True, slots=True)
class OfFields:
    """Its state is a list."""

    t: torch.Tensor


class WithAttribute(dict[str, Any]):
    """A dict with an attribute."""


class OfKeywords:
    def __new__(cls, **_: Any) -> OfKeywords:
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> Any:
        return (), {"t": BASE + 6}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_are_found_wherever_an_object_keeps_them(tmp_path: Path, protocol: int) -> None:
    with_attribute, ordered = WithAttribute(t=BASE + 7), collections.OrderedDict(t=BASE + 8)
    for number, one in enumerate((with_attribute, ordered)):
        one.more = BASE + 9 + number  # type: ignore[union-attr]
    held = {
        "tuple": OfTuple(),
        "tensor": OfTensor(),
        "slots": OfSlots(),
        "fields": OfFields(BASE + 4),
        "keywords": OfKeywords(),
        "dict": with_attribute,
        "ordered": ordered,
    }
    torch.save(held, tmp_path / "m.pt", pickle_protocol=protocol)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        found = {info.name: int(checkpoint.read(info)[0, 0] - BASE[0, 0]) for info in checkpoint}
        assert checkpoint.metadata["slots.note"] == "kept"
    assert found == {
        "tuple.__state__.0": 0,
        "tuple.__state__.1.inner": 1,
        "tensor.__state__": 2,
        "slots.t": 3,
        "fields.__state__.0": 4,
        "keywords.__call__.__state__.2.t" if protocol < 4 else "keywords.t": 6,
        "dict.t": 7,
        "dict.more": 9,
        "ordered.t": 8,
        "ordered.more": 10,
    }


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_of_a_torchscript(tmp_path: Path) -> None:
    """They are in a state that is a tuple."""
    plain = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    made = torch.ao.quantization.quantize_dynamic(plain, {torch.nn.Linear}, dtype=torch.qint8)
    torch.jit.save(torch.jit.script(made), tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        found = {info.name: (info.layout, info.shape) for info in checkpoint}
        name = "0._packed_params._packed_params.__state__"
        assert found == {f"{name}.0": ("quantized", (3, 4)), f"{name}.1": ("strided", (3,))}
        bias = checkpoint.read(f"{name}.1")
    assert np.array_equal(bias, plain[0].bias.detach().numpy())


def test_a_bare_storage(tmp_path: Path) -> None:
    torch.save({"u": BASE.untyped_storage()}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        shapes = {t.name: (t.dtype.name, t.shape) for t in checkpoint}
    assert shapes["u"] == ("u8", (96,))


def test_a_checkpoint_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "names": ["a", "b"]}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert len(checkpoint) == 0
        assert [finding.code for finding in checkpoint.findings] == ["WK604"]
        assert checkpoint.metadata["epoch"] == 3


def names_of(value: Any, path: Path, **options: Any) -> list[str]:
    torch.save(value, path)
    with open_checkpoint(path, **options) as checkpoint:
        return [tensor.name for tensor in checkpoint.tensors]


def test_a_long_name_is_kept_whole(tmp_path: Path) -> None:
    names = ["x" * 3000 + end for end in "ab"]
    assert names_of(dict.fromkeys(names, BASE), tmp_path / "m.pt") == names


def test_names_too_long_to_keep_are_a_fault_and_stay_apart(tmp_path: Path) -> None:
    held = {"x" * 70_000 + end: BASE for end in "ab"}
    with pytest.raises(FormatError, match="a name that is too long: <text of 70001") as caught:
        names_of(held, tmp_path / "m.pt")
    assert caught.value.code == "WK326"
    names = names_of(held, tmp_path / "m.pt", lenient=True)
    assert [name.partition(" at ")[0] for name in names] == ["<text of 70001 bytes"] * 2
    assert len(set(names)) == 2
