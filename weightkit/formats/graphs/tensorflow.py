"""TensorFlow graphs: SavedModels, frozen graphs, meta graphs, searched for operations by name.

A ``NodeDef`` holds its operation in field 2: the byte 0x12, the length and the name. That is found
wherever the node lies, in a function or in a graph inside an attribute; in a text form it stands
as ``op: "..."``. Searching is not reading: other operations are not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weightkit.formats.graphs import Graph
from weightkit.source import Reader

WINDOW = 8 << 20
OVERLAP = 4096
MAX_SEARCHED = 2 << 30
"""Bytes; protocol buffers cannot be longer."""
MAX_TEXTS = 200
MAX_TEXT = 3 << 20

_CONFIG = re.compile(rb'\{\s*"(?:class_name|module|name|trainable|keras_version)"\s*:')
_END = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def search(source: Reader, names: Iterable[str]) -> Graph:
    """Those operations out of ``names`` that a graph uses, and the JSON texts in it."""
    pattern = _pattern(names)
    found: dict[tuple[str, str], None] = {}
    texts: list[str] = []
    for piece in _windows(source):
        for match in pattern.finditer(piece):
            name = (match[1] or match[2]).decode("ascii")
            if match[2] or match[0][1] == len(name):
                found["tensorflow", name] = None
        texts += _texts(piece, MAX_TEXTS - len(texts))
    return Graph("TensorFlow graph", tuple(found), (), tuple(texts), whole=False)


def _pattern(names: Iterable[str]) -> re.Pattern[bytes]:
    either = b"|".join(re.escape(name).encode() for name in sorted(names, key=len, reverse=True))
    return re.compile(rb'\x12[\x01-\x7f](%s)|op\s*:\s*"(%s)"' % (either, either), re.DOTALL)


def _windows(source: Reader) -> Iterator[bytes]:
    for start in range(0, min(source.size, MAX_SEARCHED), WINDOW):
        yield source.peek(start, WINDOW + OVERLAP)


def _texts(piece: bytes, limit: int) -> Iterator[str]:
    end = 0
    for match in _CONFIG.finditer(piece):
        if limit <= 0:
            return
        if match.start() < end:
            continue
        stop = _END.search(piece, match.end())
        end = min(stop.start() if stop else len(piece), match.start() + MAX_TEXT)
        limit -= 1
        yield piece[match.start() : end].decode("utf-8", "replace")
