"""The tables of danger: whole modules, parts of packages, and names that tell what they do."""

from __future__ import annotations

from typing import NamedTuple


class Danger(NamedTuple):
    """What a name would do."""

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
OVERT = Danger("attack", "says of itself that it is an attack")
OTHER = Danger("other", "belongs to a part of the standard library that no data needs")


def _table(*rows: tuple[Danger, str]) -> dict[str, Danger]:
    return {name: kind for kind, names in rows for name in names.split()}


DANGEROUS_MODULES = _table(
    (
        PROCESS,
        """os posix nt ntpath posixpath subprocess _posixsubprocess pty commands popen2 signal platform
        _aix_support _osx_support ce riscos os2 _winapi msvcrt winreg _winreg resource webbrowser
        antigravity sched uuid psutil sh pexpect fabric paramiko invoke plumbum docker kubernetes ansible win32api win32com win32process win32gui win32event comtypes pythoncom pywintypes pyautogui
        pynput keyboard pyperclip jupyter_client ipykernel nbconvert gevent eventlet twisted pwn pwnlib
        nmap scapy impacket conda virtualenv twine poetry nvidia_smi click typer fire pipenv tox nox""",
    ),
    (
        FILE,
        """shutil tempfile glob fileinput linecache zipfile tarfile io _io _pyio mmap fcntl filecmp gzip
        bz2 lzma zlib sqlite3 _sqlite3 dbm anydbm gdbm whichdb dumbdbm netrc configparser mailbox wave
        aifc sunau csv tokenize pathlib2 nturl2path stat statvfs macpath dotenv""",
    ),
    (
        NETWORK,
        """socket _socket socketserver SocketServer ssl _ssl http httplib urllib urllib2 urlparse ftplib
        smtplib smtpd imaplib poplib nntplib telnetlib xmlrpc xmlrpclib SimpleXMLRPCServer
        BaseHTTPServer SimpleHTTPServer CGIHTTPServer cgi cgitb wsgiref asyncore asynchat select
        selectors requests urllib3 httpx aiohttp websockets websocket boto3 botocore ftputil s3fs gcsfs huggingface_hub pymongo redis kafka psycopg2
        pymysql MySQLdb cx_Oracle openai anthropic flask uvicorn gunicorn streamlit gradio telnetlib3 fsspec
        smart_open botocore aiobotocore googleapiclient azure""",
    ),
    (
        CODE,
        """code codeop ast compiler symtable py_compile compileall dis inspect new _xxsubinterpreters
        _interpreters interpreters _testcapi _testinternalcapi idlelib lib2to3 pgen2 distutils
        setuptools pkg_resources pip ensurepip venv zipapp site sitecustomize usercustomize rlcompleter
        readline nose pytest _pytest unittest doctest types cmd execnet sympy numexpr
        asteval restrictedpython RestrictedPython simpleeval py_mini_racer js2py execjs quickjs lupa rpy2
        oct2py matlab jpype jnius java javax Cython theano langchain_experimental jinja2 mako
        tornado.template""",
    ),
    (
        IMPORT,
        """importlib imp _imp pkgutil runpy zipimport _frozen_importlib _frozen_importlib_external
        modulefinder ihooks hydra""",
    ),
    (
        DEBUG,
        """pdb bdb trace tracemalloc timeit profile cProfile _lsprof hotshot pstats pydoc _pyrepl
        faulthandler IPython ipdb pudb debugpy""",
    ),
    (NATIVE, "ctypes _ctypes _ctypes_test cffi _cffi_backend cython pyximport onnxruntime"),
    (
        NESTED,
        """pickle _pickle cPickle pickletools marshal shelve dill cloudpickle jsonpickle yaml _yaml
        ruamel plistlib copy_reg joblib""",
    ),
    (ATTRIBUTE, "operator _operator"),
    (
        THREAD,
        """threading _thread thread dummy_threading _dummy_thread multiprocessing _multiprocessing
        concurrent asyncio _asyncio queue Queue billiard celery ray dask""",
    ),
    (
        INTERPRETER,
        """sys builtins __builtin__ gc atexit _weakref weakref warnings _warnings sysconfig locale
        encodings tkinter Tkinter turtle curses _curses getpass crypt logging fickling picklescan
        modelscan modelaudit""",
    ),
    (APPLY, "functools _functools contextlib"),
)
"""Whole modules, with everything below them, that no data needs."""

