"""What fits a budget of memory: which precision, with how much context beside it."""

from __future__ import annotations

from weightkit.analyses.kv_cache import Setting, cache_bytes
from weightkit.analyses.sizing import Request, overhead_terms, with_encoder
from weightkit.architectures.caches.shapes import CacheShape
from weightkit.reports import FitRow, MemoryTerm


def fit_rows(
    weights: tuple[MemoryTerm, ...],
    shape: CacheShape,
    setting: Setting | None,
    request: Request,
) -> tuple[FitRow, ...]:
    """A row for each of ``weights``; vLLM leaves a tenth of the budget alone."""
    budget = request.budget or 0
    if request.engine == "vllm":
        budget = budget * 9 // 10
    return tuple(_fit_row(term, shape, setting, request, budget) for term in weights)


def _fit_row(
    weight: MemoryTerm,
    shape: CacheShape,
    setting: Setting | None,
    request: Request,
    budget: int,
) -> FitRow:
    if weight.low is None or weight.high is None:
        return FitRow(weight.name, None, "unknown", None, None, weight.reason)
    overhead = overhead_terms(weight, shape, request)
    least = budget - weight.high - sum(term.high or 0 for term in overhead)
    most = budget - weight.low - sum(term.low or 0 for term in overhead)
    if shape.none:
        return FitRow(weight.name, weight.high, _verdict(least >= 0, most >= 0), None, None)
    if most < 0:
        return FitRow(weight.name, weight.high, "no", 0, 0, "memory")
    if shape.unknown or setting is None:
        reason = f"{shape.missing or 'its cache'} is unknown" if shape.unknown else "no --context"
        return FitRow(weight.name, weight.high, "unknown", None, None, reason)
    certain = _longest(shape, setting, request, least, 1)
    possible = _longest(shape, setting, request, most, 0)
    fits = _verdict(setting.context <= certain, setting.context <= possible)
    longest = "the model's longest" if setting.context <= (shape.context or 0) else "what was asked"
    limit = longest if certain == _limit(shape, setting) else "memory"
    return FitRow(weight.name, weight.high, fits, certain, possible, limit)


def _verdict(certain: bool, possible: bool) -> str:
    return "yes" if certain else "perhaps" if possible else "no"


def _limit(shape: CacheShape, setting: Setting) -> int:
    return max(shape.context or 0, setting.context)


def _longest(shape: CacheShape, setting: Setting, request: Request, room: int, end: int) -> int:
    """The longest context whose cache fits ``room`` bytes; ``end`` is 0 for low, 1 for high."""
    low, high = 0, _limit(shape, setting)
    while low < high:
        middle = (low + high + 1) // 2
        tried = with_encoder(setting._replace(context=middle, encoder_length=None), shape, request)
        if cache_bytes(shape, tried).whole[end] <= room:
            low = middle
        else:
            high = middle - 1
    return low if room >= 0 else 0
