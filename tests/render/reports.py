"""Reports made by hand, with everything that a renderer must cope with."""

from __future__ import annotations

from weightkit.reports import (
    Component,
    DTypeShare,
    FileEntry,
    Group,
    Inspection,
    Parameters,
    SetSummary,
    Share,
    TensorRow,
)
from weightkit.rules import finding
from weightkit.tensors import ArrayRef


def llama() -> Inspection:
    """Llama 3.1 8B as its four safetensors shards say it."""
    groups = [
        ("model.embed_tokens.weight", (128256, 4096), 1, 525336576),
        ("model.layers.[0-31].input_layernorm.weight", (4096,), 32, 131072),
        ("model.layers.[0-31].mlp.down_proj.weight", (4096, 14336), 32, 1879048192),
        ("model.layers.[0-31].mlp.gate_proj.weight", (14336, 4096), 32, 1879048192),
        ("model.layers.[0-31].mlp.up_proj.weight", (14336, 4096), 32, 1879048192),
        ("model.layers.[0-31].post_attention_layernorm.weight", (4096,), 32, 131072),
        ("model.layers.[0-31].self_attn.k_proj.weight", (1024, 4096), 32, 134217728),
        ("model.layers.[0-31].self_attn.o_proj.weight", (4096, 4096), 32, 536870912),
        ("model.layers.[0-31].self_attn.q_proj.weight", (4096, 4096), 32, 536870912),
        ("model.layers.[0-31].self_attn.v_proj.weight", (1024, 4096), 32, 134217728),
        ("model.norm.weight", (4096,), 1, 4096),
        ("lm_head.weight", (128256, 4096), 1, 525336576),
    ]
    total = 8_030_261_248
    return Inspection(
        path="models/Llama-3.1-8B-Instruct",
        format="safetensors",
        files=tuple(
            FileEntry(f"model-0000{n}-of-00004.safetensors", "safetensors", size, tensors)
            for n, size, tensors in [
                (1, 4976698672, 81),
                (2, 4999802720, 104),
                (3, 4915916176, 97),
                (4, 1168138808, 9),
            ]
        ),
        size=16_060_556_376,
        tensors=291,
        parameters=Parameters(total, total, None, None, 0, 0, total),
        components=(
            Component("embedding", 1, 525336576, 1050673152, ("bf16",)),
            Component("attention", 128, 1342177280, 2684354560, ("bf16",)),
            Component("feed_forward", 96, 5637144576, 11274289152, ("bf16",)),
            Component("norm", 65, 266240, 532480, ("bf16",)),
            Component("output_head", 1, 525336576, 1050673152, ("bf16",)),
        ),
        dtypes=(DTypeShare("bf16", 291, total, 2 * total),),
        layers=32,
        bits_per_weight=16.0,
        nbytes=2 * total,
        groups=tuple(
            Group(pattern, "bf16", shape, count, parameters, 2 * parameters)
            for pattern, shape, count, parameters in groups
        ),
        metadata={"format": "pt"},
        tied=(),
        sets=(SetSummary("", "model", 291, total, 2 * total, True),),
        findings=(),
        summary={
            "architecture": "LlamaForCausalLM",
            "licence": "llama3.1",
            "base_model": "meta-llama/Llama-3.1-8B",
        },
    )


def odd() -> Inspection:
    """A small broken checkpoint with hostile names: two sets, ties, findings, quantization."""
    return Inspection(
        path="odd\x1b[31m.pt",
        format="pytorch",
        files=(FileEntry("odd\x1b[31m.pt", "pytorch", 4096, 3, "zip"),),
        size=4096,
        tensors=3,
        parameters=Parameters(1200, 800, 700, 600, 8, 16, 1216, ""),
        components=(
            Component("attention", 2, 1, 2, ("f16", "q4_k")),
            Component("other", 1, 1199, 1000, ("q4_k",)),
        ),
        dtypes=(DTypeShare("f16", 2, 1000, 2000), DTypeShare("q4_k", 1, 256, 144)),
        layers=None,
        bits_per_weight=4.5,
        nbytes=2144,
        groups=(
            Group("模型.\u202eevil.[bold]weight[/]", "f16", (), 1, 1, 2, "attention"),
            Group("b" * 90, "q4_k", (4, 256), 2, 1199, 1000, "other"),
        ),
        metadata={
            "tokens": ArrayRef("string", 262144, 100, 9000),
            "nested": {"a": [1, 2, float("nan")], "b": None},
            "huge": 1 << 20000,
            "template": "line one\nline two\x07",
            "long": "x" * 500,
        },
        tied=(("lm_head.weight", "embed.weight"),),
        sets=(
            SetSummary("state_dict", "model", 3, 1216, 2144, True),
            SetSummary("ema", "ema", 3, 1216, 2144, False),
        ),
        findings=(
            finding("WK005", "says .pt", path="odd\x1b[31m.pt"),
            finding(
                "WK001",
                "16 bytes wanted, but 3 remain",
                path="dir/odd.pt",
                entry="archive/data.pkl",
                offset=0x1A40,
                tensor="模型.w",
            ),
        ),
        rows=(
            TensorRow("b.10.w", "q4_k", (4, 256), 1199, 1000, "odd.pt", 64, "other"),
            TensorRow("a.w", "f16", (), 1, 2, "odd.pt", 16, "attention", layer=0, tied_to="a.v"),
            TensorRow("a.v", "f16", (), None, 2, "odd.pt", 16, kind="buffer", layout="sparse_coo"),
        ),
    )


def by_layer() -> Inspection:
    """Shares by layer, one of them all buffers."""
    shares = tuple(Share(f"layers.{n}", 9, 1000 * n, 2000 * n + 4) for n in range(3))
    return llama()._replace(by="layer", shares=shares)
