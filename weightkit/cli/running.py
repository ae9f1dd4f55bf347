"""One analysis over many inputs: the work goes on, the worst outcome is the exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import click

from weightkit import __version__
from weightkit.cli import boundary
from weightkit.cli.options import Output
from weightkit.cli.writing import Paper, paper
from weightkit.errors import FormatError, WeightkitError
from weightkit.findings import SEVERITIES, Finding
from weightkit.render.blocks import Block, Wish

R_contra = TypeVar("R_contra", contravariant=True)
R = TypeVar("R")


class View(Protocol[R_contra]):
    """How one kind of report is shown; the modules of ``weightkit.render`` are such."""

    def to_json(self, report: R_contra, wish: Wish, /) -> dict[str, Any]:
        """The report as plain values."""
        ...

    def to_blocks(self, report: R_contra, wish: Wish, /) -> Iterator[Block]:
        """The report for people."""
        ...


class Showing(NamedTuple):
    """A view, what to show of it, and where to; ``hint`` is said when a file was malformed."""

    view: View[Any]
    output: Output
    wish: Wish = Wish()
    hint: str = ""


def each(
    paths: Sequence[str],
    analyse: Callable[[str], R],
    showing: Showing,
    judge: Callable[[R], int] = lambda report: boundary.FINE,
    many: bool | None = None,
    whole: bool = False,
) -> int:
    """Analyse every path and show what came of it; the exit status of all together.

    ``judge`` gives the status that a report calls for. ``many`` says whether JSON is a list of
    results; by default when there is more than one path. With ``whole`` a shard stands for its
    checkpoint, and several of the same one are analysed once.
    """
    refuse_overwriting(showing.output.file, paths)
    many = len(paths) > 1 if many is None else many
    if whole and len(paths) > 1:
        paths = _once(paths, showing.output.quiet)
    with paper(showing.output) as out:
        write = _write_json if showing.output.json else _write_text
        outcomes = (_outcome(path, analyse) for path in paths)
        return write(outcomes, showing, out, judge, many)


def show(report: R, showing: Showing) -> int:
    """Show a single report that no path stands behind."""
    return each([""], lambda path: report, showing)


def all_paths(paths: Sequence[str], files_from: str | None) -> list[str]:
    """The paths of the command line with those of lists in their place; at least one."""
    listed = [path for entry in paths for path in (_listed("-") if entry == "-" else [entry])]
    if files_from is not None:
        listed += _listed(files_from)
    if not paths and files_from is None:
        raise click.UsageError("Name at least one PATH.", click.get_current_context(silent=True))
    return listed


def is_list(paths: Sequence[str], files_from: str | None) -> bool | None:
    """True when paths came in a list, so that JSON keeps its shape however long the list is."""
    return True if files_from is not None or "-" in paths else None


def verdict(findings: Iterable[Finding], fail_on: str | None) -> int:
    """1 when a finding is at or over ``fail_on``, 3 when one is fatal, else 0."""
    from weightkit.rules import RULES

    bar = SEVERITIES.index(fail_on) if fail_on else len(SEVERITIES)
    statuses = (
        boundary.VERDICT
        if SEVERITIES.index(finding.severity) >= bar
        else boundary.UNREAD
        if RULES[finding.code].fatal
        else boundary.FINE
        for finding in findings
    )
    return boundary.worst(statuses)


def refuse_overwriting(target: str | None, sources: Iterable[str]) -> None:
    """Raise a usage error when the output file is one of the inputs, or weights in one of them."""
    if target is None or not os.path.exists(target):
        return
    from weightkit.opening.folders import WEIGHTS

    real = os.path.realpath(target)
    is_weights = real.lower().endswith(WEIGHTS)
    for source in sources:
        same = os.path.exists(source) and os.path.samefile(source, target)
        if same or (is_weights and is_below(real, source)):
            raise click.UsageError(f"-o would overwrite the input {source!r}.")


def is_below(real: str, folder: str) -> bool:
    """Whether a path without links is in a folder."""
    return real.startswith(os.path.join(os.path.realpath(folder), ""))


def _once(paths: Sequence[str], quiet: bool) -> list[str]:
    """The paths without those that mean the same checkpoint as another one before them."""
    kept: dict[object, list[str]] = {}
    for number, path in enumerate(paths):
        kept.setdefault(_checkpoint_of(path) or number, []).append(path)
    for first, *rest in kept.values():
        if rest:
            named = rest[0] if len(rest) == 1 else f"{len(rest)} more"
            boundary.hint(f"{first} and {named} are of one checkpoint, shown once", quiet)
    return [first for first, *_ in kept.values()]


def _checkpoint_of(path: str) -> tuple[str, str] | None:
    from weightkit.opening.folders import whole

    try:
        return whole(path)
    except WeightkitError:  # said when it is opened
        return None


class _Outcome(NamedTuple):
    path: str
    report: Any
    error: WeightkitError | None


def _outcome(path: str, analyse: Callable[[str], Any]) -> _Outcome:
    try:
        return _Outcome(path, analyse(path), None)
    except WeightkitError as error:
        return _Outcome(path, None, error)


def _write_text(
    outcomes: Iterable[_Outcome],
    showing: Showing,
    out: Paper,
    judge: Callable[[Any], int],
    many: bool,
) -> int:
    statuses = []
    between = ""
    for outcome in outcomes:
        if outcome.error is not None:
            statuses.append(_complain(outcome.error, showing, out))
            continue
        out.write(between)
        between = "\n"
        out.write_blocks(showing.view.to_blocks(outcome.report, showing.wish))
        statuses.append(judge(outcome.report))
    return boundary.worst(statuses)


def _write_json(
    outcomes: Iterable[_Outcome],
    showing: Showing,
    out: Paper,
    judge: Callable[[Any], int],
    many: bool,
) -> int:
    from weightkit.render import json

    results: list[Mapping[str, Any]] = []
    statuses = []
    for outcome in outcomes:
        if outcome.error is not None:
            statuses.append(_complain(outcome.error, showing, out))
            results.append(json.error(outcome.error))
        else:
            results.append(showing.view.to_json(outcome.report, showing.wish))
            statuses.append(judge(outcome.report))
    out.write(json.text(json.envelope(results, __version__, many)))
    return boundary.worst(statuses)


def _complain(error: WeightkitError, showing: Showing, out: Paper) -> int:
    out.flush()  # so that lines come in order where both streams are one terminal
    boundary.complain_of(error)
    if showing.hint and isinstance(error, FormatError):
        boundary.hint(showing.hint, showing.output.quiet)
    return error.exit_status


def _listed(source: str) -> list[str]:
    """The paths in a list: one per line, or each ended by a NUL as ``find -print0`` does.

    No option need say which: no path has a NUL in it, and such a list has one at its end at least.
    """
    content = _content(source)
    if b"\0" in content:
        lines = content.split(b"\0")
    else:
        lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line]


def _content(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read() if sys.stdin is not None else b""
    from weightkit.source import os_errors

    with os_errors(source), open(source, "rb") as file:
        return file.read()
