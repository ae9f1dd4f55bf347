"""The elements of tensors of two checkpoints compared as numbers, on all cores, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from weightkit.analyses.equality import Item, repeats
from weightkit.analyses.jobs import Job, Tick, run_jobs
from weightkit.analyses.pairing import Pair
from weightkit.errors import UnsupportedError
from weightkit.reports import Delta

if TYPE_CHECKING:
    from weightkit.values.deltas import Sums


class Measured(NamedTuple):
    """What comparing two tensors element by element gave."""

    sums: Sums
    forward: bool
    """Whether B is A, rounded to B's type."""
    backward: bool
    """Whether A is B, rounded to A's type."""
    rank: int | None
    whole: bool
    """Whether there are sums, of all elements."""
    overflow: int = 0
    """Elements that rounding took beyond what the type holds."""

    def report(self) -> Delta:
        """The sums as figures."""
        return self.sums.report(self.rank)


def measure(pairs: Sequence[Pair], whole: bool, jobs: int, tick: Tick) -> list[Measured | None]:
    """Compare the elements of each pair, which both sides have as many of.

    Unless ``whole``, only as far as needed to see that neither side is the other rounded. None
    where elements are no numbers, or cannot be had as such.
    """
    found: list[Measured | None] = [None] * len(pairs)
    repeated = repeats([pair.views for pair in pairs], range(len(pairs)))
    chosen = [at for at in range(len(pairs)) if at not in repeated]
    run_jobs(_work(pairs, chosen, whole, found, tick), jobs)
    return [found[repeated.get(at, at)] for at in range(len(pairs))]


def _work(
    pairs: Sequence[Pair],
    chosen: Sequence[int],
    whole: bool,
    found: list[Measured | None],
    tick: Tick,
) -> Iterator[Job]:
    for at in chosen:
        yield partial(_measure, at, pairs[at], whole, found, tick)


def _measure(at: int, pair: Pair, whole: bool, found: list[Measured | None], tick: Tick) -> None:
    try:
        found[at] = _compared(pair, whole, tick)
        if _is_quantizing(pair) and not _is_equal(found[at]):
            found[at] = _requantized(pair, found[at])
    except UnsupportedError:  # a type that NumPy lacks, blocks that gguf cannot decode
        found[at] = None


def _is_equal(measured: Measured | None) -> bool:
    return measured is not None and measured.forward and measured.backward


def _compared(pair: Pair, whole: bool, tick: Tick) -> Measured | None:
    from weightkit.values.deltas import Sums, compare, is_numeric

    a, b = pair.views
    shape = a.info.shape if whole and a.info.shape == b.info.shape else ()
    slack = pair.match.slack if pair.match is not None else 0
    streams: Iterator[Any] = zip(_tiles(a, pair), _tiles(b, pair), strict=True)
    if slack:
        streams = _settled(streams, pair, slack)
    first = next(streams, None)
    if first is None:
        return Measured(Sums(), True, True, None, True)
    if not all(is_numeric(tile.dtype) for tile in first):
        return None
    # Of one type, bytes that differ are a difference, if only of zeros' signs.
    recast = a.info.dtype.name != b.info.dtype.name or _is_computed(pair)
    nbytes = (a.info.nbytes + b.info.nbytes) / max(1, a.info.numel)
    result = compare(_chained(first, streams), lambda n: tick(int(n * nbytes)), shape, whole)
    forward, backward = result.forward and recast, result.backward and recast and not slack
    overflow = result.overflow if forward != backward else 0
    return Measured(result.sums, forward, backward, result.rank, whole, overflow)


def _settled(streams: Iterator[Any], pair: Pair, units: int) -> Iterator[Any]:
    """The same tiles, with what was computed by us as it was computed by the conversion."""
    from weightkit.values.deltas import settled

    assert pair.match is not None, "only a conversion computes"
    forward = pair.a.name == pair.match.name
    for a, b in streams:
        yield (settled(a, b, units), b) if forward else (a, settled(b, a, units))


def _is_computed(pair: Pair) -> bool:
    return pair.match is not None and pair.match.formula != ""


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _tiles(item: Item, pair: Pair) -> Iterator[Any]:
    """The elements of one side; of the one that was converted, with what that adds."""
    from weightkit.values.deltas import FORMULAS
    from weightkit.values.tiles import tiles

    found = tiles(item.info, item.part.sources[item.info.data.file])
    match = pair.match
    if match is None or not match.formula or item.name != match.name:
        return found
    return map(FORMULAS[match.formula], found)


# Quantizing again


def _is_quantizing(pair: Pair) -> bool:
    """Whether one side has blocks that the other may have been quantized to."""
    kinds = [item.info.dtype.kind for item in pair.views]
    return sorted(kinds) == ["float", "quant"]


def _requantized(pair: Pair, measured: Measured | None) -> Measured | None:
    """As measured, but rounded if quantizing the one side gives the blocks of the other."""
    from weightkit.values.requantize import same_blocks

    a, b = pair.views
    forward = b.info.dtype.kind == "quant"
    plain, blocks = (a, b) if forward else (b, a)
    source = blocks.part.sources[blocks.info.data.file]
    if measured is None or not same_blocks(_tiles(plain, pair), blocks.info, source):
        return measured
    return measured._replace(forward=forward, backward=not forward)
