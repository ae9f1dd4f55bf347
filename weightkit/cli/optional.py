"""Options whose value may be left out, without eating the path behind them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click


class Command(click.Command):
    """A command where the options in ``optional`` stand for a default when no value follows.

    ``--tensors model.gguf`` means the file, not a pattern: a word that names something on disk is
    never taken for a value. ``--tensors=model.gguf`` is.
    """

    def __init__(
        self, *args: Any, optional: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.optional = {f"--{name}": default for name, default in (optional or {}).items()}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._with_defaults(args))

    def _with_defaults(self, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        filled = []
        for index, arg in enumerate(args[:end]):
            if arg in self.optional and not _is_value(args[index + 1 : end]):
                arg = f"{arg}={self.optional[arg]}"
            filled.append(arg)
        return filled + args[end:]


def _is_value(following: list[str]) -> bool:
    if not following:
        return False
    word = following[0]
    return not word.startswith("-") and not os.path.lexists(word)
