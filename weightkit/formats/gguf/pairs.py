"""The metadata of a GGUF file: keys, values, and arrays that stay where they are.

A vocabulary is skipped by its length prefixes and left in the file as an ``ArrayRef``; so is a long
text (kind ``text``: one string of ``length`` bytes). ``read_array`` decodes one on demand.
"""

from __future__ import annotations

import struct
from struct import Struct, calcsize
from typing import Any

from weightkit.errors import AccessError, WeightkitError
from weightkit.formats.gguf.walk import LLAMA_LIMIT, Walk, decoded, length_code, quoted
from weightkit.source import Reader
from weightkit.tensors import ArrayRef

ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
LARGE_ALIGNMENT = 1 << 16

STRING, ARRAY = 8, 9
KINDS = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "B"),
    STRING: ("string", ""),
    ARRAY: ("array", ""),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
"""Value types: what ``ArrayRef.kind`` calls them, and the ``struct`` code of those of fixed size."""
CODES = dict(KINDS.values())

# What a listing decodes at once; the rest stays in the file.
SMALL_ARRAY = 1024
SMALL_STRINGS = 64
SMALL_STRINGS_NBYTES = 1 << 16
SMALL_TEXT = 1 << 20
DECODED_NBYTES = 1 << 23
"""Bytes of all values together."""

MAX_STRINGS = 1 << 24
"""Strings to skip in all arrays together: a second's work."""
NESTED_COST = 64
"""A nested array takes the time of so many strings."""
MAX_DEPTH = 8
MAX_ARRAY_NBYTES = 1 << 28
WINDOW = 1 << 20


def read_array(
    source: Reader, ref: ArrayRef, order: str = "<", limit: int = 1 << 20, version: int = 3
) -> list[Any]:
    """The first ``limit`` elements of an array that ``examine`` left in the file.

    ``order`` is "<" or ">", or the ``byteorder`` of the index; ``version`` its version. Nested arrays come as nested lists, a
    ``text`` as a list of one string. Raises FormatError WK002 for more than 256 MiB, AccessError
    WK012 if the file is no longer what it was when the reference was made.
    """
    order = {"little": "<", "big": ">"}.get(order, order)
    code = CODES.get(ref.kind)
    count = min(ref.length, limit)
    nbytes = count * calcsize(code) if code else ref.nbytes
    if nbytes > MAX_ARRAY_NBYTES:
        raise source.error("WK002", f"an array of {nbytes} bytes is too long to decode", ref.offset)
    block = source.pread(ref.offset, nbytes)
    if ref.kind == "text":
        return [decoded(block)]
    try:
        return _Elements(block, order, version).read(ref.kind, count)
    except (struct.error, OverflowError, KeyError, RecursionError) as error:
        message = f"an array is no longer what it was: {error}"
        raise source.error("WK012", message, ref.offset, kind=AccessError) from error


class _Elements:
    """Decodes array elements from the bytes they take."""

    def __init__(self, block: bytes, order: str, version: int) -> None:
        self.block = block
        self.at = 0
        self.order = order
        self.length = Struct(order + length_code(version))
        self.array = Struct(f"{order}I{length_code(version)}")
        self.terminated = version < 3

    def read(self, kind: str, count: int) -> list[Any]:
        """The next ``count`` elements."""
        if kind == "string":
            return self.strings(count)
        if kind == "array":
            return [self.inner() for _ in range(count)]
        form = Struct(f"{self.order}{count}{CODES[kind]}")
        values = form.unpack_from(self.block, self.at)
        self.at += form.size
        return [value != 0 for value in values] if kind == "bool" else list(values)

    def strings(self, count: int) -> list[Any]:
        unpack, width = self.length.unpack_from, self.length.size
        block, at = self.block, self.at
        texts = []
        for _ in range(count):
            (nbytes,) = unpack(block, at)
            at += width
            raw = block[at : at + nbytes]
            texts.append(decoded(raw.removesuffix(b"\0") if self.terminated else raw))
            at += nbytes
        self.at = at
        return texts

    def inner(self) -> list[Any]:
        kind, count = self.array.unpack_from(self.block, self.at)
        self.at += self.array.size
        return self.read(KINDS[kind][0], count)


