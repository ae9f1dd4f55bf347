"""The view of ``weightkit memory``: what a checkpoint takes, and how each figure came about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from weightkit.render import figures, findings
from weightkit.render.blocks import (
    RIGHT,
    Block,
    Cell,
    Column,
    Facts,
    Lines,
    Table,
    Text,
    Title,
    Wish,
    joined,
)
from weightkit.render.json import plain, record
from weightkit.render.values import brief
from weightkit.reports import UNKNOWN, CacheRow, FitRow, MemoryReport, MemoryTerm

NAMES = {
    "kv_cache": "keys and values",
    "recurrent_state": "recurrent state",
    "indexer_keys": "indexer keys",
    "cross_attention": "cross attention",
    "engine_padding": "set aside by the engine",
    "kv_cache_per_token": "per token",
    "kv_cache_growth": "per further token",
}
"""Terms as people read them; other names stand as they are."""


def to_json(report: MemoryReport, wish: Wish) -> dict[str, Any]:
    """The report as plain values; each term also has ``bytes``, null for ranges and unknowns."""
    document = record(report)
    for name in ("architecture", "engine", "context_source"):
        document[name] = document[name] or None
    for name in ("weights", "cache", "overhead", "training"):
        document[name] = [_term(term) for term in getattr(report, name)]
    for name in ("total", "per_token", "growth"):
        document[name] = _term(getattr(report, name))
    return document


def _term(term: MemoryTerm) -> dict[str, Any]:
    fields = record(term)
    return {"name": fields.pop("name"), "bytes": plain(term.nbytes), **fields}


def to_blocks(report: MemoryReport, wish: Wish) -> Iterator[Block]:
    """The report for people; ``explain`` and ``training`` in ``wish.show`` add to it."""
    yield _title(report)
    yield _terms("weights", report.weights)
    yield _terms("cache", _cache(report))
    yield _terms("overhead", [*report.overhead, report.total])
    yield from _reasons(report)
    if report.budget is not None:
        yield _fit(report)
    yield _training(report, wish)
    for section in (_explained, _layers) if "explain" in wish.show else ():
        yield from section(report)
    yield from findings.to_blocks(report.findings, wish)


def _title(report: MemoryReport) -> Title:
    context = "unknown" if report.context is None else f"{report.context:,} tokens"
    if report.context_source:
        context += f" ({report.context_source})"
    note = joined(
        [
            report.architecture,
            f"context {context}",
            figures.plural(report.batch, "sequence"),
            f"{report.kv_dtype} cache",
            report.engine or "any engine",
        ]
    )
    return Title(report.path.rstrip("/").rsplit("/", 1)[-1] or report.path, note)


def _cache(report: MemoryReport) -> Sequence[MemoryTerm]:
    """The cache, and what a token adds where there is any."""
    if report.per_token.kind == UNKNOWN or not report.per_token.high:
        return report.cache
    return [*report.cache, report.per_token, report.growth]


def _terms(title: str, terms: Iterable[MemoryTerm]) -> Table:
    columns = [
        Column(title, style="name"),
        Column("size", RIGHT),
        Column("bytes", RIGHT, drop=1),
        Column("", style="quiet"),
    ]
    return Table(columns, [_row(term) for term in terms])


def _row(term: MemoryTerm) -> Sequence[Cell]:
    style = "warning" if term.kind == UNKNOWN else ""
    return (
        NAMES.get(term.name, term.name),
        _range(term, figures.size),
        _range(term, figures.exact) if term.kind != UNKNOWN else "",
        Text(term.kind, style) if style else term.kind,
    )


def _range(term: MemoryTerm, shown: Callable[[int | None], str]) -> str:
    if term.low == term.high:
        return shown(term.low)
    return f"{shown(term.low)} – {shown(term.high)}"


def _reasons(report: MemoryReport) -> Iterator[Block]:
    """Why a figure of the cache is unknown or a range, and what else is worth knowing."""
    lines: list[Cell] = [
        f"{NAMES.get(term.name, term.name)}: {term.reason}"
        for term in report.cache
        if term.reason and term.name in NAMES
    ]
    lines += [note for note in report.notes if not any(note in str(line) for line in lines)]
    if lines:
        yield Lines(lines)


def _fit(report: MemoryReport) -> Table:
    columns = [
        Column(f"in {figures.size(report.budget)}", style="name"),
        Column("weights", RIGHT, drop=2),
        Column("fits"),
        Column("context", RIGHT),
        Column("at most", RIGHT, drop=1),
        Column("limited by", style="quiet", drop=3),
    ]
    return Table(columns, [_fit_row(row) for row in report.fit])


def _fit_row(row: FitRow) -> Sequence[Cell]:
    tokens = ["–" if count is None else f"{count:,}" for count in (row.certain, row.possible)]
    return (row.precision, figures.size(row.nbytes), row.fits, *tokens, row.limited_by)


def _training(report: MemoryReport, wish: Wish) -> Table:
    """Totals with their terms named; each term a row with ``training`` or ``explain``."""
    every = not wish.show.isdisjoint({"training", "explain"})
    columns = [
        Column("training", style="name"),
        Column("size", RIGHT),
        Column("", style="quiet"),
        Column("terms", style="quiet"),
    ]
    rows = [
        (term.name, _range(term, figures.size), term.kind, joined([_why(term), term.formula]))
        for term in report.training
        if every or term.name.endswith(": total")
    ]
    return Table(columns, rows)


def _why(term: MemoryTerm) -> str:
    return term.reason.removeprefix("unknown: ") if term.kind == UNKNOWN else ""


def _explained(report: MemoryReport) -> Iterator[Block]:
    """Formula, inputs and source of every figure."""
    groups = (report.weights, report.cache, (report.per_token, report.growth), report.overhead)
    for term in (*(term for group in groups for term in group), report.total, *report.training):
        facts = [
            (term.kind, _range(term, figures.full_size)),
            ("formula", term.formula),
            ("inputs", ", ".join(f"{key} = {brief(item)}" for key, item in term.inputs.items())),
            ("source", term.source),
            ("because", term.reason),
        ]
        yield Facts([row for row in facts if row[1]], title=NAMES.get(term.name, term.name))


def _layers(report: MemoryReport) -> Iterator[Block]:
    columns = [Column("layers", RIGHT), Column("kind", style="name"), Column("keeps")]
    rows = [(str(row.layers), row.kind, _kept(row)) for row in report.layers]
    if rows:
        yield Table(columns, rows)


def _kept(row: CacheRow) -> str:
    heads = f"{row.kv_heads} heads × ({row.key_dim} + {row.value_dim})"
    parts = [
        f"{row.latent} latent elements" if row.latent else heads if row.kv_heads else "",
        f"window of {row.window:,}" if row.window else "",
        f"indexer of {row.indexer}" if row.indexer else "",
        f"{row.cross:,} elements per encoder token" if row.cross else "",
        f"conv {row.conv:,} × {row.kernel}" if row.conv else "",
        f"state of {row.state:,}" if row.state else "",
    ]
    return joined(parts) or "nothing"
