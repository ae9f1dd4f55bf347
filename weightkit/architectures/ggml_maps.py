"""From the names of a checkpoint as transformers saves it to those of its GGUF, and what changes.

Names come from ``gguf.tensor_mapping``. What a conversion does to the values beyond changing their
type stands in the tables below, read off llama.cpp's ``conversion/*.py`` (September 2026) and tried
with files that it made (docs/diff.md says which); of an architecture that is not in them, values
that differ may have been rearranged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

from weightkit.architectures import ggml_views as views
from weightkit.architectures.ggml_views import Pieces, Target
from weightkit.tensors import TensorInfo
from weightkit.text import words

PERMUTED = words("arcee llama granite granitemoe olmo smollm3")
"""Architectures where the rows of q and k are put in another order."""
SHIFTED = words("gemma gemma2 gemma3 nemotron")
"""Those whose norms are stored with 1 added."""
GROUPED = words("bloom gptneox")
STACKED = words("qwen2moe qwen3moe")
MAMBA = words("jamba mamba mamba2")
COPIED = words(
    "apertus bert chatglm cohere2 command-r deepseek2 dots1 ernie4_5 ernie4_5-moe exaone4 falcon"
    " glm4moe gpt2 hunyuan-dense lfm2 mpt olmo2 olmoe phi2 phi3 qwen2 qwen3 seed_oss stablelm"
    " starcoder starcoder2 t5"
)
"""Those where nothing more is done than what :data:`CHANGES` and :data:`DIVISIONS` say."""
KNOWN = COPIED | PERMUTED | SHIFTED | GROUPED | STACKED | MAMBA
COMPUTED = words("rope_freqs.weight rope_factors_long.weight rope_factors_short.weight")
"""Tensors that a conversion computes from the config."""
LEFT_OUT = re.compile(r"\.(attention\.(masked_)?bias|rotary_emb\.inv_freq)$")
"""Names of buffers that a conversion leaves out."""

PLUS_1, MINUS_EXP = "plus_1", "minus_exp"
"""Formulas of :mod:`weightkit.values.deltas`."""


class Change(NamedTuple):
    """Tensors of some architectures that a conversion does not just copy."""

    architectures: frozenset[str]
    names: re.Pattern[str]
    """Of the checkpoint's tensors."""
    change: str
    """What is done, in words."""
    view: Callable[[TensorInfo, Target], TensorInfo | None] | None = None
    formula: str = ""
    """What is done to each element, by name."""
    slack: int = 0
    """Units in the last place that libraries may differ by in what they compute."""


class Division(NamedTuple):
    """Tensors of a checkpoint that are several of a GGUF, or several pieces of one."""

    architectures: frozenset[str]
    names: re.Pattern[str]
    change: str
    pieces: Callable[[TensorInfo, Target], Pieces]
    flat: Mapping[str, str]
    """What each piece is in its block of the GGUF."""
    share: bool = False
    """Whether all are rows of one tensor, in turn."""


def _ending(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\.)(?:{pattern})$")


