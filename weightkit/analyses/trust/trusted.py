"""The trusted table: exact names, why they are trusted, and in which roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from weightkit.analyses.trust import arrays, shapes
from weightkit.programs import Call, Global, Pairs

Check = Callable[[tuple[Any, ...]], bool]
StateCheck = Callable[[Call, Any], bool]


class Trust(NamedTuple):
    """Why one name is trusted, and in which roles.

    ``call``: whether it may be called (REDUCE) with arguments that the check accepts; ``new``: may be
    instantiated (NEWOBJ, OBJ, INST); ``build``: its objects may be given a state, one that ``state``
    accepts; ``fill``: they may be appended to or set items of; ``mention``: it may stand as a value.
    """

    why: str
    call: Check | None = None
    new: bool = False
    build: bool = False
    fill: bool = False
    mention: bool = True
    state: StateCheck | None = None


def _rebuilt(args: tuple[Any, ...]) -> bool:
    """``_rebuild_from_type_v2(func, type, args, state)``: it calls ``func`` with ``args``."""
    if len(args) < 3 or type(args[0]) is not Global or type(args[2]) is not tuple:
        return False
    check = _REBUILDS.get((args[0].module, args[0].name))
    return check is not None and check is not _rebuilt and check(args[2])


def _new_object(args: tuple[Any, ...]) -> bool:
    """``copyreg.__newobj__(class, *args)`` makes what NEWOBJ makes."""
    if not args or type(args[0]) is not Global:
        return False
    trust = TRUSTED.get((args[0].module, args[0].name))
    if trust is None:
        return True  # the class is judged as a name
    rest = args[1:]
    return trust.call(rest) if trust.call is not None else trust.new and not rest


_WRAPPER = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}


def _wrapper_state(_: Call, state: Any) -> bool:
    """What joblib notes of an array, in the words that tell how many bytes follow."""
    if type(state) is not Pairs or not all(key in _WRAPPER for key in state.items[::2]):
        return False
    held = {str(key): value for key, value in zip(*[iter(state.items)] * 2, strict=True)}
    shape = held.get("shape")
    sized = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    aligned = held.get("numpy_array_alignment_bytes")
    return sized and type(aligned) in (int, type(None)) and arrays.as_written(held.get("dtype"))


def _calls(why: str, check: Check, module: str, *names: str) -> dict[tuple[str, str], Trust]:
    return {(module, name): Trust(why, call=check) for name in names}


def _values(why: str, module: str, *names: str) -> dict[tuple[str, str], Trust]:
    return {(module, name): Trust(why) for name in names}


_REBUILD = "puts a tensor together from a storage and numbers; runs nothing of the file"
_PLACES = "a record of names, sizes and places in a distributed checkpoint"
_SHARDS = "a record of sizes and places of a distributed tensor"
_ARRAY = "puts an array together from bytes; runs nothing of the file"

_REBUILDS: dict[tuple[str, str], Check] = {
    ("torch._utils", "_rebuild_tensor"): shapes.storage_first,
    ("torch._utils", "_rebuild_tensor_v2"): shapes.storage_first,
    ("torch._utils", "_rebuild_tensor_v3"): shapes.storage_first,
    ("torch._utils", "_rebuild_parameter"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_parameter_with_state"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_buffer"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_qtensor"): shapes.storage_first,
    ("torch._utils", "_rebuild_sparse_tensor"): shapes.layouts,
    ("torch._utils", "_rebuild_sparse_csr_tensor"): shapes.layouts,
    ("torch._utils", "_rebuild_nested_tensor"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): shapes.dtype_first,
    ("torch._utils", "_rebuild_wrapper_subclass"): shapes.class_first,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): shapes.rebuilt_first,
    ("torch._utils", "_rebuild_xla_tensor"): shapes.rebuilt_first,
    ("torch._tensor", "_rebuild_from_type"): _rebuilt,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuilt,
    ("torch.tensor", "_rebuild_from_type"): _rebuilt,
    ("torch._utils", "_rebuild_from_type_v2"): _rebuilt,
    ("torch.nested._internal.nested_tensor", "_rebuild_njt"): shapes.keywords,
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
    **_values("names a tensor type", "torch.sparse", *_OLD_TENSORS),
    **_values("names a tensor type", "torch.cuda.sparse", *_OLD_TENSORS),
    **{
        ("torch.nn.parameter", name): Trust("a tensor without a shape yet", call=shapes.plains)
        for name in ("UninitializedParameter", "UninitializedBuffer")
    },
    **_values("names a tensor type", "torch.nested._internal.nested_tensor", "NestedTensor"),
    ("torch._dynamo.decorators", "_DimRange"): Trust(
        "notes a dimension of a ragged tensor", new=True, build=True
    ),
    # What torch.distributed.checkpoint notes in .metadata: names, sizes and places
    **{
        ("torch.distributed.checkpoint.metadata", name): Trust(_PLACES, new=True, build=True)
        for name in "BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta TensorProperties TensorStorageMetadata".split()
    },
    # What a distributed tensor notes of its shards (FSDP2, tensor parallel); torch's weights_only
    # unpickler knows them too. Called as a function, a DeviceMesh would open process groups.
    **_values("names a tensor type", "torch.distributed.tensor", "DTensor"),
    **{
        (f"torch.distributed.{module}", name): Trust(_SHARDS, new=True, build=True)
        for module, names in {
            "device_mesh": "DeviceMesh",
            "_mesh_layout": "_MeshLayout _FlatLayout",
            "tensor._dtensor_spec": "DTensorSpec",
            "tensor.placement_types": "Shard Replicate Partial _StridedShard",
        }.items()
        for name in names.split()
    },
    **{
        ("torch.distributed.tensor._dtensor_spec", name): Trust(_SHARDS, call=shapes.anything)
        for name in ("TensorMeta", "ShardOrderEntry")
    },
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): Trust(_PLACES, new=True, build=True),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"): Trust(
        "an enumeration's member", call=shapes.one
    ),
    ("torch", "Size"): Trust("a shape", call=shapes.plains, new=True),
    ("torch", "device"): Trust("names a device", call=shapes.plains),
    ("torch.serialization", "_get_layout"): Trust("looks a layout up by name", call=shapes.plains),
    ("torch.torch_version", "TorchVersion"): Trust("a version string", call=shapes.plains, new=True),
    **_calls("hands back the list that it is given, in TorchScript", shapes.anything, "torch.jit._pickle", *(
        ["restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id"]
    )),
    # Containers
    ("torch.storage", "_load_from_bytes"): Trust(
        "carries a tensor as the bytes of a legacy file, which are judged in turn", mention=False
    ),
    ("collections", "OrderedDict"): Trust(_CONTAINER, call=shapes.iterable, new=True, fill=True),
    ("collections", "Counter"): Trust(_CONTAINER, call=shapes.iterable, new=True, fill=True),
    ("collections", "deque"): Trust(_CONTAINER, call=shapes.items, new=True, fill=True),
    ("collections", "defaultdict"): Trust(_CONTAINER, call=shapes.factory, new=True, fill=True),
    **{
        ("builtins", name): Trust("a builtin container", call=shapes.iterable, new=True, fill=True)
        for name in ("set", "frozenset", "list", "dict", "tuple")
    },
    **{
        ("builtins", name): Trust("a builtin value", call=shapes.plains)
        for name in ("complex", "int", "float", "str", "bool", "slice", "range")
    },
    **{
        ("builtins", name): Trust("a builtin value", call=shapes.bounded)
        for name in ("bytearray", "bytes")
    },
    **{
        ("builtins", name): Trust("a builtin constant or class, which is only named")
        for name in ("Ellipsis", "NotImplemented", "object")
    },
    # Plain values of the standard library
    **_calls(_DATETIME, shapes.anything, "datetime", "datetime", "date", "time", "timedelta", "timezone"),
    **_calls(_DATETIME, shapes.plains, "decimal", "Decimal"),
    **_calls(_DATETIME, shapes.fraction, "fractions", "Fraction"),
    **_calls("a path, which is only named and not opened", shapes.plains, "pathlib", *(
        ["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]
    )),
    **_calls("a path, which is only named and not opened", shapes.plains, "pathlib._local", *(
        ["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]
    )),
    ("uuid", "UUID"): Trust(_DATETIME, new=True, build=True),
    ("_codecs", "encode"): Trust("bytes, as protocol 2 spells them", call=shapes.latin1),
    ("codecs", "encode"): Trust("bytes, as protocol 2 spells them", call=shapes.latin1),
    ("copyreg", "_reconstructor"): Trust("makes an object of a class", call=shapes.reconstructed),
    ("copyreg", "__newobj__"): Trust("makes an object of a class", call=_new_object),
    # NumPy, in both spellings of its inner modules
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): Trust(
            _ARRAY, call=arrays.maker, build=True, state=arrays.array_state
        )
        for core in ("core", "_core")
    },
    **{
        (f"numpy.{core}.multiarray", "scalar"): Trust(_ARRAY, call=arrays.scalar)
        for core in ("core", "_core")
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): Trust(_ARRAY, call=arrays.from_buffer)
        for core in ("core", "_core")
    },
    **{
        (f"numpy.{core}", "_ufunc_reconstruct"): Trust(
            "looks a numeric function up", call=shapes.numeric_function, mention=False
        )
        for core in ("core", "_core")
    },
    ("numpy", "ndarray"): Trust("names the array type", mention=True),
    ("numpy", "dtype"): Trust("an element type", call=arrays.dtype, build=True, state=arrays.dtype_state),
    **_values("a scalar type", "numpy", *(
        ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool_", "bool", "complex64", "complex128", "str_", "bytes_", "void", "longdouble", "intc", "uintc", "longlong", "ulonglong", "datetime64", "timedelta64", "object_", "generic", "number", "integer", "floating"]
    )),
    **{
        ("numpy.dtypes", f"{name}DType"): Trust("an element type", call=shapes.plains, build=True)
        for name in ["Float64", "Float32", "Float16", "Int64", "Int32", "Int16", "Int8", "UInt64", "UInt32", "UInt16", "UInt8", "Bool", "Complex64", "Complex128", "Str", "Bytes", "Void", "Object", "DateTime64", "TimeDelta64", "LongLong", "ULongLong"]
    },
    **_values("an element type of ml_dtypes", "ml_dtypes", *(
        ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "int4", "uint4"]
    )),
    **{
        ("numpy.random._pickle", name): Trust("a random generator's state", call=shapes.generator, build=True)
        for name in (
            "__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"
        )
    },
    **_values("a random bit generator", "numpy.random._mt19937", "MT19937"),
    **_values("a random bit generator", "numpy.random._pcg64", "PCG64", "PCG64DXSM"),
    **_values("a random bit generator", "numpy.random._philox", "Philox"),
    **_values("a random bit generator", "numpy.random._sfc64", "SFC64"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): Trust(
        "a random generator's seed", call=shapes.anything, build=True
    ),
    ("numpy.random.bit_generator", "SeedSequence"): Trust("a random generator's seed"),
    ("numpy.ma.core", "_mareconstruct"): Trust(_ARRAY, call=arrays.masked_maker, build=True, state=arrays.array_state),
    ("numpy.ma.core", "MaskedArray"): Trust("names an array type"),
    ("numpy.ma", "MaskedArray"): Trust("names an array type"),
    **_values("names an array type", "numpy", "matrix", "record", "recarray"),
    **_values("names an array type", "numpy.rec", "record", "recarray"),
    **_values("names an array type", "numpy.core.records", "record", "recarray"),
    **_values("names an array type", "numpy._core.records", "record", "recarray"),
    # Enumerations of torch: called with one plain value, they look a member up.
    **{
        key: Trust("an enumeration's member", call=shapes.one)
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
        "tells where an array's bytes follow", new=True, build=True, state=_wrapper_state
    ),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): Trust(
        "tells where an array's bytes follow", new=True, build=True, state=_wrapper_state
    ),
}  # fmt: skip
