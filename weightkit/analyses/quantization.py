"""How many parameters packed tensors stand for, and with which methods weights are quantized.

A packed tensor's elements are containers (int32 words, bytes), not parameters. Which layout it is
follows from its name, its type and what stands beside it; how many parameters it holds, from
:mod:`weightkit.analyses.packings`. Where derivations disagree, the tensors refute what is declared;
where none is possible, the count is unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from weightkit.analyses import packings
from weightkit.analyses.components import Kin
from weightkit.analyses.folding import Fold
from weightkit.analyses.kinds import BOOKKEEPING, BUFFER
from weightkit.analyses.packed import SHAPES, STORED, Evidence, Packed
from weightkit.analyses.scene import Scene, module_prefix
from weightkit.architectures.quantizers import COMPANIONS
from weightkit.architectures.rows import segment_matches
from weightkit.errors import WeightkitError
from weightkit.rules import Faults
from weightkit.tensors import TensorInfo

ReadBytes = Callable[[TensorInfo], bytes]
MAX_READS = 4096
"""Small tensors whose content is looked at, of one checkpoint."""


class Counted(NamedTuple):
    """A fold with the logical parameters of each of its members; None where they are unknown."""

    fold: Fold
    kin: Kin
    parameters: int | None
    method: str = ""
    """The layout that packs it; "" for a plain tensor."""
    why: str = ""
    """How the count was derived, or why it could not be."""


class Layout(NamedTuple):
    """How a method packs a weight: told by its name, its type and one tensor beside it."""

    method: str
    leaf: str
    kinds: str
    """Kinds or names of types that the packed tensor may have."""
    beside: str
    """One of these must be there; ``*`` stands for what it stood for in ``leaf``."""
    derive: Callable[[Packed], list[Evidence]]


FP8 = "f8_e4m3 f8_e5m2 f8_e4m3fnuz f8_e5m2fnuz"

LAYOUTS = [
    Layout("gptq/awq", "qweight", "int uint", "", packings.gptq_awq),
    Layout("compressed-tensors", "weight_packed", "int uint", "", packings.compressed_tensors),
    Layout("bitsandbytes", "weight", "u8 i8", "weight.absmax", packings.bitsandbytes),
    Layout("bitsandbytes", "weight", "i8", "SCB", packings.one_to_one),
    Layout("mxfp4", "*_blocks", "u8", "*_scales", packings.blocks_and_scales),
    Layout("fp4", "weight", "u8", "weight_scale", packings.fp4),
    Layout("fp4", "weight", "u8 i8", "scale", packings.fp4),
    Layout("mlx", "weight", "u32", "scales", packings.mlx),
    Layout("fp8", "weight", FP8, "weight_scale_inv weight_scale scale", packings.one_to_one),
    Layout("hqq", "W_q", "int uint float", "", packings.hqq),
    Layout("exl2", "q_weight", "int uint", "", packings.exllama2),
    Layout("exl3", "trellis", "int uint", "", packings.exllama3),
    Layout("aqlm", "codes", "int uint", "codebooks", packings.aqlm),
    Layout("quanto", "_data", "i8 f8_e4m3 f8_e5m2", "_scale", packings.quanto),
    Layout("quanto", "_data", "u8", "", packings.quanto),
    Layout("higgs", "weight", "i16", "tables", packings.higgs),
    Layout("sparse", "compressed", "int uint float", "bitmask", packings.sparse),
    Layout("quip", "Qidxs", "int uint", "", packings.uncountable),
    Layout("vptq", "indices", "int uint", "centroids centroids.weight", packings.uncountable),
    Layout("torchao", "*_qdata", "int uint", "", packings.torchao),
    Layout("marlin", "B", "int uint", "s", packings.uncountable),
    Layout("spqr", "dense_weights", "int uint", "", packings.uncountable),
]

_LEAVES = frozenset(layout.leaf for layout in LAYOUTS)
_ENDS = tuple(layout.leaf[1:] for layout in LAYOUTS if layout.leaf.startswith("*"))


def count(
    folds: Sequence[tuple[Fold, Kin]],
    scene: Scene,
    settings: Mapping[str, Any],
    read_bytes: ReadBytes,
    faults: Faults,
) -> list[Counted]:
    """The logical parameters of every tensor; what does not add up goes to ``faults``.

    ``settings`` is the config's quantization section; ``read_bytes`` gives the content of a small
    tensor (some layouts store shapes as data).
    """
    content = _Content(read_bytes)
    companions = _Companions(scene)
    counted: list[Counted] = []
    for group, kin in folds:
        layout = None if kin.kind in (BOOKKEEPING, BUFFER) else layout_of(group, scene)
        if layout is None:
            counted.append(_plain(group, kin, settings, scene, faults))
            continue
        for part, beside in companions.parts(group):
            packed = Packed(part, beside, _own(settings, part), content)
            total, why = _decide(packed, layout, faults)
            counted.append(Counted(part, kin, total, layout.method, why))
    return counted


class _Content:
    """Reads small tensors, up to a limit, and takes what cannot be read as empty."""

    def __init__(self, read_bytes: ReadBytes) -> None:
        self.read_bytes = read_bytes
        self.left = MAX_READS

    def __call__(self, fold: Fold) -> bytes:
        if self.left <= 0:
            return b""
        self.left -= 1
        try:
            return self.read_bytes(fold.members[0])
        except WeightkitError:  # no bytes in the file, or it ends early: said by its reader
            return b""


def _plain(
    group: Fold, kin: Kin, settings: Mapping[str, Any], scene: Scene, faults: Faults
) -> Counted:
    """A tensor of no packed layout; integers of a quantized checkpoint may still be packed."""
    words = group.dtype.kind in ("int", "uint") and group.dtype.nbytes in (1, 2, 4)
    if not words or not settings or scene.flat or kin.kind in (BOOKKEEPING, BUFFER):
        return Counted(group, kin, group.numel)
    if group.dtype.name == "i8":
        return Counted(group, kin, group.numel, "int8", "one element each")
    method = str(settings.get("quant_method") or "unknown method")[:40]
    why = f"{group.dtype} weights of {method} whose layout is not known"
    faults.add("WK701", f"logical count unknown: {why}", tensor=group.members[0].name)
    return Counted(group, kin, None, method, why)


def layout_of(group: Fold, scene: Scene) -> Layout | None:
    """The layout that packs a fold; None for plain tensors."""
    leaf = group.segments[-1]
    plain = leaf == "weight" and group.dtype.kind == "float" and group.dtype.nbytes > 1
    if plain or not (leaf in _LEAVES or leaf.endswith(_ENDS)):
        return None
    kinds = {group.dtype.kind, group.dtype.name}
    for layout in LAYOUTS:
        if segment_matches(layout.leaf, leaf) and kinds & set(layout.kinds.split()):
            stem = leaf.removesuffix(layout.leaf[1:]) if layout.leaf[0] == "*" else ""
            names = [name.replace("*", stem) for name in layout.beside.split()]
            if not names or scene.has_sibling(group, *names):
                return layout
    return None


def _own(settings: Mapping[str, Any], group: Fold) -> Mapping[str, Any]:
    """The settings of one module: MLX lists modules that differ under their names."""
    module = group.members[0].name.rpartition(".")[0]
    own = settings.get(module)
    return {**settings, **own} if isinstance(own, Mapping) else settings


class _Companions:
    """Finds what stands beside packed weights, once for all modules of one name."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._by_module: dict[str, dict[str, int]] = {}

    def parts(self, group: Fold) -> Iterator[tuple[Fold, dict[str, Fold]]]:
        """The fold in parts whose members all have companions of the same shapes."""
        beside = self._beside(group)
        own = _listed(self.scene)
        original = self.scene.by_template[group.template]
        if not own and len(original) == 1 and _uniform(original[0], beside):
            yield group, {name: folds[0] for name, folds in beside.items()}
            return
        parts: dict[tuple[int | str, ...], list[int]] = {}
        for at, member in enumerate(group.members):
            module = _module(member.name)
            places = (self._places(group, name).get(module, -1) for name in beside)
            key: tuple[int | str, ...] = (module if own else "", *places)
            parts.setdefault(key, []).append(at)
        for key, members in parts.items():
            found = {
                name: folds[index]
                for (name, folds), index in zip(beside.items(), key[1:], strict=True)
                if isinstance(index, int) and index >= 0
            }
            yield group.part(members), found

    def _beside(self, group: Fold) -> dict[str, list[Fold]]:
        prefix = _prefix(group)
        stem = group.segments[-1].removesuffix("_blocks").removesuffix("_qdata")
        names = (*COMPANIONS, f"{stem}_scales", f"{stem}_scale")
        templates = self.scene.by_template
        return {name: templates[prefix + name] for name in names if prefix + name in templates}

    def _places(self, group: Fold, name: str) -> dict[str, int]:
        """For each module that has a tensor ``name``, which of the folds it is in."""
        template = _prefix(group) + name
        if template not in self._by_module:
            levels = name.count(".") + 1
            self._by_module[template] = {
                member.name.rsplit(".", levels)[0]: index
                for index, fold in enumerate(self.scene.by_template[template])
                for member in fold.members
            }
        return self._by_module[template]


