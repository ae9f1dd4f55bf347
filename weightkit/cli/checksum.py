"""``weightkit checksum``: digests of files, and manifests of folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.boundary import ReaderGone
from weightkit.cli.optional import Command
from weightkit.cli.options import Output
from weightkit.cli.progress import Progress, progress
from weightkit.cli.writing import Paper, paper
from weightkit.errors import AccessError, WeightkitError
from weightkit.reports import FileDigests
from weightkit.text import safe_text

if TYPE_CHECKING:
    from weightkit.analyses.digest_cache import DigestCache

EXAMPLES = """\b
Examples:
  weightkit checksum model.safetensors
  weightkit checksum Llama-3.1-8B/ > SHA256SUMS
  weightkit checksum --algorithm sha256 --algorithm blake3 *.gguf
  weightkit checksum --manifest Llama-3.1-8B/

The lines are what sha256sum writes, and what sha256sum -c reads. With several algorithms each line
names its own, and cksum -c reads those it knows. --manifest writes weightkit.manifest.json, with a content
digest of every tensor, into the folder; weightkit verify reads it."""

NAMES = ("sha256", "sha512", "blake2b", "blake3", "git-sha1")
DEFAULT = "weightkit.manifest.json"


@click.command("checksum", epilog=EXAMPLES, cls=Command, optional={"manifest": DEFAULT})
@options.inputs
@click.option(
    "-a",
    "--algorithm",
    "algorithms",
    type=options.Choice(NAMES),
    multiple=True,
    help="sha256 by default; may be given several times: the files are read once.",
)
@click.option(
    "--manifest",
    metavar="[FILE]",
    help=f"Write a manifest of the one PATH, to {DEFAULT} in it or to FILE.",
)
@click.option("--no-cache", is_flag=True, help="Read every file, and remember nothing.")
@click.option("--follow-symlinks", is_flag=True, help="Follow links that lead out of a folder.")
@options.jobs
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    algorithms: tuple[str, ...],
    manifest: str | None,
    no_cache: bool,
    follow_symlinks: bool,
    jobs: int,
    output: Output,
) -> int:
    """Digest files, as sha256sum does, and write manifests.

    PATH is any file, or a folder, of which every file is taken.
    """
    listed = running.all_paths(paths, files_from)
    chosen = tuple(dict.fromkeys(algorithms)) or ("sha256",)
    with _cache(not no_cache, output.quiet) as cache, progress("checksum", output.quiet) as display:
        if manifest is not None:
            return _write_manifest(
                listed, manifest, chosen, jobs, cache, follow_symlinks, display, output
            )
        from weightkit.analyses.checksums import checksums, files_below

        files: list[str] = []
        unread: list[WeightkitError] = []
        for path in listed:
            try:
                files += files_below(path, follow_symlinks)
            except WeightkitError as error:
                unread.append(error)
        running.refuse_overwriting(output.file, files)
        display.total = _total(files)
        outcomes = checksums(files, chosen, jobs, cache, display.tick)
        with paper(output) as out:
            show = _show_json if output.json else _show_lines
            return show([*unread], outcomes, chosen, out)


@contextmanager
def _cache(wanted: bool, quiet: bool) -> Iterator[DigestCache | None]:
    """The cache, if it is wanted and can be had; work goes on without it."""
    from weightkit.analyses.digest_cache import DigestCache

    try:
        found = DigestCache() if wanted else None
    except AccessError as error:
        boundary.hint(f"{error}; everything is read", quiet)
        found = None
    if found is None:
        yield None
        return
    with closing(found):
        yield found


def _total(files: Sequence[str]) -> int:
    total = 0
    for path in files:
        try:
            total += os.stat(path).st_size
        except (OSError, ValueError):  # told when it is its turn
            continue
    return total


Outcomes = Iterator[FileDigests | WeightkitError]


def _show_lines(
    unread: list[WeightkitError], outcomes: Outcomes, algorithms: Sequence[str], out: Paper
) -> int:
    from weightkit.analyses.checksums import TAGS, line

    for error in unread:
        boundary.complain(str(error))
    for found in outcomes:
        if isinstance(found, WeightkitError):
            out.flush()
            boundary.complain(str(found))
            unread.append(found)
            continue
        for name in algorithms:
            tag = TAGS[name] if len(algorithms) > 1 else ""
            _write_raw(out, line(found.digests[name], found.path, tag))
    return boundary.worst(error.exit_status for error in unread)


def _write_raw(out: Paper, text: str) -> None:
    """Write a path with the very bytes that it has: another program will look for that file.

    To a terminal, where only people look, it is written so that it cannot steer it.
    """
    try:
        if out.stream.isatty():
            out.stream.write(f"{safe_text(text.rstrip())}\n")
            return
        out.stream.flush()
        out.stream.buffer.write(os.fsencode(text))
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise AccessError(error.strerror or str(error), path=out.name, code="WK010") from error


def _show_json(
    unread: list[WeightkitError], outcomes: Outcomes, algorithms: Sequence[str], out: Paper
) -> int:
    from weightkit import __version__
    from weightkit.render import json

    files = []
    for found in outcomes:
        if isinstance(found, WeightkitError):
            unread.append(found)
        else:
            files.append(json.plain(found))
    result = {"files": files, "unread": [json.error(error)["error"] for error in unread]}
    out.write(json.text(json.envelope([result], __version__, many=False)))
    return boundary.worst(error.exit_status for error in unread)


def _write_manifest(
    listed: Sequence[str],
    manifest: str,
    algorithms: Sequence[str],
    jobs: int,
    cache: DigestCache | None,
    follow: bool,
    display: Progress,
    output: Output,
) -> int:
    from weightkit.analyses.manifests import listed as names_of
    from weightkit.analyses.manifests import make_manifest, manifest_text

    if len(listed) != 1:
        message = f"A manifest is of one PATH, not {len(listed)}; write --manifest=FILE."
        raise click.UsageError(message)
    if output.json or output.file:
        raise click.UsageError("--manifest writes JSON of its own: no --json, no -o.")
    (path,) = listed
    folder, names = names_of(path, [manifest], follow)
    target = os.path.join(folder, DEFAULT) if manifest == DEFAULT else manifest
    display.total = _total([os.path.join(folder, name) for name in names])
    if not os.path.isdir(path):
        running.refuse_overwriting(target, [path])
    found = make_manifest(
        path,
        algorithms,
        leave_out=[target],
        jobs=jobs,
        cache=cache,
        follow=follow,
        tick=display.tick,
    )
    with paper(Output(True, target, output.quiet, "never")) as out:
        out.write(manifest_text(found))
    tensors = sum(len(item.tensors) for item in found.files)
    boundary.hint(f"{target}: {len(found.files)} files, {tensors} tensors", output.quiet)
    for item in found.files:
        if item.unread:
            boundary.complain(f"no tensors of {item.path} are listed: {item.unread}")
    return boundary.FINE
