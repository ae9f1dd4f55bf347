"""The formats that can be written, a row each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from weightkit.errors import PlanError
from weightkit.layouts import Layout
from weightkit.tensors import TensorInfo

TIED_BY_METADATA, TIED_BY_STORAGE, UNTIED = "metadata", "storage", ""


class Target(NamedTuple):
    """A format as something to write; ``writer`` is a module with a ``layout``."""

    name: str
    suffixes: tuple[str, ...]
    """The first is given to files that get their name from us."""
    writer: str
    stem: str
    """Of the weight file in a folder, as loaders look for it."""
    ties: str
    """How the format says that tensors are one memory."""
    metadata: bool
    """Whether it keeps text of ours."""
    sharded: bool
    """Whether loaders know several files of it, with an index, as one checkpoint."""

    as_bytes: bool = False
    """Whether types that it lacks can go as raw bytes, with a record of what they are."""

    def layout(
        self, tensors: Sequence[TensorInfo], metadata: Mapping[str, str], as_bytes: bool = False
    ) -> Layout:
        """The layout of one file; ``as_bytes`` means nothing to formats that cannot."""
        module: Any = import_module(self.writer)
        options = {"as_bytes": True} if as_bytes and self.as_bytes else {}
        found: Layout = module.layout(tensors, metadata, **options)
        return found


TARGETS = {
    row.name: row
    for row in [
        Target(
            "safetensors",
            (".safetensors",),
            "weightkit.formats.safetensors.writing",
            "model",
            TIED_BY_METADATA,
            True,
            True,
        ),
        Target(
            "pytorch",
            (".pt", ".pth", ".bin", ".ckpt"),
            "weightkit.formats.pytorch.writing",
            "pytorch_model",
            TIED_BY_STORAGE,
            True,
            True,
        ),
        Target(
            "npz",
            (".npz",),
            "weightkit.formats.numpy.writing",
            "model",
            UNTIED,
            True,
            False,
            as_bytes=True,
        ),
    ]
}
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_]{1,11}", re.IGNORECASE)
_SPELT = {"pt": "pytorch", "pth": "pytorch", "bin": "pytorch", "torch": "pytorch", "numpy": "npz"}


def target_of(path: str, name: str) -> Target:
    """The format that ``name`` (of ``--to``) or else the suffix of ``path`` stands for.

    Raises PlanError WK667 if neither says.
    """
    if name:
        found = TARGETS.get(_SPELT.get(name, name))
        if found is not None:
            return found
        raise PlanError(f"no format to write is called {name!r}{_known()}", code="WK667")
    suffix = os.path.splitext(path)[1].lower()
    for row in TARGETS.values():
        if suffix in row.suffixes:
            return row
    what = f"{suffix} is no format that is written" if suffix else "which format?"
    raise PlanError(f"{what}; say --to{_known()}", path=path, code="WK667")


def known_suffix(path: str) -> bool:
    """Whether the suffix of ``path`` names a format that can be written."""
    suffix = os.path.splitext(path)[1].lower()
    return any(suffix in row.suffixes for row in TARGETS.values())


def check_suffix(path: str) -> None:
    """Raise PlanError WK667 for a suffix that looks like a format's: ``.gguf``, not ``.1-8B``."""
    suffix = os.path.splitext(path)[1]
    if _SUFFIX.fullmatch(suffix):
        message = f"{suffix} is no format that is written{_known()}; for a folder end it with /"
        raise PlanError(message, path=path, code="WK667")


def _known() -> str:
    return f" ({', '.join(TARGETS)})"
