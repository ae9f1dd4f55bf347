"""The rows: each function that torch rebuilds a tensor with, and what its arguments say.

Arguments are as in the function's signature; those that say nothing about the values (requires_grad,
hooks) are left alone.

Source: ``torch/_utils.py`` and ``torch/_tensor.py`` of torch 2.13.
"""

from __future__ import annotations

from typing import Any

from weightkit.dtypes import TORCH, DType
from weightkit.formats.pytorch.arrays import ARRAYS
from weightkit.formats.pytorch.tensors import NOWHERE, Malformed, Rebuild, Tensors, Unread
from weightkit.formats.pytorch.values import flag, integers, name_of, pairs_of, text_of
from weightkit.programs import Call
from weightkit.tensors import TensorInfo


def torch_dtype(node: Any) -> DType:
    """The element type of a ``torch.float32`` global."""
    module, _, name = name_of(node).rpartition(".")
    if module != "torch" or name not in TORCH:
        raise Malformed(f"{module}.{name} is no dtype")
    return TORCH[name]


def _tensor(tensors: Tensors, call: Call) -> TensorInfo:
    found = tensors.strided(*call.args[:4])
    return _flagged(found, call.args[6]) if len(call.args) > 6 else found


_FLAGS = {"neg": "negated", "conj": "conjugated"}


def _flagged(found: TensorInfo, flags: Any) -> TensorInfo:
    """A view with flags by which torch negates or conjugates its numbers when they are used."""
    layouts = [_FLAGS[key] for key, _ in pairs_of(flags) if isinstance(key, str) and key in _FLAGS]
    if len(layouts) > 1:
        raise Unread("a view that is negated and conjugated")
    for layout in layouts:
        found = found._replace(layout=layout, parts=(found._replace(name="values"),))
    return found


def _tensor_v3(tensors: Tensors, call: Call) -> TensorInfo:
    storage, offset, size, stride = call.args[:4]
    found = tensors.strided(storage, offset, size, stride, torch_dtype(call.args[6]))
    return _flagged(found, call.args[7]) if len(call.args) > 7 else found


def _parameter(tensors: Tensors, call: Call) -> TensorInfo:
    return tensors.inner(call.args[0])._replace(role="parameter")


def _buffer(tensors: Tensors, call: Call) -> TensorInfo:
    return tensors.inner(call.args[0])._replace(role="buffer")


def _absent(dtype: DType, size: Any) -> TensorInfo:
    return TensorInfo("", dtype, integers(size), NOWHERE)


def _meta(_: Tensors, call: Call) -> TensorInfo:
    dtype, size = call.args[:2]
    return _absent(torch_dtype(dtype), size)


def _wrapper_subclass(_: Tensors, call: Call) -> TensorInfo:
    kind, dtype, size = call.args[:3]
    return _absent(torch_dtype(dtype), size)._replace(layout=name_of(kind) or "subclass")


_PLAIN_TYPES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")


def _from_type(tensors: Tensors, call: Call) -> TensorInfo:
    """A tensor with attributes, or of a subclass: func(*args), made ``kind``, with ``state``."""
    func, kind, args, *state = call.args
    found = tensors.inner(Call("REDUCE", func, args, call.offset))
    name = name_of(kind)
    role = {"Parameter": "parameter", "Buffer": "buffer"}.get(name.rpartition(".")[2], "")
    if name in _PLAIN_TYPES or role:
        return found._replace(role=role or found.role)
    parts = tuple(_state_tensors(tensors, state[0] if state else None))
    return found._replace(layout=name or "subclass", parts=parts)


def _state_tensors(tensors: Tensors, state: Any) -> list[TensorInfo]:
    """The tensors among the attributes of a subclass (``_local_tensor``, ``_data``, ``_scale``)."""
    found = []
    if type(state) is tuple and len(state) == 2:  # (__dict__, slots)
        state = state[0]
    for key, value in pairs_of(state):
        part = tensors.rebuild(value) if type(value) is Call else None
        if part is not None:
            found.append(part._replace(name=text_of(key)))
    return found


