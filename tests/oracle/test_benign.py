"""What honest programs save: ordinary checkpoints are safe, whole objects are for review."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint

from weightkit.analyses.safety import verdict
from weightkit.analyses.scanning import findings, scan_file
from weightkit.findings import Finding
from weightkit.opening.examining import examine
from weightkit.source import Buffer

torch.manual_seed(0)

DTYPES = [
    getattr(torch, name)
    for name in """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64
    complex128 complex32 uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz
    float8_e5m2fnuz float8_e8m0fnu""".split()
]


def small() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )


def trained(make: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """The state of an optimizer after two steps."""
    model = small()
    optimizer = make(model.parameters(), lr=0.01, **options)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model(torch.ones(5, 3)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    optimizer.step(loss)
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def schedule(make: Callable[..., Any]) -> dict[str, Any]:
    optimizer = torch.optim.SGD(small().parameters(), lr=0.1)
    scheduler = make(optimizer)
    optimizer.step()
    scheduler.step(1.0) if "Plateau" in type(scheduler).__name__ else scheduler.step()
    return scheduler.state_dict()


def shared() -> dict[str, Any]:
    base = torch.arange(12.0)
    return {"a": base, "b": base[3:7], "c": base.view(3, 4).t(), "d": [base, base]}


def quantized() -> dict[str, Any]:
    plain = torch.randn(4, 4)
    scales, zeros = torch.ones(4), torch.zeros(4, dtype=torch.int64)
    return {
        "tensor": torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "channel": torch.quantize_per_channel(plain, scales, zeros, 0, torch.quint8),
    }


def sparse() -> dict[str, Any]:
    plain = torch.eye(4)
    return {
        "coo": plain.to_sparse(),
        "csr": plain.to_sparse_csr(),
        "csc": plain.to_sparse_csc(),
        "bsr": plain.to_sparse_bsr((2, 2)),
    }


def nested_tensor() -> Any:
    return torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])


def attributes() -> Any:
    tensor = torch.ones(3)
    tensor.note = "kept"  # type: ignore[attr-defined]
    return [tensor, torch.nn.Parameter(torch.ones(2)), torch.nn.Buffer(torch.ones(2))]


def numpy_values() -> dict[str, Any]:
    return {
        "scalars": [np.float32(1), np.int64(2), np.bool_(True), np.complex64(1j), np.str_("a")],
        "arrays": [np.arange(3, dtype=kind) for kind in "bhilqBHILQefdFD"],
        "strings": np.array(["a", "bc"]),
        "bytes": np.array([b"a", b"bc"]),
        "dates": np.array(["2020-01-01"], dtype="M8[D]"),
        "records": np.zeros(2, dtype=[("a", "i4"), ("b", "f8", (2,))]),
        "fortran": np.asfortranarray(np.ones((3, 4))),
        "empty": np.zeros((0, 3)),
        "zero": np.array(1.0),
        "dtype": [np.dtype("f4"), np.dtype(">i2"), np.dtype(np.float64)],
        "type": np.float32,
        "matrix": np.matrix([[1, 2]]),
    }


CONTAINERS: dict[str, Any] = {
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, a=[1]),
    "nested default": collections.defaultdict(dict, a={}),
    "counter": collections.Counter("abca"),
    "deque": collections.deque([1, 2], maxlen=3),
    "set": {1, "a"},
    "frozenset": frozenset([1, 2]),
    "range": range(3),
    "slice": slice(1, None, 2),
    "complex": 1 + 2j,
    "bytes": b"ab\xff",
    "empty bytes": b"",
    "bytearray": bytearray(b"ab\xff"),
    "large": 1 << 100,
    "nothing": [None, Ellipsis, NotImplemented],
    "text": "os.system __reduce__ eval(",
    "keys": {"__class__": 1, "__setstate__": "os.system"},
    "types": [int, float, str, list, dict, tuple, set, bool, bytes, complex],
}

VALUES: dict[str, Any] = {
    "datetime": datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.timezone.utc),  # noqa: UP017
    "date": datetime.date(2020, 1, 2),
    "time": datetime.time(1, 2),
    "timedelta": datetime.timedelta(days=1),
    "path": pathlib.PurePosixPath("a/b"),
    "local path": pathlib.Path("a/b"),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=5),
}

TORCH: dict[str, Any] = {
    "size": torch.Size([1, 2]),
    "device": torch.device("cuda:0"),
    "dtypes": DTYPES,
    "layouts": [torch.strided, torch.sparse_coo, torch.sparse_csr],
    "schemes": [torch.per_tensor_affine, torch.per_channel_affine],
    "version": torch.torch_version.TorchVersion("2.13.0"),
    "storage": torch.ones(3).untyped_storage(),
    "enum": torch.amp.grad_scaler.OptState.READY,
    "reduction": torch.finfo(torch.float32).max,
}

RANDOM: dict[str, Callable[[], Any]] = {
    "torch": torch.get_rng_state,
    "python": random.getstate,
    "numpy legacy": lambda: np.random.get_state(),
    "RandomState": lambda: np.random.RandomState(3),
    "Generator": lambda: np.random.default_rng(3),
    "Philox": lambda: np.random.Generator(np.random.Philox(3)),
    "MT19937": lambda: np.random.MT19937(3),
    "SFC64": lambda: np.random.SFC64(3),
    "SeedSequence": lambda: np.random.SeedSequence(3),
}

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: trained(torch.optim.SGD, momentum=0.9),
    "Adam": lambda: trained(torch.optim.Adam, amsgrad=True),
    "AdamW": lambda: trained(torch.optim.AdamW),
    "NAdam": lambda: trained(torch.optim.NAdam),
    "RAdam": lambda: trained(torch.optim.RAdam),
    "Adamax": lambda: trained(torch.optim.Adamax),
    "Adadelta": lambda: trained(torch.optim.Adadelta),
    "Adafactor": lambda: trained(torch.optim.Adafactor),
    "Adagrad": lambda: trained(torch.optim.Adagrad),
    "RMSprop": lambda: trained(torch.optim.RMSprop, centered=True),
    "Rprop": lambda: trained(torch.optim.Rprop),
    "ASGD": lambda: trained(torch.optim.ASGD),
    "LBFGS": lambda: trained(torch.optim.LBFGS),
}

_lr = torch.optim.lr_scheduler
SCHEDULERS: dict[str, Callable[[], Any]] = {
    "StepLR": lambda: schedule(lambda o: _lr.StepLR(o, 2)),
    "MultiStepLR": lambda: schedule(lambda o: _lr.MultiStepLR(o, [2, 4])),
    "CosineAnnealingLR": lambda: schedule(lambda o: _lr.CosineAnnealingLR(o, 5)),
    "ReduceLROnPlateau": lambda: schedule(lambda o: _lr.ReduceLROnPlateau(o)),
    "OneCycleLR": lambda: schedule(lambda o: _lr.OneCycleLR(o, 0.1, total_steps=9)),
    "CyclicLR": lambda: schedule(lambda o: _lr.CyclicLR(o, 0.01, 0.1)),
    "LambdaLR": lambda: schedule(lambda o: _lr.LambdaLR(o, lambda n: 1.0)),
    "SequentialLR": lambda: schedule(
        lambda o: _lr.SequentialLR(o, [_lr.ConstantLR(o), _lr.StepLR(o, 2)], [2])
    ),
}

SAFE: dict[str, Callable[[], Any]] = {
    "every dtype": lambda: {str(d): torch.zeros(3, 2).to(d) for d in DTYPES},
    "state dict": lambda: small().state_dict(),
    "half": lambda: small().half().state_dict(),
    "scaler": lambda: torch.amp.GradScaler("cpu").state_dict(),
    "shared": shared,
    "factories": lambda: [
        collections.defaultdict(kind) for kind in (int, str, list, dict, set, complex)
    ],
    "sparse": sparse,
    "quantized": quantized,
    "nested tensor": nested_tensor,
    "ragged tensor": lambda: torch.nested.nested_tensor(
        [torch.ones(2), torch.ones(3)], layout=torch.jagged
    ),
    "meta": lambda: torch.empty(3, device="meta"),
    "attributes": attributes,
    "conjugate": lambda: torch.ones(2, dtype=torch.complex64).conj(),
    "numpy": numpy_values,
    "masked": lambda: np.ma.masked_array([1, 2], [True, False]),
    "checkpoint": lambda: {
        "epoch": 3,
        "best": float("nan"),
        "args": vars(argparse.Namespace(lr=0.1)),
        "rng": torch.get_rng_state(),
        **trained(torch.optim.AdamW),
    },
    **{f"optimizer {name}": make for name, make in OPTIMIZERS.items()},
    **{f"scheduler {name}": make for name, make in SCHEDULERS.items()},
    **{f"random {name}": make for name, make in RANDOM.items()},
    **{f"container {name}": functools.partial(copy.copy, v) for name, v in CONTAINERS.items()},
    **{f"value {name}": functools.partial(copy.copy, v) for name, v in VALUES.items()},
    **{f"torch {name}": functools.partial(lambda v: v, v) for name, v in TORCH.items()},
}


@functools.cache
def made(what: str) -> Any:
    """Each value is made once: nothing here changes it."""
    return SAFE[what]()


def scanned(content: bytes) -> list[Finding]:
    return list(findings(examine(Buffer(content))))


def saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("what", SAFE)
def test_torch_save_is_safe(what: str) -> None:
    found = scanned(saved(made(what)))
    assert verdict(found) == "safe", found


def test_a_distributed_checkpoint_is_not_unsafe(tmp_path: pathlib.Path) -> None:
    """Its records are trusted; its archives follow one another, so that they are for review."""
    model, optimizer = small(), torch.optim.Adam(small().parameters())
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
    torch.distributed.checkpoint.save(state, checkpoint_id=tmp_path / "d", no_dist=True)
    assert scan_file(str(tmp_path / "d" / ".metadata")).verdict == "safe"
    (parts,) = (tmp_path / "d").glob("*.distcp")
    assert scan_file(str(parts)).verdict == "review"
    renamed = parts.rename(tmp_path / "x.pt")
    assert scan_file(str(renamed)).verdict == "unsafe"  # only under its name is this expected


@pytest.mark.parametrize("legacy", [False, True])
def test_a_sharded_state_dict_is_safe(legacy: bool) -> None:
    """FSDP2 and tensor parallelism save distributed tensors; lazy modules ones without a shape."""
    from torch.distributed.fsdp import fully_shard

    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = small()
        fully_shard(model)
        state = {**model.state_dict(), "lazy": torch.nn.LazyLinear(2).state_dict()}
        content = saved(state, _use_new_zipfile_serialization=not legacy)
    finally:
        torch.distributed.destroy_process_group()
    found = scanned(content)
    assert verdict(found) == "safe", found


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("legacy", [False, True])
def test_every_protocol_of_torch_save_is_safe(legacy: bool, protocol: int) -> None:
    for what in SAFE:
        if legacy and what in ("torch storage", "nested tensor"):
            continue
        try:
            content = saved(
                made(what), pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy
            )
        except (RuntimeError, NotImplementedError, KeyError, AttributeError):
            assert legacy, what  # element types that the old format has no storage class for
            continue
        found = scanned(content)
        assert verdict(found) == "safe", (what, found)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_safe(protocol: int) -> None:
    for what in SAFE:
        try:
            content = pickle.dumps(made(what), protocol)
        except (TypeError, RuntimeError, pickle.PicklingError):
            continue
        found = scanned(content)
        assert verdict(found) == "safe", (what, found)


def test_numpy_1_spellings_are_safe() -> None:
    for protocol in (2, 4):
        content = pickle.dumps(numpy_values(), protocol)
        older = content.replace(b"numpy._core", b"numpy.core")
        if protocol == 4:
            older = content.replace(
                b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
            )
        assert older != content
        program = [f for f in scanned(older) if f.code.startswith("WK8")]
        assert verdict(program) == "safe", program


# Whole objects


class Mode(enum.Enum):
    ONE = 1


class Model(torch.nn.Module):
    """Holds what modules of real projects hold."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = torch.nn.functional.relu
        self.gelu = torch.nn.functional.gelu
        self.softmax = torch.softmax
        self.norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.mode = Mode.ONE
        self.hook = self.forward
        self.layers = torch.nn.ModuleList([torch.nn.TransformerEncoderLayer(4, 2)])
        self.blocks = small()
        self.attention = torch.nn.MultiheadAttention(4, 2)
        self.init = torch.nn.init.xavier_uniform_
        self.config = argparse.Namespace(lr=0.1, act=torch.relu)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


