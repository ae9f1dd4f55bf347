"""What differs between two checkpoints of any two formats: tensors, their values, their settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from weightkit.analyses import likeness
from weightkit.analyses.components import classify
from weightkit.analyses.digests import parts_of
from weightkit.analyses.equality import Item, same_bytes, why_unread
from weightkit.analyses.inspection import main_config
from weightkit.analyses.jobs import Tick, silent
from weightkit.analyses.outcomes import (
    CONTENT,
    HEADERS,
    UNKNOWN,
    VALUES,
    Outcome,
    judged,
    type_of,
)
from weightkit.analyses.pairing import BY_MAP, Pair, items_of, pair_up
from weightkit.analyses.settings import setting_changes
from weightkit.analyses.shares import Change, groups, merged, shares
from weightkit.architectures.ggml_maps import COMPUTED, LEFT_OUT
from weightkit.collecting import paused_collection
from weightkit.opening import Checkpoint
from weightkit.reports import (
    ADDED,
    CHANGES,
    REMOVED,
    SAME,
    SETTINGS,
    Diff,
    DiffSide,
    TensorChange,
    TensorSide,
)
from weightkit.text import natural

FEW = 3
"""Tensors of one type and shape: an embedding and a head, but not what every layer has."""
IGNORABLE = (*CHANGES[1:], *SETTINGS)
"""Kinds of difference that ``ignore`` takes."""


class Place(NamedTuple):
    """Where in the model a tensor is."""

    component: str
    region: str
    layer: int | None


NOWHERE = Place("other", "main", None)


def diff(
    a: Checkpoint,
    b: Checkpoint,
    compared: str = CONTENT,
    *,
    ignore: Collection[str] = (),
    follow_symlinks: bool = False,
    jobs: int = 0,
    tick: Tick = silent,
) -> Diff:
    """Compare two checkpoints: by ``headers``, by ``content``, or with figures of all ``values``.

    ``ignore`` names kinds of difference (:data:`IGNORABLE`) that do not count; links out of a folder
    are only read with ``follow_symlinks``. Raises UnsupportedError where a side has no tensors,
    AccessError if a file changes meanwhile.
    """
    with paused_collection():
        mine, theirs = items_of(a), items_of(b)
        formats = (a.format, b.format)
        changes, notes = _tensor_changes(mine, theirs, formats, compared, jobs, tick)
        settings = tuple(setting_changes(a, b, follow_symlinks))
        _check_unchanged(a, b)
    differing = tuple(change for change, _ in changes if change.kind != SAME)
    kinds = Counter(change.kind for change, _ in changes)
    counted = [item for item in differing if item.kind not in ignore]
    return Diff(
        a=_side(a, mine),
        b=_side(b, theirs),
        compared=compared,
        same=not counted and all(item.kind in ignore for item in settings),
        kinds={kind: kinds[kind] for kind in CHANGES},
        delta=merged(changes) if compared == VALUES else None,
        looks_like=likeness.looks_like(changes),
        components=shares(changes, lambda change: change.component),
        layers=shares(changes, _layer),
        groups=groups(changes),
        changes=differing,
        settings=settings,
        ignored=tuple(kind for kind in IGNORABLE if kind in ignore),
        notes=(*notes, *_other_sets(a, "A"), *_other_sets(b, "B")),
    )


def _check_unchanged(*checkpoints: Checkpoint) -> None:
    for part in (part for side in checkpoints for _, part in parts_of(side)):
        for source in part.sources:
            source.check_unchanged()


def _tensor_changes(
    mine: Mapping[str, Item],
    theirs: Mapping[str, Item],
    formats: tuple[str, str],
    compared: str,
    jobs: int,
    tick: Tick,
) -> tuple[list[Change], list[str]]:
    """What became of every tensor, and what was not compared."""
    pairing = pair_up(mine, theirs, formats, compared != HEADERS, jobs, tick)
    outcomes = judged(pairing.pairs, compared, jobs, tick)
    removed, added, notes = _left(pairing.removed, pairing.added, _is_mapped(pairing.pairs))
    copies = {} if compared == HEADERS else _copies(removed, mine) | _copies(added, theirs)
    reasons = {name: f"the same as {other}" for name, other in copies.items()}
    changes = _changes(pairing.pairs, outcomes, removed, added, compared == VALUES)
    return [(_noted(change, {**pairing.notes, **reasons}), item) for change, item in changes], notes


def _noted(change: TensorChange, reasons: Mapping[str, str]) -> TensorChange:
    if change.kind not in (ADDED, REMOVED) or change.name not in reasons:
        return change
    return change._replace(note=reasons[change.name])


def _copies(items: Sequence[Item], side: Mapping[str, Item]) -> dict[str, str]:
    """Tensors of one side only that are another of that side again, as a tied head is.

    Only a few of a size are looked at.
    """
    by_form: dict[object, list[Item]] = {}
    for item in side.values():
        by_form.setdefault((item.info.dtype, item.info.shape), []).append(item)
    pairs = []
    for item in items:
        alike = by_form.get((item.info.dtype, item.info.shape), [])
        if len(alike) <= FEW and not why_unread(item.info):
            pairs += [(item, other) for other in alike if other.name != item.name]
    pairs = [pair for pair in pairs if not why_unread(pair[1].info)]
    same = same_bytes(pairs)
    return {a.name: b.name for (a, b), equal in zip(pairs, same, strict=True) if equal}


def _side(checkpoint: Checkpoint, items: Mapping[str, Item]) -> DiffSide:
    nbytes = sum(item.info.nbytes for item in items.values())
    return DiffSide(checkpoint.path, checkpoint.format, len(items), nbytes)


def _layer(change: TensorChange) -> str:
    if change.layer is None:
        return ""
    return str(change.layer) if change.region == "main" else f"{change.region} {change.layer}"


# Tensors of one side


def _is_mapped(pairs: Sequence[Pair]) -> bool:
    return any(pair.how == BY_MAP for pair in pairs)


def _left(
    removed: Sequence[Item], added: Sequence[Item], mapped: bool
) -> tuple[list[Item], list[Item], list[str]]:
    """What has no partner; between GGUF and others, without what a conversion makes or drops."""
    if not mapped:
        return [*removed], [*added], []
    notes = []
    for item in (*removed, *added):
        if item.name in COMPUTED:
            notes.append(f"not compared: {item.name}, which a conversion computes from the config")
        elif LEFT_OUT.search(item.name):
            notes.append(f"not compared: {item.name}, a buffer that a conversion leaves out")
    return [*filter(_is_weight, removed)], [*filter(_is_weight, added)], notes


def _is_weight(item: Item) -> bool:
    return item.name not in COMPUTED and not LEFT_OUT.search(item.name)


def _other_sets(checkpoint: Checkpoint, which: str) -> Iterator[str]:
    for prefix, part in parts_of(checkpoint):
        for other in part.sets[1:]:
            key = f"{prefix}{other.key or 'top level'}"
            yield f"not compared: the {len(other.tensors)} tensors of {which}'s set {key!r}"


# Changes


def _changes(
    pairs: Sequence[Pair],
    outcomes: Sequence[Outcome],
    removed: Sequence[Item],
    added: Sequence[Item],
    figures: bool,
) -> list[Change]:
    """Every tensor of both sides with what became of it, by name in natural order."""
    mine = _places([*(pair.a for pair in pairs), *removed])
    theirs = _places(added)
    found = []
    for pair, outcome in zip(pairs, outcomes, strict=True):
        measured = outcome.measured if figures else None
        delta = measured.report() if measured else None
        change = _change(outcome.kind, outcome.values, pair.a, pair.b, mine[pair.a.name])
        found.append(
            (change._replace(delta=delta, note=outcome.note, overflow=outcome.overflow), measured)
        )
    for item in removed:
        found.append((_change(REMOVED, UNKNOWN, item, None, mine[item.name]), None))
    for item in added:
        found.append((_change(ADDED, UNKNOWN, None, item, theirs[item.name]), None))
    return sorted(found, key=lambda entry: natural(entry[0].name))


def _change(kind: str, values: str, a: Item | None, b: Item | None, place: Place) -> TensorChange:
    mine, theirs = (
        item and TensorSide(item.name, type_of(item), item.info.shape) for item in (a, b)
    )
    return TensorChange(kind, values, mine, theirs, *place)


def _places(items: Sequence[Item]) -> dict[str, Place]:
    by_part: dict[int, list[Item]] = {}
    for item in items:
        by_part.setdefault(id(item.part), []).append(item)
    found = {}
    for members in by_part.values():
        part = members[0].part
        infos = [item.info for item in members]
        classes = classify(infos, main_config(part), part.metadata, part.format)
        for item, known in zip(members, classes, strict=True):
            found[item.name] = Place(known.component, known.region, known.layer)
    return found
