"""What every part of a GGUF header is made of: counts, lengths, strings, names."""

from __future__ import annotations

from struct import Struct

from weightkit.errors import WeightkitError
from weightkit.rules import Faults
from weightkit.source import Cursor, Reader

MAGICS = MAGIC, REVERSED_MAGIC = b"GGUF", b"FUGG"
VERSIONS = (1, 2, 3)

# Far more than any real file has, and little enough to be done with in a second or two.
MAX_PAIRS = 100_000
MAX_TENSORS = 250_000
MAX_NAMES_NBYTES = 1 << 26
"""Bytes of all keys and names together."""

MAX_KEY = 0xFFFF
"""Bytes in a key, by the specification."""
LLAMA_LIMIT = 1 << 30
"""Bytes in a string and elements in an array, by llama.cpp."""
MAX_SHOWN = 100
"""Characters of a key or name in a message."""


def padded(offset: int, alignment: int) -> int:
    """The first multiple of ``alignment`` that is not before ``offset``."""
    return -(-offset // alignment) * alignment


def length_code(version: int) -> str:
    """``struct`` code of lengths, counts and dimensions."""
    return "I" if version == 1 else "Q"


def decoded(raw: bytes) -> str:
    """``raw`` as text; bytes that are not UTF-8 become ``\\xff`` escapes."""
    return raw.decode(errors="backslashreplace")


def quoted(text: str) -> str:
    """A key or name, short enough for a message."""
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


class Walk:
    """A position in a header. Faults are noted, what breaks the structure is raised.

    Making one reads magic and version, and so knows the byte order and the width of lengths.
    """

    def __init__(self, source: Reader, faults: Faults) -> None:
        self.source = source
        self.faults = faults
        self.cursor = cursor = Cursor(source)
        magic = cursor.take(4, "magic")
        if magic not in MAGICS:
            raise source.error("WK003", f"the magic is {magic!r}, not {MAGIC!r}", 0)
        raw = cursor.take(4, "version")
        swapped = magic == REVERSED_MAGIC or (raw[:2] == b"\0\0" and raw[2:] != b"\0\0")
        self.order = cursor.order = ">" if swapped else "<"
        self.version = int.from_bytes(raw, "big" if swapped else "little")
        if self.version not in VERSIONS:
            raise source.error("WK201", f"version {self.version}", 4)
        if magic == REVERSED_MAGIC:
            faults.add("WK203", f"the magic is {magic!r}", 0)
        if self.version == 1:
            faults.add("WK202", "version 1", 4)
        self.length_code = length_code(self.version)
        self.length = Struct(self.order + self.length_code)
        self.width = self.length.size
        self.names_nbytes = 0

    def counts(self) -> tuple[int, int]:
        """Numbers of tensors and of pairs, each small enough for the rest of the file."""
        at = self.cursor.position
        tensor_count, pair_count = self.cursor.unpack(2 * self.length_code, "counts")
        self.check_count(tensor_count, self.width + 16, "tensors", at, "WK205", MAX_TENSORS)
        self.check_count(pair_count, self.width + 5, "pairs", at + self.width, "WK205", MAX_PAIRS)
        return tensor_count, pair_count

    def check_count(
        self, count: int, each: int, what: str, at: int, code: str, limit: int | None = None
    ) -> None:
        """Raise unless ``count`` things of at least ``each`` bytes fit in what remains."""
        remaining = self.cursor.remaining
        if count * each > remaining:
            message = f"{count} {what} of at least {each} bytes each, but {remaining} remain"
            raise self.source.error(code, message, at)
        if limit is not None and count > limit:
            raise self.source.error("WK002", f"{count} {what}, over the limit of {limit}", at)

    def string_length(self, what: str) -> int:
        """The length of the string that starts here, at most what remains of the file."""
        at = self.cursor.position
        (nbytes,) = self.cursor.unpack(self.length_code, f"length of {what}")
        if nbytes > self.cursor.remaining:
            raise self.too_long(what, nbytes, at)
        if nbytes > LLAMA_LIMIT:
            self.faults.add("WK210", f"{what} has {nbytes} bytes", at)
        return nbytes

    def too_long(self, what: str, nbytes: int, at: int) -> WeightkitError:
        """For the string whose length stands at ``at``."""
        remaining = self.source.size - at - self.width
        return self.source.error("WK204", f"{what} has {nbytes} bytes, but {remaining} remain", at)

    def key(self, what: str) -> str:
        """The key or name that starts here."""
        at = self.cursor.position
        nbytes = self.string_length(what)
        if nbytes > MAX_KEY:
            raise self.source.error("WK213", f"{what} has {nbytes} bytes", at)
        return self.name(self.cursor.take(nbytes), at, what)

    def name(self, raw: bytes, at: int, what: str) -> str:
        """A key or tensor name as text, up to its first NUL, as C programs see it."""
        self.names_nbytes += len(raw)
        if self.names_nbytes > MAX_NAMES_NBYTES:
            message = f"keys and names of more than {MAX_NAMES_NBYTES} bytes"
            raise self.source.error("WK002", message, at)
        end = raw.find(0)
        if end >= 0:
            self.note_nul(raw, end, at, what)
            raw = raw[:end]
        return self.text(raw, at, what)

    def note_nul(self, raw: bytes, end: int, at: int, what: str) -> None:
        if end == len(raw) - 1 and self.version < 3:
            self.faults.add("WK215", f"{what} ends in a NUL", at)
        else:
            hidden = quoted(decoded(raw[end + 1 :]))
            self.faults.add("WK214", f"{what} goes on with {hidden} after a NUL", at)

    def text(self, raw: bytes, at: int, what: str) -> str:
        """The string whose bytes are ``raw`` and whose length stands at ``at``."""
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.faults.add("WK216", f"{what} is not UTF-8 at its byte {error.start}", at)
            return decoded(raw)
