"""Shared memory is counted once, and only what is the same memory is called tied."""

from __future__ import annotations

from weightkit.analyses.aliases import repeated_elements, tied_groups
from weightkit.dtypes import DTYPES
from weightkit.tensors import Extent, TensorInfo

F32 = DTYPES["f32"]


def view(name: str, start: int, numel: int, storage: str = "0") -> TensorInfo:
    extent = Extent(0, 1000 + 4 * start, 4 * numel)
    return TensorInfo(name, F32, (numel,), extent, storage=storage)


def names(tensors: list[TensorInfo]) -> list[list[str]]:
    return [[tensor.name for tensor in group] for group in tied_groups(tensors)]


def test_the_same_bytes_are_tied() -> None:
    tensors = [view("a", 0, 10), view("b", 0, 10), view("c", 0, 10, "1")]
    assert names(tensors) == [["a", "b"]]
    assert repeated_elements(tensors) == 10


def test_neighbours_in_a_flat_buffer_are_not_tied() -> None:
    tensors = [view("a", 0, 10), view("b", 10, 10)]
    assert names(tensors) == []
    assert repeated_elements(tensors) == 0


def test_overlapping_views_repeat_what_they_share() -> None:
    tensors = [view("a", 0, 10), view("b", 6, 10), view("c", 2, 3)]
    assert names(tensors) == []
    assert repeated_elements(tensors) == 4 + 3


def test_without_a_storage_nothing_is_shared() -> None:
    tensors = [view("a", 0, 10, ""), view("b", 0, 10, "")]
    assert names(tensors) == []
    assert repeated_elements(tensors) == 0
