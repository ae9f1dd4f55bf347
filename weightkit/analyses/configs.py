"""What the configs beside (or inside) weights would make a loader do.

``auto_map`` makes transformers run Python files when it is told to trust them, ``_target_`` makes
hydra import and call whatever it names, a chat template is rendered by the server, a Keras config is
built, an archive's manifest names its handler. Every document is judged by all of it, whatever its
name: loaders take configs from where they are pointed to.
"""

from __future__ import annotations

import os
import re
from typing import Any

from weightkit.analyses import templates
from weightkit.analyses.documents import Place, Tagged, of, pairs, walk
from weightkit.analyses.keras import is_named, is_object, judge_keras
from weightkit.analyses.targets import TARGET_KEYS, danger_of, shown, targets
from weightkit.findings import Finding
from weightkit.rules import Faults
from weightkit.source import Reader
from weightkit.tensors import ArrayRef, FileIndex
from weightkit.text import words

TELLING = re.compile(
    r"template|prompt|jinja|^(auto_map|custom_pipelines|_target_|class_path|target|class_name|"
    r"_class_name|trust_remote_code|handler|loader_module|__loader__|auto_mapping|py/\w+)$"
)
"""Keys of what is judged here: a long JSON text is read as far as it has them."""

MAX_LEFT_TEXT = 16 << 20
MAX_TEMPLATES = 200
MAX_TEMPLATE_TEXT = 4 << 20


def judge_document(document: Any, path: str, entry: str = "") -> tuple[Finding, ...]:
    """Everything that a config would make its loaders do."""
    judgement = _Judgement(path, entry)
    built: list[Place] = []
    named: list[Place] = []
    for place in walk(document):
        judgement.judge(place)
        if is_object(place.value):
            built.append(place)
        elif type(place.value) is str and is_named(place):
            named.append(place)
    judgement.keras(built, named)
    return judgement.faults.all()


def judge_index(index: FileIndex, source: Reader | None) -> tuple[Finding, ...]:
    """The templates in a weight file's metadata: rendered in GGUF, only text in safetensors.

    ``source`` is the file, for texts that were left in it.
    """
    judgement = _Judgement(index.path, "")
    for key, value in index.metadata.items():
        if isinstance(value, ArrayRef):
            value = _fetched(index, source, value)
        for place in walk({key: value}):
            judgement.text(place)
    found = judgement.faults.all()
    if index.format == "gguf":
        return found
    return tuple(item._replace(severity="note") for item in found)


def _fetched(index: FileIndex, source: Reader | None, ref: ArrayRef) -> Any:
    """A long text that the room left in the file."""
    if ref.kind != "text" or index.format != "gguf":
        return None
    if source is None or ref.nbytes > MAX_LEFT_TEXT:
        return "{{ a template that is too long to be judged"
    from weightkit.formats.gguf import read_array

    return read_array(source, ref, index.byteorder)


