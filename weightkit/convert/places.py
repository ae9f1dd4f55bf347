"""Where a target is written until it is whole, and how it then appears under its name.

A temporary file or folder beside the target, ``.NAME.weightkit-PLAN.tmp`` (of a very long name: its
start and its digest), is held under a lock (``flock``) while somebody writes it; one without a holder is dead, and is taken away by the next
conversion to the same target. A target appears by one rename (or link); a folder that is replaced
changes places with its successor (``renameat2``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Self

from weightkit.errors import AccessError, PlanError, WeightkitError
from weightkit.opening.folders import WEIGHTS
from weightkit.source import os_errors

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""``renameat2(2)``."""
_NAME_MAX = 255
"""Bytes of a file's name, on Linux's file systems."""
_PRECIOUS = (".git", ".hg", ".svn", ".dvc")
"""What has a history; a folder with one is not replaced."""


def check_target(
    target: str, sources: Sequence[str], *, folder: bool, force: bool, trial: bool = True
) -> None:
    """Raise PlanError if ``target`` cannot be written: it exists, is a source, has no folder.

    Without ``trial`` nothing is written to find out whether folders can change places.
    """
    real = os.path.realpath(target)
    parent = os.path.dirname(real)
    if not os.path.isdir(parent):
        raise PlanError(f"no folder {parent!r}", path=target, code="WK667")
    _check_open(target, parent)
    for source in sources:
        _check_apart(target, real, os.path.realpath(source), folder)
    if not os.path.lexists(real):
        return
    if os.path.isdir(real) != folder or not (folder or stat.S_ISREG(os.stat(real).st_mode)):
        kind = (
            "a folder" if os.path.isdir(real) else "no regular file" if not folder else "no folder"
        )
        raise PlanError(f"the target is {kind}", path=target, code="WK667")
    if not force:
        raise PlanError("the target exists; --force replaces it", path=target, code="WK665")
    if folder:
        _check_replaceable(target, real, trial)


def _check_open(path: str, parent: str) -> None:
    """Raise PlanError for a file that cannot be made, since its folder lets nobody write."""
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        closed = os.statvfs(parent).f_flag & os.ST_RDONLY
        reason = "Read-only file system" if closed else "Permission denied"
        message = f"no file can be made in {parent!r}: {reason}"
        raise PlanError(message, path=path, code="WK667")


def _check_replaceable(target: str, real: str, trial: bool) -> None:
    """Raise PlanError for a folder that --force should not take away with all that is in it."""
    names = os.listdir(real)
    other = [name for name in names if name in _PRECIOUS]
    if not any(_is_weights(name) for name in names):
        other += names
    message = ""
    if _inside(os.getcwd(), real) or os.path.ismount(real):
        message = "the target is where you are, or above it, or a disk; --force does not replace it"
    elif other:
        message = f"the target is a folder of something else ({other[0]!r}); remove it yourself"
    elif trial and not _can_exchange(real):
        message = "its file system cannot exchange folders; remove the target yourself"
    if message:
        raise PlanError(message, path=target, code="WK667")


def _is_weights(name: str) -> bool:
    return name.lower().endswith((*WEIGHTS, ".index.json")) or name == "model_index.json"


def _check_apart(target: str, real: str, source: str, folder: bool) -> None:
    same = os.path.exists(real) and os.path.samefile(real, source)
    around = folder and _inside(source, real)
    within = folder and os.path.isdir(source) and _inside(real, source)
    if same or around or within:
        raise PlanError(
            "the target is the source, or in it, or around it", path=target, code="WK666"
        )


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def check_beside(path: str, others: Sequence[str], *, force: bool) -> None:
    """The same for a small file (a sidecar, a receipt); ``others`` are the sources and the target."""
    real = os.path.realpath(path)
    for other in map(os.path.realpath, others):
        if real == other or (os.path.exists(real) and _is_same(real, other)):
            message = "it is the source or the target itself"
            raise PlanError(message, path=path, code="WK666")
    parent = os.path.dirname(real)
    if not (os.path.isdir(parent) or any(_inside(parent, os.path.realpath(o)) for o in others)):
        raise PlanError(f"no folder {parent!r}", path=path, code="WK667")
    if os.path.isdir(parent):
        _check_open(path, parent)
    if os.path.lexists(path) and not force:
        raise PlanError("the file exists; --force replaces it", path=path, code="WK665")


