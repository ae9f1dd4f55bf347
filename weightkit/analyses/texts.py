"""Documents beside the weights: JSON, YAML, templates and XML, each as far as it can do harm."""

from __future__ import annotations

import json
import re

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
from weightkit.findings import Examination, Finding
from weightkit.rules import Faults, finding
from weightkit.source import Reader

MAX_TEXT = 48 << 20
"""Bytes of a text file that is read; the largest tokenizer.json of real models has 33 MiB."""
JSON = (".json", ".jsonl", ".ipynb", ".webmanifest")

Seen = tuple[str, Examination]
"""What a file is, and what was found in it."""


def text_of(source: Reader) -> str | None:
    """The content as text; None where it is none, or too long."""
    if source.size > MAX_TEXT:
        return None
    raw = source.pread(0, source.size)
    try:
        return raw.decode(json.detect_encoding(raw), "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def read_json_file(source: Reader, head: bytes) -> Seen | None:
    text = text_of(source)
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
    return ("JSON", Examination(None, (), found))


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
    return ("JSON lines", Examination(None, (), found))


def read_yaml_file(source: Reader, head: bytes) -> Seen | None:
    text = text_of(source)
    if text is None:
        return None
    found: list[Finding] = []
    try:
        for document in read_yaml(text):
            found += judge_document(document, source.path, source.entry)
    except Malformed as error:
        unread = _unread("YAML", source, str(error), text)[1].faults
        return ("YAML", Examination(None, (), (*found, *unread)))
    return ("YAML", Examination(None, (), tuple(found)))


def read_template(source: Reader, head: bytes) -> Seen | None:
    text = text_of(source)
    if text is None:
        return None
    found = templates.judge(text, source.path, source.entry, "template")
    return ("Jinja template", Examination(None, (), found))


def _unread(kind: str, source: Reader, reason: str, text: str) -> Seen:
    """A document that cannot be parsed, judged by the templates that can be made out in it."""
    faults = Faults(source.path, source.entry)
    faults.add("WK914", reason)
    if templates.climbs(text):
        named = templates.judge_unparsed(text, source.path, source.entry, kind)
        faults.extend(list(named))
    return (kind, Examination(None, (), faults.all()))


_ENTITY = re.compile(r"<!ENTITY\s+(?:%\s+)?[\w.:-]+\s+(SYSTEM|PUBLIC)?", re.IGNORECASE)
_LIBRARY = re.compile(r"""\b\w+\s*=\s*["']([^"']*\.(?:so|dll|dylib|pyd)(?:\.[\d.]+)?)["']""")


def read_xml(source: Reader, head: bytes) -> Seen | None:
    """PMML, OpenVINO and others: searched for entities and native libraries, not parsed."""
    text = text_of(source)
    if text is None:
        return None
    faults = Faults(source.path, source.entry)
    faults.add("WK004", "XML, searched only for entities and libraries", 0)
    for found in _ENTITY.finditer(text):
        evidence = text[found.start() : found.start() + 200].partition(">")[0]
        if found[1]:
            effect = "makes a parser read a file or address"
            faults.add("WK950", "an external entity", evidence=evidence, effect=effect)
        else:
            faults.add("WK951", "an entity of its own", evidence=evidence)
    for library in sorted({found[1][:200] for found in _LIBRARY.finditer(text)}):
        effect = "loads the native library"
        faults.add("WK932", f"names the library {library}", subject=library, effect=effect)
    return ("XML", Examination(None, (), faults.all()))


def configs_in(text: str, source: Reader) -> list[Finding]:
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
