#!/usr/bin/env python3
"""Measure casts, counts included, beside ``.to`` of torch: billions of values a second.

Blocks of ggml are measured beside ``gguf.quants.dequantize`` and NumPy's cast from there.

    scripts/bench/casts.py [--pairs bf16:f16,f32:bf16] [--values 16777216] [--threads 1] [--runs 5]

Run it with the Python of .venv-test, which has torch. Both sides cast the same values in turn, in
pieces of 1 MiB as a conversion does, and use as many threads; the best run of each counts. With one
thread the time is that of the processor, with more it is that of the wall.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import gguf
import numpy as np
import torch

from weightkit.dtypes import DTYPES, DType
from weightkit.values.casts import caster
from weightkit.values.narrowing import FLOATS

PIECE = 1 << 20
ROW = 4096


def weights(source: DType, values: int) -> np.ndarray[Any, Any]:
    """As weights are: near zero, with a few that are tiny; blocks of chance, with small scales."""
    generator = np.random.default_rng(1)
    if source.kind == "quant":
        return generator.integers(0, 256, source.nbytes_of(values), np.uint8) & np.uint8(0x2F)
    held = generator.standard_normal(values, np.float32) * np.float32(0.02)
    return held.astype(np.dtype(source.numpy)).view(np.uint8)


def ours(source: DType, target: DType, held: Any, threads: int) -> None:
    cast = caster(source, target)
    step = PIECE // source.nbytes * source.nbytes
    pieces = [held[at : at + step] for at in range(0, len(held), step)]

    def share(own: list[Any]) -> None:
        for piece in own:
            cast(piece)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, [pieces[number::threads] for number in range(threads)]))


def theirs(source: DType, target: DType, held: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    if source.kind == "quant":
        rows = held.reshape(-1, source.nbytes_of(ROW))
        wide = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType(source.ggml))
        wide.astype(np.dtype(target.numpy), copy=False)
        return
    kind = getattr(torch, target.torch)
    for at in range(0, len(held), PIECE):
        piece = torch.from_numpy(held[at : at + PIECE])
        piece.view(getattr(torch, source.torch)).to(kind)


def seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def measure(source: DType, target: DType, options: argparse.Namespace) -> tuple[float, float]:
    held = weights(source, options.values)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    mine, other = [], []
    for _ in range(options.runs):
        mine.append(seconds(lambda: ours(source, target, held, options.threads), clock))
        other.append(seconds(lambda: theirs(source, target, held, options.threads), clock))
    return min(mine), min(other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default="")
    parser.add_argument("--values", type=int, default=1 << 24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    pairs = [pair.split(":") for pair in options.pairs.split(",") if pair]
    print("| from | to | here | beside | time here / beside |\n|---|---|--:|--:|--:|")
    for source, target in pairs or product(FLOATS, repeat=2):
        if source == target:
            continue
        mine, other = measure(DTYPES[source], DTYPES[target], options)
        rate, beside = (options.values / each / 1e9 for each in (mine, other))
        print(
            f"| {source} | {target} | {rate:.2f} | {beside:.2f} | {mine / other:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
