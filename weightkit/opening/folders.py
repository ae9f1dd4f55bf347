"""Which files make up the checkpoint that a path means (docs/names.md).

Names only: nothing here opens a weight file. A folder's files are grouped into candidates, and the
first that the order of preference finds is taken; what does not decide it is an error that names
the choices.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from weightkit.errors import AccessError, AmbiguousCheckpoint, FormatError
from weightkit.source import os_errors

SHARD = re.compile(r"^(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5,6})(?P<rest>(?:\.[\w.]+)?)$")
INDEX = re.compile(r"^(?P<stem>.+?)\.index(?:\.(?P<variant>[\w-]+))?\.json$")
_SLICES = re.compile(r"^(consolidated\.\d{2}\.(?:pth|pt)|mp_rank_\d{2}\w*\.(?:pt|pth|bin))$")

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".npy", ".pkl")
"""Suffixes of weight files, the preferred first."""

_NOT_WEIGHTS = re.compile(
    r"^(training_args|optimizer|scheduler|scaler|rng_state\w*|random_states?\w*|trainer_state)"
    r"\.(bin|pt|pth|pkl)$|^events\.out"
)
STANDARD = (
    "model",
    "pytorch_model",
    "diffusion_pytorch_model",
    "adapter_model",
    "consolidated",
    "tf_model",
)
MAX_ENTRIES = 200_000


@dataclass(frozen=True)
class Choice:
    """The files of one checkpoint inside ``folder``, in shard order."""

    folder: str
    files: tuple[str, ...]
    index: str = ""
    """Name of the shard index, "" where there is none."""
    expected: int = 0
    """How many shards their names announce."""
    others: tuple[str, ...] = ()
    """Weight files that were left alone."""
    slices: bool = False
    notes: tuple[tuple[str, str], ...] = ()
    """(code, message) of what is worth saying about the choice."""


class Folder(NamedTuple):
    """The names in a folder, and the rule that keeps its links inside."""

    path: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    follow: bool = False
    root: str = ""

    def join(self, name: str) -> str:
        """The path of a file named by an index or found here.

        Raises FormatError WK620 if the name, or a link, leads out of the folder.
        """
        parts = re.split(r"[\\/]", name)
        if os.path.isabs(name) or ".." in parts or "\0" in name:
            raise FormatError(f"the name {name!r} leaves the folder", path=self.path, code="WK620")
        path = os.path.join(self.path, name)
        if not self.follow and (len(parts) > 1 or os.path.islink(path)) and os.path.lexists(path):
            self._check_link(path)
        return path

    def _check_link(self, path: str) -> None:
        real = os.path.realpath(path)
        home = os.path.realpath(self.path)
        if os.path.commonpath([real, home]) == home:
            return
        blobs = hub_blobs(home)
        if blobs and os.path.dirname(real) == blobs:
            return  # a hub cache keeps its files beside its snapshots
        raise FormatError(f"a link that leaves the folder, to {real}", path=path, code="WK620")


def hub_blobs(folder: str) -> str:
    """The blob folder of the hub cache that ``folder`` is (inside) a snapshot of; else ""."""
    while folder != os.path.dirname(folder):
        above = os.path.dirname(folder)
        if os.path.basename(above) == "snapshots":
            return os.path.join(os.path.dirname(above), "blobs")
        folder = above
    return ""


def read_folder(path: str, follow: bool = False) -> Folder:
    """List a folder. Raises AccessError where it cannot be read, or is endless."""
    files: list[str] = []
    folders: list[str] = []
    with os_errors(path), os.scandir(path) as entries:
        for entry in entries:
            (folders if entry.is_dir() else files).append(entry.name)
            if len(files) + len(folders) > MAX_ENTRIES:
                raise AccessError(f"more than {MAX_ENTRIES} files", path=path, code="WK002")
    return Folder(path, tuple(sorted(files)), tuple(sorted(folders)), follow)


def hub_snapshot(folder: Folder) -> str:
    """The snapshot that a hub cache's model folder means: that of ``main``, or the only one.

    "" if it is no such folder; raises AmbiguousCheckpoint if there are several.
    """
    if not {"snapshots", "blobs"} <= set(folder.folders):
        return ""
    snapshots = os.path.join(folder.path, "snapshots")
    names = read_folder(snapshots).folders
    main = os.path.join(folder.path, "refs", "main")
    if os.path.isfile(main):
        with os_errors(main), open(main, encoding="ascii", errors="replace") as file:
            revision = file.read(100).strip()
        if revision in names:
            return os.path.join(snapshots, revision)
    if len(names) == 1:
        return os.path.join(snapshots, names[0])
    raise AmbiguousCheckpoint(
        f"several snapshots, name one: {', '.join(names[:10])}", path=snapshots, code="WK602"
    )


def choose(folder: Folder, variant: str | None = None) -> Choice | None:
    """The checkpoint that a folder means, or None if it holds no weights.

    safetensors before the rest, an index before single files, the plain variant before others
    unless ``variant`` names one. Raises AmbiguousCheckpoint where several remain.
    """
    weights = [name for name in folder.files if _is_weights(name)]
    slices = tuple(name for name in weights if _SLICES.match(name))
    candidates = _candidates(folder, weights)
    if variant:
        chosen = [item for item in candidates if _variant(item) == variant]
        if not chosen:
            known = sorted({_variant(item) for item in candidates} - {""})
            raise AmbiguousCheckpoint(
                f"no variant {variant!r} here; there is {', '.join(known) or 'none'}",
                path=folder.path,
                code="WK602",
            )
        candidates = chosen
    else:
        candidates = [item for item in candidates if not _variant(item)] or candidates
    if len(slices) > 1 and not any(_suffix(item) == ".safetensors" for item in candidates):
        note = ("WK622", f"{len(slices)} slices: {slices[0]} ... {slices[-1]}")
        return Choice(folder.path, slices, slices=True, notes=(note,))
    return _prefer(folder, candidates, weights)


def checkpoints_in(folder: Folder) -> list[str]:
    """Every checkpoint among a folder's own files: the name of its index, or of its first file."""
    weights = [name for name in folder.files if _is_weights(name)]
    return [item.index or item.files[0] for item in _candidates(folder, weights)]