DANGEROUS_PARTS = _table(
    (
        PROCESS,
        """numpy.f2py numpy.distutils torch.utils.cpp_extension torch.utils.collect_env
        torch.distributed.run torch.distributed.launch torch.distributed.launcher
        torch.distributed.elastic torch.multiprocessing torch._utils_internal torch.backends.xeon
        PIL.ImageShow py._process tornado.process deepspeed.launcher accelerate.commands
        django.core.management matplotlib.texmanager matplotlib.dviread matplotlib.animation
        matplotlib.testing nltk.internals langchain.tools langchain.utilities langchain.agents
        langchain_community.tools langchain_community.utilities accelerate.utils.launch
        accelerate.utils.environment PIL.EpsImagePlugin matplotlib.font_manager matplotlib.sphinxext
        numba.misc numba.scripts numba.pycc torch.cuda._memory_viz torch.utils._get_clean_triton
        torch._strobelight torch.distributed._symmetric_memory torch.distributed.flight_recorder
        jax._src.environment_info jax._src.clusters transformers.testing_utils transformers.cli
        transformers.commands lightning.pytorch.accelerators pytorch_lightning.accelerators
        mlflow.server mlflow.projects mlflow.models.container mlflow.models.docker_utils mlflow.sagemaker mlflow.agent
        mlflow.assistant pandas._config.localization skops.cli wandb.sdk.launch wandb.cli
        xarray.util.print_versions""",
    ),
    (
        CODE,
        """test.support test.libregrtest test.regrtest test.pythoninfo test.test_support test.autotest
        test.script_helper test.string_tests test.pickletester test.datetimetester test.ssltests
        git.cmd git.repo salt.utils salt.modules fire.core build.__main__
        numpy.testing torch.utils.bottleneck torch.utils._config_module torch.jit torch.fx
        torch.distributed.nn torch._inductor torch._dynamo torch._functorch torch._export
        torch.library torch.testing torch._lobpcg torch._sources torch.utils.benchmark torch.profiler
        torch.autograd.profiler torch.contrib torch.utils.mobile_optimizer pandas.eval
        pandas.core.computation pandas._testing scipy.weave scipy._lib._testutils omegaconf.resolvers
        PIL.ImageMath cupy.cuda.compiler pycuda.compiler werkzeug.debug transformers.agents
        transformers.tools numpy.core.function_base numpy._core.function_base torch.export._unlift
        torch._higher_order_ops torch._library torch._native numba.core numba.parfors numba.stencils
        numba.experimental numba.cloudpickle nltk.decorators nltk.redos astropy.extern.ply
        astropy.utils.codegen scipy._lib._bunch scipy.optimize._nonlin sklearn.utils._testing sklearn.utils.estimator_checks
        tensorflow.autograph tensorflow.python.autograph mlflow.genai networkx.lazy_imports""",
    ),
    (
        FILE,
        """numpy.lib.npyio numpy.lib._npyio_impl numpy.lib.format numpy.lib._format_impl
        numpy.lib._datasource numpy.lib.utils numpy.lib._utils_impl numpy.core.memmap
        numpy._core.memmap numpy.compat numpy.loadtxt torch.utils.data.datapipes
        torch.distributed.checkpoint torch.onnx torch._appdirs torch._vendor pandas.io scipy.io
        sklearn.datasets tensorflow.io keras.utils pyarrow.fs pyarrow.dataset pyarrow.parquet
        pyarrow.csv pyarrow.json pyarrow.orc pyarrow.feather pyarrow.ipc h5py onnx cv2 lxml nltk.data
        PIL.ImageGrab imageio tables torch.utils.tensorboard torch.utils.file_baton
        tensorflow.python.lib.io torch.contrib._tensorboard_vis tensorflow.python.platform.gfile
        torch.utils.model_dump scipy.datasets statsmodels.datasets torchvision.datasets.utils
        keras.src.utils.file_utils keras.src.utils.python_utils keras.src.utils.torch_utils""",
    ),
    (
        NETWORK,
        """torch.hub torch.utils.model_zoo torch.distributed.rpc transformers.utils.hub
        transformers.utils.import_utils transformers.pipelines nltk.downloader pyarrow.flight
        django.db google.cloud google.auth mlflow.store mlflow.artifacts mlflow.tracking
        diffusers.utils.remote_utils wandb.apis""",
    ),
    (
        IMPORT,
        """torch.package transformers.dynamic_module_utils hydra.utils hydra._internal
        django.utils.module_loading werkzeug.utils pydantic.utils lightning.pytorch.cli
        lightning.fabric.cli pytorch_lightning.cli diffusers.utils.dynamic_modules_utils
        diffusers.pipelines.pipeline_loading_utils diffusers.modular_pipelines omegaconf._utils._get_class
        scipy._lib._uarray._backend transformers.models.auto.auto_factory keras.config keras.src.config
        keras.src.saving.serialization_lib jax._src.lazy_loader datasets.streaming torch._logging
        sklearn.utils.discovery mlflow.utils""",
    ),
    (NATIVE, "torch._ops torch.ops torch.classes torch._classes torch._C numpy.ctypeslib"),
    (
        NESTED,
        """torch.utils.show_pickle torch.serialization torch.storage sklearn.externals.joblib
        tensorflow.keras.models keras.models keras.saving pyarrow.serialization mlflow.pyfunc
        numpy.core._methods keras.src.saving.saving_lib keras.src.saving.saving_api
        keras.src.legacy.saving mlflow.sklearn mlflow.pytorch mlflow.langchain""",
    ),
)
"""Parts of packages that are otherwise only unknown."""

