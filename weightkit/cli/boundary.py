"""The one place where errors end: what went wrong becomes a line, or JSON, and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable

import click

from weightkit.cli import signals
from weightkit.errors import WeightkitError

FINE, VERDICT, USAGE, UNREAD, NETWORK, INTERRUPTED = 0, 1, 2, 3, 4, 130
BROKEN_PIPE = 141
"""As the shell reports a process that SIGPIPE ended."""


class ReaderGone(Exception):
    """Whoever read our output has left. No OSError: click would take that one and exit with 1."""


_RANK = [FINE, USAGE, UNREAD, NETWORK, VERDICT, INTERRUPTED]


def worst(statuses: Iterable[int]) -> int:
    """The exit status of several inputs: a verdict outranks the network, that an unread file."""
    return max(statuses, key=_RANK.index, default=FINE)


def guard(work: Callable[[], int], as_json: bool) -> int:
    """The status of ``work``, whatever it raises on purpose; nothing else is caught."""
    try:
        with signals.heard():
            try:
                return _guarded(work, as_json)
            except signals.Stopped as stop:  # said in here, where a repeated signal ends nothing
                _say_ended(f"ended by {stop.name}", stop)
                raise
    except signals.Stopped as stop:
        return stop.exit_status


def _guarded(work: Callable[[], int], as_json: bool) -> int:
    try:
        status = work()
        _flush()
    except click.ClickException as error:
        return _usage(error, as_json)
    except (click.Abort, KeyboardInterrupt) as error:
        _say_ended("interrupted", error.__cause__ or error)
        return INTERRUPTED
    except WeightkitError as error:
        return report(error, as_json)
    except (BrokenPipeError, ReaderGone):
        _silence()
        return BROKEN_PIPE
    return status


def _say_ended(message: str, reason: BaseException) -> None:
    """What ended the work, and what was noted on the way out; the terminal may be gone."""
    with contextlib.suppress(OSError):
        complain("; ".join([message, *getattr(reason, "__notes__", ())]))


def report(error: WeightkitError, as_json: bool) -> int:
    """Say what went wrong, on standard error or as JSON on standard output."""
    if as_json:
        from weightkit.render import json

        _print_json(json.error(error))
    else:
        complain_of(error)
    return error.exit_status


def complain(message: str) -> None:
    """A line on standard error; a terminal that cannot show a sign gets its escape."""
    if sys.stderr is not None:
        encoding = sys.stderr.encoding or "ascii"
        text = f"weightkit: {message}".encode(encoding, "backslashreplace").decode(encoding)
        print(text, file=sys.stderr)  # noqa: T201


def complain_of(error: WeightkitError) -> None:
    """An error, and its details on lines of their own."""
    complain("\n  ".join([str(error), *error.details]))


def hint(message: str, quiet: bool) -> None:
    """A line of advice on standard error, unless the user wants none."""
    if not quiet:
        complain(f"hint: {message}")


def _usage(error: click.ClickException, as_json: bool) -> int:
    if as_json:
        from weightkit.render import json

        _print_json(json.failure("usage", error.format_message()))
    else:
        error.show()
    return USAGE


def _print_json(result: dict[str, object]) -> None:
    from weightkit import __version__
    from weightkit.render import json

    print(json.text(json.envelope([result], __version__, many=False)), end="")  # noqa: T201


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _silence() -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
