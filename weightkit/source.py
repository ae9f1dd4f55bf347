"""Bytes, read by position and bounds-checked. Input files are never mapped (see the decisions).

``Source`` is a local file, ``Window`` a range of another source (a stored zip member), ``Buffer``
bytes in memory (an inflated one). All three answer ``pread`` and ``extent``, so a room does not
know what it reads from. ``Cursor`` walks a source forward and refuses to pass its end.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from weightkit.errors import AccessError, FormatError, WeightkitError
from weightkit.tensors import DEFLATE, NESTED, RAW, Extent

CHUNK = 1 << 20
_REOPENING = threading.Lock()


class Reader:
    """Read-only bytes with a size. ``path`` and ``entry`` say where they are, for errors."""

    path: str
    entry: str = ""
    size: int
    file: int = 0
    """Which of a checkpoint's files this is part of: goes into the extents."""

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Exactly ``nbytes`` bytes at ``offset``; raises FormatError WK001 where they end early."""
        raise NotImplementedError

    def extent(self, offset: int, nbytes: int) -> Extent:
        """Where a range of this reader lies in the file on disk."""
        raise NotImplementedError

    def peek(self, offset: int, nbytes: int) -> bytes:
        """Like ``pread``, but as many bytes as there are."""
        offset = min(offset, self.size)
        return self.pread(offset, min(nbytes, self.size - offset))

    def chunks(self, offset: int, nbytes: int, chunk: int = CHUNK) -> Iterator[bytes]:
        """The range in pieces of at most ``chunk`` bytes."""
        end = offset + nbytes
        while offset < end:
            piece = self.pread(offset, min(chunk, end - offset))
            yield piece
            offset += len(piece)

    def _check(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            have = max(0, self.size - max(offset, 0))
            raise self.error("WK001", f"{nbytes} bytes wanted, but {have} remain", offset)

    def error(
        self,
        code: str,
        message: str,
        offset: int | None = None,
        tensor: str = "",
        kind: type[WeightkitError] = FormatError,
    ) -> WeightkitError:
        """An error of ``kind`` that carries this reader's path and entry."""
        return kind(
            message, path=self.path, entry=self.entry, code=code, offset=offset, tensor=tensor
        )


class os_errors:  # noqa: N801 - used like a function; as a generator it costs three times as much
    """Turn OSError into AccessError: the one place where the two meet."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise AccessError(reason, path=self.path, code="WK010") from error


class Source(Reader):
    """A regular local file, read with ``pread``.

    Opening refuses what is no regular file (a FIFO would block, a device has no size). The size and
    modification time are kept, and ``check_unchanged`` compares them with the file's later.
    """

    _fd = -1

    def __init__(self, path: str | os.PathLike[str], file: int = 0) -> None:
        self.path = os.fspath(path)
        self.file = file
        self._stamp: tuple[int, int, int, int] | None = None
        self.size = self._open()

    def _open(self) -> int:
        """Open the file and give its size; the second time it must be the same file."""
        with os_errors(self.path):
            # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            try:
                self._fd = os.open(self.path, flags)
            except ValueError as error:  # a NUL byte in the path
                raise AccessError(str(error), path=self.path, code="WK010") from error
            except OSError as error:
                if error.errno == errno.ENXIO:  # a socket, or a device without a driver
                    raise self._not_a_file("special file") from error
                raise
            status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise self._not_a_file("directory" if stat.S_ISDIR(status.st_mode) else "special file")
        stamp = _stamp(status)
        if self._stamp is not None and stamp != self._stamp:
            self.close()
            raise self._changed()
        self._stamp = stamp
        return status.st_size

    def pread(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        if self._fd < 0:  # closed to save descriptors; the same file is opened again
            with _REOPENING:  # threads may read one file
                if self._fd < 0:
                    self._open()
        with os_errors(self.path):
            data = os.pread(self._fd, nbytes, offset)
            if len(data) == nbytes:
                return data
            pieces = [data]
            have = len(data)
            while have < nbytes and data:  # Linux reads at most 2 GiB - 4 KiB at once
                data = os.pread(self._fd, nbytes - have, offset + have)
                pieces.append(data)
                have += len(data)
        if have < nbytes:
            message = f"the file was {self.size} bytes long and now ends at {offset + have}"
            raise AccessError(message, path=self.path, code="WK012", offset=offset + have)
        return b"".join(pieces)

    def extent(self, offset: int, nbytes: int) -> Extent:
        return Extent(self.file, offset, nbytes, RAW)

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """Size, modification time in ns, inode and device, as they were when it was opened."""
        assert self._stamp is not None
        return self._stamp

    def check_unchanged(self) -> None:
        """Raise AccessError WK012 if the file's size or modification time changed since opening."""
        with os_errors(self.path):
            status = os.fstat(self._fd) if self._fd >= 0 else os.stat(self.path)
        if _stamp(status) != self._stamp:
            raise self._changed()

    def _not_a_file(self, kind: str) -> AccessError:
        return AccessError(f"not a regular file but a {kind}", path=self.path, code="WK011")

    def _changed(self) -> AccessError:
        return AccessError("the file changed while it was read", path=self.path, code="WK012")

    def fileno(self) -> int:
        """The open file descriptor, for ``sendfile`` and ``copy_file_range``."""
        if self._fd < 0:
            self._open()
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


