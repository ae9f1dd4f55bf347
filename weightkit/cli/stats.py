"""``weightkit stats``: what the values are like."""

from __future__ import annotations

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.optional import Command
from weightkit.cli.progress import progress
from weightkit.render.blocks import Wish
from weightkit.statistics import FLAGS, Statistics
from weightkit.text import did_you_mean

EXAMPLES = """\b
Examples:
  weightkit stats model.safetensors
  weightkit stats model.gguf --tensors 'blk.0.*' --sort absmax
  weightkit stats pytorch_model.bin --tensors lm_head.weight
  weightkit stats --fail-on nan,inf checkpoints/step-9000/
  weightkit stats --json model.pt | jq '.tensors[] | select(.nan > 0).name'

--fail-on takes nan, inf, fp16 (finite, but infinite as float16), subnormal, zero (all of a tensor),
constant, dead-rows (all zero) and duplicate. --tensors takes a value or none, as with inspect;
other tensors are not read then. docs/stats.md says what each figure means."""

SORTS = ("file", "name", "size", "dtype", "absmax", "std", "zeros", "nan", "inf")


def _flags(context: click.Context, option: click.Parameter, lists: tuple[str, ...]) -> list[str]:
    """The names of comma-separated lists."""
    names = [name.strip() for text in lists for name in text.split(",")]
    for name in names:
        if name not in FLAGS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(FLAGS)}.{_guess(name)}")
    return names


def _guess(name: str) -> str:
    return did_you_mean(name, FLAGS)


@click.command("stats", cls=Command, optional={"tensors": "*"}, epilog=EXAMPLES)
@options.inputs
@click.option("--tensors", metavar="[PATTERN]", help="All tensors, or only those that match.")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="Rows per list (0: all).")
@click.option("--sort", type=options.Choice(SORTS), default="file", help="Order of the rows.")
@click.option(
    "--fail-on",
    metavar="WHAT,...",
    shell_complete=options.complete_words(lambda: FLAGS),
    multiple=True,
    callback=_flags,
    help="Exit 1 when a tensor has any of these.",
)
@options.jobs
@options.choosing
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    tensors: str | None,
    limit: int | None,
    sort: str,
    fail_on: list[str],
    jobs: int,
    choosing: options.Choosing,
    output: options.Output,
) -> int:
    """Say what the values are like: ranges, moments, histograms, NaN, dead rows, copies.

    PATH is a file of any format, a folder, an index, one shard of many. Every value is read.
    """
    from weightkit.render import stats

    def count(path: str) -> Statistics:
        from weightkit.analyses.statistics import nbytes_to_read, statistics
        from weightkit.opening import open_checkpoint

        with (
            open_checkpoint(path, **choosing.arguments) as checkpoint,
            progress("stats", output.quiet) as display,
        ):
            display.total = nbytes_to_read(checkpoint, tensors or "")
            return statistics(checkpoint, tensors or "", jobs, display.tick)

    return running.each(
        running.all_paths(paths, files_from),
        count,
        running.Showing(stats, output, Wish(limit, sort, frozenset(["tensors"] * bool(tensors)))),
        judge=lambda report: status(report, fail_on),
        many=running.is_list(paths, files_from),
        whole=True,
    )


def status(report: Statistics, fail_on: list[str]) -> int:
    """1 for what ``fail_on`` names, 3 where values could not be had."""
    bad = not set(fail_on).isdisjoint(report.flags)
    unread = any(row.unread for row in report.tensors)
    return boundary.worst(
        [boundary.VERDICT if bad else boundary.FINE, boundary.UNREAD if unread else boundary.FINE]
    )