class _Judgement:
    def __init__(self, path: str, entry: str) -> None:
        self.faults = Faults(path, entry)
        self.folder = "" if entry else os.path.dirname(path)
        self.templates = 0
        self.template_text = 0

    def judge(self, place: Place) -> None:
        value = place.value
        if isinstance(value, str):
            self.text(place)
            return
        if isinstance(value, dict):
            if _KEYS.isdisjoint(value):
                return
            for key, check in _CHECKS:
                if key in value:
                    check(self, value)
        elif isinstance(value, list):
            self.modules(value)
        elif isinstance(value, Tagged):
            self.tag(value)
        self.targets(place)

    def say(
        self, code: str, message: str, subject: str, evidence: str = "", effect: str = ""
    ) -> None:
        self.faults.add(code, message, subject=subject, evidence=evidence, effect=effect)

    # Templates

    def text(self, place: Place) -> None:
        """A text that jinja2 would render, by its key or by what it says."""
        text = place.value
        if type(text) is not str or not templates.is_template(text):
            return
        named = any(_TEMPLATE_KEY.search(key) for key in place.path)
        if not named and not templates.climbs(text):
            return
        self.templates += 1
        self.template_text += len(text)
        where = place.spelt or "template"
        if self.templates > MAX_TEMPLATES or self.template_text > MAX_TEMPLATE_TEXT:
            self.faults.add("WK905", f"{where}: more templates than are judged")
            return
        path, entry = self.faults.path, self.faults.entry
        found = templates.judge(text, path, entry, where)
        if not any("chat_template" in key for key in place.path):
            found = tuple(item for item in found if item.severity == "danger")
        self.faults.extend(found)

    # Names of Python objects

    def targets(self, place: Place) -> None:
        for target in targets(place):
            found = danger_of(target.path)
            evidence = shown(target.arguments)
            if found is not None:
                message = f"{target.how} would call {target.path} ({found.kind})"
                self.say("WK912", message, target.path, evidence, found.effect)
            else:
                message = f"{target.how} would import and call {target.path}"
                self.say("WK911", message, target.path, evidence)

    def tag(self, value: Tagged) -> None:
        if any(value.tag.startswith(start) for start in _INERT_TAGS):
            return
        if not [*targets(Place(None, "", value))]:
            message = f"the tag {value.tag[:120]}, whose meaning is up to the loader"
            self.say("WK913", message, value.tag[:120], shown(value.value))

    # Transformers and its relatives

    def auto_map(self, node: dict[str, Any]) -> None:
        for mapping in of(node, "auto_map"):
            for name, reference in pairs(mapping) if isinstance(mapping, dict) else ():
                for item in reference if isinstance(reference, list) else [reference]:
                    if isinstance(item, str):
                        self.remote(f"auto_map {name}", item)

    def custom_pipelines(self, node: dict[str, Any]) -> None:
        for mapping in of(node, "custom_pipelines"):
            for name, pipeline in pairs(mapping) if isinstance(mapping, dict) else ():
                if isinstance(pipeline, dict) and isinstance(pipeline.get("impl"), str):
                    self.remote(f"custom pipeline {name}", pipeline["impl"])

    def remote(self, what: str, reference: str) -> None:
        """``[repo--]module.Class``: a Python file beside the config, or in another repository."""
        repository, _, name = reference.rpartition("--")
        file = f"{name.partition('.')[0]}.py"
        if repository:
            place = f"{file} of the repository {repository}"
        else:
            beside = self.folder and os.path.isfile(os.path.join(self.folder, file))
            place = f"{file}, which is beside it" if beside else file
        message = f"{what}: {reference} in {place}"
        self.say("WK910", message, reference, effect="runs that file under trust_remote_code")

    def trusting(self, node: dict[str, Any]) -> None:
        if any(value is True for value in of(node, "trust_remote_code")):
            effect = "tells loaders to run the Python files of the repository"
            self.say("WK910", "sets trust_remote_code", "trust_remote_code", effect=effect)

    def pipeline(self, node: dict[str, Any]) -> None:
        """A diffusers ``model_index.json``: ``[library, class]`` pairs, custom ones beside it."""
        for name in of(node, "_class_name"):
            if isinstance(name, list):
                self.remote("pipeline class", ".".join(map(str, name[:2])))
        if "_diffusers_version" not in node:
            return
        for part, pair in pairs(node):
            two = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
            if two and pair[0] not in _LIBRARIES:
                self.remote(f"pipeline part {part}", f"{pair[0]}.{pair[1]}")

    def adapter(self, node: dict[str, Any]) -> None:
        """peft imports ``auto_mapping.parent_library`` to find the model's class."""
        for mapping in of(node, "auto_mapping"):
            library = mapping.get("parent_library") if isinstance(mapping, dict) else None
            if isinstance(library, str) and library.partition(".")[0] not in _LIBRARIES:
                self.imported("peft", library)

    def modules(self, value: list[Any]) -> None:
        """sentence-transformers' ``modules.json``: a list of classes by their dotted path."""
        for item in value:
            if isinstance(item, dict) and {"idx", "path", "type"} <= item.keys():
                kind = item["type"]
                if isinstance(kind, str) and not kind.startswith("sentence_transformers."):
                    self.imported("sentence-transformers", kind)

    def imported(self, how: str, path: str) -> None:
        found = danger_of(path) or danger_of(f"{path}.x")
        message = f"{how} would import {path}"
        if found is not None:
            self.say("WK912", message, path, effect=found.effect)
        else:
            self.say("WK911", message, path)

    # Archives

    def manifest(self, node: dict[str, Any]) -> None:
        """TorchServe's manifest: the Python file that serves the model."""
        for model in of(node, "model"):
            if not isinstance(model, dict) or not {"serializedFile", "modelName"} & model.keys():
                continue
            for key in ("handler", "modelFile", "requirementsFile"):
                if isinstance(model.get(key), str):
                    effect = "TorchServe runs it"
                    self.say("WK942", f"{key} {model[key][:120]}", model[key][:120], effect=effect)

    def skops(self, node: dict[str, Any]) -> None:
        """skops' ``schema.json``: a tree of nodes, each with the class that it builds."""
        for loader in of(node, "__loader__"):
            module, name = node.get("__module__"), node.get("__class__")
            if not isinstance(module, str) or not isinstance(name, str):
                continue
            path = f"{module}.{name}"
            found = danger_of(path)
            odd = loader == "OperatorFuncNode" and module != "operator"  # CVE-2025-54412
            if (
                found is not None
                or odd
                or (loader == "OperatorFuncNode" and name == "methodcaller")
            ):
                effect = found.effect if found else "calls another function than it shows"
                self.say("WK912", f"skops would build {path} by {loader}", path, effect=effect)
            elif loader == "MethodNode" or module.partition(".")[0] not in _SKOPS:
                self.say("WK911", f"skops would build {path} by {loader}", path)

    # Keras

    def keras(self, built: list[Place], named: list[Place]) -> None:
        for place, fault in judge_keras(built, named):
            where: dict[str, Any] = {"severity": fault.severity} if fault.severity else {}
            self.faults.add(
                fault.code,
                f"{place.spelt}: {fault.message}" if place.above else fault.message,
                subject=fault.subject,
                evidence=fault.evidence,
                effect=fault.effect,
                **where,
            )


_TEMPLATE_KEY = re.compile("template|prompt|jinja", re.IGNORECASE)
_INERT_TAGS = [
    f"tag:yaml.org,2002:python/{kind}"
    for kind in words("tuple none bool str unicode bytes int long float complex list dict")
]
_LIBRARIES = words(
    "diffusers flax onnxruntime optimum peft sentence_transformers stable_diffusion timm torch "
    "torchvision transformers"
)
_SKOPS = words("builtins collections functools numpy operator scipy sklearn")
_CHECKS = [
    ("__loader__", _Judgement.skops),
    ("_class_name", _Judgement.pipeline),
    ("auto_map", _Judgement.auto_map),
    ("auto_mapping", _Judgement.adapter),
    ("custom_pipelines", _Judgement.custom_pipelines),
    ("model", _Judgement.manifest),
    ("trust_remote_code", _Judgement.trusting),
]
_KEYS = TARGET_KEYS | {key for key, _ in _CHECKS}
