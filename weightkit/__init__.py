"""weightkit: what is in a model weight file, without ever running it.

    >>> import weightkit
    >>> with weightkit.open("model.safetensors") as checkpoint:
    ...     for tensor in checkpoint:
    ...         print(tensor.name, tensor.dtype, tensor.shape)
    ...     array = checkpoint.read("model.norm.weight")
    >>> weightkit.inspect("model.safetensors").parameters.total
    >>> weightkit.diff("model.safetensors", "model.bin").same

Importing this package imports nothing else: each name below is fetched when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from weightkit.dtypes import DType
    from weightkit.errors import (
        AccessError,
        AmbiguousCheckpoint,
        FormatError,
        MissingExtra,
        NetworkError,
        PlanError,
        PolicyError,
        UnknownName,
        UnsafeError,
        UnsupportedError,
        VerifyError,
        WeightkitError,
    )
    from weightkit.findings import Finding
    from weightkit.opening import Checkpoint
    from weightkit.opening import open_checkpoint as open  # noqa: A004
    from weightkit.reports import Diff, Inspection
    from weightkit.tensors import Extent, FileIndex, TensorInfo, TensorSet

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AmbiguousCheckpoint",
    "Checkpoint",
    "DType",
    "Diff",
    "Extent",
    "FileIndex",
    "Finding",
    "FormatError",
    "Inspection",
    "MissingExtra",
    "NetworkError",
    "PlanError",
    "PolicyError",
    "TensorInfo",
    "TensorSet",
    "UnknownName",
    "UnsafeError",
    "UnsupportedError",
    "VerifyError",
    "WeightkitError",
    "__version__",
    "diff",
    "inspect",
    "open",
]

_HOMES = {
    "Checkpoint": "opening",
    "DType": "dtypes",
    "Diff": "reports",
    "Extent": "tensors",
    "FileIndex": "tensors",
    "Finding": "findings",
    "Inspection": "reports",
    "TensorInfo": "tensors",
    "TensorSet": "tensors",
    "open": "opening",
}
"""The module of each name that is no error."""

_SPELT = {"open": "open_checkpoint"}


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    compared: str = "content",
    *,
    ignore: Collection[str] = (),
    follow_symlinks: bool = False,
) -> Diff:
    """What ``weightkit diff`` says of two checkpoints; ``.same`` is the verdict.

    ``compared`` is headers, content or values; ``ignore`` names kinds of difference that do not
    count: recast, renamed, metadata, config, ...
    """
    from weightkit.analyses import diffs
    from weightkit.opening import open_checkpoint

    with (
        open_checkpoint(a, follow_symlinks=follow_symlinks) as one,
        open_checkpoint(b, follow_symlinks=follow_symlinks) as other,
    ):
        return diffs.diff(one, other, compared, ignore=ignore, follow_symlinks=follow_symlinks)


def inspect(path: str | os.PathLike[str], *, by: str = "component", **opening: Any) -> Inspection:
    """What ``weightkit inspect`` shows of ``path``, with a row for every tensor.

    ``opening`` is as for :func:`open`: ``key``, ``variant``, ``follow_symlinks``, ``lenient``.
    """
    from weightkit.analyses import inspection
    from weightkit.opening import open_checkpoint

    with open_checkpoint(path, **opening) as checkpoint:
        report: Inspection = inspection.inspect(checkpoint, by=by, rows=True)
        return report


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'weightkit' has no attribute {name!r}")
    from importlib import import_module

    home = import_module(f"weightkit.{_HOMES.get(name, 'errors')}")
    globals()[name] = value = getattr(home, _SPELT.get(name, name))
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
