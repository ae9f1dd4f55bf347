"""Text that came from a file, made fit for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

# C0, DEL, C1, the bidirectional and zero-width controls (a tensor name must not be able to move
# the cursor, recolour the screen or reorder a line), tags, which no one sees, lone surrogates, which
# cannot be encoded, and the marks of single scripts that format what stands around them.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u180e\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
)


def safe_text(text: str, limit: int = 4000) -> str:
    """``text`` with control characters escaped, cut to ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text)} characters)"
    if text.isascii() and text.isprintable():  # nearly all names, at a tenth of the cost
        return text
    return _UNPRINTABLE.sub(_escape, text)


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: a name out of a pickle may hold halves of characters."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'inspect'?`` for the names most like ``word``; "" when none is like it."""
    if not word:
        return ""
    from difflib import get_close_matches

    # difflib takes 20 µs for a name: with 50,000 tensors only the likely ones are compared.
    likely = [name for name in known if word in name or abs(len(name) - len(word)) <= 3]
    close = get_close_matches(word, likely[:5000], n=3) or [name for name in likely if word in name]
    return f" Did you mean {' or '.join(map(repr, close[:3]))}?" if close else ""


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts layer 2 before layer 10; a number by its length first, however long it is."""
    pieces = re.split("([0-9]+)", name)
    return [(len(piece) if piece.isdigit() else 0, piece) for piece in pieces]


def words(text: str) -> frozenset[str]:
    """The words of ``text``: tables of names are easier to read without quotes."""
    return frozenset(text.split())
