"""A file that is written in any order, by several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from weightkit.errors import AccessError, PlanError
from weightkit.source import Source, os_errors

Piece = bytes | memoryview
SENT = 8 << 20
"""Bytes that one call of ``sendfile`` moves: between two, an interrupt is heard."""


class Out:
    """A new file that is written in any order, by several threads; ``hold`` gets its descriptor."""

    def __init__(self, path: str, size: int, hold: Callable[[int], None]) -> None:
        self.path = path
        self.size = size
        self._own = threading.local()
        self._turn = threading.Lock()  # the kernel lets one write at a time, and spins for its turn
        self._opened: list[int] = []
        with os_errors(path):
            self.fd = self._made()
            self._opened.append(self.fd)
            try:
                hold(self.fd)
                os.ftruncate(self.fd, size)
            except BaseException:
                self.close()
                raise

    def _made(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError as error:  # it was not there when the place was swept
            message = "another process writes it"
            raise PlanError(message, path=self.path, code="WK669") from error

    def write(self, offset: int, data: Piece) -> None:
        """All of ``data`` at ``offset``; raises AccessError (no space, a broken disk)."""
        left = memoryview(data)
        with os_errors(self.path):
            while left:
                with self._turn:
                    done = os.pwrite(self.fd, left, offset)
                left, offset = left[done:], offset + done

    def send(self, source: Source, start: int, nbytes: int, offset: int) -> None:
        """Let the kernel copy a range of ``source`` to ``offset``."""
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


def fill(fd: int, buffer: memoryview, offset: int, path: str) -> None:
    with os_errors(path):
        while buffer:
            done = os.preadv(fd, [buffer], offset)
            if not done:
                raise AccessError(f"ends at {offset}", path=path, code="WK012", offset=offset)
            buffer, offset = buffer[done:], offset + done
