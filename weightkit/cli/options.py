"""Options that many commands share, each decorator once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:  # click before 8.4 has it without a parameter
    _Choice = click.Choice


class Choice(_Choice):
    """A choice that suggests what a misspelt word was meant to be."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            from weightkit.text import did_you_mean

            hint = did_you_mean(str(value).lower(), self.choices)
            raise click.BadParameter(error.message + hint, ctx, param) from None


SEVERITY = Choice(["note", "warning", "danger"])


class Opening(NamedTuple):
    """How a path is opened: the keyword arguments of ``open_checkpoint``."""

    key: str | None
    variant: str | None
    follow_symlinks: bool
    lenient: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """To be passed on with ``**``."""
        return self._asdict()


class Choosing(NamedTuple):
    """Which tensors of a path are meant: the keyword arguments of ``open_checkpoint``."""

    key: str | None
    variant: str | None
    follow_symlinks: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """To be passed on with ``**``."""
        return self._asdict()


class Output(NamedTuple):
    """Where results go and in which form."""

    json: bool
    file: str | None
    quiet: bool
    color: str


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Let the shell complete names of files. (click.Path would, but also judges the files.)"""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Let the shell complete names of folders."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def complete_words(
    words: Callable[[], Iterable[str]], after: str = ","
) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Let the shell complete the last of several words that ``after`` divides."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        before, divider, last = incomplete.rpartition(after)
        return [
            CompletionItem(before + divider + word) for word in words() if word.startswith(last)
        ]

    return complete


def inputs(function: F) -> F:
    """``PATH...``, ``--files-from``; the command gets ``paths`` and ``files_from``."""
    return _all(
        function,
        click.argument("paths", metavar="PATH...", nargs=-1, shell_complete=complete_files),
        click.option(
            "--files-from",
            metavar="LIST",
            shell_complete=complete_files,
            help="Read more paths from LIST (- is standard input): one per line, or each ended by "
            "a NUL, as find -print0 writes them.",
        ),
    )


def opening(function: F) -> F:
    """The options about how a path is opened; the command gets one ``opening``."""
    return _all(
        _gathered(function, "opening", Opening),
        click.option("--key", metavar="PATH", help="Take the set of tensors under this key."),
        click.option("--variant", metavar="NAME", help="Take this variant of a folder (fp16)."),
        click.option(
            "--follow-symlinks", is_flag=True, help="Follow links that lead out of a folder."
        ),
        click.option("--lenient", is_flag=True, help="Describe broken files too; exits 3 still."),
    )


def choosing(function: F) -> F:
    """As ``opening``, but nothing lenient: half a checkpoint has no digest."""
    return _all(
        _gathered(function, "choosing", Choosing),
        click.option("--key", metavar="PATH", help="Take the set of tensors under this key."),
        click.option("--variant", metavar="NAME", help="Take this variant of a folder (fp16)."),
        click.option(
            "--follow-symlinks", is_flag=True, help="Follow links that lead out of a folder."
        ),
    )


def jobs(function: F) -> F:
    """``--jobs N``; the command gets ``jobs``, 0 for one thread on each core."""
    return click.option(
        "--jobs",
        metavar="N",
        type=click.IntRange(0, 256),
        default=0,
        help="Read with N threads; 0, the default: one for each core.",
    )(function)


def output(function: F) -> F:
    """The options about the form of the results; the command gets one ``output``."""
    return _all(
        _gathered(function, "output", Output),
        click.option("--json", is_flag=True, help="Write JSON."),
        click.option(
            "-o",
            "--output",
            "file",
            metavar="FILE",
            shell_complete=complete_files,
            help="Write to FILE, whole or not at all.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No hints and no progress."),
        click.option(
            "--color",
            type=Choice(["auto", "always", "never"]),
            default="auto",
            help="Colours: on terminals (auto), always or never. NO_COLOR is heeded.",
        ),
    )


def fail_on(function: F) -> F:
    """``--fail-on SEVERITY``; the command gets ``fail_on``."""
    return click.option(
        "--fail-on", type=SEVERITY, help="Exit 1 when there is a finding this grave or graver."
    )(function)


def _all(function: F, *decorators: Callable[[F], F]) -> F:
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _gathered(function: F, name: str, record: type[Any]) -> F:
    """Pass the options that are fields of ``record`` as one argument ``name``."""

    def call(*args: Any, **options: Any) -> Any:
        own = {field: options.pop(field) for field in record._fields}
        return function(*args, **{name: record(**own)}, **options)

    update_wrapper(call, function)
    return call  # type: ignore[return-value]
