"""Which tensors of a checkpoint are converted, and what each becomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from weightkit.analyses.digests import recorded_aliases
from weightkit.convert.naming import check_renames, preferred, renaming
from weightkit.convert.targets import Target
from weightkit.convert.wishes import EVERYTHING, Wish, matches
from weightkit.dtypes import DTYPES, DType
from weightkit.errors import PlanError, UnsupportedError
from weightkit.opening import Checkpoint
from weightkit.plans import CAST, DENSE, GATHER, INFLATE, MOVE, TURN, Step
from weightkit.tensors import ABSENT, NESTED, RAW, TensorInfo
from weightkit.values import canonical, dense
from weightkit.values.narrowing import REFUSED, fit


class _Named(NamedTuple):
    """A name of the target, and what stands under it: a tensor, as what it is plain, cast to."""

    name: str
    info: TensorInfo
    form: canonical.Form
    dtype: DType


def chosen(checkpoint: Checkpoint, wish: Wish) -> tuple[list[TensorInfo], list[str]]:
    """The tensors that are wanted, and the names of the rest."""
    tensors = checkpoint.tensors
    if not tensors:
        raise PlanError("no tensors in it", path=checkpoint.path, code="WK604")
    names = [item.name for item in tensors]
    for pattern in (*wish.only, *wish.exclude, *(pattern for pattern, _ in wish.dtypes)):
        if not any(matches(name, (pattern,)) for name in names):
            message = f"no tensor matches {pattern!r}"
            raise PlanError(message, path=checkpoint.path, code="WK664")
    check_renames(wish, names, checkpoint.path)
    if not wish.only and not wish.exclude:
        return list(tensors), []
    kept = [
        item
        for item in tensors
        if (not wish.only or matches(item.name, wish.only)) and not matches(item.name, wish.exclude)
    ]
    if not kept:
        message = "--only and --exclude leave no tensor"
        raise PlanError(message, path=checkpoint.path, code="WK664")
    there = {item.name for item in kept}
    return kept, [name for name in names if name not in there]


def steps_of(
    number: int, checkpoint: Checkpoint, tensors: Sequence[TensorInfo], wish: Wish, target: Target
) -> Iterator[Step]:
    """The tensors as they will be written; those over the same elements are one step."""
    renamed = renaming(wish)
    recorded = _recorded(checkpoint, wish)
    groups: dict[Any, list[_Named]] = {}
    for at, info in enumerate(tensors):
        form = _form(info)
        dtype = _dtype(info, form, wish)
        shared = info.storage and not info.parts and info.numel
        key = (info.data, info.dtype.name, info.shape, info.byteorder, info.strides, dtype.name)
        group = groups.setdefault(key if shared else at, [])
        group.append(_Named(renamed(info.name), info, form, dtype))
        group += [group[-1]._replace(name=renamed(tie)) for tie in recorded.get(info.name, ())]
    seen: dict[str, str] = {}
    for group in groups.values():
        for name, info, *_ in group:
            if name in seen:
                message = f"{seen[name]!r} and {info.name!r} would both be called {name!r}"
                raise PlanError(message, path=checkpoint.path, code="WK661", tensor=info.name)
            seen[name] = info.name
        yield from _grouped(number, group, target)


def _recorded(checkpoint: Checkpoint, wish: Wish) -> dict[str, list[str]]:
    """Names that the file's metadata records for tensors that it stores once, by the stored name."""
    found: dict[str, list[str]] = {}
    for alias, name in recorded_aliases(checkpoint):
        wanted = not wish.only or matches(alias, wish.only)
        if wanted and not matches(alias, wish.exclude):
            found.setdefault(name, []).append(alias)
    return found


def _grouped(number: int, group: Sequence[_Named], target: Target) -> Iterator[Step]:
    """A step for all names of a group, or one for each where the target knows no ties."""
    if len(group) > 1:
        by_name = {item.name: item for item in group}
        group = [by_name[name] for name in preferred(by_name)]
    if not target.ties:
        yield from (_step(number, item) for item in group)
        return
    yield _step(number, group[0], tuple(item.name for item in group[1:]))


def _step(number: int, item: _Named, ties: tuple[str, ...] = ()) -> Step:
    name, info, form, dtype = item
    cast = dtype.name != form.dtype
    if cast:
        own = DTYPES.get(form.dtype, info.dtype)
        verdict = fit(own, dtype)
        if verdict.verdict == REFUSED:
            message = f"{own.name} cannot be cast to {dtype.name}: {verdict.words}"
            raise PlanError(message, code="WK671", tensor=info.name)
    return Step(name, dtype, form.shape, info, number, _way(info, cast), ties)


def _form(info: TensorInfo) -> canonical.Form:
    """What a tensor is as a plain one; raises PlanError where it is none, or has no values."""
    if info.data.encoding in (ABSENT, NESTED) and info.numel and not info.parts:
        where = "in nested compressed containers" if info.data.encoding == NESTED else "nowhere"
        message = f"its values are {where} in the file; leave it out with --exclude"
        raise PlanError(message, code="WK603", tensor=info.name)
    try:
        return dense.form_of(info)
    except UnsupportedError as error:
        message = f"{error.message}; leave it out with --exclude"
        raise PlanError(message, code="WK671", tensor=info.name) from error


def _way(info: TensorInfo, cast: bool) -> str:
    if info.parts:
        return DENSE
    if cast:
        return CAST
    if info.data.encoding != RAW:
        return INFLATE
    if info.strides is not None:
        return GATHER
    return MOVE if canonical.is_verbatim(info) else TURN


def _dtype(info: TensorInfo, form: canonical.Form, wish: Wish) -> DType:
    """The type in the target: that of the last rule that matches, else its own."""
    found = DTYPES.get(form.dtype, info.dtype)
    for pattern, dtype in wish.dtypes:
        if pattern == EVERYTHING:
            if found.kind in ("float", "quant"):
                found = dtype
        elif matches(info.name, (pattern,)):
            found = dtype
    return found