CHANGES = [
    Change(PERMUTED, _ending(r"q_proj\.(weight|bias)"), "rows permuted", views.permuted_q),
    Change(PERMUTED, _ending(r"k_proj\.(weight|bias)"), "rows permuted", views.permuted_k),
    Change(SHIFTED, re.compile(r"norm\.weight$"), "1 added", formula=PLUS_1),
    Change(GROUPED, _ending(r"query_key_value\.(weight|bias)"), "rows regrouped", views.grouped),
    Change(words("gpt2"), _ending(r"(c_attn|c_proj|c_fc)\.weight"), "transposed", views.transposed),
    Change(words("mamba2"), _ending(r"mixer\.norm\.weight"), "reshaped", views.whole),
    Change(MAMBA, _ending("A_log"), "-exp(x)", formula=MINUS_EXP, slack=2),
]
_SPLIT = "cut in two"
DIVISIONS = [
    Division(
        words("granitemoe"),
        _ending(r"block_sparse_moe\.input_linear\.weight"),
        _SPLIT,
        views.halves,
        {"gate": "ffn_gate_exps", "up": "ffn_up_exps"},
    ),
    Division(
        words("granitemoe"),
        _ending(r"shared_mlp\.input_linear\.weight"),
        _SPLIT,
        views.halves,
        {"gate": "ffn_gate_shexp", "up": "ffn_up_shexp"},
    ),
    Division(
        STACKED,
        _ending(r"mlp\.experts\.gate_up_proj(\.weight)?"),
        _SPLIT,
        views.halves,
        {"gate": "ffn_gate_exps", "up": "ffn_up_exps"},
    ),
    Division(
        words("deepseek2"),
        _ending(r"kv_b_proj\.weight"),
        "cut in two, k transposed",
        views.latent,
        {"k": "attn_k_b", "v": "attn_v_b"},
    ),
    Division(
        words("falcon"),
        _ending(r"query_key_value\.weight"),
        "rows regrouped",
        views.by_groups,
        dict.fromkeys("qkv", "attn_qkv"),
        share=True,
    ),
]
DROPPED = [
    (
        words("bert"),
        re.compile(r"^(\w*bert\w*\.)?(pooler\.dense|cls\.(predictions|seq_relationship))\."),
    ),
    (words("apertus"), re.compile(r"\.act_fn\.(alpha_[np]|beta|eps)$")),
    (words("bert"), re.compile(r"^vocab_(transform|layer_norm|projector)\.")),
]
"""Weights that a conversion leaves out, by architectures."""
CUT = [
    (words("gemma3"), "token_embd.weight", "head"),
    (words("bert"), "position_embd.weight", "tail"),
]
"""Tensors of which only the first (head) or last (tail) rows are kept where it has fewer."""
HEADS = [
    (re.compile(r"language_model\."), ""),
    (re.compile(r"^(bert|roberta|distilbert|transformer)\."), ""),
    (re.compile(r"^"), "model."),
]
"""How a name that gguf does not know is tried again: as of a language model inside another one, of a
model with a head, of a bare one."""
ENDS = [
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
    (re.compile(r"\.dt_bias$"), ".dt_proj.bias"),
    (re.compile(r"e_score_correction_bias$"), "e_score_correction.bias"),
    (re.compile(r"(?<=\.experts\.down_proj)$"), ".weight"),
]
"""What a conversion spells otherwise itself."""

_SUFFIXES = (".weight", ".bias")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_FUSED = re.compile(r"(.*\.)?(attn_qkv)\.(weight|bias)")
_BLOCK = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,6})\.")


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
    formula: str = ""
    """What it does to each element, by name; "" if nothing."""
    slack: int = 0
    """Units in the last place that what it computes may be off."""
    known: bool = True
    """Whether it is known what the conversion of this architecture does to values."""


class Divided(NamedTuple):
    """A GGUF and a checkpoint, with tensors that are one on one side and several on the other cut.

    Pieces are named ``name[label]``.
    """

    flat: dict[str, Pieces]
    """Of each tensor the pieces by name; itself where it is whole."""
    other: dict[str, Pieces]
    links: dict[str, tuple[str, str]]
    """Pieces of the checkpoint: the name of what they are in the GGUF, "" for nothing, and how."""
    names: dict[str, str]
    """The GGUF's name of each of the checkpoint's that has one."""
    aliases: dict[str, str]
    """Names that the GGUF could have, and what holds them in it."""


