"""Attacks on unpicklers, written opcode by opcode, each with where it was published.

None of these is ever unpickled: what they name is only ever text here.
"""

from __future__ import annotations

from tests.pickles import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    POP,
    REDUCE,
    SETITEM,
    STOP,
    TUPLE1,
    call,
    dict_of,
    frame,
    list_of,
    name,
    new,
    number,
    proto,
    raw,
    stack_name,
    text,
    tuple_of,
)

CMD = text("id")

CALLS: dict[str, str] = {
    # what is called with one text: where it was published
    "os.system": "fickling, Trail of Bits 2021",
    "posix.system": "picklescan malicious1",
    "nt.system": "picklescan malicious1",
    "subprocess.check_output": "picklescan malicious2",
    "subprocess.Popen": "modelaudit samples",
    "builtins.eval": "modelscan tests",
    "builtins.exec": "modelscan tests",
    "__builtin__.eval": "picklescan malicious3",
    "__builtin__.execfile": "CPython 2 documentation, Restricting Globals",
    "builtins.compile": "modelaudit compile/eval variants",
    "builtins.__import__": "picklescan GHSA-955r-x9j8-7rhh",
    "builtins.open": "picklescan malicious4",
    "builtins.breakpoint": "picklescan 0.0.13",
    "commands.getoutput": "picklescan, commands",
    "runpy._run_code": "fickling GHSA-wfq2-52f7-7qvj",
    "runpy.run_path": "fickling test_missing_runpy",
    "pty.spawn": "picklescan GHSA-vqmv-47xg-9wpr, fickling GHSA-r7v6-mfhq-g3m2",
    "marshal.loads": "fickling GHSA-565g-hwwr-4pp3",
    "types.FunctionType": "fickling GHSA-565g-hwwr-4pp3",
    "types.CodeType": "picklescan cloudpickle_codeinjection",
    "cloudpickle.cloudpickle._make_function": "picklescan cloudpickle_codeinjection",
    "pip.main": "picklescan CVE-2025-1716",
    "pip._internal.main": "picklescan CVE-2025-1716",
    "pydoc.pipepager": "picklescan 0.0.22",
    "pydoc.locate": "picklescan GHSA-84r2-jw7c-4r5q, fickling GHSA-5hvc-6wx8-mvv4",
    "pkgutil.resolve_name": "picklescan GHSA-vvpj-8cmc-gx39",
    "imaplib.IMAP4_stream": "picklescan GHSA-g38g-8gr9-h9xp",
    "uuid._get_command_stdout": "picklescan GHSA-g38g-8gr9-h9xp, fickling GHSA-5hwf-rc88-82xm",
    "_osx_support._read_output": "picklescan GHSA-g38g-8gr9-h9xp",
    "_aix_support._read_cmd_output": "picklescan GHSA-g38g-8gr9-h9xp",
    "_pyrepl.pager.pipe_pager": "picklescan GHSA-g38g-8gr9-h9xp",
    "test.support.script_helper.assert_python_ok": "picklescan GHSA-g38g-8gr9-h9xp",
    "_posixsubprocess.fork_exec": "fickling GHSA-m6fh-58r7-x697",
    "site.addsitedir": "fickling GHSA-m6fh-58r7-x697",
    "atexit.register": "fickling GHSA-m6fh-58r7-x697",
    "_interpreters.run_string": "fickling GHSA-6ggj-6f2q-f7mx",
    "_xxsubinterpreters.run_string": "fickling GHSA-6ggj-6f2q-f7mx",
    "profile.run": "picklescan GHSA-7wx9-6375-f5wh",
    "cProfile.runctx": "picklescan GHSA-9w88-8rmg-7g2p",
    "profile:Profile.run": "picklescan GHSA-x696-vm39-cp64",
    "trace:Trace.run": "picklescan GHSA-5qwp-399c-mjwf",
    "trace:Trace.runctx": "picklescan GHSA-g344-hcph-8vgg",
    "pdb.run": "picklescan, pdb",
    "bdb:Bdb.run": "picklescan, bdb",
    "timeit.timeit": "picklescan, timeit",
    "doctest.debug_script": "picklescan GHSA-fqq6-7vqf-w3fg",
    "code:InteractiveInterpreter.runcode": "picklescan GHSA-cj3c-v495-4xqh",
    "ensurepip._run_pip": "picklescan GHSA-xp4f-hrf8-rxw7",
    "venv.create": "picklescan, venv",
    "lib2to3.pgen2.grammar:Grammar.loads": "picklescan GHSA-f54q-57x4-jg88",
    "lib2to3.pgen2.pgen:ParserGenerator.make_label": "picklescan GHSA-p9w7-82w4-7q8m",
    "idlelib.autocomplete:AutoComplete.get_entity": "picklescan GHSA-6w4w-5w54-rjvr",
    "idlelib.run:Executive.runcode": "picklescan GHSA-m869-42cg-3xwr",
    "idlelib.pyshell:ModifiedInterpreter.runcommand": "picklescan GHSA-j343-8v2j-ff7w",
    "idlelib.debugobj:ObjectTreeItem.SetText": "picklescan GHSA-3vg9-h568-4w9m",
    "distutils.file_util.write_file": "picklescan GHSA-m273-6v24-x4m4, fickling",
    "_io.FileIO": "picklescan io_FileIO",
    "io.open_code": "picklescan io_FileIO",
    "logging.FileHandler": "picklescan logging_FileHandler",
    "logging.config.listen": "logging documentation, security notes",
    "shutil.rmtree": "fickling",
    "asyncio.unix_events:_UnixSubprocessTransport._start": "picklescan GHSA-q77w-mwjj-7mqx, CVE-2025-10157",
    "multiprocessing.util.spawnv_passfds": "fickling test_missing_multiprocessing",
    "concurrent.futures.process._process_worker": "standard library, a sibling",
    "ctypes.CDLL": "picklescan GHSA-4675-36f9-wf6r",
    "_ctypes.dlopen": "picklescan, ctypes",
    "webbrowser.open": "picklescan, webbrowser",
    "urllib.request.urlopen": "picklescan urllib_request_urlopen",
    "urllib2.urlopen": "picklescan, of Python 2",
    "http.client.HTTPSConnection": "picklescan, httplib",
    "httplib.HTTPSConnection": "picklescan, httplib",
    "requests.api.get": "picklescan malicious, requests",
    "aiohttp.client.ClientSession": "picklescan malicious, aiohttp",
    "ssl.get_server_certificate": "picklescan GHSA-hgrh-qx5j-jfwx",
    "socket.gethostbyname": "picklescan dns_exfiltration",
    "smtplib.SMTP": "fickling test_network_protocol_ssrf",
    "ftplib.FTP": "fickling test_network_protocol_ssrf",
    "telnetlib.Telnet": "fickling test_network_protocol_ssrf",
    "poplib.POP3": "fickling test_network_protocol_ssrf",
    "nntplib.NNTP": "fickling test_network_protocol_ssrf",
    "xmlrpc.client.ServerProxy": "fickling test_network_protocol_ssrf",
    "socketserver.TCPServer": "fickling test_network_protocol_ssrf",
    "sqlite3.connect": "standard library, a sibling",
    "operator.attrgetter": "picklescan GHSA-m273-6v24-x4m4",
    "_operator.methodcaller": "picklescan GHSA-955r-x9j8-7rhh",
    "operator.call": "standard library since 3.11, a sibling",
    "functools.reduce": "standard library, a sibling",
    "itertools.starmap": "standard library, a sibling",
    "builtins.map": "standard library, a sibling",
    "importlib.import_module": "modelaudit",
    "importlib.machinery.SourceFileLoader": "standard library, a sibling",
    "zipimport.zipimporter": "fickling #215",
    "imp.load_source": "standard library of Python 2, a sibling",
    "pickle.loads": "picklescan GHSA-84r2-jw7c-4r5q",
    "_pickle.loads": "picklescan GHSA-84r2-jw7c-4r5q",
    "dill.loads": "modelaudit dill",
    "joblib.load": "modelscan joblib",
    "joblib.numpy_pickle.load": "modelscan joblib",
    "yaml.unsafe_load": "CVE-2020-14343",
    "shelve.open": "standard library, a sibling",
    "numpy.load": "CVE-2019-6446",
    "numpy.f2py.crackfortran.getlincoef": "picklescan GHSA-r8g5-cgf2-4m4m",
    "numpy.f2py.crackfortran._eval_length": "picklescan, numpy.f2py",
    "numpy.f2py.diagnose.run_command": "picklescan, numpy.f2py",
    "numpy.testing._private.utils.runstring": "picklescan malicious, runstring",
    "numpy.distutils.exec_command.exec_command": "numpy, a sibling",
    "pandas.read_pickle": "picklescan, nested pickles",
    "pandas.eval": "pandas, a sibling",
    "torch.load": "picklescan, torch.serialization",
    "torch.serialization.load": "picklescan, torch.serialization",
    "torch.hub.load": "picklescan, torch.hub",
    "torch._inductor.codecache.compile_file": "picklescan, torch._inductor",
    "torch._dynamo.guards:GuardBuilder.get": "picklescan GHSA-86cj-95qr-2p4f",
    "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression": "picklescan GHSA-f4x7-rfwp-v3xw",
    "torch.fx.graph_module.reduce_graph_module": "PyTorch issue tracker, torch.fx",
    "torch.jit.unsupported_tensor_ops.execWrapper": "picklescan GHSA-vr7h-p6mm-wpmh",
    "torch.utils._config_module:ConfigModule.load_config": "picklescan GHSA-vv6j-3g6g-2pvj",
    "torch.utils.bottleneck.__main__.run_cprofile": "picklescan GHSA-4r9r-ch6f-vxmx",
    "torch.utils.collect_env.run": "picklescan GHSA-f745-w6jp-hpxx",
    "torch.utils.data.datapipes.utils.decoder.basichandlers": "picklescan GHSA-h3qp-7fh3-f8h4",
    "torch.utils.cpp_extension.load_inline": "torch, a sibling",
    "torch.distributed.rpc.rpc_sync": "CVE-2024-5480",
    "torch.package.package_importer.PackageImporter": "torch, a sibling",
    "transformers.dynamic_module_utils.get_class_from_dynamic_module": "transformers, a sibling",
    "hydra.utils.instantiate": "CVE-2025-23304",
    "sympy.sympify": "sympy documentation",
    "IPython.get_ipython": "a sibling",
    "sys.settrace": "picklescan, sys",
    "gc.get_objects": "a sibling",
    "signal.signal": "a sibling",
    "linecache.getlines": "a sibling",
    "fickling.hook.deactivate_safe_ml_environment": "fickling test_scanner_deactivation_analysis",
    "torch.utils.collect_env.run_and_read_all": "picklescan GHSA-jhph-76pp-mggw",
    "profile:Profile.runctx": "picklescan GHSA-6vqj-c2q5-j97w",
    "idlelib.autocomplete:AutoComplete.fetch_completions": "picklescan GHSA-7cq8-mj8x-j263",
    "idlelib.calltip:Calltip.fetch_tip": "picklescan GHSA-8r4j-24qv-fmq9",
    "idlelib.calltip.get_entity": "picklescan GHSA-9xph-j2h6-g47v",
    "torch.utils.bottleneck.__main__.run_autograd_prof": "picklescan GHSA-4whj-rm5r-c2v8",
    "idlelib.pyshell:ModifiedInterpreter.runcode": "picklescan GHSA-3gf5-cxq9-w223",
    "cProfile.run": "picklescan GHSA-49gj-c84q-6qm9",
    "operator.methodcaller": "picklescan GHSA-84r2-jw7c-4r5q",
    "_operator.attrgetter": "picklescan GHSA-46h3-79wf-xr6c",
    # what does the same in a way of its own: by what it is, not where it was published
    "numpy.core._ufunc_reconstruct": "numpy/core/__init__.py, imports a module by name",
    "numpy._core._ufunc_reconstruct": "numpy/_core/__init__.py, a sibling",
    "enum:bltns.open": "modules that the standard library imports of itself",
    "uuid:platform.popen": "modules that the standard library imports of itself",
    "uuid.uuid1": "uuid.getnode starts ifconfig, a sibling",
    "uuid._arp_getnode": "modelaudit policy, uuid",
    "pathlib:Path.replace": "modelaudit policy, pathlib",
    "pathlib:PosixPath.hardlink_to": "modelaudit policy, pathlib",
    "concurrent.futures:ThreadPoolExecutor.submit": "modelaudit policy, executors",
    "logging:StreamHandler.emit": "modelaudit policy, logging",
    "click.edit": "modelaudit tests, click",
    "dotenv.set_key": "modelaudit policy, dotenv",
    "time.sleep": "keeps a loader waiting",
    "scipy.stats._distn_infrastructure:rv_generic._attach_methods": "modelaudit tests, scipy",
    "tensorflow.py_function": "modelaudit tests, tf.py_function",
    "re.sub": "standard library, calls its second argument",
    "itertools.accumulate": "modelaudit policy, itertools",
    "heapq.merge": "standard library, calls its key",
    "numpy.savez": "modelaudit tests, numpy",
    "numpy.recfromcsv": "modelaudit tests, numpy",
    "keras.config.enable_unsafe_deserialization": "CVE-2025-1550 and its siblings",
    "hydra.compose": "modelaudit tests, hydra",
    "aiobotocore.credentials.AioProcessProvider": "modelaudit tests, botocore",
    "numba.core.serialize._numba_unpickle": "numba, a pickle in a pickle",
    "torch.cuda._memory_viz.format_flamegraph": "torch, downloads and runs a script",
    "mlflow.projects.run": "mlflow, runs a project",
    "transformers.models.auto.auto_factory.getattribute_from_module": "transformers, imports by name",
    "lightning.pytorch.cli.instantiate_class": "Lightning, imports a class_path",
}


