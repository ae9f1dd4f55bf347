"""What the target will not say any more: findings, each with the flags that accept it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from weightkit.analyses.digests import ALIASES
from weightkit.convert.sidecar import beyond, values_of
from weightkit.convert.targets import Target
from weightkit.convert.wishes import Wish
from weightkit.dtypes import DTYPES, DType
from weightkit.errors import PlanError
from weightkit.findings import Finding
from weightkit.opening import Checkpoint
from weightkit.plans import CAST, DENSE, Step
from weightkit.rules import Faults, finding, stands_for
from weightkit.tensors import TensorInfo
from weightkit.text import safe_text
from weightkit.values import canonical, dense
from weightkit.values.narrowing import NARROWING, fit

CONSENT = {
    "WK640": ("--key", "--drop-non-tensors"),
    "WK641": ("--sidecar", "--drop-non-tensors"),
    "WK642": ("--drop-non-tensors",),
    "WK643": ("--sidecar", "--drop-non-tensors"),
    "WK644": ("--materialize",),
    "WK648": ("--allow-unsafe-source",),
    "WK655": ("--drop-non-tensors",),
    "WK656": (),
    "WK650": (),
}
"""Code of a loss: the flags that accept it. --allow-lossy accepts each but the unsafe source."""
UNREAD = ("WK325", "WK507")
"""Findings of tensors that are in a file, and not among those that are listed."""
LOSSY, UNSAFE = "--allow-lossy", "--allow-unsafe-source"

SHOWN = 8
"""Names that a message lists."""


def refused(losses: Iterable[Finding], accepted: frozenset[str]) -> list[Finding]:
    """The losses that no flag accepts."""
    return [item for item in losses if not _accepts(item.code, accepted)]


def _accepts(code: str, accepted: frozenset[str]) -> bool:
    if code == "WK648":
        return UNSAFE in accepted
    return LOSSY in accepted or bool(accepted.intersection(CONSENT[code]))


def refuse(found: Sequence[Finding], path: str) -> None:
    """Raise PlanError for losses that were not accepted.

    Its message names the flags that accept them, and of several kinds of loss the flags that together
    accept all; then its ``details`` have a line for each kind.
    """
    if not found:
        return
    first = found[0]
    kinds: dict[str, list[Finding]] = {}
    for item in found:
        kinds.setdefault(item.code, []).append(item)
    if len(kinds) == 1:
        message = f"{first.message}{_more(found)}; accept with {' or '.join(_flags(first.code))}"
        raise PlanError(message, path=first.path or path, code=first.code, tensor=first.tensor)
    ways = [consent([*kinds]), consent([*kinds], {LOSSY, UNSAFE})]
    accepting = ", or with ".join(dict.fromkeys(" ".join(way) for way in ways))
    message = f"{len(kinds)} kinds of loss ({', '.join(kinds)}); accept all with {accepting}"
    error = PlanError(message, path=first.path or path, code=first.code)
    for some in kinds.values():
        error.add_note(safe_text(_detail(some)))
    raise error


def consent(codes: Sequence[str], flags: Iterable[str] = ()) -> tuple[str, ...]:
    """The fewest flags, of ``flags`` or else those of the table, that together accept these losses.

    ``--key`` is none of them: its value is a choice that nobody can make for the user.
    """
    of_table = [flag for code in codes for flag in CONSENT[code] or (LOSSY,) if flag != "--key"]
    among = sorted(flags) or [*dict.fromkeys(of_table)]
    sets = (found for count in range(len(among)) for found in combinations(among, count))
    whole = (found for found in sets if all(_accepts(code, frozenset(found)) for code in codes))
    return next(whole, tuple(among))


def _flags(code: str) -> tuple[str, ...]:
    """Each of the flags that accept a loss alone."""
    return (*CONSENT[code], *([LOSSY] if code != "WK648" else []))


def _detail(found: Sequence[Finding]) -> str:
    """One kind of loss, by its first."""
    first = found[0]
    tensor = f" (tensor {first.tensor!r})" if first.tensor else ""
    flags = " or ".join(CONSENT[first.code] or (LOSSY,))
    return f"{first.code} {first.message}{tensor}{_more(found)}: {flags}"


def _more(found: Sequence[Finding]) -> str:
    more = sum(map(stands_for, found)) - 1
    return f", and {more:,} more such" if more else ""


def losses(checkpoint: Checkpoint, steps: Sequence[Step], target: Target) -> Iterator[Finding]:
    """What of one checkpoint has no place in the target."""
    faults = Faults(checkpoint.path)
    others = [item for item in checkpoint.sets if item.tensors][1:]
    if others:
        names = ", ".join(f"{item.key or 'top level'} ({item.kind})" for item in others[:SHOWN])
        faults.add("WK640", f"{_count(others, 'other state dict')} left behind: {names}")
    told = {item.key.partition(".")[0] for item in others}
    for file in checkpoint.files:
        states = [key for key in file.states if key not in told]
        if states:
            faults.add("WK640", f"state of training left behind: {_names(states)}")
        arrays = beyond(file)
        unkept = (*file.unkept, *arrays)
        if unkept:
            more = " and more" if len(unkept) > SHOWN else ""
            names = ", ".join(unkept[:SHOWN]) + more
            faults.add("WK655", f"values that not even a sidecar keeps: {names}")
        said = values_of(file)
        if file.format == "pytorch" and said:
            faults.add("WK641", f"values that are no tensors: {_names(said)}")
        if file.of_module or file.container == "torchscript":
            faults.add("WK642", "a whole object, of which only the tensors are converted")
        lost = [key for key in lost_metadata(file.format, said, target) if key not in arrays]
        lost += file.notes if not target.metadata else ()
        if lost:
            faults.add("WK643", f"metadata without a place: {_names(lost)}")
    _, contradicted = texts_of(checkpoint)
    if contradicted:
        message = f"metadata of which files say different things: {_names(contradicted)}"
        faults.add("WK643", message)
    for step in steps:
        if step.way == DENSE:
            what = f"a {step.info.layout} tensor is written as plain {step.dtype.name}"
            faults.add("WK644", what, tensor=step.info.name)
    yield from faults.all()
    for item in checkpoint.findings:
        if item.code in UNREAD:
            message = f"not read: {item.message}" if item.tensor else item.message
            yield finding("WK656", message, path=checkpoint.path, tensor=item.tensor)


def texts_of(checkpoint: Checkpoint) -> tuple[dict[str, str], list[str]]:
    """What its files say of themselves in texts: the first that says it holds.

    Also the keys of which another says something else, but for the record of ties, which is of each.
    """
    texts: dict[str, str] = {}
    contradicted: dict[str, None] = {}
    for file in checkpoint.files:
        said = {**file.notes, **(file.metadata if file.format == "safetensors" else {})}
        for key, value in said.items():
            if key != ALIASES and texts.setdefault(key, value) != value:
                contradicted[key] = None
    return texts, [*contradicted]


def lost_metadata(kind: str, metadata: Any, target: Target) -> Iterator[str]:
    """Keys of a file's metadata that the target cannot keep."""
    if kind == "pytorch":
        return  # plain values of the checkpoint, not text about it
    for key, value in metadata.items():
        if not (target.metadata and isinstance(value, str | int | float | bool)):
            yield key