HARMLESS_PARTS = frozenset(
    """torch._C._nn torch._C._linalg torch._C._fft torch._C._special torch._C._sparse torch._C._nested
    torch._C._VariableFunctions torch._C._TensorBase torch.fx.immutable_collections
    urllib.parse hydra._internal.core_plugins hydra.conf""".split()
)
"""Parts of dangerous ones that only compute or hold data."""

HARMLESS_STDLIB = frozenset(
    """collections datetime _datetime _pydatetime decimal _decimal _pydecimal fractions array enum
    ipaddress zoneinfo random _random numbers re _sre sre_compile copyreg time argparse optparse
    pathlib pathlib._local _codecs codecs calendar statistics heapq bisect textwrap math cmath hashlib
    _hashlib UserDict UserList UserString sets abc json struct graphlib colorsys __main__ itertools
    typing dataclasses string copy contextvars""".split()
)
"""Modules of the standard library whose classes data does hold: for review, not unsafe."""

COMMON_NAMES = frozenset(["test"])
"""Names of the standard library that people's own modules have too: dangerous only further down."""

HARMFUL_NAMES: dict[tuple[str, str], Danger] = {
    ("typing", "get_type_hints"): CODE,
    ("typing", "ForwardRef"): CODE,
    ("typing", "_eval_type"): CODE,
    ("typing", "evaluate_forward_ref"): CODE,
    ("dataclasses", "make_dataclass"): CODE,
    ("dataclasses", "_create_fn"): CODE,
    ("string", "Formatter"): ATTRIBUTE,
    ("argparse", "FileType"): FILE,
    ("argparse", "_sys"): INTERPRETER,
    ("random", "_test"): OTHER,
    ("random", "_test_generator"): APPLY,
    ("hashlib", "file_digest"): FILE,
    ("codecs", "open"): FILE,
    ("copyreg", "pickle"): INTERPRETER,
    ("copyreg", "add_extension"): INTERPRETER,
    ("copyreg", "remove_extension"): INTERPRETER,
    ("copyreg", "constructor"): INTERPRETER,
    ("codecs", "register"): INTERPRETER,
    ("codecs", "lookup"): IMPORT,
    ("_codecs", "register"): INTERPRETER,
    ("_codecs", "lookup"): IMPORT,
    ("copy", "_reconstruct"): APPLY,
    ("json", "load"): FILE,
    ("enum", "_simple_enum"): CODE,
    ("enum", "_test_simple_enum"): CODE,
    ("numpy", "load"): NESTED,
    ("numpy", "memmap"): FILE,
    ("torch", "load"): NESTED,
    ("torch", "save"): FILE,
    ("torch", "from_file"): FILE,
    ("torch", "compile"): CODE,
    ("torch", "import_ir_module"): CODE,
    ("torch", "set_default_tensor_type"): INTERPRETER,
    ("torch.distributed", "init_process_group"): NETWORK,
    ("torch.distributed.distributed_c10d", "init_process_group"): NETWORK,
    ("torch.distributed.distributed_c10d", "_tensor_to_object"): NESTED,
    ("torch.cuda", "_lazy_call"): APPLY,
    ("torch.overrides", "handle_torch_function"): APPLY,
    ("numpy", "fromregex"): FILE,
    ("numpy", "piecewise"): APPLY,
    ("numpy", "source"): FILE,
    ("numpy", "lookfor"): IMPORT,
    ("numpy", "info"): IMPORT,
    ("scipy.optimize", "minimize"): APPLY,
    ("sqlalchemy", "create_engine"): NETWORK,
    ("pandas", "HDFStore"): FILE,
    ("cupy", "RawKernel"): NATIVE,
    ("pandas", "eval"): CODE,
    ("pandas", "read_pickle"): NESTED,
    ("numpy.core", "_ufunc_reconstruct"): IMPORT,
    ("numpy._core", "_ufunc_reconstruct"): IMPORT,
    ("numpy", "recfromcsv"): FILE,
    ("numpy", "recfromtxt"): FILE,
    ("time", "sleep"): OTHER,
    ("decimal", "setcontext"): INTERPRETER,
    ("re", "sub"): APPLY,
    ("re", "subn"): APPLY,
    ("re", "Scanner"): APPLY,
    ("zoneinfo", "available_timezones"): FILE,
    ("transformers.utils", "cached_file"): NETWORK,
    ("tensorflow", "py_function"): CODE,
    ("tensorflow", "numpy_function"): CODE,
    ("torch.utils._pytree", "enum_object_hook"): IMPORT,
}
"""What does act, in modules that are otherwise harmless or unknown."""
HARMFUL_NAMES |= {
    ("itertools", name): APPLY
    for name in ("accumulate", "dropwhile", "filterfalse", "groupby", "takewhile")
}
HARMFUL_NAMES |= {("heapq", name): APPLY for name in ("merge", "nlargest", "nsmallest")}