WHOLE: dict[str, Callable[[], Any]] = {
    "module": Model,
    "sequential": small,
    "lstm": lambda: torch.nn.LSTM(3, 4),
    "convolution": lambda: torch.nn.Conv2d(3, 4, 3),
    "namespace": lambda: argparse.Namespace(lr=0.1, path=pathlib.Path("x")),
    "optimizer": lambda: torch.optim.Adam(small().parameters()),
    "scheduler": lambda: _lr.StepLR(torch.optim.SGD(small().parameters(), 0.1), 2),
    "dataset": lambda: torch.utils.data.TensorDataset(torch.ones(3)),
    "loader": lambda: torch.utils.data.DataLoader([1, 2]),
    "loss": torch.nn.CrossEntropyLoss,
    "scaler": lambda: torch.amp.GradScaler("cpu"),
    "distribution": lambda: torch.distributions.Normal(0.0, 1.0),
    "partial": lambda: functools.partial(torch.add, alpha=2),
    "function": lambda: torch.nn.functional.relu,
    "builtin": lambda: [len, torch._C._nn.gelu, max],
    "enum": lambda: [Mode.ONE, pathlib.PurePath],
    "method": lambda: Model().forward,
    "class": lambda: Model,
    "object array": lambda: np.array([Mode.ONE, None], dtype=object),
    "mixture": lambda: {"state": small().state_dict(), "cfg": argparse.Namespace(a=1)},
}


@pytest.mark.parametrize("what", WHOLE)
def test_whole_objects_are_for_review(what: str) -> None:
    for content in (saved(WHOLE[what]()), pickle.dumps(WHOLE[what](), 4)):
        found = scanned(content)
        assert verdict(found) == "review", found
        assert any(finding.subject for finding in found)