def called(path: str, protocol: int = 4) -> bytes:
    return proto(protocol) + stack_name(path) + tuple_of(CMD) + REDUCE + STOP


GETATTR = "builtins.getattr"


def patch_tensor() -> bytes:
    """SETITEM on a tensor after it was rebuilt: CVE-2026-24747."""
    storage = (
        tuple_of(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(1))
        + b"Q"
    )
    ordered = call("collections.OrderedDict")
    one = tuple_of(number(1))
    made = call("torch._utils._rebuild_tensor_v2", storage, number(0), one, one, b"\x89", ordered)
    return proto(2) + made + number(0) + number(7) + SETITEM + STOP


OTHERS: dict[str, tuple[bytes, str, str]] = {
    # what: (stream, the code that it must give, where it was published)
    "a name that is never called": (name("os.system") + STOP, "WK802", "picklescan malicious5"),
    "a dotted name through a module": (
        proto(4) + stack_name("random:_os.system") + tuple_of(CMD) + REDUCE + STOP,
        "WK801",
        "picklescan GHSA-7wx9-6375-f5wh",
    ),
    "a module reached by another": (
        name("random._os") + STOP,
        "WK802",
        "pickle documentation, protocol 4 names",
    ),
    "INST": (MARK + b"S'id'\nios\nsystem\n.", "WK801", "fickling test_obj"),
    "OBJ": (MARK + name("os.system") + CMD + b"o.", "WK801", "fickling test_obj"),
    "NEWOBJ": (new("subprocess.Popen", CMD) + STOP, "WK801", "PEP 307"),
    "NEWOBJ_EX": (
        name("subprocess.Popen") + tuple_of(CMD) + EMPTY_DICT + b"\x92.",
        "WK801",
        "PEP 3154",
    ),
    "popped away": (
        call("os.system", CMD) + POP + EMPTY_DICT + STOP,
        "WK801",
        "fickling test_pop_mark",
    ),
    "popped with its mark": (
        MARK + call("os.system", CMD) + b"1" + EMPTY_DICT + STOP,
        "WK801",
        "fickling test_pop_mark",
    ),
    "before the stream breaks off": (
        call("os.system", CMD) + b"\xff",
        "WK801",
        "CVE-2025-1945 and nullifAI, ReversingLabs 2025",
    ),
    "before the stream ends": (call("os.system", CMD), "WK801", "nullifAI, ReversingLabs 2025"),
    "with names from the memo": (
        proto(4)
        + text("os")
        + b"\x940"
        + text("system")
        + b"\x940h\0h\1\x93"
        + tuple_of(CMD)
        + b"R.",
        "WK801",
        "modelaudit memo_attack",
    ),
    "with a memo entry set again": (
        text("math")
        + b"q\0000"
        + text("os")
        + b"q\0000h\0"
        + text("system")
        + b"\x93"
        + CMD
        + b"\x85R.",
        "WK801",
        "modelaudit memo_attack",
    ),
    "with the callable from the memo": (
        name("os.system") + b"q\0000h\0" + tuple_of(CMD) + b"R.",
        "WK801",
        "modelaudit memo_attack",
    ),
    "with a duplicate": (name("os.system") + b"2" + tuple_of(CMD) + b"R.", "WK801", "PEP 307"),
    "in a frame that passes the end": (
        proto(4) + frame(10_000) + call("os.system", CMD) + STOP,
        "WK801",
        "fickling test_frame_boundary_divergence",
    ),
    "renamed from Python 2": (call("commands.getoutput", CMD) + STOP, "WK801", "_compat_pickle"),
    "in a name computed by a call": (
        call("builtins.str", text("os")) + text("system") + b"\x93.",
        "WK803",
        "modelaudit stack_global_attack",
    ),
    "in a name with bytes": (
        raw(b"os") + text("system") + b"\x93.",
        "WK803",
        "picklescan GHSA-9w88",
    ),
    "by an extension code": (b"\x82\1.", "WK804", "pickle documentation, copyreg.add_extension"),
    "calling what a call gave": (
        call("mylib.f") + tuple_of(CMD) + REDUCE + STOP,
        "WK805",
        "fickling, computed calls",
    ),
    "calling what was looked up": (
        call(GETATTR, name("mylib.f"), text("go")) + tuple_of(CMD) + REDUCE + STOP,
        "WK805",
        "picklescan malicious13",
    ),
    "looking up in a module": (
        call(GETATTR, name("mylib.os"), text("system")) + STOP,
        "WK801",
        "picklescan malicious13",
    ),
    "looking up a special attribute": (
        call(GETATTR, name("mylib.f"), text("__globals__")) + STOP,
        "WK801",
        "picklescan malicious14",
    ),
    "handing a dangerous name on": (
        call("functools.partial", name("os.system"), CMD) + STOP,
        "WK802",
        "picklescan functools",
    ),
    "handing it to defaultdict": (
        call("collections.defaultdict", name("os.getcwd")) + STOP,
        "WK802",
        "modelscan-eval, defaultdict",
    ),
    "handing it to a generator's constructor": (
        call("numpy.random._pickle.__generator_ctor", CMD, name("os.system")) + STOP,
        "WK802",
        "numpy/random/_pickle.py",
    ),
    "handing it to a rebuild": (
        call(
            "torch._tensor._rebuild_from_type_v2",
            name("os.system"),
            name("torch.Tensor"),
            tuple_of(CMD),
            EMPTY_DICT,
        )
        + STOP,
        "WK802",
        "torch/_tensor.py",
    ),
    "hiding a nested loader in a rebuild": (
        call(
            "torch._tensor._rebuild_from_type_v2",
            name("torch.storage._load_from_bytes"),
            name("torch.Tensor"),
            tuple_of(raw(call("os.system", CMD) + STOP)),
            EMPTY_DICT,
        )
        + STOP,
        "WK802",
        "torch/storage.py",
    ),
    "looking a function up as if it were numeric": (
        call("numpy._core._ufunc_reconstruct", text("numpy"), text("load")) + STOP,
        "WK801",
        "numpy/_core/__init__.py",
    ),
    "writing into the bytes of a nested pickle": (
        proto(5)
        + b"\x96\4\0\0\0\0\0\0\0\x80\2N.\x94"
        + MARK
        + b"".join(bytes([75, byte]) for byte in call("os.system", CMD) + STOP)
        + b"e0"
        + name("torch.storage._load_from_bytes")
        + b"h\0\x85R.",
        "WK801",
        "bytearray.extend, which APPENDS calls",
    ),
    "patching a module": (
        name("torch.serialization") + dict_of(text("load"), name("os.system")) + BUILD + STOP,
        "WK806",
        "picklescan sys_module_override_sploit",
    ),
    "patching a class": (
        name("collections.OrderedDict")
        + b"}"
        + text("keys")
        + name("mylib.f")
        + b"s"
        + BUILD
        + STOP,
        "WK806",
        "picklescan sys_module_override_sploit",
    ),
    "setting an item of a module's dict": (
        name("sys.modules") + text("json") + name("mylib.f") + SETITEM + STOP,
        "WK806",
        "picklescan sys_module_override_sploit",
    ),
    "setting an item of a tensor": (patch_tensor(), "WK806", "CVE-2026-24747"),
    "giving a state that takes the class": (
        new("mylib.C") + dict_of(text("__class__"), name("mylib.D")) + BUILD + STOP,
        "WK807",
        "fickling, BUILD",
    ),
    "giving a state by slots": (
        new("mylib.C") + b"N" + dict_of(text("__setstate__"), name("mylib.f")) + b"\x86b.",
        "WK807",
        "pickle.load_build",
    ),
    "giving a state made by a call": (
        new("mylib.C")
        + call("collections.OrderedDict", list_of(tuple_of(text("__class__"), name("mylib.D"))))
        + BUILD
        + STOP,
        "WK807",
        "pickle.load_build",
    ),
    "giving a tensor a special attribute": (
        call(
            "torch._tensor._rebuild_from_type_v2",
            name("torch._utils._rebuild_tensor"),
            name("mylib.T"),
            tuple_of(call("mylib.s"), number(0), EMPTY_TUPLE, EMPTY_TUPLE),
            dict_of(text("__class__"), name("mylib.D")),
        )
        + STOP,
        "WK807",
        "torch/_tensor.py",
    ),
    "nested in a tensor's bytes": (
        call("torch.storage._load_from_bytes", raw(proto(2) + call("os.system", CMD) + STOP))
        + STOP,
        "WK801",
        "picklescan, nested pickles",
    ),
    "nested in bytes as protocol 2 spells them": (
        call(
            "torch.storage._load_from_bytes",
            call(
                "_codecs.encode",
                text((call("os.system", CMD) + STOP).decode("latin-1")),
                text("latin1"),
            ),
        )
        + STOP,
        "WK801",
        "picklescan, nested pickles",
    ),
    "nested in bytes made while loading": (
        call("torch.storage._load_from_bytes", call("mylib.f")) + STOP,
        "WK801",
        "picklescan, nested pickles",
    ),
    "with a name that ends with the file": (
        b"(S'id'\nios\nsystemX",
        "WK801",
        "CPython Modules/_pickle.c, _Unpickler_Readline",
    ),
    "behind a number in octal": (
        b"I010\n0" + call("os.system", CMD) + STOP,
        "WK801",
        "CPython Modules/_pickle.c, load_int",
    ),
    "behind a long line": (
        proto(2) + b"V" + b"a" * 70_000 + b"\n0" + call("os.system", CMD) + STOP,
        "WK801",
        "CPython Modules/_pickle.c, _Unpickler_Readline",
    ),
    "in a very long dotted name": (
        proto(2) + b"cos\n" + b"path.os." * 10_000 + b"system\n" + CMD + TUPLE1 + REDUCE + STOP,
        "WK803",
        "PEP 3154, dotted names",
    ),
    "in the second pickle of a stream": (
        proto(4) + b"N." + called("os.system"),
        "WK801",
        "modelaudit multiple_stream_attack",
    ),
    "as one argument of many": (
        call("mylib.f", number(1), list_of(tuple_of(call("os.system", CMD)))) + STOP,
        "WK801",
        "modelscan-eval, optimizer",
    ),
    "as a key of a dict": (
        proto(2) + dict_of(call("os.system", CMD), b"N") + STOP,
        "WK801",
        "modelaudit",
    ),
    "as a persistent id": (call("os.system", CMD) + b"Q.", "WK801", "pickle, persistent_load"),
    "in a state": (
        new("mylib.C") + dict_of(text("a"), call("os.system", CMD)) + BUILD + STOP,
        "WK801",
        "fickling numpy_poc",
    ),
    "an instance made without its class": (
        call("copyreg._reconstructor", name("os._wrap_close"), name("builtins.object"), b"N")
        + STOP,
        "WK802",
        "copyreg",
    ),
    "making a class with a special method": (
        call(
            "builtins.type",
            text("X"),
            EMPTY_TUPLE,
            dict_of(text("__del__"), name("mylib.f")),
        )
        + STOP,
        "WK807",
        "data model documentation, object.__del__",
    ),
    "reaching a module that a harmless one imported": (
        proto(4) + stack_name("enum:bltns.vars") + EMPTY_TUPLE + REDUCE + STOP,
        "WK801",
        "picklescan GHSA-7wx9-6375-f5wh, a sibling",
    ),
    "handing the import of a function over": (
        call("collections.defaultdict", name("numpy._core._ufunc_reconstruct")) + STOP,
        "WK802",
        "numpy/_core/__init__.py",
    ),
}