def divided(
    flat: Mapping[str, TensorInfo], other: Mapping[str, TensorInfo], metadata: Mapping[str, Any]
) -> Divided:
    """Cut the tensors that a conversion joins or splits."""
    target = Target(str(metadata.get("general.architecture")), metadata, flat)
    experts = sum(1 for name in other if _EXPERT.search(name))
    found = Divided(
        {name: dict(_slices(info, experts)) for name, info in flat.items()},
        {name: {name: info} for name, info in other.items()},
        {},
        _flat_names(target.architecture, flat, other),
        {},
    )
    for name, info in other.items():
        made = _division(name, info, found.names.get(name, ""), target)
        if made:
            _divide(found, name, made, target)
    _unfuse(found, {made: other[name] for name, made in found.names.items()}, flat)
    return found


def correspondences(both: Divided, metadata: Mapping[str, Any]) -> Iterator[Correspondence]:
    """The tensors of a GGUF and of a checkpoint, or pieces of them, that are the same by name."""
    flat = {name: piece for pieces in both.flat.values() for name, piece in pieces.items()}
    other = {name: piece for pieces in both.other.values() for name, piece in pieces.items()}
    target = Target(str(metadata.get("general.architecture")), metadata, flat)
    taken: set[str] = set()
    for name, info in other.items():
        made, change = both.links.get(name, (both.names.get(name, ""), ""))
        made = both.aliases.get(made, made)
        if made not in flat or made in taken:
            continue
        taken.add(made)
        if name in both.links:
            known = flat[made].numel == info.numel
            view = flat[made]._replace(shape=info.shape) if known else flat[made]
            yield Correspondence(name, made, info, view, change, known=known)
        else:
            yield _match(name, info, made, flat[made], target)


def is_dropped(name: str, architecture: Any) -> bool:
    """Whether a conversion to this architecture leaves out this weight."""
    return any(architecture in kinds and pattern.search(name) for kinds, pattern in DROPPED)


# Tensors that are cut


class _Piece(NamedTuple):
    label: str
    info: TensorInfo
    flat: str
    """The tensor of the GGUF that it is; "" for none."""
    change: str
    share: bool = False
    """Whether it is only some rows of that, in turn."""


def _division(name: str, info: TensorInfo, flat: str, target: Target) -> list[_Piece]:
    """The pieces that a conversion makes of a checkpoint's tensor; none if it stays whole."""
    stem = f"blk.{views.block_of(name)}."
    for row in DIVISIONS:
        if target.architecture in row.architectures and row.names.search(name):
            found = [
                _Piece(label, piece, f"{stem}{row.flat[label]}.weight", row.change, row.share)
                for label, piece in row.pieces(info, target).items()
            ]
            return found if all(piece.flat in target.tensors for piece in found) else []
    for kinds, cut, end in CUT:
        if target.architecture in kinds and flat == cut and cut in target.tensors:
            return _cut(info, target.tensors[cut], end)
    return []


def _cut(info: TensorInfo, flat: TensorInfo, end: str) -> list[_Piece]:
    """The rows that are kept and those that are not; none if all are."""
    if len(info.shape) != 2 or info.shape[1:] != flat.shape[1:] or flat.shape[0] >= info.shape[0]:
        return []
    rows, kept = info.shape[0], flat.shape[0]
    at = kept if end == "head" else rows - kept
    first, last = (views.rows_of(info, *bounds) for bounds in ((0, at), (at, rows)))
    if first is None or last is None:
        return []
    homes = [flat.name, ""] if end == "head" else ["", flat.name]
    return [
        _Piece(label, piece, home, "rows left out" if home else "")
        for label, piece, home in zip(
            (f"0:{at}", f"{at}:{rows}"), (first, last), homes, strict=True
        )
    ]


