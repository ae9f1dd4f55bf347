"""What the values of a checkpoint are like: ranges, moments, histograms, and what is odd in them.

All cores work, and every value is read once; only tensors that may be copies of one another, because
all their figures agree, are read again for a digest.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import partial
from typing import Any, NamedTuple

from weightkit.analyses.components import classify
from weightkit.analyses.digests import check_size, parts_of, tensor_digests
from weightkit.analyses.inspection import main_config
from weightkit.analyses.jobs import Job, Tick, batches, by_access, read_stream, run_jobs, silent
from weightkit.errors import UnknownName, UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.source import Source
from weightkit.statistics import (
    FLAGS,
    ComponentStatistics,
    Duplicates,
    Numbers,
    Statistics,
    TensorStatistics,
)
from weightkit.tensors import TensorInfo
from weightkit.text import did_you_mean
from weightkit.values import canonical
from weightkit.values.streams import Held
from weightkit.values.sums import together
from weightkit.values.tallies import Tally
from weightkit.values.tiles import count_of, span, tiles

SPAN = 1 << 22
"""Elements of one job: 8 MiB of bfloat16."""
NARROW_TILE, WIDE_TILE = 1 << 18, 1 << 16
"""Elements that are counted at a time: of up to 16 bits by their codes, of others as float64."""

TESTS: dict[str, Callable[[TensorStatistics], object]] = {
    "nan": lambda row: row.numbers.nan,
    "inf": lambda row: row.numbers.inf,
    "fp16": lambda row: row.numbers.beyond_fp16,
    "subnormal": lambda row: row.numbers.subnormal,
    "zero": lambda row: row.numbers.zeros == row.numbers.elements > 0,
    "constant": lambda row: is_constant(row.numbers),
    "dead-rows": lambda row: row.dead_rows,
}
"""Which tensors have which flag; ``duplicate`` follows from several of them."""


def is_constant(numbers: Numbers) -> bool:
    """Whether two and more elements are all equal."""
    return numbers.finite == numbers.elements > 1 and numbers.min == numbers.max


def statistics(
    checkpoint: Checkpoint, pattern: str = "", jobs: int = 0, tick: Tick = silent
) -> Statistics:
    """The statistics of all tensors, or of those whose names match ``pattern``; others stay unread.

    ``jobs`` threads read and count (0: one for each core); ``tick`` is told how many bytes each step
    took. Tensors whose values cannot be had say why. Raises AccessError if a file changes meanwhile,
    FormatError where bytes are missing, UnknownName for a name that is none, UnsupportedError where
    there are no tensors.
    """
    parts = [_Part(prefix, part, pattern) for prefix, part in parts_of(checkpoint)]
    _check_chosen(checkpoint, parts, pattern)
    for part in parts:
        part.count(jobs, tick)
    copies = list(_duplicates(parts, jobs, tick))
    repeated = {name for group in copies for name in group.names}
    rows = [row for part in parts for row in part.rows(repeated)]
    plain = {id(item): item for part in parts for item in part.plain.values()}
    by_component: dict[str, dict[int, Numbers]] = {}
    tensors: dict[str, set[str]] = {}
    for row, item in rows:
        by_component.setdefault(row.component, {})[id(item)] = item.numbers
        tensors.setdefault(row.component, set()).add(row.name)
    return Statistics(
        checkpoint.path,
        checkpoint.format,
        tuple(row for row, _ in rows),
        tuple(
            ComponentStatistics(name, len(tensors[name]), together(numbers.values()))
            for name, numbers in by_component.items()
        ),
        together(item.numbers for item in plain.values()),
        tuple(copies),
        sum(item.dead_rows for item in plain.values()),
        tuple(flag for flag in FLAGS if any(flag in row.flags for row, _ in rows)),
    )


def nbytes_to_read(checkpoint: Checkpoint, pattern: str = "") -> int:
    """About how many bytes :func:`statistics` will tell of, for a progress display."""
    wanted = _matcher(pattern)
    found = ((prefix, info) for prefix, part in parts_of(checkpoint) for info in part.tensors)
    return sum(info.nbytes for prefix, info in found if wanted(prefix + info.name))


def _check_chosen(checkpoint: Checkpoint, parts: Sequence[_Part], pattern: str) -> None:
    if any(part.listed for part in parts):
        return
    names = [part.prefix + info.name for part in parts for info in part.checkpoint.tensors]
    if not names:
        raise UnsupportedError("no tensors in it", path=checkpoint.path, code="WK604")
    message = f"no tensor {pattern!r}.{did_you_mean(pattern, names)}"
    raise UnknownName(message, path=checkpoint.path)


class _Plain:
    """Elements that are somewhere in a file, and what is counted of them."""

    def __init__(self, info: TensorInfo, with_rows: bool) -> None:
        self.info = info
        rows = info.shape[0] if with_rows and len(info.shape) > 1 else 0
        per = 2 if info.dtype.kind == "complex" else 1
        self.row = per * count_of(info) // rows if rows else 0
        self.per = per * count_of(info) // info.numel if info.numel else 1
        """Numbers of an element: two of a complex one, and of torch's pairs of f4."""
        self.tally = Tally(self.row)
        self.left = 1
        self.numbers = Numbers()
        self.dead_rows = 0
        self.unread = _unread(info)
        self.lock = threading.Lock()

    def done(self, tally: Tally) -> None:
        """Take the tally of one of the jobs; the last one ends it."""
        with self.lock:
            self.tally.merge(tally)
            self.left -= 1
            if self.left:
                return
        self.numbers = self.tally.numbers()
        self.dead_rows = self.tally.dead_rows
        del self.tally  # half a mebibyte

    @property
    def tile(self) -> int:
        """How many elements to count at a time."""
        narrow = self.info.dtype.nbytes <= 2 and self.info.dtype.kind != "quant"
        return NARROW_TILE if narrow else WIDE_TILE


