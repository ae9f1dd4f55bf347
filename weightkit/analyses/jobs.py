"""Work on the tensors of a checkpoint, cut into jobs of about one size, for all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from weightkit.analyses.cores import cores
from weightkit.source import Source
from weightkit.tensors import RAW, Extent, TensorInfo
from weightkit.values import canonical
from weightkit.values.streams import Held, spooled

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
Job = Callable[[], None]
Tick = Callable[[int], None]
"""Told, by whichever thread, how many bytes a step of the work took."""

MOST = 512
"""Chunks of one job, so that thousands of tiny tensors are shared out too."""


def silent(nbytes: int) -> None:
    """No progress."""


def batches(chunks: Iterable[tuple[T, int]], size: int, most: int = MOST) -> Iterator[list[T]]:
    """Runs of chunks whose sizes, which stand beside them, come to ``size``; of ``most`` at most.

    >>> [*batches([("a", 3), ("b", 2), ("c", 4), ("d", 9)], 5)]
    [['a', 'b'], ['c', 'd']]
    """
    batch: list[T] = []
    room = size
    for chunk, nbytes in chunks:
        batch.append(chunk)
        room -= nbytes
        if room <= 0 or len(batch) >= most:
            yield batch
            batch, room = [], size
    if batch:
        yield batch


class Access(NamedTuple, Generic[T]):
    """Tensors by how their elements can be had."""

    anywhere: list[T]
    """Any part without those before it, in the order of the file."""
    in_order: list[T]
    """Strided views of what is stored as it is: each from its beginning."""
    streams: list[list[T]]
    """Those of one compressed stream together: it is decoded once."""


def by_access(items: Iterable[T], info_of: Callable[[T], TensorInfo]) -> Access[T]:
    """Sort tensors, which are no composites, by how they can be read."""
    found: Access[T] = Access([], [], [])
    streams: dict[Extent, list[T]] = {}
    for item in sorted(items, key=lambda item: info_of(item).data[:2]):
        info = info_of(item)
        if canonical.is_addressable(info):
            found.anywhere.append(item)
        elif info.data.encoding == RAW:
            found.in_order.append(item)
        else:
            streams.setdefault(info.data._replace(nbytes=0, within=0), []).append(item)
    found.streams.extend(streams.values())
    return found


def read_stream(
    group: Sequence[T],
    info_of: Callable[[T], TensorInfo],
    source: Source,
    read: Callable[[T, Held | None], None],
) -> None:
    """``read`` each tensor of one stream; of several it is decoded once, to a temporary file."""
    if len(group) == 1:
        read(group[0], None)
        return
    extents = [info_of(item).data for item in group]
    end = max(extent.within + extent.nbytes for extent in extents)
    with spooled(source, info_of(group[0]), end) as held:
        for item in group:
            read(item, held)


def run_jobs(work: Iterator[Job], jobs: int, stop: Job = lambda: None) -> None:
    """Do the jobs on some threads (0: one for each core), a few ahead; the first error ends it.

    ``stop`` is called when it does, so that jobs under way, which are waited for, can end early.
    """
    count = jobs or cores()
    if count == 1:
        for job in work:
            job()
        return
    from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(count, "weightkit") as pool:
        under_way: set[Future[None]] = set()
        try:
            for job in work:
                if len(under_way) >= 4 * count:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    _raise_first(done)
                under_way.add(pool.submit(job))
            _raise_first(wait(under_way, return_when=FIRST_EXCEPTION).done)
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _raise_first(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()
