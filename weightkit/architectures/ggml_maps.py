"""From the names of a checkpoint as transformers saves it to those of its GGUF, and what changes.

Names come from ``gguf.tensor_mapping``. What a conversion does to the values beyond changing their
type stands in the tables below, read off llama.cpp's ``conversion/*.py`` (September 2026); of an
architecture that is not in them, values that differ may have been rearranged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

from weightkit.tensors import TensorInfo
from weightkit.text import words

COPIED = words("qwen2 qwen2moe qwen3 qwen3moe olmo2 olmoe seed_oss phi2 phi3")
"""Architectures whose values are only copied."""
PERMUTED = words("llama granite granitemoe olmo")
"""Those where the rows of q and k are put in another order, and all else is copied."""
SHIFTED = words("gemma gemma2 gemma3")
"""Those whose norms are stored with 1 added, and all else is copied."""
COMPUTED = words("rope_freqs.weight rope_factors_long.weight rope_factors_short.weight")
"""Tensors that a conversion computes from the config."""
LEFT_OUT = re.compile(r"\.(attention\.(masked_)?bias|rotary_emb\.inv_freq)$")
"""Names of buffers that a conversion leaves out."""

_PERMUTED = re.compile(r"\.([qk])_proj\.(weight|bias)$")
_SUFFIXES = (".weight", ".bias")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_BLOCK = re.compile(r"blk\.(\d{1,6})\.")


class Correspondence(NamedTuple):
    """A tensor of a checkpoint and the one of a GGUF that was made of it.

    The views have the same elements in the same order, if the conversion did what is known of it.
    """

    name: str
    flat: str
    view: TensorInfo
    flat_view: TensorInfo
    change: str = ""
    """What the conversion does, in words; "" if it copies."""
    shift: int = 0
    """Added to each element by the conversion."""
    known: bool = True
    """Whether it is known what the conversion of this architecture does to values."""


def correspondences(
    flat: Mapping[str, TensorInfo], other: Mapping[str, TensorInfo], metadata: Mapping[str, Any]
) -> Iterator[Correspondence]:
    """The tensors of a GGUF and of a checkpoint that are the same by name."""
    architecture = metadata.get("general.architecture")
    names = _flat_names(architecture, flat, other)
    taken: set[str] = set()
    for name, info in other.items():
        found = names.get(name, "")
        if found in flat and found not in taken:
            taken.add(found)
            yield _match(name, info, found, flat[found], str(architecture), metadata)


def slices(flat: Mapping[str, TensorInfo], other: Mapping[str, Any]) -> dict[str, TensorInfo]:
    """The tensors of a GGUF, its stacked experts one by one if the other side has them so."""
    if not any(_EXPERT.search(name) for name in other):
        return {**flat}
    found: dict[str, TensorInfo] = {}
    for name, info in flat.items():
        found |= dict(_slices(name, info)) if "_exps." in name else {name: info}
    return found


def _slices(name: str, info: TensorInfo) -> Iterator[tuple[str, TensorInfo]]:
    count = info.shape[0] if len(info.shape) == 3 else 0
    if not count or info.strides is not None or info.shape[2] % info.dtype.items:
        yield name, info
        return
    nbytes = info.nbytes // count
    for number in range(count):
        extent = info.data._replace(offset=info.data.offset + number * nbytes, nbytes=nbytes)
        own = f"{name}[{number}]"
        yield own, info._replace(name=own, shape=info.shape[1:], data=extent, storage="")


# Names


def _flat_names(
    architecture: Any, flat: Mapping[str, TensorInfo], other: Mapping[str, TensorInfo]
) -> dict[str, str]:
    """The GGUF name of each name that has one."""
    from gguf.constants import MODEL_ARCH_NAMES
    from gguf.tensor_mapping import TensorNameMap

    kinds = [kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture]
    if not kinds:
        return {}

    # For some architectures gguf changes the table of the class itself: ours is a copy.
    own_map = type(
        "OwnMap", (TensorNameMap,), {"block_mappings_cfg": {**TensorNameMap.block_mappings_cfg}}
    )
    blocks = {int(match[1]) for match in map(_BLOCK.match, flat) if match}
    table = own_map(kinds[0], min(max(blocks, default=-1) + 1, len(flat)))
    found = {}
    for name in other:
        for spelling in _spellings(name):
            known = table.get_name(_EXPERT.sub(".experts.", spelling), _SUFFIXES)
            if known:
                expert = _EXPERT.search(name)
                found[name] = f"{known}[{expert[1]}]" if expert else known
                break
    return found


def _spellings(name: str) -> Iterator[str]:
    """A name as saved, as of a language model inside another, and as of a bare base model."""
    yield name
    yield name.replace("language_model.", "")
    yield f"model.{name}"


# Values


def _match(
    name: str,
    info: TensorInfo,
    flat: str,
    flat_info: TensorInfo,
    architecture: str,
    metadata: Mapping[str, Any],
) -> Correspondence:
    plain = Correspondence(name, flat, info, flat_info)
    if architecture in SHIFTED and name.endswith("norm.weight"):
        return plain._replace(change="1 added", shift=1)
    found = _PERMUTED.search(name)
    if architecture in PERMUTED and found:
        heads = metadata.get(f"{architecture}.attention.head_count")
        if found[1] == "k":
            heads = metadata.get(f"{architecture}.attention.head_count_kv", heads)
        view = permuted(info, heads) if type(heads) is int else None
        if view is None or info.shape != flat_info.shape:
            return plain._replace(known=False)
        same = flat_info._replace(shape=view.shape)
        return plain._replace(view=view, flat_view=same, change="rows permuted")
    return plain._replace(known=architecture in COPIED | PERMUTED | SHIFTED)


def permuted(info: TensorInfo, heads: int) -> TensorInfo | None:
    """A view of q or k with the rows of each head as llama.cpp orders them; None if there is none.

    ``LlamaModel.permute``: the two halves of each head are interleaved. The view has the shape
    (heads, half a head, 2, ...) and the elements of the GGUF's tensor in their order.
    """
    rows = info.shape[0] if info.shape else 0
    if info.strides is not None or info.dtype.items > 1 or info.parts:
        return None
    if heads <= 0 or rows % (2 * heads) or not rows:
        return None
    row = info.numel // rows
    half = rows // heads // 2
    tail = info.shape[1:]
    strides = tuple(row // prod(tail[: at + 1]) for at in range(len(tail)))
    return info._replace(
        shape=(heads, half, 2, *tail), strides=(2 * half * row, row, half * row, *strides)
    )
