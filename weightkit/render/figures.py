"""Figures as people read them. A short form never stands without the exact integer near it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from weightkit.render.blocks import Drawn, Spark

UNKNOWN = "unknown"

_THOUSANDS = ["", " K", " M", " B", " T", " P"]
_BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def exact(number: int | None) -> str:
    """``8,030,261,248``; ``unknown`` for None; a power of two for what no real file can hold."""
    if number is None:
        return UNKNOWN
    return _absurd(number) or f"{number:,}"


def short(number: int | None) -> str:
    """``8.03 B``: in K, M, B (10⁹), T; exact below a thousand."""
    if number is None:
        return UNKNOWN
    return (
        _absurd(number) or _scaled(number, 1000, _THOUSANDS) if abs(number) >= 1000 else str(number)
    )


def count(number: int | None) -> str:
    """``8.03 B · 8,030,261,248``: the short form and the exact integer; the latter alone if small."""
    if number is None or abs(number) < 10_000:
        return exact(number)
    return f"{short(number)} · {exact(number)}"


def size(nbytes: int | None) -> str:
    """``14.96 GiB``; whole bytes below 1 KiB."""
    if nbytes is None:
        return UNKNOWN
    if nbytes < 1024:
        return f"{nbytes} B"
    return _absurd(nbytes) or _scaled(nbytes, 1024, [f" {unit}" for unit in _BINARY])


def full_size(nbytes: int | None) -> str:
    """``14.96 GiB · 16,060,522,496 bytes``."""
    if nbytes is None:
        return UNKNOWN
    if nbytes < 1024:
        return plural(nbytes, "byte")
    return f"{size(nbytes)} · {exact(nbytes)} bytes"


def share(part: int | None, whole: int | None) -> str:
    """``70.2 %``; ``< 0.1 %`` rather than a zero that is none."""
    if part is None or not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if percent > 99.95 and part != whole:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def bits(value: float | None) -> str:
    """``4.53 bits per weight``; whole numbers without decimals."""
    if value is None:
        return UNKNOWN
    figure = f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{figure} bits per weight"


def bar(fraction: float, width: int) -> str:
    """A bar of ``width`` cells, in eighths of a cell; something is drawn for anything above zero."""
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    if fraction > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def drawn(cell: Drawn, width: int) -> str:
    """A bar or a histogram in ``width`` cells."""
    return spark(cell.counts, width) if isinstance(cell, Spark) else bar(cell.fraction, width)


def spark(counts: Sequence[int], width: int) -> str:
    """A row of bars, one for each count, or for two, four, ... of them; the highest fills a cell."""
    while len(counts) > width:
        counts = [*map(sum, zip_longest(counts[::2], counts[1::2], fillvalue=0))]
    highest = max(counts, default=0)
    return "".join(_HEIGHTS[-(-8 * count // highest)] if count else " " for count in counts)


def real(value: float | None) -> str:
    """``-0.01994``: four digits of a number, all of an integer; ``–`` for what is unknown."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return exact(value)
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1_000_000 else f"{value:.4g}"


def shape(dims: Iterable[int]) -> str:
    """``[4096, 4096]``, as torch and numpy write it; ``[]`` for a scalar."""
    return f"[{', '.join(map(str, dims))}]"


def place(path: str, offset: int | None, entry: str = "") -> str:
    """``model.pt!archive/data.pkl @ 0x1a40``."""
    where = f"{path}!{entry}" if entry else path
    return where if offset is None else f"{where} @ 0x{offset:x}".strip()


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 file``, ``4 files``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def _absurd(number: int) -> str:
    """Text for integers that float and str refuse: a header can claim a shape of 2^60 × 2^60 × …"""
    return f"≥ 2^{number.bit_length() - 1}" if number.bit_length() > 200 else ""


def _scaled(number: int, base: int, units: list[str]) -> str:
    value, index = float(number), 0
    while abs(value) >= base and index < len(units) - 1:
        value /= base
        index += 1
    text = _three_digits(value)
    if float(text) >= base and index < len(units) - 1:  # 999.9 K rounds to 1000 K: say 1 M
        text, index = _three_digits(value / base), index + 1
    return text + units[index]


def _three_digits(value: float) -> str:
    decimals = 2 if abs(value) < 99.995 else 1 if abs(value) < 999.95 else 0
    return f"{value:.{decimals}f}"
