"""``weightkit inspect``: what is in it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.optional import Command
from weightkit.errors import UnknownName
from weightkit.render.blocks import Wish
from weightkit.reports import Inspection
from weightkit.text import did_you_mean

EXAMPLES = """\b
Examples:
  weightkit inspect model.safetensors
  weightkit inspect --by layer Llama-3.1-8B/
  weightkit inspect model.gguf --tensors 'blk.0.*' --sort size
  weightkit inspect model.gguf --metadata tokenizer.chat_template
  weightkit inspect --json --tensors model.pt | jq '.tensors[].name'
  find . -name '*.safetensors' | weightkit inspect --json -

--tensors and --metadata take a value or none. A word after them that names an existing file is
a PATH; --tensors=PATTERN is always a pattern."""


LENIENT = "--lenient shows what can be described all the same"
BY = ("component", "region", "layer", "module", "dtype", "kind", "file", "expert")
SORTS = ("file", "name", "size", "parameters", "dtype")


@click.command("inspect", cls=Command, optional={"tensors": "*", "metadata": "*"}, epilog=EXAMPLES)
@options.inputs
@click.option("--by", type=options.Choice(BY), help="What to divide by; component if not said.")
@click.option("--tensors", metavar="[PATTERN]", help="List the tensors, or those that match.")
@click.option("--metadata", metavar="[KEY]", help="Show the metadata, or all of one value.")
@click.option("--explain", metavar="TENSOR", help="Say what a tensor counts as, and why.")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="Rows per list (0: all).")
@click.option("--sort", type=options.Choice(SORTS), default="file", help="Order of the rows.")
@options.opening
@options.fail_on
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    opening: options.Opening,
    output: options.Output,
    fail_on: str | None,
    by: str | None,
    limit: int | None,
    sort: str,
    **sections: str | None,
) -> int:
    """Show what is inside weight files: tensors, parameters, types, metadata.

    PATH is a file of any format, a folder in the Hugging Face layout, an index, one shard of many;
    - reads paths from standard input.
    """
    from weightkit.analyses.inspection import inspect
    from weightkit.opening import open_checkpoint
    from weightkit.render import inspection

    listed = running.all_paths(paths, files_from)
    wish = _wish(sections, limit, sort, many=len(listed) > 1)

    def look(path: str) -> Inspection:
        with open_checkpoint(path, **opening.arguments) as checkpoint:
            report = inspect(checkpoint, by=by or "component", rows=_needs_rows(wish))
        return _known(report, wish, output.quiet)

    return running.each(
        listed,
        look,
        running.Showing(inspection, output, wish, "" if opening.lenient else LENIENT),
        judge=lambda report: running.verdict(report.findings, fail_on),
        many=running.is_list(paths, files_from),
        whole=True,
    )


def _wish(sections: dict[str, str | None], limit: int | None, sort: str, many: bool) -> Wish:
    asked = {name: value for name, value in sections.items() if value is not None}
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in asked)}: choose one.")
    show = frozenset([*asked, "titled"] if many else asked)
    return Wish(limit, sort, show, pattern="".join(asked.values()))


def _needs_rows(wish: Wish) -> bool:
    return not wish.show.isdisjoint({"tensors", "explain"})


def _known(report: Inspection, wish: Wish, quiet: bool) -> Inspection:
    """The report, if it has what was asked for by name; raises UnknownName with suggestions."""
    if not wish.pattern or wish.pattern == "*":
        return report
    if "metadata" in wish.show:
        kind, names = "metadata key", [*report.metadata]
    else:
        kind, names = "tensor", [row.name for part in _all(report) for row in part.rows or ()]
    if wish.pattern in names:
        return report
    if "tensors" in wish.show and any(sign in wish.pattern for sign in "*?["):
        if not fnmatch.filter(names, wish.pattern):
            boundary.hint(f"{report.path}: no tensor matches {wish.pattern!r}", quiet)
        return report
    raise UnknownName(
        f"no {kind} {wish.pattern!r}.{did_you_mean(wish.pattern, names)}", path=report.path
    )


def _all(report: Inspection) -> Iterator[Inspection]:
    yield report
    for part in report.parts:
        yield from _all(part)