def _divide(found: Divided, name: str, pieces: list[_Piece], target: Target) -> None:
    """Put down the pieces of one tensor, and those of what they are rows of."""
    found.other[name] = {f"{name}[{piece.label}]": piece.info for piece in pieces}
    shares = [piece for piece in pieces if piece.share]
    if shares:
        whole = target.tensors[shares[0].flat]
        rows = {piece.label: piece.info.numel // max(1, prod(whole.shape[1:])) for piece in shares}
        found.flat[whole.name] = _in_turn(whole, rows) or {whole.name: whole}
    for piece in pieces:
        made = f"{piece.flat}[{piece.label}]" if piece.share else piece.flat
        found.links[f"{name}[{piece.label}]"] = (made, piece.change)


def _in_turn(whole: TensorInfo, rows: Mapping[str, int]) -> dict[str, TensorInfo]:
    """A tensor cut into so many rows for each label; {} if they are not all of it."""
    if not whole.shape or sum(rows.values()) != whole.shape[0]:
        return {}
    found: dict[str, TensorInfo] = {}
    at = 0
    for label, count in rows.items():
        piece = views.rows_of(whole, at, at + count)
        if piece is None:
            return {}
        found[f"{whole.name}[{label}]"] = piece._replace(name=f"{whole.name}[{label}]")
        at += count
    return found


def _unfuse(
    found: Divided, wanted: Mapping[str, TensorInfo], flat: Mapping[str, TensorInfo]
) -> None:
    """Cut what the GGUF holds in one tensor and the checkpoint in several (``--fuse-qkv``)."""
    for name, whole in flat.items():
        match = _FUSED.fullmatch(name)
        if not match:
            continue
        stem, _, suffix = match.groups()
        parts = {label: f"{stem}attn_{label}.{suffix}" for label in "qkv"}
        if any(part in flat or part not in wanted for part in parts.values()):
            continue
        rows = {label: (*wanted[part].shape, 0)[0] for label, part in parts.items()}
        pieces = _in_turn(whole, rows)
        if pieces:
            found.flat[name] = pieces
            found.aliases.update({part: f"{name}[{label}]" for label, part in parts.items()})


def _slices(info: TensorInfo, experts: int) -> Iterator[tuple[str, TensorInfo]]:
    """Stacked experts one by one, if the other side has so many."""
    is_stack = "_exps." in info.name and len(info.shape) == 3 and info.numel
    count = info.shape[0] if is_stack and info.shape[0] <= experts else 0
    found = [views.rows_of(info, number, number + 1) for number in range(count)]
    if not found or None in found:
        yield info.name, info
        return
    for number, piece in enumerate(found):
        assert piece is not None, "looked at above"
        own = f"{info.name}[{number}]"
        yield own, piece._replace(name=own, shape=info.shape[1:])


# Names


def _flat_names(
    architecture: str, flat: Mapping[str, TensorInfo], other: Mapping[str, TensorInfo]
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
        expert = _EXPERT.search(name)
        for spelling in _spellings(name):
            known = table.get_name(_EXPERT.sub(".experts.", spelling), _SUFFIXES)
            if known and (known in flat or name not in found):
                found[name] = f"{known}[{expert[1]}]" if expert else known
            if known in flat:
                break
    return found


def _spellings(name: str) -> Iterator[str]:
    """A name as it is, as a conversion ends it, and both with each other head."""
    ended = name
    for pattern, text in ENDS:
        ended = pattern.sub(text, ended)
    for spelling in (name, ended) if ended != name else (name,):
        yield spelling
        yield from (pattern.sub(text, spelling, count=1) for pattern, text in HEADS)


# Values


def _match(
    name: str, info: TensorInfo, flat: str, flat_info: TensorInfo, target: Target
) -> Correspondence:
    plain = Correspondence(name, flat, info, flat_info, known=target.architecture in KNOWN)
    for row in CHANGES:
        if target.architecture not in row.architectures or not row.names.search(name):
            continue
        view = info if row.view is None else row.view(info, target)
        if view is None or view.numel != flat_info.numel:
            return plain._replace(known=False)
        same = flat_info if row.view is None else flat_info._replace(shape=view.shape)
        return Correspondence(
            name, flat, view, same, row.change, row.formula, row.slack, known=plain.known
        )
    return plain
