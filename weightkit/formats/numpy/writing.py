"""Where the bytes of an ``.npz`` file go: a zip of ``.npy`` members, stored, as ``numpy.savez`` has it.

numpy's own types are written as such. For bfloat16, the 8-bit floats and complex32 numpy has none;
as raw bytes (``V2``), with what they are recorded in a member of their own, they are only written
to a caller who says so, since whoever loads them with numpy alone gets no numbers.

Source: ``numpy.lib.format`` (NEP 1) of numpy 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from weightkit.archives.names import escapes
from weightkit.archives.notes import DTYPES as RECORDED
from weightkit.archives.notes import NAME, written
from weightkit.archives.writing import FULL_COUNT, ZIPFILE, Archive, Member
from weightkit.dtypes import DTYPES, DType
from weightkit.errors import PlanError
from weightkit.formats.numpy.header import MAGIC, MAX_DIMENSIONS
from weightkit.layouts import Layout, Slot, unheld
from weightkit.tensors import Extent, TensorInfo
from weightkit.text import is_text

_CODES = {
    "f64": "<f8",
    "f32": "<f4",
    "f16": "<f2",
    "i64": "<i8",
    "i32": "<i4",
    "i16": "<i2",
    "i8": "|i1",
    "u64": "<u8",
    "u32": "<u4",
    "u16": "<u2",
    "u8": "|u1",
    "bool": "|b1",
    "c64": "<c8",
    "c128": "<c16",
}
VOIDS = "bf16 f8_e4m3 f8_e5m2 f8_e4m3fnuz f8_e5m2fnuz f8_e8m0 f4_x2 c32".split()
"""Types that go as raw bytes."""
_BYTES = re.compile(r"[SV]\d+")
_WIDE = re.compile(r"(?:U\d+|[mM]8\[\w+\])")
MAX_NBYTES = (1 << 63) - 1
"""Of an array whose dimensions without elements had one."""
ALIGNMENT = 64
GROWTH = 21
"""Digits that numpy leaves room for, so that the first dimension can grow in place."""


def holds(dtype: DType) -> bool:
    """Whether numpy has this type by itself."""
    return bool(_descr(dtype))


def holds_as_bytes(dtype: DType) -> bool:
    """Whether values of this type can go as raw bytes, with a record of what they are."""
    return dtype.name in VOIDS or dtype.name == "f4"


def layout(
    tensors: Sequence[TensorInfo], metadata: Mapping[str, str], *, as_bytes: bool = False
) -> Layout:
    """The archive that holds ``tensors``; raises PlanError for what numpy cannot hold.

    ``as_bytes`` lets types that numpy lacks go as raw bytes. ``metadata`` goes to a member of its
    own, which ``numpy.load`` lists as ``weightkit.json``: an array of bytes, so that whoever goes
    through all members finds arrays only.
    """
    plain = [_plain(tensor, as_bytes) for tensor in tensors]
    for tensor in plain:
        _check_shape(tensor)
    members = [Member(f"{tensor.name}.npy", _header(tensor), tensor.nbytes) for tensor in plain]
    notes = dict(metadata)
    recorded = {t.name: t.dtype.name for t in plain if holds_as_bytes(t.dtype)}
    if recorded:
        notes[RECORDED] = json.dumps(recorded, sort_keys=True)
    if notes:
        record = written(notes)
        members.append(Member(NAME, _header(_array_of(record)) + record))
    _check_names([tensor.name for tensor in tensors], {member.name for member in members})
    archive = Archive(members, ZIPFILE)

    def literals(crcs: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        return archive.literals([*crcs, *[0] * (len(members) - len(crcs))])

    slots = (Slot(at, tensor.nbytes) for at, tensor in zip(archive.places, plain, strict=False))
    return Layout(archive.size, tuple(slots), literals, checksums=True)


def _array_of(record: bytes) -> TensorInfo:
    return TensorInfo(NAME, DTYPES["u8"], (len(record),), Extent(0, 0, len(record)))


def _plain(tensor: TensorInfo, as_bytes: bool) -> TensorInfo:
    """``tensor`` as numpy counts its elements."""
    dtype = tensor.dtype
    if tensor.parts or not (holds(dtype) or (as_bytes and holds_as_bytes(dtype))):
        what = tensor.layout if tensor.parts else dtype.name
        other = "keep its bytes with --as-bytes" if holds_as_bytes(dtype) else "leave it out"
        message = unheld("numpy", f"plain {what}", dtype.castable, other)
        raise PlanError(message, code="WK660", tensor=tensor.name)
    if dtype.name != "f4":
        return tensor
    if not tensor.shape or tensor.shape[-1] % 2:
        message = f"f4 is kept in pairs, but its rows are of {(*tensor.shape, 1)[-1]}"
        raise PlanError(message, code="WK660", tensor=tensor.name)
    shape = (*tensor.shape[:-1], tensor.shape[-1] // 2)
    return tensor._replace(dtype=DTYPES["f4_x2"], shape=shape)


def _check_shape(tensor: TensorInfo) -> None:
    """Raise PlanError WK660 for a shape that numpy has no array of, not even of one without elements."""
    room = prod(max(size, 1) for size in tensor.shape) * max(tensor.dtype.nbytes, 1)
    if len(tensor.shape) > MAX_DIMENSIONS or room > MAX_NBYTES:
        message = f"numpy has no array of the shape {[*tensor.shape]}; leave it out"
        raise PlanError(message, code="WK660", tensor=tensor.name)


def _check_names(names: Sequence[str], members: set[str]) -> None:
    """Raise PlanError WK662 for a name that numpy or a zip reader would take for another."""
    for name in names:
        reason = ""
        if name in members:
            reason = "numpy would load the member of that very name instead"
        elif not _is_zip_name(name):
            reason = "it is no text that a zip archive can hold"
        elif escapes(f"{name}.npy".encode()):
            reason = "it leads out of the folder that the archive is extracted to"
        if reason:
            message = f"no .npz holds {name[:80]!r}: {reason}; --rename it"
            raise PlanError(message, code="WK662", tensor=name)


def _is_zip_name(name: str) -> bool:
    return is_text(name) and "\0" not in name and len(f"{name}.npy".encode()) <= FULL_COUNT


def _descr(dtype: DType) -> str:
    """numpy's description of a type, "" where it has none."""
    if dtype.kind != "opaque":
        return _CODES.get(dtype.name, "")
    if _BYTES.fullmatch(dtype.name):
        return f"|{dtype.name}"
    return f"<{dtype.name}" if _WIDE.fullmatch(dtype.name) else ""


def _header(tensor: TensorInfo) -> bytes:
    """Magic, version, length and the dict, filled up so that the elements are aligned."""
    shape = tensor.shape
    descr = _descr(tensor.dtype) or f"|V{tensor.dtype.nbytes}"
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (GROWTH - len(str(shape[0])))
    text += " " * (-(len(MAGIC) + 4 + len(text) + 1) % ALIGNMENT) + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")
