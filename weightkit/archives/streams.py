"""Compressed files: gzip, bz2, xz, lzma, zlib, joblib's own zfile and, with its extra, lz4.

A file may hold several streams one after another, which their readers join.
"""

from __future__ import annotations

from collections.abc import Callable

from weightkit.archives.budget import Budget
from weightkit.archives.inflating import MAX_DICTIONARY, Decoder, Zlib, bz2_decoder, run
from weightkit.errors import MissingExtra
from weightkit.rules import Faults
from weightkit.source import Buffer, Reader

_XZ_MEMORY = 2 * MAX_DICTIONARY
MAX_STREAMS = 10_000

_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""What a bz2 stream goes on with: a block, or its end."""

MAGIC: list[tuple[str, tuple[bytes, ...]]] = [
    ("gzip", (b"\x1f\x8b\x08",)),
    ("bz2", tuple(b"BZh%d" % level + magic for level in range(1, 10) for magic in _BLOCKS)),
    ("xz", (b"\xfd7zXZ\0",)),
    ("lzma", (b"\x5d\0\0",)),
    ("zlib", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")),
    ("lz4", (b"\x04\x22\x4d\x18",)),
    ("zfile", (b"ZF0x",)),
]
"""What the kinds start with. joblib goes by the same, but for bz2 and lzma by fewer bytes."""


def sniff(head: bytes) -> str:
    """The kind of compressed stream that starts with ``head``, "" for none that is known."""
    return next((kind for kind, magics in MAGIC if head.startswith(magics)), "")


def gives_bytes(source: Reader, kind: str) -> bool:
    """Whether a stream of ``kind`` really begins here: the magics are short, zlib's two bytes.

    Without the module to tell (lz4) it might.
    """
    try:
        found = run(DECODERS[kind], source, 0, 1 << 16)
    except MissingExtra:
        return True
    return bool(found.content) or not found.problems


def _lzma(form: str) -> Decoder:
    import lzma

    return lzma.LZMADecompressor(getattr(lzma, form), memlimit=_XZ_MEMORY)


class _ZFile(Zlib):
    """A zlib stream behind ``ZF`` and its size in hex, as joblib wrote before 0.10 and still reads.

    Source: ``read_zfile`` of ``joblib/numpy_pickle_compat.py``, joblib 1.5.
    """

    HEAD = 2 + len(hex(1 << 64))

    def __init__(self) -> None:
        super().__init__(15)
        self._begun = False

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if not self._begun:
            self._begun = True
            data = data[self.HEAD :].removeprefix(b" ")
        return super().decompress(data, max_length)


class _Lz4:
    """lz4's decompressor, which is nearly like the others."""

    def __init__(self) -> None:
        try:
            import lz4.frame
        except ImportError as error:
            message = "lz4 is needed: pip install 'weightkit[lz4]'"
            raise MissingExtra(message, code="WK004") from error
        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            out: bytes = self._inner.decompress(data, max_length)
        except RuntimeError as error:  # what lz4 raises over broken data
            raise ValueError(str(error)) from error
        return out


DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: Zlib(31),
    "zlib": lambda: Zlib(15),
    "bz2": bz2_decoder,
    "xz": lambda: _lzma("FORMAT_XZ"),
    "lzma": lambda: _lzma("FORMAT_ALONE"),
    "lz4": _Lz4,
    "zfile": _ZFile,
}


def decompress(source: Reader, kind: str, budget: Budget, faults: Faults) -> Buffer:
    """What the streams of ``kind`` in ``source`` hold, as much of it as the budget allows.

    A broken or cut off stream gives what came of it and WK419, one that passes the budget WK002,
    bytes that belong to no stream WK440. Raises MissingExtra WK004 without the module for lz4.
    """
    content: list[bytes] = []
    at, room = 0, budget.room
    for _ in range(MAX_STREAMS):
        result = run(DECODERS[kind], source, at, room + 1)
        content.append(result.content)
        budget.spend(len(result.content))
        room -= len(result.content)
        if room < 0:
            message = f"inflates to more than the {budget.room} bytes that are allowed"
            faults.add("WK002", message, at)
            content[-1] = content[-1][:room]
        for problem in result.problems:
            faults.add(problem.code, problem.message, problem.offset)
        at = result.used
        if kind == "gzip":
            at = _past_zeros(source, at)
        if room < 0 or result.problems or at >= source.size or not _more(source, at, kind):
            break
    _check_rest(source, at, room < 0 or bool(result.problems), faults)
    return Buffer(b"".join(content), source.path, source.entry)


def _past_zeros(source: Reader, start: int) -> int:
    """Where another stream may begin: gzip's readers pass over zeros between streams."""
    at = start
    for piece in source.chunks(start, source.size - start):
        rest = piece.lstrip(b"\0")
        if rest:
            return at + len(piece) - len(rest)
        at += len(piece)
    return start


def _more(source: Reader, at: int, kind: str) -> bool:
    return sniff(source.peek(at, 16)) == kind


def _check_rest(source: Reader, at: int, stopped: bool, faults: Faults) -> None:
    rest = source.size - at
    if stopped or not rest or not source.peek(at, 1 << 16).strip(b"\0"):
        return  # zeros are the padding of tapes and of xz
    faults.add("WK440", f"{rest} bytes follow the compressed stream", at)
