"""``weightkit id``: what a checkpoint holds, whatever format holds it."""

from __future__ import annotations

import click

from weightkit.cli import options, running
from weightkit.cli.progress import progress
from weightkit.render.blocks import Wish
from weightkit.reports import ContentId

EXAMPLES = """\b
Examples:
  weightkit id model.safetensors pytorch_model.bin
  weightkit id --tensors Llama-3.1-8B/
  weightkit id --json model.gguf | jq -r .id

Two checkpoints with the same id hold the same tensors under the same names, bit for bit. Format,
shards, byte order, order of tensors and metadata do not matter. docs/content-id.md defines it."""


@click.command("id", epilog=EXAMPLES)
@options.inputs
@click.option("--tensors", is_flag=True, help="Show the digest of every tensor.")
@options.jobs
@options.choosing
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    tensors: bool,
    jobs: int,
    choosing: options.Choosing,
    output: options.Output,
) -> int:
    """Print the content id: equal for the same weights in any format.

    PATH is a file of any format, a folder, an index, one shard of many. Every value is read.
    """
    from weightkit.render import content

    def identify(path: str) -> ContentId:
        from weightkit.analyses.digests import content_id, nbytes_to_read
        from weightkit.opening import open_checkpoint

        with (
            open_checkpoint(path, **choosing.arguments) as checkpoint,
            progress("id", output.quiet) as display,
        ):
            display.total = nbytes_to_read(checkpoint)
            return content_id(checkpoint, jobs, display.tick)

    return running.each(
        running.all_paths(paths, files_from),
        identify,
        running.Showing(content, output, Wish(show=frozenset(["tensors"] if tensors else []))),
        many=running.is_list(paths, files_from),
        whole=True,
    )
