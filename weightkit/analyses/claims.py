"""What others say that files are: manifests and lists of checksums, themselves not to be trusted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from weightkit.analyses.checksums import TAGS
from weightkit.analyses.digests import ALGORITHM
from weightkit.analyses.manifests import KIND, ROOT, VERSION, root_of
from weightkit.errors import FormatError
from weightkit.reports import Manifest, ManifestFile, TensorDigest
from weightkit.source import Source

MAX_NBYTES = 40 << 20
"""Of a manifest: one of 100,000 tensors has 25 MB."""
MAX_SUMS = 24 << 20
"""Bytes of a list of checksums: 200,000 files. Python may need four times as much for text."""
MAX_VALUES = 1_000_000
"""Of a JSON document: what bounds the memory that parsing it takes."""
DIGITS = {"sha256": 64, "sha512": 128, "blake2b": 128, "blake3": 64, "git-sha1": 40}
"""Hexadecimal digits of each algorithm."""

Claims = dict[str, dict[str, str]]
"""Of each file inside the folder: its digests by algorithm."""


class _Refused(Exception):
    """What is wrong, in words."""


def read_manifest(path: str) -> Manifest:
    """A manifest, checked in every part, its root too.

    Raises FormatError WK630 if it is none or disagrees with itself, WK620 if a path in it leaves the
    folder, AccessError if it cannot be read.
    """
    raw = _whole(path, MAX_NBYTES)
    try:
        if not raw.isascii():
            raise _Refused("not ASCII, in which every manifest is written")
        if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise _Refused(f"more than {MAX_VALUES} values")
        return _manifest(json.loads(raw, object_pairs_hook=_object))
    except (_Refused, RecursionError) as error:
        raise FormatError(str(error), path=path, code="WK630") from error
    except ValueError as error:  # json's, of Unicode, of integers with thousands of digits
        raise FormatError(f"not JSON: {error}", path=path, code="WK630") from error
    except FormatError as error:
        error.path = path
        raise


def _whole(path: str, limit: int) -> bytes:
    with Source(path) as source:
        if source.size > limit:
            message = f"{source.size} bytes, more than {limit}"
            raise FormatError(message, path=path, code="WK630")
        return source.pread(0, source.size)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a key stands twice in an object")
    return found


def _manifest(held: Any) -> Manifest:
    if not isinstance(held, dict) or held.get("kind") != KIND:
        raise _Refused(f"no {KIND}")
    if held.get("schema_version") != VERSION:
        raise _Refused("a manifest of another version")
    if held.get("content_algorithm") != ALGORITHM:
        raise _Refused("content digests by another algorithm")
    files = tuple(map(_file, _list(held.get("files"), "files")))
    _no_doubles((item.path for item in files), "path")
    if len({frozenset(item.digests) for item in files}) > 1:
        raise _Refused("files with different algorithms")
    root = held.get("root")
    wanted = {"algorithm": ROOT, "value": root_of(files)}
    if root != wanted:
        raise _Refused("the root is not that of the files: the manifest was altered")
    return Manifest(files, ALGORITHM, ROOT, wanted["value"])


def _file(held: Any) -> ManifestFile:
    if not isinstance(held, dict):
        raise _Refused("a file that is no object")
    digests = held.get("digests")
    if not isinstance(digests, dict) or "sha256" not in digests:
        raise _Refused("a file without a sha256")
    for name, value in digests.items():
        _digest(name, value)
    tensors = tuple(map(_tensor, _list(held.get("tensors", []), "tensors")))
    _no_doubles((item.name for item in tensors), "tensor")
    size = _count(held.get("size"), "size")
    return ManifestFile(inside(held.get("path")), size, digests, tensors)


def _tensor(held: Any) -> TensorDigest:
    if not isinstance(held, dict):
        raise _Refused("a tensor that is no object")
    name, dtype, digest = (held.get(key) for key in ("name", "dtype", "digest"))
    if not isinstance(name, str) or not isinstance(dtype, str):
        raise _Refused("a tensor without a name or a dtype")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise _Refused("a tensor without a digest")
    shape = [_count(size, "dimension") for size in _list(held.get("shape"), "shape")]
    return TensorDigest(name, dtype, tuple(shape), 0, digest)


def _list(held: Any, what: str) -> list[Any]:
    if not isinstance(held, list):
        raise _Refused(f"{what} is no list")
    return held


def _count(held: Any, what: str) -> int:
    if type(held) is not int or not 0 <= held < 1 << 63:
        raise _Refused(f"a {what} that is no size")
    return held


def _digest(name: str, value: Any) -> None:
    if name not in DIGITS:
        raise _Refused(f"an unknown algorithm {name[:40]!r}")
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{DIGITS[name]}}}", value):
        raise _Refused(f"a {name} digest that is none")


def _no_doubles(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _Refused(f"the {what} {name[:200]!r} stands twice")
        seen.add(name)


def inside(path: Any) -> str:
    """A path inside the folder as it is written; raises FormatError WK620 for one that leaves it."""
    if not isinstance(path, str):
        raise _Refused("a path that is no text")
    parts = re.split(r"[\\/]", path)
    if "" in path.split("/") or ".." in parts or "." in path.split("/") or "\0" in path:
        raise FormatError(f"the path {path[:200]!r} leaves the folder, or is none", code="WK620")
    return path


# Lists of checksums

_PLAIN = re.compile(r"([0-9a-fA-F]{40,128}) [ *](.+)", re.DOTALL)
_TAGGED = re.compile(r"([\w-]+) \((.+)\) = ([0-9a-fA-F]{40,128})", re.DOTALL)
_BY_TAG = {tag: name for name, tag in TAGS.items()}
_BY_LENGTH = {64: "sha256", 128: "sha512"}
_ESCAPES: Mapping[str, str] = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def read_sums(path: str) -> bytes:
    """The content of a SHA256SUMS file; errors as :func:`read_manifest`."""
    return _whole(path, MAX_SUMS)


def sums(raw: bytes, path: str, folder: str) -> Claims:
    """The claims of a list as sha256sum, sha512sum or their ``--tag`` write it.

    Paths are inside ``folder``, or begin with its path. Raises FormatError WK630 for a line that is
    none or contradicts another, WK620 for a path that leaves the folder.
    """
    found: Claims = {}
    for number, line in enumerate(_lines(raw, path), 1):
        try:
            algorithm, name, digest = _claim(line)
            name = inside(_relative(name, folder))
            known = found.setdefault(name, {}).setdefault(algorithm, digest)
            if known != digest:
                raise _Refused("another digest than an earlier line for the same file")
        except _Refused as error:
            raise FormatError(f"line {number}: {error}", path=path, code="WK630") from error
        except FormatError as error:
            error.path = path
            raise
    if not found:
        raise FormatError("no checksums in it", path=path, code="WK630")
    return found


def _lines(raw: bytes, path: str) -> list[str]:
    if len(raw) > MAX_SUMS or raw.count(b"\n") > MAX_VALUES:
        raise FormatError("too long for a list of checksums", path=path, code="WK630")
    lines = os.fsdecode(raw).removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines if line.strip() and line[0] != "#"]


def _claim(line: str) -> tuple[str, str, str]:
    """(algorithm, path, digest) of a line."""
    escaped = line.startswith("\\")
    line = line[1:] if escaped else line
    if match := _PLAIN.fullmatch(line):
        digest, name = match.groups()
        algorithm = _BY_LENGTH.get(len(digest), "")
    elif match := _TAGGED.fullmatch(line):
        tag, name, digest = match.groups()
        algorithm = _BY_TAG.get(tag, "")
    else:
        raise _Refused("no checksum")
    if not algorithm or len(digest) != DIGITS[algorithm]:
        raise _Refused("a checksum of an unknown kind")
    if escaped:
        name = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)
    return algorithm, name, digest.lower()


def _relative(name: str, folder: str) -> str:
    for prefix in (f"{folder.rstrip('/')}/", "./"):
        name = name.removeprefix(prefix)
    return name
