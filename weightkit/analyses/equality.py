"""Whether tensors of two checkpoints hold the same bytes, whatever their files do to them.

Where both files hold the canonical bytes of a tensor as they are, the two are compared piece by
piece, on all cores and up to the first difference; anything else is compared by content digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from weightkit.analyses.digests import LEAF, PIECE, check_size, plain_parts, tensor_digests
from weightkit.analyses.jobs import Job, Tick, batches, run_jobs, silent
from weightkit.errors import UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.tensors import ABSENT, NESTED, TensorInfo
from weightkit.values import canonical


class Item(NamedTuple):
    """A tensor under its whole name, with the checkpoint that holds it (a part of a pipeline)."""

    name: str
    info: TensorInfo
    part: Checkpoint


class Piece(NamedTuple):
    """Canonical bytes ``[start, start + nbytes)`` of both sides of a pair."""

    pair: int
    start: int
    nbytes: int


def why_unread(info: TensorInfo) -> str:
    """Why the values of a tensor have no canonical bytes; "" if they do."""
    for part in plain_parts([info]):
        if part.data.encoding == ABSENT:
            return "the file does not hold the values"
        if part.data.encoding == NESTED:
            return "the values lie in nested compressed containers"
        try:
            canonical.form_of(part)
        except UnsupportedError as error:
            return error.message
    return ""


def same_bytes(
    pairs: Sequence[tuple[Item, Item]], jobs: int = 0, tick: Tick = silent
) -> list[bool]:
    """Whether both tensors of each pair are the same in type, shape and every byte.

    All must be readable (:func:`why_unread`) and of a size to be read (:func:`check_sizes`). Raises
    AccessError and FormatError as reading does.
    """
    alike = [_are_alike(a.info, b.info) for a, b in pairs]
    direct = [at for at, (a, b) in enumerate(pairs) if alike[at] and _is_direct(a, b)]
    repeated = repeats(pairs, direct)
    differing: set[int] = set()
    chosen = [at for at in direct if at not in repeated]
    run_jobs(_work(pairs, chosen, differing, tick), jobs)
    same = [fits and repeated.get(at, at) not in differing for at, fits in enumerate(alike)]
    rest = [at for at in range(len(pairs)) if alike[at] and not _is_direct(*pairs[at])]
    mine = digests([pairs[at][0] for at in rest], jobs, tick)
    theirs = digests([pairs[at][1] for at in rest], jobs, tick)
    for at, a, b in zip(rest, mine, theirs, strict=True):
        same[at] = a == b
    return same


def digests(items: Sequence[Item], jobs: int = 0, tick: Tick = silent) -> list[bytes]:
    """The content digest of each tensor."""
    by_part: dict[int, list[int]] = {}
    for at, item in enumerate(items):
        by_part.setdefault(id(item.part), []).append(at)
    found = [b""] * len(items)
    for members in by_part.values():
        # By number: views of one tensor share its name.
        infos = [items[at].info._replace(name=str(at)) for at in members]
        for name, (_, digest) in tensor_digests(items[members[0]].part, infos, jobs, tick).items():
            found[int(name)] = digest
    return found


def _are_alike(a: TensorInfo, b: TensorInfo) -> bool:
    if not (a.parts or b.parts) and a.dtype is b.dtype and a.shape == b.shape:
        return True
    return _form(a) == _form(b)


def _form(info: TensorInfo) -> object:
    if info.parts:
        return info.layout, info.dtype.name, info.shape
    return canonical.form_of(info)


def _is_direct(a: Item, b: Item) -> bool:
    return all(not item.info.parts and canonical.is_addressable(item.info) for item in (a, b))


def check_sizes(pairs: Iterable[tuple[Item, Item]]) -> None:
    """Refuse small files whose views expand to more than anyone would want to compare."""
    sides: dict[int, tuple[Checkpoint, dict[object, TensorInfo]]] = {}
    for pair in pairs:
        for item in pair:
            _, infos = sides.setdefault(id(item.part), (item.part, {}))
            infos |= {canonical.same_elements(info): info for info in plain_parts([item.info])}
    for part, infos in sides.values():
        check_size(part, infos.values())


def repeats(pairs: Sequence[tuple[Item, Item]], chosen: Sequence[int]) -> dict[int, int]:
    """Of each pair of the same memory as an earlier one (tied tensors): that one."""
    first: dict[object, int] = {}
    found = {}
    for at in chosen:
        key = tuple((id(item.part), canonical.same_elements(item.info)) for item in pairs[at])
        known = first.setdefault(key, at)
        if known != at:
            found[at] = known
    return found


# Bytes


def _work(
    pairs: Sequence[tuple[Item, Item]], chosen: Sequence[int], differing: set[int], tick: Tick
) -> Iterator[Job]:
    """The jobs, each of some 4 MiB, in the order of A's files."""
    in_order = sorted(chosen, key=lambda at: pairs[at][0].info.data[:2])
    for batch in batches(_pieces(pairs, in_order), LEAF):
        yield partial(_compare, pairs, batch, differing, tick)


def _pieces(
    pairs: Sequence[tuple[Item, Item]], in_order: Iterable[int]
) -> Iterator[tuple[Piece, int]]:
    for at in in_order:
        nbytes = canonical.form_of(pairs[at][0].info).nbytes
        for start in range(0, nbytes, LEAF):
            piece = Piece(at, start, min(LEAF, nbytes - start))
            yield piece, piece.nbytes


def _compare(
    pairs: Sequence[tuple[Item, Item]], batch: Sequence[Piece], differing: set[int], tick: Tick
) -> None:
    for piece in batch:
        if piece.pair in differing:
            continue
        mine, theirs = (_bytes(item, piece) for item in pairs[piece.pair])
        if any(a != b for a, b in zip(mine, theirs, strict=True)):
            differing.add(piece.pair)
        tick(2 * piece.nbytes)


def _bytes(item: Item, piece: Piece) -> Iterator[bytes]:
    source = item.part.sources[item.info.data.file]
    return canonical.part(item.info, source, piece.start, piece.nbytes, PIECE)
