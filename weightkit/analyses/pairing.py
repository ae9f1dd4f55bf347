"""Which tensor of one checkpoint is which of another: by name, prefix, name map, or content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from weightkit.analyses.digests import parts_of, recorded_aliases
from weightkit.analyses.equality import Item, digests, why_unread
from weightkit.analyses.jobs import Tick, silent
from weightkit.architectures.ggml_maps import (
    Correspondence,
    correspondences,
    divided,
    is_dropped,
)
from weightkit.errors import UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.tensors import TensorInfo

BY_NAME, BY_MAP, BY_PREFIX, BY_CONTENT = "name", "map", "prefix", "content"
FEW = 8
"""Names that a prefix is looked for with."""
MANY = 100
"""Tensors of the same content of which the one with the most likely name is looked for."""


class Pair(NamedTuple):
    """A tensor of A and the one of B that it is."""

    a: Item
    b: Item
    how: str = BY_NAME
    match: Correspondence | None = None
    """Between a GGUF name and another one: what a conversion does to the values."""

    @property
    def views(self) -> tuple[Item, Item]:
        """Both sides with their elements in the same order."""
        if self.match is None:
            return self.a, self.b
        of = {self.match.name: self.match.view, self.match.flat: self.match.flat_view}
        return self.a._replace(info=of[self.a.name]), self.b._replace(info=of[self.b.name])

    @property
    def as_stored(self) -> Pair:
        """The pair without what a conversion does to values."""
        match = self.match
        if match is None:
            return self
        of = {self.a.name: self.a.info, self.b.name: self.b.info}
        plain = match._replace(
            view=of[match.name], flat_view=of[match.flat], change="", formula="", slack=0
        )
        return self._replace(match=plain)


class Pairing(NamedTuple):
    """All tensors of two checkpoints."""

    pairs: list[Pair]
    removed: list[Item]
    added: list[Item]
    notes: Mapping[str, str]
    """Of what has no partner, by name: why not, where that is known."""


def items_of(checkpoint: Checkpoint) -> dict[str, Item]:
    """Every tensor of the main set by name, of a pipeline those of all its parts.

    Names that the metadata records as aliases stand for the tensor that is stored. Raises
    UnsupportedError if there are none, or two have one name.
    """
    found: dict[str, Item] = {}
    for prefix, part in parts_of(checkpoint):
        own = {info.name: info for info in part.tensors}
        for alias, name in [*recorded_aliases(part)]:
            own[alias] = own[name]._replace(name=alias)
        for name, info in own.items():
            full = prefix + name
            if full in found:
                message = f"two tensors are called {full!r}"
                raise UnsupportedError(message, path=part.path, code="WK613")
            found[full] = Item(full, info, part)
    if not found:
        raise UnsupportedError("no tensors in it", path=checkpoint.path, code="WK604")
    return found


def pair_up(
    a: Mapping[str, Item],
    b: Mapping[str, Item],
    formats: tuple[str, str],
    by_content: bool = True,
    jobs: int = 0,
    tick: Tick = silent,
) -> Pairing:
    """Pair the tensors of two checkpoints; ``by_content`` reads what no name pairs."""
    pairs = [Pair(a[name], b[name]) for name in a if name in b]
    left = {name: item for name, item in a.items() if name not in b}
    right = {name: item for name, item in b.items() if name not in a}
    notes: dict[str, str] = {}
    if (formats[0] == "gguf") != (formats[1] == "gguf"):
        left, right, found = _mapped(left, right, swapped=formats[0] == "gguf", notes=notes)
        pairs += _taken(iter(found), left, right)
    pairs += _taken(_prefixed(left, right), left, right)
    if by_content:
        pairs += _taken(_renamed([*left.values()], [*right.values()], jobs, tick), left, right)
    return Pairing(pairs, [*left.values()], [*right.values()], notes)


def _taken(pairs: Iterator[Pair], left: dict[str, Item], right: dict[str, Item]) -> Iterator[Pair]:
    """The pairs, each taken off the two sides."""
    for pair in [*pairs]:
        left.pop(pair.a.name, None)
        right.pop(pair.b.name, None)
        yield pair


# HF names and GGUF names


def _mapped(
    left: dict[str, Item], right: dict[str, Item], *, swapped: bool, notes: dict[str, str]
) -> tuple[dict[str, Item], dict[str, Item], list[Pair]]:
    """Both sides, what a conversion splits or joins in pieces, and pairs by gguf's tables of names.

    With ``swapped`` the first side is the GGUF. ``notes`` is told of what a conversion leaves out.
    """
    flat, other = (left, right) if swapped else (right, left)
    if not flat or not other:
        return left, right, []
    metadata = next(iter(flat.values())).part.metadata
    both = divided(_infos(flat), _infos(other), metadata)
    flat, other = _cut(flat, both.flat), _cut(other, both.other)
    architecture = metadata.get("general.architecture")
    for name in other:
        if is_dropped(name, architecture) or both.links.get(name, ("kept",))[0] == "":
            notes[name] = f"a conversion to {architecture} keeps no such tensor"
    found = []
    for match in correspondences(both, metadata):
        mine, theirs = other[match.name], flat[match.flat]
        found.append(Pair(*((theirs, mine) if swapped else (mine, theirs)), BY_MAP, match))
    return (flat, other, found) if swapped else (other, flat, found)


def _infos(items: Mapping[str, Item]) -> dict[str, TensorInfo]:
    return {name: item.info for name, item in items.items()}


def _cut(
    items: Mapping[str, Item], pieces: Mapping[str, Mapping[str, TensorInfo]]
) -> dict[str, Item]:
    return {
        name: items[whole]._replace(name=name, info=info)
        for whole, parts in pieces.items()
        for name, info in parts.items()
    }


# A prefix


def _prefixed(left: Mapping[str, Item], right: Mapping[str, Item]) -> Iterator[Pair]:
    """Pairs whose names differ by one prefix: ``module.``, ``model.``, ``base_model.model.``."""
    longer, prefix = _prefix(left, right)
    for name in [*left]:
        other = prefix + name if longer == "b" else name.removeprefix(prefix)
        if prefix and other != name and other in right:
            yield Pair(left[name], right[other], BY_PREFIX)


def _prefix(left: Mapping[str, Item], right: Mapping[str, Item]) -> tuple[str, str]:
    """Which side has the longer names, and what they begin with; ("", "") if neither has."""
    votes: Counter[tuple[str, str]] = Counter()
    for side, short, long in (("b", left, right), ("a", right, left)):
        for name in [*short][:FEW]:
            votes.update(
                (side, other[: -len(name)]) for other in long if other.endswith(f".{name}")
            )
    return votes.most_common(1)[0][0] if votes else ("", "")


# Content


def _renamed(left: Sequence[Item], right: Sequence[Item], jobs: int, tick: Tick) -> Iterator[Pair]:
    """Pairs of the same content under two names; of several, the names that end most alike."""
    left, right = ([i for i in side if not why_unread(i.info)] for side in (left, right))
    shared = {_shape(item.info) for item in left} & {_shape(item.info) for item in right}
    mine, theirs = ([i for i in side if _shape(i.info) in shared] for side in (left, right))
    twins: dict[bytes, list[Item]] = {}
    for item, digest in zip(theirs, digests(theirs, jobs, tick), strict=True):
        twins.setdefault(digest, []).append(item)
    for item, digest in zip(mine, digests(mine, jobs, tick), strict=True):
        alike = twins.get(digest)
        if alike:
            best = max(alike[:MANY], key=lambda twin: _common_end(item.name, twin.name))
            alike.remove(best)
            yield Pair(item, best, BY_CONTENT)


def _shape(info: TensorInfo) -> object:
    return info.dtype.name, info.shape, info.layout


def _common_end(one: str, other: str) -> int:
    """How many characters two names end with alike."""
    length = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        length += 1
    return length
