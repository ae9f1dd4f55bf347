"""``weightkit scan``: is it safe."""

from __future__ import annotations

import click

from weightkit.cli import boundary, options, running
from weightkit.render.blocks import Wish
from weightkit.reports import ScanReport

EXAMPLES = """\b
Examples:
  weightkit scan pytorch_model.bin
  weightkit scan downloads/ --fail-on unsafe
  weightkit scan --explain suspicious.pkl
  weightkit scan --json models/ | jq '.files[] | select(.verdict != "safe")'

Verdicts: safe (only inert data and trusted reconstruction), review (names something that is not
in the trusted table), unsafe (would execute, import, read, write or send something), unscanned."""


@click.command("scan", epilog=EXAMPLES)
@options.inputs
@click.option(
    "--fail-on",
    type=click.Choice(["review", "unsafe"]),
    default="review",
    show_default=True,
    help="Exit with 1 at this verdict or a worse one.",
)
@click.option("--explain", is_flag=True, help="Show the pickles as readable pseudo-Python.")
@click.option("--follow-symlinks", is_flag=True, help="Follow links to folders.")
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    fail_on: str,
    explain: bool,
    follow_symlinks: bool,
    output: options.Output,
) -> int:
    """Say whether loading a file would do harm, without loading it.

    PATH is a file of any kind, or a folder, of which every file is judged.
    """
    from weightkit.analyses.scanning import scan
    from weightkit.render import scan as view

    listed = running.all_paths(paths, files_from)
    return running.each(
        [""],
        lambda _: scan(listed, explain=explain, follow_symlinks=follow_symlinks),
        running.Showing(view, output, Wish()),
        judge=lambda report: status(report, fail_on),
        many=False,
    )


def status(report: ScanReport, fail_on: str) -> int:
    """1 for a verdict at or over ``fail_on``, 3 where something was not scanned, else 0."""
    failing = {"review", "unsafe"} if fail_on == "review" else {"unsafe"}
    verdicts = {item.verdict for item in report.files}
    statuses = [boundary.VERDICT] if verdicts & failing else []
    if "unscanned" in verdicts or not report.files:
        statuses.append(boundary.UNREAD)
    return boundary.worst(statuses)
