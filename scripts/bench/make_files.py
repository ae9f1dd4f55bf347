#!/usr/bin/env python3
"""Write the files that scripts/bench/run.py measures with (needs torch; two minutes, 7 GB of disk).

    scripts/bench/make_files.py [DIR]

The default is a RAM disk. Tensor data are holes where their values do not matter, so that files
of gigabytes take next to nothing. A file that is there already is kept.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

MIB = 1 << 20
TOKENS, MERGES = 262_144, 262_144
MANY = 20_000
MANY_SAFETENSORS = 50_000
PAIR_TENSORS = 300


def default_folder() -> Path:
    shared = Path("/dev/shm")
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "weightkit-bench"


def llama_names() -> Iterator[str]:
    """Names as a deep transformer has them, without end."""
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    parts += ["input_layernorm", "post_attention_layernorm"]
    layer = 0
    while True:
        for part in parts:
            yield f"model.layers.{layer}.{part}.weight"
        layer += 1


def names(count: int) -> list[str]:
    return [name for name, _ in zip(llama_names(), range(count), strict=False)]


def hole(path: Path, nbytes: int) -> None:
    """Make the file ``nbytes`` long without writing them."""
    os.truncate(path, nbytes)


# -- GGUF --


def gguf_string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def gguf_value(key: str, value: Any) -> bytes:
    """One metadata entry: a string, an unsigned number, or an array of strings, floats, ints."""
    head = gguf_string(key)
    if isinstance(value, str):
        return head + struct.pack("<I", 8) + gguf_string(value)
    if isinstance(value, int):
        return head + struct.pack("<II", 4, value)
    kind, pack = {
        str: (8, lambda items: b"".join(map(gguf_string, items))),
        float: (6, lambda items: struct.pack(f"<{len(items)}f", *items)),
        int: (5, lambda items: struct.pack(f"<{len(items)}i", *items)),
    }[type(value[0])]
    return head + struct.pack("<IIQ", 9, kind, len(value)) + pack(value)


def write_gguf(path: Path, metadata: dict[str, Any], tensors: int, elements: int) -> None:
    """A version 3 file with ``tensors`` F16 vectors of ``elements`` each; the data are a hole."""
    metadata = {"general.architecture": "llama", "llama.block_count": tensors // 9, **metadata}
    place, infos = 0, []
    for name in names(tensors):
        infos.append(gguf_string(name) + struct.pack("<IQIQ", 1, elements, 1, place))
        place += -(-2 * elements // 32) * 32
    entries = b"".join(gguf_value(key, value) for key, value in metadata.items())
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(metadata)) + entries + b"".join(infos)
    head += bytes(-len(head) % 32)
    path.write_bytes(head)
    hole(path, len(head) + place)


def vocabulary_gguf(path: Path) -> None:
    tokens = [f"▁token{index:x}" for index in range(TOKENS)]
    write_gguf(
        path,
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(index) for index in range(TOKENS)],
            "tokenizer.ggml.token_type": [1] * TOKENS,
            "tokenizer.ggml.merges": [f"▁t{index:x} ok{index % 977}" for index in range(MERGES)],
        },
        tensors=291,
        elements=4096,
    )


def pair_gguf(path: Path, nbytes: int) -> None:
    write_gguf(path, {}, PAIR_TENSORS, nbytes // PAIR_TENSORS // 2)


# -- safetensors --


def write_safetensors(path: Path, tensors: int, elements: int) -> None:
    """``tensors`` F16 vectors of ``elements`` each; the data are a hole."""
    header = {
        name: {
            "dtype": "F16",
            "shape": [elements],
            "data_offsets": [2 * elements * index, 2 * elements * (index + 1)],
        }
        for index, name in enumerate(names(tensors))
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    hole(path, 8 + len(text) + 2 * elements * tensors)


def pair_safetensors(path: Path, nbytes: int) -> None:
    write_safetensors(path, PAIR_TENSORS, nbytes // PAIR_TENSORS // 2)


# -- torch --


def state_dict(tensors: int, elements: int) -> dict[str, Any]:
    """Each tensor has a storage of its own; zeros that nobody has touched take no memory."""
    import torch

    return {name: torch.zeros(elements, dtype=torch.float16) for name in names(tensors)}


def write_torch(path: Path, tensors: int, elements: int) -> None:
    """``torch.save``, the data left out: torch seeks over them."""
    import torch

    with torch.serialization.skip_data():
        torch.save(state_dict(tensors, elements), path)


def pair_torch(path: Path, nbytes: int) -> None:
    write_torch(path, PAIR_TENSORS, nbytes // PAIR_TENSORS // 2)


def write_legacy(path: Path, tensors: int, elements: int) -> None:
    """The stream of torch before 1.6 as torch.save still writes it, each storage's data a hole."""
    import torch

    keys: list[str] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, torch.storage.TypedStorage):
                return None
            keys.append(str(94_000_000_000_000 + 64 * len(keys)))
            return ("storage", torch.HalfStorage, keys[-1], "cpu", obj._size(), None)

    system = {"protocol_version": 1001, "little_endian": True}
    system["type_sizes"] = {"short": 2, "int": 4, "long": 4}
    with open(path, "wb") as out:
        for value in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(value, out, protocol=2)
        Pickler(out, protocol=2).dump(state_dict(tensors, elements))
        pickle.dump(keys, out, protocol=2)
        for _ in keys:
            out.write(struct.pack("<q", elements))
            out.seek(2 * elements, os.SEEK_CUR)
        end = out.tell()
    hole(path, end)


