"""The trusted table: exact names, why they are trusted, and in which roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from weightkit.programs import Blob, Call, Global, Pairs, Persistent

Check = Callable[[tuple[Any, ...]], bool]


class Trust(NamedTuple):
    """Why one name is trusted, and in which roles.

    ``call``: whether it may be called (REDUCE) with arguments that the check accepts; ``new``: may be
    instantiated (NEWOBJ, OBJ, INST); ``build``: its objects may be given a state; ``fill``: they may
    be appended to or set items of; ``mention``: it may stand as a value.
    """

    why: str
    call: Check | None = None
    new: bool = False
    build: bool = False
    fill: bool = False
    mention: bool = True


def _any(_: tuple[Any, ...]) -> bool:
    return True


def _none(args: tuple[Any, ...]) -> bool:
    return not args


def _plains(args: tuple[Any, ...]) -> bool:
    """Numbers, text, bytes, and nestings of them: nothing that could act.

    Bounded, since a tuple may hold another a thousand times.
    """
    left: list[Any] = list(args[:_MOST])
    for _ in range(_MOST):
        if not left:
            return True
        item = left.pop()
        if type(item) in (tuple, list):
            left.extend(item[:_MOST])
        elif type(item) is Pairs:
            left.extend(item.items[:_MOST])
        elif not _plain(item):
            return False
    return False


_MOST = 4000


def _plain(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float | str) or type(value) is Blob:
        return True
    return type(value) is Call and _spells_bytes(value)


def _spells_bytes(value: Call) -> bool:
    """Bytes as protocol 2 spells them: a call that is judged on its own."""
    target = value.target
    return type(target) is Global and target.path in ("_codecs.encode", "__builtin__.bytes")


def _iterable(args: tuple[Any, ...]) -> bool:
    """Nothing, or one list or tuple: what ``set([...])`` and ``OrderedDict([...])`` take."""
    return not args or (len(args) == 1 and type(args[0]) in (list, tuple, Pairs))


def _factory(args: tuple[Any, ...]) -> bool:
    """``defaultdict(list)``: a builtin type that makes an empty value."""
    if not args or args[0] is None:
        return True
    factory = args[0]
    known = {"list", "dict", "int", "float", "set", "str", "bool", "tuple", "bytes"}
    return type(factory) is Global and (
        (factory.module in ("builtins", "__builtin__") and factory.name in known)
        or (factory.module, factory.name) == ("collections", "OrderedDict")
    )


def _storage_first(args: tuple[Any, ...]) -> bool:
    """A storage (a persistent id), then plain sizes and the like."""
    return bool(args) and isinstance(args[0], Persistent | Call)


def _rebuilt(args: tuple[Any, ...]) -> bool:
    """``_rebuild_from_type_v2(func, type, args, state)``: it calls ``func`` with ``args``."""
    if len(args) < 3 or type(args[0]) is not Global or type(args[2]) is not tuple:
        return False
    check = _REBUILDS.get((args[0].module, args[0].name))
    return check is not None and check is not _rebuilt and check(args[2])


def _rebuilt_first(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], Call | Persistent)


def _dtype_first(args: tuple[Any, ...]) -> bool:
    """A global of torch's dtypes, then plain values and a layout."""
    return bool(args) and type(args[0]) is Global


def _layouts(args: tuple[Any, ...]) -> bool:
    return len(args) >= 2


def _latin1(args: tuple[Any, ...]) -> bool:
    """``_codecs.encode(text, "latin1")``: bytes as protocol 2 spells them."""
    encoding = args[1] if len(args) > 1 else "latin1"
    return (
        bool(args)
        and isinstance(args[0], str | Blob)
        and (
            isinstance(encoding, str)
            and encoding.lower() in ("latin1", "latin-1", "utf-8", "utf8", "ascii")
        )
    )


def _array(args: tuple[Any, ...]) -> bool:
    """``_reconstruct(ndarray, (0,), b"b")``."""
    return bool(args) and type(args[0]) is Global and args[0].module.partition(".")[0] == "numpy"


def _reconstructed(args: tuple[Any, ...]) -> bool:
    """``copyreg._reconstructor(class, object, None)``: classes are judged on their own."""
    return len(args) == 3 and type(args[0]) is Global and type(args[1]) is Global


def _generator(args: tuple[Any, ...]) -> bool:
    """A bit generator's name, class or object; and what makes one of it, which it calls."""
    if len(args) < 2:
        return True
    maker = args[1]
    return (
        len(args) == 2
        and type(maker) is Global
        and maker.path == "numpy.random._pickle.__bit_generator_ctor"
    )


def _class_first(args: tuple[Any, ...]) -> bool:
    return bool(args) and type(args[0]) is Global


def _calls(why: str, check: Check, module: str, *names: str) -> dict[tuple[str, str], Trust]:
    return {(module, name): Trust(why, call=check) for name in names}