_PATHS = ("Path", "PosixPath", "WindowsPath")
_TOUCHING = """absolute chmod copy copy_into cwd exists expanduser glob group hardlink_to home is_block_device
is_char_device is_dir is_fifo is_file is_mount is_socket is_symlink iterdir lchmod link_to lstat mkdir
move move_into open owner read_bytes read_text readlink rename replace resolve rglob rmdir samefile stat
symlink_to touch unlink walk write_bytes write_text""".split()
DANGEROUS_PARTS |= {
    f"{module}.{path}.{method}": FILE
    for module in ("pathlib", "pathlib._local")
    for path in _PATHS
    for method in _TOUCHING
}

SAFE_NAMES: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "types": """SimpleNamespace MappingProxyType GenericAlias NoneType EllipsisType UnionType
        MethodType BuiltinFunctionType""",
        "functools": """partial lru_cache cached_property partialmethod update_wrapper wraps
        total_ordering cmp_to_key singledispatch _lru_cache_wrapper""",
        "_functools": "partial",
        "contextlib": "nullcontext suppress ExitStack",
        "operator": """itemgetter add sub mul truediv floordiv matmul mod neg pos abs lt le eq ne ge gt
        not_ and_ or_ xor inv invert pow truth is_ is_not index concat contains""",
        "_operator": """itemgetter add sub mul truediv floordiv matmul mod neg pos abs lt le eq ne ge gt
        not_ and_ or_ xor inv invert pow truth is_ is_not index concat contains""",
        "threading": "Lock RLock Event Condition Semaphore local",
        "_thread": "lock RLock LockType allocate_lock _local",
        "queue": "Queue LifoQueue PriorityQueue SimpleQueue Empty Full",
        "logging": """Logger RootLogger getLogger Formatter LoggerAdapter NullHandler StreamHandler
        LogRecord Filter PlaceHolder Manager PercentStyle StrFormatStyle StringTemplateStyle""",
        "inspect": "Signature Parameter _ParameterKind BoundArguments _empty FullArgSpec",
        "io": "BytesIO StringIO",
        "_io": "BytesIO StringIO",
        "weakref": "WeakKeyDictionary WeakValueDictionary WeakSet ref ReferenceType",
        "_weakref": "ref ReferenceType",
        "_weakrefset": "WeakSet",
        "signal": "Signals Handlers Sigmasks",
        "platform": "uname_result",
        "uuid": """UUID SafeUUID uuid3 uuid4 uuid5 uuid6 uuid7 uuid8 NAMESPACE_DNS NAMESPACE_URL
        NAMESPACE_OID NAMESPACE_X500""",
        "os": "PathLike stat_result terminal_size fspath",
        "posix": "stat_result",
        "zoneinfo": "ZoneInfo._unpickle",
        "dill._dill": "_create_array _load_type",
        "configparser": """ConfigParser RawConfigParser SectionProxy ConverterMapping Interpolation
        BasicInterpolation ExtendedInterpolation""",
        "csv": "Dialect excel excel_tab unix_dialect",
        "http": "HTTPStatus HTTPMethod",
        "concurrent.futures": "ThreadPoolExecutor ProcessPoolExecutor Future",
        "warnings": "WarningMessage",
        "sys": "float_info int_info hash_info version_info",
        "re": "compile _compile Pattern RegexFlag",
        "_regex": "compile",
        "regex._regex": "compile",
        "torch.serialization": "_get_layout",
        "torch._C": "Generator _TensorBase _VariableFunctions _VariableFunctionsClass ScriptFunction Size device dtype",
        "torch._dynamo.eval_frame": "OptimizedModule",
        "torch.fx.proxy": "Proxy",
        "torch.multiprocessing": "Queue Lock Event",
        "joblib.memory": "Memory MemorizedFunc NotMemorizedFunc",
        "joblib.logger": "Logger PrintTime",
        "joblib.numpy_pickle": "NDArrayWrapper ZNDArrayWrapper",
        "joblib.numpy_pickle_compat": "NDArrayWrapper ZNDArrayWrapper",
        "sklearn.externals.joblib.numpy_pickle": "NDArrayWrapper ZNDArrayWrapper",
        "joblib.hashing": "Hasher",
        "joblib._store_backends": "FileSystemStoreBackend",
        "joblib.parallel": "Parallel",
        "builtins": """memoryview property classmethod staticmethod enumerate reversed zip iter type
        print len abs min max sum sorted round repr hash super all any divmod pow ord chr hex oct bin
        isinstance issubclass callable next format id ascii NoneType ellipsis""",
    }.items()
}
"""Names in dangerous modules that only hold data or compute: for review."""

