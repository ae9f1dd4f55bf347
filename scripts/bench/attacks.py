#!/usr/bin/env python3
"""Make the files that scanners are scored on: attacks as bytes, and ordinary files beside them.

    scripts/bench/attacks.py FOLDER

The attacks are those of the tests (tests/analyses/attacks.py, chat_templates.py and others), each with
its source, put into the containers that loaders read. Their payloads are harmless texts, and nothing
here loads or runs one. ``manifest.tsv`` says of each file whether it is malicious, and what it is.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.analyses.attacks import CALLS, OTHERS, called
from tests.analyses.chat_templates import CLIMBING, ORDINARY
from tests.analyses.test_configs import DANGEROUS
from tests.analyses.test_configs import ORDINARY as CONFIGS
from tests.analyses.test_keras import FAULTY, model
from tests.analyses.test_keras import ORDINARY as MODELS
from tests.formats import test_graphs as graphs
from tests.test_sevenzip import stored

SEEDS = ("os.system", "builtins.eval", "subprocess.Popen", "runpy.run_path", "webbrowser.open")
"""The calls that are put into every container."""


class Made(NamedTuple):
    """A file of the set. ``kind`` groups the rows of the score."""

    name: str
    content: bytes
    malicious: bool
    kind: str
    what: str


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(dated(name), content, method)
    return held.getvalue()


def dated(name: str) -> zipfile.ZipInfo:
    """A member of 1980, so that the set is the same on every day."""
    return zipfile.ZipInfo(name)


def torch_archive(stream: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    members = {"m/data.pkl": stream, "m/byteorder": b"little", "m/version": b"3\n"}
    return zipped(members, method)


def tarred(name: str, content: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def array(stream: bytes) -> bytes:
    """An .npy of objects, whose data is a pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + stream