def _quantized(tensors: Tensors, call: Call) -> TensorInfo:
    base = tensors.strided(*call.args[:4])
    if base.shape and base.shape[-1] % base.dtype.items:
        raise Unread(f"rows of {base.dtype.name} that end inside a byte, which torch fills up")
    scheme, *params = call.args[4]
    names = ("scale", "zero_point")
    parts = [base._replace(name="data")]
    details: list[Any] = [name_of(scheme).rpartition(".")[2]]
    for name, value in zip(names, params, strict=False):
        if type(value) is Call:
            parts.append(tensors.inner(value)._replace(name=name))
        else:
            details.append((name, flag(value)))
    if len(params) > 2:
        details.append(("axis", flag(params[2])))
    return base._replace(layout="quantized", parts=tuple(parts), details=tuple(details))


_SPARSE_PARTS = {
    "sparse_coo": ("indices", "values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}


def _sparse(tensors: Tensors, call: Call) -> TensorInfo:
    kind, held = call.args[:2]
    if type(kind) is Call and name_of(kind.target) == "torch.serialization._get_layout":
        kind = kind.args[0]  # torch.sparse_coo, as text
    layout = text_of(kind).rpartition(".")[2]
    names = _SPARSE_PARTS.get(layout)
    if names is None:
        raise Malformed(f"{layout} is no sparse layout")
    parts = tuple(
        tensors.inner(part)._replace(name=name) for name, part in zip(names, held, strict=False)
    )
    return TensorInfo(
        "", parts[-1].dtype, integers(held[len(names)]), NOWHERE, layout=layout, parts=parts
    )


def _nested(tensors: Tensors, call: Call) -> TensorInfo:
    names = ("values", "sizes", "strides", "offsets")
    parts = tuple(
        tensors.inner(part)._replace(name=name)
        for name, part in zip(names, call.args, strict=False)
    )
    return parts[0]._replace(layout="nested", parts=parts)


def _ragged(tensors: Tensors, call: Call) -> TensorInfo:
    """``_rebuild_njt({"values": ..., "offsets": ..., ...})``: rows of unequal length, end to end."""
    held = [(text_of(key), value) for key, value in pairs_of(call.args[0])]
    parts = tuple(
        tensors.inner(value)._replace(name=name) for name, value in held if type(value) is Call
    )
    values = next((part for part in parts if part.name == "values"), None)
    if values is None:
        raise Malformed("a ragged tensor without values")
    return values._replace(name="", layout="nested", parts=parts)


def _of_device(tensors: Tensors, call: Call) -> TensorInfo:
    """A tensor of a TPU or the like, as an array or a tensor; bf16 was once saved as f32."""
    held, dtype = call.args[:2]
    found, loaded = tensors.inner(held), torch_dtype(dtype)
    if found.dtype is not loaded:
        raise Unread(f"stored as {found.dtype.name}, and loaded as {loaded.name}")
    return found


_TORCH_ROWS: dict[str, Rebuild] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "_rebuild_buffer": _buffer,
    "_rebuild_qtensor": _quantized,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_nested_tensor": _nested,
    "_rebuild_meta_tensor_no_storage": _meta,
    "_rebuild_wrapper_subclass": _wrapper_subclass,
    "_rebuild_device_tensor_from_numpy": _of_device,
    "_rebuild_device_tensor_from_cpu_tensor": _of_device,
    "_rebuild_xla_tensor": _of_device,
}

REBUILDS: dict[tuple[str, str], Rebuild] = {
    **{("torch._utils", name): row for name, row in _TORCH_ROWS.items()},
    ("torch._tensor", "_rebuild_from_type"): _from_type,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch.tensor", "_rebuild_from_type"): _from_type,
    ("torch._utils", "_rebuild_from_type_v2"): _from_type,
    ("torch.nested._internal.nested_tensor", "_rebuild_njt"): _ragged,
    **ARRAYS,
}