def _prefer(folder: Folder, candidates: list[Choice], weights: list[str]) -> Choice | None:
    """The best of the candidates: by format, then an index, then a standard name."""
    if not candidates:
        return None
    best = min(_rank(item) for item in candidates)
    chosen = [item for item in candidates if _rank(item) == best]
    if len(chosen) > 1:
        names = ", ".join(item.index or item.files[0] for item in chosen[:10])
        raise AmbiguousCheckpoint(
            f"{len(chosen)} checkpoints here, name one: {names}", path=folder.path, code="WK602"
        )
    (choice,) = chosen
    others = tuple(name for name in weights if name not in choice.files)
    return replace(choice, others=others)


def _rank(choice: Choice) -> tuple[int, int, int]:
    suffix = _suffix(choice)
    stem = os.path.basename(choice.index or choice.files[0]).partition(".")[0]
    stem = re.sub(r"-\d{5}-of-\d{5,6}$", "", stem)
    standard = STANDARD.index(stem) if stem in STANDARD else len(STANDARD)
    # Among the formats that torch.load reads, none is better than another.
    order = {".pt": 1, ".pth": 1, ".ckpt": 1}.get(suffix, WEIGHTS.index(suffix))
    return order, min(standard, 3), 0 if choice.index else 1


def _suffix(choice: Choice) -> str:
    return os.path.splitext(choice.files[0])[1].lower() if choice.files else ".safetensors"


def _is_weights(name: str) -> bool:
    return name.lower().endswith(WEIGHTS) and not _NOT_WEIGHTS.match(name)


def _variant(choice: Choice) -> str:
    """``fp16`` of ``model.fp16.safetensors``, ``model.fp16-00001-of-00002.safetensors``."""
    if choice.index:
        match = INDEX.match(choice.index)
        if match and match["variant"]:
            return match["variant"]
        stem = match["stem"] if match else ""
        return os.path.splitext(os.path.splitext(stem)[0])[1].lstrip(".")
    stem = os.path.splitext(choice.files[0])[0]
    match = SHARD.match(stem)
    stem = match["stem"] if match else stem
    head, _, tail = stem.rpartition(".")
    return tail if head in STANDARD else ""


def _candidates(folder: Folder, weights: list[str]) -> list[Choice]:
    """Indexes first, then groups of shards without one, then single files."""
    found, taken = [], set()
    for name in folder.files:
        match = INDEX.match(name)
        if match and match["stem"].lower().endswith(WEIGHTS):
            members = _members(name, match, weights)
            taken.update(members)
            found.append(Choice(folder.path, tuple(members), index=name))
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in weights:
        match = SHARD.match(name)
        if match and name not in taken:
            groups.setdefault((match["stem"], match["count"], match["rest"]), []).append(name)
    for (_, count, _rest), names in groups.items():
        taken.update(names)
        found.append(Choice(folder.path, tuple(names), expected=int(count)))
    found += [Choice(folder.path, (name,)) for name in weights if name not in taken]
    return found


def _members(name: str, match: re.Match[str], weights: list[str]) -> list[str]:
    """The shards beside an index that carry its stem; the index itself decides when it is read."""
    stem, suffix = os.path.splitext(match["stem"])
    variant = match["variant"]
    stems = {stem, f"{stem}.{variant}"} if variant else {stem}
    found = []
    for weight in weights:
        shard = SHARD.match(weight)
        if shard and shard["stem"] in stems and shard["rest"] == suffix:
            found.append(weight)
    return found


def siblings(path: str) -> Choice | None:
    """The whole checkpoint that the shard at ``path`` belongs to, or None if it is no shard."""
    folder, name = os.path.split(path)
    match = SHARD.match(name)
    if not match:
        return None
    listing = read_folder(folder or ".")
    choices = _candidates(listing, [item for item in listing.files if _is_weights(item)])
    for choice in choices:
        if name in choice.files:
            note = ("WK617", f"{name} is shard {int(match['no'])} of {int(match['count'])}")
            return replace(choice, folder=folder or ".", notes=(note,))
    return None


def whole(path: str) -> tuple[str, str] | None:
    """What an index and all of its shards, and all parts of a split, have in common: the folder
    and the name that their checkpoint goes by. None for whatever is one file, or a folder.
    """
    folder, name = os.path.split(path)
    if not INDEX.match(name):
        choice = siblings(path)
        if choice is None:
            return None
        name = choice.index or choice.files[0]
    return os.path.realpath(folder or "."), name
