"""From a checkpoint and a wish to a plan: pure, no byte of a tensor is read.

Which tensors, under which names, in which type, in which file, and everything that will not be in
the target any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from weightkit import __version__
from weightkit.convert import losses as lossy
from weightkit.convert.memory import memory_of
from weightkit.convert.shelving import files_of, metadata_of
from weightkit.convert.steps import chosen, steps_of
from weightkit.convert.targets import target_of
from weightkit.convert.wishes import DEFAULT_SIDECAR, Wish
from weightkit.errors import PlanError
from weightkit.findings import Finding
from weightkit.opening import Checkpoint
from weightkit.plans import (
    CAST,
    Carried,
    Plan,
    PlannedFile,
    Text,
)
from weightkit.rules import finding


def plan(
    checkpoint: Checkpoint,
    target: str,
    wish: Wish,
    judged: Sequence[Finding] = (),
    *,
    folder: bool = False,
    follow: bool = False,
    jobs: int = 0,
) -> Plan:
    """What converting ``checkpoint`` to the path ``target`` will do.

    ``judged`` is what :func:`losses.trust` says of it; its programs are not looked at here.
    ``folder`` asks for a folder of files instead of one, ``follow`` for what links lead to outside of
    the source, ``jobs`` is how many threads will carry it out. Raises PlanError for what cannot be done;
    what would be lost is in ``losses``, refused or accepted by whoever carries the plan out.
    """
    try:
        made = _plan(checkpoint, target, wish, judged, folder, follow)
        letters = len(made.sidecar.content) if made.sidecar else 0
        return replace(made, memory=memory_of(made.files, jobs, letters))
    except PlanError as error:
        error.path = error.path or checkpoint.path
        raise


def _plan(
    checkpoint: Checkpoint,
    target: str,
    wish: Wish,
    judged: Sequence[Finding],
    folder: bool,
    follow: bool,
) -> Plan:
    kind = target_of("" if folder else target, wish.format or ("safetensors" if folder else ""))
    parts = [*_parts(checkpoint, "")]
    if wish.shard_nbytes and not kind.sharded:
        raise PlanError(f"{kind.name} has no shards", path=target, code="WK667")
    if not folder:
        _check_single(parts, target, wish)
    if wish.as_bytes and not kind.as_bytes:
        message = f"{kind.name} says the type of all it holds; leave out --as-bytes"
        raise PlanError(message, path=target, code="WK667")
    files: list[PlannedFile] = []
    texts: list[Text] = []
    lost, said, left = [], [], []
    for number, (prefix, part) in enumerate(parts):
        tensors, out = chosen(part, wish)
        steps = [*steps_of(number, part, tensors, wish, kind)]
        left += [prefix + name for name in out]
        lost += [*lossy.losses(part, steps, kind)]
        said += [*lossy.notes(part, steps, kind, wish)]
        metadata = metadata_of(part, wish, kind)
        more, index = files_of(part, prefix, steps, metadata, wish, kind, folder)
        files += more
        texts += index
    for item in judged:
        (lost if item.code == "WK648" else said).append(item)
    carried, uncarried = _carried(checkpoint, files, follow) if folder else ((), ())
    said += [*_left_out("WK647", "left out", left, checkpoint)]
    said += [*_left_out("WK646", "not carried over", uncarried, checkpoint)]
    if any(step.way == CAST for file in files for step in file.steps):
        said += [*_uncast(carried, checkpoint)]
    sidecar = _sidecar(parts, target, wish, folder)
    if wish.sidecar and sidecar is None:
        message = "no sidecar is written: the source holds nothing but tensors"
        said.append(finding("WK653", message, path=checkpoint.path))
    accepted = wish.accepted | {flag for flag in ["--key"] if wish.key is not None}
    made = Plan(
        checkpoint.path,
        target,
        kind.name,
        folder,
        tuple(files),
        carried,
        tuple(texts),
        sidecar=sidecar,
        losses=tuple(lost),
        notes=tuple(said),
        accepted=accepted,
        refused=tuple(lossy.refused(lost, accepted)),
        key=", ".join(dict.fromkeys(part.sets[0].key for _, part in parts if part.sets[0].key)),
        left=tuple(left),
        sources=tuple(tuple(source.path for source in part.sources) for _, part in parts),
    )
    return replace(made, digest=_digest(made, checkpoint))


def _check_single(parts: Sequence[tuple[str, Checkpoint]], target: str, wish: Wish) -> None:
    """Raise PlanError WK667 for what does not fit into one file."""
    if len(parts) > 1:
        names = ", ".join(prefix for prefix, _ in parts[:8])
        message = f"{len(parts)} checkpoints ({names}); name a folder as target, or one of them"
        raise PlanError(message, code="WK667")
    if wish.shard_nbytes:
        message = f"shards need a folder as target: {os.path.splitext(target)[0]}/"
        raise PlanError(message, path=target, code="WK667")


def _carried(
    checkpoint: Checkpoint, files: Sequence[PlannedFile], follow: bool
) -> tuple[tuple[Carried, ...], tuple[str, ...]]:
    from weightkit.convert.carrying import carried_files

    return carried_files(checkpoint, files, follow)


def _uncast(carried: Sequence[Carried], checkpoint: Checkpoint) -> Iterator[Finding]:
    for item in carried:
        if os.path.basename(item.name) == "config.json":
            message = (
                f"{item.name} goes along as it is, and may name the type from before the casts"
            )
            yield finding("WK654", message, path=checkpoint.path)


def _left_out(
    code: str, what: str, names: Sequence[str], checkpoint: Checkpoint
) -> Iterator[Finding]:
    if names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        message = f"{what}: {', '.join(names[:8])}{more}"
        yield finding(code, message, path=checkpoint.path)


def checkpoints(checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoints that the steps of a plan count into."""
    return [part for _, part in _parts(checkpoint, "")]


def _parts(checkpoint: Checkpoint, prefix: str) -> Iterator[tuple[str, Checkpoint]]:
    """The checkpoint, or the parts of a pipeline, each with its path inside the whole."""
    if checkpoint.tensors or not checkpoint.parts:
        yield prefix, checkpoint
    for part in checkpoint.parts:
        yield from _parts(part, os.path.join(prefix, part.name))


def _sidecar(
    parts: Sequence[tuple[str, Checkpoint]], target: str, wish: Wish, folder: bool
) -> Text | None:
    if not wish.sidecar:
        return None
    from weightkit.convert.sidecar import sidecar_path, sidecar_text

    path = sidecar_path(target, folder) if wish.sidecar == DEFAULT_SIDECAR else wish.sidecar
    text = sidecar_text(part for _, part in parts)
    return Text(path, text) if text else None


def _digest(made: Plan, checkpoint: Checkpoint) -> str:
    """Of what is made from what, and of the state of the source's files.

    Equal plans have equal results: where a tensor lies follows from the files and its name.
    """
    stamps = [
        (source.path, *source.stamp) for part in checkpoints(checkpoint) for source in part.sources
    ]
    heads = [(file.name, file.metadata, file.nbytes) for file in made.files]
    held = (__version__, made.format, made.folder, made.key, heads, made.carried, made.texts)
    hasher = sha256(repr((held, stamps)).encode("utf-8", "surrogatepass"))
    for file in made.files:
        words = [
            word
            for step in file.steps
            for word in (step.name, step.info.name, step.dtype.name, *step.ties)
        ]
        hasher.update("\n".join(words).encode("utf-8", "surrogatepass"))
        hasher.update(repr([step.part for step in file.steps if step.part]).encode())
    return hasher.hexdigest()