def _values(why: str, module: str, *names: str) -> dict[tuple[str, str], Trust]:
    return {(module, name): Trust(why) for name in names}


_REBUILD = "puts a tensor together from a storage and numbers; runs nothing of the file"
_ARRAY = "puts an array together from bytes; runs nothing of the file"

_REBUILDS: dict[tuple[str, str], Check] = {
    ("torch._utils", "_rebuild_tensor"): _storage_first,
    ("torch._utils", "_rebuild_tensor_v2"): _storage_first,
    ("torch._utils", "_rebuild_tensor_v3"): _storage_first,
    ("torch._utils", "_rebuild_parameter"): _rebuilt_first,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuilt_first,
    ("torch._utils", "_rebuild_buffer"): _rebuilt_first,
    ("torch._utils", "_rebuild_qtensor"): _storage_first,
    ("torch._utils", "_rebuild_sparse_tensor"): _layouts,
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _layouts,
    ("torch._utils", "_rebuild_nested_tensor"): _rebuilt_first,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _dtype_first,
    ("torch._utils", "_rebuild_wrapper_subclass"): _class_first,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _rebuilt_first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _rebuilt_first,
    ("torch._utils", "_rebuild_xla_tensor"): _rebuilt_first,
    ("torch._tensor", "_rebuild_from_type"): _rebuilt,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuilt,
    ("torch.tensor", "_rebuild_from_type"): _rebuilt,
    ("torch._utils", "_rebuild_from_type_v2"): _rebuilt,
}


def is_rebuild(node: Global) -> bool:
    """Whether a global is one of torch's functions that rebuild a tensor."""
    return (node.module, node.name) in _REBUILDS


_STORAGES = [
    f"{name}Storage"
    for name in "Double Float Half BFloat16 Long Int Short Char Byte Bool ComplexDouble ComplexFloat QInt8 QUInt8 QInt32 QUInt4x2 QUInt2x4 Untyped Typed".split()
]
_DTYPES = """float64 float32 float16 bfloat16 double float half complex32 complex64 complex128 chalf
    cfloat cdouble int64 int32 int16 int8 uint8 uint16 uint32 uint64 long int short bool quint8
    qint8 qint32 quint4x2 quint2x4 bits8 bits16 bits1x8 bits2x4 bits4x2 float8_e4m3fn
    float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 uint1 uint2
    uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 int7""".split()
_TORCH_VALUES = """per_tensor_affine per_channel_affine per_tensor_symmetric per_channel_symmetric
    per_channel_affine_float_qparams strided sparse_coo sparse_csr sparse_csc sparse_bsr
    sparse_bsc contiguous_format channels_last channels_last_3d preserve_format Tensor""".split()
_OLD_TENSORS = [
    f"{name}Tensor" for name in "Double Float Half BFloat16 Long Int Short Char Byte Bool".split()
]

_DATETIME = "a plain value object of the standard library"
_CONTAINER = "a container of the standard library"

