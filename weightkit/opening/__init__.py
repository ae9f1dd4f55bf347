"""From a path to a :class:`Checkpoint`: a file, a folder, an index, a shard, a pipeline.

Everything that opens weights comes through :func:`open_checkpoint`, so "which files, which tensors,
which names" has one answer in every command (docs/names.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from weightkit.collecting import paused_collection
from weightkit.errors import AccessError, AmbiguousCheckpoint, FormatError, UnsupportedError
from weightkit.findings import Finding
from weightkit.opening.beside import read_card, read_configs
from weightkit.opening.checkpoint import Checkpoint
from weightkit.opening.examining import Examined, examine, fatal
from weightkit.opening.folders import (
    INDEX,
    Choice,
    Folder,
    choose,
    hub_snapshot,
    read_folder,
    siblings,
)
from weightkit.opening.shards import (
    ShardIndex,
    check_split,
    merge,
    missing_shards,
)
from weightkit.rules import Faults
from weightkit.source import Source
from weightkit.tensors import FileIndex, TensorSet

__all__ = ["Checkpoint", "Examined", "examine", "open_checkpoint"]

OPEN_FILES = 64
"""Descriptors that one checkpoint keeps; further files are opened again when they are read."""


class _Wish(NamedTuple):
    key: str | None
    variant: str | None
    follow: bool
    lenient: bool


def open_checkpoint(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    variant: str | None = None,
    follow_symlinks: bool = False,
    lenient: bool = False,
) -> Checkpoint:
    """Open whatever ``path`` means as a checkpoint; reads headers only.

    ``key`` chooses a state dict of a file that holds several, ``variant`` the files of a folder
    (``fp16``; of a file that is an error). ``lenient`` describes a broken file as far as it goes, its faults in ``findings``.

    Raises AccessError, FormatError (with the first fatal fault), UnsupportedError for a format that
    is recognised but not read, AmbiguousCheckpoint.
    """
    wish = _Wish(key, variant, follow_symlinks, lenient)
    path = os.fspath(path)
    with paused_collection():
        if os.path.isdir(path):
            return _open_folder(path, wish)
        if variant and os.path.exists(path):
            message = f"a variant ({variant}) is chosen among the files of a folder; this is a file"
            raise AmbiguousCheckpoint(message, path=path, code="WK602")
        if INDEX.match(os.path.basename(path)):
            return _open_index(path, wish)
        choice = siblings(path)
        if choice is not None:
            return _open_choice(choice, wish, path)
        return _open_files(path, [path], wish, os.path.dirname(path) or ".")


# Folders


def _open_folder(path: str, wish: _Wish) -> Checkpoint:
    folder = read_folder(path, wish.follow)
    snapshot = hub_snapshot(folder)
    if snapshot:
        return _open_folder(snapshot, wish)
    if "model_index.json" in folder.files:
        return _open_pipeline(folder, wish)
    choice = choose(folder, wish.variant)
    if choice is None:
        return _open_only_subfolder(folder, wish)
    for name in choice.files:
        folder.join(name)
    return replace(_open_choice(choice, wish, path), beside=folder.files)


def _open_only_subfolder(folder: Folder, wish: _Wish) -> Checkpoint:
    """No weights here: say where there are some, rather than that there are none."""
    below = []
    for name in folder.folders[:1000]:
        inner = read_folder(os.path.join(folder.path, name), wish.follow)
        if any(
            file.endswith((".safetensors", ".bin", ".gguf", ".pt", ".pth")) for file in inner.files
        ):
            below.append(name)
    hint = f"; subfolders with weights: {', '.join(below[:10])}" if below else ""
    kind = AmbiguousCheckpoint if below else AccessError
    raise kind(f"no weight file in this folder{hint}", path=folder.path, code="WK601")


def _open_pipeline(folder: Folder, wish: _Wish) -> Checkpoint:
    """A diffusers pipeline: each subfolder with weights is a part."""
    inside = {name: read_folder(folder.join(name), wish.follow) for name in folder.folders}
    if wish.variant and not any(_has_variant(inner, wish.variant) for inner in inside.values()):
        message = f"no variant {wish.variant!r} in any part of the pipeline"
        raise AmbiguousCheckpoint(message, path=folder.path, code="WK602")
    parts = []
    for name, inner in inside.items():
        choice = choose(inner, wish.variant if _has_variant(inner, wish.variant) else None)
        if choice is not None:
            part = _open_choice(choice, wish, inner.path)
            parts.append(replace(part, name=name))
    if not parts:
        raise AccessError("a pipeline without weights", path=folder.path, code="WK601")
    faults = Faults(folder.path)
    return Checkpoint(
        folder.path,
        "diffusers pipeline",
        (),
        (),
        config=read_configs(folder, faults),
        card=read_card(folder, faults),
        beside=folder.files,
        findings=faults.all(),
        parts=tuple(parts),
    )


def _has_variant(folder: Folder, variant: str | None) -> bool:
    return any(f".{variant}" in name for name in folder.files)


def _open_index(path: str, wish: _Wish) -> Checkpoint:
    folder, name = os.path.split(path)
    if not os.path.exists(path):
        Source(path).close()  # says why not
    return _open_choice(Choice(folder or ".", (), index=name), wish, path)


def _open_choice(choice: Choice, wish: _Wish, path: str) -> Checkpoint:
    """Open the files of a choice as one; slices for several devices stay apart."""
    folder = Folder(choice.folder, (), (), wish.follow)
    faults = Faults(path)
    for code, message in choice.notes:
        faults.add(code, message)
    if choice.slices:
        parts = [
            replace(_open_files(folder.join(n), [folder.join(n)], wish, choice.folder), name=n)
            for n in choice.files
        ]
        return Checkpoint(path, "slices", (), (), findings=faults.all(), parts=tuple(parts))
    index = None
    if choice.index:
        named = os.path.basename(path) == choice.index and not os.path.isdir(path)
        index = ShardIndex(path if named else folder.join(choice.index))
    names = index.files if index else choice.files
    paths = [folder.join(name) for name in names]
    there = missing_shards(choice.folder, names, faults)
    if not index and choice.expected > len(choice.files):
        faults.add("WK611", f"{len(choice.files)} of {choice.expected} shards are there")
    if not index and choice.expected > 1 and not choice.files[0].endswith(".gguf"):
        faults.add("WK616", f"{len(choice.files)} shards without an index")
    if choice.others:
        more = f" and {len(choice.others) - 5} more" if len(choice.others) > 5 else ""
        noun = "file was" if len(choice.others) == 1 else "files were"
        left = f"{', '.join(choice.others[:5])}{more}"
        faults.add("WK623", f"{len(choice.others)} more weight {noun} left alone: {left}")
    kept = [item for name, item in zip(names, paths, strict=True) if name in set(there)]
    _raise_fatal(faults, wish)
    return _open_files(path, kept, wish, choice.folder, faults, index)


# Files


def _open_files(
    path: str,
    paths: Sequence[str],
    wish: _Wish,
    folder: str,
    faults: Faults | None = None,
    index: ShardIndex | None = None,
) -> Checkpoint:
    faults = faults or Faults(path)
    sources, examined, files = [], [], []
    for number, item in enumerate(paths):
        source = Source(item, number)
        found = examine(source)
        faults.extend(list(found.faults()))
        source.check_unchanged()
        if number >= OPEN_FILES:
            source.close()
        sources.append(source)
        examined.append(found)
        inner = _indexes(found)
        if len(inner) > 1 or (not inner and found.parts):
            return _open_container(path, source, found, inner, wish, faults)
        if inner:
            files.append(inner[0])
    _raise_fatal(faults, wish)
    names = [os.path.basename(item) for item in paths]
    if index is not None and len(files) == len(names):
        index.check(names, files, faults)
    if len(files) > 1 and files[0].format == "gguf":
        check_split(files, faults)
    sets = _chosen(merge(files, faults), wish, path)
    if not any(item.tensors for item in sets):
        faults.add("WK604", "no tensors in it")
    _raise_fatal(faults, wish)
    home = Folder(folder, (), (), wish.follow)
    configs, card = read_configs(home, faults), read_card(home, faults)
    if index is not None:
        configs = {**configs, os.path.basename(index.path): {"metadata": index.metadata}}
    return Checkpoint(
        path,
        files[0].format if files else examined[0].format,
        tuple(files),
        sets,
        tuple(sources),
        tuple(examined),
        configs,
        card,
        findings=faults.all(),
    )


def _open_container(
    path: str,
    source: Source,
    found: Examined,
    inner: Sequence[FileIndex],
    wish: _Wish,
    faults: Faults,
) -> Checkpoint:
    """A zip or tar that holds several weight files, or none that is read: each is a part."""
    _raise_fatal(faults, wish)
    if not inner:
        message = f"a {found.format} without a weight file that is read"
        raise UnsupportedError(message, path=path, code="WK004")
    parts = [
        Checkpoint(path, item.format, (item,), item.sets, (source,), name=name)
        for name, item in zip(_entries(found), inner, strict=True)
    ]
    return Checkpoint(
        path, found.format, (), (), (source,), (found,), findings=faults.all(), parts=tuple(parts)
    )


def _indexes(found: Examined) -> list[FileIndex]:
    if found.index is not None:
        return [found.index]
    return [item.index for item in found.all() if item.index is not None]


def _entries(found: Examined) -> list[str]:
    return [item.name for item in found.all() if item.index is not None]


def _raise_fatal(faults: Faults, wish: _Wish) -> None:
    """Stop at the first fault that readers of the format refuse the file for."""
    if wish.lenient:
        return
    for finding in faults.all():
        if fatal(finding):
            raise _error(finding)


def _error(finding: Finding) -> FormatError | UnsupportedError:
    kind = UnsupportedError if finding.code in ("WK003", "WK004") else FormatError
    return kind(
        finding.message,
        path=finding.path,
        code=finding.code,
        offset=finding.offset,
        entry=finding.entry,
        tensor=finding.tensor,
    )


def _chosen(sets: tuple[TensorSet, ...], wish: _Wish, path: str) -> tuple[TensorSet, ...]:
    """The sets with the one that ``--key`` names in front."""
    if wish.key is None:
        return sets
    chosen = [item for item in sets if item.key == wish.key]
    if not chosen:
        known = ", ".join(
            repr(item.key) if item.key else "'' (the top level)" for item in sets[:20]
        )
        raise AmbiguousCheckpoint(f"no set {wish.key!r}; there is {known}", path=path, code="WK602")
    main = chosen[0]._replace(kind="model") if chosen[0].kind == "optimizer" else chosen[0]
    return (main, *(item for item in sets if item.key != wish.key))