def twice(stream: bytes) -> bytes:
    """An archive with two pickles of one name: readers differ in which they take."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(dated("m/data.pkl"), stream)
        archive._did_modify = True
        archive.NameToInfo.clear()
        archive.writestr(dated("m/data.pkl"), b"\x80\x02}.")
        archive.writestr(dated("m/version"), b"3\n")
    return held.getvalue()


CONTAINERS: dict[str, tuple[str, Any]] = {
    "torch archive": (".pt", torch_archive),
    "deflated torch archive": (".pt", lambda s: torch_archive(s, zipfile.ZIP_DEFLATED)),
    "torch archive named .bin": (".bin", torch_archive),
    "bytes before the archive": (".pt", lambda s: b"\0" * 64 + torch_archive(s)),
    "archive with a name twice": (".pt", twice),
    "zip in a zip": (".zip", lambda s: zipped({"inner.zip": zipped({"model.pkl": s})})),
    "tar": (".tar", lambda s: tarred("model.pkl", s)),
    "7z": (".7z", lambda s: stored("model.pkl", s)),
    "gzip": (".joblib", lambda s: gzip.compress(s, mtime=0)),
    "bzip2": (".joblib", bz2.compress),
    "xz": (".joblib", lzma.compress),
    "object array": (".npy", array),
    "object array in .npz": (".npz", lambda s: zipped({"a.npy": array(s)})),
    "second pickle of a stream": (".pkl", lambda s: b"\x80\x02}." + s),
    "stream that breaks off after it": (".pkl", lambda s: s.removesuffix(b".")),
    "pickle named .ckpt": (".ckpt", lambda s: s),
    "pickle named .data": (".data", lambda s: s),
}


def pickles() -> Iterator[Made]:
    for path, source in CALLS.items():
        yield Made(f"call-{path}.pkl", called(path, 4), True, "pickle: a call", source)
    for what, (stream, _, source) in OTHERS.items():
        name = "".join(sign if sign.isalnum() else "-" for sign in what)[:60]
        yield Made(f"other-{name}.pkl", stream, True, "pickle: other ways", source)


def containers() -> Iterator[Made]:
    for what, (suffix, wrap) in CONTAINERS.items():
        for seed in SEEDS:
            name = f"in-{what.replace(' ', '-').replace('.', '')}-{seed}{suffix}"
            yield Made(
                name, wrap(called(seed, 2)), True, "pickle in a container", f"{seed} in: {what}"
            )


def gguf(template: str, key: str = "tokenizer.chat_template") -> bytes:
    def text(value: str) -> bytes:
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    pairs = [("general.architecture", "llama"), (key, template)]
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs))
    return head + b"".join(text(name) + struct.pack("<I", 8) + text(value) for name, value in pairs)


def templates() -> Iterator[Made]:
    for number, (template, _) in enumerate(CLIMBING):
        if number % 3 == 0:
            yield Made(f"ssti-{number}.gguf", gguf(template), True, "template", template)
        elif number % 3 == 1:
            config = json.dumps({"chat_template": template}).encode()
            yield Made(f"ssti-{number}/tokenizer_config.json", config, True, "template", template)
    for name, template in ORDINARY.items():
        yield Made(f"{name}.gguf", gguf(template), False, "template", f"ordinary: {name}")
        config = json.dumps({"chat_template": template}).encode()
        yield Made(f"{name}/tokenizer_config.json", config, False, "template", f"ordinary: {name}")


def raw(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def keras(document: Any) -> bytes:
    return zipped({"metadata.json": b'{"keras_version": "3.5.0"}', "config.json": raw(document)})


def configs() -> Iterator[Made]:
    for number, (name, content) in enumerate(DANGEROUS):
        yield Made(f"target-{number}/{name}", raw(content), True, "config", str(content)[:80])
    for number, (name, content) in enumerate(CONFIGS):
        yield Made(f"plain-{number}/{name}", raw(content), False, "config", str(content)[:80])
    for number, (layer, _, severity) in enumerate(FAULTY):
        if severity == "danger":
            document = keras(model(layer))
            yield Made(f"layer-{number}.keras", document, True, "Keras", str(layer)[:80])
    for number, document in enumerate(MODELS):
        yield Made(f"model-{number}.keras", keras(document), False, "Keras", "ordinary layers")


def others() -> Iterator[Made]:
    relu = graphs.RELU
    for number, location in enumerate(("/etc/passwd", "../../x", "..\\x")):
        held = graphs.model(graphs.graph(relu, tensors=(graphs.tensor(location),)))
        yield Made(f"external-{number}.onnx", held, True, "graph", f"data in {location}")
    for operation in ("PyFunc", "ReadFile", "WriteFile"):
        content = graphs.saved("Const", operation)
        yield Made(f"{operation}/saved_model.pb", content, True, "graph", operation)
    plain = graphs.model(graphs.graph(relu, tensors=(graphs.tensor(),)))
    yield Made("plain.onnx", plain, False, "graph", "ordinary ONNX")
    escaping = tarred("../../evil.txt", b"text")
    yield Made("escaping.tar", escaping, True, "archive", "a member that leaves the folder")


PLAIN: dict[str, Any] = {
    "dict": {"a": 1, "b": [1.5, None, True, "text", b"bytes"]},
    "ordered dict": OrderedDict(a=1, b=2),
    "default dict": defaultdict(list, a=[1]),
    "set and complex": {"s": {1, 2}, "f": frozenset([3]), "c": 1j, "l": slice(1, 2)},
    "code as text": {"note": "import os; os.system('id')", "eval": "__import__"},
    "deep": [[[[[[1]]]]]],
    "numbers": list(range(1000)),
}


def plain_pickles() -> Iterator[Made]:
    for what, value in PLAIN.items():
        for protocol in (0, 2, 4):
            name = f"plain-{what.replace(' ', '-')}-{protocol}.pkl"
            content = pickle.dumps(value, protocol)
            yield Made(name, content, False, "pickle", f"{what}, protocol {protocol}")


def fixtures() -> Iterator[Made]:
    """The repository's own small files, saved by torch, numpy, safetensors and gguf themselves."""
    odd = {"whole_module.pt", "torchscript.pt"}  # they carry code, and are for review
    for path in sorted((ROOT / "fixtures").rglob("*")):
        kind = path.suffix in (".pt", ".tar", ".npy", ".npz", ".safetensors", ".gguf")
        if path.is_file() and kind and path.name not in odd and "hostile" not in path.parts:
            name = f"{path.parent.name}-{path.name}"
            yield Made(name, path.read_bytes(), False, "checkpoint", f"fixtures/{path.name}")


def everything() -> Iterator[Made]:
    for make in (pickles, containers, templates, configs, others, plain_pickles, fixtures):
        yield from make()


def write(folder: Path) -> list[Made]:
    """Write the set into a new folder, or over an earlier set, with its manifest."""
    if folder.exists():
        if not (folder / "manifest.tsv").is_file():
            sys.exit(f"{folder} is there, and is no earlier set")
        shutil.rmtree(folder)
    made = [*everything()]
    for item in made:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.content)
    with open(folder / "manifest.tsv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["path", "malicious", "kind", "what"])
        for item in made:
            what = " ".join(item.what.split())
            rows.writerow([item.name, int(item.malicious), item.kind, what])
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    written = write(Path(sys.argv[1]))
    bad = sum(item.malicious for item in written)
    print(f"{bad} attacks and {len(written) - bad} ordinary files in {sys.argv[1]}")
