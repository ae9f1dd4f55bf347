"""Keras configs: what building the model would import, run, unpickle or read.

A config is a tree of ``{"class_name", "config"}``, since Keras 3 with ``module`` and
``registered_name``. Keras builds it by looking the class up among its own, and else by importing
``module`` (CVE-2025-1550); a Lambda layer holds marshalled code (CVE-2024-3660, CVE-2025-9905);
some layers read files or addresses that their config names (CVE-2025-12058, CVE-2026-1462) or
unpickle a torch module (CVE-2025-49655).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from weightkit.analyses.documents import Place, of
from weightkit.analyses.keras_names import CLASSES, PACKAGES, READING, RELATED, SPECIAL, VOCABULARY
from weightkit.analyses.targets import danger_of, shown
from weightkit.text import words

MAX_CODE = 1 << 16
"""Characters of a marshalled function that are looked at."""


class KerasFault(NamedTuple):
    """What is wrong with one object of a config."""

    code: str
    message: str
    subject: str
    evidence: str
    effect: str
    severity: str = ""


def judge_keras(nodes: list[Place], named: list[Place]) -> Iterator[tuple[Place, KerasFault]]:
    """What the objects of a document would do (see :func:`is_object`), if Keras builds them.

    ``named`` are the texts in it that name something which acts (see :func:`is_named`).
    """
    if not any(_is_keras(place.value) for place in nodes):
        return
    for place in nodes:
        for fault in _judge(place.value):
            yield place, fault
    for place in named:
        yield from ((place, fault) for fault in _named(place.key, place.value))


def is_named(place: Place) -> bool:
    """Whether a text may name a function that acts, or a module that does."""
    text = place.value
    if len(text) > MAX_NAME or not text.replace(".", "_").isidentifier():
        return False
    return text.rpartition(".")[2] in READING or place.key in _MODULE_KEYS


MAX_NAME = 200
_FUNCTION_KEYS = words("fn function fn_name function_name callable func loader")
_MODULE_KEYS = words("fn_module function_module")


def _named(key: str, text: str) -> Iterator[KerasFault]:
    """A function of Keras that reaches out, or a module that does, in an argument of a layer.

    Keras 3 before 3.9 took modules and functions from there (CVE-2025-1550, CVE-2025-8747).
    """
    last = text.rpartition(".")[2]
    if key in _MODULE_KEYS:
        found = danger_of(f"{text}.x")
        if found is not None:
            message = f"names the module {text} ({found.kind})"
            yield KerasFault("WK921", message, text, "", found.effect)
    elif _package(text) in PACKAGES or (key in _FUNCTION_KEYS and text == last):
        yield KerasFault("WK922", f"names {text}", text, "", READING[last], "warning")


def is_object(node: Any) -> bool:
    """Whether a value of a config may describe an object for Keras to build."""
    return isinstance(node, dict) and "class_name" in node


def _is_keras(node: dict[str, Any]) -> bool:
    names = {name for name in of(node, "class_name") if isinstance(name, str)}
    if names & (SPECIAL | {"Lambda", "__lambda__"}) or (names & CLASSES and "config" in node):
        return True
    return any(_package(module) in PACKAGES for module in of(node, "module"))


def _package(module: Any) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""


def _judge(node: dict[str, Any]) -> Iterator[KerasFault]:
    for name in of(node, "class_name"):
        if isinstance(name, str):
            yield from _module(node, name)
            for judge in _BY_CLASS.get(_plain_name(name), ()):
                yield from judge(node, name)


def _plain_name(name: str) -> str:
    """``Custom>Lambda`` and ``keras.layers.Lambda`` are looked up as Lambda too."""
    return re.split(r"[>.]", name)[-1]


# By its module


def _module(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    modules = [module for module in of(node, "module") if module is not None]
    for module in modules:
        yield from _imported(str(module), name, node)
    registered = [item for item in of(node, "registered_name") if isinstance(item, str)]
    custom = [item for item in (name, *registered) if ">" in item]
    custom += [item for item in registered if item != name and not _is_known(item)]
    if custom or (not modules and not _is_known(name)):
        subject = (custom or [name])[0]
        message = f"builds {subject}, a class that Keras does not have"
        yield KerasFault(
            "WK923", message, subject, _config(node), "runs the code registered for it"
        )


def _is_known(name: str) -> bool:
    return name in CLASSES or name in SPECIAL or _plain_name(name) in _BY_CLASS


def _imported(module: str, name: str, node: dict[str, Any]) -> Iterator[KerasFault]:
    """``module`` is imported if it is none of Keras's own."""
    package = _package(module)
    called = node.get("config") if name == "function" else name
    path = f"{module}.{called}" if isinstance(called, str) else module
    if package in PACKAGES:
        yield from _reading(path, node)
        return
    if module == "builtins" and name == "function" and danger_of(path) is None:
        return  # how Keras writes functions of __main__
    found = danger_of(path)
    if found is not None:
        message = f"imports {module} and calls {path} ({found.kind})"
        yield KerasFault("WK921", message, path, _config(node), found.effect)
    elif package in RELATED:
        message = f"builds {path}, of a package beside Keras"
        yield KerasFault("WK923", message, path, _config(node), f"imports {module}")
    else:
        message = f"imports {module}, which is not of Keras, for {path}"
        yield KerasFault("WK923", message, path, _config(node), f"imports {module} and calls it")


