"""Every kind of ``.pt`` that is about: its tensors have torch's own values, or one error explains.

An error names the file, what was found and what to do, and the tensor where it is about one. Torch
loads the files of the first table itself; those of the second it refuses with ``weights_only``.
"""

from __future__ import annotations

import argparse
import collections
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch

from weightkit.convert import convert
from weightkit.convert.wishes import Wish
from weightkit.errors import WeightkitError

pytestmark = pytest.mark.filterwarnings("ignore:.*(deprecated|beta state|experimental).*")

Tensors = dict[str, torch.Tensor]
W = torch.arange(24, dtype=torch.float32).reshape(4, 6)
WHOLE = torch.arange(10.0)
CONJ = torch.tensor([[1 + 2j, 3 - 4j, 0j], [-1j, 5, complex("nan")]]).conj()
LAYER = torch.nn.Linear(3, 2)


class Kind(NamedTuple):
    """What is saved; the code of the refusal, the flag (or wish) that accepts it; what comes out."""

    held: Any
    code: str = ""
    wish: Wish | None = None
    wanted: Tensors | None = None
    """None: the tensors of ``held`` under the path to them."""
    tensor: str = ""
    """The one that the refusal names."""
    says: str = ""


def accept(*flags: str, **wishes: Any) -> Wish:
    return Wish(accepted=frozenset(flags), **wishes)