class Window(Reader):
    """``size`` bytes of another reader from ``start`` on: a member that is stored as it is."""

    def __init__(self, parent: Reader, start: int, size: int, entry: str) -> None:
        self.parent = parent
        self.start = start
        self.size = size
        self.path = parent.path
        self.file = parent.file
        self.entry = f"{parent.entry}!{entry}" if parent.entry else entry

    def pread(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        return self.parent.pread(self.start + offset, nbytes)

    def extent(self, offset: int, nbytes: int) -> Extent:
        return self.parent.extent(self.start + offset, nbytes)


class Buffer(Reader):
    """Bytes in memory that came out of a compressed stream of ``parent`` (or of nowhere).

    ``origin`` is the (offset, stored bytes) of a raw deflate stream in the file, if it is one: then
    a tensor inside can still be addressed; else it is ``nested``.
    """

    def __init__(
        self, data: bytes, path: str = "", entry: str = "", origin: Extent | None = None
    ) -> None:
        self.data = data
        self.size = len(data)
        self.path = path
        self.entry = entry
        self.origin = origin
        self.file = origin.file if origin is not None else 0

    def pread(self, offset: int, nbytes: int) -> bytes:
        self._check(offset, nbytes)
        return self.data[offset : offset + nbytes]

    def extent(self, offset: int, nbytes: int) -> Extent:
        if self.origin is not None and self.origin.encoding == RAW:
            return Extent(
                self.file, self.origin.offset, nbytes, DEFLATE, offset, self.origin.nbytes
            )
        return Extent(self.file, 0, nbytes, NESTED, offset)


class Forgotten(Reader):
    """What is left of a reader whose bytes were let go: its names and its size."""

    def __init__(self, reader: Reader) -> None:
        self.path, self.entry, self.size = reader.path, reader.entry, reader.size
        self.file = reader.file

    def pread(self, offset: int, nbytes: int) -> bytes:
        raise self.error("WK002", "the bytes were let go", offset)


class Cursor:
    """A position in a reader that moves forward; numbers and strings are read at it.

    Keeps one window of bytes, so that many small reads cost one ``pread``. ``order`` is "<" or ">".
    """

    def __init__(self, source: Reader, position: int = 0, order: str = "<") -> None:
        self.source = source
        self.order = order
        self._window = b""
        self._start = position
        self._at = 0

    @property
    def position(self) -> int:
        """Offset of the next byte in the source."""
        return self._start + self._at

    @property
    def remaining(self) -> int:
        """Bytes between here and the end of the source."""
        return self.source.size - self.position

    def take(self, nbytes: int, what: str = "", code: str = "WK001") -> bytes:
        """The next ``nbytes`` bytes; raises FormatError ``code`` if fewer remain."""
        at = self._at
        end = at + nbytes
        if not at <= end <= len(self._window):
            self._fill(nbytes, what, code)
            at, end = 0, nbytes
        self._at = end
        return self._window[at:end]

    def skip(self, nbytes: int, what: str = "", code: str = "WK001") -> None:
        """Move past ``nbytes`` bytes without reading them."""
        if not 0 <= nbytes <= self.remaining:
            raise self.short(nbytes, what, code)
        self._at += nbytes
        if self._at > len(self._window):
            self._start += self._at
            self._window, self._at = b"", 0

    def unpack(self, form: str, what: str = "", code: str = "WK001") -> tuple[int, ...]:
        """Numbers by a ``struct`` format without its order character."""
        form = self.order + form
        return struct.unpack(form, self.take(struct.calcsize(form), what, code))

    def short(self, nbytes: int, what: str, code: str) -> WeightkitError:
        what = f"{what} of {nbytes} bytes" if what else f"{nbytes} bytes wanted"
        return self.source.error(code, f"{what}, but {self.remaining} remain", self.position)

    def _fill(self, nbytes: int, what: str, code: str) -> None:
        if nbytes < 0 or nbytes > self.remaining:
            raise self.short(nbytes, what, code)
        self._start += self._at
        self._at = 0
        want = max(nbytes, 1 << 16)
        self._window = self.source.peek(self._start, want)


def read_many(source: Reader, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of several (offset, nbytes) ranges, in the order asked.

    One call, so that a remote source can fetch them together.
    """
    for offset, nbytes in ranges:
        yield source.pread(offset, nbytes)
