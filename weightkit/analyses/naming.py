"""Match tensor names against the tables of :mod:`weightkit.architectures`."""

from __future__ import annotations

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
        self._candidates: dict[str, list[_Entry[R]]] = {}

    def _entries(self, segment: str) -> list[_Entry[R]]:
        found = self._candidates.get(segment)
        if found is None:
            globs = [e for e in self._globs if segment_matches(e.parts[-1], segment)]
            found = sorted([*self._exact.get(segment, []), *globs], key=lambda entry: entry.order)
            if len(self._candidates) < 100_000:  # a file may hold any number of names
                self._candidates[segment] = found
        return found

    def find(
        self, segments: Sequence[str], allowed: Callable[[R, int, int], bool] | None = None
    ) -> tuple[R, int, int] | None:
        """The row that reaches deepest into ``segments``, with where its match begins and ends.

        ``allowed(row, begin, end)`` can refuse a match; then the next best is taken.
        """
        for end in range(len(segments) - 1, -1, -1):
            for entry in self._entries(segments[end]):
                begin = end - len(entry.parts) + 1
                if begin < 0 or not all(
                    segment_matches(part, segments[begin + at])
                    for at, part in enumerate(entry.parts[:-1])
                ):
                    continue
                if allowed is None or allowed(entry.row, begin, end):
                    return entry.row, begin, end
        return None
