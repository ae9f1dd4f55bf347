"""The views of ``weightkit convert``: what a conversion will do, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from weightkit.errors import WeightkitError
from weightkit.findings import Finding
from weightkit.plans import DENSE, CastLoss, Conversion, Errand, Plan, Step
from weightkit.render import figures, findings
from weightkit.render.blocks import (
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
    listed,
)
from weightkit.render.json import plain

SHOWN = 20
_KEPT_BESIDE = ("WK641", "WK643")
"""What a sidecar holds: all values of the source's files that are no tensors."""
_WAYS = {
    "move": "moved as they are",
    "turn": "bytes put in order",
    "gather": "gathered from views",
    "inflate": "read from streams",
    "cast": "cast",
    "dense": "made plain",
}


def to_json(report: Plan | Conversion, wish: Wish) -> dict[str, Any]:
    """What was planned, and with a :class:`Conversion` also what came of it."""
    plan = report if isinstance(report, Plan) else report.plan
    found: dict[str, Any] = {
        "source": plan.source,
        "target": plan.target,
        "format": plan.format,
        "key": plan.key or None,
        "plan": plan.digest,
        "bytes": plan.nbytes,
        "memory": plan.memory,
        "disk": plan.disk,
        "tensors": plan.steps,
        "files": [
            {"path": item.name or plan.target, "bytes": item.nbytes, "tensors": len(item.steps)}
            for item in plan.files
        ],
        "carried": [item.name for item in plan.carried],
        "written": [item.name for item in plan.texts],
        "sidecar": plan.sidecar.name if plan.sidecar else None,
        "left": list(plan.left),
        "ways": dict(_ways(plan)),
        "losses": [plain(item) for item in _losses(plan)],
        "refused": list(dict.fromkeys(item.code for item in plan.refused)),
        "notes": [plain(item) for item in plan.notes],
        "converted": isinstance(report, Conversion),
    }
    if isinstance(report, Conversion):
        found |= {
            "verified": bool(report.verified),
            "algorithm": report.algorithm or None,
            "content_id": report.content_id or None,
            "casts": [plain(item) for item in report.casts],
            "receipt": report.receipt or None,
        }
    if "steps" in wish.show:
        found["steps"] = [
            _step(step, item.name or plan.target, slot.offset, plan)
            for item in plan.files
            for step, slot in zip(item.steps, item.layout.slots, strict=False)
        ]
    return found


def _step(step: Step, file: str, offset: int, plan: Plan) -> dict[str, Any]:
    data = step.info.data
    return {
        "name": step.name,
        "dtype": step.dtype.name,
        "shape": list(step.shape),
        "bytes": step.nbytes,
        "file": file,
        "offset": offset,
        "way": step.way,
        "ties": list(step.ties),
        "source": {
            "name": step.info.name,
            "dtype": step.info.dtype.name,
            "file": plan.sources[step.part][data.file],
            "offset": data.offset,
            "bytes": data.nbytes,
        },
    }


def to_blocks(report: Plan | Conversion, wish: Wish) -> Iterator[Block]:
    """The files and how their tensors come about, then what is lost and what is worth saying."""
    if isinstance(report, Plan):
        yield from _plan(report, wish)
        return
    plan = report.plan
    yield Title(plan.target, joined([plan.format, figures.size(plan.nbytes)]))
    yield Facts([*_facts(plan), *_outcome(report)])
    yield from _casts([item for item in report.casts if _lost(item)])
    yield from _said(plan, wish)


def batch_blocks(
    errands: Sequence[Errand], outcomes: Sequence[Plan | Conversion | WeightkitError]
) -> Iterator[Block]:
    """A row for each conversion of a batch, then how many there were."""
    columns = [
        Column("source", style="name"),
        Column("target"),
        Column("size", "right"),
        Column(""),
    ]
    rows = [_outcome_row(*pair) for pair in zip(errands, outcomes, strict=True)]
    if rows:
        yield Table(columns, rows)
    failed = sum(isinstance(item, WeightkitError) for item in outcomes)
    text = f"{len(outcomes) - failed:,} of {len(outcomes):,}" if rows else "nothing to convert"
    done = "planned" if any(isinstance(item, Plan) for item in outcomes) else "converted"
    yield Facts([(done, Text(text, "danger" if failed else ""))])
    refused = sum(isinstance(item, Plan) and bool(item.refused) for item in outcomes)
    if refused:
        yield Facts([("refused", Text(f"{refused:,} of {len(outcomes):,}", "warning"))])


def _outcome_row(errand: Errand, outcome: Plan | Conversion | WeightkitError) -> Sequence[Cell]:
    if isinstance(outcome, WeightkitError):  # why was said on standard error when it came
        what = "refused" if outcome.exit_status == 2 else "failed"
        return errand.source, errand.target, "", Text(f"{what}: {outcome.code}", "danger")
    plan = outcome if isinstance(outcome, Plan) else outcome.plan
    return errand.source, errand.target, figures.size(plan.nbytes), _outcome_note(outcome)


def _outcome_note(outcome: Plan | Conversion) -> Cell:
    if isinstance(outcome, Plan):
        refused = "; ".join(f"refused {text}" for text in _refused(outcome))
        return Text(refused, "warning") if refused else "planned"
    lost = f", accepted: {_codes(outcome.plan.losses)}" if outcome.plan.losses else ""
    return f"verified{lost}" if outcome.verified else Text(f"not verified{lost}", "warning")


