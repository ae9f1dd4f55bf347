"""Verdicts on pickles: attacks, the trusted table row by row, and what must stay quiet."""

from __future__ import annotations

import _compat_pickle
import gzip
import io
import pickle
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from tests.analyses.attacks import CALLS, CMD, OTHERS, called
from tests.pickles import (
    APPENDS,
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    NONE,
    REDUCE,
    SETITEM,
    STOP,
    TUPLE,
    call,
    dict_of,
    list_of,
    name,
    new,
    number,
    proto,
    raw,
    text,
    tuple_of,
)
from weightkit.analyses.safety import VERDICTS, verdict
from weightkit.analyses.scanning import findings
from weightkit.analyses.stdlib import RENAMED_MODULES, RENAMED_NAMES
from weightkit.analyses.trust import TRUSTED, danger
from weightkit.analyses.trust.dangers import (
    CALLED_NAMES,
    CALLED_WORDS,
    DANGEROUS_MODULES,
    DANGEROUS_PARTS,
    HARMFUL_NAMES,
    RESTORING_WORDS,
    SAFE_NAMES,
    TELLING_NAMES,
)
from weightkit.analyses.trust.shapes import numeric_function
from weightkit.findings import Finding
from weightkit.opening.examining import examine
from weightkit.rules import RULES, finding
from weightkit.rules.pickles import RULES as PICKLE_RULES
from weightkit.source import Buffer


def scanned(stream: bytes) -> list[Finding]:
    return list(findings(examine(Buffer(stream))))


def codes(stream: bytes) -> set[str]:
    return {found.code for found in scanned(stream)}


def judged(stream: bytes) -> str:
    return verdict(scanned(stream))


# Attacks


@pytest.mark.parametrize("path", CALLS)
def test_dangerous_calls(path: str) -> None:
    found = scanned(called(path))
    assert verdict(found) == "unsafe"
    (said,) = [item for item in found if item.code == "WK801"]
    assert said.opcode == "REDUCE"
    assert "'id'" in said.evidence
    assert said.effect
    assert said.offset == len(called(path)) - 2


@pytest.mark.parametrize("path", CALLS)
def test_the_same_in_protocol_0(path: str) -> None:
    assert "WK801" in codes(call(path, b"S'id'\n") + STOP)


@pytest.mark.parametrize("what", OTHERS)
def test_other_attacks(what: str) -> None:
    stream, code, _ = OTHERS[what]
    found = scanned(stream)
    assert code in {item.code for item in found}
    assert verdict(found) == "unsafe"


def test_every_attack_says_where_it_comes_from() -> None:
    assert all(CALLS.values())
    assert all(source for _, _, source in OTHERS.values())


def test_an_attack_in_every_container() -> None:
    stream = called("os.system")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", stream)
        file.writestr("m/version", "3\n")
    legacy = b"".join(pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {}))
    assert judged(out.getvalue()) == "unsafe"
    assert judged(legacy + stream + pickle.dumps([], 2)) == "unsafe"


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for member, content in members.items():
            file.writestr(f"m/{member.replace('_', '.')}", content)
    return out.getvalue()


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for member, content in members:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


EVIL = called("os.system", 2)
HARMLESS = proto(2) + EMPTY_DICT + STOP
STARTS: dict[str, bytes] = {
    # how a pickle begins: modelaudit tests, follow-on streams behind a separator
    "a protocol mark": called("os.system"),
    "a name": call("os.system", CMD) + STOP,
    "two texts": b"\x8c\2os\x94\x8c\6system\x94\x93" + tuple_of(CMD) + REDUCE + STOP,
}
BEFORE: dict[str, bytes] = {
    "a pickle and zeros": HARMLESS + bytes(50),
    "a pickle and a line": HARMLESS + b"\nseparator\n",
    "256 pickles": HARMLESS * 300,
    "a torch archive": zip_of(data_pkl=HARMLESS, version=b"3\n"),
    "an archive whose pickle goes on": b"",
    "a gzip": gzip.compress(HARMLESS) + b"x",
    "a tar": tar_of(("a.txt", b"a")) + bytes(100),
    "a safetensors header": b"\2\0\0\0\0\0\0\0{}",
    "a legacy checkpoint": b"".join(
        pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])
    ),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("before", BEFORE)
