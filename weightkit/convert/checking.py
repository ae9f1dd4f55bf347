"""What was written, opened again: by our reader, and by the official safetensors library."""

from __future__ import annotations

from collections.abc import Mapping

from weightkit.errors import VerifyError, WeightkitError
from weightkit.opening.examining import examine, fatal
from weightkit.plans import PlannedFile
from weightkit.source import Source
from weightkit.tensors import FileIndex, TensorInfo
from weightkit.values.canonical import form_of


def check_file(path: str, planned: PlannedFile) -> None:
    """Raise VerifyError unless the file at ``path`` says what was planned.

    The bytes of the tensors are compared as they are moved; this proves that a reader finds them
    where they were put, under the names, types and shapes of the plan.
    """
    index = _reopened(path)
    tensors = planned.tensors
    slots = dict(zip([item.name for item in tensors], planned.layout.slots, strict=True))
    found = {item.name: item for item in index.tensors}
    if found.keys() != slots.keys():
        raise _differs(path, f"it holds {len(found)} tensors instead of {len(slots)}")
    for tensor in tensors:
        have = found[tensor.name]
        _check(path, have, tensor, slots[tensor.name].offset)
    metadata = index.metadata if index.format == "safetensors" else index.notes
    if dict(metadata) != dict(planned.metadata):
        raise _differs(path, "its metadata is not what was written")
    if index.format == "safetensors":
        _check_officially(path, {item.name: item for item in tensors})


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


def _check_officially(path: str, wanted: Mapping[str, TensorInfo]) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:
            names = set(opened.keys())
            if names != wanted.keys():
                raise _differs(path, f"safetensors finds {len(names)} tensors, not {len(wanted)}")
            for name, want in wanted.items():
                part = opened.get_slice(name)
                have = part.get_dtype(), tuple(part.get_shape())
                if have != (want.dtype.safetensors, want.shape):
                    message = f"safetensors finds {have[0]} {list(have[1])}"
                    raise _differs(path, message, name)
    except SafetensorError as error:
        raise _differs(path, f"safetensors refuses it: {error}") from error


def _differs(path: str, message: str, tensor: str = "") -> WeightkitError:
    return VerifyError(message, path=path, code="WK670", tensor=tensor)
