"""Keras configs: what building the model would import, run or read."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from weightkit.analyses.folder import look
from weightkit.opening import examine
from weightkit.source import Buffer


def model(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}, **more}


def layer(name: str, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"class_name": name, "config": config or {}, **more}


def codes(document: Any) -> dict[str, str]:
    raw = json.dumps(document).encode()
    return {item.code: item.severity for item in examine(Buffer(raw, "m.json"), look=look).faults()}


DENSE = layer("Dense", {"units": 2, "activation": "relu"})

ORDINARY = [
    model(DENSE),
    model(layer("Dense", module="keras.layers", registered_name=None)),
    model(layer("Dense", module="tensorflow.keras.layers")),
    model(
        layer("Dense", {"kernel_initializer": layer("GlorotUniform", module="keras.initializers")})
    ),
    model(
        layer(
            "Activation", {"activation": layer("function", module="builtins") | {"config": "relu"}}
        )
    ),
    model(
        layer("StringLookup", {"vocabulary": ["a", "b"]}),
        layer("TextVectorization", {"vocabulary": None}),
    ),
    model(layer("TFOpLambda", {"function": "math.add"})),
    model(DENSE, optimizer=layer("Adam", {"learning_rate": layer("ExponentialDecay")})),
    {
        "class_name": "Functional",
        "config": {"layers": [layer("InputLayer")], "input_layers": [["a", 0, 0]]},
    },
    {"class_name": "__tensor__", "config": {"value": [1], "dtype": "float32"}},
    model(layer("Dense", {"name": "get_file", "doc": "call keras.utils.get_file first"})),
    model(layer("Dense", module="keras.layers", registered_name="Dense")),
]


@pytest.mark.parametrize("document", ORDINARY, ids=lambda item: json.dumps(item)[20:70])
def test_an_ordinary_model_is_left_alone(document: Any) -> None:
    assert codes(document) == {}


FAULTY: list[tuple[dict[str, Any], str, str]] = [
    # CVE-2024-3660, CVE-2025-9905: marshalled code, code as text
    (layer("Lambda", {"function": ["4wEAAAA=", None, None]}), "WK920", "danger"),
    (layer("Lambda", {"function": "lambda x: eval('1')"}), "WK920", "danger"),
    (
        layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wE="}}}),
        "WK920",
        "danger",
    ),
    (
        layer("Lambda", {"function": {"class_name": "function", "config": "my_fn"}}),
        "WK923",
        "warning",
    ),
    (layer("Lambda", {"function": "eval"}), "WK920", "danger"),
    # CVE-2025-49655
    (layer("TorchModuleWrapper", {"module": "gAJ9"}, module="keras.layers"), "WK920", "danger"),
    # CVE-2025-1550
    (layer("system", {"command": "id"}, module="os"), "WK921", "danger"),
    ({"class_name": "function", "config": "run", "module": "subprocess"}, "WK921", "danger"),
    ({"class_name": "function", "config": "exec", "module": "builtins"}, "WK921", "danger"),
    (layer("Layer", module="mypackage.layers"), "WK923", "warning"),
    (layer("Dense", registered_name="mine>Dense"), "WK923", "warning"),
    (layer("MyLayer"), "WK923", "warning"),
    (layer("Reversal", module="keras_cv.layers"), "WK923", "warning"),
    # CVE-2026-1462, CVE-2025-12058, CVE-2025-8747
    (layer("TFSMLayer", {"filepath": "/tmp/x"}, module="keras.layers"), "WK922", "danger"),
    (layer("StringLookup", {"vocabulary": "/etc/passwd"}), "WK922", "danger"),
    (layer("TextVectorization", {"vocabulary": "http://x/y"}), "WK922", "danger"),
    (layer("IntegerLookup", {"vocabulary": "vocabulary.txt"}), "WK922", "warning"),
    ({"class_name": "function", "config": "get_file", "module": "keras.utils"}, "WK922", "danger"),
    (layer("TFOpLambda", {"function": "io.read_file"}), "WK922", "danger"),
    (layer("TensorFlowOpLayer", {"node_def": '{"op": "PyFunc"}'}), "WK922", "danger"),
    (layer("JaxLayer", {"call_fn": "f"}), "WK923", "warning"),
    # modelaudit test_keras_zip_scanner: functions and modules named in arguments
    (
        layer("Dense", {"fn": "get_file", "url": "https://x/y"}, module="keras.utils"),
        "WK922",
        "warning",
    ),
    (
        layer("Dense", {"a": {"b": "keras.config.enable_unsafe_deserialization"}}),
        "WK922",
        "warning",
    ),
    (layer("Dense", {"fn_module": "subprocess"}), "WK921", "danger"),
    (layer("Dense", {"units": 1}, module="builtins"), "WK923", "warning"),
    (layer("Dense", registered_name="custom_package.CustomDense"), "WK923", "warning"),
]


@pytest.mark.parametrize(("faulty", "code", "severity"), FAULTY, ids=lambda item: str(item)[:60])
def test_a_faulty_layer_is_found(faulty: dict[str, Any], code: str, severity: str) -> None:
    assert codes(model(DENSE, faulty)).get(code) == severity


def test_a_layer_inside_a_wrapper_is_found() -> None:
    wrapped = layer("TimeDistributed", {"layer": layer("Bidirectional", {"layer": FAULTY[0][0]})})
    assert "WK920" in codes({"model_config": model(wrapped), "keras_version": "2.15.0"})


def test_a_keras_archive_is_judged_by_its_members() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.5.0"}')
        archive.writestr("config.json", json.dumps(model(FAULTY[0][0])))
    (found,) = examine(Buffer(held.getvalue(), "m.keras"), look=look).faults()
    assert (found.code, found.entry) == ("WK920", "config.json")