def test_a_pickle_behind_the_end(before: str, start: str) -> None:
    stray = STARTS[start]
    file = BEFORE[before] + stray
    if not BEFORE[before]:
        file = zip_of(data_pkl=HARMLESS + b"  " + stray, version=b"3\n")
    assert "WK801" in codes(file)
    assert judged(file) == "unsafe"
    assert "WK801" not in codes(BEFORE[before] + b"\nmusic\nos\nsystem\n" + bytes(9))


def test_strays_are_looked_for_in_bounded_time() -> None:
    for filling in (
        b"c",
        b"\n",
        b"\na",
        b"\x8c",
        b"\x8c\1a",
        b"\x80\2",
        b"cos\nsystem\n",
        b"\x80\2](",
    ):
        start = time.process_time()
        scanned(HARMLESS + b"-" + filling * (1 << 20))
        assert time.process_time() - start < 2


def deflated(count: int, content: bytes, suffix: str = ".pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for number_ in range(count):
            file.writestr(f"m/{number_}{suffix}", content)
    return out.getvalue()


NPY = (
    b"\x93NUMPY\1\0"
    + b"F\0"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69)
)


@pytest.mark.parametrize(
    ("content", "suffix"), [(b"", ".pkl"), (HARMLESS + b"-", ".pkl"), (NPY + b"\n", ".npy")]
)
def test_all_pickles_of_a_file_share_limits(content: bytes, suffix: str) -> None:
    """A quarter of a megabyte, which holds two hundred million opcodes."""
    file = deflated(60, content + proto(2) + b"N0" * (1 << 19) + b"N.", suffix)
    start = time.process_time()
    assert judged(file) in ("review", "unscanned")
    assert time.process_time() - start < 6


def test_what_is_behind_all_ends_shares_limits() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/data.pkl", HARMLESS)
        for number_ in range(200):
            file.writestr(f"m/{number_}.pkl", HARMLESS + b"cos\nsystem\n" * 20_000)
    start = time.process_time()
    assert judged(out.getvalue()) == "review"
    assert time.process_time() - start < 4


def test_names_of_many_parts_hide_what_they_reach() -> None:
    """``os.path.os.path...`` walks as far as it likes: nobody walks it that far to judge it."""
    for path in ("os." + "path.os." * 500 + "system", "m." * 100 + "z", "m.C." + "a." * 100 + "z"):
        module, _, attribute = path.partition(".")
        stream = f"c{module}\n{attribute}\n)R.".encode()
        assert judged(proto(2) + stream) == "unsafe"
    long = b"".join(b"cm%d\n" % n + b"a." * 32_000 + b"z\n0" for n in range(100))
    start = time.process_time()
    assert judged(proto(2) + long + b"N.") == "unsafe"
    assert time.process_time() - start < 4


def test_a_name_that_stands_a_million_times_is_judged_once() -> None:
    start = time.process_time()
    assert judged(proto(2) + b"cos\nsystem\n" * 1_000_000 + b".") == "unsafe"
    assert judged(proto(2) + b"ca\nb\nq\0" + b"h\0)R0" * 1_000_000 + b"N.") == "review"
    assert time.process_time() - start < 8


def test_nested_files_share_a_budget() -> None:
    bomb = deflated(2, bytes(40 << 20))
    stream = b"".join(call("torch.storage._load_from_bytes", raw(bomb)) + b"0" for _ in range(200))
    start = time.process_time()
    assert judged(proto(2) + stream + NONE + STOP) != "safe"
    assert time.process_time() - start < 10


def test_inflated_pickles_are_let_go() -> None:
    examined = examine(Buffer(deflated(5, HARMLESS + bytes(1 << 20))))
    readers = [item.reader for part in examined.all() for item in part.examination.programs]
    assert [type(reader).__name__ for reader in readers] == ["Forgotten"] * 5
    nested = call("torch.storage._load_from_bytes", raw(EVIL)) + STOP
    assert "WK801" in codes(deflated(2, nested + bytes(1 << 20)))
    assert "WK801" in codes(deflated(4, nested + bytes(40 << 20)))  # more than is kept


