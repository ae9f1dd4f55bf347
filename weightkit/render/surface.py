"""What is written on: how wide, whether a terminal, whether colours, which characters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, TextIO

AUTO, ALWAYS, NEVER = "auto", "always", "never"
NARROWEST = 40


class Surface(NamedTuple):
    """Where text goes. ``width`` None is endless: a pipe or a file is never folded."""

    width: int | None = None
    terminal: bool = False
    color: bool = False
    ascii: bool = False
    """Whether the encoding lacks bars, dots and ellipses; ASCII stands in for them."""

    @property
    def rich(self) -> bool:
        """Whether tables are set by rich; it takes 100 ms to import, so not for pipes."""
        return self.terminal or self.color


def surface_of(
    stream: TextIO, color: str = AUTO, environ: Mapping[str, str] | None = None
) -> Surface:
    """The surface behind ``stream``.

    ``color`` is auto, always or never; auto asks NO_COLOR (https://no-color.org), FORCE_COLOR,
    TERM=dumb and the stream, in that order. COLUMNS sets the width.
    """
    environ = os.environ if environ is None else environ
    dumb = environ.get("TERM") == "dumb"
    terminal = _is_terminal(stream) and not dumb
    return Surface(
        width=_width(stream, environ),
        terminal=terminal,
        color=_colored(color, environ, terminal),
        ascii=not _encodes(stream, "█·…×–"),
    )


def to_encoding(text: str, surface: Surface) -> str:
    """``text`` with ASCII in place of our own signs where the encoding lacks them."""
    return text.translate(_ASCII) if surface.ascii else text


# Our own signs only; what a file says is escaped by the stream's error handler.
_ASCII = str.maketrans(
    {
        "·": "|",
        "…": "...",
        "×": "x",
        "–": "-",
        "—": "-",
        "─": "-",
        "→": "->",
        "≥": ">=",
        "▁": "_",
        "▂": ".",
        "▃": "-",
        "▄": "-",
        "▅": "=",
        "▆": "=",
        "▇": "#",
        "█": "#",
        "▉": "#",
        "▊": "#",
        "▋": "#",
        "▌": "=",
        "▍": "=",
        "▎": "-",
        "▏": "-",
    }
)


def _colored(color: str, environ: Mapping[str, str], terminal: bool) -> bool:
    if color != AUTO:
        return color == ALWAYS
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return terminal


def _is_terminal(stream: TextIO) -> bool:
    return not stream.closed and stream.isatty()


def _width(stream: TextIO, environ: Mapping[str, str]) -> int | None:
    columns = environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and 0 < len(columns) < 6 and int(columns):
        return max(int(columns), NARROWEST)
    if not _is_terminal(stream):
        return None
    try:
        return max(os.get_terminal_size(stream.fileno()).columns or 80, NARROWEST)
    except (OSError, ValueError):  # a terminal that does not know its size; a stream without fileno
        return 80


def _encodes(stream: TextIO, signs: str) -> bool:
    try:
        signs.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
