"""The Python literals that stand in the header of an ``.npy`` file, and no others.

numpy gives the header to ``ast.literal_eval``. This reads the part of that language which can make
a header: dicts, tuples, lists, strings, integers (Python 2's ``L`` too), True, False and None.
Nothing is evaluated; dicts come as lists of pairs, so that repeated keys are seen.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 32

_SPACE = re.compile(r"(?:[ \t\r\n\f]|#[^\n]*)*")
_STRING = re.compile(r"""[uU]?('(?!'')(?:[^'\\\n]|\\.)*'|"(?!"")(?:[^"\\\n]|\\.)*")""", re.DOTALL)
_NUMBER = re.compile(
    r"[-+]?[ ]*(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)[lL]?(?![\w.])"
)
_WORD = re.compile(r"(?:True|False|None)\b")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_WORDS = {"True": True, "False": False, "None": None}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": ""}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Pairs(list[tuple[Any, Any]]):
    """A dict of the header: its items in order."""


class NoLiteral(ValueError):
    """The text is none of these literals; ``offset`` is where it stops being one."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(f"{expected} expected")
        self.offset = offset


def parse(text: str) -> Any:
    """The value of ``text``; raises NoLiteral."""
    reader = _Parser(text)
    value = reader.value(0)
    reader.space()
    if reader.at < len(text):
        raise NoLiteral(reader.at, "the end")
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> str | None:
        self.space()
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[0]

    def mark(self, mark: str) -> bool:
        """Step over ``mark`` if it comes next."""
        self.space()
        here = self.text.startswith(mark, self.at)
        self.at += len(mark) * here
        return here

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NoLiteral(self.at, f"no more than {MAX_DEPTH} brackets in one another")
        for opening, closing in _CLOSING.items():
            if self.mark(opening):
                return self.bracket(opening, closing, depth + 1)
        if (string := self.take(_STRING)) is not None:
            return self.strings(string)
        if (number := self.take(_NUMBER)) is not None:
            return self.number(number)
        if (word := self.take(_WORD)) is not None:
            return _WORDS[word]
        raise NoLiteral(self.at, "a literal")

    def bracket(self, opening: str, closing: str, depth: int) -> Any:
        items: list[Any] = []
        comma = True
        while not self.mark(closing):
            if not comma:
                raise NoLiteral(self.at, f"',' or {closing!r}")
            item = self.value(depth)
            if opening == "{":
                if not self.mark(":"):
                    raise NoLiteral(self.at, "':'")
                item = (item, self.value(depth))
            items.append(item)
            comma = self.mark(",")
        if opening == "{":
            return Pairs(items)
        if opening == "[":
            return items
        return items[0] if len(items) == 1 and not comma else tuple(items)

    def strings(self, first: str) -> str:
        """Strings side by side are one."""
        whole = _unescaped(first)
        while (more := self.take(_STRING)) is not None:
            whole += _unescaped(more)
        return whole

    def number(self, text: str) -> int:
        try:
            return int(text.replace(" ", "").rstrip("lL"), 0)
        except ValueError as error:  # 007, 1__0, or thousands of digits
            raise NoLiteral(self.at - len(text), "an integer") from error


def _unescaped(literal: str) -> str:
    return _ESCAPE.sub(_character, literal.lstrip("uU")[1:-1])


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(min(int(code[1:], 16), 0x10FFFF))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _ESCAPED.get(code, code if code in "\\'\"" else match[0])
