"""What the differences between two checkpoints look like as a whole: docs/diff.md has the rules.

Each rule says something or nothing; what it says are figures, so that a reader can judge the word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from weightkit.analyses.elements import Measured
from weightkit.analyses.shares import Change, merged
from weightkit.reports import (
    ADDED,
    CHANGED,
    QUANTIZED,
    RECAST,
    REMOVED,
    RENAMED,
    SAME,
    Delta,
    TensorChange,
)

NEAR = 0.5
"""Cosine below which weights are none that training or quantizing made of the others."""
FEW = 0.001
"""Share of the changed tensors' elements up to which damage is more likely than training."""


def looks_like(changes: Sequence[Change]) -> tuple[str, ...]:
    """What the rules say, most telling first."""
    return tuple(filter(None, (rule(changes) for rule in _RULES)))


def _of(changes: Sequence[Change], kind: str) -> list[Change]:
    return [entry for entry in changes if entry[0].kind == kind]


def _measured(changes: Sequence[Change]) -> list[tuple[TensorChange, Measured]]:
    """The changed tensors with figures; none unless all of them have them."""
    changed = _of(changes, CHANGED)
    found = [(change, item) for change, item in changed if item and change.delta]
    return found if len(found) == len(changed) else []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _damage(changes: Sequence[Change]) -> str:
    """Few elements changed, or numbers became none."""
    changed = _measured(changes)
    worse = [m.sums for _, m in changed if m.sums.other_nonfinite > m.sums.nonfinite]
    if worse:
        more = sum(sums.other_nonfinite - sums.nonfinite for sums in worse)
        where = _count(len(worse), "tensor")
        return f"damage: {_count(more, 'element')} became NaN or infinite, in {where}"
    elements = sum(m.sums.elements for _, m in changed)
    different = sum(m.sums.changed for _, m in changed)
    if not different or different > max(1, FEW * elements):
        return ""
    where = f"{_count(elements, 'element')} of {_count(len(changed), 'tensor')}"
    return f"damage, or an edit by hand: {different:,} of {where} changed"


def _low_rank(changes: Sequence[Change]) -> str:
    """All that changed are matrices, by updates of low rank."""
    changed = _measured(changes)
    ranks = [change.delta.rank for change, _ in changed if change.delta]
    known = [rank for rank in ranks if rank]
    if not known or len(known) < len(ranks) or _damage(changes):
        return ""
    modules = sorted({_module(change.name) for change, _ in changed})
    shown = ", ".join(modules[:6]) + (", …" if len(modules) > 6 else "")
    where = f"{_count(len(changed), 'tensor')} ({shown})"
    return f"a low-rank update, as of merging a LoRA: rank up to {max(known)} in {where}"


def _module(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def _training(changes: Sequence[Change]) -> str:
    """More elements changed than damage explains."""
    changed = _measured(changes)
    delta = merged(changed)
    pairs = sum(1 for change, _ in changes if change.kind not in (ADDED, REMOVED))
    if delta is None or not delta.changed or _low_rank(changes) or _damage(changes):
        return ""
    how = "" if delta.relative_l2 is None else f", relative L2 {delta.relative_l2:.2g}"
    if delta.cosine is not None and delta.cosine < NEAR:
        return _unlike(delta)
    word = "training (a fine-tune)" if 2 * len(changed) >= pairs else "training of a part"
    share = 100 * delta.changed / delta.elements
    where = f"{len(changed):,} of {_count(pairs, 'tensor')}"
    return f"{word}: {share:.2g} % of the elements of {where} changed{how}"


def _recast(changes: Sequence[Change]) -> str:
    """Types changed and values did not, but for rounding."""
    recast = _of(changes, RECAST)
    if not recast or _of(changes, CHANGED):
        return ""
    kinds = _types(recast)
    rounded = sum(change.values == "rounded" for change, _ in recast)
    values = [change.values for change, _ in recast]
    if "unknown" in values:
        return ""
    how = f"{_count(rounded, 'tensor')} rounded, the others equal" if rounded else "values equal"
    how = "all rounded" if rounded == len(recast) else how
    beyond = [change.overflow for change, _ in recast if change.overflow]
    if beyond:
        how += f"; {_count(sum(beyond), 'element')} of {_count(len(beyond), 'tensor')} overflowed"
    return f"a recast of {_count(len(recast), 'tensor')} ({kinds}): {how}"


def _quantization(changes: Sequence[Change]) -> str:
    quantized = _of(changes, QUANTIZED)
    if not quantized:
        return ""
    delta = merged(quantized)
    kinds = _types(quantized)
    if delta is not None and (delta.cosine is None or delta.cosine < NEAR):
        return _unlike(delta)
    proven = sum(change.values == "rounded" for change, _ in quantized)
    said = [f"{proven:,} proven to the bit"] if proven else []
    if delta is not None and delta.relative_l2 is not None and delta.cosine is not None:
        said.append(f"relative L2 {delta.relative_l2:.2g}, cosine {delta.cosine:.6f}")
    how = f": {', '.join(said)}" if said else ", perhaps: --values says how near"
    return f"a quantization of {_count(len(quantized), 'tensor')} ({kinds}){how}"


def _types(changes: Sequence[Change]) -> str:
    kinds = (
        f"{change.a.dtype} to {change.b.dtype}" for change, _ in changes if change.a and change.b
    )
    return ", ".join(dict.fromkeys(kinds))


def _unlike(delta: Delta) -> str:
    cosine = "" if delta.cosine is None else f": cosine {delta.cosine:.2g}"
    return f"other weights altogether{cosine}"


def _renaming(changes: Sequence[Change]) -> str:
    renamed = _of(changes, RENAMED)
    return f"a renaming of {_count(len(renamed), 'tensor')}" if renamed else ""


def _growth(changes: Sequence[Change]) -> str:
    """Tensors came or went."""
    said = []
    for kind in (ADDED, REMOVED):
        there = _of(changes, kind)
        sides = [change.a or change.b for change, _ in there]
        elements = sum(prod(side.shape) for side in sides if side)
        if there:
            said.append(f"{_count(len(there), 'tensor')} {kind} ({_count(elements, 'element')})")
    same = bool(_of(changes, SAME))
    return f"{' and '.join(said)}{'' if same else ', none the same'}" if said else ""


_RULES: tuple[Callable[[Sequence[Change]], str], ...] = (
    _damage,
    _low_rank,
    _training,
    _recast,
    _quantization,
    _renaming,
    _growth,
)
