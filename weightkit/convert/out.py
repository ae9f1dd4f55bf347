"""A file that is written in any order, by several threads."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable

from weightkit.errors import AccessError, PlanError, VerifyError
from weightkit.source import Source, os_errors

Piece = bytes | memoryview
SENT = 8 << 20
"""Bytes that one call of ``sendfile`` moves: between two, an interrupt is heard."""


class Stopped(Exception):
    """Another thread failed, or was interrupted; nobody hears of this one."""


class Out:
    """A new file that is written in any order, by several threads; ``hold`` gets its descriptor."""

    def __init__(self, path: str, size: int, hold: Callable[[int], None]) -> None:
        self.path = path
        self.size = size
        self._own = threading.local()
        self._turn = threading.Lock()  # the kernel lets one write at a time, and spins for its turn
        self._opened: list[int] = []
        self._stopped = False
        with os_errors(path):
            self.fd = self._made()
            self._opened.append(self.fd)
            try:
                hold(self.fd)
                self._sized()
            except BaseException:
                self.close()
                raise

    def stop(self) -> None:
        """Let whoever still writes end at the next piece."""
        self._stopped = True

    def _go_on(self) -> None:
        if self._stopped:
            raise Stopped

    def _made(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError as error:  # it was not there when the place was swept
            message = "another process writes it"
            raise PlanError(message, path=self.path, code="WK669") from error

    def _sized(self) -> None:
        os.ftruncate(self.fd, self.size)

    def write(self, offset: int, data: Piece) -> None:
        """All of ``data`` at ``offset``; raises AccessError (no space, a broken disk)."""
        self._go_on()
        left = memoryview(data)
        with os_errors(self.path):
            while left:
                with self._turn:
                    done = os.pwrite(self.fd, left, offset)
                left, offset = left[done:], offset + done

    def send(self, source: Source, start: int, nbytes: int, offset: int) -> None:
        """Let the kernel copy a range of ``source`` to ``offset``."""
        self._go_on()
        try:
            fd = self._positioned(offset)
        except OSError as error:
            raise self._failed(error) from error
        end = start + nbytes
        while start < end:
            try:
                done = os.sendfile(fd, source.fileno(), start, min(SENT, end - start))
            except OSError as error:
                raise self._failed(error) from error
            if not done:
                message = f"the file was {source.size} bytes long and now ends at {start}"
                raise AccessError(message, path=source.path, code="WK012", offset=start)
            start += done

    def _positioned(self, offset: int) -> int:
        """A descriptor of this thread's own: ``sendfile`` writes at its position."""
        fd = getattr(self._own, "fd", -1)
        if fd < 0:
            fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            self._own.fd = fd
            self._opened.append(fd)
        os.lseek(fd, offset, os.SEEK_SET)
        return fd

    def _failed(self, error: OSError) -> AccessError:
        return AccessError(error.strerror or str(error), path=self.path, code="WK010")

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset`` on."""
        self._go_on()
        fill(self.fd, buffer, offset, self.path)

    def read(self, offset: int, nbytes: int) -> bytes:
        """At most ``nbytes`` bytes at ``offset``."""
        with os_errors(self.path):
            return os.pread(self.fd, nbytes, offset)

    def sync(self) -> None:
        """Wait until the disk has it."""
        with os_errors(self.path):
            os.fsync(self.fd)

    def close(self) -> None:
        """Close every descriptor."""
        while self._opened:
            os.close(self._opened.pop())


class Kept(Out):
    """A file that an earlier run finished: what would be written is compared with what it holds.

    Raises VerifyError for another kind of file, size or content. What is sent is left to be compared
    by whoever reads it back.
    """

    def __init__(self, path: str, size: int) -> None:
        super().__init__(path, size, lambda _: None)

    def _made(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._other(0) from error

    def _sized(self) -> None:
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != self.size:
            raise self._other(0)

    def write(self, offset: int, data: Piece) -> None:
        """Compare ``data`` with what is at ``offset``."""
        self._go_on()
        left = memoryview(data)
        while left:
            back = self.read(offset, len(left))
            if not back or back != left[: len(back)]:
                raise self._other(offset)
            left, offset = left[len(back) :], offset + len(back)

    def send(self, source: Source, start: int, nbytes: int, offset: int) -> None:
        """Nothing: it is there, or reading it back will tell."""

    def _other(self, offset: int) -> VerifyError:
        message = "the file is not what it was when it was finished"
        return VerifyError(message, path=self.path, code="WK670", offset=offset)


def fill(fd: int, buffer: memoryview, offset: int, path: str) -> None:
    with os_errors(path):
        while buffer:
            done = os.preadv(fd, [buffer], offset)
            if not done:
                raise AccessError(f"ends at {offset}", path=path, code="WK012", offset=offset)
            buffer, offset = buffer[done:], offset + done
