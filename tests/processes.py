"""Processes that tests start and send signals to."""

from __future__ import annotations

import signal


def hear_signals() -> None:
    """For ``preexec_fn``: signals end the process, even if these tests run where they are ignored.

    A shell's background jobs ignore SIGINT and ``nohup`` ignores SIGHUP, and children inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
