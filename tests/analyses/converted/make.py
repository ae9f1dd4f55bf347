#!/usr/bin/env python3
"""Make the files of this folder anew: tiny models of transformers, converted by llama.cpp itself.

    make.py LLAMA_CPP [DIR]

LLAMA_CPP is a folder with llama.cpp's convert_hf_to_gguf.py, conversion/ and gguf-py/. Needs torch,
transformers and safetensors. Not run by the tests, which read what it made.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDTH, VOCABULARY, TOKENS = 16, 8, 6
"""TOKENS: as many as the tokenizer knows; gemma3 leaves out the rows beyond them."""
PLAIN = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "bos_token_id": 0, "eos_token_id": 0}
USUAL = {
    "intermediate_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "head_dim": 8,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 4,
    "head_dim": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "num_experts_per_tok": 1,
    "first_k_dense_replace": 0,
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "q8_0", {**USUAL, "hidden_size": 32, "intermediate_size": 32}),
    "gemma3": ("Gemma3ForCausalLM", "bf16", {**USUAL, "sliding_window": 8}),
    "deepseek2": ("DeepseekV2ForCausalLM", "f32", {**USUAL, **LATENT}),
    "gpt2": (
        "GPT2LMHeadModel",
        "f16",
        {"n_embd": WIDTH, "n_layer": 1, "n_head": 4, "n_positions": 8},
    ),
    "bloom": ("BloomForCausalLM", "f32", {"n_layer": 1, "n_head": 4}),
    "falcon": (
        "FalconForCausalLM",
        "f32",
        {
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
        },
    ),
    "mamba": ("MambaForCausalLM", "f32", {"num_hidden_layers": 1, "state_size": 4}),
}


def build(name: str, folder: Path) -> None:
    """Save a model with weights of a fixed seed, and a tokenizer that knows TOKENS words."""
    import torch
    import transformers

    model_class = getattr(transformers, MODELS[name][0])
    model = model_class(model_class.config_class(**{**PLAIN, **MODELS[name][2]}))
    draw = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in model.parameters():
            mean = 1.0 if tensor.ndim == 1 else 0.0
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * 0.05 + mean)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_ctx": 8}))
    words = {f"word{number}": number for number in range(TOKENS)}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": words}, "added_tokens": []})
    )


def convert(folder: Path, kind: str, out: Path) -> None:
    """Run the converter; only the vocabulary, which it would look up by hash, is left out."""
    converter = importlib.import_module("convert_hf_to_gguf")
    conversion = importlib.import_module("conversion")
    conversion.load_all_models()
    left = [conversion.TextModel]
    while left:
        model = left.pop()
        left += model.__subclasses__()
        model.set_vocab = conversion.TextModel._set_vocab_none
    sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outtype", kind, "--outfile", str(out)]
    converter.main()


def main() -> None:
    sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]) / "gguf-py")]
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE
    for name, (_, kind, _) in MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            build(name, folder)
            convert(folder, kind, target / f"{name}.{kind}.gguf")
            (target / f"{name}.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()
            )


if __name__ == "__main__":
    main()
