"""What stands beside the tensors: metadata, configs, chat templates, tokenizers; where they differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from weightkit.analyses.digests import parts_of
from weightkit.errors import AccessError, FormatError
from weightkit.opening import Checkpoint
from weightkit.opening.beside import CONFIGS, MAX_CONFIG
from weightkit.opening.folders import Folder
from weightkit.opening.shards import read_json
from weightkit.reports import SettingChange
from weightkit.source import Source
from weightkit.tensors import ArrayRef

METADATA, TEMPLATE = "metadata", "chat template"
DOCUMENTS = (
    *CONFIGS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""JSON files that are compared key by key."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")
"""Files that are compared as a whole."""
TEMPLATES = ("chat_template.jinja", "chat_template.json")
MAX_TEXT = 4 << 20
PIECE = 1 << 20
MAX_ARRAY = 32 << 20
"""Bytes of an array whose elements are compared one by one."""
MAX_DEPTH = 32
ABSENT: Any = None


def setting_changes(a: Checkpoint, b: Checkpoint, follow: bool = False) -> Iterator[SettingChange]:
    """Every value that differs. Metadata is only compared within one format.

    Raises FormatError WK620 for a file that is a link out of its folder, without ``follow``.
    """
    theirs = dict(parts_of(b))
    if a.parts and b.parts and not a.tensors:
        theirs |= {"": b}
        yield from _documents(a, b, "", follow)
    for prefix, part in parts_of(a):
        other = theirs.get(prefix)
        if other is not None:
            yield from _metadata(part, other, prefix)
            yield from _documents(part, other, prefix, follow)
            yield from _template(part, other, prefix, follow)


# Metadata


def _metadata(a: Checkpoint, b: Checkpoint, prefix: str) -> Iterator[SettingChange]:
    if a.format != b.format:
        return
    mine, theirs = merged_metadata(a), merged_metadata(b)
    for key in sorted({*mine, *theirs}):
        one, other = mine.get(key), theirs.get(key)
        if key == "tokenizer.chat_template" or _same(one, a, other, b):
            continue
        found = _arrays(one, a, other, b) or (_shown(one), _shown(other))
        yield SettingChange(prefix + METADATA, key, *found)


def merged_metadata(checkpoint: Checkpoint) -> dict[str, Any]:
    """The metadata of all files; of two values for a key, the first file's."""
    found: dict[str, Any] = {}
    for file in reversed(checkpoint.files):
        found |= {str(key): value for key, value in file.metadata.items()}
    return {key: value for key, value in found.items() if not key.startswith("split.")}


def _same(one: Any, a: Checkpoint, other: Any, b: Checkpoint) -> bool:
    if isinstance(one, ArrayRef) and isinstance(other, ArrayRef):
        return _same_array(one, a, other, b)
    return type(one) is type(other) and bool(one == other)


def _same_array(one: ArrayRef, a: Checkpoint, other: ArrayRef, b: Checkpoint) -> bool:
    """Whether two arrays that were left in their files have the same bytes."""
    if one[:2] != other[:2] or one.nbytes != other.nbytes:
        return False
    if a.files[0].byteorder != b.files[0].byteorder:
        return False
    mine, theirs = (
        side.sources[0].chunks(ref.offset, ref.nbytes, PIECE)
        for side, ref in ((a, one), (b, other))
    )
    return all(x == y for x, y in zip(mine, theirs, strict=True))


def _shown(value: Any) -> Any:
    """A value for a report: arrays in files as their kind and length."""
    if isinstance(value, ArrayRef):
        return f"array of {value.length} {value.kind}"
    return value


def _arrays(one: Any, a: Checkpoint, other: Any, b: Checkpoint) -> tuple[str, str] | None:
    """Of two arrays that are in their files: how many elements differ, and the first that does."""
    if not (isinstance(one, ArrayRef) and isinstance(other, ArrayRef)):
        return None
    if max(one.nbytes, other.nbytes) > MAX_ARRAY:
        return None
    mine, theirs = _elements(one, a), _elements(other, b)
    places = [at for at, (x, y) in enumerate(zip(mine, theirs, strict=False)) if x != y]
    if not places:
        return None
    said = (f"[{places[0]}] {side[places[0]]}" for side in (mine, theirs))
    first, second = (f"{text}; {len(places)} elements differ" for text in said)
    return first, second


def _elements(ref: ArrayRef, checkpoint: Checkpoint) -> list[Any]:
    from weightkit.formats.gguf import read_array

    file = checkpoint.files[0]
    return read_array(
        checkpoint.sources[0], ref, file.byteorder, ref.length, int(file.version or 3)
    )


# Files


