"""Templates that climb are found, whatever they hide behind; ordinary ones are left alone."""

from __future__ import annotations

import sys
import time

import pytest

from tests.analyses.chat_templates import CLIMBING, ODD, ORDINARY
from weightkit.analyses.templates import judge
from weightkit.analyses.templates.parsing import parse


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_template_is_left_alone(name: str) -> None:
    assert judge(ORDINARY[name], "t") == ()


@pytest.mark.parametrize(("text", "code"), CLIMBING)
def test_a_climbing_template_is_dangerous(text: str, code: str) -> None:
    found = judge(text, "t")
    assert code in {item.code for item in found}
    assert "danger" in {item.severity for item in found}


@pytest.mark.parametrize(("text", "code"), ODD, ids=lambda item: item[:30])
def test_an_odd_template_is_for_review(text: str, code: str) -> None:
    assert {(item.code, item.severity) for item in judge(text, "t")} == {(code, "warning")}


def test_a_finding_tells_what_would_be_done() -> None:
    (found,) = judge(
        "x\n{{ cycler.__init__.__globals__.os.popen('id').read() }}", "m.json", "", "chat"
    )
    assert found.evidence == "cycler.__init__.__globals__.os.popen('id').read()"
    assert found.effect == "runs a command"
    assert found.subject == "__init__"
    assert found.message == "chat line 2: reaches for the attribute __init__"


def test_a_chain_is_told_once() -> None:
    assert len(judge("{{ ''.__class__.__mro__[1].__subclasses__()[40]('/x') }}", "t")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{% set a = a ~ b %}{% set b = b ~ a %}" * 3000,
        "{{ x" + "[0]" * 30_000 + " }}",
        "{% macro m(a) %}{{ m(a ~ 'x') }}{% endmacro %}" * 2000,
        "{% if a %}" * 90 + "{{ a[b] }}" + "{% endif %}" * 90,
        "{#" * 400_000,
        "{{ '" + "_" * 900_000 + "' * 9 }}",
    ],
    ids=["tangled sets", "items", "macros", "ifs", "comment", "text"],
)
def test_a_template_built_to_exhaust_is_answered(text: str) -> None:
    begun = time.process_time()
    judge(text, "t")
    assert time.process_time() - begun < 5


def test_parsing_compiles_and_runs_nothing() -> None:
    parse("{{ 1 }}")  # jinja2 itself is imported by now
    watched: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("compile", "exec", "import", "open", "subprocess.Popen"):
            watched.append(event)

    sys.addaudithook(hook)
    for text in [*ORDINARY.values(), *(text for text, _ in CLIMBING)]:
        judge(text + "{{ 0.5 + 1e3 }}", "t")
    watching = False
    assert watched == []