TRUSTED: dict[tuple[str, str], Trust] = {
    **{key: Trust(_REBUILD, call=check) for key, check in _REBUILDS.items()},
    **_values("names a storage's element type", "torch", *_STORAGES),
    **_values("names a storage's element type", "torch.storage", "UntypedStorage", "TypedStorage"),
    **_values("names a storage's element type", "torch.cuda", *_STORAGES),
    **_values("an element type", "torch", *_DTYPES),
    **_values("a layout, memory format or quantization scheme", "torch", *_TORCH_VALUES),
    **_values("names a tensor type", "torch", *_OLD_TENSORS),
    **_values("names a tensor type", "torch.cuda", *_OLD_TENSORS),
    **_values("names a tensor type", "torch._tensor", "Tensor"),
    **_values("names a tensor type", "torch.nn.parameter", "Parameter", "Buffer"),
    **_values("names a tensor type", "torch.nn.parameter", "UninitializedParameter"),
    ("torch", "Size"): Trust("a shape", call=_plains, new=True),
    ("torch", "device"): Trust("names a device", call=_plains),
    ("torch.serialization", "_get_layout"): Trust("looks a layout up by name", call=_plains),
    ("torch.torch_version", "TorchVersion"): Trust("a version string", call=_plains, new=True),
    **_calls("hands back the list that it is given, in TorchScript", _any, "torch.jit._pickle", *(
        ["restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id"]
    )),
    # Containers
    ("torch.storage", "_load_from_bytes"): Trust(
        "carries a tensor as the bytes of a legacy file, which are judged in turn", mention=False
    ),
    ("collections", "OrderedDict"): Trust(_CONTAINER, call=_iterable, new=True, fill=True),
    ("collections", "Counter"): Trust(_CONTAINER, call=_iterable, new=True, fill=True),
    ("collections", "deque"): Trust(_CONTAINER, call=_any, new=True, fill=True),
    ("collections", "defaultdict"): Trust(_CONTAINER, call=_factory, new=True, fill=True),
    **{
        ("builtins", name): Trust("a builtin container", call=_iterable, new=True, fill=True)
        for name in ("set", "frozenset", "list", "dict", "tuple")
    },
    **{
        ("builtins", name): Trust("a builtin value", call=_plains)
        for name in ("bytearray", "bytes", "complex", "int", "float", "str", "bool", "slice", "range")
    },
    **{
        ("builtins", name): Trust("a builtin constant or class, which is only named")
        for name in ("Ellipsis", "NotImplemented", "object")
    },
    # Plain values of the standard library
    **_calls(_DATETIME, _any, "datetime", "datetime", "date", "time", "timedelta", "timezone"),
    **_calls(_DATETIME, _plains, "decimal", "Decimal"),
    **_calls(_DATETIME, _plains, "fractions", "Fraction"),
    **_calls("a path, which is only named and not opened", _plains, "pathlib", *(
        ["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]
    )),
    **_calls("a path, which is only named and not opened", _plains, "pathlib._local", *(
        ["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]
    )),
    ("uuid", "UUID"): Trust(_DATETIME, new=True, build=True),
    ("_codecs", "encode"): Trust("bytes, as protocol 2 spells them", call=_latin1),
    ("codecs", "encode"): Trust("bytes, as protocol 2 spells them", call=_latin1),
    ("copyreg", "_reconstructor"): Trust("makes an object of a class", call=_reconstructed),
    ("copyreg", "__newobj__"): Trust("makes an object of a class", call=_class_first),
    # NumPy, in both spellings of its inner modules
    **{
        (f"numpy.{core}.multiarray", name): Trust(_ARRAY, call=check, build=True)
        for core in ("core", "_core")
        for name, check in (("_reconstruct", _array), ("scalar", _any))
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): Trust(_ARRAY, call=_any)
        for core in ("core", "_core")
    },
    ("numpy", "ndarray"): Trust("names the array type", mention=True),
    ("numpy", "dtype"): Trust("an element type", call=_any, build=True),
    **_values("a scalar type", "numpy", *(
        ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool_", "bool", "complex64", "complex128", "str_", "bytes_", "void", "longdouble", "intc", "uintc", "longlong", "ulonglong", "datetime64", "timedelta64", "object_", "generic", "number", "integer", "floating"]
    )),
    **{
        ("numpy.dtypes", f"{name}DType"): Trust("an element type", call=_plains, build=True)
        for name in ["Float64", "Float32", "Float16", "Int64", "Int32", "Int16", "Int8", "UInt64", "UInt32", "UInt16", "UInt8", "Bool", "Complex64", "Complex128", "Str", "Bytes", "Void", "Object", "DateTime64", "TimeDelta64", "LongLong", "ULongLong"]
    },
    **_values("an element type of ml_dtypes", "ml_dtypes", *(
        ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "int4", "uint4"]
    )),
    **{
        ("numpy.random._pickle", name): Trust("a random generator's state", call=_generator, build=True)
        for name in (
            "__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"
        )
    },
    **_values("a random bit generator", "numpy.random._mt19937", "MT19937"),
    **_values("a random bit generator", "numpy.random._pcg64", "PCG64", "PCG64DXSM"),
    **_values("a random bit generator", "numpy.random._philox", "Philox"),
    **_values("a random bit generator", "numpy.random._sfc64", "SFC64"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): Trust(
        "a random generator's seed", call=_any, build=True
    ),
    ("numpy.random.bit_generator", "SeedSequence"): Trust("a random generator's seed"),
    ("numpy.ma.core", "_mareconstruct"): Trust(_ARRAY, call=_any, build=True),
    ("numpy.ma.core", "MaskedArray"): Trust("names an array type"),
    ("numpy.ma", "MaskedArray"): Trust("names an array type"),
    ("numpy", "matrix"): Trust("names an array type"),
    # Enumerations of torch: called with one plain value, they look a member up.
    **{
        key: Trust("an enumeration's member", call=_plains)
        for key in [
            ("torch.amp.grad_scaler", "OptState"),
            ("torch.cuda.amp.grad_scaler", "OptState"),
            ("torch.distributed.fsdp.api", "ShardingStrategy"),
            ("torch.distributed.fsdp.api", "StateDictType"),
            ("torch.distributed.fsdp.api", "BackwardPrefetch"),
            ("torch.ao.quantization.quant_type", "QuantType"),
            ("torch._C._nn", "SDPBackend"),
            ("torch.utils.data._utils.worker", "_DatasetKind"),
        ]
    },
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"): Trust(
        "tells where an array's bytes follow", call=_any, new=True, build=True
    ),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): Trust(
        "tells where an array's bytes follow", call=_any, new=True, build=True
    ),
}  # fmt: skip
