"""Where the bytes of a ``.pt`` file go: the archive that ``torch.save`` writes of a plain state dict.

To the byte the same as torch 2.13 writes into a buffer, but for the first half of
``.data/serialization_id``: there torch has a hash that depends on the order of a C++ set.

Source: ``torch/serialization.py`` and ``caffe2/serialize/inline_container.cc`` of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import prod
from zlib import crc32

from weightkit.archives.notes import NAME, written
from weightkit.archives.writing import TORCH, Archive, Member
from weightkit.dtypes import DTYPES, DType
from weightkit.errors import PlanError
from weightkit.formats.pytorch.pickling import View, contiguous, state_dict
from weightkit.layouts import Layout, Slot, unheld
from weightkit.tensors import TensorInfo

ROOT = "archive"
"""The folder of all members, as torch names it when it is given no file name."""
UNTYPED = (
    "f8_e4m3 f8_e5m2 f8_e4m3fnuz f8_e5m2fnuz f8_e8m0 f4_x2 u16 u32 u64 c32 "
    "bits1x8 bits2x4 bits4x2 bits8 bits16"
).split()
"""Types without a storage class of their own that torch saves (``torch.storage._new_dtypes``)."""
_HELD = frozenset(DTYPES[name] for name in UNTYPED) | {
    row for row in DTYPES.values() if row.storage and row.kind != "qint"
}


MAX_DIMENSIONS = 64
"""What most of torch's operators take, and numpy."""
MAX_SIZE = (1 << 63) - 1
"""Of a dimension or stride, which torch counts in 64 bits."""


def holds(dtype: DType) -> bool:
    """Whether torch has a plain tensor of this type; two ``f4`` are one of its elements."""
    return dtype in _HELD or dtype.name == "f4"


def layout(tensors: Sequence[TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """The archive that holds ``tensors``; raises PlanError for what torch cannot hold.

    Tensors with the same ``storage`` and ``data`` become views of one storage, and have one slot:
    its bytes are those of the first of them that is contiguous. ``metadata`` goes to a record of
    its own, which torch passes over.
    """
    plain = [_plain(tensor) for tensor in tensors]
    owners = _owners(plain)
    keys = {owner: str(number) for number, owner in enumerate(dict.fromkeys(owners))}
    views = [
        _view(tensor, keys[owner], plain[owner])
        for tensor, owner in zip(plain, owners, strict=True)
    ]
    members = [Member(f"{ROOT}/{name}", head) for name, head in _fronts(views, metadata)]
    first = len(members)
    members += [
        Member(f"{ROOT}/data/{key}", b"", plain[owner].nbytes) for owner, key in keys.items()
    ]
    members.append(Member(f"{ROOT}/version", b"3\n"))
    members.append(Member(f"{ROOT}/.data/serialization_id", b"", 40))
    archive = Archive(members, TORCH)
    slots = {
        owner: Slot(archive.places[first + at], plain[owner].nbytes)
        for at, owner in enumerate(keys)
    }

    def literals(crcs: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        filled = [0] * len(members)
        filled[first : first + len(keys)] = [crcs[owner] for owner in keys]
        serial = _serialization_id(members, archive.checksums(filled))
        filled[-1] = crc32(serial)
        yield from archive.literals(filled)
        yield archive.places[-1], serial

    return Layout(archive.size, tuple(slots[owner] for owner in owners), literals, checksums=True)


def _plain(tensor: TensorInfo) -> TensorInfo:
    """``tensor`` as torch counts its elements."""
    if tensor.parts or not holds(tensor.dtype):
        what = tensor.layout if tensor.parts else tensor.dtype.name
        message = unheld("torch", f"plain {what}", tensor.dtype.castable)
        raise PlanError(message, code="WK660", tensor=tensor.name)
    largest = max((*tensor.shape, *contiguous(tensor.shape)), default=0)
    if largest > MAX_SIZE or len(tensor.shape) > MAX_DIMENSIONS:
        message = f"torch has no tensor of the shape {[*tensor.shape]}; leave it out"
        raise PlanError(message, code="WK660", tensor=tensor.name)
    if tensor.dtype.name != "f4":
        return tensor
    if not tensor.shape or tensor.shape[-1] % 2:
        message = f"torch keeps f4 in pairs, but its rows are of {(*tensor.shape, 1)[-1]}"
        raise PlanError(message, code="WK660", tensor=tensor.name)
    shape = (*tensor.shape[:-1], tensor.shape[-1] // 2)
    return tensor._replace(dtype=DTYPES["f4_x2"], shape=shape)


def _owners(tensors: Sequence[TensorInfo]) -> list[int]:
    """For each tensor the index of the one whose storage it is a view of, its own if of none."""
    owners: dict[object, int] = {}
    for at, tensor in enumerate(tensors):
        if tensor.storage and tensor.strides is None:
            owners.setdefault((tensor.storage, tensor.data, tensor.dtype), at)
    found = []
    for at, tensor in enumerate(tensors):
        owner = owners.get((tensor.storage, tensor.data, tensor.dtype), at)
        found.append(owner if _span(tensor) <= prod(tensors[owner].shape) else at)
    return found


def _span(tensor: TensorInfo) -> int:
    """Elements from the first to the last that a tensor reaches in its storage."""
    strides = tensor.strides or contiguous(tensor.shape)
    steps = zip(tensor.shape, strides, strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps) if prod(tensor.shape) else 0


def _view(tensor: TensorInfo, key: str, owner: TensorInfo) -> View:
    strides = tensor.strides if tensor is not owner else None
    return View(
        tensor.name,
        tensor.dtype,
        tensor.shape,
        contiguous(tensor.shape) if strides is None else strides,
        key,
        owner.nbytes,
    )


def _fronts(views: Sequence[View], metadata: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The records before the storages."""
    yield "data.pkl", state_dict(views)
    yield ".format_version", b"1"
    yield ".storage_alignment", str(TORCH.alignment).encode()
    yield "byteorder", b"little"
    if metadata:
        yield NAME, written(metadata)


def _serialization_id(members: Sequence[Member], crcs: Sequence[int]) -> bytes:
    """40 digits: a hash of the members' names, then torch's of their checksums (but of empty ones).

    Source of the formula: ``c10::hash_combine``.
    """
    names = "\n".join(member.name for member in members[:-1])
    digest = int.from_bytes(sha256(names.encode()).digest()[:8], "little")
    found = 0
    for member, crc in zip(members[:-1], crcs, strict=False):
        if member.head or member.nbytes:
            found ^= (crc + 0x9E3779B9 + (found << 6) + (found >> 2)) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:020}{found:020}".encode()
