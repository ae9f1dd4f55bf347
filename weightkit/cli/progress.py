"""How far a long reading is, on standard error: only what takes more than a second says so."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

QUIET_FOR, EVERY, EVERY_IN_A_LOG = 1.0, 0.2, 10.0
LONGEST_WAIT = 60.0
WIDTH = 72


class Progress:
    """Counts bytes from any thread; a line is rewritten on a terminal, added to a log else."""

    def __init__(self, title: str, quiet: bool) -> None:
        self.title = title
        self.total = 0
        self._done = 0
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = EVERY if self._terminal else EVERY_IN_A_LOG
        self._start = time.monotonic()
        first = QUIET_FOR if self._terminal else EVERY_IN_A_LOG
        self._next = float("inf") if quiet or sys.stderr is None else self._start + first
        self._shown = False
        self._lock = threading.Lock()

    def expect(self, nbytes: int) -> None:
        """So many bytes there will be."""
        self.total = nbytes

    def tick(self, nbytes: int) -> None:
        """So many more bytes are done."""
        with self._lock:
            self._done += nbytes
            now = time.monotonic()
            if now >= self._next:
                self._next = now + self._every
                self._show(now)

    @contextmanager
    def waiting(self, text: str, nbytes: int) -> Iterator[None]:
        """Say from time to time how long something takes that does not tell how far it is.

        Until :meth:`tick` is called, which does.
        """
        done = threading.Event()
        said = f"{self.title}: {text}, {_size(nbytes)}"

        def told() -> None:
            while not done.wait(max(0.0, min(self._next - time.monotonic(), LONGEST_WAIT))):
                with self._lock:
                    now = time.monotonic()
                    if self._done:
                        return
                    if now < self._next:
                        continue
                    self._next = now + max(self._every, QUIET_FOR)
                    self._write(f"{said}, {_clock(now - self._start)}")

        if self._next == float("inf"):
            yield
            return
        thread = threading.Thread(target=told, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def line(self, seconds: float) -> str:
        """What is said after so many seconds."""
        rate = self._done / max(seconds, 1e-9)
        text = f"{self.title}: {_size(self._done)}"
        if self.total:
            share = min(100, 100 * self._done // self.total)
            left = max(0, self.total - self._done) / max(rate, 1e-9)
            text += f" of {_size(self.total)} ({share} %)"
            return f"{text}, {_size(rate)}/s, {_clock(left)} left"
        return f"{text}, {_size(rate)}/s"

    def close(self) -> None:
        """Take the line off a terminal."""
        if self._shown and self._terminal:
            _print(f"\r{'':{WIDTH}}\r", end="")

    def _show(self, now: float) -> None:
        self._write(self.line(now - self._start))

    def _write(self, text: str) -> None:
        self._shown = True
        if self._terminal:
            _print(f"\r{text[:WIDTH]:{WIDTH}}", end="")
        else:
            _print(f"weightkit: {text}")


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[Progress]:
    """A progress display that goes away at the end, however that comes."""
    display = Progress(title, quiet)
    try:
        yield display
    finally:
        display.close()


def _print(text: str, end: str = "\n") -> None:
    """Nobody has to listen: a terminal that was closed, or a reader that left, stops no work."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)  # noqa: T201


def _size(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"


def _clock(seconds: float) -> str:
    whole = int(seconds + 0.999)
    return f"{whole // 60}:{whole % 60:02}"
