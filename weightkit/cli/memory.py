"""``weightkit memory``: what it takes to run and to train."""

from __future__ import annotations

import re
from typing import Any

import click

from weightkit.cli import options, running
from weightkit.render.blocks import Wish
from weightkit.reports import MemoryReport

EXAMPLES = """\b
Examples:
  weightkit memory Llama-3.1-8B/
  weightkit memory gemma-3-27b.gguf --context 131072 --engine llama.cpp
  weightkit memory Qwen3-8B/ --fit 24GiB --context 32768
  weightkit memory DeepSeek-V3.1/ --batch 8 --kv-dtype fp8 --explain
  weightkit memory --json model.safetensors | jq .cache

Every figure is exact, an estimate or unknown; an unknown names the field that is missing.
Without --engine, a figure in which engines differ is a range."""

ENGINES = ("transformers", "vllm", "llama.cpp")
KV_DTYPES = (
    "f32", "f16", "bf16", "fp8", "int8", "fp8_per_token_head", "int8_per_token_head", "nvfp4",
    "fp8_ds_mla", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl",
)  # fmt: skip
MOST = 1 << 40
_SIZE = re.compile(r"(\d{1,30}(?:\.\d{1,9})?)\s*([KMGTP]?)(i?)(B?)", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def number(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """A number of tokens or sequences, from 1 to :data:`MOST`."""
    if value is not None and not 1 <= value <= MOST:
        raise click.BadParameter(f"{value} is not from 1 to {MOST}.")
    return value


def size(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """The bytes that ``24GiB``, ``24G`` (the same), ``24GB`` (decimal) or plain digits stand for."""
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size such as 24GiB, 80GB or 8589934592.")
    number, unit, binary, byte = match.groups()
    base = 1024 if binary or not byte else 1000
    return int(float(number) * base ** _POWERS[unit.upper()])


@click.command("memory", epilog=EXAMPLES)
@options.inputs
@click.option(
    "--context",
    metavar="N",
    type=int,
    callback=number,
    help="Tokens per sequence; the model's longest if not said.",
)
@click.option(
    "--batch",
    metavar="N",
    type=int,
    callback=number,
    default=1,
    help="Sequences at once; 1 if not said.",
)
@click.option(
    "--kv-dtype",
    metavar="TYPE",
    type=options.Choice(KV_DTYPES),
    default="f16",
    help="Type of the cache (f16): f32, bf16, fp8, int8, nvfp4, q8_0, q4_0, ...",
)
@click.option("--engine", type=options.Choice(ENGINES), help="What runs it; any, if not said.")
@click.option(
    "--encoder-length",
    metavar="N",
    type=int,
    callback=number,
    help="Tokens of the encoder's output, for cross attention.",
)
@click.option(
    "--fit", metavar="SIZE", callback=size, help="Say what fits in SIZE (24GiB), and how much text."
)
@click.option(
    "--rank",
    metavar="N",
    type=int,
    callback=number,
    default=16,
    help="Rank of LoRA adapters to train (16).",
)
@click.option("--training", is_flag=True, help="Show every term of training, not the totals.")
@click.option("--explain", is_flag=True, help="Show each formula, its inputs and its source.")
@options.opening
@options.fail_on
@options.output
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    opening: options.Opening,
    output: options.Output,
    fail_on: str | None,
    training: bool,
    explain: bool,
    **asked: Any,
) -> int:
    """Say what a model takes: weights, KV cache, overhead; what fits; training.

    PATH is a file of any format, a folder in the Hugging Face layout, an index, one shard of many;
    - reads paths from standard input.
    """
    from weightkit.analyses.memory import memory_of
    from weightkit.analyses.sizing import Request
    from weightkit.opening import open_checkpoint
    from weightkit.render import memory

    asked["budget"] = asked.pop("fit")
    request = Request(**{**asked, "engine": asked["engine"] or ""})
    sections = {"training": training, "explain": explain}
    wish = Wish(show=frozenset(name for name, wanted in sections.items() if wanted))

    def estimate(path: str) -> MemoryReport:
        with open_checkpoint(path, **opening.arguments) as checkpoint:
            return memory_of(checkpoint, request)

    return running.each(
        running.all_paths(paths, files_from),
        estimate,
        running.Showing(memory, output, wish),
        judge=lambda report: running.verdict(report.findings, fail_on),
        many=running.is_list(paths, files_from),
        whole=True,
    )