def _prefix(group: Fold) -> str:
    """Where a packed tensor's companions stand: quanto's are a level up from ``_data._data``."""
    return module_prefix(group.template).removesuffix("_data.")


def _module(name: str) -> str:
    """The module of a packed tensor by its full name, as :func:`_prefix` has it."""
    return name.rpartition(".")[0].removesuffix("._data")


def _uniform(group: Fold, beside: Mapping[str, Sequence[Fold]]) -> bool:
    """Whether every module has every companion, each in one shape."""
    return all(
        len(folds) == 1 and folds[0].columns[: len(group.columns)] == group.columns
        for folds in beside.values()
    )


def _listed(scene: Scene) -> bool:
    """Whether the config has settings for single modules."""
    section = scene.config.get("quantization")
    if not isinstance(section, Mapping) or len(section) < 4:
        return False
    return any(isinstance(value, Mapping) for value in section.values())


def _decide(packed: Packed, layout: Layout, faults: Faults) -> tuple[int | None, str]:
    evidence = layout.derive(packed)
    name = packed.fold.members[0].name
    for fault in packed.faults:
        faults.add("WK702", fault, tensor=name)
    if not evidence:
        why = f"{layout.method}: the files do not say how the weight is packed"
        faults.add("WK701", f"logical count unknown: {why}", tensor=name)
        return None, why
    shown = ", ".join(f"{item.elements:,} by {item.source}" for item in evidence)
    if len({item.elements for item in evidence}) == 1:
        return evidence[0].elements, shown
    faults.add("WK702", f"derivations of the size disagree: {shown}", tensor=name)
    return _strongest(evidence), shown


def _strongest(evidence: Sequence[Evidence]) -> int | None:
    """What the tensors' shapes say, if they say one thing; else what most derivations say."""
    for rests in ((SHAPES,), (SHAPES, STORED)):
        counts = {item.elements for item in evidence if item.rests in rests}
        if len(counts) == 1:
            return counts.pop()
    votes = [item.elements for item in evidence]
    best = max(votes, key=votes.count)
    return best if votes.count(best) * 2 > len(votes) else None
