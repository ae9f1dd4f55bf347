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
from weightkit.text import did_you_mean

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
    """The format that ``name`` (of ``--to``) or else the suffix of a file's ``path`` stands for.

    Raises PlanError WK667 if neither says, or they contradict each other.
    """
    suffix = os.path.splitext(path)[1].lower()
    of_suffix = _of_suffix(suffix)
    if name:
        found = TARGETS.get(_SPELT.get(name, name))
        if found is None:
            hint = did_you_mean(name, TARGETS)
            message = f"no format to write is called {name!r}{_known()}.{hint}"
            raise PlanError(message.removesuffix("."), code="WK667")
        if of_suffix not in (None, found):
            message = (
                f"{suffix} is a name for another format than {found.name}, which --to asks for"
            )
            raise PlanError(message, path=path, code="WK667")
        return found
    if of_suffix:
        return of_suffix
    what = f"{suffix} is no format that is written" if suffix else "which format?"
    raise PlanError(f"{what}; say --to{_known()}", path=path, code="WK667")


def _of_suffix(suffix: str) -> Target | None:
    return next((row for row in TARGETS.values() if suffix in row.suffixes), None)


def known_suffix(path: str) -> bool:
    """Whether the suffix of ``path`` names a format that can be written."""
    return _of_suffix(os.path.splitext(path)[1].lower()) is not None


def check_suffix(path: str) -> None:
    """Raise PlanError WK667 for a suffix that looks like a format's: ``.gguf``, not ``.1-8B``."""
    suffix = os.path.splitext(path)[1]
    if _SUFFIX.fullmatch(suffix):
        hint = did_you_mean(
            suffix.lower(), [name for row in TARGETS.values() for name in row.suffixes]
        )
        message = (
            f"{suffix} is no format that is written{_known()}; for a folder end it with /.{hint}"
        )
        message = message.removesuffix(".")
        raise PlanError(message, path=path, code="WK667")


def _known() -> str:
    return f" ({', '.join(TARGETS)})"