class Pairs:
    """Reads keys and values into ``metadata``, and the alignment among them."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.cursor = walk.cursor
        self.metadata: dict[str, Any] = {}
        self.alignment = DEFAULT_ALIGNMENT
        self.strings_left = MAX_STRINGS
        self.nbytes_left = DECODED_NBYTES

    def read(self, count: int) -> None:
        """Read ``count`` pairs; of two with the same key the first stays.

        Text behind the second, which other readers may take, is kept as gguf's own reader names it.
        """
        for number in range(count):
            at = self.cursor.position
            key = self.walk.key(f"key {number}")
            kind_at = self.cursor.position
            if kind_at == at + self.walk.width:
                self.walk.faults.add("WK211", f"key {number} is empty", at)
            (kind,) = self.cursor.unpack("I", f"type of value {number}")
            value = self.value(key, kind, kind_at)
            if key in self.metadata:
                self.walk.faults.add("WK212", f"key {quoted(key)} a second time", at, subject=key)
                if kind == STRING:
                    self.metadata[f"{key}_{at}"] = value
                continue
            self.metadata[key] = value
            if key == ALIGNMENT_KEY:
                self.set_alignment(kind, value, kind_at)

    def value(self, key: str, kind: int, at: int) -> Any:
        """A value of any type; raises FormatError WK207 for one that GGUF does not have."""
        what = f"value of {quoted(key)}"
        if kind == STRING:
            return self.text(what)
        if kind == ARRAY:
            return self.array(what)
        name, code = self.kind(kind, what, at)
        at = self.cursor.position
        (value,) = self.cursor.unpack(code, what)
        return self.booleans([value], what, at)[0] if name == "bool" else value

    def kind(self, number: int, what: str, at: int) -> tuple[str, str]:
        if number not in KINDS:
            raise self.walk.source.error("WK207", f"{what} has type {number}", at)
        return KINDS[number]

    def booleans(self, values: list[int], what: str, at: int) -> list[bool]:
        for place, value in enumerate(values):
            if value > 1:
                message = f"{what} holds a boolean of {value}"
                self.walk.faults.add("WK217", message, at + place)
        return [value != 0 for value in values]

    def text(self, what: str) -> str | ArrayRef:
        """A string, or where it is if it is long."""
        at = self.cursor.position
        nbytes = self.walk.string_length(what)
        if nbytes > min(SMALL_TEXT, self.nbytes_left):
            start = self.cursor.position
            self.cursor.skip(nbytes)
            return ArrayRef("text", nbytes, start, nbytes)
        self.nbytes_left -= nbytes
        raw = self.cursor.take(nbytes)
        if self.walk.version < 3 and raw.endswith(b"\0"):
            self.walk.faults.add("WK215", f"{what} ends in a NUL", at)
            raw = raw[:-1]
        return self.walk.text(raw, at, what)

    def array(self, what: str) -> list[Any] | ArrayRef:
        """A short array as a list, a long one as where it is."""
        ref = self.skip_array(what)
        fixed = bool(CODES[ref.kind])
        most, most_nbytes = (
            (SMALL_ARRAY, ref.nbytes) if fixed else (SMALL_STRINGS, SMALL_STRINGS_NBYTES)
        )
        if ref.length > most or ref.nbytes > min(most_nbytes, self.nbytes_left):
            return ref
        self.nbytes_left -= ref.nbytes
        source = self.walk.source
        if ref.kind == "bool":
            return self.booleans(list(source.pread(ref.offset, ref.nbytes)), what, ref.offset)
        return read_array(source, ref, self.walk.order, version=self.walk.version)

    def skip_array(self, what: str, depth: int = 1) -> ArrayRef:
        """Move past the array that starts here and say where its elements are."""
        walk, cursor = self.walk, self.cursor
        at = cursor.position
        number, count = cursor.unpack("I" + walk.length_code, what)
        name, code = self.kind(number, f"element of {what}", at)
        least = calcsize(code) if code else walk.width + (4 if number == ARRAY else 0)
        walk.check_count(count, least, f"elements in {what}", at + 4, "WK206")
        if count > LLAMA_LIMIT:
            walk.faults.add("WK210", f"{count} elements in {what}", at + 4)
        start = cursor.position
        if code:
            cursor.skip(count * least)
        elif number == STRING:
            self.spend(count, at)
            self.skip_strings(count, what)
        else:
            self.skip_arrays(count, what, at, depth)
        return ArrayRef(name, count, start, cursor.position - start)

    def skip_arrays(self, count: int, what: str, at: int, depth: int) -> None:
        if depth == 1:
            self.walk.faults.add("WK209", f"{what} is an array of arrays", at)
        if depth == MAX_DEPTH:
            message = f"{what} is nested more than {MAX_DEPTH} deep"
            raise self.walk.source.error("WK208", message, at)
        self.spend(count * NESTED_COST, at)
        for _ in range(count):
            self.skip_array(what, depth + 1)

    def spend(self, strings: int, at: int) -> None:
        self.strings_left -= strings
        if self.strings_left < 0:
            message = f"more than {MAX_STRINGS} strings, or nested arrays to match"
            raise self.walk.source.error("WK002", message, at)

    def skip_strings(self, count: int, what: str) -> None:
        """Move past ``count`` strings, looking at nothing but their lengths.

        The loop runs half a million times for a big vocabulary: one unpacking, one addition, and
        no bounds check, since ``unpack_from`` itself refuses to pass the end of the window.
        """
        walk, source = self.walk, self.walk.source
        unpack, width = walk.length.unpack_from, walk.width
        start = self.cursor.position
        while count:
            window = source.peek(start, WINDOW)
            at = nbytes = 0
            try:
                for count in range(count, 0, -1):  # noqa: B007, B020 (goes on in the next window)
                    (nbytes,) = unpack(window, at)
                    at += width + nbytes
                count = 0
            except (struct.error, OverflowError):
                pass
            if start + at + (width if count else 0) > source.size:
                raise self.overrun(start, at, nbytes, what)
            start += at
        self.cursor.skip(start - self.cursor.position)

    def overrun(self, start: int, at: int, nbytes: int, what: str) -> WeightkitError:
        """For a string that ends, or a length that stands, past the end of the file."""
        walk, end = self.walk, start + at
        if end > walk.source.size:
            return walk.too_long(f"string in {what}", nbytes, end - nbytes - walk.width)
        return walk.source.error("WK001", f"{what} breaks off in the length of a string", end)

    def set_alignment(self, kind: int, value: Any, at: int) -> None:
        name, faults = KINDS[kind][0], self.walk.faults
        if name != "u32" or value == 0 or value & (value - 1):
            message = f"{ALIGNMENT_KEY} is {name} {value}, no u32 power of two"
            faults.add("WK218", message, at, subject=ALIGNMENT_KEY)
            return
        self.alignment = value
        if value % 8 or value > LARGE_ALIGNMENT:
            faults.add("WK219", f"{ALIGNMENT_KEY} is {value}", at, subject=ALIGNMENT_KEY)
