"""The view of ``weightkit stats`` against the text it must give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from tests.golden import same
from weightkit.render import figures, plain, stats, table
from weightkit.render import json as render_json
from weightkit.render.blocks import Block, Wish
from weightkit.render.surface import Surface
from weightkit.statistics import (
    ComponentStatistics,
    Duplicates,
    Numbers,
    Statistics,
    TensorStatistics,
)
from weightkit.values.sums import together
from weightkit.values.tallies import Tally

TERMINAL = Surface(terminal=True, width=100)


def numbers(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Numbers:
    tally = Tally()
    tally.add(values)
    return tally.numbers()


@cache
def report() -> Statistics:
    """A bell, and tensors with everything that is worth a remark."""
    bell = np.random.default_rng(3).standard_normal(100_000).astype(np.float32)
    odd = np.array([math.nan, math.inf, 70_000, 0, 0, 0, 1e-40, -3], np.float32)
    rows = [
        TensorStatistics("bell.weight", "f32", (100, 1000), numbers(bell), 400_000, "projection"),
        TensorStatistics(
            "odd.weight", "f32", (4, 2), numbers(odd), 32, "norm", "", 1,
            ("nan", "inf", "fp16", "subnormal", "dead-rows"),
        ),
        TensorStatistics(
            "quiet.weight", "f32", (2, 2), numbers(np.zeros(4, np.float32)), 16, "norm", "", 2,
            ("zero", "constant", "dead-rows", "duplicate"),
        ),
        TensorStatistics(
            "sparse.weight", "i64", (2,), numbers(np.array([0, 1])), 16, "other", "indices"
        ),
        TensorStatistics(
            "k.weight", "q8_k", (2, 256), Numbers(), 584, "other",
            unread="q8_k cannot be dequantized",
        ),
    ]  # fmt: skip
    components = tuple(
        ComponentStatistics(row.component, 1, row.numbers) for row in (rows[0], rows[1], rows[3])
    )
    copies = (Duplicates("ab" * 32, 16, ("quiet.weight", "other \x1b[31m")),)
    total = together(row.numbers for row in rows)
    flags = ("nan", "inf", "fp16", "subnormal", "zero", "constant", "dead-rows", "duplicate")
    return Statistics("odd.pt", "pytorch", tuple(rows), components, total, copies, 3, flags)


def blocks(limit: int | None = None) -> Iterator[Block]:
    return stats.to_blocks(report(), Wish(limit))


def test_piped() -> None:
    same("stats-odd.txt", plain.render(blocks(), Surface()))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_on_a_terminal(width: int) -> None:
    same(f"stats-odd-{width}.txt", plain.render(blocks(), Surface(width, terminal=True)))


def test_colours_change_nothing_else() -> None:
    plain_text = plain.render(blocks(), TERMINAL)
    assert table.render(blocks(), TERMINAL).replace(" \n", "\n").split() == plain_text.split()


def test_in_ascii() -> None:
    text = plain.render(blocks(), TERMINAL._replace(ascii=True))
    assert all(sign.isascii() for sign in text)


def test_one_tensor_shows_its_histogram() -> None:
    bell = report().tensors[0]
    alone = report()._replace(tensors=(bell,), total=bell.numbers, duplicates=())
    same("stats-one.txt", plain.render(stats.to_blocks(alone, Wish()), TERMINAL))


def test_json() -> None:
    document = render_json.envelope([stats.to_json(report(), Wish())], "0.0", many=False)
    same("stats-odd.json", render_json.text(document))


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("file", "boqsk"),
        ("name", "bkoqs"),
        ("size", "bkoqs"),
        ("dtype", "boqsk"),
        ("absmax", "obsqk"),
        ("std", "obsqk"),
        ("zeros", "qosbk"),
        ("nan", "obqsk"),
        ("inf", "obqsk"),
    ],
)
def test_sorts(sort: str, expected: str) -> None:
    document = stats.to_json(report(), Wish(sort=sort))
    assert "".join(row["name"][0] for row in document["tensors"]) == expected


def test_limit() -> None:
    assert len(stats.to_json(report(), Wish(limit=2))["tensors"]) == 2
    assert "… 3 more" in plain.render(blocks(2), Surface())


@pytest.mark.parametrize(
    ("counts", "width", "expected"),
    [
        ((1, 8, 0, 4), 6, "▁█ ▄"),
        ((1, 7, 0, 4, 8), 3, "█▄█"),
        ((1, 1, 1, 1, 1), 2, "█▂"),
        ((1, 100_000), 9, "▁█"),
        ((0, 0), 9, "  "),
        ((), 9, ""),
    ],
)
def test_sparks(counts: tuple[int, ...], width: int, expected: str) -> None:
    assert figures.spark(counts, width) == expected


def test_figures() -> None:
    values = [0.0199438, 12, 1_234_567, -1e-30, None, 65520.0]
    assert [figures.real(value) for value in values] == [
        "0.01994", "12", "1,234,567", "-1e-30", "–", "65,520",
    ]  # fmt: skip
