"""Model files that no room for weights reads: HDF5 and graphs, as far as they can do harm."""

from __future__ import annotations

from collections.abc import Callable

from weightkit.analyses.graphs import judge_graph, names_to_search
from weightkit.analyses.texts import Seen, configs_in
from weightkit.errors import FormatError, MissingExtra
from weightkit.findings import Examination
from weightkit.formats import hdf5
from weightkit.formats.graphs import Graph, onnx, tensorflow, tflite
from weightkit.formats.graphs.protobuf import Broken
from weightkit.programs import Program
from weightkit.rules import Faults
from weightkit.source import Buffer, Reader


def read_hdf5(source: Reader, head: bytes) -> Seen:
    faults = Faults(source.path, source.entry)
    try:
        held = hdf5.read(source)
    except MissingExtra as error:
        faults.add("WK004", error.message)
        for text in hdf5.made_out(source):
            faults.extend(configs_in(text, source))
        return ("hdf5", Examination(None, (), faults.all()))
    if held.unread:
        faults.add("WK004", held.unread)
        for text in hdf5.made_out(source):
            faults.extend(configs_in(text, source))
    for owner, file in held.elsewhere:
        effect = "reads that file when it is opened"
        faults.add("WK930", f"{owner} is in another file, {file}", subject=file, effect=effect)
    programs: list[Program] = []
    for attribute in held.attributes:
        programs += _attribute(attribute, source, faults)
    return ("hdf5", Examination(None, tuple(programs), faults.all()))


def _attribute(attribute: hdf5.Attribute, source: Reader, faults: Faults) -> tuple[Program, ...]:
    """A config, as Keras writes it, or a pickle: PyTables unpickles attributes that look like one."""
    from weightkit.formats import pytorch

    value = attribute.value
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if not pytorch.accepts(raw[:4096]):
        faults.extend(configs_in(raw.decode("utf-8", "replace"), source))
        return ()
    where = f"{attribute.owner}@{attribute.name}"
    found = pytorch.examine(
        Buffer(raw, source.path, f"{source.entry}!{where}" if source.entry else where)
    )
    faults.extend(list(found.faults))
    return found.programs


def read_onnx(source: Reader, head: bytes) -> Seen | None:
    return _graph(source, onnx.read)


def read_tflite(source: Reader, head: bytes) -> Seen | None:
    return _graph(source, tflite.read)


def _graph(source: Reader, read: Callable[[Reader], Graph]) -> Seen | None:
    faults = Faults(source.path, source.entry)
    try:
        graph = read(source)
    except (Broken, FormatError):
        return None
    judge_graph(graph, faults)
    return (graph.format, Examination(None, (), faults.all()))


def read_tensorflow(source: Reader, head: bytes) -> Seen:
    """A graph is a program for TensorFlow's runtime: searched for what reaches out of it."""
    graph = tensorflow.search(source, names_to_search())
    faults = Faults(source.path, source.entry)
    faults.add("WK004", "a TensorFlow graph, searched only for operations that reach out of it", 0)
    judge_graph(graph, faults)
    for text in graph.texts:
        faults.extend(configs_in(text, source))
    return (graph.format, Examination(None, (), faults.all()))
