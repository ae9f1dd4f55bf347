"""Which files a scan is asked about: those named, and those below folders, links and all."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from weightkit.errors import AccessError, WeightkitError
from weightkit.opening.folders import Folder


class Wanted(NamedTuple):
    """How folders are gone through: patterns that names (or paths below the folder) must match."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    follow_symlinks: bool = False

    def refuses(self, path: str) -> str:
        """Why a file of a folder is not wanted; "" if it is."""
        if self.include and not _matches(path, self.include):
            return "not included"
        return "excluded" if _matches(path, self.exclude) else ""


EVERYTHING = Wanted()


class Listed(NamedTuple):
    """A file to scan, one to skip with the ``reason``, or one that cannot be read (``error``)."""

    path: str
    in_folder: bool
    reason: str = ""
    error: WeightkitError | None = None


def list_files(paths: Sequence[str], wanted: Wanted) -> Iterator[Listed]:
    """Files in the order of ``paths``, those of a folder by name."""
    for path in paths:
        if os.path.isdir(path):
            yield from _below(path, wanted)
        else:
            yield Listed(path, in_folder=False)


def _below(top: str, wanted: Wanted) -> Iterator[Listed]:
    home = Folder(top, (), (), wanted.follow_symlinks)
    unreadable: list[Listed] = []

    def failed(error: OSError) -> None:
        path = error.filename or top
        reason = AccessError(error.strerror or "unreadable", path=path, code="WK010")
        unreadable.append(Listed(path, in_folder=True, error=reason))

    seen: set[str] = set()
    for base, folders, names in os.walk(top, onerror=failed, followlinks=wanted.follow_symlinks):
        yield from unreadable
        unreadable.clear()
        if wanted.follow_symlinks and _again(base, seen):
            folders.clear()
            yield Listed(base, in_folder=True, reason="a folder that was gone through already")
            continue
        folders.sort()
        if not wanted.follow_symlinks:
            yield from _linked_folders(base, folders)
        for name in sorted(names):
            yield _file(os.path.join(base, name), top, home, wanted)
    yield from unreadable


def _again(folder: str, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in seen:
        return True
    seen.add(real)
    return False


def _linked_folders(base: str, folders: list[str]) -> Iterator[Listed]:
    for name in folders:
        path = os.path.join(base, name)
        if os.path.islink(path):
            yield Listed(path, in_folder=True, reason="a link to a folder (see --follow-symlinks)")


def _file(path: str, top: str, home: Folder, wanted: Wanted) -> Listed:
    below = os.path.relpath(path, top)
    reason = wanted.refuses(below)
    if reason:
        return Listed(path, in_folder=True, reason=reason)
    if os.path.islink(path):
        try:
            home.join(below)
        except WeightkitError as error:
            return Listed(path, in_folder=True, error=error)
    return Listed(path, in_folder=True)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = os.path.basename(path)
    return any(
        fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(path, pattern) for pattern in patterns
    )