def _reading(path: str, node: dict[str, Any]) -> Iterator[KerasFault]:
    """Functions of Keras itself that open files and addresses, or load other models."""
    last = path.rpartition(".")[2]
    if last in READING:
        message = f"calls {path} while the model is built"
        yield KerasFault("WK922", message, path, _config(node), READING[last])


# By its class


def _lambda(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    """A Lambda layer: code, marshalled or as text, or the name of a function."""
    config = node.get("config")
    function = config.get("function") if isinstance(config, dict) else config
    spelt = _function_name(function)
    if spelt:
        message = f"a Lambda layer that calls {spelt}"
        yield KerasFault("WK923", message, spelt, _config(node), "calls a function by its name")
        return
    message = "a Lambda layer with code of its own"
    effect = "runs the code when the model is built or used"
    named = ", ".join(_names_in_code(function))
    yield KerasFault(
        "WK920", message, name, _config(node), f"{effect}; it names {named}" if named else effect
    )


def _names_in_code(function: Any) -> Iterator[str]:
    """The readable texts in marshalled code, which is not unmarshalled: the names that it uses."""
    code = function.get("config", function) if isinstance(function, dict) else function
    code = code.get("code") if isinstance(code, dict) else code
    code = code[0] if isinstance(code, list) and code else code
    if not isinstance(code, str) or len(code) > MAX_CODE:
        return
    try:
        raw = base64.b64decode("".join(code.split()), validate=True)
    except ValueError:
        return
    found = re.findall(rb"[\x20-\x7e]{2,}", raw)
    for text in [*dict.fromkeys(item for item in found if re.search(rb"[a-z]{2}", item))][:20]:
        yield repr(text.decode("ascii")[:80])


def _function_name(function: Any) -> str:
    """The plain name of a function; "" for code."""
    if isinstance(function, dict) and function.get("class_name") == "function":
        function = function.get("config")
    if isinstance(function, str) and re.fullmatch(r"[A-Za-z_][\w.>]*", function):
        return "" if danger_of(function) else function
    return ""


def _unpickles(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    message = f"a {name} layer, which unpickles a torch module"
    yield KerasFault("WK920", message, name, _config(node), "runs any code in the pickle")


def _external(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    config = node.get("config")
    target = config.get("filepath") if isinstance(config, dict) else None
    message = f"a {name} layer, which loads another model from {shown(target)}"
    yield KerasFault("WK922", message, name, _config(node), "runs the graph of the other model")


def _vocabulary(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    """Lookup layers read a vocabulary that is given as a path or address."""
    config = node.get("config")
    for key in VOCABULARY if isinstance(config, dict) else ():
        value = config.get(key)  # type: ignore[union-attr]
        if isinstance(value, str) and value:
            outside = re.match(r"[/\\~]|[A-Za-z]:|\w+://", value) or ".." in value
            message = f"a {name} layer, which reads {value[:120]}"
            severity = "" if outside else "warning"
            yield KerasFault("WK922", message, name, _config(node), "reads that file", severity)


_OPS_THAT_REACH = re.compile(
    r"py_?func|numpy_function|numpyfunc|read_?file|write_?file|matching_?files|decode_proto|"
    r"load_op_library|save_?v2|io\.gfile|raw_ops|Dataset$|print",
    re.IGNORECASE,
)


def _operation(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    """Layers that stand for any operation of TensorFlow, by its name."""
    config = node.get("config")
    if not isinstance(config, dict):
        return
    spelt = shown(config.get("function") or config.get("node_def"))
    if _OPS_THAT_REACH.search(spelt):
        message = f"a {name} layer that runs {spelt[:120]}"
        yield KerasFault(
            "WK922", message, name, _config(node), "reaches files or Python from the graph"
        )


def _foreign(node: dict[str, Any], name: str) -> Iterator[KerasFault]:
    message = f"a {name} layer, which calls functions of another framework"
    yield KerasFault("WK923", message, name, _config(node), "calls functions by their names")


_BY_CLASS = {
    "Lambda": (_lambda,),
    "__lambda__": (_lambda,),
    "TorchModuleWrapper": (_unpickles,),
    "TFSMLayer": (_external,),
    "StringLookup": (_vocabulary,),
    "IntegerLookup": (_vocabulary,),
    "IndexLookup": (_vocabulary,),
    "TextVectorization": (_vocabulary,),
    "TFOpLambda": (_operation,),
    "SlicingOpLambda": (_operation,),
    "TensorFlowOpLayer": (_operation,),
    "JaxLayer": (_foreign,),
    "FlaxLayer": (_foreign,),
}


def _config(node: dict[str, Any]) -> str:
    return shown(node.get("config"))
