"""What we *say* about a file: plain frozen records that analyses make and renderers show.

Nothing here knows a format, a terminal or JSON; ``weightkit.render`` turns these into text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weightkit.programs import Program
from weightkit.tensors import FileIndex

SEVERITIES = ("note", "warning", "danger")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying about a file, with its place, its reason and what to do about it.

    ``code`` is a row of :mod:`weightkit.rules`. ``offset`` is in bytes from the start of ``path``,
    or of the archive member ``entry``. ``subject`` is the global or key that it is about,
    ``evidence`` the literal arguments, ``effect`` what a loader would do with it.
    """

    code: str
    severity: str
    message: str
    path: str = ""
    entry: str = ""
    offset: int | None = None
    tensor: str = ""
    opcode: str = ""
    subject: str = ""
    evidence: str = ""
    effect: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """All that one look at a file found: its index if it has one, its programs, every fault."""

    index: FileIndex | None
    programs: tuple[Program, ...] = ()
    faults: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a container that is a file in its own right, found while examining it."""

    name: str
    examination: Examination


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a checkpoint, as reports list it."""

    path: str
    format: str
    size: int
    tensors: int
    container: str = ""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Counts of a checkpoint's main set, in elements (``docs/names.md`` defines each).

    None means unknown: the files do not say. ``active`` is None for dense models too, and
    ``active_unknown`` tells the two apart.
    """

    total: int | None
    unique: int | None
    active: int | None
    active_without_input_embedding: int | None
    bias: int
    buffers: int
    stored_elements: int
    active_unknown: str = ""
    """Why ``active`` is unknown for a mixture of experts; "" when it is known or the model dense."""


@dataclass(frozen=True, slots=True)
class Component:
    """A row of the component table: parameters and bytes of all tensors with one role."""

    component: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DTypeShare:
    """A row of the dtype mix."""

    dtype: str
    tensors: int
    elements: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors whose names differ only in repeated indices: ``layers.[0-31].mlp.up_proj.weight``."""

    pattern: str
    dtype: str
    shape: tuple[int, ...]
    count: int
    parameters: int
    nbytes: int
    component: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """A row of ``inspect --by``: any way to divide a checkpoint up."""

    key: str
    tensors: int
    parameters: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class SetSummary:
    """One state dict of a file that holds several (model, ema, optimizer, ...)."""

    key: str
    kind: str
    tensors: int
    elements: int
    nbytes: int
    main: bool


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor as reports show it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parameters: int | None
    nbytes: int
    file: str
    offset: int
    component: str = ""
    region: str = "main"
    layer: int | None = None
    expert: int | None = None
    kind: str = "parameter"
    """parameter, bias, buffer or bookkeeping."""
    tied_to: str = ""
    layout: str = "strided"
    expert_role: str = ""
    """routed or shared; "" for what is no expert."""
    rule: str = ""
    """What made it the component that it is, for people."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that ``weightkit inspect`` knows about one checkpoint."""

    path: str
    format: str
    files: tuple[FileEntry, ...]
    size: int
    tensors: int
    parameters: Parameters
    components: tuple[Component, ...]
    dtypes: tuple[DTypeShare, ...]
    layers: int | None
    bits_per_weight: float | None
    nbytes: int
    groups: tuple[Group, ...]
    metadata: Mapping[str, Any]
    tied: tuple[tuple[str, ...], ...]
    sets: tuple[SetSummary, ...]
    findings: tuple[Finding, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Facts by name: architecture, quantization, licence, base model, adapter, experts, ..."""
    shares: tuple[Share, ...] = ()
    by: str = ""
    rows: tuple[TensorRow, ...] | None = None
    parts: tuple[Inspection, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """A distribution that weightkit needs, or that an ``extra`` of it brings."""

    name: str
    version: str | None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What ``weightkit doctor`` tells about the process it runs in."""

    version: str
    python: str
    implementation: str
    platform: str
    executable: str
    encoding: str
    cores: int
    hub_cache: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class FormatNote:
    """A format as ``weightkit formats`` lists it; by default one that is only recognised."""

    name: str
    suffixes: tuple[str, ...] = ()
    what: str = ""
    reads: bool = False
    writes: bool = False
