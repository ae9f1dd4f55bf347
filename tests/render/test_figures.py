from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightkit.render import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "unknown"),
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (999_999, "1.00 M"),
        (8_030_261_248, "8.03 B"),
        (70_553_706_496, "70.55 B"),
        (671_026_419_200, "671.0 B"),
        (-1500, "-1.50 K"),
        pytest.param(1 << 250, "≥ 2^250", id="huge"),
    ],
)
def test_short(number: int | None, text: str) -> None:
    assert figures.short(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "unknown"),
        (9999, "9,999"),
        (8_030_261_248, "8.03 B · 8,030,261,248"),
        pytest.param(1 << 20000, "≥ 2^20000 · ≥ 2^20000", id="huge"),
    ],
)
def test_count(number: int | None, text: str) -> None:
    assert figures.count(number) == text


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (16_060_522_496, "14.96 GiB"),
        (1 << 300, "≥ 2^300"),
    ],
)
def test_size(nbytes: int, text: str) -> None:
    assert figures.size(nbytes) == text


def test_full_size_carries_the_exact_bytes() -> None:
    assert figures.full_size(1) == "1 byte"
    assert figures.full_size(2048) == "2.00 KiB · 2,048 bytes"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 0, ""),
        (None, 5, ""),
        (0, 5, "0.0 %"),
        (1, 10**6, "< 0.1 %"),
        (10**6 - 1, 10**6, "> 99.9 %"),
        (5, 5, "100.0 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_share(part: int | None, whole: int, text: str) -> None:
    assert figures.share(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (16.0, "16 bits per weight"),
        (4.5, "4.5 bits per weight"),
        (4.8312, "4.83 bits per weight"),
    ],
)
def test_bits(value: float | None, text: str) -> None:
    assert figures.bits(value) == text


@given(st.floats(0, 1), st.integers(1, 80))
def test_bars_are_never_longer_than_their_room(fraction: float, width: int) -> None:
    drawn = figures.bar(fraction, width)
    assert len(drawn) <= width
    assert bool(drawn) == (fraction > 0)


def test_a_full_bar_is_full() -> None:
    assert figures.bar(1.0, 4) == "████"
    assert figures.bar(0.5, 4) == "██"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (("a.pt", None, ""), "a.pt"),
        (("a.pt", 26, ""), "a.pt @ 0x1a"),
        (("a.pt", 26, "x/data.pkl"), "a.pt!x/data.pkl @ 0x1a"),
        (("", 26, ""), "@ 0x1a"),
    ],
)
def test_place(place: tuple[str, int | None, str], text: str) -> None:
    assert figures.place(*place) == text
