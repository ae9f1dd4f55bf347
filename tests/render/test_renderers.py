"""Each renderer against the text it must give."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.golden import same
from tests.render import reports
from weightkit.render import inspection, installation, plain, rules, table
from weightkit.render import json as render_json
from weightkit.render.blocks import Block, Wish
from weightkit.render.surface import Surface
from weightkit.reports import Installation, Requirement
from weightkit.rules import RULES

TERMINAL = Surface(terminal=True)


def blocks(name: str, wish: Wish = Wish()) -> Iterator[Block]:  # noqa: B008
    return inspection.to_blocks(getattr(reports, name)(), wish)


@pytest.mark.parametrize("name", ["llama", "odd", "by_layer"])
def test_piped(name: str) -> None:
    same(f"inspect-{name}-piped.txt", plain.render(blocks(name), Surface()))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["llama", "odd"])
def test_terminal(name: str, width: int) -> None:
    text = table.render(blocks(name), TERMINAL._replace(width=width))
    assert max(map(len, text.splitlines())) <= width
    same(f"inspect-{name}-{width}.txt", text)


def test_colors() -> None:
    text = table.render(blocks("odd"), Surface(80, terminal=True, color=True))
    assert "\x1b[31m.pt" not in text, "the file's own escape came through"
    same("inspect-odd-color.txt", text)


def test_ascii() -> None:
    text = table.render(blocks("llama"), TERMINAL._replace(width=80, ascii=True))
    assert text.isascii()
    same("inspect-llama-ascii.txt", text)


@pytest.mark.parametrize("section", ["tensors", "metadata"])
def test_sections(section: str) -> None:
    wish = Wish(show=frozenset({section}))
    same(f"inspect-odd-{section}.txt", plain.render(blocks("odd", wish), Surface()))


def test_explained() -> None:
    wish = Wish(show=frozenset({"explain"}), pattern="a.w")
    same("inspect-odd-explain.txt", plain.render(blocks("odd", wish), Surface()))


@pytest.mark.parametrize("name", ["llama", "odd", "by_layer"])
def test_json(name: str) -> None:
    document = inspection.to_json(getattr(reports, name)(), Wish())
    text = render_json.text(render_json.envelope([document], "0.0.0", many=False))
    assert text.isascii()
    assert json.loads(text) == {
        "schema_version": 1,
        "tool": {"name": "weightkit", "version": "0.0.0"},
        **document,
    }
    same(f"inspect-{name}.json", text)


def test_one_rule_in_full() -> None:
    full = rules.to_blocks([RULES["WK001"]], Wish(show=frozenset({"full"})))
    same("rules-WK001.txt", plain.render(full, Surface(width=80)))


def test_doctor() -> None:
    report = Installation(
        version="0.0.0",
        python="3.11.7",
        implementation="CPython",
        platform="Linux",
        executable="/usr/bin/python3",
        encoding="utf-8",
        cores=2,
        hub_cache="/home/someone/.cache/huggingface/hub",
        requirements=(
            Requirement("click", "8.5.1"),
            Requirement("rich", None),
            Requirement("torch", None, "torch"),
        ),
    )
    same("doctor.txt", plain.render(installation.to_blocks(report, Wish()), Surface()))
