"""What a header says, read member by member: every fault found, every tensor that can be told.

serde reads the header as ``struct { __metadata__: Option<Map<String, String>>, #[flatten]
Map<String, Tensor> }``. So an entry is an object (each field once, unknown ones skipped) or an
array of its three fields in order; a dtype is a text or ``{"F32": null}``; a name that comes twice
is checked twice and kept once, the last; ``__metadata__`` may come once and may be null.
"""

from __future__ import annotations

import re
from functools import cache

from weightkit.dtypes import SAFETENSORS, DType, opaque
from weightkit.errors import FormatError
from weightkit.formats.safetensors.columns import U64, Columns, Place, elements_of
from weightkit.formats.safetensors.forms import sweep
from weightkit.formats.safetensors.layout import Entry, brief, walk
from weightkit.formats.safetensors.serde import Member, Parser, Text, Value
from weightkit.rules import Faults
from weightkit.tensors import TensorInfo

MAX_TENSORS = 250_000
MAX_SEARCH = 4 << 20
"""Characters of a metadata value that are searched for code."""
MAX_DIMENSIONS = 64
"""Of a tensor whose size overflows: the package multiplies shapes without a limit elsewhere."""
FIELDS = ("dtype", "shape", "data_offsets")
_METADATA = "__metadata__"

_INT = rb"(?:0|[1-9][0-9]{0,19}+)"
_ENTRY = rb"""
    \{ ~ (?: (?:
        "dtype" ~:~ "([A-Z0-9_]{1,16}+)"
      | "shape" ~:~ \[~ ( (?: INT (?:~,~INT){0,30}+ )?+ ) ~\]
      | "data_offsets" ~:~ \[~ (INT) ~,~ (INT) ~\]
    ) ~ (?: ,~(?!\}) | (?=\}) ) ){3} \}
    """
_CODE = (
    r"\b(?:eval|exec|__import__)\s*\(|\bos\.(?:system|popen)\b|\bsubprocess\.\w|<script\b"
    r"|\bpickle\.loads?\b"
)


@cache
def _code_expression() -> re.Pattern[str]:
    return re.compile(_CODE)


@cache
def _entry_expression() -> re.Pattern[bytes]:
    """An entry with just its three fields, in any order and spacing: all that a sane writer makes."""
    text = _ENTRY.replace(b"~", rb"[\ \t\n\r]*+").replace(b"INT", _INT)
    return re.compile(text, re.VERBOSE)


def read_header(
    header: bytes, base: int, data_nbytes: int, place: Place, faults: Faults, *, whole: bool = True
) -> tuple[dict[str, str], tuple[TensorInfo, ...]]:
    """The metadata and tensors of a header; faults go to ``faults``.

    ``header`` is its text, which starts at file offset ``base``; ``data_nbytes`` bytes of data
    follow it. ``whole=False``: the file ends inside the header, which is a fault already; then its
    end and the places of the data are no faults of their own.
    """
    reading = _Reading(header, base, data_nbytes, place, faults)
    try:
        reading.run()
    except FormatError as error:
        if whole or error.offset != base + len(header):
            faults.add(error.code, error.message, error.offset, tensor=reading.name)
    else:
        if whole and reading.swept is None:
            walk(reading.told(), base + len(header), data_nbytes, faults)
    return reading.metadata, reading.swept or place(_columns(reading.told()))


def _columns(entries: list[Entry]) -> Columns:
    """All but the tensors that end before they start, and shapes built to be slow to multiply."""
    straight = [
        entry
        for entry in entries
        if entry.end >= entry.start
        and (len(entry.shape) <= MAX_DIMENSIONS or elements_of(entry.shape) is not None)
    ]
    return Columns(
        [entry.name for entry in straight],
        [entry.dtype for entry in straight],
        [entry.shape for entry in straight],
        [entry.start for entry in straight],
        [entry.end - entry.start for entry in straight],
    )


