"""Tensors' bytes into their places, and read back from there, on all cores.

A tensor whose bytes lie in the file as the target wants them is moved by the kernel
(``sendfile``), in chunks that are the leaves of its content digest: what was just copied is compared
while it is still in the cache, and hashed once. Everything else is produced in pieces, each of which
is written, read back, compared with what it was, and hashed.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING

from weightkit.analyses.digests import LEAF, data_digest, plain_digest
from weightkit.analyses.jobs import Tick, batches, read_stream, run_jobs
from weightkit.convert.out import Out, Piece, fill
from weightkit.dtypes import DTYPES
from weightkit.errors import VerifyError
from weightkit.layouts import Slot
from weightkit.plans import CAST, MOVE, Step
from weightkit.source import Source
from weightkit.tensors import RAW
from weightkit.values import canonical, dense

if TYPE_CHECKING:
    from weightkit.values.narrowing import Counts
    from weightkit.values.streams import Held

BUFFER = 1 << 20
"""Bytes read, compared or cast at a time: each such call lets the other threads run, and waiting for
the interpreter again after it costs more than what no longer fits into the second-level cache."""
SMALL = 1 << 15
"""Bytes of a tensor that is read in one call, and written in one with its neighbours."""
NEAR = 1 << 12
"""Bytes between two that are read along with them."""


class Tensor:
    """A step under way: where it goes, and the digests of its chunks as they come."""

    __slots__ = ("counts", "crc", "leaves", "slot", "source", "sources", "step")

    def __init__(self, step: Step, slot: Slot, sources: Sequence[Source]) -> None:
        self.step = step
        self.slot = slot
        self.sources = sources
        self.source = sources[step.info.data.file]
        count = -(-slot.nbytes // LEAF) if slot.nbytes > LEAF else 1
        self.leaves: list[bytes] = [b""] * count
        self.counts: list[Counts] = []
        self.crc = 0

    @property
    def digest(self) -> bytes:
        """The content digest of what was written (docs/content-id.md)."""
        return plain_digest(self.step.dtype.name, self.step.shape, data_digest(self.leaves))

    @property
    def splits(self) -> bool:
        """Whether any chunk can be made without those before it."""
        info = self.step.info
        return self.step.way == MOVE or (not info.parts and canonical.is_addressable(info))


Chunk = tuple[Tensor, int]
"""A tensor, and the number of one of its leaves."""


def _chunks(tensors: Iterable[Tensor], apart: list[Tensor]) -> Iterator[tuple[Chunk, int]]:
    """The chunks of tensors that can be cut, each with its size; the others are set ``apart``."""
    for tensor in tensors:
        if not tensor.splits:
            apart.append(tensor)
            continue
        nbytes = tensor.slot.nbytes
        for number in range(len(tensor.leaves)):
            yield (tensor, number), min(LEAF, nbytes - number * LEAF)


class Mover:
    """Writes the tensors of one file.

    ``verify`` reads each chunk back at once, and compares it; ``digests`` hashes it too.
    """

    def __init__(self, out: Out, *, verify: bool, digests: bool, jobs: int, tick: Tick) -> None:
        self.out = out
        self.verify = verify
        self.digests = verify and digests
        self.jobs = jobs
        self.tick = tick
        self._own = threading.local()

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Write all of them. Raises AccessError, VerifyError, FormatError of a broken stream."""
        for sources in {id(item.sources): item.sources for item in tensors}.values():
            for source in sources:
                source.fileno()  # opened here once, not by several threads
        nbytes = sum(item.slot.nbytes for item in tensors)
        if nbytes < SMALL * len(tensors):  # threads would only wait for one another
            run_jobs(self._work(sorted(tensors, key=lambda item: item.slot.offset)), 1)
        else:
            in_order = sorted(tensors, key=lambda item: item.step.info.data[:2])
            run_jobs(self._work(in_order), self.jobs, self.out.stop)

    def checksums(self, tensors: Sequence[Tensor]) -> None:
        """The CRC-32 of what each slot holds now."""
        run_jobs((partial(self._checksum, item) for item in tensors), self.jobs, self.out.stop)

    def _work(self, tensors: Sequence[Tensor]) -> Iterator[Callable[[], None]]:
        apart: list[Tensor] = []
        for batch in batches(_chunks(tensors, apart), LEAF):
            yield partial(self._move_batch, batch)
        streams: dict[object, list[Tensor]] = {}
        for tensor in apart:
            data = tensor.step.info.data
            raw = data.encoding == RAW or tensor.step.info.parts
            key = id(tensor) if raw else data._replace(nbytes=0, within=0)
            streams.setdefault(key, []).append(tensor)
        for group in streams.values():
            source, info_of = group[0].source, attrgetter("step.info")
            yield partial(read_stream, group, info_of, source, self._whole)

    # Chunks

    def _move_batch(self, batch: Iterable[Chunk]) -> None:
        done = 0
        row: list[Tensor] = []
        """Tiny tensors whose places adjoin."""
        for tensor, number in batch:
            slot = tensor.slot
            start = number * LEAF
            nbytes = min(LEAF, slot.nbytes - start)
            if tensor.step.way != MOVE:
                self._produce(tensor, number, start, nbytes)
            elif slot.nbytes > SMALL:
                self._move(tensor, number, start, nbytes)
            else:
                if row and row[-1].slot.offset + row[-1].slot.nbytes != slot.offset:
                    self._move_row(row)
                    row = []
                row.append(tensor)
            done += nbytes
        self._move_row(row)
        self.tick(done)

    def _move(self, tensor: Tensor, number: int, start: int, nbytes: int) -> None:
        begin = tensor.step.info.data.offset + start
        self.out.send(tensor.source, begin, nbytes, tensor.slot.offset + start)
        if self.verify:
            tensor.leaves[number] = self._compare(tensor, begin, start, nbytes)

    def _compare(self, tensor: Tensor, begin: int, start: int, nbytes: int) -> bytes:
        """Hold a chunk against the source's, byte for byte, and give its digest (if asked for)."""
        hasher = sha256()
        source, path = tensor.source.fileno(), tensor.source.path
        mine, theirs = self._buffers()
        at = tensor.slot.offset + start
        for done in range(0, nbytes, BUFFER):
            size = min(BUFFER, nbytes - done)
            if size < len(mine):
                mine, theirs = bytearray(size), bytearray(size)
            fill(source, memoryview(mine), begin + done, path)
            self.out.read_into(memoryview(theirs), at + done)
            if mine != theirs:
                raise self._differs(tensor, at + done)
            if self.digests:
                hasher.update(mine)
        return hasher.digest()

    def _move_row(self, row: Sequence[Tensor]) -> None:
        """Tiny tensors cost their calls, not their bytes: adjoining ones are written in one."""
        if not row:
            return
        held = _read_row(row)
        start, whole = row[0].slot.offset, b"".join(held)
        self.out.write(start, whole)
        if not self.verify:
            return
        back = self.out.read(start, len(whole))
        same = back == whole
        for item, piece in zip(row, held, strict=True):
            at = item.slot.offset - start
            if not same and back[at : at + len(piece)] != piece:
                raise self._differs(item, item.slot.offset)
            if self.digests:
                item.leaves[0] = sha256(piece).digest()

    def _buffers(self) -> tuple[bytearray, bytearray]:
        if not hasattr(self._own, "buffers"):
            self._own.buffers = bytearray(BUFFER), bytearray(BUFFER)
        found: tuple[bytearray, bytearray] = self._own.buffers
        return found

    def _produce(self, tensor: Tensor, number: int, start: int, nbytes: int) -> None:
        hasher = sha256()
        at = tensor.slot.offset + start
        for piece in self._pieces(tensor, start, nbytes):
            self._put(tensor, at, piece)
            at += len(piece)
            if self.digests:
                hasher.update(piece)
        tensor.leaves[number] = hasher.digest()

    def _put(self, tensor: Tensor, offset: int, piece: Piece) -> None:
        """Write a piece; read it back and raise VerifyError if it is another."""
        self.out.write(offset, piece)
        if not self.verify:
            return
        left = memoryview(piece)
        while left:
            back = self._buffers()[1]
            if len(left) < len(back):
                back = bytearray(len(left))
            self.out.read_into(memoryview(back), offset)
            if back != left[: len(back)]:
                raise self._differs(tensor, offset)
            left, offset = left[len(back) :], offset + len(back)

    def _pieces(self, tensor: Tensor, start: int, nbytes: int) -> Iterator[Piece]:
        """The target's bytes ``[start, start + nbytes)`` of an addressable tensor."""
        step, info = tensor.step, tensor.step.info
        if step.way != CAST:
            yield from canonical.part(info, tensor.source, start, nbytes, BUFFER)
            return
        from weightkit.values.casts import TILE, caster

        cast = caster(info.dtype, step.dtype)
        first = start // step.dtype.nbytes
        last = first + nbytes // step.dtype.nbytes
        tile = min(TILE, BUFFER // info.dtype.nbytes * info.dtype.items)
        for at in range(first, last, tile):
            begin = info.dtype.nbytes_of(at)
            size = info.dtype.nbytes_of(min(tile, last - at))
            piece, counts = cast(self._read(tensor, begin, size))
            tensor.counts.append(counts)
            yield piece

    def _read(self, tensor: Tensor, begin: int, size: int) -> Piece:
        """Canonical bytes of the source; good until the next call of this thread."""
        info, source = tensor.step.info, tensor.source
        buffer = memoryview(self._buffers()[0])
        if not canonical.is_verbatim(info) or size > len(buffer):
            return b"".join(canonical.part(info, source, begin, size, size))
        fill(source.fileno(), buffer[:size], info.data.offset + begin, source.path)
        return buffer[:size]

    # Streams

    def _whole(self, tensor: Tensor, held: Held | None) -> None:
        hasher, room, number = sha256(), LEAF, 0
        at = tensor.slot.offset
        for piece in _produced(tensor, held):
            if at + len(piece) > tensor.slot.offset + tensor.slot.nbytes:
                raise self._differs(tensor, at)
            self._put(tensor, at, piece)
            at += len(piece)
            left = memoryview(piece)
            while left and self.digests:
                if not room:
                    tensor.leaves[number] = hasher.digest()
                    hasher, room, number = sha256(), LEAF, number + 1
                hasher.update(left[:room])
                taken = min(room, len(left))
                left, room = left[taken:], room - taken
            self.tick(len(piece))
        if at != tensor.slot.offset + tensor.slot.nbytes:
            raise self._differs(tensor, at)
        tensor.leaves[number] = hasher.digest()

    # Checksums

    def _written(self, tensor: Tensor, start: int, nbytes: int) -> Iterator[tuple[memoryview, int]]:
        buffer = memoryview(self._buffers()[0])
        for done in range(start, start + nbytes, BUFFER):
            piece = buffer[: min(BUFFER, start + nbytes - done)]
            self.out.read_into(piece, tensor.slot.offset + done)
            yield piece, done

    def _checksum(self, tensor: Tensor) -> None:
        for piece, _ in self._written(tensor, 0, tensor.slot.nbytes):
            tensor.crc = zlib.crc32(piece, tensor.crc)

    def _differs(self, tensor: Tensor, offset: int) -> VerifyError:
        message = "what was written is not what was read"
        name = tensor.step.name
        return VerifyError(message, path=self.out.path, code="WK670", offset=offset, tensor=name)


def _read_row(row: Sequence[Tensor]) -> list[bytes]:
    """The bytes of each; what lies close together in the source is read in one call."""
    found = [b""] * len(row)
    starts = [item.step.info.data.offset for item in row]
    ends = [start + item.slot.nbytes for start, item in zip(starts, row, strict=True)]
    run: list[int] = []
    for at in sorted(range(len(row)), key=starts.__getitem__):
        if run and (row[at].source is not row[run[0]].source or starts[at] > ends[run[-1]] + NEAR):
            _read_run(row[run[0]].source, run, starts, ends, found)
            run = []
        run.append(at)
    _read_run(row[run[0]].source, run, starts, ends, found)
    return found


def _read_run(
    source: Source,
    run: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    found: list[bytes],
) -> None:
    first = starts[run[0]]
    block = source.pread(first, max(ends[at] for at in run) - first)
    for at in run:
        found[at] = block[starts[at] - first : ends[at] - first]


def _produced(tensor: Tensor, held: Held | None) -> Iterator[Piece]:
    """All of the target's bytes of a tensor, in order."""
    step, info = tensor.step, tensor.step.info
    own = dense.form_of(info).dtype
    pieces = dense.pieces(info, tensor.sources, held)
    if step.dtype.name == own:
        yield from pieces
        return
    from weightkit.values.casts import caster

    for piece, counts in caster(DTYPES[own], step.dtype).over(pieces):
        tensor.counts.append(counts)
        yield piece