def _is_same(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)


def check_space(target: str, nbytes: int) -> None:
    """Raise PlanError WK668 if the target's disk has not so many bytes left.

    What conversions to this target left there counts as free: it is taken away or taken up.
    """
    parent, name = os.path.split(os.path.realpath(target))
    with os_errors(parent):
        status = os.statvfs(parent)
        left = [path for path in os.listdir(parent) if path.startswith(_stem(name))]
        taken = sum(_disk_use(os.path.join(parent, path)) for path in left)
    free = status.f_bavail * status.f_frsize + taken
    if nbytes > free:
        message = f"{nbytes:,} bytes to write, {free:,} free"
        raise PlanError(message, path=target, code="WK668")


def _disk_use(path: str) -> int:
    """Bytes that a file, or what is in a folder, takes on the disk."""
    walked = [os.path.join(base, name) for base, _, names in os.walk(path) for name in names]
    nbytes = 0
    for one in walked or [path]:
        with contextlib.suppress(FileNotFoundError):  # its conversion lives, and will be heard of
            nbytes += os.lstat(one).st_blocks * 512
    return nbytes


class Place:
    """The temporary file or folder of one target; a context manager that leaves nothing behind.

    ``path`` is where to write. ``finish`` puts it in place. Without it everything is removed at the
    end, but for a folder's finished files if ``keep`` was set: those ``resume`` takes up.
    """

    def __init__(
        self, target: str, digest: str, *, folder: bool, force: bool, resume: bool
    ) -> None:
        self.target = target
        self.real = os.path.realpath(target)
        self.folder = folder
        self.force = force
        self.resume = resume
        self.keep = False
        self._stem = _stem(os.path.basename(self.real))
        self.path = os.path.join(os.path.dirname(self.real), f"{self._stem}{digest[:16]}.tmp")
        self._lock = -1
        self._done = False

    def __enter__(self) -> Self:
        self._sweep()
        try:
            with os_errors(self.path):
                if self.folder and not os.path.isdir(self.path):
                    os.mkdir(self.path)
                if self.folder:
                    self._lock = _locked(self.path)
        except WeightkitError:
            raise
        except BaseException:  # an interrupt; __exit__ is not called
            with contextlib.suppress(OSError):  # there is no folder, or one with files to resume
                os.rmdir(self.path)
            raise
        return self

    def hold(self, fd: int) -> None:
        """Lock the temporary file that was just made, until the end and not only until it is closed."""
        with os_errors(self.path), contextlib.suppress(BlockingIOError):
            self._lock = os.dup(fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_ours():
                return
        raise self._taken()

    def _sweep(self) -> None:
        """Remove what dead conversions to this target left; raise PlanError for a live one."""
        parent = os.path.dirname(self.real)
        with os_errors(parent):
            names = [name for name in os.listdir(parent) if name.startswith(self._stem)]
        for name in names:
            path = os.path.join(parent, name)
            if not name.endswith(".tmp") or os.path.islink(path):
                continue
            try:
                fd = _locked(path)
            except FileNotFoundError:
                continue
            except BlockingIOError as error:
                message = f"another process writes it ({name})"
                raise PlanError(message, path=self.target, code="WK669") from error
            except OSError as error:
                raise AccessError(error.strerror or str(error), path=path, code="WK010") from error
            try:
                if not (self.resume and self.folder and path == self.path):
                    _remove(path)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """Make the target appear. Raises PlanError if it appeared meanwhile, AccessError."""
        if not self._is_ours():
            raise self._taken()
        try:
            if self.force and os.path.lexists(self.real):
                _replace(self.path, self.real, self.folder)
            elif self.folder:
                os.rename(self.path, self.real)
            else:
                _link(self.path, self.real)
        except (FileExistsError, NotADirectoryError) as error:
            message = "the target appeared meanwhile"
            raise PlanError(message, path=self.target, code="WK665") from error
        except OSError as error:
            raise AccessError(
                error.strerror or str(error), path=self.target, code="WK010"
            ) from error
        self._done = True
        sync_folder(os.path.dirname(self.real))

    def _is_ours(self) -> bool:
        """Whether what stands at ``path`` is what was made here: another process may have swept."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return self._lock >= 0 and os.path.samestat(os.fstat(self._lock), there)

    def _remove_unheld(self) -> None:
        """What was made when an interrupt came, and not yet locked; what another holds stays."""
        with contextlib.suppress(OSError):
            fd = _locked(self.path)
            try:
                _remove(self.path)
            finally:
                os.close(fd)

    def _taken(self) -> PlanError:
        message = "another process writes it"
        return PlanError(message, path=self.target, code="WK669")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        kept = self.keep and self.folder and not isinstance(value, PlanError)
        if not self._done and kept and value is not None:
            said = f"the finished files are kept for --resume in {self.path}"
            if isinstance(value, WeightkitError):
                value.message += f"; {said}"
            else:  # an interrupt has no message
                value.add_note(said)
        if not self._done and not kept and self._is_ours():
            _remove(self.path)
        if self._lock < 0 and not isinstance(value, WeightkitError):
            self._remove_unheld()
        if self._lock >= 0:
            os.close(self._lock)


def _stem(name: str) -> str:
    """What the names of all temporary files of one target begin with, and those of no other."""
    room = _NAME_MAX - len(f"..weightkit-{'0' * 16}.old.tmp")
    return f".{_fitting(name, room)}.weightkit-"


def part_of(path: str) -> str:
    """What an unfinished file of a folder is called until it has the name ``path``."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"{_fitting(name, _NAME_MAX - len('.part'))}.part")


def _fitting(name: str, nbytes: int) -> str:
    """``name`` if it has at most so many bytes, else as much of its start as leaves room for a digest."""
    held = os.fsencode(name)
    if len(held) <= nbytes:
        return name
    digest = f"~{sha256(held).hexdigest()[:16]}"
    whole = getincrementaldecoder("utf-8")("surrogateescape")  # leaves off half a character
    return whole.decode(held[: nbytes - len(digest)]) + digest


def _locked(path: str) -> int:
    """A descriptor that holds the lock of a file or folder; raises BlockingIOError if it is held."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)


def _link(path: str, target: str) -> None:
    """Give a file its name, never over another; where there are no links, look first."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        os.rename(path, target)
        return
    os.unlink(path)


def _replace(path: str, target: str, folder: bool) -> None:
    if not folder:
        os.replace(path, target)
        return
    # What is exchanged is the old one at once: under this name no --resume takes it for our own.
    leaving = f"{path.removesuffix('.tmp')}.old.tmp"
    os.rename(path, leaving)
    try:
        _exchange(leaving, target)
    finally:
        _remove(leaving)


def _can_exchange(real: str) -> bool:
    """Whether folders beside ``real`` can change places, tried with two empty ones."""
    parent, name = os.path.split(real)
    trial = os.path.join(parent, f"{_stem(name)}try-{os.getpid():x}.tmp")
    one, other = os.path.join(trial, "one"), os.path.join(trial, "other")
    try:
        os.makedirs(one)
        os.mkdir(other)
        _exchange(one, other)
    except (AttributeError, OSError):  # a C library, or a file system, that has no such call
        return False
    finally:
        _remove(trial)
    return True


def _exchange(one: str, other: str) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if done:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)


def sync_folder(path: str) -> None:
    """Wait until the disk has the names in a folder."""
    with os_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def sync_tree(path: str) -> None:
    """The same for a folder and all folders below it."""
    for base, _, _ in os.walk(path):
        sync_folder(base)


def write_beside(path: str, held: bytes, *, force: bool) -> None:
    """A small file that appears whole. Raises PlanError WK665 if it exists, without ``force``."""
    check_beside(path, (), force=force)
    with Place(path, f"{os.getpid():x}", folder=False, force=force, resume=False) as place:
        write_whole(place.path, held, place.hold)
        place.finish()


def write_whole(path: str, held: bytes, hold: Callable[[int], None] = lambda fd: None) -> None:
    """Write a file and wait until the disk has it; ``hold`` gets its descriptor first."""
    with os_errors(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            hold(fd)
            left = memoryview(held)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
