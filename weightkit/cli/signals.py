"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is half written is taken away first."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGTERM, signal.SIGHUP)
AGAIN = 1.0
"""Seconds in which a second signal means the same as the first: a closed terminal, or an init
system, sends several at once, and none may interrupt the clearing up."""


class Stopped(BaseException):
    """A signal asks this process to end. No Exception: nobody is to handle it on the way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """As ``kill -l`` has it, with SIG."""
        return signal.Signals(self.number).name

    @property
    def exit_status(self) -> int:
        """As the shell reports a process that the signal ended."""
        return 128 + self.number


@contextmanager
def heard() -> Iterator[None]:
    """Raise :class:`Stopped` in the main thread for a signal that would end the process.

    One that is ignored (``nohup``) or that a caller handles stays as it is; so does everything
    outside of the main thread, where Python has no signals.
    """
    found = [number for number in HEARD if signal.getsignal(number) == signal.SIG_DFL]
    hear = _hearer()
    try:
        for number in found:
            signal.signal(number, hear)
    except ValueError:  # not the main thread
        found = []
    try:
        yield
    finally:
        for number in found:
            signal.signal(number, signal.SIG_DFL)


def _hearer() -> signal._HANDLER:
    first = float("-inf")

    def hear(number: int, _: FrameType | None) -> None:
        nonlocal first
        if time.monotonic() - first < AGAIN:
            return
        first = time.monotonic()
        _end_workers()
        raise Stopped(number)

    return hear


def _end_workers() -> None:
    """Ctrl-C reaches a whole terminal, a signal only us; nobody would wait for their results."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return
    # The thread that minds the workers may stumble over their end (CPython 3.11: a future that is
    # cancelled meanwhile), and so leave semaphores to the process that clears up after us.
    threading.excepthook = lambda _: None
    for child in multiprocessing.active_children():
        child.terminate()
