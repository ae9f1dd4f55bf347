"""ONNX: a ``ModelProto`` of protocol buffers.

    ModelProto      ir_version 1, graph 7, opset_import 8, functions 25
    GraphProto      node 1, initializer 5, sparse_initializer 15
    NodeProto       op_type 4, attribute 5, domain 7
    AttributeProto  t 5, g 6, tensors 10, graphs 11, sparse_tensor 22, sparse_tensors 23
    TensorProto     name 8, external_data 13 (key 1, value 2), data_location 14
    FunctionProto   node 7, domain 10

Source: ``onnx/onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Callable

from weightkit.formats.graphs import Graph
from weightkit.formats.graphs.protobuf import BYTES, Broken, Field, Messages
from weightkit.source import Reader

MAX_FIELDS = 1_000_000
MAX_DEPTH = 24
EXTERNAL = 1


class _Model:
    def __init__(self, source: Reader) -> None:
        self.messages = Messages(source, MAX_FIELDS)
        self.operations: dict[tuple[str, str], None] = {}
        self.files: dict[tuple[str, str], None] = {}
        self.version = 0
        self.graphs = 0

    def read(self, visit: _Visit, offset: int, nbytes: int, depth: int) -> None:
        """Read a message; ``visit`` says what each of its fields is."""
        if depth > MAX_DEPTH:
            raise Broken("graphs nested too deeply")
        for field in self.messages.fields(offset, nbytes):
            visit(self, field, depth)

    def into(self, visit: _Visit, field: Field, depth: int) -> None:
        if field.kind == BYTES:
            self.read(visit, field.offset, field.nbytes, depth + 1)


_Visit = Callable[[_Model, Field, int], None]


def _model(model: _Model, field: Field, depth: int) -> None:
    if field.number == 1:
        model.version = field.value
    elif field.number == 7:
        model.graphs += 1
        model.into(_graph, field, depth)
    elif field.number == 25:
        model.into(_function, field, depth)


def _graph(model: _Model, field: Field, depth: int) -> None:
    if field.number == 1:
        _node(model, field, depth)
    elif field.number == 5:
        _tensor(model, field, depth)
    elif field.number == 15:
        model.into(_sparse, field, depth)


def _function(model: _Model, field: Field, depth: int) -> None:
    if field.number == 7:
        _node(model, field, depth)


def _node(model: _Model, field: Field, depth: int) -> None:
    names = {4: "", 7: ""}
    for inner in model.messages.fields(field.offset, field.nbytes):
        if inner.number in names and inner.kind == BYTES:
            names[inner.number] = model.messages.text(inner, 200)
        elif inner.number == 5:
            model.into(_attribute, inner, depth)
    model.operations[names[7], names[4]] = None


def _attribute(model: _Model, field: Field, depth: int) -> None:
    if field.number in (5, 10):
        _tensor(model, field, depth)
    elif field.number in (6, 11):
        model.into(_graph, field, depth)
    elif field.number in (22, 23):
        model.into(_sparse, field, depth)


def _sparse(model: _Model, field: Field, depth: int) -> None:
    if field.number in (1, 2):
        _tensor(model, field, depth)


def _tensor(model: _Model, field: Field, depth: int) -> None:
    if field.kind != BYTES:
        return
    name, location = "", ""
    for inner in model.messages.fields(field.offset, field.nbytes):
        if inner.number == 8 and inner.kind == BYTES:
            name = model.messages.text(inner, 200)
        elif inner.number == 13 and inner.kind == BYTES:
            location = _location(model, inner) or location
    if location:
        model.files[name, location] = None


def _location(model: _Model, field: Field) -> str:
    pair = {1: "", 2: ""}
    for inner in model.messages.fields(field.offset, field.nbytes):
        if inner.number in pair and inner.kind == BYTES:
            pair[inner.number] = model.messages.text(inner)
    return pair[2] if pair[1] == "location" else ""


def read(source: Reader) -> Graph:
    """What a model names. Raises Broken where the bytes are none."""
    model = _Model(source)
    model.read(_model, 0, source.size, 0)
    if not model.version or not model.graphs:
        raise Broken("no ir_version or no graph")
    return Graph("ONNX", tuple(model.operations), tuple(model.files))
