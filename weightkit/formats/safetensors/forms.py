"""The forms in which writers lay a header out, read in one sweep of a regular expression.

A header of 50,000 tensors is nearly always the same text 50,000 times with other names and
numbers. :func:`sweep` takes it only when it can prove that every byte is in such a form and that
there is nothing to say about the tensors; anything else is left to the slow reader in ``entries``.
"""

from __future__ import annotations

import json
import re
from operator import mod, sub
from typing import NamedTuple

from weightkit.dtypes import SAFETENSORS, DType
from weightkit.formats.safetensors.layout import Columns, alignment, bits_of
from weightkit.formats.safetensors.serde import U64

MAX_SWEEP = 16 << 20
"""Bytes of header; what the sweep keeps in memory is some ten times that at worst."""
MAX_ENTRY = 1 << 16
"""Characters of the first entry, by which the form is told."""

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


class Geometry(NamedTuple):
    """What one DTYPE to DIMS says."""

    dtype: DType
    shape: tuple[int, ...]
    nbytes: int
    alignment: int


def sweep(header: bytes, at: int, data_nbytes: int) -> Columns | None:
    """All tensors of a header whose entries start at ``at``, or None if that takes a closer look.

    Not None means: valid JSON in a writer's form, no name twice, every dtype known, and the
    tensors tile the ``data_nbytes`` bytes of data without hole, overlap or misalignment.
    """
    text = _entries_text(header, at)
    form = _form_of(text)
    if form is None:
        return None
    # Text, then the groups of a match, then text, ...: the texts between matches must be empty.
    pieces = form.pattern.split(text)
    names, kinds, places = (pieces[column::_STRIDE] for column in form.columns)
    if any(pieces[::_STRIDE]) or len({*names, "__metadata__"}) <= len(names):
        return None
    spans = _spans(places, data_nbytes)
    return _columns(form, names, kinds, *spans) if spans else None


def _spans(places: list[str], data_nbytes: int) -> tuple[list[int], list[int]] | None:
    """Starts and ends, if they tile the data."""
    try:
        numbers = json.loads(f"[{','.join(places)}]")
    except ValueError:  # a leading zero, which the expression lets pass
        return None
    starts, ends = numbers[::2], numbers[1::2]
    firsts, lasts = starts, ends
    if starts[1:] != ends[:-1]:  # not in the order of the data
        firsts, lasts = map(list, zip(*sorted(zip(starts, ends, strict=True)), strict=True))
    if firsts[0] or firsts[1:] != lasts[:-1] or lasts[-1] != data_nbytes:
        return None
    return starts, ends


def _columns(
    form: Form, names: list[str], kinds: list[str], starts: list[int], ends: list[int]
) -> Columns | None:
    known = {kind: _geometry(kind, form) for kind in set(kinds)}
    if None in known.values():
        return None
    dtypes, shapes, sizes, alignments = zip(*map(known.__getitem__, kinds), strict=True)
    aligned = not any(map(mod, starts, alignments))
    if not aligned or tuple(map(sub, ends, starts)) != sizes:
        return None
    return Columns(names, dtypes, shapes, starts, sizes)


def _entries_text(header: bytes, at: int) -> str:
    """What stands between ``at`` and the closing brace; "" where the slow reader must look."""
    end = header.rfind(b"}", at)
    if header[end - 1 : end] != b"}" or end - at > MAX_SWEEP:
        return ""
    if header[end + 1 :].strip(b" \t\n\r"):
        return ""
    try:
        return str(memoryview(header)[at:end], "utf-8")
    except UnicodeDecodeError:
        return ""


def _form_of(text: str) -> Form | None:
    for separator, template in _TEMPLATES:
        form = _compile(separator, template)
        if form.pattern.match(text, 0, MAX_ENTRY):
            return form
    return None


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


def _geometry(kind: str, form: Form) -> Geometry | None:
    name, _, dims = kind.partition(form.between)
    dtype = SAFETENSORS.get(name)
    comma = form.separator
    numbers = [int(dim) for dim in dims.split(comma) if dim.isdigit() and len(dim) <= 20]
    if dtype is None or comma.join(map(str, numbers)) != dims or max(numbers, default=0) > U64:
        return None
    bits = bits_of(dtype, tuple(numbers))
    if bits is None or bits % 8:
        return None
    return Geometry(dtype, tuple(numbers), bits // 8, alignment(dtype))
