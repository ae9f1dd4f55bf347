"""What we *say* about a file: plain frozen records that analyses make and renderers show.

Nothing here knows a format, a terminal or JSON; ``weightkit.render`` turns these into text.
NamedTuples, because making a dataclass takes six times as long and every command makes all of them
at its start; one with a field that tuples have a method for (``count``, ``index``) stays a dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from weightkit.findings import SEVERITIES as SEVERITIES
from weightkit.findings import Examination as Examination
from weightkit.findings import Finding as Finding
from weightkit.findings import Part as Part
from weightkit.findings import ProgramText as ProgramText
from weightkit.findings import ScannedFile as ScannedFile
from weightkit.findings import ScanReport as ScanReport
from weightkit.findings import SkippedFile as SkippedFile
from weightkit.tensors import NOTHING


class FileEntry(NamedTuple):
    """One file of a checkpoint, as reports list it."""

    path: str
    format: str
    size: int
    tensors: int
    container: str = ""


class Parameters(NamedTuple):
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


class Component(NamedTuple):
    """A row of the component table: parameters and bytes of all tensors with one role."""

    component: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...] = ()


class DTypeShare(NamedTuple):
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


class Share(NamedTuple):
    """A row of ``inspect --by``: any way to divide a checkpoint up."""

    key: str
    tensors: int
    parameters: int
    nbytes: int


class SetSummary(NamedTuple):
    """One state dict of a file that holds several (model, ema, optimizer, ...)."""

    key: str
    kind: str
    tensors: int
    elements: int
    nbytes: int
    main: bool


class TensorRow(NamedTuple):
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


class Inspection(NamedTuple):
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
    summary: Mapping[str, Any] = NOTHING
    """Facts by name: architecture, quantization, licence, base model, adapter, experts, ..."""
    shares: tuple[Share, ...] = ()
    by: str = ""
    rows: tuple[TensorRow, ...] | None = None
    parts: tuple[Inspection, ...] = ()


class Requirement(NamedTuple):
    """A distribution that weightkit needs, or that an ``extra`` of it brings."""

    name: str
    version: str | None
    extra: str = ""


class Installation(NamedTuple):
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


class FormatNote(NamedTuple):
    """A format as ``weightkit formats`` lists it; by default one that is only recognised."""

    name: str
    suffixes: tuple[str, ...] = ()
    what: str = ""
    reads: bool = False
    writes: bool = False


# Memory -----------------------------------------------------------------------------------

EXACT, ESTIMATE, UNKNOWN = "exact", "estimate", "unknown"
"""How far a figure of a memory report can be trusted."""


class MemoryTerm(NamedTuple):
    """One figure of a memory report, with everything needed to check it by hand.

    ``low`` and ``high`` are bytes and equal where there is one value; both are None when the
    figure is unknown, and then ``reason`` names the field that is missing.
    """

    name: str
    low: int | None
    high: int | None
    kind: str
    """exact, estimate or unknown."""
    formula: str = ""
    inputs: Mapping[str, Any] = NOTHING
    source: str = ""
    reason: str = ""
    """Of an unknown: why. Of an estimate: what it assumes."""

    @property
    def nbytes(self) -> int | None:
        """The value where it is one; None for a range or an unknown."""
        return self.low if self.low == self.high else None


class CacheRow(NamedTuple):
    """Layers with the same cache. Elements are for one sequence, without any engine's padding."""

    layers: int
    kind: str
    """attention, latent attention, recurrent, both, cross attention or none."""
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window: int = 0
    latent: int = 0
    indexer: int = 0
    cross: int = 0
    conv: int = 0
    kernel: int = 0
    state: int = 0


class FitRow(NamedTuple):
    """Whether the weights at one precision fit a budget, and how much text beside them.

    ``certain`` is what fits when every range takes its high end, ``possible`` its low end: tokens
    of context per sequence, 0 when not even the weights fit, None when unknown.
    """

    precision: str
    nbytes: int | None
    """Bytes of the weights at their high end."""
    fits: str
    """yes, perhaps, no or unknown: at the context that was asked for."""
    certain: int | None
    possible: int | None
    limited_by: str = ""
    """memory, or the context that the model was made for."""