def _refused(plan: Plan) -> Iterator[str]:
    """Losses that want a flag; then why nothing can be written there."""
    losses = _unaccepted(plan)
    if losses:
        yield f"until accepted: {_codes(losses)}"
    for item in plan.refused[len(losses) :]:
        yield f"{item.code} {item.path}: {item.message}"


def _unaccepted(plan: Plan) -> list[Finding]:
    return [item for item in plan.refused if item in plan.losses]


def _losses(plan: Plan) -> Iterator[Finding]:
    """The losses; what a sidecar keeps is none, and only said."""
    for item in plan.losses:
        if plan.sidecar is not None and item.code in _KEPT_BESIDE:
            message = f"{item.message}; kept in {plan.sidecar.name}"
            item = item._replace(severity="note", message=message)
        yield item


def _codes(found: Sequence[Finding]) -> str:
    return ", ".join(dict.fromkeys(item.code for item in found))


def _plan(plan: Plan, wish: Wish) -> Iterator[Block]:
    yield Title(plan.target, joined([plan.format, "not written: this is the plan"]))
    memory = f"at most about {figures.size(plan.memory)}"
    refused = [("refused", Text(text, "warning")) for text in _refused(plan)]
    disk = f"{figures.full_size(plan.disk)} to be free"
    yield Facts([*_facts(plan), ("memory", memory), ("disk", disk), *refused])
    steps = [step for item in plan.files for step in item.steps]
    columns = [
        Column("tensor", style="name"),
        Column("shape", drop=2),
        Column("dtype"),
        Column("from", drop=1),
        Column("size", "right"),
        Column("way"),
    ]
    limit = SHOWN if wish.limit is None else wish.limit
    yield listed(columns, steps, _row, limit)
    yield from _said(plan, wish)


def _row(step: Step) -> Sequence[Cell]:
    name = step.name if not step.ties else f"{step.name} = {', '.join(step.ties)}"
    return (
        name,
        figures.shape(step.shape),
        step.dtype.name,
        step.info.dtype.name if step.dtype != step.info.dtype else "",
        figures.size(step.nbytes),
        step.way,
    )


def _facts(plan: Plan) -> Iterator[tuple[str, Cell]]:
    yield "from", plan.source
    if plan.key:
        yield "set", plan.key
    if len(plan.files) > 1:
        yield "files", f"{len(plan.files):,}"
    ways = ", ".join(f"{count:,} {_WAYS[way]}" for way, count in _ways(plan))
    yield "tensors", f"{plan.steps:,}: {ways}"
    yield "size", figures.full_size(plan.nbytes)
    ties = sum(len(step.ties) for item in plan.files for step in item.steps)
    if ties:
        yield "tied", f"{figures.plural(ties, 'further name')} of tensors that are stored once"
    if plan.carried:
        yield "carried", ", ".join(item.name for item in plan.carried[:SHOWN])
    if plan.sidecar:
        yield "sidecar", plan.sidecar.name
    if plan.texts:
        yield "written", ", ".join(item.name for item in plan.texts)


def _ways(plan: Plan) -> list[tuple[str, int]]:
    counts = Counter(step.way for item in plan.files for step in item.steps)
    return [(way, counts[way]) for way in _WAYS if counts[way]]


def _outcome(report: Conversion) -> Iterator[tuple[str, Cell]]:
    if not report.verified:
        yield "verified", Text("no, as asked", "warning")
        return
    ways = {step.way for file in report.plan.files for step in file.steps}
    changed = ["the casts"] if report.casts else []
    changed += ["what was made plain"] if DENSE in ways else []
    same = f"is the same, but for {' and '.join(changed)}" if changed else "is the same"
    yield "verified", f"every tensor was read back and {same}"
    if report.content_id:
        yield "content id", Text(f"{report.algorithm}:{report.content_id}", "name")
    elif report.casts:
        yield "content id", "not computed; weightkit id, --json and --receipt do"
    if report.receipt:
        yield "receipt", report.receipt


def _lost(item: CastLoss) -> int:
    return item.overflow + item.saturated + item.underflow + item.nan


def _casts(found: Sequence[CastLoss]) -> Iterator[Block]:
    if not found:
        return
    columns = [
        Column("cast", style="name"),
        Column(""),
        Column("to Inf", "right"),
        Column("cut off", "right"),
        Column("to zero", "right"),
        Column("to NaN", "right"),
    ]
    rows = [
        (
            item.tensor,
            f"{item.source} to {item.target}",
            *(figures.exact(n) for n in (item.overflow, item.saturated, item.underflow, item.nan)),
        )
        for item in found[:SHOWN]
    ]
    more = f"… {len(found) - SHOWN:,} more (--json has all)" if len(found) > SHOWN else ""
    yield Table(columns, rows, more=more)


def _said(plan: Plan, wish: Wish) -> Iterator[Block]:
    """What is lost and what is worth saying; what to do about it, unless it was accepted."""
    yield from findings.to_blocks((*_losses(plan), *plan.notes), wish)
    open_ = [*_unaccepted(plan), *(item for item in plan.notes if item.severity != "note")]
    remedies = list(dict.fromkeys(item.remedy for item in open_))
    if remedies:
        yield Lines(remedies)
