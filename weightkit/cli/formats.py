"""``weightkit formats``: what can be read and written."""

from __future__ import annotations

import click

from weightkit.cli import options, running
from weightkit.reports import FormatNote

EXAMPLES = """\b
Examples:
  weightkit formats
  weightkit formats --json | jq -r '.formats[].name'"""


@click.command("formats", epilog=EXAMPLES)
@options.output
def command(output: options.Output) -> int:
    """List the formats that weightkit reads and writes."""
    from weightkit.render import formats as view

    return running.show(notes(), running.Showing(view, output))


def notes() -> list[FormatNote]:
    """A note on each format that is read, by name, then on those that are only recognised."""
    from weightkit.opening.recognition import KNOWN, ROOMS

    foreign = dict.fromkeys(known.name for known in KNOWN)
    return [
        *map(_note, sorted(ROOMS)),
        *(FormatNote(name) for name in sorted(foreign, key=str.casefold)),
    ]


def _note(name: str) -> FormatNote:
    """What a room says of itself: its first line, its suffixes, whether it writes."""
    from weightkit.convert.targets import TARGETS
    from weightkit.opening.recognition import ROOMS, room

    module = room(name)
    return FormatNote(
        name=name,
        suffixes=tuple(module.SUFFIXES),
        what=(module.__doc__ or "").strip().partition("\n")[0].replace("``", ""),
        reads=True,
        writes=any(row.writer == f"{ROOMS[name]}.writing" for row in TARGETS.values()),
    )
