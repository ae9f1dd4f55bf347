"""Files beside (and inside archives beside) the weights, which no room for weights reads.

``look`` is given to :func:`weightkit.opening.examine`, which asks it about every file and member that
is no weight format: configs and templates are judged, code is named. Formats that are only
recognised stay unread, and so unscanned, unless something in them is found.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from weightkit.analyses import templates
from weightkit.analyses.configs import TELLING, judge_document
from weightkit.analyses.documents import (
    MAX_JSON,
    Malformed,
    read_first_json,
    read_json,
    read_yaml,
    values_behind,
)
from weightkit.errors import MissingExtra
from weightkit.formats import hdf5
from weightkit.programs import Program
from weightkit.reports import Examination, Finding
from weightkit.rules import Faults, finding
from weightkit.source import Buffer, Reader

MAX_TEXT = 48 << 20
"""Bytes of a text file that is read; the largest tokenizer.json of real models has 33 MiB."""

JSON = (".json", ".jsonl", ".ipynb", ".webmanifest")
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


class Seen(NamedTuple):
    """What a file that is no weight file is, and what was found in it."""

    format: str
    examination: Examination


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


# Texts


def _text(source: Reader) -> str | None:
    """The content as text; None where it is none, or too long."""
    if source.size > MAX_TEXT:
        return None
    raw = source.pread(0, source.size)
    try:
        return raw.decode(json.detect_encoding(raw), "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def _json(source: Reader, head: bytes) -> Seen | None:
    text = _text(source)
    if text is None:
        return None
    try:
        found = _judged_json(text, source)
    except Malformed as error:
        if _lines(text):
            return _json_lines(text, source)
        promised = source.path.lower().endswith(JSON) or source.entry.lower().endswith(JSON)
        if not promised and not templates.climbs(text):
            return None  # an .ini file begins with a bracket too
        return _unread("JSON", source, str(error), text)
    return Seen("JSON", Examination(None, (), found))


def _judged_json(text: str, source: Reader) -> tuple[Finding, ...]:
    if len(text) <= MAX_JSON:
        return judge_document(read_json(text), source.path, source.entry)
    behind = [{key: value} for key, value in values_behind(text, TELLING)]
    return judge_document(behind, source.path, source.entry)


def _lines(text: str) -> bool:
    """Whether every line is a JSON object of its own."""
    lines = text.strip().split("\n", 3)
    return len(lines) > 1 and all(line.startswith("{") for line in lines[:3])


def _json_lines(text: str, source: Reader) -> Seen:
    try:
        documents = [read_json(line) for line in text[:MAX_JSON].splitlines() if line.strip()]
    except Malformed as error:
        return _unread("JSON lines", source, str(error), text)
    found = judge_document(documents, source.path, source.entry)
    return Seen("JSON lines", Examination(None, (), found))


def _yaml(source: Reader, head: bytes) -> Seen | None:
    text = _text(source)
    if text is None:
        return None
    found: list[Finding] = []
    try:
        for document in read_yaml(text):
            found += judge_document(document, source.path, source.entry)
    except Malformed as error:
        unread = _unread("YAML", source, str(error), text).examination.faults
        return Seen("YAML", Examination(None, (), (*found, *unread)))
    return Seen("YAML", Examination(None, (), tuple(found)))


def _template(source: Reader, head: bytes) -> Seen | None:
    text = _text(source)
    if text is None:
        return None
    found = templates.judge(text, source.path, source.entry, "template")
    return Seen("Jinja template", Examination(None, (), found))


def _unread(kind: str, source: Reader, reason: str, text: str) -> Seen:
    """A document that cannot be parsed, judged by the templates that can be made out in it."""
    faults = Faults(source.path, source.entry)
    faults.add("WK914", reason)
    if templates.climbs(text):
        named = templates.judge_unparsed(text, source.path, source.entry, kind)
        faults.extend(list(named))
    return Seen(kind, Examination(None, (), faults.all()))


# HDF5


def _hdf5(source: Reader, head: bytes) -> Seen:
    faults = Faults(source.path, source.entry)
    try:
        held = hdf5.read(source)
    except MissingExtra as error:
        faults.add("WK004", error.message)
        for text in hdf5.made_out(source):
            faults.extend(_configs_in(text, source))
        return Seen("hdf5", Examination(None, (), faults.all()))
    if held.unread:
        faults.add("WK004", held.unread)
        for text in hdf5.made_out(source):
            faults.extend(_configs_in(text, source))
    for owner, file in held.elsewhere:
        effect = "reads that file when it is opened"
        faults.add("WK930", f"{owner} is in another file, {file}", subject=file, effect=effect)
    programs: list[Program] = []
    for attribute in held.attributes:
        programs += _attribute(attribute, source, faults)
    return Seen("hdf5", Examination(None, tuple(programs), faults.all()))


def _attribute(attribute: hdf5.Attribute, source: Reader, faults: Faults) -> tuple[Program, ...]:
    """A config, as Keras writes it, or a pickle: PyTables unpickles attributes that look like one."""
    from weightkit.formats import pytorch

    value = attribute.value
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if not pytorch.accepts(raw[:4096]):
        faults.extend(_configs_in(raw.decode("utf-8", "replace"), source))
        return ()
    where = f"{attribute.owner}@{attribute.name}"
    found = pytorch.examine(
        Buffer(raw, source.path, f"{source.entry}!{where}" if source.entry else where)
    )
    faults.extend(list(found.faults))
    return found.programs


def _configs_in(text: str, source: Reader) -> list[Finding]:
    """What a config would do that stands in a text, whatever follows it."""
    start = text.find("{")
    if start < 0 or start > 16:
        return []
    try:
        document = read_first_json(text[start:])
    except Malformed as error:
        unread = finding("WK914", str(error), path=source.path, entry=source.entry)
        return [unread] if '"class_name"' in text else []
    return list(judge_document(document, source.path, source.entry))


# Code


def _code(source: Reader, head: bytes) -> Seen:
    name = (source.entry or source.path).lower()
    suffix = name[name.rfind(".") :]
    return _named(source, CODE[suffix])


def _program(source: Reader, head: bytes) -> Seen:
    kinds = [kind for magic, kind in _PROGRAMS if head.startswith(magic)]
    return _named(source, kinds[0] if kinds else "a Windows program or library")


def _named(source: Reader, what: str) -> Seen:
    fault = finding("WK940", what, path=source.path, entry=source.entry)
    return Seen(what.partition(" ")[2], Examination(None, (), (fault,)))


def _path_file(source: Reader, head: bytes) -> Seen | None:
    """A ``.pth`` of Python's site: its lines that begin with ``import`` are run at start-up."""
    text = _text(source)
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
    return Seen("path file", Examination(None, (), faults.all())) if faults.all() else None


_KINDS: list[tuple[Callable[[str, bytes], bool], Callable[[Reader, bytes], Seen | None]]] = [
    (lambda base, head: hdf5.accepts(head), _hdf5),
    (_is_path_file, _path_file),
    (_suffixed(*TEMPLATES), _template),
    (_is_yaml, _yaml),
    (_suffixed(*CODE), _code),
    (_is_program, _program),
    (_is_json, _json),
]
"""Who is asked, and in which order; the first that knows answers."""
