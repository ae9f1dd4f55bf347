"""Configs, whatever their name, judged by what their loaders would do with them."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from weightkit.analyses.folder import look
from weightkit.findings import Finding
from weightkit.opening import examine
from weightkit.source import Buffer, Source


def found_in(name: str, content: bytes | str) -> tuple[Finding, ...]:
    raw = content.encode() if isinstance(content, str) else content
    return tuple(examine(Buffer(raw, name), look=look).faults())


def codes(name: str, content: Any) -> dict[str, str]:
    """Codes with severities of what is found in a file."""
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    return {item.code: item.severity for item in found_in(name, raw)}


CLIMB = "{{ ''.__class__.__mro__ }}"

ORDINARY: list[tuple[str, Any]] = [
    ("config.json", {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "auto_map": {}}),
    ("tokenizer.json", {"model": {"vocab": {"{{": 1, "{%": 2, "__class__": 3, "}}": 4}}}),
    ("x.json", [1, 2.5, None, True, "text with {{ braces }} and __init__ beside"]),
    ("generation_config.json", {"eos_token_id": [1, 2], "trust_remote_code": False}),
    (
        "model_index.json",
        {"_class_name": "P", "_diffusers_version": "0.30", "unet": ["diffusers", "U"]},
    ),
    (
        "modules.json",
        [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Pooling"}],
    ),
    ("train.yaml", "a: 1\nb: [x, {c: d}]\ne: !!python/tuple [1, 2]\nf: &x 1\ng: *x\n"),
    (
        "schema.json",
        {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "ObjectNode"},
    ),
    ("a.json", {"class_name": "Teacher", "config": {"room": 5}}),
    ("prompts.json", {"system_prompt": "Say {{ name }} and {{ x | unknown }}"}),
    ("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n"),
    ("empty.json", {}),
]


@pytest.mark.parametrize(("name", "content"), ORDINARY, ids=lambda item: str(item)[:30])
def test_an_ordinary_config_is_left_alone(name: str, content: Any) -> None:
    assert codes(name, content) == {}


TEMPLATES: list[tuple[str, Any]] = [
    ("tokenizer_config.json", {"chat_template": CLIMB}),
    ("whatever.txt", {"chat_template": [{"name": "default", "template": CLIMB}]}),
    ("a.json", {"x": {"chat_template": {"tool_use": CLIMB}}}),
    ("a.json", {"prompt_template": CLIMB}),
    ("a.json", {"message": CLIMB}),
    ("a.json", '{"chat_template": "' + CLIMB.replace("_", "\\u005f") + '"}'),
    ("a.json", '{"chat_template": "' + CLIMB + '", "chat_template": "{{ x }}"}'),
    ("a.json", "\ufeff" + json.dumps({"chat_template": CLIMB})),
    ("a.json", json.dumps({"chat_template": CLIMB}).encode("utf-16")),
    ("a.yaml", f'chat_template: "{CLIMB}"\n'),
    ("a.yml", f'a: &t "{CLIMB}"\nchat_template: *t\n'),
    ("chat_template.jinja", CLIMB),
    ("x.j2", CLIMB),
    ("a.json", '{"chat_template": "' + CLIMB + '",}'),
    ("chat_template.jinja", "N." + CLIMB),
    ("chat_template.jinja", b"PK\5\6" + bytes(18) + CLIMB.encode()),
    ("a.jsonl", '{"a": 1}\n{"chat_template": "' + CLIMB + '"}\n'),
    ("a.json", {"pad": "x" * 9_000_000, "chat_template": CLIMB}),
]


@pytest.mark.parametrize(("name", "content"), TEMPLATES, ids=lambda item: str(item)[:30])
def test_a_template_is_judged_wherever_it_stands(name: str, content: Any) -> None:
    assert codes(name, content).get("WK901") == "danger"


NAMED: list[tuple[str, Any, str]] = [
    ("config.json", {"auto_map": {"AutoModel": "modeling_x.Model"}}, "WK910"),
    ("t.json", {"auto_map": {"AutoTokenizer": ["tok.Slow", None]}}, "WK910"),
    ("t.json", {"auto_map": {"AutoConfig": "someone/else--config.C"}}, "WK910"),
    ("c.json", {"custom_pipelines": {"p": {"impl": "pipe.P", "pt": ["M"]}}}, "WK910"),
    ("c.json", {"trust_remote_code": True}, "WK910"),
    ("model_index.json", {"_class_name": ["my_pipeline", "P"]}, "WK910"),
    ("m.json", {"_class_name": "P", "_diffusers_version": "0", "unet": ["my_unet", "U"]}, "WK910"),
    ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "custom_st.Model"}], "WK911"),
    ("a.json", {"auto_mapping": {"parent_library": "mine", "base_model_class": "M"}}, "WK911"),
    ("c.yaml", "model:\n  _target_: mypackage.Model\n  size: 3\n", "WK911"),
    ("c.yaml", "model:\n  class_path: mine.Model\n  init_args: {}\n", "WK911"),
    ("c.yaml", "model:\n  target: ldm.models.Diffusion\n  params: {a: 1}\n", "WK911"),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: mine.loader\n", "WK911"),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: mine\n", "WK911"),
    (
        "hydra.yaml",
        "a:\n  _target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n",
        "WK911",
    ),
    ("h.yaml", "a: !new:mine.Model {}\n", "WK911"),
    ("h.yaml", "a: !include:other.yaml\n", "WK913"),
    ("h.yaml", "a: !!javax.script.ScriptEngineManager []\n", "WK913"),
    ("schema.json", {"__class__": "C", "__module__": "mine", "__loader__": "ObjectNode"}, "WK911"),
    (
        "MANIFEST.json",
        {"model": {"modelName": "m", "handler": "h.py", "serializedFile": "m.pt"}},
        "WK942",
    ),
    ("broken.json", '{"a": ', "WK914"),
    ("deep.json", "[" * 100_000, "WK914"),
    ("broken.yaml", "a: [1, 2", "WK914"),
    ("deep.yaml", "[" * 1000, "WK914"),
    ("modeling_x.py", "import torch\n", "WK940"),
    ("lib.so", b"\x7fELF" + bytes(60), "WK940"),
    ("setup", b"#!/bin/sh\nid\n", "WK940"),
    ("a.exe", b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0", "WK940"),
    ("site.pth", "/opt/lib\nimport os; os.system('id')\n", "WK941"),
    ("bad.jinja", "{% for %}", "WK905"),
]


@pytest.mark.parametrize(("name", "content", "code"), NAMED, ids=lambda item: str(item)[:30])
def test_what_a_config_names_is_for_review(name: str, content: Any, code: str) -> None:
    assert codes(name, content) == {code: "warning"}


DANGEROUS: list[tuple[str, Any]] = [
    ("c.yaml", "_target_: os.system\n_args_: [id]\n"),
    ("c.json", {"a": [{"_target_": "subprocess.Popen", "args": ["id"], "_partial_": True}]}),
    ("c.json", {"_target_": "builtins.eval", "_args_": ["1"]}),
    ("c.json", {"_target_": "eval"}),
    ("MLmodel", "flavors:\n  python_function:\n    loader_module: os\n"),
    ("c.yaml", "_target_: hydra.utils.call\n_args_: [id]\n"),
    ("c.json", {"_target_": "torch.serialization.os.system"}),
    ("c.json", '{"_target_": "os.system", "_target_": "os.popen"}'),
    ("c.yaml", "a: !!python/object/apply:os.system [id]\n"),
    ("c.yaml", "a: !!python/name:os.system\n"),
    ("c.yaml", "a: !!python/object/new:subprocess.Popen [[id]]\n"),
    ("h.yaml", "a: !apply:os.system [id]\n"),
    ("c.yaml", "class_path: os.system\ninit_args: {command: id}\n"),
    ("c.yaml", "class_path: os.system\n"),
    ("c.yaml", "? !!python/object/apply:os.system [id]\n: 1\n"),
    ("c.yaml", "a:\n  ? [!!python/object/apply:os.system [id]]\n  : 1\n"),
    ("j.json", {"py/object": "subprocess.Popen", "py/reduce": [{"py/type": "subprocess.Popen"}]}),
    ("schema.json", {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}),
    # CVE-2025-54412: the node shows one function and calls another
    (
        "schema.json",
        {"__class__": "int", "__module__": "builtins", "__loader__": "OperatorFuncNode"},
    ),
]


@pytest.mark.parametrize(("name", "content"), DANGEROUS, ids=lambda item: str(item)[:40])
def test_a_dangerous_target_is_unsafe(name: str, content: Any) -> None:
    assert codes(name, content) == {"WK912": "danger"}


def test_a_target_is_told_with_its_arguments() -> None:
    (found,) = found_in("c.yaml", "_target_: os.system\n_args_: [id]\n")
    assert (found.subject, found.evidence) == ("os.system", '{"_args_": ["id"]}')
    assert found.message == "hydra would call os.system (process)"
    assert found.effect


def test_the_file_that_auto_map_names_is_looked_for(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"auto_map": {"AutoModel": "modeling_x.M"}}')
    (tmp_path / "modeling_x.py").write_text("")
    with Source(config) as source:
        (found,) = examine(source, look=look).faults()
    assert "which is beside it" in found.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "[" + "{}," * 2_000_000 + "1]"),
        ("a.json", '{"a":' * 50_000),
        ("a.json", json.dumps({"pad": ["{{ a }}"] * 400_000})),
        ("a.json", json.dumps([{"chat_template": "{{ a[b] }}"}] * 20_000)),
        (
            "a.yaml",
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
                for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
        ),
        ("a.yaml", "{" * 100_000),
        ("a.yaml", "- a\n" * 300_000),
        ("a.yaml", "? " * 100_000),
    ],
    ids=["objects", "depth", "braces", "templates", "laughs", "flow", "items", "keys"],
)
def test_a_config_built_to_exhaust_is_answered(name: str, content: str) -> None:
    begun = time.process_time()
    found_in(name, content)
    assert time.process_time() - begun < 5


def test_a_long_text_in_json_takes_its_length_in_memory() -> None:
    text = '{"a": "' + "x" * (8 << 20) + '", "chat_template": "' + CLIMB + '"}'
    tracemalloc.start()
    try:
        assert codes("a.json", text).get("WK901") == "danger"
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