class MemoryReport(NamedTuple):
    """Everything that ``weightkit memory`` says about one checkpoint."""

    path: str
    architecture: str
    engine: str
    """transformers, vllm, llama.cpp, or "" for a range over all of them."""
    context: int | None
    context_source: str
    batch: int
    kv_dtype: str
    parameters: int | None
    weights: tuple[MemoryTerm, ...]
    """The first is the weights as stored, the others what they would be at a precision."""
    cache: tuple[MemoryTerm, ...]
    """Keys and values first, then whatever else is kept per sequence, then the engine's padding."""
    overhead: tuple[MemoryTerm, ...]
    total: MemoryTerm
    per_token: MemoryTerm
    """Bytes per token of text with every layer seeing everything."""
    growth: MemoryTerm
    """Bytes per further token once the windows are full."""
    layers: tuple[CacheRow, ...]
    training: tuple[MemoryTerm, ...] = ()
    budget: int | None = None
    fit: tuple[FitRow, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class TensorDigest(NamedTuple):
    """The content digest of one tensor, in hexadecimal; ``nbytes`` as stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    digest: str


class ContentId(NamedTuple):
    """What a checkpoint holds, whatever its format: docs/content-id.md."""

    path: str
    format: str
    algorithm: str
    id: str
    tensors: int
    nbytes: int
    digests: tuple[TensorDigest, ...] = ()
    """Sorted by name."""
    aliases: tuple[tuple[str, str], ...] = ()
    """(absent name, stored name), as the metadata records them."""


class FileDigests(NamedTuple):
    """One file's digests by the names of their algorithms, in hexadecimal."""

    path: str
    size: int
    digests: Mapping[str, str]
    cached: bool = False
    """Whether nothing had to be read."""


class ManifestFile(NamedTuple):
    """A file as a manifest lists it; ``path`` is inside the folder, with ``/``."""

    path: str
    size: int
    digests: Mapping[str, str]
    tensors: tuple[TensorDigest, ...] = ()
    unread: str = ""
    """Why a weight file's tensors have no digests."""


class Manifest(NamedTuple):
    """What a folder of weights holds."""

    files: tuple[ManifestFile, ...]
    """Sorted by path."""
    content_algorithm: str
    root_algorithm: str
    root: str


class CacheReport(NamedTuple):
    """The digest cache: where it is and how much is in it; ``nbytes`` on disk."""

    path: str
    files: int
    digests: int
    nbytes: int


class TensorDifference(NamedTuple):
    """What became of a tensor: changed, missing, extra, recast …, reshaped …, renamed to …."""

    name: str
    what: str


class Difference(NamedTuple):
    """A file (or a whole checkpoint) that is not as it should be.

    ``kind`` is altered, missing, extra, renamed, or unread (then ``reason`` says why); signature
    where that itself does not hold. ``expected``
    and ``found`` are digests.
    """

    kind: str
    path: str
    expected: str = ""
    found: str = ""
    renamed_to: str = ""
    reason: str = ""
    tensors: tuple[TensorDifference, ...] = ()


class SignedBy(NamedTuple):
    """Whose signature one is, after it was found to hold; digests are SHA-256, names RFC 4514.

    ``method`` is key, certificate or sigstore; what a method does not have is empty.
    """

    method: str
    key: str
    """Of the public key (DER, SubjectPublicKeyInfo)."""
    certificate: str = ""
    """Of the signing certificate (DER)."""
    subject: str = ""
    """Whose certificate it is; of sigstore the identity."""
    issuer: str = ""
    """Who issued it; of sigstore who vouches for the identity."""


class Verification(NamedTuple):
    """What ``weightkit verify`` found.

    ``against`` is manifest, checksums, digest, hub cache, content, receipt or signature; ``source``
    what was compared with; ``checked`` counts files, or tensors for content; ``signer`` is there for
    a signature that itself holds, whether the files are as they were signed or not.
    """

    path: str
    against: str
    source: str
    checked: int
    same: bool
    differences: tuple[Difference, ...]
    signer: SignedBy | None = None


class Signing(NamedTuple):
    """What ``weightkit sign`` did; ``method`` is key, certificate or sigstore."""

    path: str
    signature: str
    method: str
    files: int


# Comparison -------------------------------------------------------------------------------

SAME, CHANGED, RECAST, QUANTIZED = "same", "changed", "recast", "quantized"
RESHAPED, RENAMED, ADDED, REMOVED, UNKNOWN_CHANGE = (
    "reshaped",
    "renamed",
    "added",
    "removed",
    "unknown",
)
CHANGES = (
    SAME,
    CHANGED,
    RECAST,
    QUANTIZED,
    RESHAPED,
    RENAMED,
    ADDED,
    REMOVED,
    UNKNOWN_CHANGE,
)
"""What can have become of a tensor, in the order that reports list it; docs/diff.md."""


SETTINGS = ("metadata", "template", "config", "tokenizer")
"""Kinds of difference beside the tensors."""


class Delta(NamedTuple):
    """How far the values of B are from those of A, in float64.

    The norms and ``max_abs`` are over elements that are finite on both sides; None where that is
    not defined (no such element, or a norm of zero).
    """

    elements: int
    changed: int
    """Elements whose values differ. NaN equals NaN, and -0 equals 0."""
    max_abs: float | None
    relative_l2: float | None
    """‖B - A‖ / ‖A‖."""
    cosine: float | None
    nonfinite: int
    """NaN and infinite elements of A."""
    other_nonfinite: int
    """Of B."""
    rank: int | None = None
    """Of B - A as a matrix, as far as a random projection shows it; None if it is not low."""


class TensorSide(NamedTuple):
    """A tensor as one of two checkpoints has it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class TensorChange(NamedTuple):
    """What became of one tensor between A and B."""

    kind: str
    """One of :data:`CHANGES`."""
    values: str
    """equal, rounded (one side is the other, rounded to its type), differ or unknown."""
    a: TensorSide | None
    b: TensorSide | None
    component: str
    region: str
    layer: int | None
    delta: Delta | None = None
    note: str = ""
    overflow: int = 0
    """Elements that rounding took beyond what the type holds: they became infinite, or NaN."""

    @property
    def name(self) -> str:
        """The name in A, or in B for what was added."""
        side = self.a or self.b
        return side.name if side else ""


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Changes of one kind to tensors whose names differ only in repeated indices."""

    pattern: str
    count: int
    kind: str
    values: str
    what: str
    """In words: types, shapes, other names."""
    delta: Delta | None = None


class ChangeShare(NamedTuple):
    """What became of the tensors of one component, or of one layer."""

    key: str
    tensors: int
    kinds: Mapping[str, int]
    """How many tensors of each kind there are; only those above 0."""
    delta: Delta | None = None


class SettingChange(NamedTuple):
    """A value beside the tensors that differs; None where a side does not have it."""

    place: str
    """metadata, chat template, or the name of a file: config.json, tokenizer.json, ..."""
    key: str
    a: Any
    b: Any

    @property
    def kind(self) -> str:
        """One of :data:`SETTINGS`."""
        place = self.place.rpartition("/")[2]
        known = {"metadata": "metadata", "chat template": "template"}.get(place)
        tokenizer = place.startswith(("tokenizer", "vocab", "merges", "added_tokens"))
        return known or ("tokenizer" if tokenizer else "config")


class DiffSide(NamedTuple):
    """One of the two checkpoints of a comparison."""

    path: str
    format: str
    tensors: int
    nbytes: int


class Diff(NamedTuple):
    """What ``weightkit diff A B`` found."""

    a: DiffSide
    b: DiffSide
    compared: str
    """headers, content or values."""
    same: bool
    kinds: Mapping[str, int]
    """How many tensors became what: every one of :data:`CHANGES`."""
    delta: Delta | None
    looks_like: tuple[str, ...]
    """What the differences look like as a whole, by the rules of docs/diff.md."""
    components: tuple[ChangeShare, ...]
    layers: tuple[ChangeShare, ...]
    groups: tuple[ChangeGroup, ...]
    changes: tuple[TensorChange, ...]
    """Of every tensor that is not the same."""
    settings: tuple[SettingChange, ...]
    ignored: tuple[str, ...] = ()
    """Kinds of difference that do not count."""
    notes: tuple[str, ...] = ()
    """What was not compared, and why."""

    @property
    def verdict(self) -> str:
        """same, differ, or unknown where all that is not the same could not be compared."""
        kinds = {change.kind for change in self.changes}
        kinds |= {setting.kind for setting in self.settings}
        kinds -= set(self.ignored)
        if not kinds:
            return "same"
        return "unknown" if kinds == {UNKNOWN_CHANGE} else "differ"