HIDDEN, ROUTED, EXPERTS, LAYERS, DENSE, VOCABULARY = 7168, 2048, 256, 61, 3, 129_280
DEEPSEEK_CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "first_k_dense_replace": DENSE,
    "hidden_size": HIDDEN,
    "kv_lora_rank": 512,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": ROUTED,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": LAYERS,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
    "v_head_dim": 128,
    "vocab_size": VOCABULARY,
}


def deepseek_tensors() -> Iterator[tuple[str, str, list[int]]]:
    """Name, type and shape of the 91,991 tensors of DeepSeek-V3 in FP8."""

    def linear(name: str, out: int, into: int) -> Iterator[tuple[str, str, list[int]]]:
        yield f"{name}.weight", "F8_E4M3", [out, into]
        yield f"{name}.weight_scale_inv", "F32", [-(-out // 128), -(-into // 128)]

    def feed_forward(name: str, wide: int) -> Iterator[tuple[str, str, list[int]]]:
        yield from linear(f"{name}.gate_proj", wide, HIDDEN)
        yield from linear(f"{name}.up_proj", wide, HIDDEN)
        yield from linear(f"{name}.down_proj", HIDDEN, wide)

    def vector(name: str, size: int = HIDDEN) -> tuple[str, str, list[int]]:
        return f"{name}.weight", "BF16", [size]

    yield "model.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN]
    for number in range(LAYERS + 1):
        layer = f"model.layers.{number}"
        attention = f"{layer}.self_attn"
        yield from linear(f"{attention}.q_a_proj", 1536, HIDDEN)
        yield vector(f"{attention}.q_a_layernorm", 1536)
        yield from linear(f"{attention}.q_b_proj", 24_576, 1536)
        yield from linear(f"{attention}.kv_a_proj_with_mqa", 576, HIDDEN)
        yield vector(f"{attention}.kv_a_layernorm", 512)
        yield from linear(f"{attention}.kv_b_proj", 32_768, 512)
        yield from linear(f"{attention}.o_proj", HIDDEN, 16_384)
        yield vector(f"{layer}.input_layernorm")
        yield vector(f"{layer}.post_attention_layernorm")
        if number < DENSE:
            yield from feed_forward(f"{layer}.mlp", 18_432)
            continue
        yield f"{layer}.mlp.gate.weight", "BF16", [EXPERTS, HIDDEN]
        yield f"{layer}.mlp.gate.e_score_correction_bias", "F32", [EXPERTS]
        yield from feed_forward(f"{layer}.mlp.shared_experts", ROUTED)
        for expert in range(EXPERTS):
            yield from feed_forward(f"{layer}.mlp.experts.{expert}", ROUTED)
    yield vector("model.norm")
    yield "lm_head.weight", "BF16", [VOCABULARY, HIDDEN]
    last = f"model.layers.{LAYERS}"
    yield f"{last}.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN]
    yield from (vector(f"{last}.{name}") for name in ("enorm", "hnorm", "shared_head.norm"))
    yield f"{last}.eh_proj.weight", "BF16", [HIDDEN, 2 * HIDDEN]
    yield f"{last}.shared_head.head.weight", "BF16", [VOCABULARY, HIDDEN]


def deepseek(folder: Path, shards: int = 138) -> None:
    """DeepSeek-V3 as a sparse checkpoint: 688 GB in 138 shards that take up their headers."""
    folder.mkdir()
    sizes = {"F8_E4M3": 1, "BF16": 2, "F32": 4}
    tensors = [
        (name, kind, shape, sizes[kind] * prod(shape)) for name, kind, shape in deepseek_tensors()
    ]
    total = sum(nbytes for *_, nbytes in tensors)
    weight_map: dict[str, str] = {}
    headers: list[dict[str, Any]] = [{} for _ in range(shards)]
    ends = [0] * shards
    done = 0
    for name, kind, shape, nbytes in tensors:
        shard = done * shards // total
        end = ends[shard] + nbytes
        headers[shard][name] = {"dtype": kind, "shape": shape, "data_offsets": [ends[shard], end]}
        weight_map[name] = f"model-{shard + 1:05}-of-{shards:06}.safetensors"
        ends[shard] = end
        done += nbytes
    for shard, header in enumerate(headers):
        text = json.dumps(
            {"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")
        ).encode()
        text += b" " * (-len(text) % 8)
        path = folder / f"model-{shard + 1:05}-of-{shards:06}.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        hole(path, 8 + len(text) + ends[shard])
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (folder / "config.json").write_text(json.dumps(DEEPSEEK_CONFIG))


# -- real values, for what copies or computes with them --


def llama_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a llama of 1.1 B parameters (those of TinyLlama)."""
    yield "model.embed_tokens.weight", (32_000, 2048)
    for layer in range(22):
        for part, shape in [
            ("self_attn.q_proj", (2048, 2048)),
            ("self_attn.k_proj", (256, 2048)),
            ("self_attn.v_proj", (256, 2048)),
            ("self_attn.o_proj", (2048, 2048)),
            ("mlp.gate_proj", (5632, 2048)),
            ("mlp.up_proj", (5632, 2048)),
            ("mlp.down_proj", (2048, 5632)),
            ("input_layernorm", (2048,)),
            ("post_attention_layernorm", (2048,)),
        ]:
            yield f"model.layers.{layer}.{part}.weight", shape
    yield "model.norm.weight", (2048,)
    yield "lm_head.weight", (32_000, 2048)


def llama(path: Path, **options: Any) -> None:
    """2.2 GB of normally distributed BF16, as torch or safetensors saves them."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    held = {
        name: torch.empty(shape, dtype=torch.bfloat16).normal_(generator=generator)
        for name, shape in llama_shapes()
    }
    if path.name.endswith(".safetensors"):
        save_file(held, path, metadata={"format": "pt"})
    else:
        torch.save(held, path, **options)


def many_values(path: Path) -> None:
    """20,000 tensors of 32 x 32 BF16."""
    import torch

    held = {name: torch.full((32, 32), 0.5, dtype=torch.bfloat16) for name in names(MANY)}
    torch.save(held, path)


FILES: dict[str, Callable[[Path], None]] = {
    "deepseek-v3": deepseek,
    "vocabulary.gguf": vocabulary_gguf,
    "many.pt": lambda path: write_torch(path, MANY, 64),
    "many-legacy.pt": lambda path: write_legacy(path, MANY, 64),
    "large-legacy.pt": lambda path: write_legacy(path, 201, 5_500_000),
    "many.safetensors": lambda path: write_safetensors(path, MANY_SAFETENSORS, 64),
    "1MiB.pt": lambda path: pair_torch(path, MIB),
    "1GiB.pt": lambda path: pair_torch(path, 1024 * MIB),
    "1MiB.safetensors": lambda path: pair_safetensors(path, MIB),
    "1GiB.safetensors": lambda path: pair_safetensors(path, 1024 * MIB),
    "2GiB.safetensors": lambda path: write_safetensors(path, 200, 5_368_709),
    "2GiB-copy.safetensors": lambda path: write_safetensors(path, 200, 5_368_709),
    "2GiB.pt": lambda path: write_torch(path, 200, 5_368_709),
    "1MiB.gguf": lambda path: pair_gguf(path, MIB),
    "1GiB.gguf": lambda path: pair_gguf(path, 1024 * MIB),
    "llama.bin": llama,
    "llama-legacy.pt": lambda path: llama(path, _use_new_zipfile_serialization=False),
    "llama.safetensors": llama,
    "many-values.bin": many_values,
}


def make(folder: Path) -> None:
    """Write every file that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in FILES.items():
        if not (folder / name).exists():
            half = folder / f".{name}"
            write(half)
            half.rename(folder / name)
        size = (folder / name).stat()
        print(f"{name}: {size.st_size:,} bytes, {size.st_blocks * 512:,} of them on disk")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