def _unread(info: TensorInfo) -> str:
    """Why a tensor has no numbers; "" if nothing speaks against it."""
    if info.dtype.kind == "opaque":
        return f"{info.dtype.name} is no type of numbers"
    try:
        canonical.form_of(info)
    except UnsupportedError as error:
        return error.message
    return ""


class _Row(NamedTuple):
    """A line of the report before anything is counted."""

    info: TensorInfo
    part: str
    component: str
    plain: _Plain


class _Part:
    """One checkpoint of a pipeline, or the only one, with the tensors that are wanted of it."""

    def __init__(self, prefix: str, checkpoint: Checkpoint, pattern: str) -> None:
        self.prefix = prefix
        self.checkpoint = checkpoint
        self.plain: dict[Any, _Plain] = {}
        self.listed = [*self._list(_matcher(pattern))]

    def _list(self, wanted: Callable[[str], object]) -> Iterator[_Row]:
        checkpoint = self.checkpoint
        config = main_config(checkpoint)
        kinds = classify(checkpoint.tensors, config, checkpoint.metadata, checkpoint.format)
        for info, kind in zip(checkpoint.tensors, kinds, strict=True):
            if wanted(self.prefix + info.name):
                for name, part in _parts(info, ""):
                    yield _Row(part, name, kind.component, self._plain(part, not name))._replace(
                        info=part._replace(name=self.prefix + info.name)
                    )

    def _plain(self, info: TensorInfo, with_rows: bool) -> _Plain:
        key = canonical.same_elements(info)
        if key not in self.plain:
            self.plain[key] = _Plain(info, with_rows)
        return self.plain[key]

    def count(self, jobs: int, tick: Tick) -> None:
        """Read and count everything that can be read."""
        readable = [item for item in self.plain.values() if not item.unread]
        check_size(self.checkpoint, [item.info for item in readable])
        run_jobs(_work(readable, self.checkpoint.sources, tick), jobs)
        for source in self.checkpoint.sources:
            source.check_unchanged()

    def rows(self, repeated: set[str]) -> Iterator[tuple[TensorStatistics, _Plain]]:
        """The lines of the report; ``repeated`` are the titles of tensors that have copies."""
        for info, part, component, plain in self.listed:
            row = TensorStatistics(
                info.name,
                info.dtype.name,
                info.shape,
                plain.numbers,
                info.nbytes,
                component,
                part,
                plain.dead_rows,
                unread=plain.unread,
            )
            flags = [name for name, test in TESTS.items() if test(row)]
            flags += ["duplicate"] if title(info.name, part) in repeated else []
            yield row._replace(flags=tuple(flags)), plain


def _matcher(pattern: str) -> Callable[[str], object]:
    """Whether a name is meant: all for "", one by its very name, or by a glob."""
    if pattern in ("", "*"):
        return lambda name: True
    matches = re.compile(translate(pattern)).match
    return lambda name: name == pattern or matches(name)