def notes(
    checkpoint: Checkpoint, steps: Sequence[Step], target: Target, wish: Wish
) -> Iterator[Finding]:
    """What is worth saying, and needs no consent."""
    faults = Faults(checkpoint.path)
    ways = ((_own_dtype(step), step.dtype) for step in steps if step.way in (CAST, DENSE))
    casts = Counter(way for way in ways if way[0] is not way[1])
    for (source, to), number in casts.items():
        made = fit(source, to)
        if made.verdict == NARROWING:
            count = _count(range(number), "tensor")
            faults.add("WK651", f"{count} narrowed from {source.name} to {to.name}: {made.words}")
    holders = Counter(step.info.storage for step in steps)
    views = [step.info for step in steps if step.info.storage and holders[step.info.storage] > 1]
    views = [info for info in views if info.numel]
    held = {(*canonical.same_elements(info), info.layout): info for info in views}
    overlapping = _overlapping(held.values())
    if overlapping:
        faults.add("WK645", f"{overlapping:,} views that overlap are written whole")
    if len(held) < len(views):
        faults.add("WK652", "tied tensors are written under each of their names")
    yield from faults.all()


def _own_dtype(step: Step) -> DType:
    """The type that is cast from: of a quantized tensor f32."""
    return DTYPES.get(dense.form_of(step.info).dtype, step.info.dtype)


def _overlapping(tensors: Iterable[TensorInfo]) -> int:
    """How many tensors share some bytes of their storage with another."""
    spans = sorted(
        ((item.storage, item.data.file), item.data.offset + item.data.within, item.data.nbytes)
        for item in tensors
    )
    count, alone = 0, True
    memory, end = ("", -1), 0
    for where, start, nbytes in spans:
        if where == memory and start < end:  # of what reaches furthest, which may lie far before
            count += 1 + alone
            alone = False
            end = max(end, start + nbytes)
        else:
            alone = True
            memory, end = where, start + nbytes
    return count


def trust(checkpoint: Checkpoint) -> Iterator[Finding]:
    """What the judgement of the source's programs calls for; they were read when it was opened."""
    from weightkit.analyses.safety import verdict
    from weightkit.analyses.scanning import findings

    for examined in checkpoint.examined:
        found = [*findings(examined)]
        judged = verdict(found)
        if judged == "safe":
            continue
        code = "WK649" if judged == "review" else "WK648"
        worst = [item for item in found if item.code != "WK004"]
        reason = f": {worst[0].message}" if worst else ""
        yield finding(code, f"the source is {judged}{reason}", path=examined.name)


def _names(keys: Iterable[str]) -> str:
    listed = [*keys]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _count(items: Sequence[object], noun: str, ending: str = "s") -> str:
    return f"{len(items):,} {noun}" + (ending if len(items) > 1 else "")
