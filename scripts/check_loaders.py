#!/usr/bin/env python3
"""Load what weightkit converts with transformers, and compare the models' outputs.

    scripts/check_loaders.py [FOLDER...]

Needs torch and transformers, which the tests do not: make an environment of your own. Small models of
several families with tied and untied heads are saved as ``pytorch_model.bin``, converted to safetensors,
and loaded from both; each FOLDER with a model (``scripts/fetch_real --large`` brings MiniLM) is taken
to ``.bin``, back, and to shards. Every load must report no missing key, and all outputs must be equal.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

from weightkit.convert import convert
from weightkit.convert.wishes import Wish

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
MODELS = {
    "gpt2": ("GPT2LMHeadModel", {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 50}),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 50},
    ),
    "bert": ("BertForMaskedLM", {**SMALL, "intermediate_size": 32}),
    "bart": (
        "BartForConditionalGeneration",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "vocab_size": 50,
            **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")},
        },
    ),
    "llama": (
        "LlamaForCausalLM",
        {**SMALL, "intermediate_size": 32, "tie_word_embeddings": True},
    ),
    "llama untied": (
        "LlamaForCausalLM",
        {**SMALL, "intermediate_size": 32, "tie_word_embeddings": False},
    ),
}
TOKENS = torch.arange(1, 20).reshape(1, -1)


def outputs(model: Any) -> torch.Tensor:
    given = {"input_ids": TOKENS}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = TOKENS
    found: torch.Tensor = model.eval()(**given)[0]
    return found


def check(name: str, kind: Any, want: torch.Tensor, folder: Path) -> bool:
    """Load a folder; whether nothing was missing and the outputs are the same."""
    model, loading = kind.from_pretrained(folder, output_loading_info=True)
    complaints = {key: value for key, value in loading.items() if value}
    same = torch.equal(outputs(model), want)
    print(f"{name:40} {'same' if same and not complaints else 'DIFFERS'} {complaints or ''}")
    return same and not complaints


def made(scratch: Path, name: str) -> bool:
    """A fresh model, saved by torch as people did before safetensors."""
    kind = getattr(transformers, MODELS[name][0])
    torch.manual_seed(0)
    model = kind(kind.config_class(**MODELS[name][1]))
    source, target = scratch / name, scratch / f"{name} converted"
    model.config.save_pretrained(source)
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    convert(source, target)
    return check(name, kind, outputs(model), target)


def given(scratch: Path, folder: Path) -> bool:
    """A model of somebody else's, to .bin and back, and to shards."""
    want = outputs(transformers.AutoModel.from_pretrained(folder))
    names = {"bin": Wish(format="pytorch"), "shards": Wish(shard_nbytes=20_000_000)}
    for name, wish in names.items():
        convert(folder, scratch / name, wish)
    convert(scratch / "bin", scratch / "back")
    kind = transformers.AutoModel
    results = [
        check(f"{folder.name} {name}", kind, want, scratch / name) for name in (*names, "back")
    ]
    return all(results)


def main() -> int:
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        results = [made(Path(scratch), name) for name in MODELS]
        for number, folder in enumerate(sys.argv[1:]):
            below = Path(scratch) / str(number)
            below.mkdir()
            results.append(given(below, Path(folder)))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
