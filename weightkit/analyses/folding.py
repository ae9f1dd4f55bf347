"""Tensors whose names differ only in numbers, taken together.

A big checkpoint repeats a few dozen names over layers and experts: 91,991 tensors of DeepSeek-V3
are 60 kinds. Everything that is said about tensors by name and shape is said once per *fold*:
the tensors with one template (every run of digits is ``#``), one type and one shape.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from weightkit.dtypes import DType
from weightkit.tensors import TensorInfo

_ONE_DIGIT = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_DIGIT_VALUES = bytes(byte - 0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_RUN = re.compile("0+")
_RUN_OF_BYTES = re.compile(b"0+")
_DIGITS = re.compile("[0-9]+")
_MAX_DIGITS = 18
"""Longer runs of digits are no index; only so many are read."""

Key = tuple[str, tuple[int, ...], str, str]


class Fold:
    """Tensors of one name template, type and shape, in file order."""

    __slots__ = ("_columns", "dtype", "layout", "members", "runs", "segments", "shape", "template")

    def __init__(
        self,
        template: str,
        dtype: DType,
        shape: tuple[int, ...],
        layout: str,
        members: list[TensorInfo],
        runs: list[int],
        columns: list[list[int]] | None = None,
    ) -> None:
        self.template = template
        self.dtype = dtype
        self.shape = shape
        self.layout = layout
        self.members = members
        self.runs = runs
        """How many members in turn have digits at the same places of their names."""
        self.segments = tuple(template.split("."))
        self._columns = columns

    @property
    def numel(self) -> int:
        """Elements of one member, as stored."""
        return self.members[0].numel

    @property
    def nbytes(self) -> int:
        """Bytes of one member."""
        return self.members[0].nbytes

    @property
    def total_nbytes(self) -> int:
        """Bytes of all members; those of composite tensors may differ."""
        if self.members[0].parts:
            return sum(member.nbytes for member in self.members)
        return self.members[0].nbytes * len(self.members)

    @property
    def columns(self) -> list[list[int]]:
        """The numbers in the members' names: a list per ``#`` of the template, by member."""
        if self._columns is None:
            self._columns = [[] for _ in range(self.template.count("#"))]
            names = iter([member[0] for member in self.members])
            for length in self.runs:
                alike = [*islice(names, length)]
                for column, numbers in zip(self._columns, _numbers(alike), strict=True):
                    column += numbers
        return self._columns

    def column_of(self, segment: int) -> list[int]:
        """The numbers in one segment of the name (the first, if it holds several)."""
        return self.columns[sum(part.count("#") for part in self.segments[:segment])]

    def part(self, at: Sequence[int]) -> Fold:
        """A fold of some of the members, by their positions."""
        columns = [[*map(column.__getitem__, at)] for column in self.columns]
        members = [*map(self.members.__getitem__, at)]
        return Fold(self.template, self.dtype, self.shape, self.layout, members, [], columns)


def _numbers(names: Sequence[str]) -> Iterator[list[int]]:
    """The numbers at each place of names that have digits at the same places.

    All names as one string of lines of one length: every digit is a slice of it.
    """
    text = "\n".join(names).encode("utf-8", "surrogatepass")
    stride = len(names[0].encode("utf-8", "surrogatepass")) + 1
    stencil = text[: stride - 1].translate(_ONE_DIGIT)
    values = text.translate(_DIGIT_VALUES)
    for run in _RUN_OF_BYTES.finditer(stencil):
        numbers = list(values[run.start() :: stride])
        for place in range(run.start() + 1, min(run.end(), run.start() + _MAX_DIGITS)):
            digits = values[place::stride]
            numbers = [10 * number + digit for number, digit in zip(numbers, digits, strict=True)]
        yield numbers


def stencils(names: Sequence[str]) -> list[str]:
    """Each name with every digit replaced by 0, which is quick to do for all names at once."""
    text = "\n".join(names).encode("utf-8", "surrogatepass").translate(_ONE_DIGIT)
    parts = text.decode("utf-8", "surrogatepass").split("\n")
    if len(parts) == len(names):
        return parts
    return [_DIGITS.sub(lambda run: "0" * len(run[0]), name) for name in names]


def fold(tensors: Iterable[TensorInfo]) -> list[Fold]:
    """Group tensors by template, type and shape, in the order of their first members."""
    tensors = tensors if isinstance(tensors, Sequence) else tuple(tensors)
    groups: defaultdict[Key, list[TensorInfo]] = defaultdict(list)
    for stencil, tensor in zip(stencils([t[0] for t in tensors]), tensors, strict=True):
        groups[stencil, tensor[2], tensor[1][0], tensor[7]].append(tensor)
    templates: dict[str, str] = {}
    merged: dict[Key, Fold] = {}
    for (stencil, shape, dtype, layout), members in groups.items():
        template = templates.get(stencil)
        if template is None:
            template = templates[stencil] = _RUN.sub("#", stencil.replace("#", "%"))
        key = (template, shape, dtype, layout)
        if key in merged:
            merged[key].members.extend(members)
            merged[key].runs.append(len(members))
        else:
            kind = members[0].dtype
            merged[key] = Fold(template, kind, shape, layout, members, [len(members)])
    return list(merged.values())
