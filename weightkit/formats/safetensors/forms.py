"""The forms in which writers lay a header out, read in one sweep of a regular expression.

A header of 50,000 tensors is nearly always the same text 50,000 times with other names and
numbers. :func:`sweep` takes it only when it can prove that every byte is in such a form and that
there is nothing to say about the tensors; anything else is left to the slow reader in ``entries``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from operator import mod, sub
from typing import NamedTuple

from weightkit.dtypes import SAFETENSORS, DType
from weightkit.formats.safetensors.columns import U64, Columns, Place, alignment, bits_of
from weightkit.tensors import TensorInfo

MAX_SWEEP = 16 << 20
"""Bytes of header; what the sweep keeps in memory is some ten times that at worst."""
MAX_HEAD = 1 << 16
"""Bytes of metadata, and characters of the first entry, by which the form is told."""
CODE_WORDS = ("eval", "exec", "__import__", "os.", "subprocess", "<script", "pickle")
"""What every piece of text has in it that ``entries`` takes for code."""

_PIECE = 1 << 18
_METADATA = b'{"__metadata__":'
_AS_TUPLES = json.JSONDecoder(object_pairs_hook=tuple)

_TEMPLATES = (
    # safetensors itself, and most who imitate it
    (",", '"NAME":{"dtype":"DTYPE","shape":[DIMS],"data_offsets":[START,END]}'),
    # Python's json.dumps
    (", ", '"NAME": {"dtype": "DTYPE", "shape": [DIMS], "data_offsets": [START, END]}'),
    # writers whose JSON library sorts keys (MLX)
    (",", '"NAME":{"data_offsets":[START,END],"dtype":"DTYPE","shape":[DIMS]}'),
)
# DTYPE to DIMS is one group (a checkpoint has few different pairs of them), START to END another.
_GROUPS = {
    "NAME": r'([^"\\\x00-\x1f]*+)',
    "DTYPE": "([A-Z0-9_]{1,16}+",
    "DIMS": "[0-9, ]{0,200}+)",
    "START": "([0-9]{1,20}+",
    "END": "[0-9]{1,20}+)",
}
_STRIDE = 4
"""A match's three groups, and the text before it."""


class Form(NamedTuple):
    """A template made into an expression, which splits a text of such entries into their groups."""

    separator: str
    pattern: re.Pattern[str]
    columns: tuple[int, int, int]
    """Which group is NAME, DTYPE to DIMS, and START to END."""
    between: str
    """What stands between DTYPE and DIMS."""


Geometry = tuple[DType, tuple[int, ...], int, int]
"""What one DTYPE to DIMS says: dtype, shape, bytes, alignment."""


def plain_head(header: bytes) -> tuple[dict[str, str], int] | None:
    """The metadata at a header's start and where the entries begin, or None for a closer look.

    Not None means: there is none, or a short object of ASCII texts, each key once, nothing in it
    that looks like code.
    """
    if not header.startswith(_METADATA):
        return ({}, 1) if header.startswith(b"{") else None
    head = header[:MAX_HEAD].decode("latin-1")  # a character per byte; what is not ASCII is refused
    at = len(_METADATA)
    try:
        pairs, at = _AS_TUPLES.raw_decode(head, at + head.startswith(" ", at))
    except (ValueError, RecursionError):
        return None
    if not (isinstance(pairs, tuple) and all(map(_is_plain, pairs))):
        return None
    metadata = dict(pairs)
    if len(metadata) < len(pairs) or not head.startswith(",", at):
        return None
    return metadata, at + 1 + head.startswith(" ", at + 1)


def _is_plain(pair: tuple[str, object]) -> bool:
    key, value = pair
    return (
        isinstance(value, str)
        and f"{key}{value}".isascii()
        and not any(map(value.__contains__, CODE_WORDS))
    )


def sweep(header: bytes, at: int, data_nbytes: int, place: Place) -> tuple[TensorInfo, ...] | None:
    """All tensors of a header whose entries start at ``at``, or None if that takes a closer look.

    Not None means: valid JSON in a writer's form, no name twice, every dtype known, and the
    tensors tile the ``data_nbytes`` bytes of data without hole, overlap or misalignment.
    """
    end = header.rfind(b"}", at)
    if header[end - 1 : end] != b"}" or header[end + 1 :].strip(b" \t\n\r"):
        return None
    form = _form_of(header[at : min(end, at + MAX_HEAD)].decode("latin-1"))
    if form is None or end - at > MAX_SWEEP:
        return None
    sweeping = _Sweep(form, place)
    try:
        for text in _pieces(header, at, end, form):
            sweeping.take(text)
        return sweeping.finish(data_nbytes)
    except ValueError:
        return None