TABLES = [("storages", proto(2) + b"K\0." + proto(2) + b"]."), ("tensors", proto(2) + b"K\0.")]


@pytest.mark.parametrize(
    "members",
    [
        [("pickle", EVIL), *TABLES, ("./pickle", HARMLESS)],
        [("pickle", EVIL), *TABLES, ("pickle", HARMLESS)],
        [("sys_info", EVIL), *TABLES, ("pickle", HARMLESS)],
        [("more.pkl", EVIL), *TABLES, ("pickle", HARMLESS)],
        [TABLES[0], ("tensors", proto(2) + b"\x88." + EVIL), ("pickle", HARMLESS)],
        [("storages", proto(2) + b"N."), ("tensors", EVIL), ("pickle", HARMLESS)],
    ],
)
def test_the_oldest_format_is_judged_whole(members: list[tuple[str, bytes]]) -> None:
    """``legacy_load`` goes by exact names, and takes a bool for a count."""
    assert judged(tar_of(*members)) == "unsafe"
    assert judged(tar_of(*TABLES, ("pickle", HARMLESS), ("sys_info", HARMLESS))) == "safe"


STORED = (
    proto(2)
    + tuple_of(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(16))
    + b"Q."
)


@pytest.mark.parametrize(
    "member",
    ["data/0", "version", "byteorder", ".data/serialization_id", "code/x", "payload", "x/"],
)
def test_a_pickle_in_a_record_that_torch_does_not_unpickle(member: str) -> None:
    """modelaudit test_pytorch_zip_scanner, hidden storages and extensionless members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", HARMLESS)
        file.writestr(f"m/{member}", EVIL)
    assert "WK801" in codes(out.getvalue())


@pytest.mark.parametrize("name_", ["data.pkl", "Data.pkl", "DATA.PKL", "data.PKL", "dAtA.pkl"])
def test_torch_does_not_mind_the_case_of_records(name_: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(f"m/{name_}", EVIL)
        file.writestr("m/version", "3\n")
    assert judged(out.getvalue()) == "unsafe"


def test_a_storage_that_a_pickle_refers_to_is_numbers() -> None:
    """A tensor of bytes may spell a pickle: no loader runs it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", STORED)
        file.writestr("m/version", "3\n")
        file.writestr("m/data/0", EVIL.ljust(64, b"\0"))
    assert judged(out.getvalue()) == "safe"
    with zipfile.ZipFile(out, "a") as file:
        file.writestr("m/data/0.storage", EVIL)
    assert judged(out.getvalue()) == "unsafe"


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        (b"\x80\2\x84\1\0\0\0.", "unsafe"),  # an import by code, and then the end: a pickle
        (b"\x80\2\x84\1\0\0\0." + bytes(99), "safe"),
        (b"\x80\2N." + bytes(99), "safe"),
        (proto(2) + call("some.function") + STOP, "review"),
        (proto(2) + call("some.function") + STOP + bytes(99), "safe"),
        (EVIL + bytes(99), "unsafe"),
    ],
)
def test_numbers_that_look_like_a_pickle(held: bytes, verdict: str) -> None:
    """In storages that no pickle refers to: what does not end with them is one by chance."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", HARMLESS)
        file.writestr("m/data/0", held)
    assert judged(out.getvalue()) == verdict


def test_arrays_of_old_joblib_are_for_review() -> None:
    """Before 0.10 they lay in files of their own, which this one names."""
    assert judged(proto(2) + new("joblib.numpy_pickle.NDArrayWrapper") + STOP) == "review"
    assert judged(proto(2) + call("joblib.numpy_pickle.load", CMD) + STOP) == "unsafe"


def test_a_distributed_mesh_is_made_but_not_called() -> None:
    mesh = "torch.distributed.device_mesh.DeviceMesh"
    assert judged(proto(2) + new(mesh) + EMPTY_DICT + BUILD + STOP) == "safe"
    assert codes(proto(2) + call(mesh, text("cpu"), list_of(number(0))) + STOP) == {"WK812"}


def module_class(path: str) -> bytes:
    """How torch before 1.6 wrote the class of a module, with its file and source text."""
    return (
        proto(2) + tuple_of(text("module"), name(path), text("a.py"), text("class A: ...")) + b"Q"
    )


def test_a_class_that_is_a_persistent_id_is_what_it_says() -> None:
    state = dict_of(text("training"), b"\x88")
    made = EMPTY_TUPLE + b"\x81" + state + BUILD + STOP
    assert codes(module_class("torch.nn.modules.linear.Linear") + made) == {"WK810"}
    assert codes(module_class("os.system") + tuple_of(CMD) + REDUCE + STOP) >= {"WK801"}
    other = module_class("torch.nn.modules.linear.Linear").replace(b"module", b"nodule")
    assert "WK805" in codes(other + made)


# One test for each code


ONE: dict[str, bytes] = {
    "WK801": call("os.system", CMD) + STOP,
    "WK802": name("os.system") + STOP,
    "WK803": b"N" + text("system") + b"\x93.",
    "WK804": b"\x83\1\0.",
    "WK805": call("collections.OrderedDict") + EMPTY_TUPLE + REDUCE + STOP,
    "WK806": name("collections.OrderedDict") + EMPTY_DICT + BUILD + STOP,
    "WK807": call("collections.OrderedDict") + dict_of(text("__class__"), NONE) + BUILD + STOP,
    "WK810": call("mylib.f") + STOP,
    "WK811": name("mylib.f") + STOP,
    "WK812": call("collections.OrderedDict", number(1), number(2)) + STOP,
    "WK813": NONE + b"Q.",
    "WK816": call("numpy.dtype", text("O8"), b"\x89", b"\x88")
    + tuple_of(
        *(number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(0)),
    )
    + BUILD
    + STOP,
}


@pytest.mark.parametrize("code", ONE)
def test_each_code_alone(code: str) -> None:
    assert codes(proto(2) + ONE[code]) - {"WK003"} == {code}


def test_pickles_nested_too_deep() -> None:
    stream = proto(2) + NONE + STOP
    for _ in range(5):
        stream = proto(2) + call("torch.storage._load_from_bytes", raw(stream)) + STOP
    assert "WK815" in codes(stream)


def test_torchscript_is_for_review() -> None:
    path = Path(__file__).parents[2] / "fixtures/torch/torchscript.pt"
    found = scanned(path.read_bytes())
    assert "WK814" in {item.code for item in found}
    assert verdict(found) == "review"


def test_every_rule_has_a_test() -> None:
    assert {rule.code for rule in PICKLE_RULES} == {*ONE, "WK814", "WK815", "WK817"}


# The trusted table

STORAGE = (
    tuple_of(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(1)) + b"Q"
)
ONE_ITEM = tuple_of(number(1))
TENSOR = call("torch._utils._rebuild_tensor", STORAGE, number(0), ONE_ITEM, ONE_ITEM)


def dtype(code: str, *state: bytes) -> bytes:
    """An element type of NumPy, with the state that NumPy gives it unless another is given."""
    head = (number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
    made = call("numpy.dtype", text(code), b"\x89", b"\x88")
    return made + tuple_of(*(state or head)) + BUILD


ARGUMENTS: dict[str, list[bytes]] = {
    "storage_first": [STORAGE, number(0), ONE_ITEM, ONE_ITEM],
    "rebuilt_first": [TENSOR, b"\x88", EMPTY_DICT],
    "layouts": [name("torch.sparse_coo"), tuple_of(TENSOR, TENSOR, ONE_ITEM)],
    "dtype_first": [name("torch.float32"), ONE_ITEM, ONE_ITEM],
    "class_first": [name("torch.Tensor")],
    "_rebuilt": [
        name("torch._utils._rebuild_tensor"),
        name("torch.Tensor"),
        tuple_of(STORAGE, number(0), ONE_ITEM, ONE_ITEM),
        EMPTY_DICT,
    ],
    "plains": [text("1")],
    "one": [number(1)],
    "fraction": [text("1/3")],
    "iterable": [list_of(tuple_of(text("a"), number(1)))],
    "factory": [name("builtins.list")],
    "latin1": [text("ab"), text("latin1")],
    "maker": [name("numpy.ndarray"), tuple_of(number(0)), raw(b"b")],
    "masked_maker": [
        *(name("numpy.ma.core.MaskedArray"), name("numpy.ndarray")),
        *(tuple_of(number(0)), raw(b"b")),
    ],
    "scalar": [dtype("f4"), raw(b"abcd")],
    "from_buffer": [raw(b"abcd"), dtype("f4"), ONE_ITEM, text("C")],
    "dtype": [text("f4"), b"\x89", b"\x88"],
    "bounded": [raw(b"ab")],
    "items": [list_of(number(1)), number(2)],
    "_new_object": [name("collections.OrderedDict")],
    "reconstructed": [name("collections.OrderedDict"), name("builtins.object"), NONE],
    "generator": [text("MT19937")],
    "keywords": [dict_of(text("values"), TENSOR)],
    "numeric_function": [text("numpy"), text("add")],
    "anything": [],
}


@pytest.mark.parametrize("key", TRUSTED, ids=".".join)
def test_each_row_is_quiet_in_its_role(key: tuple[str, str]) -> None:
    trust, path = TRUSTED[key], ":".join(key)
    if trust.mention:
        assert judged(proto(2) + name(path) + STOP) == "safe"
    if trust.call is not None:
        args = ARGUMENTS[trust.call.__name__]
        said = codes(proto(2) + call(path, *args) + STOP)
        assert not {code for code in said if code.startswith("WK8")}
    if trust.new:
        assert not [c for c in codes(proto(2) + new(path) + STOP) if c.startswith("WK8")]
    assert trust.why


@pytest.mark.parametrize("key", TRUSTED, ids=".".join)
def test_each_row_is_refused_outside_its_role(key: tuple[str, str]) -> None:
    trust, path = TRUSTED[key], ":".join(key)
    if trust.call is None and not trust.new:
        assert judged(proto(2) + call(path, number(1)) + STOP) != "safe"
    if not trust.new:
        assert judged(proto(2) + new(path, number(1), NONE, call("mylib.f")) + STOP) != "safe"
    if not (trust.build or trust.fill):
        patched = name(path) + EMPTY_TUPLE + b"\x81" + dict_of(text("a"), NONE) + BUILD + STOP
        assert judged(proto(2) + patched) != "safe"
    assert judged(proto(2) + name(path) + EMPTY_DICT + BUILD + STOP) == "unsafe"
    assert judged(proto(2) + name(path) + number(0) + number(1) + SETITEM + STOP) == "unsafe"
    assert judged(proto(2) + name(path) + MARK + NONE + APPENDS + STOP) == "unsafe"
    assert judged(proto(4) + name(f"{path}.__globals__") + STOP) == "unsafe"


@pytest.mark.parametrize("key", TRUSTED, ids=".".join)
def test_only_the_exact_name_is_trusted(key: tuple[str, str]) -> None:
    module, last = key
    assert judged(proto(2) + name(f"{module}x:{last}") + STOP) != "safe"
    assert judged(proto(2) + name(f"{module}:{last}x_") + STOP) != "safe"


def test_shapes_of_arguments() -> None:
    range_of_many = call("builtins.range", number(1 << 30))
    odd = {
        # each of these takes all memory, or makes a class
        "list by _reconstructor": call(
            "copyreg._reconstructor", name("builtins.list"), name("builtins.list"), range_of_many
        ),
        "a scalar of zeros": call("numpy.core.multiarray.scalar", dtype("V2000000000")),
        "a power of ten": call("fractions.Fraction", text("1e999999999")),
        "a new enumeration": call(
            "torch.amp.grad_scaler.OptState", text("X"), list_of(tuple_of(text("a"), number(1)))
        ),
        "a generator of what a call made": call(
            "numpy.random._pickle.__bit_generator_ctor",
            call("numpy.core._ufunc_reconstruct", text("numpy"), text("ndarray")),
        ),
        "defaultdict with a function": call("collections.defaultdict", name("builtins.print")),
        "a tuple of what never ends": new(
            "builtins.tuple", call("builtins.range", number(1 << 30))
        ),
        "a rebuild of a rebuild": call(
            "torch._tensor._rebuild_from_type_v2",
            name("torch._tensor._rebuild_from_type_v2"),
            name("torch.Tensor"),
            tuple_of(name("torch.Tensor"), name("torch.Tensor"), EMPTY_TUPLE),
            NONE,
        ),
        "a generator made by another function": call(
            "numpy.random._pickle.__generator_ctor", text("x"), name("builtins.list")
        ),
        "text in another encoding": call("_codecs.encode", text("x"), text("rot13")),
        "an array of another class": call("numpy.core.multiarray._reconstruct", name("mylib.A")),
        "a list of arguments": name("collections.OrderedDict") + list_of() + REDUCE,
    }
    for what, stream in odd.items():
        assert judged(proto(2) + stream + STOP) == "review", what


# What is nested


def test_a_nested_tensor_is_as_safe_as_it_is() -> None:
    inner = proto(2) + dict_of(text("a"), number(1)) + STOP
    for held in (raw(inner), call("_codecs.encode", text(inner.decode("latin-1")), text("latin1"))):
        assert judged(proto(2) + call("torch.storage._load_from_bytes", held) + STOP) == "safe"


def test_the_same_bytes_many_times_are_judged_once() -> None:
    inner = proto(2) + call("mylib.f") + POPS + STOP
    held = raw(inner) + b"q\0"
    again = (name("torch.storage._load_from_bytes") + b"h\0\x85R0") * 20_000
    start = time.process_time()
    assert judged(proto(2) + held + b"0" + again + NONE + STOP) == "review"
    assert time.process_time() - start < 3


POPS = b"0" + NONE


# Dangers


@pytest.mark.parametrize("module", DANGEROUS_MODULES)
def test_dangerous_modules_with_all_below(module: str) -> None:
    assert danger(module, "anything_at_all") is not None
    assert danger(f"{module}.below", "anything_at_all") is not None
    assert danger("mylib", "anything_at_all") is None


def test_dangerous_parts() -> None:
    for part, kind in DANGEROUS_PARTS.items():
        assert danger(part, "anything") == kind
        package, _, last = part.partition(".")
        assert danger(package, f"{last}.anything") is not None


def test_telling_names() -> None:
    for word in TELLING_NAMES:
        assert danger("mylib", word) is not None
        assert danger("mylib", word, called=False) is not None
    for word in CALLED_NAMES:
        assert danger("mylib", word) is not None
        assert danger("mylib", word, called=False) is None


def test_words_of_functions() -> None:
    for word, kind in CALLED_WORDS.items():
        assert danger("mylib", f"do_{word}_now") == kind
        assert danger("mylib", f"do_{word}_now", called=False) is None
        assert danger("mylib", f"Do{word.capitalize()}") is None
        for other in RESTORING_WORDS:
            assert danger("mylib", f"_{other}_{word}") is None


def test_harmful_and_safe_names() -> None:
    for key, kind in HARMFUL_NAMES.items():
        assert danger(*key) == kind
    for module, names in SAFE_NAMES.items():
        assert all(danger(module, item) is None for item in names)


def test_the_tables_do_not_contradict_one_another() -> None:
    for module, last in TRUSTED:
        if (module, last) in HARMFUL_NAMES:  # trusted with the arguments that it is meant for alone
            assert TRUSTED[module, last].call is numeric_function
            assert not TRUSTED[module, last].mention
    assert not TELLING_NAMES.keys() & CALLED_NAMES.keys()


def test_private_parts_of_the_standard_library_are_no_data() -> None:
    for module in ("_bootlocale", "antigravity", "turtle", "email", "xml.sax", "difflib"):
        assert danger(module, "thing") is not None


ORDINARY = """sklearn.pipeline.Pipeline sklearn.tree._tree.Tree sklearn._loss.link.LogitLink
    sklearn.ensemble._forest.RandomForestClassifier sklearn.neighbors._kd_tree.newObj
    sklearn.metrics._dist_metrics.newObj sklearn.preprocessing._function_transformer.FunctionTransformer
    sklearn.feature_extraction.text.TfidfVectorizer sklearn.utils._bunch.Bunch
    pandas.core.frame.DataFrame pandas._libs.internals._unpickle_block
    pandas.core.internals.managers.BlockManager pandas.core.indexes.base._new_Index
    pandas._libs.tslibs.timestamps._unpickle_timestamp pandas.core.arrays.categorical.Categorical
    scipy.sparse._csr.csr_matrix scipy.interpolate._interpolate.interp1d scipy.signal._ltisys.lti
    scipy.stats._distn_infrastructure.rv_frozen numpy.lib.stride_tricks.DummyArray
    numpy.lib.polynomial.poly1d xgboost.core.Booster xgboost.sklearn.XGBClassifier
    lightgbm.basic.Booster catboost.core.CatBoostClassifier gensim.models.word2vec.Word2Vec
    gensim.models.keyedvectors.KeyedVectors spacy.tokens.doc.unpickle_doc spacy.vocab.unpickle_vocab
    nltk.tokenize.punkt.PunktSentenceTokenizer pytorch_lightning.utilities.parsing.AttributeDict
    pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint
    lightning.fabric.utilities.data.AttributeDict omegaconf.dictconfig.DictConfig
    omegaconf.base.ContainerMetadata omegaconf.nodes.AnyNode typing.Any
    transformers.training_args.TrainingArguments transformers.trainer_utils.IntervalStrategy
    transformers.utils.generic.PaddingStrategy transformers.utils.quantization_config.QuantizationMethod
    transformers.training_args_seq2seq.Seq2SeqTrainingArguments transformers.tokenization_utils_base.AddedToken
    accelerate.state.PartialState accelerate.utils.dataclasses.DistributedType
    timm.models.vision_transformer.VisionTransformer models.yolo.Model models.common.Conv
    ultralytics.nn.tasks.DetectionModel ultralytics.utils.IterableSimpleNamespace
    detectron2.config.config.CfgNode yacs.config.CfgNode fairseq.data.dictionary.Dictionary
    fairseq.meters.AverageMeter argparse.Namespace torch.nn.modules.linear.Linear
    torch.nn.functional.relu torch._C._nn.gelu torch._dynamo.eval_frame.OptimizedModule
    torch.optim.adam.Adam torch.distributed._shard.sharded_tensor.api.ShardedTensor PIL.Image.Image
    PIL.PngImagePlugin.PngImageFile torchvision.transforms.functional.InterpolationMode
    dataclasses._MISSING_TYPE dataclasses.Field weakref.WeakValueDictionary logging.Logger
    string.Template threading.Lock functools.partial functools.lru_cache itertools.count
    operator.itemgetter inspect.Signature types.SimpleNamespace collections.UserDict enum.Enum
    re._compile _regex.compile pyarrow.lib.type_for_alias h11._state.CLIENT pydantic.main.BaseModel
    tokenizers.Tokenizer sentencepiece.SentencePieceProcessor faiss.swigfaiss.Index
    torch_geometric.data.data.Data dgl.heterograph.DGLGraph hdbscan.hdbscan_.HDBSCAN
    statsmodels.regression.linear_model.OLS optuna.study.study.Study deap.creator.Individual
    mylib.data.load mylib.ops.reduce mylib.Process mylib.queue mylib.signal mylib.tests.Model
    joblib.memory.Memory numpy.memmap""".split()


@pytest.mark.parametrize("path", ORDINARY)
def test_ordinary_names_are_for_review(path: str) -> None:
    assert judged(proto(2) + name(path) + STOP) == "review"
    if path not in ("numpy.memmap",):
        made = new(path) + dict_of(text("load"), text("os.system")) + BUILD + STOP
        assert judged(proto(2) + made) == "review"


@pytest.mark.parametrize("path", [p for p in ORDINARY if not p.startswith("mylib.")])
def test_ordinary_calls_are_for_review(path: str) -> None:
    if path != "numpy.memmap":
        assert judged(proto(2) + call(path, number(1)) + STOP) == "review"


def test_members_of_enumerations_and_methods_are_for_review() -> None:
    for owner in (name("mylib.Mode"), call("mylib.f"), new("mylib.C")):
        assert judged(proto(2) + call("builtins.getattr", owner, text("ONE")) + STOP) == "review"


def test_a_method_that_is_looked_up_is_its_dotted_name() -> None:
    owner = name("mylib.Zone")
    made = call("builtins.getattr", owner, text("from_key")) + tuple_of(text("UTC")) + REDUCE
    assert judged(proto(2) + made + STOP) == "review"
    zone = call("builtins.getattr", name("zoneinfo.ZoneInfo"), text("_unpickle"))
    assert judged(proto(2) + zone + tuple_of(text("UTC")) + REDUCE + STOP) == "review"
    assert judged(proto(4) + call("zoneinfo:ZoneInfo._unpickle", text("UTC")) + STOP) == "review"
    for attribute in ("load", "system", "__init__"):
        made = call("builtins.getattr", owner, text(attribute)) + tuple_of(CMD) + REDUCE
        assert judged(proto(2) + made + STOP) == "unsafe"


FUNCTIONS = """mylib.run_in_shell mylib.exec_query mylib.tools.download_file mylib.load_plugin
    mylib.evaluate_expr mylib.openFile mylib.import_hook mylib._write_text mylib.x.deleteAll
    mylib.apply_fn mylib.main numpy.vectorize git.Repo.clone_from transformers.pipeline
    corpus._marker.drop_canary mylib.pwned exceptions.system""".split()


@pytest.mark.parametrize("path", FUNCTIONS)
def test_functions_that_say_what_they_do(path: str) -> None:
    module, _, last = path.rpartition(".")
    if module == "git.Repo":
        module, last = "git", "Repo.clone_from"
    assert judged(proto(2) + call(f"{module}:{last}", CMD) + STOP) == "unsafe"


RESTORERS = """mylib.unpickle_doc mylib._load_pickle_new mylib._rebuild_and_run mylib.make_writer
    mylib.newobj mylib.RunLength mylib.Opener mylib._Reader mylib.trunc mylib.rerunner
    test.MyNet test.model.Net builtins.ValueError exceptions.KeyError""".split()


@pytest.mark.parametrize("path", RESTORERS)
def test_functions_that_restore_and_classes_do_not(path: str) -> None:
    assert judged(proto(2) + call(path, number(1)) + STOP) == "review"


def test_text_is_only_text() -> None:
    words = [
        text(word) for word in ("__class__", "os.system('id')", "__reduce__", "eval", "cos\nsystem")
    ]
    stream = proto(2) + dict_of(*[part for word in words for part in (word, word)]) + STOP
    assert scanned(stream) == []
    assert judged(proto(4) + raw(b"cos\nsystem\n(S'id'\ntR.") + STOP) == "safe"


# Renames


def test_renames_are_those_of_the_standard_library() -> None:
    dropped = RENAMED_MODULES.keys() - _compat_pickle.IMPORT_MAPPING.keys()
    assert dropped <= {"Tix"}  # by Python 3.13; what is named is what any loader would make of it
    assert RENAMED_MODULES.items() >= _compat_pickle.IMPORT_MAPPING.items()
    assert _compat_pickle.NAME_MAPPING == RENAMED_NAMES


# Verdicts


def test_the_worst_finding_decides() -> None:
    order = [finding(code, "") for code in ("WK325", "WK003", "WK811", "WK801")]
    assert [verdict(order[: i + 1]) for i in range(4)] == list(VERDICTS)
    assert verdict([]) == "safe"


def test_dangers_are_unsafe_and_warnings_for_review() -> None:
    for code, rule in RULES.items():
        found = verdict([finding(code, "")])
        assert (found == "safe") == (rule.severity == "note")
        if code.startswith("WK8"):
            assert found == ("unsafe" if rule.severity == "danger" else "review")


# Bounds


def test_shared_structures_are_judged_in_bounded_time() -> None:
    rounds = b"".join(bytes([0x71, i]) + MARK + bytes([0x68, i]) * 200 + TUPLE for i in range(60))
    stream = proto(2) + number(1) + rounds + b"\x85qz0" + call("torch.Size", b"hz") * 300 + STOP
    start = time.process_time()
    scanned(stream)
    assert time.process_time() - start < 5
