"""What whoever converts asks for: formats, types, names, shards, and what may be lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from weightkit.dtypes import DTYPES, TORCH, TORCH_ALIASES, DType
from weightkit.errors import PlanError
from weightkit.text import did_you_mean

EVERYTHING = "*"
DEFAULT_SIDECAR = "."
"""A sidecar whose name is made from the target's."""
_SPELT = {
    "fp64": "f64",
    "fp32": "f32",
    "fp16": "f16",
    "f8_e4m3fn": "f8_e4m3",
    "fp8_e4m3": "f8_e4m3",
    "fp8_e5m2": "f8_e5m2",
}
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """One conversion as it was asked for. The defaults ask for the whole main set, as it is.

    ``dtypes`` are (pattern, type) pairs, of which the last that matches holds; the pattern ``*``
    stands for every tensor of floating-point or quantized values (with a complex type: of complex ones). ``accepted`` holds the names of
    the flags by which losses were accepted (the values of ``losses.CONSENT``).
    """

    format: str = ""
    dtypes: tuple[tuple[str, DType], ...] = ()
    shard_nbytes: int | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    strip_prefix: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    provenance: bool = False
    timestamp: bool = False
    sidecar: str = ""
    as_bytes: bool = False
    """Whether types that numpy lacks may go into an .npz as raw bytes."""
    key: str | None = None
    accepted: frozenset[str] = frozenset()


def parse_dtype(text: str) -> DType:
    """A type by its name here, in torch or NumPy. Raises PlanError WK671 for no such type."""
    name = text.strip().lower()
    name = TORCH_ALIASES.get(name, name)
    found = DTYPES.get(_SPELT.get(name, name)) or TORCH.get(name)
    if found is None:
        hint = did_you_mean(name, [*DTYPES, *TORCH, *_SPELT])
        raise PlanError(f"no type is called {text!r}.{hint}".removesuffix("."), code="WK671")
    return found


def parse_dtype_rule(text: str) -> tuple[str, DType]:
    """``f16``, or ``PATTERN=f16``."""
    pattern, equals, name = text.rpartition("=")
    return (pattern if equals else EVERYTHING), parse_dtype(name)


def parse_size(text: str) -> int:
    """``5GB``, ``500MiB``, ``1234``: bytes. Raises PlanError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise PlanError(f"{text!r} is no size; write 5GB or 500MiB", code="WK667")
    unit = match[2].lower()
    scale = _BINARY[unit] if match[3] and unit else _UNITS[unit]
    nbytes = int(float(match[1]) * scale)
    if not nbytes:
        message = f"{text!r} is no size that a file could have; write 5GB or 500MiB"
        raise PlanError(message, code="WK667")
    return nbytes


def parse_rename(text: str) -> tuple[str, str]:
    """``OLD=NEW``; one ``*`` in each stands for the same text."""
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise PlanError(f"{text!r} is no OLD=NEW", code="WK664")
    if old.count("*") > 1 or old.count("*") != new.count("*"):
        raise PlanError(f"{text!r}: one * at most, on both sides", code="WK664")
    return old, new


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a shell pattern matches; case counts."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
