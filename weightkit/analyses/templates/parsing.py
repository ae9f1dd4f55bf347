"""jinja2's own lexer and parser, so that we read a template as the renderer does; never rendered.

The parser makes a tree and runs nothing. Two things are changed: numbers are converted without
``ast`` (which compiles them), and there are limits. The tags that transformers adds are known.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jinja2 import Environment, nodes
    from jinja2.lexer import Lexer, Token
    from jinja2.parser import Parser

MAX_TEXT = 1 << 20
"""Characters of a template; the longest of real models have 60,000."""
MAX_TOKENS = 150_000


class Unreadable(Exception):
    """The template cannot be parsed, or only beyond the limits; the message says why."""


def parse(text: str) -> nodes.Template:
    """The tree of a template. Raises Unreadable."""
    if len(text) > MAX_TEXT:
        raise Unreadable(f"{len(text)} characters are more than {MAX_TEXT}")
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().parse(text)
    except TemplateSyntaxError as error:
        raise Unreadable(f"line {error.lineno}: {error.message}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Unreadable(str(error)) from error
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error


@cache
def _environment() -> Environment:
    """What transformers parses chat templates with, and ``{% do %}``."""
    from jinja2 import Environment
    from jinja2.ext import Extension

    class Generation(Extension):
        """``{% generation %}``: marks what the assistant said; renders as its body."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Parsing(Environment):
        """An environment that only parses."""

        @property
        def lexer(self) -> Lexer:
            return _lexer()

        def handle_exception(self, source: str | None = None) -> NoReturn:
            # jinja2 compiles a statement here to show the template in the traceback.
            error = sys.exc_info()[1]
            raise error or Unreadable("unknown")

    return Parsing(  # nothing is rendered, so nothing needs escaping
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", Generation],
    )


@cache
def _lexer() -> Lexer:
    from jinja2 import Environment
    from jinja2.lexer import Lexer, Token

    codecs.lookup("unicode-escape")  # imported now, and not on the way through a file

    class Counting(Lexer):
        """Counts the tokens, and makes floats with ``float`` instead of ``ast.literal_eval``."""

        def wrap(
            self,
            stream: Iterable[tuple[int, str, str]],
            name: str | None = None,
            filename: str | None = None,
        ) -> Iterator[Token]:
            for number, item in enumerate(stream):
                if number >= MAX_TOKENS:
                    raise Unreadable(f"more than {MAX_TOKENS} tokens")
                line, kind, text = item
                if kind == "float":
                    number_itself: Any = float(text.replace("_", ""))
                    yield Token(line, kind, number_itself)
                else:
                    yield from super().wrap([item], name, filename)

    return Counting(Environment(trim_blocks=True, lstrip_blocks=True))  # noqa: S701
