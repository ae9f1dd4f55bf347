"""Files beside (and inside archives beside) the weights, which no room for weights reads.

``look`` is given to :func:`weightkit.opening.examine`, which asks it about every file and member that
is no weight format: configs and templates are judged, code is named. Formats that are only
recognised stay unread, and so unscanned, unless something in them is found.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from weightkit.analyses.models import read_hdf5, read_onnx, read_tensorflow, read_tflite
from weightkit.analyses.texts import (
    JSON,
    Seen,
    read_json_file,
    read_template,
    read_xml,
    read_yaml_file,
    text_of,
)
from weightkit.findings import Examination
from weightkit.formats import hdf5
from weightkit.formats.graphs import tflite
from weightkit.rules import Faults, finding
from weightkit.source import Reader

YAML = (".yaml", ".yml")
TEMPLATES = (".jinja", ".jinja2", ".j2", ".template", ".tmpl", ".chat_template")

CODE = {
    ".py": "Python code",
    ".pyw": "Python code",
    ".pyi": "Python code",
    ".pyx": "Python code",
    ".ipy": "Python code",
    ".pyc": "compiled Python code",
    ".pyo": "compiled Python code",
    ".so": "a native library",
    ".pyd": "a native library",
    ".dll": "a native library",
    ".dylib": "a native library",
    ".exe": "a program",
    ".com": "a program",
    ".msi": "a program",
    ".sh": "a shell script",
    ".bash": "a shell script",
    ".zsh": "a shell script",
    ".bat": "a shell script",
    ".cmd": "a shell script",
    ".ps1": "a shell script",
    ".vbs": "a script",
    ".js": "a script",
    ".lua": "a script",
    ".pl": "a script",
    ".rb": "a script",
}
"""Suffixes of what runs, when something is made to run it."""

_PROGRAMS = [
    (b"\x7fELF", "a native program or library"),
    (b"\xcf\xfa\xed\xfe", "a native program or library"),
    (b"\xce\xfa\xed\xfe", "a native program or library"),
    (b"\xca\xfe\xba\xbe", "a native program or Java class"),
    (b"#!", "a script"),
]


def look(source: Reader, head: bytes) -> Seen | None:
    """Judge a file that no room accepts; None where we know no more than the others."""
    name = (source.entry or source.path).rpartition("!")[2].lower()
    base = re.split(r"[/\\]", name)[-1]
    for recognise, read in _KINDS:
        if recognise(base, head):
            seen = read(source, head)
            if seen is not None:
                return seen
    return None


# What it is, by name and first bytes


def _suffixed(*suffixes: str) -> Callable[[str, bytes], bool]:
    return lambda base, head: base.endswith(suffixes)


def _is_json(base: str, head: bytes) -> bool:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return start[:1] in (b"{", b"[") or (base.endswith(JSON) and bool(start))


def _is_yaml(base: str, head: bytes) -> bool:
    return base.endswith(YAML) or base in ("mlmodel", "conda.env")


def _is_path_file(base: str, head: bytes) -> bool:
    return base.endswith(".pth") and not head.startswith((b"\x80", b"PK")) and b"\0" not in head


def _is_program(base: str, head: bytes) -> bool:
    return any(head.startswith(magic) for magic, _ in _PROGRAMS) or _is_windows(head)


def _is_windows(head: bytes) -> bool:
    if not head.startswith(b"MZ") or len(head) < 64:
        return False
    at = int.from_bytes(head[60:64], "little")
    return head[at : at + 4] == b"PE\0\0"


def _is_onnx(base: str, head: bytes) -> bool:
    return base.endswith(".onnx") or (
        head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a", b"\x42")
    )


def _is_xml(base: str, head: bytes) -> bool:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return start.startswith(b"<?xml") or (base.endswith((".xml", ".pmml")) and start[:1] == b"<")


# Code


def read_code(source: Reader, head: bytes) -> Seen:
    name = (source.entry or source.path).lower()
    suffix = name[name.rfind(".") :]
    return _named(source, CODE[suffix])


def read_program(source: Reader, head: bytes) -> Seen:
    kinds = [kind for magic, kind in _PROGRAMS if head.startswith(magic)]
    return _named(source, kinds[0] if kinds else "a Windows program or library")


def _named(source: Reader, what: str) -> Seen:
    fault = finding("WK940", what, path=source.path, entry=source.entry)
    return (what.partition(" ")[2], Examination(None, (), (fault,)))


def read_path_file(source: Reader, head: bytes) -> Seen | None:
    """A ``.pth`` of Python's site: its lines that begin with ``import`` are run at start-up."""
    text = text_of(source)
    if text is None:
        return None
    faults = Faults(source.path, source.entry)
    offset = 0
    for line in text.splitlines(keepends=True):
        if line.startswith(("import ", "import\t")):
            message = "a line that Python runs at every start, where the file lies in site-packages"
            faults.add(
                "WK941", message, offset, evidence=line.strip()[:200], effect="runs the line"
            )
        offset += len(line)
    return ("path file", Examination(None, (), faults.all())) if faults.all() else None


_KINDS: list[tuple[Callable[[str, bytes], bool], Callable[[Reader, bytes], Seen | None]]] = [
    (lambda base, head: hdf5.accepts(head), read_hdf5),
    (lambda base, head: tflite.accepts(head), read_tflite),
    (_suffixed(".pb", ".pbtxt", ".meta", ".pdmodel", ".graphdef"), read_tensorflow),
    (_is_onnx, read_onnx),
    (lambda base, head: head.startswith(b"\x08\x01\x12"), read_tensorflow),
    (_is_path_file, read_path_file),
    (_suffixed(*TEMPLATES), read_template),
    (_is_yaml, read_yaml_file),
    (_suffixed(*CODE), read_code),
    (_is_program, read_program),
    (_is_xml, read_xml),
    (_is_json, read_json_file),
]
"""Who is asked, and in which order; the first that knows answers."""
