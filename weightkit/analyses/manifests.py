"""A manifest: every file of a folder with its digests, every tensor with its content digest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from weightkit.analyses.checksums import checksums, names_below
from weightkit.analyses.digest_cache import DigestCache, Key
from weightkit.analyses.digests import ALGORITHM, content_id, field
from weightkit.analyses.jobs import Tick, silent
from weightkit.errors import AccessError, FormatError, UnsupportedError, WeightkitError
from weightkit.opening import Checkpoint, examine
from weightkit.opening.examining import fatal
from weightkit.reports import FileDigests, Manifest, ManifestFile, TensorDigest
from weightkit.source import Source

NAME = "weightkit.manifest.json"
KIND = "weightkit manifest"
VERSION = 1
ROOT = "wk1-manifest-sha256"


def make_manifest(
    path: str,
    algorithms: Sequence[str] = ("sha256",),
    *,
    leave_out: Iterable[str] = (),
    jobs: int = 0,
    cache: DigestCache | None = None,
    follow: bool = False,
    tick: Tick = silent,
) -> Manifest:
    """The manifest of a folder, or of one file; ``leave_out`` are paths that are not listed.

    sha256 is always among the algorithms. Raises the first WeightkitError of a file that could not
    be read: a manifest is whole or not at all.
    """
    folder, names = listed(path, leave_out, follow)
    wanted = ("sha256", *(name for name in algorithms if name != "sha256"))
    paths = [os.path.join(folder, name) for name in names]
    files = []
    for name, found in zip(names, checksums(paths, wanted, jobs, cache, tick), strict=True):
        if isinstance(found, WeightkitError):
            raise found
        files.append(_file(name, found, jobs, cache))
    return Manifest(tuple(files), ALGORITHM, ROOT, root_of(files))


def listed(
    path: str,
    leave_out: Iterable[str] = (),
    follow: bool = False,
    refused: dict[str, str] | None = None,
) -> tuple[str, list[str]]:
    """The folder that a manifest of ``path`` is about, and the files in it that it lists.

    ``refused`` is as for :func:`names_below`.
    """
    if not os.path.isdir(path):
        return os.path.dirname(path) or ".", [os.path.basename(path)]
    hidden = {os.path.realpath(os.path.join(path, NAME)), *map(os.path.realpath, leave_out)}
    names = names_below(path, follow, refused)
    return path, [
        name for name in names if os.path.realpath(os.path.join(path, name)) not in hidden
    ]


def _file(name: str, found: FileDigests, jobs: int, cache: DigestCache | None) -> ManifestFile:
    """The entry of a file; its tensors come from the cache where the file is unchanged."""
    with Source(found.path) as source:
        key = Key.of(found.path, source.fileno())
    known = cache.find(key, [ALGORITHM]).get(ALGORITHM) if cache else None
    tensors, unread = _remembered(known), ""
    if tensors is None:
        tensors, unread = tensors_of(found.path, jobs)
        if cache and not unread:
            rows = [[*item] for item in map(_row, tensors)]
            cache.keep(key, {ALGORITHM: json.dumps(rows)})
    path = name.replace(os.sep, "/")
    return ManifestFile(path, found.size, dict(found.digests), tensors, unread)


def _row(item: TensorDigest) -> tuple[Any, ...]:
    return item.name, item.dtype, item.shape, item.nbytes, item.digest


def _remembered(text: str | None) -> tuple[TensorDigest, ...] | None:
    try:
        rows = json.loads(text) if text is not None else None
        return rows and tuple(TensorDigest(n, d, tuple(s), b, v) for n, d, s, b, v in rows)
    except (ValueError, TypeError):  # not what we wrote: as if it were not there
        return None


def tensors_of(path: str, jobs: int = 0) -> tuple[tuple[TensorDigest, ...], str]:
    """The content digests of one file's tensors by itself, not of the shards beside it.

    None for a file that is no weight file; none, and why, for a broken one or one whose values have
    no digest.
    """
    with Source(path) as source:
        try:
            found = examine(source)
        except (FormatError, UnsupportedError):
            return (), ""
        if found.index is None or not found.index.tensors:
            return (), ""
        for fault in filter(fatal, found.faults()):
            return (), f"{fault.code} {fault.message}"
        checkpoint = Checkpoint(path, found.format, (found.index,), found.index.sets, (source,))
        try:
            return content_id(checkpoint, jobs).digests, ""
        except (FormatError, UnsupportedError) as error:
            return (), f"{error.code} {error.message}"


def root_of(files: Iterable[ManifestFile]) -> str:
    """One digest of all: over path, size and sha256 of each file, sorted by the bytes of its path."""
    ordered = sorted(files, key=lambda item: item.path.encode("utf-8", "surrogateescape"))
    parts = [field("wk1 manifest")]
    for item in ordered:
        raw = item.path.encode("utf-8", "surrogateescape")
        parts += [field(raw), item.size.to_bytes(8, "little")]
        parts += [bytes.fromhex(item.digests["sha256"])]
    return sha256(b"".join(parts)).hexdigest()


def manifest_text(manifest: Manifest) -> str:
    """The manifest as JSON: the same bytes for the same files, whenever and wherever it is made."""
    document = {
        "kind": KIND,
        "schema_version": VERSION,
        "root": {"algorithm": manifest.root_algorithm, "value": manifest.root},
        "content_algorithm": manifest.content_algorithm,
        "files": [_file_object(item) for item in manifest.files],
    }
    return json.dumps(document, indent=1) + "\n"


def _file_object(item: ManifestFile) -> dict[str, Any]:
    found: dict[str, Any] = {"path": item.path, "size": item.size, "digests": dict(item.digests)}
    if item.tensors:
        found["tensors"] = [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "digest": t.digest}
            for t in item.tensors
        ]
    if item.unread:
        found["tensors_unread"] = item.unread
    return found


def unlisted(path: str) -> AccessError:
    """The error for a path of which there is no manifest."""
    return AccessError(f"no {NAME} here; name one with --manifest", path=path, code="WK010")
