"""NumPy arrays inside a pickle: their bytes lie in the stream itself.

Source: ``numpy/_core/multiarray.py`` and ``numpy/_core/numeric.py`` of NumPy 2.4, which spelt
themselves ``numpy.core`` before 2.0.
"""

from __future__ import annotations

from struct import unpack
from typing import Any, Literal

from weightkit.dtypes import DTYPES, NUMPY, DType, opaque
from weightkit.formats.pytorch.tensors import NOWHERE, Malformed, OutsideStorage, Rebuild, Tensors
from weightkit.formats.pytorch.values import integers, name_of, text_of
from weightkit.programs import Blob, Call, Global, Pairs, Text
from weightkit.source import Reader
from weightkit.tensors import NESTED, RAW, Extent, TensorInfo


def array_dtype(node: Any) -> tuple[DType, str]:
    """Type and byte order of ``numpy.dtype("f4", False, True)`` and its state ``(3, "<", ...)``."""
    if type(node) is not Call or name_of(node.target) not in ("numpy.dtype", "numpy._core.dtype"):
        raise Malformed("no dtype where one must be")
    code = text_of(node.args[0])
    if type(node.args[0]) is Global:
        code = code.rpartition(".")[2]
        if code not in NUMPY and type(node.state) is tuple and len(node.state) > 5:
            code = f"V{text_of(node.state[5])}"  # numpy.record, ml_dtypes.int4: its size is known
    order = "<"
    if type(node.state) is tuple and len(node.state) > 1:
        order = text_of(node.state[1])
    dtype = _numpy_code(code.lstrip("<>=|"))
    return dtype, "big" if order == ">" or code.startswith(">") else "little"


_HOLDS_OBJECTS = 1
"""The flag of an element type by which NumPy goes."""
_DEEPEST = 16


def holds_objects(node: Any, depth: int = 0) -> bool:
    """Whether elements are, or may hold, Python objects: by the code, the flags or the fields."""
    if type(node) is Global:
        return node.name in ("object_", "object", "ObjectDType")
    if type(node) is not Call or depth > _DEEPEST:
        return False
    codes = [node.target, *(node.args if type(node.args) is tuple else ())]
    if any("O" in code or "object" in code for code in codes if isinstance(code, str)):
        return True
    if any(holds_objects(code, depth + 1) for code in codes if type(code) is Global):
        return True
    _, _, part, _, fields, _, _, flags, *_ = (
        node.state if type(node.state) is tuple and len(node.state) > 7 else (None,) * 8
    )
    inner = (
        [field[:1] for field in fields.items[1::2] if type(field) is tuple]
        if type(fields) is Pairs
        else []
    )
    inner.append(part[:1] if type(part) is tuple else ())
    return bool(type(flags) is int and flags & _HOLDS_OBJECTS) or any(
        holds_objects(item, depth + 1) for one in inner for item in one
    )


def item_size(node: Any, dtype: DType) -> int:
    """Bytes of one element: of records, texts and the like those that the state says."""
    state = node.state
    said = state[5] if type(state) is tuple and len(state) > 5 else -1
    sizeable = dtype.name[:1] in "VSUa" or type(node.args[0]) is Global
    return said if type(said) is int and said >= 0 and sizeable else dtype.nbytes


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
    if type(held) is Call and name_of(held.target) in _EMPTY and not held.args and not nbytes:
        return NOWHERE
    raise Malformed("no bytes where an array's must be")


def scalar_of(call: Call) -> bool | int | float | None:
    """The number that a call of numpy's ``scalar(dtype, bytes)`` stands for; None for other calls."""
    if name_of(call.target) not in _SCALAR or type(call.args) is not tuple or len(call.args) != 2:
        return None
    try:
        dtype, byteorder = array_dtype(call.args[0])
    except (Malformed, TypeError, ValueError, IndexError):
        return None
    raw = _short_bytes(call.args[1])
    if raw is None or len(raw) != dtype.nbytes:
        return None
    order: Literal["little", "big"] = "big" if byteorder == "big" else "little"
    if dtype.kind == "float" and dtype.name in _FLOATS:  # numpy's own f16 has 16 bytes, and is none
        sign = ">" if order == "big" else "<"
        return float(unpack(sign + _FLOATS[dtype.name], raw)[0])
    number = int.from_bytes(raw, order, signed=dtype.kind == "int")
    if dtype.kind == "bool":
        return bool(number)
    return number if dtype.kind in ("int", "uint") else None


_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FLOATS = {"f64": "d", "f32": "f", "f16": "e"}


def _short_bytes(held: Any) -> bytes | None:
    """A few bytes, as they are or as text that Latin-1 encodes to them."""
    if type(held) is Blob:
        return held.value
    if type(held) is Call and name_of(held.target) == "_codecs.encode":
        text = held.args[0] if type(held.args) is tuple and held.args else None
        if isinstance(text, str) and max(text, default="") < "\u0100":
            return text.encode("latin-1")
    return None


_EMPTY = ("__builtin__.bytes", "builtins.bytes")
"""What protocol 2 calls for no bytes at all."""


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in shape:
        strides.append(step)
        step *= size
    return tuple(strides)


ARRAYS: dict[tuple[str, str], Rebuild] = {
    **{
        (module, name): row
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, row in [("_reconstruct", _array), ("_frombuffer", _frombuffer)]
    },
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}
