"""Match tensor names against the tables of :mod:`weightkit.architectures`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from weightkit.architectures.rows import expand, segment_matches


class Patterned(Protocol):
    """Anything with a pattern: a row of a table."""

    @property
    def pattern(self) -> str: ...


R = TypeVar("R", bound=Patterned)


class _Entry(NamedTuple, Generic[R]):
    order: int
    parts: tuple[str, ...]
    row: R


class Matcher(Generic[R]):
    """A table of rows, indexed by the last segment of their patterns."""

    def __init__(self, rows: Iterable[R]) -> None:
        self._exact: dict[str, list[_Entry[R]]] = {}
        self._globs: list[_Entry[R]] = []
        for order, row in enumerate(rows):
            for pattern in expand(row.pattern):
                entry = _Entry(order, tuple(pattern.split(".")), row)
                if "*" in entry.parts[-1]:
                    self._globs.append(entry)
                else:
                    self._exact.setdefault(entry.parts[-1], []).append(entry)
        texts = {max(entry.parts[-1].split("*"), key=len) for entry in self._globs}
        hint = "|".join(re.escape(text) for text in sorted(texts)) if texts else "(?!)"
        self._hint = re.compile(hint)
        """Something that every segment holds which a glob matches."""
        self._candidates: dict[str, list[_Entry[R]]] = {}

    def _entries(self, segment: str) -> list[_Entry[R]]:
        found = self._exact.get(segment, [])
        if self._hint.search(segment):
            globs = [e for e in self._globs if segment_matches(e.parts[-1], segment)]
            found = sorted([*found, *globs], key=lambda entry: entry.order)
        if len(self._candidates) < 100_000:  # a file may hold any number of names
            self._candidates[segment] = found
        return found

    def find(
        self,
        segments: Sequence[str],
        allowed: Callable[[R, int, int], bool] | None = None,
        *,
        last: bool = False,
    ) -> tuple[R, int, int] | None:
        """The row that reaches deepest into ``segments``, with where its match begins and ends.

        ``allowed(row, begin, end)`` can refuse a match; then the next best is taken. With ``last``,
        a match must reach the end.
        """
        known = self._candidates
        for end in range(len(segments) - 1, len(segments) - 2 if last else -1, -1):
            segment = segments[end]
            entries = known.get(segment)
            for entry in self._entries(segment) if entries is None else entries:
                begin = end - len(entry.parts) + 1
                fits = begin == end or _run_matches(entry.parts, segments, begin, end)
                if fits and (allowed is None or allowed(entry.row, begin, end)):
                    return entry.row, begin, end
        return None

    def matches(self, segment: str) -> bool:
        """Whether a row of one segment matches this one."""
        found = self._candidates.get(segment)
        entries = self._entries(segment) if found is None else found
        return any(len(entry.parts) == 1 for entry in entries)


def _run_matches(parts: Sequence[str], segments: Sequence[str], begin: int, end: int) -> bool:
    """Whether all but the last part match, which already did."""
    return begin >= 0 and all(map(segment_matches, parts[:-1], segments[begin:end]))
