"""Everything that NumPy itself pickles is safe; states that it would believe unchecked are not."""

from __future__ import annotations

import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.pickles import BUILD, NONE, STOP, call, dict_of, name, number, proto, raw, text, tuple_of
from weightkit.analyses.safety import verdict
from weightkit.analyses.scanning import findings
from weightkit.opening.examining import examine
from weightkit.source import Buffer


def judged(stream: bytes) -> str:
    return verdict(findings(examine(Buffer(stream, "x.pkl"))))


INNER = np.dtype([("x", ">f8"), ("y", "i2", (3,))])
DTYPES: list[Any] = [
    *"?bBhHiIlLqQefdgFDG",
    *("<f4", ">f4", "=i8", "|u1", "S", "S7", "U", "U7", "V5", "O", "c"),
    *("M8[ns]", "M8", "m8[D]", ">m8[3us]"),
    [("a", "i4"), ("b", "f4")],
    [("a", "i4"), ("b", "O")],
    [("a", INNER), ("b", INNER, (2, 2))],
    [(("title", "a"), "i4")],
    ("f4", (2, 3)),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype({"names": ["b", "a"], "formats": ["i4", "i4"], "offsets": [4, 0], "itemsize": 32}),
    np.dtype("i4", metadata={"unit": "m"}),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("spec", DTYPES, ids=str)
def test_element_types_and_arrays_of_numpy_are_safe(spec: Any, protocol: int) -> None:
    kind = np.dtype(spec)
    held = [
        kind,
        np.zeros((2, 3), kind),
        np.zeros((), kind),
        np.asfortranarray(np.zeros((2, 2), kind)),
    ]
    if not kind.hasobject and kind.subdtype is None:
        held.append(np.zeros(2, kind)[0])
    assert judged(pickle.dumps(held, protocol)) == "safe"


@pytest.mark.parametrize("protocol", range(6))
def test_other_arrays_of_numpy_are_safe(protocol: int) -> None:
    held = [
        np.arange(12).reshape(3, 4)[::2, ::-1],
        np.ma.array([1, 2], mask=[0, 1], fill_value=9),
        np.ma.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([{"k": np.arange(2)}, None], dtype=object),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.random.RandomState(1),
        np.random.default_rng(1),
        [np.float32(1), np.int8(1), np.bool_(True), np.str_("a"), np.complex64(1j)],
    ]
    assert judged(pickle.dumps(held, protocol)) == "safe"


def dtype(code: str, order: str, *rest: bytes) -> bytes:
    made = call("numpy.dtype", text(code), b"\x89", b"\x88")
    return made + tuple_of(number(3), text(order), *rest) + BUILD


def fields(*rows: bytes) -> tuple[bytes, bytes]:
    names = tuple_of(*(text(f"f{i}") for i in range(len(rows))))
    return names, dict_of(*(part for i, row in enumerate(rows) for part in (text(f"f{i}"), row)))


OBJECT = dtype("O8", "|", NONE, NONE, NONE, number(-1), number(-1), number(63))
FLOAT = dtype("f8", "<", NONE, NONE, NONE, number(-1), number(-1), number(0))
LIES = {
    "an object without the flag": dtype(
        "O8", "|", NONE, NONE, NONE, number(-1), number(-1), number(0)
    ),
    "the flag without an object": dtype(
        "f8", "<", NONE, NONE, NONE, number(-1), number(-1), number(63)
    ),
    "another size": dtype("V8", "|", NONE, NONE, NONE, number(800), number(1), number(0)),
    "an object field without the flag": dtype(
        "V8", "|", NONE, *fields(tuple_of(OBJECT, number(0))), number(8), number(1), number(0)
    ),
    "a field outside": dtype(
        "V8", "|", NONE, *fields(tuple_of(FLOAT, number(8))), number(8), number(1), number(16)
    ),
    "a field before": dtype(
        "V8", "|", NONE, *fields(tuple_of(FLOAT, number(-8))), number(8), number(1), number(16)
    ),
    "fields of a number": dtype(
        "f8", "<", NONE, *fields(tuple_of(FLOAT, number(0))), number(8), number(1), number(16)
    ),
    "a field that is no type": dtype(
        "V8", "|", NONE, *fields(tuple_of(text("f8"), number(0))), number(8), number(1), number(16)
    ),
    "a subarray of another size": dtype(
        "V8", "|", tuple_of(FLOAT, tuple_of(number(3))), NONE, NONE, number(8), number(8), number(0)
    ),
    "a subarray of objects": dtype(
        "V8",
        "|",
        tuple_of(OBJECT, tuple_of(number(1))),
        NONE,
        NONE,
        number(8),
        number(8),
        number(0),
    ),
    "too few": dtype("f8", "<"),
    "a dict": call("numpy.dtype", text("f8")) + dict_of(text("a"), NONE) + BUILD,
    "no byte order": dtype("f8", "!", NONE, NONE, NONE, number(-1), number(-1), number(0)),
}


@pytest.mark.parametrize("what", LIES)
def test_an_element_type_that_contradicts_itself(what: str) -> None:
    assert judged(proto(2) + LIES[what] + STOP) == "unsafe"


ARRAY = call(
    "numpy.core.multiarray._reconstruct", name("numpy.ndarray"), tuple_of(number(0)), raw(b"b")
)
HUGE = b"\x8a\x06\0\0\0\0\0\x10"
ODD = {
    "objects from bytes": ARRAY
    + tuple_of(number(1), tuple_of(number(1)), OBJECT, b"\x89", raw(bytes(8)))
    + BUILD,
    "no element type": ARRAY
    + tuple_of(number(1), tuple_of(number(1)), NONE, b"\x89", raw(b""))
    + BUILD,
    "an array of a given size": call(
        "numpy.core.multiarray._reconstruct", name("numpy.ndarray"), tuple_of(HUGE), raw(b"b")
    ),
    "an object from bytes": call("numpy.core.multiarray.scalar", OBJECT, raw(bytes(8))),
    "a buffer of objects": call(
        "numpy.core.numeric._frombuffer", raw(bytes(8)), OBJECT, tuple_of(number(1)), text("C")
    ),
    "an element type of an object": call("numpy.dtype", call("collections.OrderedDict")),
    "a generator of another class": call(
        "numpy.random._pickle.__generator_ctor", name("collections.OrderedDict")
    ),
    "bytes of a given length": call("builtins.bytes", HUGE),
    "the same by NEWOBJ": name("builtins.bytearray") + tuple_of(HUGE) + b"\x81",
    "the same by copyreg": call("copyreg.__newobj__", name("builtins.bytes"), HUGE),
    "the same by the oldest way": call(
        "copyreg._reconstructor", name("builtins.bytes"), name("builtins.bytes"), HUGE
    ),
    "keywords": name("pathlib.PosixPath")
    + tuple_of(text("a"))
    + dict_of(text("x"), NONE)
    + b"\x92",
    "joblib's wrapper with a method": name("joblib.numpy_pickle.NumpyArrayWrapper")
    + b")\x81"
    + dict_of(text("read"), name("builtins.int"))
    + BUILD,
}


@pytest.mark.parametrize("what", ODD)
def test_arguments_that_nobody_writes(what: str) -> None:
    assert judged(proto(2) + ODD[what] + STOP) == "review"


def test_a_parameter_with_the_state_of_another_class() -> None:
    storage = tuple_of(
        *(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(1))
    )
    one = tuple_of(number(1))
    tensor = call("torch._utils._rebuild_tensor", storage + b"Q", number(0), one, one)
    state = dict_of(text("__class__"), name("torch.Tensor"))
    made = call("torch._utils._rebuild_parameter_with_state", tensor, b"\x88", NONE, state)
    assert judged(proto(2) + made + STOP) == "unsafe"
