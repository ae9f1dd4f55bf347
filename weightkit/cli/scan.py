"""``weightkit scan``: is it safe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.writing import paper
from weightkit.findings import ScanReport
from weightkit.render.blocks import Wish

EXAMPLES = """\b
Examples:
  weightkit scan pytorch_model.bin
  weightkit scan downloads/ --fail-on unsafe
  weightkit scan --explain suspicious.pkl
  weightkit scan models/ --policy policy.toml --sarif scan.sarif
  weightkit scan --json models/ | jq '.files[] | select(.verdict != "safe")'

Verdicts: safe (only inert data and trusted reconstruction), review (names something that is not
in the trusted table), unsafe (would execute, import, read, write or send something), unscanned."""


@click.command("scan", epilog=EXAMPLES)
@options.inputs
@click.option(
    "--fail-on",
    type=options.Choice(["review", "unsafe"]),
    default="review",
    show_default=True,
    help="Exit with 1 at this verdict or a worse one.",
)
@click.option("--explain", is_flag=True, help="Show the pickles as readable pseudo-Python.")
@click.option("--follow-symlinks", is_flag=True, help="Follow links that lead out of a folder.")
@click.option("--include", multiple=True, metavar="GLOB", help="Of folders, only such files.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of folders, no such files.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Processes that scan.")
@click.option("--policy", metavar="FILE", help="Allow and deny globals, set severities (TOML).")
@click.option("--baseline", metavar="FILE", help="Hide the findings that FILE accepts.")
@click.option("--write-baseline", metavar="FILE", help="Accept what is found now, into FILE.")
@click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0 to FILE too.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML to FILE too.")
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    fail_on: str,
    explain: bool,
    follow_symlinks: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    jobs: int,
    output: options.Output,
    **files: str | None,
) -> int:
    """Say whether loading a file would do harm, without loading it.

    PATH is a file of any kind, or a folder, of which every file is judged.
    """
    from weightkit.analyses.listing import Wanted
    from weightkit.analyses.scanning import scan
    from weightkit.render import scan as view

    listed = running.all_paths(paths, files_from)
    for target in (files["write_baseline"], files["sarif"], files["junit"]):
        running.refuse_overwriting(target, listed)
    wanted = Wanted(include, exclude, follow_symlinks)

    def work(_: str) -> ScanReport:
        change = _changes(files["policy"], files["baseline"])
        report = change(scan(listed, explain=explain, wanted=wanted, jobs=jobs))
        _write(report, files, fail_on)
        return report

    return running.each(
        [""],
        work,
        running.Showing(view, output, Wish()),
        judge=lambda report: status(report, fail_on),
        many=False,
    )


def _changes(policy: str | None, baseline: str | None) -> Callable[[ScanReport], ScanReport]:
    """What the policy and the baseline do to a report; both are read before anything is scanned."""
    changes: list[Callable[[ScanReport], ScanReport]] = []
    if policy is not None:
        from weightkit.analyses.policy import apply_policy, read_policy

        rules = read_policy(policy)
        changes.append(lambda report: apply_policy(report, rules))
    if baseline is not None:
        from weightkit.analyses.baseline import apply_baseline, read_baseline

        accepted = read_baseline(baseline)
        changes.append(lambda report: apply_baseline(report, accepted))
    return lambda report: reduce(lambda done, change: change(done), changes, report)


def _write(report: ScanReport, files: Mapping[str, str | None], fail_on: str) -> None:
    """The further files that were asked for, each whole or not at all."""
    for name, target in files.items():
        if target is not None and name in _TEXTS:
            with paper(options.Output(False, target, quiet=True, color="never")) as out:
                out.write(_TEXTS[name](report, fail_on))


def _baseline_text(report: ScanReport, fail_on: str) -> str:
    from weightkit.analyses.baseline import baseline_of
    from weightkit.render import json

    return json.text(baseline_of(report))


def _sarif_text(report: ScanReport, fail_on: str) -> str:
    from weightkit import __version__
    from weightkit.render import sarif

    return sarif.text(report, __version__, status(report, fail_on))


def _junit_text(report: ScanReport, fail_on: str) -> str:
    from weightkit.render import junit

    return junit.text(report, failing(fail_on))


_TEXTS = {"write_baseline": _baseline_text, "sarif": _sarif_text, "junit": _junit_text}


def failing(fail_on: str) -> set[str]:
    """The verdicts at or over ``fail_on``."""
    return {"review", "unsafe"} if fail_on == "review" else {"unsafe"}


def status(report: ScanReport, fail_on: str) -> int:
    """1 for a verdict at or over ``fail_on``, 3 where something was not scanned, else 0."""
    verdicts = {item.verdict for item in report.files}
    statuses = [boundary.VERDICT] if verdicts & failing(fail_on) else []
    if "unscanned" in verdicts or not report.files:
        statuses.append(boundary.UNREAD)
    return boundary.worst(statuses)
