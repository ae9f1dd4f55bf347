"""What a pickle may name: the trusted table, and the dangerous one.

Trust is for one exact (module, name) in one *role*: called with arguments of a certain shape, made
an instance of, or only mentioned. Everything else is not trusted. Danger is by kind: what the thing
does, for whole modules and for telling names, so that a payload nobody has seen yet is judged like
its siblings.

Neither table depends on what is installed here: names are judged as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from weightkit.analyses.stdlib import STDLIB
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


def _plain(value: Any, depth: int = 6) -> bool:
    """Numbers, text, bytes, and short nestings of them: nothing that could act."""
    if value is None or isinstance(value, bool | int | float | str) or type(value) is Blob:
        return True
    if type(value) in (tuple, list) and depth:
        return all(_plain(item, depth - 1) for item in value[:1000])
    if type(value) is Pairs and depth:
        return all(_plain(item, depth - 1) for item in value.items[:2000])
    return False


def _plains(args: tuple[Any, ...]) -> bool:
    return all(map(_plain, args))


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
    """``_rebuild_from_type_v2(func, type, args, state)``: it calls ``func``."""
    return bool(args) and type(args[0]) is Global and is_rebuild(args[0])


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
    for name in [
        "Double",
        "Float",
        "Half",
        "BFloat16",
        "Long",
        "Int",
        "Short",
        "Char",
        "Byte",
        "Bool",
        "ComplexDouble",
        "ComplexFloat",
        "QInt8",
        "QUInt8",
        "QInt32",
        "QUInt4x2",
        "QUInt2x4",
        "Untyped",
        "Typed",
    ]
]
_DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "double",
    "float",
    "half",
    "complex32",
    "complex64",
    "complex128",
    "chalf",
    "cfloat",
    "cdouble",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "long",
    "int",
    "short",
    "bool",
    "quint8",
    "qint8",
    "qint32",
    "quint4x2",
    "quint2x4",
    "bits8",
    "bits16",
    "bits1x8",
    "bits2x4",
    "bits4x2",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
    "uint1",
    "uint2",
    "uint3",
    "uint4",
    "uint5",
    "uint6",
    "uint7",
    "int1",
    "int2",
    "int3",
    "int4",
    "int5",
    "int6",
    "int7",
]
_TORCH_VALUES = [
    "per_tensor_affine",
    "per_channel_affine",
    "per_tensor_symmetric",
    "per_channel_symmetric",
    "per_channel_affine_float_qparams",
    "strided",
    "sparse_coo",
    "sparse_csr",
    "sparse_csc",
    "sparse_bsr",
    "sparse_bsc",
    "contiguous_format",
    "channels_last",
    "channels_last_3d",
    "preserve_format",
    "Tensor",
]
_OLD_TENSORS = [
    f"{name}Tensor"
    for name in [
        "Double",
        "Float",
        "Half",
        "BFloat16",
        "Long",
        "Int",
        "Short",
        "Char",
        "Byte",
        "Bool",
    ]
]

_DATETIME = "a plain value object of the standard library"
_CONTAINER = "a container of the standard library"

_BUILTIN_VALUES = [
    "int",
    "float",
    "str",
    "bytes",
    "bytearray",
    "bool",
    "complex",
    "tuple",
    "list",
    "dict",
    "set",
    "frozenset",
    "object",
    "range",
    "slice",
    "Ellipsis",
    "NotImplemented",
    "type",
    "NoneType",
]

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
    # Containers
    ("torch.storage", "_load_from_bytes"): Trust(
        "carries a tensor as the bytes of a legacy file, which are judged in turn"
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
        ("numpy.random._pickle", name): Trust("a random generator's state", call=_any, build=True)
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
    ("numpy", "matrix"): Trust("names an array type"),
    # Enumerations and small records that torch itself saves: called with one plain value.
    **_calls("an enumeration's member", _plains, "torch.nn.modules.utils", "_ReverseMode"),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): Trust(
        "tells where an array's bytes follow", call=_any, new=True, build=True
    ),
}  # fmt: skip


class Danger(NamedTuple):
    """What a name would do. ``sure`` False: only if it is called, naming it is for review."""

    kind: str
    effect: str


PROCESS = Danger("process", "starts programs, ends or signals processes")
FILE = Danger("file", "reads, writes or removes files")
NETWORK = Danger("network", "opens network connections")
CODE = Danger("code", "runs code that it is given")
IMPORT = Danger("import", "imports modules by name, and so runs them")
DEBUG = Danger("debugger", "runs code under a debugger, profiler or tracer, or opens a console")
NATIVE = Danger("native", "loads native libraries or touches raw memory")
NESTED = Danger("deserialiser", "unpickles or loads other data, which is not scanned here")
ATTRIBUTE = Danger("attribute", "reaches attributes by name, and so past every table")
APPLY = Danger("apply", "calls what it is given")
INTERPRETER = Danger("interpreter", "changes the running interpreter")
THREAD = Danger("thread", "runs what it is given in another thread or process")
OTHER = Danger("other", "belongs to a part of the standard library that no data needs")

DANGEROUS_MODULES: dict[str, Danger] = {
    **dict.fromkeys(
        [
            "os",
            "posix",
            "nt",
            "ntpath",
            "posixpath",
            "subprocess",
            "_posixsubprocess",
            "pty",
            "commands",
            "popen2",
            "signal",
            "platform",
            "_aix_support",
            "_osx_support",
            "ce",
            "riscos",
            "os2",
            "_winapi",
            "msvcrt",
            "winreg",
            "_winreg",
            "resource",
            "webbrowser",
            "antigravity",
            "sched",
            "psutil",
            "sh",
            "pexpect",
            "fabric",
            "paramiko",
            "invoke",
            "plumbum",
        ],
        PROCESS,
    ),
    **dict.fromkeys(
        [
            "shutil",
            "tempfile",
            "glob",
            "fileinput",
            "linecache",
            "zipfile",
            "tarfile",
            "io",
            "_io",
            "_pyio",
            "mmap",
            "fcntl",
            "filecmp",
            "gzip",
            "bz2",
            "lzma",
            "zlib",
            "sqlite3",
            "_sqlite3",
            "dbm",
            "anydbm",
            "gdbm",
            "whichdb",
            "dumbdbm",
            "netrc",
            "configparser",
            "mailbox",
            "wave",
            "aifc",
            "sunau",
            "csv",
            "tokenize",
            "pathlib2",
            "nturl2path",
            "stat",
            "statvfs",
            "macpath",
        ],
        FILE,
    ),
    **dict.fromkeys(
        [
            "socket",
            "_socket",
            "socketserver",
            "SocketServer",
            "ssl",
            "_ssl",
            "http",
            "httplib",
            "urllib",
            "urllib2",
            "urlparse",
            "ftplib",
            "smtplib",
            "smtpd",
            "imaplib",
            "poplib",
            "nntplib",
            "telnetlib",
            "xmlrpc",
            "xmlrpclib",
            "SimpleXMLRPCServer",
            "BaseHTTPServer",
            "SimpleHTTPServer",
            "CGIHTTPServer",
            "cgi",
            "cgitb",
            "wsgiref",
            "asyncore",
            "asynchat",
            "select",
            "selectors",
            "requests",
            "urllib3",
            "httpx",
            "aiohttp",
            "websockets",
            "boto3",
            "botocore",
            "ftputil",
        ],
        NETWORK,
    ),
    **dict.fromkeys(
        [
            "code",
            "codeop",
            "ast",
            "compiler",
            "symtable",
            "py_compile",
            "compileall",
            "dis",
            "inspect",
            "new",
            "_xxsubinterpreters",
            "_interpreters",
            "interpreters",
            "_testcapi",
            "_testinternalcapi",
            "idlelib",
            "lib2to3",
            "pgen2",
            "distutils",
            "setuptools",
            "pkg_resources",
            "pip",
            "ensurepip",
            "venv",
            "zipapp",
            "site",
            "sitecustomize",
            "usercustomize",
            "rlcompleter",
            "readline",
            "nose",
            "pytest",
            "_pytest",
            "unittest",
            "doctest",
            "test",
            "tests",
            "mock",
            "dataclasses",
            "typing",
            "typing_extensions",
            "string",
            "_string",
            "template",
            "cmd",
            "execnet",
            "sympy",
            "numexpr",
            "asteval",
            "restrictedpython",
            "py_mini_racer",
            "js2py",
            "jinja2",
            "mako",
            "tornado.template",
        ],
        CODE,
    ),
    **dict.fromkeys(
        [
            "importlib",
            "imp",
            "_imp",
            "pkgutil",
            "runpy",
            "zipimport",
            "_frozen_importlib",
            "_frozen_importlib_external",
            "modulefinder",
            "ihooks",
        ],
        IMPORT,
    ),
    **dict.fromkeys(
        [
            "pdb",
            "bdb",
            "trace",
            "tracemalloc",
            "timeit",
            "profile",
            "cProfile",
            "_lsprof",
            "hotshot",
            "pstats",
            "pydoc",
            "_pyrepl",
            "faulthandler",
            "IPython",
            "ipdb",
            "pudb",
            "debugpy",
        ],
        DEBUG,
    ),
    **dict.fromkeys(
        ["ctypes", "_ctypes", "_ctypes_test", "cffi", "_cffi_backend", "cython", "pyximport"],
        NATIVE,
    ),
    **dict.fromkeys(
        [
            "pickle",
            "_pickle",
            "cPickle",
            "pickletools",
            "marshal",
            "shelve",
            "dill",
            "cloudpickle",
            "jsonpickle",
            "yaml",
            "_yaml",
            "ruamel",
            "plistlib",
            "copy_reg",
            "shutilwhich",
        ],
        NESTED,
    ),
    **dict.fromkeys(["operator", "_operator"], ATTRIBUTE),
    **dict.fromkeys(
        [
            "threading",
            "_thread",
            "thread",
            "dummy_threading",
            "_dummy_thread",
            "multiprocessing",
            "_multiprocessing",
            "concurrent",
            "asyncio",
            "_asyncio",
            "queue",
            "Queue",
            "billiard",
            "celery",
            "ray",
            "dask",
            "joblib.parallel",
        ],
        THREAD,
    ),
    **dict.fromkeys(
        [
            "sys",
            "builtins",
            "__builtin__",
            "gc",
            "atexit",
            "_weakref",
            "weakref",
            "warnings",
            "ctypes.util",
            "sysconfig",
            "locale",
            "encodings",
            "tkinter",
            "Tkinter",
            "turtle",
            "curses",
            "_curses",
            "getpass",
            "crypt",
            "logging",
            "_warnings",
            "fickling",
            "picklescan",
            "modelscan",
            "modelaudit",
        ],
        INTERPRETER,
    ),
    "functools": APPLY,
    "itertools": APPLY,
    "_functools": APPLY,
    "types": CODE,
    "contextlib": APPLY,
}
"""Whole modules, with everything below them, that no data needs."""

DANGEROUS_PARTS: dict[str, Danger] = {
    "numpy.f2py": PROCESS,
    "numpy.testing": CODE,
    "numpy.distutils": PROCESS,
    "numpy.ctypeslib": NATIVE,
    "numpy.lib": FILE,
    "numpy.core.memmap": FILE,
    "numpy.compat": FILE,
    "numpy.loadtxt": FILE,
    "torch.hub": NETWORK,
    "torch.utils.cpp_extension": PROCESS,
    "torch.utils.collect_env": PROCESS,
    "torch.utils.bottleneck": CODE,
    "torch.utils.model_zoo": NETWORK,
    "torch.utils._config_module": CODE,
    "torch.utils.data.datapipes": FILE,
    "torch.utils.show_pickle": NESTED,
    "torch.jit": CODE,
    "torch.fx": CODE,
    "torch.package": IMPORT,
    "torch.distributed.rpc": NETWORK,
    "torch.distributed.run": PROCESS,
    "torch.distributed.launch": PROCESS,
    "torch.distributed.launcher": PROCESS,
    "torch.distributed.elastic": PROCESS,
    "torch.distributed.nn": CODE,
    "torch.distributed.checkpoint": FILE,
    "torch.multiprocessing": PROCESS,
    "torch._inductor": CODE,
    "torch._dynamo": CODE,
    "torch._functorch": CODE,
    "torch._export": CODE,
    "torch._ops": NATIVE,
    "torch.ops": NATIVE,
    "torch.classes": NATIVE,
    "torch._classes": NATIVE,
    "torch._C": NATIVE,
    "torch.library": CODE,
    "torch.testing": CODE,
    "torch.onnx": FILE,
    "torch.serialization": NESTED,
    "torch._lobpcg": CODE,
    "torch._sources": CODE,
    "torch.storage": NESTED,
    "torch._utils_internal": PROCESS,
    "torch._appdirs": FILE,
    "torch._vendor": FILE,
    "joblib": NESTED,
    "pandas.io": FILE,
    "pandas.eval": CODE,
    "pandas.core.computation": CODE,
    "scipy.io": FILE,
    "scipy.weave": CODE,
    "sklearn.datasets": FILE,
    "sklearn.externals": NESTED,
    "tensorflow.io": FILE,
    "tensorflow.keras.models": NESTED,
    "keras.models": NESTED,
    "keras.saving": NESTED,
    "keras.utils": FILE,
    "transformers.utils": NETWORK,
    "transformers.dynamic_module_utils": IMPORT,
    "huggingface_hub": NETWORK,
    "hydra.utils": IMPORT,
    "hydra._internal": IMPORT,
    "omegaconf.resolvers": CODE,
    "django.utils": IMPORT,
    "werkzeug.utils": IMPORT,
    "pydantic": IMPORT,
    "pyarrow": FILE,
    "h5py": FILE,
    "onnx": FILE,
    "onnxruntime": NATIVE,
    "cv2": FILE,
    "PIL": FILE,
    "lxml": FILE,
    "nltk": FILE,
    "mlflow": NESTED,
    "bentoml": NESTED,
}
"""Parts of packages that are otherwise only unknown."""

TELLING_NAMES: dict[str, Danger] = {
    **dict.fromkeys(
        [
            "system",
            "popen",
            "popen2",
            "popen3",
            "popen4",
            "Popen",
            "spawn",
            "spawnl",
            "spawnv",
            "spawnve",
            "spawnvp",
            "spawnlp",
            "execl",
            "execle",
            "execlp",
            "execv",
            "execve",
            "execvp",
            "call",
            "check_call",
            "check_output",
            "getoutput",
            "getstatusoutput",
            "run_command",
            "run_cmd",
            "shell",
            "fork",
            "forkpty",
            "kill",
            "exec_command",
            "startfile",
            "runstring",
        ],
        PROCESS,
    ),
    **dict.fromkeys(
        [
            "eval",
            "exec",
            "execfile",
            "compile",
            "runcode",
            "runsource",
            "run_string",
            "run_code",
            "run_path",
            "run_module",
            "runctx",
            "runcall",
            "run_script",
            "evaluate",
            "literal_eval",
            "exec_module",
            "exec_in",
            "safe_eval",
            "sympify",
            "parse_expr",
            "eval_expr",
            "lambdify",
            "create_function",
            "FunctionType",
            "CodeType",
            "LambdaType",
            "reduce_graph_module",
        ],
        CODE,
    ),
    **dict.fromkeys(
        [
            "__import__",
            "import_module",
            "import_string",
            "import_object",
            "load_module",
            "resolve_name",
            "import_item",
            "find_module",
            "locate",
            "load_source",
            "load_compiled",
            "load_dynamic",
            "get_class",
            "resolve_dotted_attribute",
            "resolve_object",
            "getattr_static",
        ],
        IMPORT,
    ),
    **dict.fromkeys(
        [
            "load",
            "loads",
            "load_pickle",
            "read_pickle",
            "unpickle",
            "_load_from_bytes",
            "unpack_pickle",
            "load_model",
            "from_pickle",
            "deserialize",
            "load_from_checkpoint",
            "torch_load",
        ],
        NESTED,
    ),
    **dict.fromkeys(
        [
            "urlopen",
            "urlretrieve",
            "urlcleanup",
            "download",
            "download_url",
            "download_url_to_file",
            "fetch",
            "load_state_dict_from_url",
            "create_connection",
        ],
        NETWORK,
    ),
    **dict.fromkeys(
        [
            "open",
            "fdopen",
            "open_code",
            "unlink",
            "rmtree",
            "removedirs",
            "write_text",
            "write_bytes",
            "read_text",
            "read_bytes",
            "savetxt",
            "tofile",
            "fromfile",
            "memmap",
            "genfromtxt",
            "loadtxt",
            "copyfile",
            "read_file",
            "write_file",
        ],
        FILE,
    ),
    **dict.fromkeys(
        ["CDLL", "WinDLL", "PyDLL", "OleDLL", "LoadLibrary", "dlopen", "load_library"], NATIVE
    ),
    **dict.fromkeys(
        [
            "getattr",
            "setattr",
            "delattr",
            "attrgetter",
            "methodcaller",
            "__getattribute__",
            "__getattr__",
            "__setattr__",
            "__call__",
            "__reduce__",
            "__reduce_ex__",
            "__globals__",
            "__builtins__",
            "__subclasses__",
            "__class__",
            "__bases__",
            "__mro__",
            "__code__",
            "__dict__",
            "__init_subclass__",
            "__loader__",
            "__setstate__",
            "__init__",
            "__new__",
            "__del__",
        ],
        ATTRIBUTE,
    ),
    **dict.fromkeys(
        [
            "apply",
            "partial",
            "reduce",
            "starmap",
            "map",
            "filter",
            "Thread",
            "Process",
            "Timer",
            "Pool",
        ],
        APPLY,
    ),
}
"""Last parts of names that tell what a callable does, whatever its module."""

HARMLESS_STDLIB = {
    "collections", "datetime", "_datetime", "_pydatetime", "decimal", "_decimal", "_pydecimal",
    "fractions", "uuid", "array", "enum", "ipaddress", "zoneinfo", "random", "_random", "numbers",
    "re", "_sre", "sre_compile", "copyreg", "time", "argparse", "optparse", "pathlib", "_codecs", "codecs",
    "calendar", "statistics", "heapq", "bisect", "textwrap", "math", "cmath", "hashlib", "_hashlib",
    "UserDict", "UserList", "UserString", "sets", "abc", "json", "struct", "graphlib", "colorsys",
    "__main__", "pathlib._local",
}  # fmt: skip
"""Modules of the standard library whose classes data does hold: for review, not unsafe."""

_SAFE_NAMES: dict[str, set[str]] = {
    "types": {"SimpleNamespace", "MappingProxyType", "GenericAlias", "NoneType", "EllipsisType"},
    "functools": {"partial", "lru_cache", "cached_property"},
    "_functools": {"partial"},
    "threading": {"Lock", "RLock"},
    "logging": {"Logger", "RootLogger", "getLogger"},
    "typing": {"Any", "Union", "Optional", "List", "Dict", "Tuple", "NamedTuple", "_GenericAlias"},
    "dataclasses": {"_MISSING_TYPE", "MISSING", "Field", "_FIELD_BASE"},
    "io": {"BytesIO", "StringIO"},
    "_io": {"BytesIO", "StringIO"},
    "string": {"Template"},
    "weakref": {"WeakKeyDictionary", "WeakValueDictionary", "WeakSet"},
    "_weakref": {"ref"},
    "torch.serialization": {"_get_layout"},
    "torch.jit": set(),
    "torch._C": {"Generator", "_TensorBase", "_distributed_c10d"},
    "joblib": set(),
    "builtins": {
        "memoryview", "property", "classmethod", "staticmethod", "enumerate", "reversed", "zip", "iter",
        "type", "print", "len", "abs", "min", "max", "sum", "sorted", "round", "repr", "hash",
        "super", "all", "any", "divmod", "pow", "ord", "chr", "hex", "oct", "bin", "isinstance",
        "issubclass", "callable", "next", "format", "id", "ascii", "NoneType", "ellipsis",
    },
    "pydantic": {"BaseModel"},
    "transformers.utils": {"generic"},
    "PIL": {"Image"},
}  # fmt: skip
"""Names in dangerous modules that only hold data or compute: for review."""


def _exceptions(name: str) -> bool:
    return name.endswith(("Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration"))


def trusted(module: str, name: str) -> Trust | None:
    """The row of an exact name, or None."""
    return TRUSTED.get((module, name))


def danger(module: str, name: str) -> Danger | None:
    """What a name would do if it is dangerous, judged as text; None if nothing is known.

    Dotted names are walked: every part may be a module that the one before imported, so
    ``random._os.system`` is ``os.system``.
    """
    parts = name.split(".")
    if len(parts) > 1:
        return _walked(module, parts)
    found = _of_module(module)
    if name in _SAFE_NAMES.get(module, ()) or (
        module in ("builtins", "__builtin__") and _exceptions(name)
    ):
        return None
    if found is None:
        alias = name.lstrip("_")
        if alias in DANGEROUS_MODULES and alias not in (
            "code",
            "test",
            "string",
            "template",
            "new",
        ):
            return DANGEROUS_MODULES[alias]  # ``random._os`` is the module os
        found = TELLING_NAMES.get(name)
    return found


def _of_module(module: str) -> Danger | None:
    """By the longest part of the module's path that the tables know; the standard library else."""
    path = module
    while path:
        found = DANGEROUS_PARTS.get(path) or DANGEROUS_MODULES.get(path)
        if found is not None:
            return found
        path = path.rpartition(".")[0]
    top = module.partition(".")[0]
    return (
        OTHER
        if top in STDLIB and top not in HARMLESS_STDLIB and module not in HARMLESS_STDLIB
        else None
    )


def _walked(module: str, parts: list[str]) -> Danger | None:
    """The danger of a dotted name: of any module or telling name on the way."""
    for start in range(len(parts)):
        alias = parts[start].lstrip("_") if not parts[start].endswith("__") else parts[start]
        found = (
            DANGEROUS_MODULES.get(alias)
            or TELLING_NAMES.get(parts[start])
            or TELLING_NAMES.get(alias)
        )
        if found is not None:
            return found
        if parts[start].startswith("__"):
            return ATTRIBUTE
    return _of_module(module) or danger(module, parts[0]) or danger(module, parts[-1])
