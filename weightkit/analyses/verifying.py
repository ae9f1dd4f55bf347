"""Whether files are what a manifest, a list of checksums, a cache or another checkpoint says.

The digest cache is never asked: whoever changes a file can change that too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from weightkit.analyses import claims
from weightkit.analyses.checksums import checksums, names_below
from weightkit.analyses.digests import content_id
from weightkit.analyses.jobs import Tick, silent
from weightkit.analyses.manifests import NAME, listed, tensors_of
from weightkit.errors import AccessError, FormatError, WeightkitError
from weightkit.opening import Checkpoint
from weightkit.opening.folders import Folder, hub_blobs, hub_snapshot, read_folder
from weightkit.reports import (
    Difference,
    Manifest,
    ManifestFile,
    TensorDifference,
    TensorDigest,
    Verification,
)

EMPTY: Mapping[str, str] = {}
ALTERED, MISSING, EXTRA, RENAMED, UNREAD = "altered", "missing", "extra", "renamed", "unread"


def against_manifest(
    path: str,
    manifest_path: str = "",
    *,
    follow: bool = False,
    allow_extra: bool = False,
    jobs: int = 0,
    tick: Tick = silent,
) -> Verification:
    """Hold a folder (or a file) against its manifest, by default the one in it."""
    manifest_path = manifest_path or _own_manifest(path)
    manifest = claims.read_manifest(manifest_path)
    refused: dict[str, str] = {}
    folder, names = listed(path, [manifest_path], follow, refused)
    if not os.path.isdir(path):
        own = tuple(item for item in manifest.files if item.path == names[0])
        if not own:
            raise FormatError(f"{names[0]!r} is not listed", path=manifest_path, code="WK630")
        manifest = Manifest(own, manifest.content_algorithm, manifest.root_algorithm, manifest.root)
    wanted = {item.path: dict(item.digests) for item in manifest.files}
    sizes = {item.path: item.size for item in manifest.files}
    found = differences(folder, names, wanted, sizes, jobs, tick, follow, refused)
    tensors = {item.path: item for item in manifest.files}
    detailed = [_with_tensors(item, folder, tensors.get(item.path), jobs) for item in found]
    return verdict(path, "manifest", manifest_path, len(wanted), detailed, allow_extra)


def _own_manifest(path: str) -> str:
    found = default_manifest(path)
    if not os.path.exists(found):
        where = "in it" if os.path.isdir(path) else "beside it"
        message = (
            f"no {NAME} {where}; make one with weightkit checksum --manifest, "
            "or hold it against something else (weightkit verify --help)"
        )
        raise AccessError(message, path=path, code="WK010")
    return found


def default_manifest(path: str) -> str:
    """Where the manifest of a path lies if nobody says otherwise."""
    return os.path.join(path if os.path.isdir(path) else os.path.dirname(path), NAME)


def against_sums(
    path: str,
    raw: bytes,
    source: str,
    *,
    follow: bool = False,
    allow_extra: bool = False,
    jobs: int = 0,
    tick: Tick = silent,
) -> Verification:
    """Hold a folder or a file against the content of a SHA256SUMS file named ``source``."""
    refused: dict[str, str] = {}
    folder, names = listed(path, [source], follow, refused)
    wanted = claims.sums(raw, source, folder)
    if not os.path.isdir(path):
        wanted = {name: digests for name, digests in wanted.items() if name == names[0]}
        if not wanted:
            raise FormatError(f"{names[0]!r} is not listed", path=source, code="WK630")
    elif NAME in wanted and os.path.isfile(os.path.join(folder, NAME)):
        names = [
            *names,
            NAME,
        ]  # a manifest is no file of the folder, unless someone says that it is
    found = differences(folder, names, wanted, {}, jobs, tick, follow, refused)
    return verdict(path, "checksums", source, len(wanted), found, allow_extra)


def against_digest(path: str, digest: str, tick: Tick = silent) -> Verification:
    """Hold one file against one SHA-256."""
    folder, name = os.path.split(path)
    wanted = {name: {"sha256": digest.lower()}}
    found = differences(folder, [name], wanted, {}, 1, tick, True)
    return verdict(path, "digest", digest.lower(), 1, found, False)


_BLOB = {64: "sha256", 40: "git-sha1"}


def in_hub_cache(path: str) -> str:
    """The snapshot of a hub cache that ``path`` means; "" if it is none."""
    if not os.path.isdir(path):
        return ""
    snapshot = hub_snapshot(read_folder(path)) or path
    return snapshot if hub_blobs(os.path.realpath(snapshot)) else ""


def against_blobs(
    path: str, *, allow_extra: bool = False, jobs: int = 0, tick: Tick = silent
) -> Verification:
    """Hold a hub cache's files against the digests that their blobs are named by.

    A blob is called by its SHA-256, or by git's SHA-1 for small files. A file that is no link to
    such a blob is extra: nothing is claimed about it.
    """
    snapshot = in_hub_cache(path)
    if not snapshot:
        raise AccessError("no snapshot of a hub cache", path=path, code="WK010")
    refused: dict[str, str] = {}
    names = names_below(snapshot, refused=refused)
    wanted: claims.Claims = {}
    for name in names:
        where = os.path.join(snapshot, name)
        blob = os.path.basename(os.path.realpath(where))
        if os.path.islink(where) and re.fullmatch("[0-9a-f]{40}(?:[0-9a-f]{24})?", blob):
            wanted[name] = {_BLOB[len(blob)]: blob}
    found = differences(snapshot, names, wanted, {}, jobs, tick, False, refused)
    return verdict(path, "hub cache", snapshot, len(wanted), found, allow_extra)


def same_content(
    checkpoint: Checkpoint, other: Checkpoint, jobs: int = 0, tick: Tick = silent
) -> Verification:
    """Hold the values of a checkpoint against those of another, whatever their formats."""
    mine = content_id(checkpoint, jobs, tick)
    theirs = content_id(other, jobs, tick)
    tensors = _compare(theirs.digests, mine.digests)
    changed = [Difference(ALTERED, checkpoint.path, theirs.id, mine.id, tensors=tensors)]
    found = changed if mine.id != theirs.id else []
    return verdict(checkpoint.path, "content", other.path, mine.tensors, found, False)


def verdict(
    path: str,
    kind: str,
    source: str,
    checked: int,
    differences: Sequence[Difference],
    allow_extra: bool,
) -> Verification:
    counted = [item for item in differences if not (allow_extra and item.kind == EXTRA)]
    return Verification(path, kind, source, checked, not counted, tuple(counted))


# Files


def differences(
    folder: str,
    names: Sequence[str],
    wanted: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, int],
    jobs: int,
    tick: Tick,
    follow: bool,
    refused: Mapping[str, str] = EMPTY,
) -> list[Difference]:
    """Every file that is not as it should be, sorted by path; ``refused`` are links out of it."""
    there = {name.replace(os.sep, "/") for name in names}
    home = Folder(folder or ".", (), (), follow)
    there -= {name for name in there & wanted.keys() if not os.path.exists(home.join(name))}
    missing = [name for name in wanted if name not in there and name not in refused]
    found = [
        Difference(UNREAD if name in wanted else EXTRA, name, reason=reason)
        for name, reason in refused.items()
    ]
    for name, digests, error in _digested(
        folder, sorted(there & wanted.keys()), wanted, jobs, tick
    ):
        if error is not None:
            found.append(Difference(UNREAD, name, reason=str(error)))
        elif digests != dict(wanted[name]):
            algorithm = next(key for key in digests if digests[key] != wanted[name][key])
            expected, have = wanted[name][algorithm], digests[algorithm]
            reason = _whose(algorithm, have, wanted)
            found.append(Difference(ALTERED, name, expected, have, reason=reason))
    extra = sorted(there - wanted.keys())
    renamed = _renamed(folder, missing, extra, wanted, sizes, jobs)
    found += [Difference(RENAMED, old, renamed_to=new) for old, new in renamed.items()]
    found += [Difference(MISSING, name) for name in missing if name not in renamed]
    found += [Difference(EXTRA, name) for name in extra if name not in renamed.values()]
    return sorted(found, key=lambda item: item.path)


def _whose(algorithm: str, digest: str, wanted: Mapping[str, Mapping[str, str]]) -> str:
    """In words, which listed file has this digest: shards that were swapped."""
    for name, digests in wanted.items():
        if digests.get(algorithm) == digest:
            return f"has the content of {name}"
    return ""


def _digested(
    folder: str,
    names: Sequence[str],
    wanted: Mapping[str, Mapping[str, str]],
    jobs: int,
    tick: Tick,
) -> Iterable[tuple[str, dict[str, str], WeightkitError | None]]:
    """Name, digests and error of each file; files with the same algorithms together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(sorted(wanted[name])), []).append(name)
    for algorithms, group in groups.items():
        paths = [os.path.join(folder, name) for name in group]
        outcomes = checksums(paths, algorithms, jobs, None, tick)
        for name, item in zip(group, outcomes, strict=True):
            if isinstance(item, WeightkitError):
                yield name, {}, item
            else:
                yield name, dict(item.digests), None