def _documents(a: Checkpoint, b: Checkpoint, prefix: str, follow: bool) -> Iterator[SettingChange]:
    """JSON files that both have; of two folders, also those that only one has.

    A GGUF holds in itself what is in files beside other formats.
    """
    folders = bool(a.beside and b.beside) and (a.format == "gguf") == (b.format == "gguf")
    for name in DOCUMENTS:
        mine, theirs = document(a, name, follow), document(b, name, follow)
        if mine is None and theirs is None:
            continue
        if mine is None or theirs is None:
            if folders:
                yield SettingChange(prefix + name, "", _presence(mine), _presence(theirs))
            continue
        for key, one, other in differing(mine, theirs):
            if key != "chat_template":
                yield SettingChange(prefix + name, key, one, other)
    for name in TOKENIZERS if folders else ():
        one, other = _content(a, name, follow), _content(b, name, follow)
        if one != other:
            yield SettingChange(prefix + name, "", one, other)


def _presence(held: Any) -> str | None:
    return None if held is None else "there"


def document(checkpoint: Checkpoint, name: str, follow: bool) -> Any:
    """A JSON file beside the weights; None if there is none, or it is none."""
    if name in checkpoint.config:
        return checkpoint.config[name]
    path = _beside(checkpoint, name, follow)
    try:
        return read_json(path, MAX_CONFIG) if path else None
    except (FormatError, AccessError):
        return None


def _beside(checkpoint: Checkpoint, name: str, follow: bool) -> str:
    """The path of a file in the checkpoint's folder; "" if there is none."""
    folder = checkpoint.path
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    path = Folder(folder or ".", (), (), follow).join(name)
    return path if os.path.isfile(path) else ""


def _content(checkpoint: Checkpoint, name: str, follow: bool) -> str | None:
    """A file's SHA-256 and size, to be compared and shown."""
    from hashlib import sha256

    path = _beside(checkpoint, name, follow)
    if not path:
        return None
    hasher = sha256()
    with Source(path) as source:
        for piece in source.chunks(0, source.size, PIECE):
            hasher.update(piece)
        return f"{source.size} bytes, sha256 {hasher.hexdigest()}"


def differing(a: Any, b: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON documents differ: (dotted key, value in one, in the other)."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and depth < MAX_DEPTH:
        for name in sorted({*map(str, a), *map(str, b)}):
            inner = f"{key}.{name}" if key else name
            if name in a and name in b:
                yield from differing(a[name], b[name], inner, depth + 1)
            else:
                yield inner, a.get(name), b.get(name)
    elif type(a) is not type(b) or a != b:
        yield key, a, b


# Chat templates


def _template(a: Checkpoint, b: Checkpoint, prefix: str, follow: bool) -> Iterator[SettingChange]:
    """The chat templates, wherever each side keeps its own; both must be known."""
    mine, theirs = templates_of(a, follow), templates_of(b, follow)
    both = bool(mine and theirs) or (a.format == b.format and bool(a.beside) == bool(b.beside))
    for key in sorted({*mine, *theirs}) if both else ():
        if mine.get(key) != theirs.get(key):
            yield SettingChange(prefix + TEMPLATE, key, mine.get(key), theirs.get(key))


def templates_of(checkpoint: Checkpoint, follow: bool = False) -> dict[str, str]:
    """Chat templates by name; "default" is the one that has none."""
    found = dict(_gguf_templates(checkpoint))
    for name in ("tokenizer_config.json", "chat_template.json"):
        held = document(checkpoint, name, follow)
        if isinstance(held, Mapping):
            found |= dict(_named(held.get("chat_template")))
    jinja = "chat_template.jinja"
    path = "" if checkpoint.format == "gguf" else _beside(checkpoint, jinja, follow)
    if path:
        with Source(path) as source:
            found["default"] = source.peek(0, MAX_TEXT).decode("utf-8", "replace")
    return found


def _gguf_templates(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    for key, value in merged_metadata(checkpoint).items():
        if key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template."):
            name = key.removeprefix("tokenizer.chat_template").lstrip(".") or "default"
            text = _long_text(checkpoint, value) if isinstance(value, ArrayRef) else value
            if isinstance(text, str):
                yield name, text


def _long_text(checkpoint: Checkpoint, ref: ArrayRef) -> str | None:
    if ref.kind != "text" or ref.nbytes > MAX_TEXT:
        return None
    return checkpoint.sources[0].pread(ref.offset, ref.nbytes).decode("utf-8", "replace")


def _named(held: Any) -> Iterator[tuple[str, str]]:
    """transformers keeps one template, or a list of named ones."""
    if isinstance(held, str):
        yield "default", held
    for item in held if isinstance(held, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("template"), str):
            yield str(item.get("name", "default")), item["template"]