MATERIALIZE = accept("--materialize")
DROP = accept("--drop-non-tensors")
OPTIMIZER = {"state": {0: {"exp_avg": W}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

KINDS: dict[str, Kind] = {
    "plain": Kind({"w": W}),
    "transposed": Kind({"w": W.t()}),
    "expanded": Kind({"w": torch.ones(1, 100).expand(1000, 100)}),
    "slice of a big storage": Kind({"w": torch.arange(100_000.0)[500:510]}),
    "every second": Kind({"w": torch.arange(20.0)[::2]}),
    "scalar": Kind({"w": torch.tensor(3.5)}),
    "zero size": Kind({"w": torch.zeros(0, 7), "v": W}),
    "bool": Kind({"w": torch.tensor([True, False, True])}),
    "complex64": Kind({"w": torch.tensor([1 + 2j, 3 - 4j])}),
    "conjugate": Kind({"w": torch.tensor([1 + 2j, 3 - 4j]).conj().resolve_conj()}),
    "conjugated when it is used": Kind(
        {"w": CONJ, "v": W},
        code="WK644",
        wish=MATERIALIZE,
        wanted={"w": CONJ.resolve_conj(), "v": W},
        tensor="w",
        says="conjugated",
    ),
    "negated when it is used": Kind(
        {"w": CONJ.imag, "v": W},
        code="WK644",
        wish=MATERIALIZE,
        wanted={"w": CONJ.imag.resolve_neg(), "v": W},
        tensor="w",
        says="negated",
    ),
    "uint16": Kind({"w": torch.tensor([0, 65535]).to(torch.uint16)}),
    "float8_e4m3fn": Kind({"w": W.to(torch.float8_e4m3fn)}),
    "float8_e8m0fnu": Kind({"w": W.to(torch.float8_e8m0fnu)}),
    "parameter": Kind({"w": torch.nn.Parameter(W.clone())}),
    "unicode names": Kind({"größe.重み.🤖": W}),
    "long names": Kind({"x" * 3000: W, "x" * 3000 + "y": W + 1}),
    "names that differ in case": Kind({"w": W, "W": W + 1}),
    "tied": Kind(
        {"embed.weight": W, "head.weight": W}, wanted={"embed.weight": W}
    ),
    "overlapping slices": Kind({"a": WHOLE[:6], "b": WHOLE[4:]}),
    "complex128": Kind(
        {"w": torch.ones(2, dtype=torch.complex128), "v": W},
        code="WK660",
        wish=accept(exclude=("w",)),
        wanted={"v": W},
        tensor="w",
        says="safetensors has no c128; cast it with --dtype, or leave it out",
    ),
    "quantized": Kind(
        {"w": torch.quantize_per_tensor(W, 0.5, 3, torch.qint8)},
        code="WK644",
        wish=MATERIALIZE,
        wanted={"w": torch.quantize_per_tensor(W, 0.5, 3, torch.qint8).dequantize()},
        tensor="w",
        says="--materialize",
    ),
    "sparse": Kind(
        {"w": torch.eye(3).to_sparse()},
        code="WK644",
        wish=MATERIALIZE,
        wanted={"w": torch.eye(3)},
        tensor="w",
        says="--materialize",
    ),
    "float4": Kind(
        {"w": torch.arange(12, dtype=torch.uint8).reshape(3, 4).view(torch.float4_e2m1fn_x2)}
    ),
    "model and optimizer": Kind(
        {"model": {"w": W}, "optimizer": OPTIMIZER},
        code="WK640",
        wish=accept(key="model"),
        wanted={"w": W},
        says="--key",
    ),
    "epoch beside": Kind(
        {"state_dict": {"w": W}, "epoch": 3},
        code="WK641",
        wish=DROP,
        wanted={"w": W},
        says="--sidecar",
    ),
    "nested dicts": Kind({"encoder": {"w": W}, "decoder": {"w": W + 1}}),
    "list": Kind([W, W + 1]),
    "bare tensor": Kind(W),
    "int keys": Kind({0: W, 1: W + 1}),
    "named __metadata__": Kind(
        {"__metadata__": W},
        code="WK662",
        wish=accept(renames=(("__metadata__", "w"),)),
        wanted={"w": W},
        tensor="__metadata__",
        says="--rename",
    ),
    "names that clash": Kind(
        {"a": {"b": W}, "a.b": W + 1},
        code="WK324",
        tensor="a.b",
        says="two tensors are named 'a.b'",
    ),
    "no tensors": Kind({"epoch": 1}, code="WK604", says="no tensors"),
    "meta": Kind(
        {"w": W, "m": torch.empty(3, device="meta")},
        code="WK603",
        wish=accept(exclude=("m",)),
        wanted={"w": W},
        tensor="m",
    ),
    "module state": Kind(LAYER.state_dict()),
}  # fmt: skip

# What torch refuses to load with weights_only.
REFUSED: dict[str, Kind] = {
    "Namespace beside": Kind(
        {"model": {"w": W}, "args": argparse.Namespace(lr=0.1)},
        code="WK641",
        wish=DROP,
        wanted={"w": W},
        says="args",
    ),
    "numpy scalar beside": Kind(
        {"model": {"w": W}, "best": np.float64(0.5)}, wanted={"w": W}, wish=DROP
    ),
    "whole module": Kind(
        LAYER,
        code="WK642",
        wish=DROP,
        wanted=dict(LAYER.state_dict()),
        says="--drop-non-tensors",
    ),
}


def save_zip(held: Any, path: Path) -> None:
    torch.save(held, path)


def save_legacy(held: Any, path: Path) -> None:
    torch.save(held, path, _use_new_zipfile_serialization=False)


def save_deflated(held: Any, path: Path) -> None:
    stream = io.BytesIO()
    torch.save(held, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))


def save_protocol_5(held: Any, path: Path) -> None:
    torch.save(held, path, pickle_protocol=5)


WRITERS = [save_zip, save_legacy, save_deflated, save_protocol_5]


def flat(held: Any, prefix: str = "") -> Tensors:
    """Names as docs/names.md gives them."""
    if isinstance(held, torch.Tensor):
        return {prefix or "tensor": held.detach()}
    pairs = held.items() if isinstance(held, dict) else enumerate(held)
    found: Tensors = {}
    for key, item in pairs:
        found |= flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def bits(tensor: torch.Tensor) -> bytes:
    if not tensor.numel():
        return b""
    plain = torch.empty(tensor.shape, dtype=tensor.dtype)
    plain.untyped_storage().copy_(tensor.contiguous().clone().untyped_storage())
    return bytes(plain.untyped_storage())


def check(kind: Kind, path: Path, target: Path) -> None:
    if kind.code:
        with pytest.raises(WeightkitError) as caught:
            convert(path, target)
        error = caught.value
        assert error.code == kind.code, error
        assert error.tensor == kind.tensor
        assert path.name in str(error)
        assert kind.says in str(error)
        assert "\n" not in str(error)
        assert not target.exists()
        if kind.wish is None:
            return
    done = convert(path, target, kind.wish)
    wanted = flat(kind.held) if kind.wanted is None else kind.wanted
    found = safetensors.torch.load_file(target)
    assert found.keys() == wanted.keys()
    for name, want in wanted.items():
        assert found[name].dtype == want.dtype
        assert found[name].shape == want.shape
        assert bits(found[name]) == bits(want)
    assert done.verified == "content"


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_torch_loads(kind: Kind, save: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(kind.held, path)
    check(kind, path, tmp_path / "out.safetensors")


@pytest.mark.parametrize("save", WRITERS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("kind", REFUSED.values(), ids=REFUSED)
def test_what_torch_refuses(kind: Kind, save: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(kind.held, path)
    check(kind, path, tmp_path / "out.safetensors")


def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.trace(LAYER, torch.ones(1, 3)).save(path)
    wanted = {name: tensor.detach() for name, tensor in LAYER.state_dict().items()}
    kind = Kind(None, "WK642", accept("--drop-non-tensors"), wanted, says="--drop-non-tensors")
    check(kind, path, tmp_path / "out.safetensors")


def test_cut_off(tmp_path: Path) -> None:
    torch.save({"w": W}, tmp_path / "whole.pt")
    held = (tmp_path / "whole.pt").read_bytes()
    for length in (10, len(held) // 2, len(held) - 10):
        (tmp_path / "model.pt").write_bytes(held[:length])
        with pytest.raises(WeightkitError) as caught:
            convert(tmp_path / "model.pt", tmp_path / "out.safetensors")
        assert "model.pt" in str(caught.value)
        assert caught.value.code
    assert not (tmp_path / "out.safetensors").exists()


def test_a_legacy_file_cut_off(tmp_path: Path) -> None:
    save_legacy({"a": W, "b": W + 1}, tmp_path / "whole.pt")
    held = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(held[:-20])
    with pytest.raises(WeightkitError) as caught:
        convert(tmp_path / "model.pt", tmp_path / "out.safetensors")
    assert caught.value.offset is not None
    assert "model.pt" in str(caught.value)


def test_big_endian(tmp_path: Path) -> None:
    """As a machine of that kind writes it: other bytes, and a record that says so."""
    stream = io.BytesIO()
    torch.save({"w": W}, stream)
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("byteorder"):
                content = b"big"
            elif "/data/" in info.filename:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(info.filename, content)
    assert torch.equal(torch.load(path, weights_only=True)["w"], W)
    check(Kind({"w": W}), path, tmp_path / "out.safetensors")


def test_data_left_out(tmp_path: Path) -> None:
    """What ``skip_data`` leaves for later is zeros to every reader."""
    with torch.serialization.skip_data():
        torch.save({"w": W}, tmp_path / "model.pt")
    check(Kind({"w": torch.zeros(4, 6)}), tmp_path / "model.pt", tmp_path / "out.safetensors")


def test_a_tar_of_the_oldest_format(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with tarfile.open(path, "w") as out:
        for name, content in old_members().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    wanted = torch.load(path, weights_only=False)
    assert torch.equal(wanted["w"], W)
    check(Kind(None, wanted={"w": W}), path, tmp_path / "out.safetensors")


def old_members() -> dict[str, bytes]:
    """The members of a tar as torch 0.1 wrote them: storages, tensors over them, the object."""
    import pickle
    import struct

    class Reference:
        pass

    storages = io.BytesIO()
    pickle.dump(1, storages, 2)
    pickle.dump((0, "cpu", torch.FloatStorage), storages, 2)
    storages.write(struct.pack("<q", W.numel()) + W.numpy().tobytes())
    pickle.dump([], storages, 2)  # views
    tensors = io.BytesIO()
    pickle.dump(1, tensors, 2)
    pickle.dump((1, 0, torch.FloatTensor), tensors, 2)
    tensors.write(struct.pack("<i4x2q2qq", 2, *W.shape, *W.stride(), 0))
    held = io.BytesIO()
    pickler = pickle.Pickler(held, 2)
    reference = Reference()
    pickler.persistent_id = lambda item: 1 if item is reference else None  # type: ignore[method-assign]
    pickler.dump(collections.OrderedDict(w=reference))
    return {
        "sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2),
        "pickle": held.getvalue(),
        "tensors": tensors.getvalue(),
        "storages": storages.getvalue(),
    }
