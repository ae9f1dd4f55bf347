"""Digests of files that have not changed since: so that a second run reads nothing.

A convenience, not evidence: whoever can write here can write anything. ``verify`` never asks it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

from weightkit.errors import AccessError
from weightkit.reports import CacheReport

RACY = 2_000_000_000
"""Nanoseconds: a file changed so lately may change again within the clock tick of its time."""
VERSION = 1

_TABLE = """
CREATE TABLE IF NOT EXISTS digests (
    path BLOB, size TEXT, mtime_ns TEXT, inode TEXT, device TEXT, algorithm TEXT, digest TEXT,
    PRIMARY KEY (path, algorithm)
)
"""


class Key(NamedTuple):
    """What tells a file from what it was before."""

    path: bytes
    size: str
    mtime_ns: str
    inode: str
    device: str

    @classmethod
    def of(cls, path: str, fd: int) -> Key:
        """The key of the open file ``fd``."""
        status = os.fstat(fd)
        numbers = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
        return cls(os.fsencode(os.path.realpath(path)), *map(str, numbers))


class DigestCache:
    """An SQLite file with a row per file and algorithm; safe to use from several threads.

    Raises AccessError when the file cannot be opened, or is no such database.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path or default_path()
        self._lock = threading.Lock()
        with self._errors():
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
            self._base.execute(_TABLE)

    def find(self, key: Key, algorithms: Iterable[str]) -> dict[str, str]:
        """Those digests of the file that are known."""
        query = "SELECT algorithm, digest FROM digests WHERE (path, size, mtime_ns, inode, device) = (?, ?, ?, ?, ?)"
        with self._lock, self._errors():
            known = dict(self._base.execute(query, key))
        return {name: known[name] for name in algorithms if isinstance(known.get(name), str)}

    def keep(self, key: Key, digests: Mapping[str, str]) -> None:
        """Note digests of a file, unless it was changed just now."""
        if time.time_ns() - int(key.mtime_ns) < RACY:
            return
        rows = [(*key, name, digest) for name, digest in digests.items()]
        with self._lock, self._errors(), self._base:
            self._base.executemany("INSERT OR REPLACE INTO digests VALUES (?,?,?,?,?,?,?)", rows)

    def report(self) -> CacheReport:
        """How much is in it."""
        query = "SELECT count(*), count(DISTINCT path) FROM digests"
        with self._lock, self._errors():
            digests, files = self._base.execute(query).fetchone()
            return CacheReport(self.path, files, digests, os.path.getsize(self.path))

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = f"the digest cache cannot be used: {error}"
            raise AccessError(message, path=self.path, code="WK010") from error


def default_path() -> str:
    """In the user's cache folder: XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "weightkit", f"digests-{VERSION}.sqlite")


def show() -> CacheReport:
    """What the cache holds; an absent one holds nothing, and stays absent."""
    path = default_path()
    if not os.path.exists(path):
        return CacheReport(path, 0, 0, 0)
    with closing(DigestCache(path)) as cache:
        return cache.report()


def clear() -> CacheReport:
    """Delete the cache, whatever state it is in; what it was before."""
    path = default_path()
    try:
        before = show()
    except AccessError:
        before = CacheReport(path, 0, 0, os.path.getsize(path))
    for name in (path, f"{path}-journal"):
        if os.path.exists(name):
            os.unlink(name)
    return before
