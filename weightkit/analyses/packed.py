"""A packed tensor and what can be said about it: the evidence for how many parameters it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from weightkit.analyses.folding import Fold

Content = Callable[[Fold], bytes]
SHAPES, DECLARED, STORED = "shapes", "declared", "stored"


BITS = ("bits", "w_bit", "weight_bits", "num_bits", "nbits")
GROUP = ("group_size", "q_group_size")
OWN = ("dynamic", "extra_config", "layer_config", "regex_config")
"""Settings that give single modules a width of their own, mostly under regular expressions."""


class Evidence(NamedTuple):
    """One way to derive a count, and what it rests on: shapes, declared or stored."""

    elements: int
    source: str
    rests: str = SHAPES


class Packed:
    """A packed tensor with what stands beside it in its module, and what the config says of it."""

    def __init__(
        self,
        fold: Fold,
        beside: Mapping[str, Fold],
        settings: Mapping[str, Any],
        content: Content,
    ) -> None:
        self.fold = fold
        self.beside = beside
        self.settings = settings
        self._content = content
        self.shape = fold.shape
        self.numel = fold.numel
        self.container = 8 * fold.dtype.nbytes
        self.faults: list[str] = []

    def shape_of(self, *names: str) -> tuple[int, ...] | None:
        """The shape of the first of these tensors that the module has."""
        return next((self.beside[name].shape for name in names if name in self.beside), None)

    def number(self, *names: str) -> int | None:
        """The first of these settings that is a sensible size."""
        for name in names:
            value = self.settings.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20:
                return value
        return None

    def bits(self) -> int | None:
        """The declared width of a value; None where modules differ, since no regex is evaluated."""
        return None if any(self.settings.get(name) for name in OWN) else self.number(*BITS)

    def content(self, name: str) -> bytes:
        """The bytes of a small tensor beside the first member; none if they cannot be had."""
        fold = self.beside.get(name)
        return b"" if fold is None or fold.nbytes > 4096 else self._content(fold)

    def integers(self, name: str) -> list[int]:
        """The content of a small tensor of integers."""
        fold, content = self.beside.get(name), self.content(name)
        if fold is None or fold.dtype.kind not in ("int", "uint"):
            return []
        size, signed = fold.dtype.nbytes, fold.dtype.kind == "int"
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        return [int.from_bytes(piece, "little", signed=signed) for piece in pieces]

    def by_bits(self, bits: int | None) -> list[Evidence]:
        """All containers filled without a gap."""
        total = self.numel * self.container
        if bits is None or bits > self.container or total % bits:
            return []
        return [Evidence(total // bits, f"{bits} bits declared", DECLARED)]

    def by_groups(self, scales: tuple[int, ...] | None, size: int | None) -> list[Evidence]:
        """A scale for every group of ``size``."""
        if scales is None or size is None:
            return []
        return [Evidence(prod(scales) * size, f"scales of groups of {size} declared", DECLARED)]
