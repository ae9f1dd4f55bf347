"""What a graph of operations would do beside computing: run Python, reach files, load libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weightkit.formats.graphs import Graph
from weightkit.rules import Faults

PYTHON = "calls back into Python"
FILES = "reads or writes files"
READS = "reads files or the network"
REMOTE = "reaches other machines"

DANGEROUS: dict[str, str] = {
    "PyFunc": PYTHON,
    "PyFuncStateless": PYTHON,
    "EagerPyFunc": PYTHON,
    "ReadFile": FILES,
    "WriteFile": FILES,
    "MatchingFiles": FILES,
    "WholeFileReader": FILES,
    "WholeFileReaderV2": FILES,
    "WriteAudioSummary": FILES,
    "WriteGraphSummary": FILES,
    "WriteRawProtoSummary": FILES,
    "SaveDataset": FILES,
    "SaveDatasetV2": FILES,
    "DistributedSave": FILES,
    "DumpTensor": FILES,
    "DebugIdentity": REMOTE,
    "DebugIdentityV2": REMOTE,
    "DebugIdentityV3": REMOTE,
    "RpcCall": REMOTE,
    "RpcClient": REMOTE,
    "RpcServer": REMOTE,
    "RpcServerStart": REMOTE,
    "LoadLibrary": "loads a native library",
    "ShellExecute": "runs a command",
    "ExecuteOp": "runs a command",
    "SystemConfig": "runs a command",
    "FileSystemSetConfiguration": FILES,
    "CopyFile": FILES,
    "DeleteFile": FILES,
    "RenameFile": FILES,
    "py_func": PYTHON,
}
"""Operations of TensorFlow (and Paddle) that no inference needs, and what they do."""

READING: dict[str, str] = dict.fromkeys(
    [
        "AudioSummary",
        "BigQueryReader",
        "CSVDataset",
        "CSVDatasetV2",
        "CreateSummaryDbWriter",
        "CreateSummaryFileWriter",
        "DecodeProtoV2",
        "EncodeProto",
        "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2",
        "FixedLengthRecordReaderV2",
        "GenerateBigQueryReaderPartitions",
        "LMDBDataset",
        "LMDBReader",
        "LoadDataset",
        "LoadDatasetV2",
        "RegisterDataset",
        "RegisterDatasetV2",
        "RemoteCall",
        "SqlDataset",
        "TFRecordDataset",
        "TFRecordDatasetV2",
        "TFRecordReaderV2",
        "TextLineDataset",
        "TextLineReaderV2",
    ],
    READS,
)
"""Operations that reach out, and that training pipelines use."""

STANDARD = frozenset(
    [
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.microsoft.nhwc",
        "com.ms.internal.nhwc",
        "local",
        "pkg.onnxscript.torch_lib",
        "pkg.onnxscript.torch_lib.common",
        "pkg.torch.__subgraph__",
    ]
)
"""Domains of ONNX that its runtimes bring, and those of functions that exporters put inside."""

_PYTHON_OPERATIONS = re.compile(r"^(PyOp|PythonOp|PyCustomOp|ATen)$")


def judge_graph(graph: Graph, faults: Faults) -> None:
    """Tell of the operations and files of a graph."""
    for domain, operation in graph.operations:
        _operation(graph, domain, operation, faults)
    for tensor, path in graph.files:
        if leaves(path):
            effect = "reads that file when it is opened"
            message = f"the data of {tensor or 'a tensor'} is in {path[:200]}"
            faults.add("WK930", message, subject=path[:200], effect=effect)


def _operation(graph: Graph, domain: str, operation: str, faults: Faults) -> None:
    plain = operation.removeprefix("Flex")
    if domain in ("tensorflow", "custom") and plain in DANGEROUS:
        message = f"the graph has the operation {operation}"
        faults.add("WK931", message, subject=operation, effect=DANGEROUS[plain])
    elif domain in ("tensorflow", "custom") and plain in READING:
        message = f"the graph has the operation {operation}"
        faults.add("WK932", message, subject=operation, effect=READING[plain])
    elif _PYTHON_OPERATIONS.match(operation) and domain not in ("", "ai.onnx"):
        message = f"the graph has the operation {domain}.{operation}"
        faults.add("WK931", message, subject=operation, effect=PYTHON)
    elif domain == "custom" and not operation.startswith(("Flex", "TFLite_")):
        _custom(operation, faults)
    elif graph.format == "ONNX" and domain not in STANDARD:
        _custom(f"{domain}.{operation}", faults)


def _custom(name: str, faults: Faults) -> None:
    message = f"the graph has the custom operation {name}"
    faults.add("WK932", message, subject=name, effect="needs a native library with that operation")


def leaves(path: str) -> bool:
    """Whether a path that a model gives for its own data leads out of the model's folder."""
    parts = re.split(r"[\\/]", path)
    absolute = path.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:|\w+://", path)
    return bool(absolute) or ".." in parts or "\0" in path


def names_to_search() -> Iterator[str]:
    """Operations of TensorFlow that are told."""
    yield from DANGEROUS
    yield from READING
