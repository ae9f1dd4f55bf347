"""A weight file as lines of text that a line-by-line diff shows changes by: for ``git diff``.

A line for each tensor with type, shape and content digest, and for each piece of metadata; sorted,
and the same wherever and whenever they are made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from weightkit.analyses.digests import ALGORITHM, shown_form, tensor_digests
from weightkit.analyses.equality import why_unread
from weightkit.errors import FormatError, UnsupportedError
from weightkit.opening import Checkpoint, examine
from weightkit.opening.examining import fatal
from weightkit.source import CHUNK, Source
from weightkit.tensors import ArrayRef, FileIndex, TensorInfo, TensorSet
from weightkit.text import natural, safe_text

LFS = b"version https://git-lfs.github.com/spec/v1"
"""What stands in place of a file that git LFS has not fetched: its first line."""
MAX_POINTER = 1024
LONG = 200
"""Characters of a value; of a longer one the rest is a digest."""


def lines_of(path: str, jobs: int = 0) -> tuple[list[str], str]:
    """The lines of one file by itself, and why it is not described further ("" if it is).

    A file that is no weight file, or a broken one, has its size and digest. Raises AccessError
    where the bytes cannot be had.
    """
    with Source(path) as source:
        if source.peek(0, len(LFS)) == LFS and source.size <= MAX_POINTER:
            held = source.pread(0, source.size).decode("utf-8", "replace")
            return [safe_text(line) for line in held.splitlines()], ""
        try:
            return [*_described(path, source, jobs)], ""
        except (FormatError, UnsupportedError) as error:
            reason = f"{error.code} {error.message}".strip()
            found = [f"not read: {safe_text(reason)}", f"size {source.size}", _digest(source)]
            return found, str(error)
        finally:
            source.check_unchanged()


def _digest(source: Source) -> str:
    hasher = sha256()
    for piece in source.chunks(0, source.size, CHUNK):
        hasher.update(piece)
    return f"sha256 {hasher.hexdigest()}"


def _described(path: str, source: Source, jobs: int) -> Iterator[str]:
    found = examine(source)
    for fault in filter(fatal, found.faults()):
        raise FormatError(fault.message, path=path, code=fault.code, offset=fault.offset)
    if found.index is None:
        raise UnsupportedError(
            f"{found.format or 'a file'} without tensors", path=path, code="WK604"
        )
    checkpoint = Checkpoint(path, found.format, (found.index,), found.index.sets, (source,))
    yield f"format {safe_text(found.format)}"
    yield f"digests {ALGORITHM}"
    for key in sorted(found.index.metadata, key=natural):
        yield from _metadata(key, found.index, source)
    for group in found.index.sets:
        yield from _tensors(group, checkpoint, jobs)


def _metadata(key: str, index: FileIndex, source: Source) -> Iterator[str]:
    """One line, or for a text of several lines one for each."""
    name = f"metadata {safe_text(str(key))}"
    value = index.metadata[key]
    if isinstance(value, str) and "\n" in value:
        yield f"{name}:"
        yield from (f"  {safe_text(line, len(line))}" for line in value.split("\n"))
        return
    yield f"{name} = {_value(value, source)}"


def _value(value: Any, source: Source) -> str:
    if isinstance(value, ArrayRef):
        hasher = sha256()
        for piece in source.chunks(value.offset, value.nbytes, CHUNK):
            hasher.update(piece)
        return f"{value.length} {value.kind}, sha256 {hasher.hexdigest()}"
    text = json.dumps(value, sort_keys=True, default=str)
    if len(text) <= LONG:
        return safe_text(text)
    return safe_text(f"{text[:LONG]}… sha256 {sha256(text.encode()).hexdigest()}")


def _tensors(group: TensorSet, checkpoint: Checkpoint, jobs: int) -> Iterator[str]:
    reasons = {info.name: why_unread(info) for info in group.tensors}
    readable = [info for info in group.tensors if not reasons[info.name]]
    digests = tensor_digests(checkpoint, readable, jobs)
    prefix = "" if group is checkpoint.sets[0] else f"{group.key or 'top level'}: "
    for info in sorted(group.tensors, key=lambda info: natural(info.name)):
        known = digests[info.name][1].hex() if info.name in digests else ""
        yield f"tensor {safe_text(prefix + info.name)} {_form(info, known or reasons[info.name])}"


def _form(info: TensorInfo, digest: str) -> str:
    dtype, shape = shown_form(info) if not why_unread(info) else (info.dtype.name, info.shape)
    return f"{dtype} [{', '.join(map(str, shape))}] {digest}"