NAMED_ONLY = {("numpy", "memmap")}
"""Classes that data names without making one: dangerous only when they are called."""

TELLING_NAMES = _table(
    (
        PROCESS,
        """system popen popen2 popen3 popen4 Popen spawnl spawnv spawnve spawnvp spawnlp execl execle
        execlp execv execve execvp check_call check_output getoutput getstatusoutput run_command run_cmd
        forkpty exec_command startfile runstring posix_spawn""",
    ),
    (
        CODE,
        """eval exec execfile runcode runsource run_string run_code run_path run_module runctx runcall
        run_script literal_eval exec_module exec_in safe_eval sympify parse_expr eval_expr lambdify
        create_function FunctionType CodeType LambdaType reduce_graph_module
        reduce_deploy_graph_module reduce_package_graph_module execWrapper _attach_methods
        _attach_argparser_methods clone_module py_func numba_unpickle""",
    ),
    (
        IMPORT,
        """__import__ import_module import_string import_object load_module resolve_name import_item
        find_module load_source load_compiled load_dynamic resolve_dotted_attribute resolve_object
        import_ir_module import_ir_module_from_buffer""",
    ),
    (NESTED, "load_pickle read_pickle unpickle _load_from_bytes unpack_pickle torch_load"),
    (
        NETWORK,
        """urlopen urlretrieve urlcleanup download_url_to_file load_state_dict_from_url
        create_connection""",
    ),
    (
        FILE,
        """fdopen open_code unlink rmtree removedirs write_text write_bytes read_text read_bytes savetxt
        tofile fromfile genfromtxt loadtxt copyfile PyTorchFileReader PyTorchFileWriter""",
    ),
    (NATIVE, "CDLL WinDLL PyDLL OleDLL LoadLibrary dlopen load_library"),
    (
        ATTRIBUTE,
        """getattr setattr delattr attrgetter methodcaller getattr_static __getattribute__ __getattr__
        __setattr__ __call__ __reduce__ __reduce_ex__ __globals__ __builtins__ __subclasses__ __class__
        __bases__ __mro__ __code__ __dict__ __init_subclass__ __loader__ __setstate__ __init__ __new__
        __del__""",
    ),
)
"""Last parts of names that tell what a callable does, whatever its module."""

