"""weightkit: what is in a model weight file, without ever running it.

    >>> import weightkit
    >>> with weightkit.open("model.safetensors") as checkpoint:
    ...     for tensor in checkpoint:
    ...         print(tensor.name, tensor.dtype, tensor.shape)
    ...     array = checkpoint.read("model.norm.weight")
    >>> weightkit.inspect("model.safetensors").parameters.total

Importing this package imports nothing else: each name below is fetched when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from weightkit.dtypes import DType
    from weightkit.errors import (
        AccessError,
        AmbiguousCheckpoint,
        FormatError,
        MissingExtra,
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
    from weightkit.reports import Inspection
    from weightkit.tensors import Extent, FileIndex, TensorInfo, TensorSet

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AmbiguousCheckpoint",
    "Checkpoint",
    "DType",
    "Extent",
    "FileIndex",
    "Finding",
    "FormatError",
    "Inspection",
    "MissingExtra",
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
    "inspect",
    "open",
]

_HOMES = {
    "Checkpoint": "opening",
    "DType": "dtypes",
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