def _pieces(header: bytes, at: int, end: int, form: Form) -> Iterator[str]:
    """The entries' text in pieces: what one piece leaves behind is overwritten by the next."""
    boundary = f']}}{form.separator}"'.encode()
    with memoryview(header) as view:
        while at < end:
            last = header.rfind(boundary, at, at + _PIECE)
            whole = last < 0 or at + _PIECE >= end
            cut = end if whole else last + len(boundary) - 1
            yield str(view[at:cut], "utf-8")
            at = cut


class _Sweep:
    """The tensors in the making. Raises ValueError where a closer look is needed."""

    def __init__(self, form: Form, place: Place) -> None:
        self.form = form
        self.place = place
        self.known: dict[str, Geometry] = {}
        self.names: set[str] = {"__metadata__"}
        self.numbers: list[int] = []
        self.tensors: list[TensorInfo] = []

    def take(self, text: str) -> None:
        # Text, the groups of a match, text, ...: the texts around the matches must be empty.
        pieces = self.form.pattern.split(text)
        names, kinds, places = (pieces[column::_STRIDE] for column in self.form.columns)
        known = self.known
        for kind in {*kinds} - known.keys():
            known[kind] = _geometry(kind, self.form.between, self.form.separator)
        numbers = json.loads(f"[{','.join(places)}]")  # refuses a leading zero
        starts = numbers[::2]
        dtypes, shapes, sizes, alignments = zip(*map(known.__getitem__, kinds), strict=True)
        crooked = any(map(mod, starts, alignments))
        if crooked or any(pieces[::_STRIDE]) or tuple(map(sub, numbers[1::2], starts)) != sizes:
            raise ValueError
        self.names.update(names)
        self.numbers += numbers
        self.tensors += self.place(Columns(names, dtypes, shapes, starts, sizes))

    def finish(self, data_nbytes: int) -> tuple[TensorInfo, ...]:
        repeated = len(self.names) <= len(self.tensors)
        if repeated or not _tile(self.numbers[::2], self.numbers[1::2], data_nbytes):
            raise ValueError
        return tuple(self.tensors)


def _tile(starts: list[int], ends: list[int], data_nbytes: int) -> bool:
    if starts[1:] != ends[:-1]:  # not in the order of the data
        pairs = sorted(zip(starts, ends, strict=True))
        starts, ends = [start for start, _ in pairs], [end for _, end in pairs]
    return starts[0] == 0 and starts[1:] == ends[:-1] and ends[-1] == data_nbytes


def _form_of(text: str) -> Form | None:
    for separator, template in _TEMPLATES:
        form = _compile(separator, template)
        if form.pattern.match(text):
            return form
    return None


@lru_cache
def _compile(separator: str, template: str) -> Form:
    expression = re.escape(template)
    for word, group in _GROUPS.items():
        expression = expression.replace(word, group)
    order = ["", *sorted(("NAME", "DTYPE", "START"), key=template.index)]
    return Form(
        separator,
        re.compile(rf"{expression}(?:{re.escape(separator)}|\Z)"),
        (order.index("NAME"), order.index("DTYPE"), order.index("START")),
        template[template.index("DTYPE") + 5 : template.index("DIMS")],
    )


@lru_cache(1024)  # the shards of a checkpoint have the same few shapes
def _geometry(kind: str, between: str, comma: str) -> Geometry:
    name, _, dims = kind.partition(between)
    dtype = SAFETENSORS.get(name)
    numbers = [int(dim) for dim in dims.split(comma) if dim.isdigit() and len(dim) <= 20]
    if dtype is None or comma.join(map(str, numbers)) != dims or max(numbers, default=0) > U64:
        raise ValueError
    bits = bits_of(dtype, tuple(numbers))
    if bits is None or bits % 8:
        raise ValueError
    return dtype, tuple(numbers), bits // 8, alignment(dtype)
