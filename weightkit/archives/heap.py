"""Which of several equal names torch's reader takes.

miniz heap-sorts the directory by lower-cased name and looks names up by bisection, so that among
equal names neither the first nor the last wins, but whichever the sort left where the search
lands. Followed here step by step (``mz_zip_reader_sort_central_dir_offsets_by_filename`` and
``mz_zip_locate_file_binary_search`` of miniz 3.0.2); needed only for archives with such names.
"""

from __future__ import annotations

from collections import Counter

MAX_NAMES = 50_000
"""Beyond, the first of equal names is given: the sort would take seconds."""


def miniz_choices(names: list[bytes]) -> dict[bytes, int]:
    """For every lower-cased name that occurs more than once, the index that torch would take."""
    clashing = [name for name, count in Counter(names).items() if count > 1]
    if len(names) > MAX_NAMES:
        return {name: names.index(name) for name in clashing[:1000]}
    order = _heap_sort(names)
    return {name: _bisect(order, names, name) for name in clashing}


def _heap_sort(names: list[bytes]) -> list[int]:
    order = list(range(len(names)))
    for root in range((len(names) - 2) >> 1, -1, -1):
        _sift(order, names, root, len(names))
    for end in range(len(names) - 1, 0, -1):
        order[end], order[0] = order[0], order[end]
        _sift(order, names, 0, end)
    return order


def _sift(order: list[int], names: list[bytes], root: int, size: int) -> None:
    while (child := 2 * root + 1) < size:
        if child + 1 < size and names[order[child]] < names[order[child + 1]]:
            child += 1
        if not names[order[root]] < names[order[child]]:
            return
        order[root], order[child] = order[child], order[root]
        root = child


def _bisect(order: list[int], names: list[bytes], wanted: bytes) -> int:
    low, high = 0, len(order) - 1
    while low <= high:
        middle = low + ((high - low) >> 1)
        name = names[order[middle]]
        if name == wanted:
            return order[middle]
        if name < wanted:
            low = middle + 1
        else:
            high = middle - 1
    raise AssertionError("a sorted list holds all its names")
