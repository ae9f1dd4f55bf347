"""How PyTorch writes a tensor into a pickle, as a table of its rebuild functions.

A tensor is a call such as ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``
whose storage is a persistent id, ``("storage", torch.FloatStorage, "0", "cpu", numel)``. A row of
``REBUILDS`` turns one such call, unexecuted, into a :class:`TensorInfo`.

Sources: ``torch/_utils.py``, ``torch/_tensor.py`` and ``torch/serialization.py`` of torch 2.13;
``numpy/_core/multiarray.py`` for arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from weightkit.dtypes import DTYPES, NUMPY, STORAGES, TORCH, DType, opaque
from weightkit.formats.pytorch.values import flag, integers, name_of, pairs_of, text_of
from weightkit.programs import Blob, Call, Global, Persistent, Text
from weightkit.source import Reader
from weightkit.tensors import ABSENT, NESTED, RAW, Extent, TensorInfo

U8 = DTYPES["u8"]
NOWHERE = Extent(0, 0, 0, ABSENT)


class Storage(NamedTuple):
    """One block of memory: where its bytes are, and its element type (u8 for untyped ones)."""

    key: str
    dtype: DType
    nbytes: int
    data: Extent


class Malformed(Exception):
    """The arguments of a rebuild call are none that torch writes."""


class Tensors:
    """Turns the calls of one program into tensors.

    ``storages`` maps a storage's key to its place, for each persistent id of the program;
    ``reader`` holds the pickle (arrays that lie inside it are found there).
    """

    def __init__(
        self, storages: dict[str, Storage], reader: Reader, byteorder: str = "little"
    ) -> None:
        self.storages = storages
        self.reader = reader
        self.byteorder = byteorder
        self._rows: dict[Any, _Rebuild | None] = {}

    def rebuild(self, call: Call) -> TensorInfo | None:
        """The tensor that ``call`` would make, or None if it makes something else.

        The tensor has no name yet. Raises Malformed if torch would not have written it.
        """
        target = call.target
        if type(target) is not Global:
            return None
        row = self._rows.get(target, _UNSEEN)
        if row is _UNSEEN:
            row = self._rows[target] = REBUILDS.get((target.module, target.name))
        if row is None or type(call.args) is not tuple:
            return None
        try:
            return row(self, call)
        except (IndexError, ValueError, TypeError) as error:
            # Unpacking arguments of the wrong number or kind; nothing of theirs is called.
            raise Malformed(f"{target.path} with unusable arguments") from error

    def strided(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: DType | None = None
    ) -> TensorInfo:
        """The view of a storage with ``size`` and ``stride`` in elements, ``offset`` likewise."""
        memory = self.storage(storage)
        dtype = dtype or memory.dtype
        shape, strides = integers(size), integers(stride)
        if len(shape) != len(strides):
            raise Malformed(f"{len(shape)} sizes, but {len(strides)} strides")
        if type(offset) is not int or offset < 0 or min((*shape, *strides), default=0) < 0:
            raise Malformed("a negative size, stride or offset")
        contiguous, span = _layout(shape, strides)
        start, nbytes = dtype.nbytes_of(offset), dtype.nbytes_of(span)
        if start + nbytes > memory.nbytes:
            raise OutsideStorage(
                f"needs bytes {start} to {start + nbytes} of a storage of {memory.nbytes}"
            )
        where = memory.data
        if where.encoding == RAW:
            data = Extent(where.file, where.offset + start, nbytes)
        else:
            data = where._replace(within=where.within + start, nbytes=nbytes)
        return TensorInfo(
            "", dtype, shape, data, self.byteorder, None if contiguous else strides, memory.key
        )

    def storage(self, node: Any) -> Storage:
        """The storage that a persistent id stands for."""
        if type(node) is Persistent:
            found = self.storages.get(storage_key(node.pid))
            if found is not None:
                return found
        raise Malformed("no storage where one must be")

    def persistent(self, node: Persistent) -> TensorInfo | None:
        """A storage that was saved without a tensor: a vector of its elements."""
        found = self.storages.get(storage_key(node.pid))
        if found is None:
            return None
        shape = (found.nbytes // found.dtype.nbytes * found.dtype.items,)
        return TensorInfo("", found.dtype, shape, found.data, self.byteorder, None, found.key)

    def inner(self, node: Any) -> TensorInfo:
        """A tensor that is an argument of another."""
        found = None
        if type(node) is Call:
            found = self.rebuild(node)
        elif type(node) is Persistent:
            found = self.persistent(node)
        if found is None:
            raise Malformed("no tensor where one must be")
        return found


class OutsideStorage(Malformed):
    """A tensor addresses bytes that its storage does not have."""


_Rebuild = Callable[[Tensors, Call], TensorInfo | None]


def _unseen(_: Tensors, __: Call) -> None:
    return None


_UNSEEN: _Rebuild = _unseen


def _layout(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[bool, int]:
    """Whether the elements lie in row-major order without gaps, and how many they span."""
    expected = 1
    contiguous = True
    span = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 0:
            return True, 0
        if size != 1:
            contiguous = contiguous and stride == expected
            span += (size - 1) * stride
            expected *= size
    return contiguous, span


def storage_key(pid: Any) -> str:
    """The key that tells a storage from the others of its file ("" if the id names none)."""
    if type(pid) is tuple and len(pid) >= 3 and pid[0] == "storage":
        key = pid[2]
        if len(pid) > 5 and type(pid[5]) is tuple and pid[5]:  # a view, of the legacy format
            key = pid[5][0]
        if isinstance(key, str):
            return str(key)
    return ""


def storage_dtype(node: Any) -> DType:
    """The element type of a storage class, ``torch.FloatStorage`` and the like."""
    name = name_of(node).rpartition(".")[2]
    if name == "UntypedStorage":
        return U8
    dtype = STORAGES.get(name)
    if dtype is None:
        raise Malformed(f"{name or 'nothing'} is no storage class")
    return dtype


def torch_dtype(node: Any) -> DType:
    """The element type of a ``torch.float32`` global."""
    module, _, name = name_of(node).rpartition(".")
    if module != "torch" or name not in TORCH:
        raise Malformed(f"{module}.{name} is no dtype")
    return TORCH[name]


# The rows. Arguments are as in the function's signature; those that say nothing about the bytes
# (requires_grad, hooks, metadata) are left alone.


def _tensor(tensors: Tensors, call: Call) -> TensorInfo:
    return tensors.strided(*call.args[:4])


def _tensor_v3(tensors: Tensors, call: Call) -> TensorInfo:
    storage, offset, size, stride = call.args[:4]
    return tensors.strided(storage, offset, size, stride, torch_dtype(call.args[6]))


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


def _from_numpy(tensors: Tensors, call: Call) -> TensorInfo:
    array, dtype = call.args[:2]
    return tensors.inner(array)._replace(dtype=torch_dtype(dtype))


# Arrays of NumPy inside a pickle


def array_dtype(node: Any) -> tuple[DType, str]:
    """Type and byte order of ``numpy.dtype("f4", False, True)`` and its state ``(3, "<", ...)``."""
    if type(node) is not Call or name_of(node.target) not in ("numpy.dtype", "numpy._core.dtype"):
        raise Malformed("no dtype where one must be")
    code = text_of(node.args[0])
    order = "<"
    if type(node.state) is tuple and len(node.state) > 1:
        order = text_of(node.state[1])
    dtype = _numpy_code(code.lstrip("<>=|"))
    return dtype, "big" if order == ">" or code.startswith(">") else "little"


_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def _numpy_code(code: str) -> DType:
    kind, size = code[:1], code[1:]
    if code in ("b1", "?"):
        return DTYPES["bool"]
    if kind in _KINDS and size.isascii() and size.isdigit() and len(size) < 4:
        found = NUMPY.get(f"{_KINDS[kind]}{int(size) * 8}")
        return found or opaque(code, int(size))
    if kind in "SUVMmOa" and len(size) < 10 and (size.isdigit() or not size):
        unit = 4 if kind == "U" else 1
        return opaque(code, unit * int(size or 0))
    if code in NUMPY:  # ml_dtypes: "bfloat16", "float8_e4m3fn"
        return NUMPY[code]
    raise Malformed(f"{code[:20]!r} is no dtype")


def _array(tensors: Tensors, call: Call) -> TensorInfo | None:
    """``_reconstruct`` and its state ``(version, shape, dtype, fortran order, bytes)``."""
    if type(call.state) is not tuple or len(call.state) < 5:
        return None
    _, size, descr, fortran, held = call.state[:5]
    dtype, byteorder = array_dtype(descr)
    if type(held) is list:  # dtype object: a list of anything
        return None
    return _inline(tensors, dtype, byteorder, integers(size), fortran is True, held)


def _frombuffer(tensors: Tensors, call: Call) -> TensorInfo:
    """Protocol 5: ``_frombuffer(bytes, dtype, shape, order)``."""
    held, descr, size, order = call.args[:4]
    dtype, byteorder = array_dtype(descr)
    return _inline(tensors, dtype, byteorder, integers(size), text_of(order) == "F", held)


def _inline(
    tensors: Tensors,
    dtype: DType,
    byteorder: str,
    shape: tuple[int, ...],
    fortran: bool,
    held: Any,
) -> TensorInfo:
    """A tensor whose bytes lie in the pickle itself."""
    base = TensorInfo("", dtype, shape, NOWHERE, byteorder)
    data = _bytes_of(tensors.reader, held, base.nbytes)
    strides = _fortran_strides(shape) if fortran and len(shape) > 1 else None
    return base._replace(data=data, strides=strides)


def _bytes_of(reader: Reader, held: Any, nbytes: int) -> Extent:
    """Where the bytes of an array are: as they are, or as text that Latin-1 encodes to them."""
    if type(held) is Blob and held.kind != "buffer" and held.encoding == RAW:
        if held.nbytes != nbytes:
            raise OutsideStorage(f"{nbytes} bytes wanted, but {held.nbytes} stored")
        return reader.extent(held.offset, nbytes)
    if type(held) is Blob and held.kind == "buffer":
        return NOWHERE
    if type(held) is Call and name_of(held.target) == "_codecs.encode":
        held = held.args[0]
    if isinstance(held, Text | Blob):
        stored = reader.extent(held.offset, held.nbytes)
        if stored.encoding == RAW:
            return Extent(stored.file, stored.offset, nbytes, held.encoding, 0, held.nbytes)
        return Extent(stored.file, stored.offset, nbytes, NESTED)
    raise Malformed("no bytes where an array's must be")


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in shape:
        strides.append(step)
        step *= size
    return tuple(strides)


_TORCH_ROWS: dict[str, _Rebuild] = {
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
    "_rebuild_device_tensor_from_numpy": _from_numpy,
}

REBUILDS: dict[tuple[str, str], _Rebuild] = {
    **{("torch._utils", name): row for name, row in _TORCH_ROWS.items()},
    ("torch._tensor", "_rebuild_from_type"): _from_type,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch.tensor", "_rebuild_from_type"): _from_type,
    ("torch._utils", "_rebuild_from_type_v2"): _from_type,
    **{
        (module, name): row
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, row in [("_reconstruct", _array), ("_frombuffer", _frombuffer)]
    },
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}