CALLED_NAMES = _table(
    (PROCESS, "spawn call shell fork kill"),
    (CODE, "compile evaluate"),
    (IMPORT, "locate get_class"),
    (NESTED, "load loads load_model from_pickle deserialize load_from_checkpoint pickle_loads"),
    (NETWORK, "download download_url fetch from_pretrained from_hub pipeline clone_from"),
    (
        FILE,
        """open memmap read_file write_file from_file _new_shared_fd _new_shared_filename
        _new_shared_fd_cpu _new_shared_filename_cpu""",
    ),
    (APPLY, "apply apply_ map_ partial reduce starmap map filter parse_args parse_known_args"),
    (THREAD, "Thread Process Timer Pool"),
)
"""The same for names that classes and functions of any package have: dangerous when called."""

CALLED_WORDS = _table(
    (
        PROCESS,
        """system shell spawn popen subprocess exec execute cmd command commands cmdline terminal launch
        fork kill run""",
    ),
    (CODE, "eval evaluate compile interpret script inline main install patch monkeypatch"),
    (IMPORT, "import imports entrypoint"),
    (NESTED, "load loads deserialize"),
    (NETWORK, "download upload fetch http socket connect listen send recv"),
    (
        FILE,
        """open write save dump delete remove rmtree unlink rename chmod mkdir makedirs rmdir touch
        truncate read drop savez""",
    ),
    (NATIVE, "dlopen dll"),
    (APPLY, "apply call invoke vectorize frompyfunc fromfunction callback"),
    (
        OVERT,
        "pwn pwned exploit payload evil malicious malware backdoor shellcode revshell canary rce",
    ),
)
"""Words of a function's name (``run_in_shell`` has three) that tell what it does when called.

Classes are not asked, and neither are the functions that honest pickles call: those restore.
"""

RESTORING_WORDS = frozenset(
    """unpickle pickle reconstruct reconstructor rebuild restore recreate new make build ctor newobj
    setstate""".split()
)

ALIASES = frozenset(
    """os posix nt sys subprocess builtins __builtin__ shutil socket importlib imp runpy ctypes pty
    pickle cPickle marshal pathlib io tempfile commands pkgutil webbrowser urllib urllib2 requests
    pdb bdb codeop operator functools threading multiprocessing asyncio gc inspect ast
    linecache zipimport platform zipfile tarfile fileinput faulthandler atexit fcntl mmap sysconfig
    bltns""".split()
)
"""Modules that others import and so can be reached through: ``random._os`` is os."""
