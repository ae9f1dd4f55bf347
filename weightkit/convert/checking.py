"""What was written, opened again: by our reader, and by the official safetensors library."""

from __future__ import annotations

from collections.abc import Sequence

from weightkit.errors import VerifyError, WeightkitError
from weightkit.opening.examining import examine, fatal
from weightkit.plans import PlannedFile
from weightkit.source import Source
from weightkit.tensors import RAW, FileIndex, TensorInfo
from weightkit.values.canonical import form_of


def check_file(path: str, planned: PlannedFile) -> None:
    """Raise VerifyError unless the file at ``path`` says what was planned.

    The bytes of the tensors are compared as they are moved; this proves that a reader finds them
    where they were put, under the names, types and shapes of the plan.
    """
    kind = _check_by_ours(path, planned)
    if kind == "safetensors":
        _check_officially(path, planned.tensors)


def _check_by_ours(path: str, planned: PlannedFile) -> str:
    """The format that our reader finds; what it makes of the file is gone when this returns."""
    index = _reopened(path)
    tensors = planned.tensors
    found = {item.name: item for item in index.tensors}
    if len(found) != len(tensors):
        raise _differs(path, f"it holds {len(found)} tensors instead of {len(tensors)}")
    for tensor, slot in zip(tensors, planned.layout.slots, strict=True):
        have = found.get(tensor.name)
        if have is None:
            raise _differs(path, "it is missing", tensor.name)
        wanted = (tensor.dtype, tensor.shape, (0, slot.offset, slot.nbytes, RAW, 0, 0))
        if have[1:4] != wanted or have.strides is not None:  # as nearly always
            _check(path, have, tensor, slot.offset)
    metadata = index.metadata if index.format == "safetensors" else index.notes
    if dict(metadata) != dict(planned.metadata):
        raise _differs(path, "its metadata is not what was written")
    return index.format


def _reopened(path: str) -> FileIndex:
    with Source(path) as source:
        examined = examine(source)
    for fault in examined.faults():
        if fatal(fault):
            raise _differs(path, f"{fault.code} {fault.message}")
    if examined.index is None:
        raise _differs(path, "no reader knows it")
    return examined.index


def _check(path: str, have: TensorInfo, want: TensorInfo, offset: int) -> None:
    place = have.data.offset + have.data.within
    alike = have.dtype is want.dtype and have.shape == want.shape
    same = (alike or form_of(have)[:2] == form_of(want)[:2]) and have.strides is None
    if not same or (want.numel and place != offset):
        message = f"{have.dtype} {list(have.shape)} at {place} instead of {want.dtype} "
        raise _differs(path, f"{message}{list(want.shape)} at {offset}", want.name)


def _check_officially(path: str, tensors: Sequence[TensorInfo]) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:
            # It refuses gaps, overlaps and bytes behind the last tensor: with these found, all others
            # would be empty, and our reader has counted. Its list of names takes megabytes.
            for want in tensors:
                part = opened.get_slice(want.name)  # raises where there is none
                kind, shape = part.get_dtype(), tuple(part.get_shape())
                if kind != want.dtype.safetensors or shape != want.shape:
                    message = f"safetensors finds {kind} {[*shape]}"
                    raise _differs(path, message, want.name)
    except SafetensorError as error:
        raise _differs(path, f"safetensors refuses it: {error}") from error


def _differs(path: str, message: str, tensor: str = "") -> WeightkitError:
    return VerifyError(message, path=path, code="WK670", tensor=tensor)
