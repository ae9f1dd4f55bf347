"""Many conversions from one command: which checkpoints, and where each goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from weightkit.convert.naming import stem_of_name
from weightkit.convert.targets import TARGETS, Target
from weightkit.errors import PlanError
from weightkit.opening.folders import Folder, checkpoints_in, read_folder
from weightkit.plans import Errand


def errands(
    sources: Iterable[str], target: Target, *, recursive: bool = False, into: str = ""
) -> list[Errand]:
    """Each source with its target: a file beside it, or at the same place below ``into``.

    With ``recursive`` a source that is a folder means every checkpoint in it and below. What is in
    the target's format already is left out; what is named twice is converted once. Raises PlanError WK661 where two would have the same
    target.
    """
    named: list[tuple[str, str]] = []
    for source in sources:
        below = _below(source) if recursive else [(source, os.path.basename(source))]
        named += [item for item in below if not _is_done(item[0], target, recursive)]
    named = [*{os.path.abspath(path): (path, inside) for path, inside in named}.values()]
    short = Counter(_place(path, inside, target, into) for path, inside in named)
    found: dict[str, Errand] = {}
    for path, inside in named:
        place = _place(path, inside, target, into)
        if short[place] > 1:  # model.pt and model.bin: each keeps its whole name
            place = _place(path, inside, target, into, whole=True)
        other = found.setdefault(os.path.normpath(place), Errand(path, place))
        if other.source != path:
            message = f"{other.source!r} would be converted to the same file"
            raise PlanError(message, path=path, code="WK661")
    return [*found.values()]


def _is_done(path: str, target: Target, recursive: bool) -> bool:
    """Whether a file that a folder holds is in the target's format already, or its index."""
    stem = path.lower().removesuffix(".index.json")
    return recursive and stem.endswith(target.suffixes)


def _below(path: str) -> Iterator[tuple[str, str]]:
    """The checkpoints of a tree, and folders that cannot be read, with their paths inside it."""
    if not os.path.isdir(path):
        yield path, os.path.basename(path)
        return
    closed: list[str] = []
    for base, folders, _ in os.walk(path, onerror=lambda error: closed.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in checkpoints_in(_folder(base)):
            whole = os.path.join(base, name)
            yield whole, os.path.relpath(whole, path)
    for whole in closed:
        yield whole, os.path.relpath(whole, path)


def _folder(path: str) -> Folder:
    found = read_folder(path)
    return Folder(path, tuple(name for name in found.files if not name.startswith(".")), ())


def _place(path: str, inside: str, target: Target, into: str, whole: bool = False) -> str:
    folder = os.path.join(into, os.path.dirname(inside)) if into else os.path.dirname(path)
    name = os.path.basename(os.path.normpath(path))
    return os.path.join(
        folder, (name if whole else stem_of_name(name, target)) + target.suffixes[0]
    )


def known_target(name: str) -> Target:
    """The format of a batch: safetensors unless ``--to`` says otherwise."""
    from weightkit.convert.targets import target_of

    return target_of("", name) if name else TARGETS["safetensors"]
