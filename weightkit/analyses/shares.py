"""The changes between two checkpoints taken together: by component, by layer, by kind of name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from weightkit.analyses.elements import Measured
from weightkit.analyses.folding import fold
from weightkit.analyses.tables import pattern_of
from weightkit.architectures.rows import COMPONENTS
from weightkit.dtypes import opaque
from weightkit.reports import (
    CHANGES,
    SAME,
    ChangeGroup,
    ChangeShare,
    Delta,
    TensorChange,
    TensorSide,
)
from weightkit.tensors import Extent, TensorInfo
from weightkit.text import natural

Change = tuple[TensorChange, Measured | None]
"""What became of a tensor, and what was measured of it."""


def merged(changes: Iterable[Change]) -> Delta | None:
    """The figures of all measured tensors as if they were one; None if there are none."""
    measured = [item for _, item in changes if item is not None]
    if not measured:
        return None
    from weightkit.values.deltas import Sums

    whole = Sums()
    for item in measured:
        whole.add(item.sums)
    return whole.report()


def shares(
    changes: Sequence[Change], key: Callable[[TensorChange], str]
) -> tuple[ChangeShare, ...]:
    """A row for each key: components in the order of the taxonomy, layers by number."""
    rows: dict[str, list[Change]] = {}
    for entry in changes:
        rows.setdefault(key(entry[0]), []).append(entry)
    return tuple(_share(name, rows[name]) for name in sorted(rows, key=_order))


def _order(key: str) -> tuple[int, int, list[tuple[int, str]]]:
    if key in COMPONENTS:
        return 0, COMPONENTS.index(key), []
    return (1, int(key), []) if key.isdigit() else (2 if key else 3, 0, natural(key))


def _share(key: str, entries: Sequence[Change]) -> ChangeShare:
    kinds = Counter(change.kind for change, _ in entries)
    counts = {kind: kinds[kind] for kind in CHANGES if kinds[kind]}
    return ChangeShare(key, len(entries), counts, merged(entries))


# Names that differ only in numbers


def groups(changes: Sequence[Change]) -> tuple[ChangeGroup, ...]:
    """The changes folded: a row for those of one kind, in words alike, whose names are alike."""
    alike: dict[tuple[str, str, str], list[Change]] = {}
    for entry in changes:
        change = entry[0]
        if change.kind != SAME:
            alike.setdefault((change.kind, change.values, words(change)), []).append(entry)
    found = [row for key, entries in alike.items() for row in _groups(*key, entries)]
    return tuple(sorted(found, key=lambda row: CHANGES.index(row.kind)))


def _groups(kind: str, values: str, what: str, entries: Sequence[Change]) -> Iterator[ChangeGroup]:
    by_name = {change.name: (change, measured) for change, measured in entries}
    for group in fold([_named(change) for change, _ in entries]):
        own = [by_name[member.name] for member in group.members]
        delta = own[0][0].delta if len(own) == 1 else merged(own)
        ranks = [change.delta.rank for change, _ in own if change.delta and change.delta.rank]
        if delta is not None and len(ranks) == len(own):
            delta = delta._replace(rank=max(ranks))
        more = _new_names([change for change, _ in own])
        said = ", ".join(filter(None, [more, what]))
        yield ChangeGroup(pattern_of(group), len(own), kind, values, said, delta)


def words(change: TensorChange) -> str:
    """What became of a tensor: types, shapes, notes."""
    a, b = change.a, change.b
    if a is None or b is None:
        side = a or b
        own = [side.dtype, _brackets(side.shape)] if side else []
        return " ".join([*own, change.note]).strip()
    said = []
    if a.dtype != b.dtype:
        said.append(f"{a.dtype} to {b.dtype}")
    if change.kind == "reshaped":
        said.append(f"{_brackets(a.shape)} to {_brackets(b.shape)}")
    if change.values == "differ" and change.kind != "changed":
        said.append("values differ")
    if change.values == "equal" and change.kind != "renamed":
        said.append("values equal")
    return ", ".join(filter(None, [*said, change.note]))


def _brackets(shape: Iterable[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _new_names(changes: Sequence[TensorChange]) -> str:
    """What renamed tensors are called in B: one pattern, or nothing if there is none."""
    renamed = [item for item in changes if item.a and item.b and item.a.name != item.b.name]
    if len(renamed) != len(changes):
        return ""
    folds = fold([_info(item.b) for item in renamed if item.b])
    return f"is {pattern_of(folds[0])}" if len(folds) == 1 else ""


def _named(change: TensorChange) -> TensorInfo:
    side = change.a or change.b
    assert side is not None
    return _info(side)


def _info(side: TensorSide) -> TensorInfo:
    # What is folded is names, types and shapes.
    return TensorInfo(side.name, opaque(side.dtype, 0), side.shape, Extent(0, 0, 0))
