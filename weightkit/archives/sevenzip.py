"""7z archives: what the standard library can decompress of them.

    signature | version | CRC, and place, length and CRC of the header        32 bytes
    packed streams, one after another
    header: per folder (a stream of one or several files) its coder and sizes, then the files;
            packed itself, as a rule

A folder's coders form a chain: a compressor, then as a rule a filter for machine code. A folder that
is encrypted, or has coders that are not known here, is not read, and that is said. Files of one folder
are windows of what it unpacks to.

Source of the layout: DOC/7zFormat.txt of the LZMA SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from weightkit.archives.budget import Budget
from weightkit.archives.inflating import Decoder, Zlib, bz2_decoder, run
from weightkit.archives.names import check_names
from weightkit.archives.sevenheader import ENCODED, START, Coder, Folder, Header
from weightkit.rules import Faults
from weightkit.source import Buffer, Cursor, Reader, Window

MAX_HEADER = 16 << 20

AES = b"\x06\xf1\x07\x01"


class Found(NamedTuple):
    """A file of the archive; ``content`` is None where it could not be read."""

    name: str
    content: Reader | None


def read_7z(source: Reader, budget: Budget, faults: Faults) -> Iterator[Found]:
    """The files of a 7z archive, each as it can be had.

    Raises FormatError WK001 or WK441 where the header makes no sense, WK002 where it is too large.
    """
    header = _header(source, budget, faults)
    if header is None:
        return
    folders, files = Header(header).read()
    check_names([name.encode("utf-8", "surrogatepass") for name, _ in files], _zeros(files), faults)
    contents = _contents(source, folders, budget, faults)
    for name, has_stream in files:
        made = next(contents, None) if has_stream else (b"", 0, 0)
        if made is None:
            faults.add("WK441", f"there are no bytes for {name!r}", START, subject=name)
        yield Found(name, _reader(source, name, made))


def _zeros(files: list[tuple[str, bool]]) -> list[int]:
    return [START] * len(files)


def _reader(source: Reader, name: str, made: tuple[bytes | None, int, int] | None) -> Reader | None:
    if made is None or made[0] is None:
        return None
    content, start, nbytes = made
    assert content is not None
    return Window(Buffer(content, source.path, source.entry), start, nbytes, name)


def _header(source: Reader, budget: Budget, faults: Faults) -> Reader | None:
    """The header, unpacked if it is packed; None if it cannot be, or if there is none."""
    start = Cursor(source, 8)
    check, offset, nbytes, header_check = start.unpack("IQQI", "the start of a 7z archive")
    if crc32(source.pread(12, 20)) != check:
        message = "the start of the archive does not have its checksum"
        if not nbytes:  # an empty archive, or one whose files are hidden
            raise source.error("WK441", message, 8)
        faults.add("WK420", message, 8)
    if nbytes > MAX_HEADER:
        raise source.error("WK002", f"a header of {nbytes} bytes", 20)
    if not nbytes:
        return None
    place = START + offset
    held = Buffer(source.pread(place, nbytes), source.path, source.entry)
    if crc32(held.data) != header_check:
        faults.add("WK420", "the header does not have its checksum", place)
    if source.size > place + nbytes:
        rest = source.size - place - nbytes
        faults.add("WK413", f"{rest} bytes follow the header of the archive", place + nbytes)
    for _ in range(budget.depth + 1):  # a packed header may hold another
        if held.data[:1] != bytes([ENCODED]):
            return held
        folders = Header(held, 1).streams()
        content, _, _ = next(_contents(source, folders[:1], budget, faults), (None, 0, 0))
        if content is None:
            return None
        held = Buffer(content[:MAX_HEADER], source.path, source.entry)
    raise source.error("WK002", "headers packed in headers", place)


def _contents(
    source: Reader, folders: list[Folder], budget: Budget, faults: Faults
) -> Iterator[tuple[bytes | None, int, int]]:
    """For every file with bytes: what its folder unpacks to, and where in that it lies."""
    for folder in folders:
        content = _unpack(source, folder, budget, faults)
        for start, nbytes in zip(accumulate(folder.sizes, initial=0), folder.sizes, strict=False):
            have = 0 if content is None else len(content)
            at = min(start, have)
            yield content, at, min(nbytes, have - at)


# Decompression


def _lzma1(properties: bytes) -> dict[str, int]:
    """A byte for lc, lp and pb, and four for the size of the dictionary."""
    if len(properties) != 5 or properties[0] >= 225:
        raise ValueError("no lzma properties")
    lc, rest = properties[0] % 9, properties[0] // 9
    size = int.from_bytes(properties[1:], "little")
    return {"dict_size": size, "lc": lc, "lp": rest % 5, "pb": rest // 5}


def _lzma2(properties: bytes) -> dict[str, int]:
    """A byte for the size of the dictionary: 2 or 3 times a power of two."""
    if len(properties) != 1 or properties[0] > 40:
        raise ValueError("no lzma2 properties")
    return {"dict_size": (2 | properties[0] & 1) << (properties[0] // 2 + 11)}


LZMA: dict[bytes, tuple[str, Callable[[bytes], dict[str, int]]]] = {
    b"\x03\x01\x01": ("FILTER_LZMA1", _lzma1),
    b"\x21": ("FILTER_LZMA2", _lzma2),
}
FILTERS = {
    **dict.fromkeys([b"\x03\x03\x01\x03", b"\x04"], "FILTER_X86"),
    **dict.fromkeys([b"\x03\x03\x02\x05", b"\x05"], "FILTER_POWERPC"),
    **dict.fromkeys([b"\x03\x03\x05\x01", b"\x07"], "FILTER_ARM"),
    **dict.fromkeys([b"\x03\x03\x07\x01", b"\x08"], "FILTER_ARMTHUMB"),
}
"""Coders behind lzma: they turn the jumps of machine code back."""
OTHERS: dict[bytes, Callable[[], Decoder] | None] = {
    b"\x00": None,
    b"\x04\x01\x08": lambda: Zlib(-15),
    b"\x04\x02\x02": bz2_decoder,
}
"""Coders that stand alone; None is stored."""


def _known(coders: list[Coder]) -> bool:
    first, *rest = [coder.identity for coder in coders]
    known = first in LZMA or (first in OTHERS and not rest)
    return known and all(identity in FILTERS for identity in rest)


def _decoder(folder: Folder, filtered: bool = True) -> Decoder:
    first, *rest = folder.coders
    other = OTHERS.get(first.identity)
    if other is not None:
        return other()
    import lzma

    name, read = LZMA[first.identity]
    options = read(first.properties)
    # No distance reaches further back than the stream is long.
    options["dict_size"] = max(4096, min(options["dict_size"], folder.unpacked))
    chain = [FILTERS[coder.identity] for coder in reversed(rest)] if filtered else []
    filters = [
        *({"id": getattr(lzma, name)} for name in chain),
        {"id": getattr(lzma, name)} | options,
    ]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def _unpack(source: Reader, folder: Folder, budget: Budget, faults: Faults) -> bytes | None:
    """What a folder holds, as much of it as the budget allows; None where it is not read."""
    at, nbytes = min(folder.offset, source.size), folder.nbytes
    if folder.streams != 1 or not folder.coders or not _known(folder.coders):
        faults.add("WK415", f"a stream of the archive is {_packing(folder.coders)}", at)
        return None
    if at + nbytes > source.size:
        have = source.size - at
        faults.add("WK001", f"{nbytes} packed bytes announced, but {have} remain", at)
        nbytes = have
    room = budget.room
    if folder.unpacked > room:
        faults.add("WK002", f"unpacks to {folder.unpacked} bytes; {room} are allowed", at)
    content = _decoded(Window(source, at, nbytes, ""), folder, min(folder.unpacked, room), faults)
    budget.spend(len(content))
    return content


def _packing(coders: list[Coder]) -> str:
    names = [coder.identity for coder in coders]
    return "encrypted" if AES in names else f"packed by {', '.join(name.hex() for name in names)}"


def _decoded(window: Window, folder: Folder, wanted: int, faults: Faults) -> bytes:
    first, *rest = folder.coders
    if first.identity in OTHERS and OTHERS[first.identity] is None:
        return window.peek(0, wanted)
    try:
        result = run(lambda: _decoder(folder), window, 0, wanted)
        missing = wanted - len(result.content)
        if rest and 0 < missing < 16:  # a filter waits for more, where lzma does not say its end
            plain = run(lambda: _decoder(folder, filtered=False), window, 0, wanted)
            result = plain._replace(content=result.content + plain.content[-missing:])
    except ValueError as error:
        faults.add("WK419", str(error), folder.offset)
        return b""
    for problem in result.problems:
        faults.add(problem.code, problem.message, folder.offset + problem.offset)
    return result.content
