"""``weightkit diff``: what differs between two checkpoints."""

from __future__ import annotations

import os

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.progress import progress
from weightkit.render.blocks import Wish
from weightkit.reports import Diff

EXAMPLES = """\b
Examples:
  weightkit diff model.safetensors pytorch_model.bin
  weightkit diff --values Llama-3.1-8B/ my-fine-tune/
  weightkit diff Llama-3.1-8B/ Llama-3.1-8B-BF16.gguf
  weightkit diff --headers v1/ v2/ --json | jq .kinds
  weightkit diff --ignore recast,metadata model.safetensors model.bin
  weightkit diff --textconv model.safetensors

Tensors are compared by content: the same values in another format, byte order, order or shard
are the same. docs/diff.md says what each word means, and how to make git diff show weights.

Exits 0 if nothing differs, 1 if something does, 3 if something could not be read."""

IGNORABLE = (
    *("changed", "recast", "quantized", "reshaped", "renamed", "added", "removed", "unknown"),
    *("metadata", "template", "config", "tokenizer"),
)


def _kinds(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> frozenset[str]:
    """The kinds of several options, each perhaps a list."""
    kinds = [kind.strip() for text in given for kind in text.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in IGNORABLE:
            from weightkit.text import did_you_mean

            hint = did_you_mean(kind, IGNORABLE) or f" There is {', '.join(IGNORABLE)}."
            raise click.BadParameter(f"{kind!r} is no kind of difference.{hint}")
    return frozenset(kinds)


@click.command("diff", epilog=EXAMPLES)
@click.argument("paths", metavar="A B", nargs=-1, shell_complete=options.complete_files)
@click.option("--headers", is_flag=True, help="Compare names, types and shapes; read no values.")
@click.option(
    "--values", is_flag=True, help="Say how far values are apart: largest difference, L2, cosine."
)
@click.option("--tensors", is_flag=True, help="List every tensor that differs by itself.")
@click.option(
    "--ignore",
    metavar="KIND,...",
    shell_complete=options.complete_words(lambda: IGNORABLE),
    multiple=True,
    callback=_kinds,
    help="Differences that do not count: recast, renamed, metadata, config, ...",
)
@click.option("--textconv", is_flag=True, help="Print one file as lines, for git to compare.")
@click.option("--limit", metavar="N", type=click.IntRange(0), help="Rows of a table; 0 for all.")
@options.choosing
@click.option("--key-b", metavar="PATH", help="The same as --key, of B.")
@click.option("--variant-b", metavar="NAME", help="The same as --variant, of B.")
@options.jobs
@options.output
def command(
    paths: tuple[str, ...],
    headers: bool,
    values: bool,
    tensors: bool,
    ignore: frozenset[str],
    textconv: bool,
    limit: int | None,
    choosing: options.Choosing,
    key_b: str | None,
    variant_b: str | None,
    jobs: int,
    output: options.Output,
) -> int:
    """Say what differs between two checkpoints of any formats.

    A and B are files, folders, indexes or shards. --key and --variant choose from A.
    """
    if len(paths) != (1 if textconv else 2):
        raise click.UsageError("Name one file." if textconv else "Name two checkpoints, A and B.")
    if headers and values:
        raise click.UsageError("--headers reads no values that --values could compare.")
    if textconv and (headers or values or tensors or output.json):
        raise click.UsageError("--textconv prints lines of text, and nothing else.")
    if textconv:
        return _textconv(paths[0], jobs, output)
    from weightkit.render import diff as view

    running.refuse_overwriting(output.file, paths)
    theirs = {**choosing.arguments, "key": key_b, "variant": variant_b}
    compared = "headers" if headers else "values" if values else "content"

    # Our own threads work on tiles; BLAS's, which start when numpy does, would fight with them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    def work(path: str) -> Diff:
        from weightkit.analyses.diffs import diff
        from weightkit.analyses.digests import nbytes_to_read
        from weightkit.opening import open_checkpoint

        with (
            open_checkpoint(path, **choosing.arguments) as a,
            open_checkpoint(paths[1], **theirs) as b,
            progress("diff", output.quiet) as display,
        ):
            display.total = (nbytes_to_read(a) + nbytes_to_read(b)) * (2 if values else 1)
            return diff(
                a,
                b,
                compared,
                ignore=ignore,
                follow_symlinks=choosing.follow_symlinks,
                jobs=jobs,
                tick=display.tick,
            )

    wish = Wish(limit=limit, show=frozenset(["tensors"] if tensors else []))
    return running.each([paths[0]], work, running.Showing(view, output, wish), judge=status)


def status(report: Diff) -> int:
    """0 same, 1 differ, 3 where all that is not the same could not be read."""
    statuses = {"same": boundary.FINE, "differ": boundary.VERDICT, "unknown": boundary.UNREAD}
    return statuses[report.verdict]


def _textconv(path: str, jobs: int, output: options.Output) -> int:
    """What cannot be described further is no failure: git would end its diff of everything."""
    from weightkit.analyses.lines import lines_of
    from weightkit.cli.writing import paper

    running.refuse_overwriting(output.file, [path])
    lines, reason = lines_of(path, jobs)
    if reason:
        boundary.complain(reason)
    with paper(output) as out:
        out.write("".join(f"{line}\n" for line in lines))
    return boundary.FINE
