"""What tensors and files are called in the target."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence

from weightkit.convert.targets import Target
from weightkit.convert.wishes import Wish
from weightkit.errors import PlanError
from weightkit.opening import Checkpoint
from weightkit.opening.folders import INDEX, SHARD, STANDARD

_EMBEDDING = re.compile(r"(^|[._])(\w*embed\w*|shared|wte|wpe)([._]|$)")
_WITH_VARIANTS = {"model", "pytorch_model", "tf_model"}
_STANDARD = {*_WITH_VARIANTS, "consolidated"}


def preferred(names: Iterable[str]) -> list[str]:
    """Names of one memory, the one to store first.

    transformers stores a tied head under its embedding's name, the shortest path first (``shared``
    before ``encoder.embed_tokens``), and ties the rest when it loads.
    """
    return sorted(names, key=lambda name: (not _EMBEDDING.search(name), name.count("."), name))


def renaming(wish: Wish) -> Callable[[str], str]:
    """How the names of the source become those of the target."""
    if not (wish.renames or wish.prefix or wish.strip_prefix):
        return str
    exact = {old: new for old, new in wish.renames if "*" not in old}
    starred = [_starred(old, new) for old, new in wish.renames if "*" in old]

    def renamed(name: str) -> str:
        found = exact.get(name)
        if found is None:
            found = next((new for rule in starred if (new := rule(name)) is not None), name)
        return wish.prefix + found.removeprefix(wish.strip_prefix)

    return renamed


def _starred(old: str, new: str) -> Callable[[str], str | None]:
    """The new name of one that the pattern matches, None of others."""
    before, _, after = old.partition("*")
    start, _, end = new.partition("*")

    def rule(name: str) -> str | None:
        whole = len(name) >= len(before) + len(after)
        if not (whole and name.startswith(before) and name.endswith(after)):
            return None
        return start + name[len(before) : len(name) - len(after)] + end

    return rule


def check_renames(wish: Wish, names: Sequence[str], path: str) -> None:
    """Raise PlanError WK664 for a rule that no name follows."""
    known = set(names)
    for old, new in wish.renames:
        rule = _starred(old, new) if "*" in old else None
        if not (any(rule(name) is not None for name in names) if rule else old in known):
            raise PlanError(f"no tensor is called {old!r}", path=path, code="WK664")
    if wish.strip_prefix and not any(name.startswith(wish.strip_prefix) for name in names):
        message = f"no tensor's name starts with {wish.strip_prefix!r}"
        raise PlanError(message, path=path, code="WK664")


def stem_of(checkpoint: Checkpoint, target: Target) -> str:
    """The name of a folder's weight file, without suffix and shard number.

    What loaders look for: ``pytorch_model.bin`` becomes ``model.safetensors``, and the names that
    adapters and pipelines have (``adapter_model``, ``diffusion_pytorch_model``) stay, and so does a
    variant (``pytorch_model.fp16.bin``).
    """
    paths = [file.path for file in checkpoint.files] or [checkpoint.path]
    return stem_of_name(os.path.basename(paths[0]), target)


def stem_of_name(name: str, target: Target) -> str:
    """The same, of the name of a weight file or its index."""
    index = INDEX.match(name)
    stem = os.path.splitext(index["stem"] if index else name)[0]
    variant = f".{index['variant']}" if index and index["variant"] else ""
    shard = SHARD.match(stem)
    if shard:
        stem, variant = shard["stem"], variant or shard["rest"]
    head, dot, rest = stem.rpartition(".")
    if stem in _STANDARD:
        stem = target.stem
    elif head in _WITH_VARIANTS:
        stem = f"{target.stem}{dot}{rest}"
    return stem + variant


def index_name(stem: str, suffix: str) -> str:
    """``model.safetensors.index.json``; of the variant ``model.fp16`` what loaders look for."""
    head, _, variant = stem.rpartition(".")
    if head in STANDARD:
        return f"{head}{suffix}.index.{variant}.json"
    return f"{stem}{suffix}.index.json"


def shard_name(stem: str, suffix: str, number: int, count: int) -> str:
    """``model-00001-of-00003.safetensors``; a single file has no number."""
    return f"{stem}-{number:05}-of-{count:05}{suffix}" if count > 1 else f"{stem}{suffix}"
