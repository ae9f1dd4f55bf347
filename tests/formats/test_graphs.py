"""Graphs of operations: what they name, wherever it stands in them."""

from __future__ import annotations

import struct
import time

import pytest

from weightkit.analyses.folder import look
from weightkit.opening import examine
from weightkit.source import Buffer


def codes(name: str, content: bytes) -> dict[str, str]:
    return {item.code: item.severity for item in examine(Buffer(content, name), look=look).faults()}


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """A message of protocol buffers: (number, value) pairs."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def node(operation: str, domain: str = "", *attributes: bytes) -> bytes:
    return message(
        (1, "x"), (2, "y"), (4, operation), *((5, item) for item in attributes), (7, domain)
    )


def tensor(location: str = "") -> bytes:
    external = message((1, "location"), (2, location))
    return message((1, 3), (2, 1), (8, "w"), *([(13, external), (14, 1)] if location else []))


def graph(*nodes: bytes, tensors: tuple[bytes, ...] = ()) -> bytes:
    return message(*((1, item) for item in nodes), (2, "g"), *((5, item) for item in tensors))


def model(held: bytes, *more: tuple[int, bytes]) -> bytes:
    return message((1, 9), (2, "maker"), (7, held), *more)


RELU = node("Relu")


@pytest.mark.parametrize("name", ["m.onnx", "m.bin", "model"])
def test_an_ordinary_onnx_model_is_safe(name: str) -> None:
    held = graph(RELU, node("Gelu", "com.microsoft"), tensors=(tensor(), tensor("weights.data")))
    assert codes(name, model(held)) == {}


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../x", "a/../../x", "..\\x", "C:\\x", "http://x/y", "~/x"]
)
def test_external_data_outside_the_folder_is_dangerous(location: str) -> None:
    assert codes("m.onnx", model(graph(RELU, tensors=(tensor(location),)))) == {"WK930": "danger"}


def test_external_data_is_found_in_attributes_and_functions() -> None:
    in_attribute = node("Constant", "", message((1, "value"), (5, tensor("/x"))))
    assert codes("m.onnx", model(graph(in_attribute))) == {"WK930": "danger"}
    function = message((1, "f"), (7, in_attribute))
    assert codes("m.onnx", model(graph(RELU), (25, function))) == {"WK930": "danger"}
    sparse = message((1, tensor("/x")))
    assert codes("m.onnx", model(message((1, RELU), (15, sparse)))) == {"WK930": "danger"}


def test_operations_are_found_in_inner_graphs() -> None:
    inner = graph(node("PyOp", "ai.onnx.contrib"))
    outer = node("If", "", message((1, "then_branch"), (6, inner)))
    assert codes("m.onnx", model(graph(outer))) == {"WK931": "danger"}


def test_a_custom_operation_is_for_review() -> None:
    assert codes("m.onnx", model(graph(node("Mine", "my.ops")))) == {"WK932": "warning"}


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_broken_onnx_model_is_unread(cut: int) -> None:
    held = model(graph(RELU))
    assert codes("m.onnx", held[:cut]).keys() <= {"WK003", "WK004"} != set()


def test_a_graph_built_to_exhaust_is_answered() -> None:
    deep = graph(RELU)
    for _ in range(2000):
        deep = graph(node("If", "", message((1, "b"), (6, deep))))
    begun = time.process_time()
    assert codes("m.onnx", model(deep)).keys() <= {"WK003", "WK004"}
    wide = message((1, 9), (7, message((1, b"")) * 2_000_000))
    assert codes("m.onnx", wide).keys() <= {"WK003", "WK004"}
    assert time.process_time() - begun < 5


# TensorFlow


def saved(*operations: str) -> bytes:
    nodes = [(1, message((1, f"n{number}"), (2, op))) for number, op in enumerate(operations)]
    return message((1, 1), (2, message((2, message(*nodes)))))


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("PyFunc", "WK931"),
        ("ReadFile", "WK931"),
        ("WriteFile", "WK931"),
        ("TextLineDataset", "WK932"),
    ],
)
def test_an_operation_that_reaches_out_is_told(operation: str, code: str) -> None:
    found = codes("saved_model.pb", saved("Const", operation, "MatMul"))
    assert found.keys() == {"WK004", code}


def test_an_ordinary_saved_model_is_unread() -> None:
    held = saved("Const", "SaveV2", "RestoreV2", "MatMul", "PyFuncs")
    assert codes("saved_model.pb", held) == {"WK004": "warning"}


def test_a_graph_as_text_is_searched() -> None:
    assert "WK931" in codes("graph.pbtxt", b'node { name: "a" op: "PyFunc" }')


def test_a_keras_config_in_a_saved_model_is_judged() -> None:
    config = b'{"class_name": "Lambda", "config": {"function": "lambda x: eval(1)"}}'
    assert "WK920" in codes("keras_metadata.pb", message((1, message((5, config)))))


# TensorFlow Lite


def tflite(*customs: str) -> bytes:
    """A root table whose second field is a vector of tables, each with its custom name."""
    out = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def point(place: int) -> None:
        struct.pack_into("<I", out, place, len(out) - place)

    def table() -> int:
        """A table of two fields, the first absent; gives the place of the second."""
        out.extend(struct.pack("<HHHH", 8, 8, 0, 4))
        out.extend(struct.pack("<iI", 8, 0))
        return len(out) - 4

    struct.pack_into("<I", out, 0, len(out) + 8)
    field = table()
    point(field)
    out.extend(struct.pack("<I", len(customs)) + bytes(4 * len(customs)))
    places = range(len(out) - 4 * len(customs), len(out), 4)
    for place, custom in zip(places, customs, strict=True):
        struct.pack_into("<I", out, place, len(out) + 8 - place)
        point(table())
        out.extend(struct.pack("<I", len(custom)) + custom.encode())
    return bytes(out)


@pytest.mark.parametrize(
    ("custom", "code"),
    [
        ("TFLite_Detection_PostProcess", ""),
        ("FlexMatMul", ""),
        ("FlexReadFile", "WK931"),
        ("FlexTextLineDataset", "WK932"),
        ("MyOp", "WK932"),
    ],
)
def test_custom_operators_of_tflite_are_told(custom: str, code: str) -> None:
    assert set(codes("m.tflite", tflite(custom))) == ({code} if code else set())


@pytest.mark.parametrize("cut", [9, 20, -3])
def test_a_broken_tflite_model_is_unread(cut: int) -> None:
    assert codes("m.tflite", tflite("MyOp")[:cut]) == {"WK004": "warning"}


# XML


def test_xml_is_searched() -> None:
    plain = b'<?xml version="1.0"?><PMML><DataField name="a"/></PMML>'
    assert codes("m.pmml", plain) == {"WK004": "warning"}
    external = (
        b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'
    )
    assert codes("m.xml", external)["WK950"] == "danger"
    laughs = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>'
    assert codes("m.xml", laughs)["WK951"] == "warning"
    library = b'<?xml version="1.0"?><net><layer type="X" library="/tmp/evil.so"/></net>'
    assert codes("m.xml", library)["WK932"] == "warning"
