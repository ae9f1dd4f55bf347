"""``weightkit convert``: the same weights in another form, proved the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from weightkit.cli import boundary, options, running
from weightkit.cli.optional import Command
from weightkit.cli.progress import progress
from weightkit.errors import WeightkitError
from weightkit.render.blocks import Wish as Shown

if TYPE_CHECKING:
    from weightkit.convert.wishes import Wish
    from weightkit.plans import Conversion, Errand, Plan

EXAMPLES = """\b
Examples:
  weightkit convert pytorch_model.bin model.safetensors
  weightkit convert Llama-bin/ Llama-safetensors/ --shard-size 5GB
  weightkit convert last.ckpt model.safetensors --key state_dict --sidecar
  weightkit convert big.safetensors small.safetensors --dtype f16
  weightkit convert model.safetensors model.pt
  weightkit convert --recursive models/
  weightkit convert --dry-run --json a.bin a.safetensors | jq .losses

The target's suffix names its format, or --to. Whatever would be lost is refused until its flag
accepts it; --dry-run lists it. What was written is read back, compared and only then renamed: the
target is whole or absent. Nothing in the source is run."""


def _flag(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, is_flag=True, help=text)


def _types() -> list[str]:
    from weightkit.dtypes import DTYPES

    return [name for name, dtype in DTYPES.items() if dtype.kind == "float"]


VALUES = ("to", "shard_size", "rename_from", "sidecar", "receipt", "into")
ACCEPTED = ("allow_lossy", "drop_non_tensors", "materialize", "allow_unsafe_source")


@click.command("convert", epilog=EXAMPLES, cls=Command, optional={"sidecar": "."})
@options.inputs
@click.option(
    "--to",
    "to",
    metavar="FORMAT",
    shell_complete=options.complete_words(lambda: ("safetensors", "pytorch", "npz")),
    help="safetensors, pytorch or npz.",
)
@click.option(
    "--dtype",
    "dtypes",
    metavar="[PATTERN=]TYPE",
    multiple=True,
    shell_complete=options.complete_words(_types, after="="),
    help="Cast floating-point tensors (or those that match); the last that matches holds.",
)
@click.option(
    "--shard-size", metavar="SIZE", help="Split into files of at most SIZE (5GB, 500MiB)."
)
@click.option("--only", metavar="PATTERN", multiple=True, help="Take only tensors that match.")
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Leave tensors out.")
@click.option(
    "--rename",
    "renames",
    metavar="OLD=NEW",
    multiple=True,
    help="Rename a tensor; one * in each stands for the same text.",
)
@click.option(
    "--rename-from",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="A file of lines OLD=NEW.",
)
@click.option("--prefix", metavar="TEXT", default="", help="Put TEXT before every name.")
@click.option("--strip-prefix", metavar="TEXT", default="", help="Take TEXT off every name.")
@click.option(
    "--metadata",
    "metadata",
    metavar="KEY=VALUE",
    multiple=True,
    help="Add to the metadata of the target.",
)
@_flag("--provenance", "Record the source's digests and the tool's version in the metadata.")
@_flag("--timestamp", "With --provenance: record the time too.")
@click.option(
    "--sidecar",
    metavar="[FILE]",
    shell_complete=options.complete_files,
    help="Keep values that are no tensors in a JSON file beside the target.",
)
@click.option(
    "--receipt",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="Write a receipt (in-toto statement) of digests.",
)
@_flag("--drop-non-tensors", "Accept that what is no tensor is left behind.")
@_flag("--materialize", "Write sparse and quantized tensors as plain ones.")
@_flag("--as-bytes", "Write types that an .npz lacks as raw bytes, and record what they are.")
@_flag("--allow-lossy", "Accept every loss, overflowing casts too; not an unsafe source.")
@_flag("--allow-unsafe-source", "Take the tensors of a source that scan calls unsafe.")
@_flag("--dry-run", "Show the plan and write nothing; exits 2 if it would be refused.")
@_flag("--force", "Replace the target.")
@_flag("--resume", "Keep the finished files of the same conversion, interrupted before.")
@_flag("--no-verify", "Do not read back what was written.")
@_flag("--beside", "Every PATH is a source; its target goes beside it.")
@_flag(
    "--recursive",
    "As --beside, for all checkpoints in folders and below whose targets do not exist yet.",
)
@click.option(
    "--into",
    metavar="FOLDER",
    shell_complete=options.complete_folders,
    help="As --beside, but below FOLDER.",
)
@click.option("--limit", metavar="N", type=click.IntRange(0), help="Rows of a plan; 0 for all.")
@options.jobs
@options.choosing
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    jobs: int,
    choosing: options.Choosing,
    output: options.Output,
    **asked: Any,
) -> int:
    """Write a checkpoint in another form, and prove that it is the same.

    SOURCE TARGET: a file, a folder, an index or a shard of any format that is read, and a file, or a
    folder for a folder. Several sources with --beside, --into or --recursive.
    """
    from weightkit.plans import Errand
    from weightkit.render import conversion as view

    _check_values(asked)
    wish = _wish(asked, choosing.key)
    if asked["resume"] and asked["dry_run"]:
        raise click.UsageError("--dry-run writes nothing that could be resumed.")
    if asked["timestamp"] and not asked["provenance"]:
        raise click.UsageError("--timestamp goes with --provenance.")
    opening = {**choosing.arguments}
    opening.pop("key")

    def work(errand: Errand) -> Plan | Conversion:
        from weightkit.convert import convert, plan
        from weightkit.convert.running import How

        source, target = errand
        receipt = asked["receipt"] or ""
        if asked["dry_run"]:
            absent = asked["into"] and not os.path.lexists(os.path.dirname(target) or ".")
            there = None if absent else How(force=asked["force"])
            return plan(source, target, wish, there, receipt=receipt, jobs=jobs, **opening)
        if asked["into"]:
            _make_folder(os.path.dirname(target))
        with progress("convert", output.quiet) as display:
            how = How(
                verify=not asked["no_verify"],
                identify=output.json or bool(receipt),
                force=asked["force"],
                resume=asked["resume"],
                jobs=jobs,
                tick=display.tick,
            )
            return convert(
                source, target, wish, how, receipt=receipt, expect=display.expect, **opening
            )

    many = asked["beside"] or asked["recursive"] or asked["into"] or files_from
    if "-" in paths and not many:
        message = "- is a list of sources, for --beside or --into; a target has a name."
        raise click.UsageError(message)
    listed = running.all_paths(paths, files_from)
    if many:
        errands = _errands(listed, asked, output.quiet)
        _check_output(output.file, errands, asked)
        return _batch(errands, work, output, _shown(asked))
    if not all(listed):
        raise click.UsageError("SOURCE or TARGET is empty (an unset variable?).")
    if len(listed) != 2:
        message = "Name a SOURCE and a TARGET; for several sources see --beside and --into."
        raise click.UsageError(message)
    _check_output(output.file, [Errand(*listed)], asked)
    showing = running.Showing(view, output, _shown(asked))
    return running.each(
        [listed[0]], lambda source: work(Errand(source, listed[1])), showing, _judged
    )


def _shown(asked: dict[str, Any]) -> Shown:
    return Shown(asked["limit"], show=frozenset(["steps"] if asked["dry_run"] else []))


def _judged(outcome: Plan | Conversion) -> int:
    """The status of a plan is that of carrying it out."""
    refused = getattr(outcome, "refused", ())
    return boundary.USAGE if refused else boundary.FINE


def _batch(
    errands: Sequence[Errand],
    work: Callable[[Errand], Plan | Conversion],
    output: options.Output,
    shown: Shown,
) -> int:
    """One after another; the work goes on after a failure, and a table says what came of each."""
    from weightkit import __version__
    from weightkit.cli.writing import paper
    from weightkit.render import conversion as view
    from weightkit.render import json

    outcomes: list[Plan | Conversion | WeightkitError] = []
    for errand in errands:
        try:
            outcomes.append(work(errand))
        except WeightkitError as error:
            boundary.complain_of(error)
            outcomes.append(error)
    with paper(output) as out:
        if output.json:
            results = [
                json.error(item) if isinstance(item, WeightkitError) else view.to_json(item, shown)
                for item in outcomes
            ]
            out.write(json.text(json.envelope(results, __version__, many=True)))
        else:
            out.write_blocks(view.batch_blocks(errands, outcomes))
    return boundary.worst(
        item.exit_status if isinstance(item, WeightkitError) else _judged(item) for item in outcomes
    )


def _check_values(asked: dict[str, Any]) -> None:
    """Raise a usage error for an empty value, which would pass for an option that was not given."""
    for name in VALUES:
        if asked[name] == "":
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} is empty (an unset variable?).")


def _wish(asked: dict[str, Any], key: str | None) -> Wish:
    from weightkit.convert import wishes

    renames = [*asked["renames"], *_lines(asked["rename_from"])]
    return wishes.Wish(
        format=asked["to"] or "",
        dtypes=tuple(map(wishes.parse_dtype_rule, asked["dtypes"])),
        shard_nbytes=wishes.parse_size(asked["shard_size"]) if asked["shard_size"] else None,
        only=asked["only"],
        exclude=asked["exclude"],
        renames=tuple(map(wishes.parse_rename, renames)),
        prefix=asked["prefix"],
        strip_prefix=asked["strip_prefix"],
        metadata=tuple(map(_pair, asked["metadata"])),
        provenance=asked["provenance"],
        timestamp=asked["timestamp"],
        sidecar=asked["sidecar"] or "",
        as_bytes=asked["as_bytes"],
        key=key,
        accepted=_accepted(asked),
    )


def _accepted(asked: dict[str, Any]) -> frozenset[str]:
    flags = [f"--{name.replace('_', '-')}" for name in ACCEPTED if asked[name]]
    return frozenset([*flags, *(["--sidecar"] if asked["sidecar"] else [])])


def _check_output(file: str | None, errands: Sequence[Errand], asked: dict[str, Any]) -> None:
    """Raise a usage error if the report would take the place of a source or of what is written."""
    if file is None:
        return
    running.refuse_overwriting(file, [errand.source for errand in errands])
    real = os.path.realpath(file)
    for path in _written(errands, asked):
        if real == os.path.realpath(path) or running.is_below(real, path):
            raise click.UsageError(f"-o would overwrite what is converted, {path!r}.")


def _written(errands: Sequence[Errand], asked: dict[str, Any]) -> Iterator[str]:
    """Where targets, sidecars and the receipt go."""
    from weightkit.convert.sidecar import sidecar_path
    from weightkit.convert.wishes import DEFAULT_SIDECAR

    for errand in errands:
        yield errand.target
        if asked["sidecar"] == DEFAULT_SIDECAR:
            yield sidecar_path(errand.target, folder=False)
    yield from (
        path for path in (asked["sidecar"], asked["receipt"]) if path not in (None, DEFAULT_SIDECAR)
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--metadata {text!r} is no KEY=VALUE.")
    return key, value


def _lines(path: str | None) -> list[str]:
    """The rules of a file: one a line; empty lines and those that start with # are passed over."""
    if path is None:
        return []
    from weightkit.source import os_errors

    with os_errors(path), open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def _make_folder(path: str) -> None:
    from weightkit.source import os_errors

    with os_errors(path):
        os.makedirs(path or ".", exist_ok=True)


def _errands(paths: Sequence[str], asked: dict[str, Any], quiet: bool) -> list[Errand]:
    from weightkit.convert.batches import errands, known_target
    from weightkit.convert.wishes import DEFAULT_SIDECAR

    if asked["receipt"]:
        raise click.UsageError("--receipt is of one conversion.")
    if asked["sidecar"] and asked["sidecar"] != DEFAULT_SIDECAR:
        message = "--sidecar FILE is of one conversion; --sidecar alone writes one for each target."
        raise click.UsageError(message)
    found = errands(
        paths,
        known_target(asked["to"] or ""),
        recursive=asked["recursive"],
        into=asked["into"] or "",
    )
    if not asked["recursive"] or asked["force"]:
        return found
    wanted = [item for item in found if not os.path.lexists(item.target)]
    if len(wanted) < len(found):
        done = len(found) - len(wanted)
        boundary.hint(f"{done:,} passed over, whose targets exist (--force replaces them)", quiet)
    return wanted
