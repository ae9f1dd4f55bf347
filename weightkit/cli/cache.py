"""``weightkit cache``: the digests of files that have not changed."""

from __future__ import annotations

import click

from weightkit.cli import options, running

EXAMPLES = """\b
Examples:
  weightkit cache show
  weightkit cache clear"""


@click.command("cache", epilog=EXAMPLES)
@click.argument("action", type=options.Choice(["show", "clear"]), default="show")
@options.output
def command(action: str, output: options.Output) -> int:
    """Show or clear the cache of file digests.

    checksum keeps the digests of files there by path, size, time, inode and device, so that a file
    that has not changed is not read again. verify never asks it.
    """
    from weightkit.analyses import digest_cache
    from weightkit.render import cache

    work = {"show": digest_cache.show, "clear": digest_cache.clear}[action]
    return running.show(work(), running.Showing(cache, output))