def _parts(info: TensorInfo, name: str) -> Iterator[tuple[str, TensorInfo]]:
    """A tensor, or what a composite one is made of by names inside it."""
    if not info.parts:
        yield name, info
        return
    for part in canonical.own_parts(info):
        yield from _parts(part, ".".join(filter(None, [name, part.name or "elements"])))


def title(name: str, part: str) -> str:
    """How a part of a tensor is called where there is one name for it."""
    return f"{name} ({part})" if part else name


# Who counts what


class _Span(NamedTuple):
    plain: _Plain
    start: int
    elements: int


def _work(items: Iterable[_Plain], sources: Sequence[Source], tick: Tick) -> Iterator[Job]:
    """The jobs, each of some millions of elements, in the order of the files."""
    found = by_access(items, _info_of)
    for batch in batches(_spans(found.anywhere), SPAN):
        yield partial(_count_spans, batch, sources, tick)
    for item in found.in_order:
        yield partial(_count_whole, sources, tick, item, None)
    for group in found.streams:
        yield partial(_count_stream, group, sources, tick)


def _info_of(item: _Plain) -> TensorInfo:
    return item.info


def _spans(items: Iterable[_Plain]) -> Iterator[tuple[_Span, int]]:
    for item in items:
        numel = item.info.numel
        starts = range(0, numel, SPAN)
        item.left = max(1, len(starts))
        for start in starts or (0,):
            elements = min(SPAN, numel - start)
            yield _Span(item, start, elements), elements


def _count_spans(batch: Sequence[_Span], sources: Sequence[Source], tick: Tick) -> None:
    for item, start, elements in batch:
        source = sources[item.info.data.file]
        tally = Tally(item.row, start * item.per)
        try:
            for tile in span(item.info, source, start, elements, item.tile):
                tally.add(tile)
        except UnsupportedError as error:
            item.unread = error.message
        tick(item.info.dtype.nbytes_of(elements))
        item.done(tally)


def _count_whole(sources: Sequence[Source], tick: Tick, item: _Plain, held: Held | None) -> None:
    """Count a tensor whose elements come in order only."""
    tally = Tally(item.row)
    try:
        for tile in tiles(item.info, sources[item.info.data.file], held, item.tile):
            tally.add(tile)
            tick(tile.nbytes)
    except UnsupportedError as error:
        item.unread = error.message
        tally = Tally(item.row)
    item.done(tally)


def _count_stream(group: Sequence[_Plain], sources: Sequence[Source], tick: Tick) -> None:
    source = sources[group[0].info.data.file]
    try:
        read_stream(group, _info_of, source, partial(_count_whole, sources, tick))
    except UnsupportedError as error:  # the file holds none of the values
        for item in group:
            item.unread = error.message


# Copies


def _duplicates(parts: Sequence[_Part], jobs: int, tick: Tick) -> Iterator[Duplicates]:
    """Groups of tensors with the same content, those that take the most bytes first."""
    digests: dict[int, bytes] = {}
    for part, suspects in _suspects(parts):
        infos = [item.info._replace(name=str(id(item))) for item in suspects]
        found = tensor_digests(part.checkpoint, infos, jobs, tick)
        digests |= {int(name): digest for name, (_, digest) in found.items()}
    groups: dict[bytes, dict[int, _Plain]] = {}
    names: dict[bytes, list[str]] = {}
    for row in (row for part in parts for row in part.listed):
        digest = digests.get(id(row.plain))
        if digest is not None:
            groups.setdefault(digest, {})[id(row.plain)] = row.plain
            names.setdefault(digest, []).append(title(row.info.name, row.part))
    copied = [digest for digest, items in groups.items() if len(items) > 1]
    sizes = {digest: next(iter(groups[digest].values())).info.nbytes for digest in copied}
    for digest in sorted(copied, key=lambda digest: -sizes[digest] * (len(groups[digest]) - 1)):
        yield Duplicates(digest.hex(), sizes[digest], tuple(names[digest]))


def _suspects(parts: Sequence[_Part]) -> Iterator[tuple[_Part, list[_Plain]]]:
    """Tensors that agree in type, shape and all exact figures with another one."""
    seen: dict[Any, list[_Plain]] = {}
    for part in parts:
        for item in part.plain.values():
            if not item.unread and item.info.numel:
                exact = item.numbers._replace(mean=None, std=None)
                seen.setdefault((*canonical.form_of(item.info), exact), []).append(item)
    alike = {id(item) for items in seen.values() if len(items) > 1 for item in items}
    for part in parts:
        found = [item for item in part.plain.values() if id(item) in alike]
        if found:
            yield part, found