def _renamed(
    folder: str,
    missing: Sequence[str],
    extra: Sequence[str],
    wanted: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, int],
    jobs: int,
) -> dict[str, str]:
    """Missing files that are there under another name, by their digests (and sizes, if known)."""
    likely = {sizes.get(name) for name in missing}
    algorithms = tuple(sorted({key for name in missing for key in wanted[name]}))
    paths = []
    for name in extra if algorithms else ():
        path = os.path.join(folder, name)
        if None in likely or (os.path.isfile(path) and os.path.getsize(path) in likely):
            paths.append(path)
    left = {
        os.path.relpath(item.path, folder or "."): item.digests
        for item in checksums(paths, algorithms, jobs)
        if not isinstance(item, WeightkitError)
    }
    found = {}
    for name in missing:
        claim = wanted[name].items()
        twin = next((new for new, digests in left.items() if claim <= digests.items()), None)
        if twin is not None:
            found[name] = twin.replace(os.sep, "/")
            del left[twin]
    return found


# Tensors


def _with_tensors(
    item: Difference, folder: str, entry: ManifestFile | None, jobs: int
) -> Difference:
    """An altered weight file, with what changed inside."""
    if item.kind != ALTERED or item.reason or entry is None or not entry.tensors:
        return item
    try:
        now, reason = tensors_of(os.path.join(folder, item.path), jobs)
    except WeightkitError as error:
        now, reason = (), str(error)
    if not now:
        reason = reason or "no weight file any more"
        return Difference(ALTERED, item.path, item.expected, item.found, reason=reason)
    changed = _compare(entry.tensors, now)
    reason = "" if changed else "all tensors are the same: only header or metadata differ"
    return Difference(ALTERED, item.path, item.expected, item.found, "", reason, changed)


def _compare(
    before: Iterable[TensorDigest], after: Iterable[TensorDigest]
) -> tuple[TensorDifference, ...]:
    """What became of each tensor, sorted by name; the same content under a new name is renamed."""
    old, new = ({item.name: item for item in side} for side in (before, after))
    found = [
        TensorDifference(name, _change(old[name], new[name]))
        for name in old
        if name in new and old[name].digest != new[name].digest
    ]
    added: dict[str, list[str]] = {}
    for name in new:
        if name not in old:
            added.setdefault(new[name].digest, []).append(name)
    for name in old:
        if name not in new:
            twins = added.get(old[name].digest)
            what = f"renamed to {twins.pop(0)}" if twins else MISSING
            found.append(TensorDifference(name, what))
    found += [TensorDifference(name, EXTRA) for names in added.values() for name in names]
    return tuple(sorted(found))


def _change(before: TensorDigest, after: TensorDigest) -> str:
    if before.dtype != after.dtype:
        return f"recast from {before.dtype} to {after.dtype}"
    if before.shape != after.shape:
        return f"reshaped from {list(before.shape)} to {list(after.shape)}"
    return "changed"
