"""The click group: commands imported when they run, names suggested, one way out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from weightkit.cli import boundary

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Group(click.Group):
    """Commands by name from a table of their help lines; a command's module is imported on use."""

    def __init__(self, commands: Mapping[str, str], version: str, **attributes: Any) -> None:
        super().__init__("weightkit", context_settings=SETTINGS, **attributes)
        self.table = commands
        click.version_option(version, message="weightkit %(version)s")(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        command: click.Command = importlib.import_module(f"weightkit.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.table and not args[0].startswith("-"):
            from weightkit.text import did_you_mean

            hint = did_you_mean(args[0], self.table)
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own would import every command for its help line.
        with formatter.section("Commands"):
            formatter.write_dl([*self.table.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "weightkit",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command line and exit with its status."""
        import sys

        arguments = sys.argv[1:] if args is None else [*args]

        def work() -> int:
            status = super(Group, self).main(
                arguments, prog_name, complete_var, standalone_mode=False, **extra
            )
            return status or 0

        sys.exit(boundary.guard(work, as_json="--json" in arguments))
