"""How strongly a low-rank update acts: alpha, where it is kept, and the scale that follows."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from weightkit.analyses.kinds import BUFFER
from weightkit.analyses.quantization import Counted, ReadBytes
from weightkit.analyses.updates import Update, module_of
from weightkit.errors import WeightkitError
from weightkit.tensors import TensorInfo

MAX_ALPHAS = 4096
"""Tensors that hold an alpha and are read, of one adapter."""


def alphas_of(
    parts: Sequence[Counted],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    read_bytes: ReadBytes,
) -> dict[str, float]:
    """Alpha by module; "" stands for all others."""
    found: dict[str, float] = {}
    for item in parts:
        if item.kin.kind == BUFFER and item.fold.segments[-1] == "alpha":
            for member in item.fold.members[: MAX_ALPHAS - len(found)]:
                value = _scalar(member, read_bytes)
                if value is not None:
                    found[module_of(member.name)] = value
    for table, key in (
        (config, "lora_alpha"),
        (config, "alpha"),
        (metadata, "adapter.lora.alpha"),
        (metadata, "ss_network_alpha"),
    ):
        number = _number(table.get(key))
        if number is not None and not found:
            found[""] = number
    return found


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


_SCALARS = {"f64": "d", "f32": "f", "f16": "e", "i64": "q", "i32": "i"}


def _scalar(tensor: TensorInfo, read_bytes: ReadBytes) -> float | None:
    try:
        content = read_bytes(tensor) if tensor.numel == 1 else b""
    except WeightkitError:
        return None
    order = "<" if tensor.byteorder == "little" else ">"
    if tensor.dtype.name == "bf16" and len(content) == 2:
        content = b"\0\0" + content if order == "<" else content + b"\0\0"
        return _number(struct.unpack(order + "f", content)[0])
    form = _SCALARS.get(tensor.dtype.name)
    if form is None or len(content) != struct.calcsize(form):
        return None
    return _number(struct.unpack(order + form, content)[0])


def scales_of(
    updates: Sequence[Update], alphas: Mapping[str, float], config: Mapping[str, Any]
) -> tuple[float, ...]:
    root = config.get("use_rslora") is True
    found = set()
    for update in updates:
        alpha = alphas.get(update.module, alphas.get(""))
        if alpha is None:
            continue
        # kohya: an alpha of 0 means the rank.
        alpha = alpha or update.rank
        found.add(round(alpha / (math.sqrt(update.rank) if root else update.rank), 6))
    return tuple(sorted(found))