class _Reading:
    """One pass over a header."""

    def __init__(
        self, header: bytes, base: int, data_nbytes: int, place: Place, faults: Faults
    ) -> None:
        self.parser = Parser(header, base)
        self.place = place
        self.faults = faults
        self.data_nbytes = data_nbytes
        self.metadata: dict[str, str] = {}
        self.swept: tuple[TensorInfo, ...] | None = None
        """Set when the sweep took all entries at once."""
        self.name = ""
        """Of the tensor that is being read."""
        self._entries: dict[str, Entry | None] = {}
        self._count = 0
        self._has_tried = False
        self._has_metadata = False

    def told(self) -> list[Entry]:
        """The tensors found so far, in the header's order."""
        return [entry for entry in self._entries.values() if entry is not None]

    def run(self) -> None:
        """Read all members; raises FormatError where the JSON breaks or a budget ends."""
        self._open()
        for _ in self.parser.items(b"}"):
            if self._sweep():
                return
            self._member()
        if rest := self.parser.peek():
            raise self.parser.error("WK109", f"byte 0x{rest[0]:02x} after the closing brace")

    def _add(self, code: str, message: str, at: int | None = None) -> None:
        offset = self.parser.base + (self.parser.at if at is None else at)
        self.faults.add(code, message, offset, tensor=self.name)

    def _open(self) -> None:
        mark = self.parser.peek()
        at = self.parser.at
        if mark != b"{":
            kind = self.parser.value().kind
            raise self.parser.error("WK110", f"the header is a JSON {kind}, no object", at)
        if at:
            self._add("WK150", f"{at} bytes of white space before the opening brace", 0)

    def _sweep(self) -> bool:
        """Take all entries at once if they are in a writer's form; tried at the first of them."""
        parser = self.parser
        if self._has_tried or parser.text.startswith(b'"__metadata__"', parser.at):
            return False
        self._has_tried = True
        self.swept = sweep(parser.text, parser.at, self.data_nbytes, self.place)
        return self.swept is not None

    def _member(self) -> None:
        parser = self.parser
        at = parser.at
        key = parser.key()
        if key.value == _METADATA:
            if key.escaped:
                self._add("WK159", f"the name {_METADATA} is written with escapes", at)
            self._read_metadata(at)
            return
        self.name = key.value
        self._count += 1
        if self._count > MAX_TENSORS:
            raise parser.error("WK002", f"more than {MAX_TENSORS:,} tensors", at)
        entry = self._quick_entry(at) or self._entry(at, parser.value())
        if key.value in self._entries:
            self._add("WK151", "a second tensor of this name; readers keep the last", at)
            del self._entries[key.value]
        self._entries[key.value] = entry
        self.name = ""

    # The metadata.

    def _read_metadata(self, at: int) -> None:
        parser = self.parser
        if self._has_metadata:
            self._add("WK112", f"a second {_METADATA}", at)
            parser.value()
            return
        self._has_metadata = True
        if parser.peek() == b"{":
            for _ in parser.items(b"}"):
                self._read_pair()
            return
        value = parser.value()
        if value.kind == "null":
            self._add("WK158", "the metadata is null", value.at)
        else:
            self._add("WK111", f"the metadata is a JSON {value.kind}, no object", value.at)

    def _read_pair(self) -> None:
        parser = self.parser
        at = parser.at
        key = parser.key().value
        value = parser.value()
        if value.kind != "string":
            what = f"metadata {brief(key)} is a JSON {value.kind}, no text"
            self._add("WK111", what, value.at)
            return
        if key in self.metadata:
            self._add("WK157", f"a second metadata {brief(key)}; readers keep the last", at)
        self.metadata[key] = value.value.value
        if found := _code_expression().search(self.metadata[key], 0, MAX_SEARCH):
            what = f"metadata {brief(key)} holds {brief(found[0])}, which looks like code"
            self._add("WK160", what, value.at)

    # A tensor.

    def _quick_entry(self, at: int) -> Entry | None:
        parser = self.parser
        parser.peek()
        match = _entry_expression().match(parser.text, parser.at)
        if match is None or None in match.groups():
            return None
        name, dims, *span = match.groups()
        dtype = SAFETENSORS.get(name.decode())
        shape = tuple(map(int, dims.split(b","))) if dims else ()
        start, end = map(int, span)
        if dtype is None or max(*shape, start, end, 0) > U64:
            return None
        parser.at = match.end()
        return Entry(self.name, parser.base + at, dtype, shape, start, end)

    def _entry(self, at: int, value: Value) -> Entry | None:
        fields = self._fields(value)
        shape = self._shape(fields["shape"]) if "shape" in fields else None
        span = self._offsets(fields["data_offsets"]) if "data_offsets" in fields else None
        dtype = self._dtype(fields["dtype"], shape, span) if "dtype" in fields else None
        if dtype is None or shape is None or span is None:
            return None
        return Entry(self.name, self.parser.base + at, dtype, shape, *span)

    def _fields(self, value: Value) -> dict[str, Value]:
        if value.kind == "array":
            if len(value.value) == len(FIELDS):
                self._add("WK156", "the entry is written as an array", value.at)
                return dict(zip(FIELDS, value.value, strict=True))
            self._add("WK120", f"the entry is an array of {len(value.value)}, not of 3", value.at)
            return {}
        if value.kind != "object":
            self._add("WK120", f"the entry is a JSON {value.kind}, no object", value.at)
            return {}
        return self._named_fields(value)

    def _named_fields(self, value: Value) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        for key, at, inner in value.value:
            if key.value not in FIELDS:
                self._add("WK154", f"unknown field {brief(key.value)}", at)
                continue
            if key.value in fields:
                self._add("WK122", f"a second field {key.value}", at)
            if key.escaped:
                self._add("WK159", f"the field {key.value} is written with escapes", at)
            fields[key.value] = inner
        for field in FIELDS:
            if field not in fields:
                self._add("WK121", f"no field {field}", value.at)
        return fields

    def _dtype(
        self, value: Value, shape: tuple[int, ...] | None, span: tuple[int, int] | None
    ) -> DType | None:
        """The dtype; an unknown one as what its name and the tensor's size tell."""
        text = self._dtype_text(value)
        if text is None:
            self._add("WK123", f"the dtype is a JSON {value.kind}, no text", value.at)
            return None
        if text.escaped:
            self._add("WK159", "the dtype is written with escapes", value.at)
        known = SAFETENSORS.get(text.value)
        if known is None:
            self._add("WK123", f"unknown dtype {brief(text.value)}", value.at)
            return opaque(text.value, _nbytes_each(shape or (), span or (0, 0)))
        return known

    def _dtype_text(self, value: Value) -> Text | None:
        if value.kind == "string":
            text: Text = value.value
            return text
        if value.kind == "object" and len(value.value) == 1:
            variant: Member = value.value[0]
            if variant.value.kind == "null":
                self._add("WK156", "the dtype is written as an object", value.at)
                return variant.key
        return None

    def _shape(self, value: Value) -> tuple[int, ...] | None:
        if value.kind != "array":
            self._add("WK124", f"the shape is a JSON {value.kind}, no array", value.at)
            return None
        for place, item in enumerate(value.value):
            if item.kind != "integer":
                what = f"dimension {place} of the shape is no integer from 0 to 2^64 - 1"
                self._add("WK124", what, item.at)
                return None
        return tuple(item.value for item in value.value)

    def _offsets(self, value: Value) -> tuple[int, int] | None:
        items: list[Value] = value.value if value.kind == "array" else []
        if len(items) == 2 and all(item.kind == "integer" for item in items):
            return items[0].value, items[1].value
        self._add("WK125", "data_offsets are not two integers from 0 to 2^64 - 1", value.at)
        return None


def _nbytes_each(shape: tuple[int, ...], span: tuple[int, int]) -> int:
    """Bytes per element of a type that is not known, 0 where they do not come out even."""
    count = elements_of(shape)
    nbytes = span[1] - span[0]
    return nbytes // count if nbytes > 0 and count and nbytes % count == 0 else 0
