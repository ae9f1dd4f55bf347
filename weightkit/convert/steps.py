"""Which tensors of a checkpoint are converted, and what each becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

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


def chosen(checkpoint: Checkpoint, wish: Wish) -> tuple[list[TensorInfo], list[str]]:
    """The tensors that are wanted, and the names of the rest; a tied name is a tensor of its own."""
    tensors = _with_aliases(checkpoint)
    if not tensors:
        others = [f"--key {item.key!r} ({item.kind})" for item in checkpoint.sets if item.tensors]
        other = f" but those of {', '.join(others[:8])}" if others else ""
        raise PlanError(f"no tensors in it{other}", path=checkpoint.path, code="WK604")
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


def _with_aliases(checkpoint: Checkpoint) -> Sequence[TensorInfo]:
    """The tensors, and those that the metadata records under a further name: over one memory."""
    recorded = dict(recorded_aliases(checkpoint))
    if not recorded:
        return checkpoint.tensors
    tied = {*recorded.values()}
    shared = {
        info.name: info._replace(storage=info.storage or f"tied {info.name}")
        for info in checkpoint.tensors
        if info.name in tied
    }
    tensors = [shared.get(info.name, info) for info in checkpoint.tensors]
    return [*tensors, *(shared[name]._replace(name=alias) for alias, name in recorded.items())]


def steps_of(
    number: int, checkpoint: Checkpoint, tensors: Sequence[TensorInfo], wish: Wish, target: Target
) -> Iterator[Step]:
    """The tensors as they will be written; those over the same elements are one step."""
    renamed = renaming(wish)
    becoming = _Becoming(wish)
    shared = _shared(tensors, wish)
    seen: dict[str, str] = {}
    for info in tensors:
        group = shared.get(info.name, (info,))
        if group[0] is not info:
            continue  # it went with the first of them
        named = [(renamed(own.name), own) for own in group]
        for name, own in named:
            if own.name and not name:
                message = f"nothing would be left of the name {own.name!r}"
                raise PlanError(message, path=checkpoint.path, code="WK664", tensor=own.name)
            if name in seen:
                message = f"{seen[name]!r} and {own.name!r} would both be called {name!r}"
                raise PlanError(message, path=checkpoint.path, code="WK661", tensor=own.name)
            seen[name] = own.name
        if len(named) == 1:
            yield _step(number, *named[0], becoming)
        else:
            yield from _grouped(number, dict(named), becoming, target)


def _shared(tensors: Sequence[TensorInfo], wish: Wish) -> dict[str, list[TensorInfo]]:
    """By the name of each tensor that is one memory with others: all of them."""
    holders = Counter(info.storage for info in tensors)
    groups: dict[Any, list[TensorInfo]] = {}
    for info in tensors:
        if holders[info.storage] > 1 and info.storage and not info.parts and info.numel:
            key = *canonical.same_elements(info), _dtype(info, _form(info), wish).name
            groups.setdefault(key, []).append(info)
    return {info.name: group for group in groups.values() for info in group if len(group) > 1}


def _grouped(
    number: int, by_name: Mapping[str, TensorInfo], becoming: _Becoming, target: Target
) -> Iterator[Step]:
    """A step for all names of a memory, or one for each where the target knows no ties."""
    first, *ties = preferred(by_name)
    if not target.ties:
        for name in (first, *ties):
            yield _step(number, name, by_name[name], becoming)
    else:
        yield _step(number, first, by_name[first], becoming, tuple(ties))


def _step(
    number: int, name: str, info: TensorInfo, becoming: _Becoming, ties: tuple[str, ...] = ()
) -> Step:
    dtype, shape, way, nbytes = becoming(info)
    return Step._make((name, dtype, shape, info, number, way, nbytes, ties))


_Became = tuple[DType, tuple[int, ...], str, int]
"""Type and shape in the target, how it gets there, bytes."""


class _Becoming:
    """What tensors become: the same for all of one type and shape, unless a rule goes by their names."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.alike = all(pattern == EVERYTHING for pattern, _ in wish.dtypes)
        self.seen: dict[Any, _Became] = {}

    def __call__(self, info: TensorInfo) -> _Became:
        _, dtype, shape, data, byteorder, strides, _, layout, _, _, _ = info
        if layout != "strided" or not self.alike or data.encoding in (ABSENT, NESTED):
            return _becomes(info, self.wish)
        key = dtype.name, shape, data.encoding, byteorder, strides
        found = self.seen.get(key)
        if found is None:
            found = self.seen[key] = _becomes(info, self.wish)
        return found


def _becomes(info: TensorInfo, wish: Wish) -> _Became:
    form = _form(info)
    dtype = _dtype(info, form, wish)
    cast = dtype.name != form.dtype
    nbytes = form.nbytes
    if cast:
        own = DTYPES.get(form.dtype, info.dtype)
        verdict = fit(own, dtype)
        if verdict.verdict == REFUSED:
            message = f"{own.name} cannot be cast to {dtype.name}: {verdict.words}"
            if not own.castable:
                message += f"; keep it with --dtype NAME={own.name}"
            raise PlanError(message, code="WK671", tensor=info.name)
        nbytes = dtype.nbytes_of(prod(form.shape))
    return dtype, form.shape, _way(info, cast), nbytes


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


_OF_ALL = {"complex": ("complex",)}
"""By the kind of a type that is asked for without a pattern: the kinds that are cast to it."""


def _dtype(info: TensorInfo, form: canonical.Form, wish: Wish) -> DType:
    """The type in the target: that of the last rule that matches, else its own."""
    found = DTYPES.get(form.dtype, info.dtype)
    for pattern, dtype in wish.dtypes:
        if pattern == EVERYTHING:
            if found.kind in _OF_ALL.get(dtype.kind, ("float", "quant")):
                found = dtype
        elif matches(info.name, (pattern,)):
            found = dtype
    return found
