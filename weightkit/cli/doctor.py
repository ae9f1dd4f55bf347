"""``weightkit doctor``: what this installation is made of."""

from __future__ import annotations

import os
import re
import sys

import click

from weightkit import __version__
from weightkit.cli import options, running
from weightkit.reports import Installation, Requirement

EXAMPLES = """\b
Examples:
  weightkit doctor
  weightkit doctor --json"""


@click.command("doctor", epilog=EXAMPLES)
@options.output
def command(output: options.Output) -> int:
    """Show versions, extras and the terminal, for bug reports."""
    from weightkit.render import installation

    return running.show(examine(), running.Showing(installation, output))


def examine() -> Installation:
    """Look at this process and the distributions around it; nothing is imported."""
    import platform

    return Installation(
        version=__version__,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform.platform(),
        executable=sys.executable or "",
        requirements=_requirements(),
        encoding=(sys.stdout.encoding if sys.stdout is not None else "") or "",
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        hub_cache=_hub_cache(),
    )


def _requirements() -> tuple[Requirement, ...]:
    """What the installed weightkit says it needs; nothing when run from a bare source tree."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        wanted = requires("weightkit") or []
    except PackageNotFoundError:
        return ()
    return tuple(map(_requirement, wanted))


def _requirement(line: str) -> Requirement:
    """A line of the distribution's metadata: ``torch>=2.4; extra == 'torch'``."""
    name = re.match(r"[\w.-]+", line)
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
    assert name is not None
    return Requirement(name[0], _version(name[0]), extra[1] if extra else "")


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _hub_cache() -> str:
    """Where huggingface_hub keeps what it downloads, by its own order of variables."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
