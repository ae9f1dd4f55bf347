"""Digests of whole files, by the algorithms that others publish."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, Protocol

from weightkit.analyses.cores import cores
from weightkit.analyses.digest_cache import DigestCache, Key
from weightkit.analyses.jobs import Tick, silent
from weightkit.errors import AccessError, FormatError, MissingExtra, WeightkitError
from weightkit.opening.folders import MAX_ENTRIES, Folder
from weightkit.reports import FileDigests
from weightkit.source import Source, os_errors

PIECE = 1 << 17
"""Bytes read at a time: they are still in the cache when they are hashed, and need no new pages."""

PIECES = {"blake3": 1 << 20}
"""Of algorithms that share out one piece among the cores."""


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> Any: ...
    def hexdigest(self) -> str: ...


def _blake3(_: int) -> Hasher:
    try:
        import blake3
    except ImportError as error:
        message = "blake3 needs the extra of that name: pip install 'weightkit[blake3]'"
        raise MissingExtra(message) from error
    found: Hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
    return found


def _git_blob(size: int) -> Hasher:
    """As ``git hash-object``: SHA-1 over a header and the content. No safeguard, only a name."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


ALGORITHMS: dict[str, Callable[[int], Hasher]] = {
    "sha256": lambda _: hashlib.sha256(),
    "sha512": lambda _: hashlib.sha512(),
    "blake2b": lambda _: hashlib.blake2b(),
    "blake3": _blake3,
    "git-sha1": _git_blob,
}
"""Each makes a hasher for a file of so many bytes."""


def checksum(
    path: str,
    algorithms: Sequence[str],
    cache: DigestCache | None = None,
    tick: Tick = silent,
) -> FileDigests:
    """The digests of one file, all from one reading.

    Raises AccessError where it cannot be read, is no regular file or changes meanwhile.
    """
    with Source(path) as source:
        key = Key.of(path, source.fileno())
        known = cache.find(key, algorithms) if cache else {}
        wanted = [name for name in algorithms if name not in known]
        hashers = {name: ALGORITHMS[name](source.size) for name in wanted}
        size = max((PIECES.get(name, PIECE) for name in wanted), default=PIECE)
        for piece in source.chunks(0, source.size if hashers else 0, size):
            for hasher in hashers.values():
                hasher.update(piece)
            tick(len(piece))
        source.check_unchanged()
        found = {name: hasher.hexdigest() for name, hasher in hashers.items()}
        if cache and found:
            cache.keep(key, found)
        if not hashers:
            tick(source.size)
    digests = {name: known.get(name) or found[name] for name in algorithms}
    return FileDigests(path, source.size, digests, cached=not wanted)


class _Over(Exception):
    """Nobody waits for the digests any more."""


def checksums(
    paths: Sequence[str],
    algorithms: Sequence[str],
    jobs: int = 0,
    cache: DigestCache | None = None,
    tick: Tick = silent,
) -> Iterator[FileDigests | WeightkitError]:
    """The digests of many files in their order, several at a time; an error in place of a file."""

    over = Event()

    def counted(nbytes: int) -> None:
        if over.is_set():  # else an interrupt would wait until a file of any size is read
            raise _Over
        tick(nbytes)

    def one(path: str) -> FileDigests | WeightkitError:
        try:
            return checksum(path, algorithms, cache, counted)
        except WeightkitError as error:
            return error

    for name in algorithms:
        ALGORITHMS[name](0)  # an absent extra is told once, not for every file
    with ThreadPoolExecutor(jobs or cores(), "checksums") as pool:
        try:
            yield from pool.map(one, paths)
        except BaseException:
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def files_below(path: str, follow: bool = False) -> Iterator[str]:
    """The file ``path``, or all files below the folder, sorted; folders' names with ``/`` only.

    Raises AccessError where a folder cannot be listed, FormatError WK620 for a link that leads out
    of it (without ``follow``; a hub cache's own links are no such).
    """
    if not os.path.isdir(path):
        yield path
        return
    for name in names_below(path, follow):
        yield os.path.join(path, name)


def names_below(
    path: str, follow: bool = False, refused: dict[str, str] | None = None
) -> list[str]:
    """The files below a folder by their paths inside it, sorted; errors as :func:`files_below`.

    Links that lead out of it go into ``refused``, each with the reason, instead of raising.
    """
    folder = Folder(path, (), (), follow)
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for base, folders, names in os.walk(path, onerror=_raise, followlinks=follow):
        with os_errors(base):
            status = os.stat(base)
        if (status.st_dev, status.st_ino) in seen:  # a link back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        for name in [*names, *links]:
            inside = os.path.relpath(os.path.join(base, name), path)
            try:
                folder.join(inside)
            except FormatError as error:
                if refused is None:
                    raise
                refused[inside] = error.message
                continue
            if name not in links:
                found.append(inside)
        if len(found) > MAX_ENTRIES:
            raise AccessError(f"more than {MAX_ENTRIES} files", path=path, code="WK002")
    return sorted(found, key=os.fsencode)


def _raise(error: OSError) -> None:
    raise AccessError(
        error.strerror or str(error), path=error.filename or "", code="WK010"
    ) from error


# As sha256sum writes it

TAGS = {
    "sha256": "SHA256",
    "sha512": "SHA512",
    "blake2b": "BLAKE2b",
    "blake3": "BLAKE3",
    "git-sha1": "GIT-SHA1",
}


def line(digest: str, path: str, tag: str = "") -> str:
    """A line of a SHA256SUMS file; with ``tag`` in the BSD form that names the algorithm.

    Newlines, carriage returns and backslashes are escaped as coreutils do, which put a backslash in
    front of the line then.
    """
    shown = path
    for sign, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r")):
        shown = shown.replace(sign, escape)
    mark = "\\" if shown != path else ""
    return f"{mark}{tag} ({shown}) = {digest}\n" if tag else f"{mark}{digest}  {shown}\n"
