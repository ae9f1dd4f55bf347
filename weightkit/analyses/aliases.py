"""Tensors that share memory: ties (the same memory under several names) and overlapping views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weightkit.tensors import Extent, TensorInfo


def tied_groups(tensors: Iterable[TensorInfo]) -> list[list[TensorInfo]]:
    """Tensors over exactly the same bytes of one storage, in groups of two and more.

    Slices of a storage that lie beside each other or overlap in part are not tied: a flat parameter
    buffer holds a whole model in one storage.
    """
    groups: dict[tuple[str, Extent], list[TensorInfo]] = {}
    for tensor in tensors:
        if tensor.storage:
            groups.setdefault((tensor.storage, tensor.data), []).append(tensor)
    return [group for group in groups.values() if len(group) > 1]


def repeated_elements(tensors: Iterable[TensorInfo]) -> int:
    """Elements that are counted more than once when the tensors are added up.

    Of each storage: the elements that its views span, less those of the union of the spans.
    """
    return sum(
        nbytes * views[0].dtype.items // max(1, views[0].dtype.nbytes)
        for views, nbytes in _repeated(tensors)
    )


def repeated_nbytes(tensors: Iterable[TensorInfo]) -> int:
    """Bytes that are counted more than once, in the same way."""
    return sum(nbytes for _, nbytes in _repeated(tensors))


def _repeated(tensors: Iterable[TensorInfo]) -> Iterator[tuple[list[TensorInfo], int]]:
    """The views of each storage with the bytes that they span beyond its own."""
    by_storage: dict[str, list[TensorInfo]] = {}
    for tensor in tensors:
        if tensor[6]:
            by_storage.setdefault(tensor[6], []).append(tensor)
    for views in by_storage.values():
        if len(views) > 1:
            covered = spanned = 0
            reached = -1
            for start, end in sorted(_span(view) for view in views):
                spanned += end - start
                covered += max(0, end - max(start, reached))
                reached = max(reached, end)
            yield views, spanned - covered


def _span(view: TensorInfo) -> tuple[int, int]:
    start = view.data.offset + view.data.within
    return start, start + view.data.nbytes
