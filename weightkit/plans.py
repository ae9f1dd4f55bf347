"""What a conversion will do, and what it did: plain records, made before a byte is written.

A plan says for each tensor of the target where its bytes come from, in which type and under which
name they are written, and what the target will not say any more. ``weightkit.convert`` makes and
carries it out; nothing here reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from weightkit.dtypes import DType
from weightkit.findings import Finding
from weightkit.layouts import Layout
from weightkit.tensors import TensorInfo

MOVE, TURN, GATHER, INFLATE, CAST, DENSE = "move", "turn", "gather", "inflate", "cast", "dense"
"""How a tensor gets into the target: its bytes as they are; after a change of byte order or of odd
booleans; from a strided view; out of a stream; in another type; from the parts of a composite."""


class Step(NamedTuple):
    """One run of elements to write. ``name`` and ``shape`` are the target's."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    info: TensorInfo
    """The source tensor, under its own name."""
    part: int
    """Which of the source's checkpoints it is in (pipelines and slices have several)."""
    way: str
    nbytes: int
    """Of the elements in the target."""
    ties: tuple[str, ...] = ()
    """Further names of the same elements, in the target."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A weight file of the target; ``name`` is its path inside a folder, "" for a lone file."""

    name: str
    steps: tuple[Step, ...]
    metadata: tuple[tuple[str, str], ...]
    tensors: tuple[TensorInfo, ...] = field(compare=False, repr=False)
    """What the writer was given: the tensors of the steps in their order, then tied names."""
    layout: Layout = field(compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.layout.size


class Carried(NamedTuple):
    """A small file that goes along as it is; both paths are inside their folders."""

    name: str
    nbytes: int


class Text(NamedTuple):
    """A file that we write ourselves: an index, a sidecar."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One conversion. ``losses`` are refused without their flags, ``notes`` are only said."""

    source: str
    target: str
    format: str
    folder: bool
    """Whether the target is a folder, which appears whole by one rename."""
    files: tuple[PlannedFile, ...]
    carried: tuple[Carried, ...] = ()
    texts: tuple[Text, ...] = ()
    sidecar: Text | None = None
    """What is no tensor; its name is a path of its own."""
    losses: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    accepted: frozenset[str] = frozenset()
    """Names of the flags by which losses were accepted."""
    refused: tuple[Finding, ...] = ()
    """The losses that none of them accepts, and what forbids to write there: the plan is not carried
    out."""
    key: str = ""
    """Of the state dict that is converted; "" for a source that has one at its top level."""
    left: tuple[str, ...] = ()
    """Tensors of the source that the target will not have."""
    digest: str = ""
    """Of all of the above and of the state of the source's files; names the temporary files."""
    sources: tuple[tuple[str, ...], ...] = ()
    """Paths of the files that the tensors of each part lie in, as their ``data.file`` counts."""
    memory: int = 0
    """Bytes that carrying it out may need beyond start-up; an upper estimate."""

    @property
    def nbytes(self) -> int:
        """Bytes of the target."""
        planned = sum(file.nbytes for file in self.files)
        texts = sum(len(text.content.encode("utf-8", "surrogateescape")) for text in self.texts)
        return planned + sum(item.nbytes for item in self.carried) + texts

    @property
    def disk(self) -> int:
        """Bytes that must be free: the target, beside an old one until that is replaced, and the sidecar."""
        return self.nbytes + (len(self.sidecar.content.encode()) if self.sidecar else 0)

    @property
    def steps(self) -> int:
        """How many tensors will be written."""
        return sum(len(file.steps) for file in self.files)


class Errand(NamedTuple):
    """One conversion of a batch."""

    source: str
    target: str


class CastLoss(NamedTuple):
    """What a cast did to the values of one tensor; counts of elements."""

    tensor: str
    source: str
    target: str
    values: int
    overflow: int
    saturated: int
    underflow: int
    nan: int


class Written(NamedTuple):
    """A file of the target: its path, size in bytes, and number of tensors."""

    path: str
    nbytes: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did."""

    plan: Plan
    files: tuple[Written, ...]
    verified: str
    """How it was proved: "content", or "" with ``--no-verify``."""
    content_id: str
    """Of the target, "" where it was not verified."""
    algorithm: str = ""
    """Of the content id, "" where there is none."""
    casts: tuple[CastLoss, ...] = ()
    receipt: str = ""
    """Path of the receipt, "" for none."""
