"""The view of ``weightkit memory`` against the text it must give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.architectures.cache_configs import GEMMA_3_27B, LLAMA_3_1_8B, QWEN3_6_27B, hf
from tests.golden import same
from tests.render import reports
from weightkit.analyses.memory import memory
from weightkit.analyses.sizing import Request
from weightkit.render import json as render_json
from weightkit.render import memory as view
from weightkit.render import plain, table
from weightkit.render.blocks import Block, Wish
from weightkit.render.surface import Surface
from weightkit.reports import MemoryReport

TERMINAL = Surface(terminal=True)
GIB = 1 << 30
BROKEN = {**LLAMA_3_1_8B, "num_hidden_layers": "\x1b[31m" + "32" * 10}
REPORTS: dict[str, tuple[dict[str, Any], Request]] = {
    "llama": (LLAMA_3_1_8B, Request(8192, budget=24 * GIB)),
    "gemma": (GEMMA_3_27B, Request(engine="llama.cpp")),
    "qwen": (QWEN3_6_27B, Request(batch=4, kv_dtype="q8_0")),
    "bert": (hf("bert", 12, 12, 768), Request()),
    "broken": (BROKEN, Request(budget=24 * GIB)),
}


def report(name: str) -> MemoryReport:
    config, request = REPORTS[name]
    llama = reports.llama()
    parts = {"attn": "attention", "mlp": "feed_forward"}
    groups = tuple(
        replace(group, component=next((parts[word] for word in parts if word in group.pattern), ""))
        for group in llama.groups
    )
    return memory(llama._replace(groups=groups), {"config.json": config}, (), request)


def blocks(name: str, *show: str) -> Iterator[Block]:
    return view.to_blocks(report(name), Wish(show=frozenset(show)))


@pytest.mark.parametrize("name", REPORTS)
def test_piped(name: str) -> None:
    same(f"memory-{name}.txt", plain.render(blocks(name), Surface()))


def test_explained() -> None:
    same("memory-qwen-explain.txt", plain.render(blocks("qwen", "explain"), Surface()))


def test_training() -> None:
    text = plain.render(blocks("llama", "training"), Surface())
    assert "lora: adapter, gradients and moments, 32-bit" in text
    assert "full mixed: master weights, 32-bit" in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    for show in ((), ("explain",)):
        text = table.render(blocks(name, *show), TERMINAL._replace(width=width))
        assert max(map(len, text.splitlines())) <= width


def test_colors_are_ours() -> None:
    text = table.render(blocks("broken"), Surface(80, terminal=True, color=True))
    assert "\x1b[31m32" not in text
    assert "\\x1b[31m32" in text


@pytest.mark.parametrize("name", REPORTS)
def test_json(name: str) -> None:
    document = view.to_json(report(name), Wish())
    text = render_json.text(render_json.envelope([document], "0.0.0", many=False))
    assert json.loads(text)["cache"][0]["name"] == "kv_cache"
    if name == "gemma":
        same("memory-gemma.json", text)
