"""Checkpoints as the analyses see them, made of names and shapes alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from weightkit.analyses.inspection import inspect
from weightkit.dtypes import DTYPES
from weightkit.reports import Inspection
from weightkit.tensors import Extent, FileIndex, TensorInfo, TensorSet

RANGE = re.compile(r"\[([0-9,-]+)\]")


def tensor(name: str, *shape: int, dtype: str = "f32", **more: Any) -> TensorInfo:
    """A tensor that lies nowhere in particular."""
    nbytes = DTYPES[dtype].nbytes_of(prod(shape))
    return TensorInfo(name, DTYPES[dtype], shape, Extent(0, 0, nbytes), **more)


def names_of(pattern: str) -> list[str]:
    """``layers.[0-1,5].weight`` as the names that it stands for."""
    parts = RANGE.split(pattern)
    choices = [_numbers(part) if at % 2 else [part] for at, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for run in text.split(","):
        first, _, last = run.partition("-")
        found += [str(number) for number in range(int(first), int(last or first) + 1)]
    return found


def tensors(*rows: str) -> list[TensorInfo]:
    """Rows of ``pattern shape [dtype]``, the shape as 2x3 or - for a scalar."""
    found = []
    for row in rows:
        pattern, shape, *dtype = row.split()
        sizes = () if shape == "-" else tuple(int(size) for size in shape.split("x"))
        found += [
            tensor(name, *sizes, dtype=dtype[0] if dtype else "f32") for name in names_of(pattern)
        ]
    return found


@dataclass
class Opened:
    """What ``open_checkpoint`` gives, as far as analyses look."""

    tensors: tuple[TensorInfo, ...]
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: str = "safetensors"
    contents: Mapping[str, bytes] = field(default_factory=dict)
    card: str = ""
    beside: tuple[str, ...] = ()
    sets: tuple[TensorSet, ...] = ()
    parts: tuple[Any, ...] = ()
    path: str = "model"
    name: str = ""
    findings: tuple[Any, ...] = ()
    examined: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        self.sets = self.sets or (TensorSet("", "model", self.tensors),)

    @property
    def files(self) -> tuple[FileIndex, ...]:
        return (FileIndex("model.safetensors", self.format, 1000, self.sets),)

    def read_bytes(self, tensor: TensorInfo, limit: int) -> bytes:
        return self.contents.get(tensor.name, bytes(min(tensor.nbytes, limit)))[:limit]


def report(
    found: Iterable[TensorInfo], config: Mapping[str, Any] | None = None, **more: Any
) -> Inspection:
    """The inspection of tensors with a config.json."""
    configs = {"config.json": config} if config is not None else {}
    return inspect(Opened(tuple(found), {**configs, **more.pop("configs", {})}, **more), rows=True)


def codes(found: Inspection) -> list[str]:
    """The codes of all findings."""
    return [finding.code for finding in found.findings]
