#!/usr/bin/env python3
"""Write fixtures/ anew, the same bytes every time (needs the test tools: torch, gguf, safetensors).

    scripts/make_fixtures.py [DIR]

The models are tiny, their values noise from a fixed seed. Nothing is loaded or run. The one pickle
that names a dangerous function is a list of opcodes written by hand; it is never executed.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


class Noise:
    """Normal numbers of a fixed seed (RandomState: its stream is frozen for good)."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)

    def array(self, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (self._random.standard_normal(shape) * 0.02).astype(np.float32)

    def tensor(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.from_numpy(self.array(*shape)).to(dtype)


# A llama: vocabulary 64, width 32, 2 layers, 4 heads of which 2 for keys and values.
LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def llama_shapes(
    width: int = 32, inner: int = 64, vocabulary: int = 64
) -> dict[str, tuple[int, ...]]:
    """Hugging Face names and shapes of a two-layer llama."""
    layer = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (width, width),
        "self_attn.k_proj.weight": (width // 2, width),
        "self_attn.v_proj.weight": (width // 2, width),
        "self_attn.o_proj.weight": (width, width),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for index in range(2):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def safetensors_llama(folder: Path) -> None:
    noise = Noise(1)
    tensors = {
        name: noise.tensor(*shape, dtype=torch.bfloat16) for name, shape in llama_shapes().items()
    }
    write_json(folder / "config.json", LLAMA_CONFIG)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def safetensors_sharded(folder: Path) -> None:
    noise = Noise(2)
    tensors = {
        name: noise.tensor(*shape, dtype=torch.float16)
        for name, shape in llama_shapes(width=16, inner=32, vocabulary=32).items()
    }
    names = list(tensors)
    shards = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, inside in shards.items():
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensors[name] for name in inside}, folder / file, metadata={"format": "pt"}
        )
    small = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 32, "head_dim": 4}
    write_json(folder / "config.json", LLAMA_CONFIG | small | {"torch_dtype": "float16"})
    write_json(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": sum(2 * tensor.numel() for tensor in tensors.values())},
            "weight_map": {name: file for file, inside in shards.items() for name in inside},
        },
    )


# dtype, shape, bytes: every dtype of the format's 0.8 release.
SAFETENSORS_DTYPES = [
    ("BOOL", (3,), 3),
    ("F4", (2, 3), 3),
    ("F6_E2M3", (4,), 3),
    ("F6_E3M2", (2, 2), 3),
    ("U8", (3,), 3),
    ("I8", (3,), 3),
    ("F8_E5M2", (3,), 3),
    ("F8_E4M3", (3,), 3),
    ("F8_E8M0", (3,), 3),
    ("F8_E4M3FNUZ", (3,), 3),
    ("F8_E5M2FNUZ", (3,), 3),
    ("I16", (3,), 6),
    ("U16", (3,), 6),
    ("F16", (3,), 6),
    ("BF16", (3,), 6),
    ("I32", (3,), 12),
    ("U32", (3,), 12),
    ("F32", (3,), 12),
    ("C64", (3,), 24),
    ("F64", (3,), 24),
    ("I64", (3,), 24),
    ("U64", (3,), 24),
]


def safetensors_dtypes(path: Path) -> None:
    """One tensor of each dtype, widest first, so that all are aligned; written by hand."""
    header: dict[str, Any] = {}
    place = 0
    for dtype, shape, nbytes in reversed(SAFETENSORS_DTYPES):
        end = place + nbytes
        header[dtype.lower()] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(range(place)))


# GGUF names of the Hugging Face ones.
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}


def gguf_name(name: str) -> str:
    for theirs, ours in GGUF_NAMES.items():
        name = name.replace(theirs, ours)
    return name


def gguf_writer(path: Path, vocabulary: int, **splitting: Any) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "llama", **splitting)
    writer.add_name("Tiny Llama of noise")
    writer.add_license("Apache-2.0")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    tokens = ["<unk>", "<s>", "</s>", *(f"▁{index:x}" for index in range(vocabulary - 3))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(vocabulary)])
    writer.add_token_types([2, 3, 3, *[1] * (vocabulary - 3)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    return writer


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_llama(path: Path) -> None:
    """Version 3, matrices Q8_0, norms F32, a vocabulary of 64."""
    noise = Noise(3)
    writer = gguf_writer(path, 64)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, shape in llama_shapes().items():
        array = noise.array(*shape)
        if len(shape) == 1:
            writer.add_tensor(gguf_name(name), array)
        else:
            packed = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name(name), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    finish(writer)


def gguf_split(folder: Path) -> None:
    """Two files of one model in F16, split after eleven tensors."""
    noise = Noise(4)
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf_writer(folder / "llama.gguf", 32, split_max_tensors=11)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, shape in llama_shapes(vocabulary=32).items():
        array = noise.array(*shape)
        writer.add_tensor(gguf_name(name), array if len(shape) == 1 else array.astype(np.float16))
    finish(writer)


def small_model(noise: Noise) -> dict[str, torch.Tensor]:
    """A state dict of Linear(8, 16), BatchNorm1d(16), Linear(16, 4)."""
    return {
        "0.weight": noise.tensor(16, 8),
        "0.bias": noise.tensor(16),
        "1.weight": noise.tensor(16),
        "1.bias": noise.tensor(16),
        "1.running_mean": noise.tensor(16),
        "1.running_var": noise.tensor(16).abs(),
        "1.num_batches_tracked": torch.tensor(7),
        "2.weight": noise.tensor(4, 16),
        "2.bias": noise.tensor(4),
    }


def torch_checkpoint(path: Path) -> None:
    """What a training script saves: the model, Adam's state, the epoch."""
    noise = Noise(6)
    model = small_model(noise)
    trained = [tensor for name, tensor in model.items() if tensor.dim() and "running" not in name]
    state = {
        index: {
            "step": torch.tensor(12.0),
            "exp_avg": noise.tensor(*tensor.shape),
            "exp_avg_sq": noise.tensor(*tensor.shape).square(),
        }
        for index, tensor in enumerate(trained)
    }
    group = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0}
    group["params"] = list(range(len(trained)))
    torch.save(
        {"model": model, "optimizer": {"state": state, "param_groups": [group]}, "epoch": 3}, path
    )


def torch_views(path: Path) -> None:
    """Tensors that share memory: a tied head, a transpose, a slice, an expansion."""
    noise = Noise(8)
    weight = noise.tensor(6, 4)
    row = noise.tensor(1, 4)
    torch.save(
        {
            "embed.weight": weight,
            "head.weight": weight,
            "transposed": weight.t(),
            "rows_2_to_4": weight[2:5],
            "second_column": weight[:, 1],
            "expanded": row.expand(3, 4),
            "scalar": torch.tensor(0.5, dtype=torch.float64),
            "empty": torch.empty(0, 4),
            "half": noise.tensor(2, 3, dtype=torch.bfloat16),
        },
        path,
    )


def sequential(noise: Noise) -> torch.nn.Sequential:
    layers = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 4)
    )
    layers.load_state_dict(small_model(noise))
    return layers.eval()


def torch_whole_module(path: Path) -> None:
    torch.save(sequential(Noise(9)), path)


def torch_script(path: Path) -> None:
    """A traced module. Its debug records name the paths of this machine, so they are left out."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # still what people's files are
        torch.jit.save(torch.jit.trace(sequential(Noise(10)), torch.zeros(2, 8)), buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        open(path, "wb") as out,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target,
    ):
        for old in source.infolist():
            if old.filename.endswith(".debug_pkl"):
                continue
            new = zipfile.ZipInfo("torchscript/" + old.filename.split("/", 1)[1])
            new.create_system = 0
            # As torch does: the content of every record starts at a multiple of 64.
            start = out.tell() + 30 + len(new.filename.encode())
            filler = -(start + 4) % 64
            new.extra = struct.pack("<2sH", b"FB", filler) + b"Z" * filler
            target.writestr(new, source.read(old))


def dump(value: Any, out: io.BufferedIOBase) -> None:
    pickle.dump(value, out, protocol=2)


SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def torch_legacy(path: Path) -> None:
    """The stream of torch 0.1.10 to 1.5: five pickles, then the storages.

    Written by hand: torch.save uses memory addresses as storage keys, so that no two runs agree.
    """
    storages: dict[str, torch.storage.TypedStorage] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, torch.storage.TypedStorage):
                return None
            key = str(94000000000000 + 64 * len(storages))
            storages[key] = obj
            kind = getattr(torch, obj._pickle_storage_type())
            return ("storage", kind, key, "cpu", obj._size(), None)

    with open(path, "wb") as out:
        dump(0x1950A86A20F9469CFC6C, out)
        dump(1001, out)
        dump(SYSTEM, out)
        Pickler(out, protocol=2).dump(small_model(Noise(7)))
        dump(list(storages), out)
        for storage in storages.values():
            out.write(struct.pack("<q", storage._size()))
            out.write(bytes(storage._untyped_storage.tolist()))


def torch_tar(path: Path) -> None:
    """The layout of torch before 0.1.10: a tar of pickles with the storages between them."""
    noise = Noise(11)
    model = {"weight": noise.tensor(4, 3), "bias": noise.tensor(4)}
    storages, tensors, state = io.BytesIO(), io.BytesIO(), io.BytesIO()
    dump(len(model), storages)
    dump(len(model), tensors)
    for key, tensor in enumerate(model.values()):
        dump((key, "cpu", torch.FloatStorage), storages)
        storages.write(struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes())
        dump((100 + key, key, torch.FloatTensor), tensors)
        tensors.write(struct.pack("<ii", tensor.dim(), 0))
        tensors.write(struct.pack(f"<{2 * tensor.dim()}q", *tensor.shape, *tensor.stride()))
        tensors.write(struct.pack("<q", 0))
    dump([], storages)  # no views

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            names = [key for key, tensor in enumerate(model.values()) if tensor is obj]
            return str(100 + names[0]) if names else None

    Pickler(state, protocol=2).dump(model)
    system = io.BytesIO()
    dump(SYSTEM | {"protocol_version": 1000}, system)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in [
            ("sys_info", system),
            ("pickle", state),
            ("tensors", tensors),
            ("storages", storages),
        ]:
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))


def torch_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(small_model(Noise(5)), folder / "state_dict.pt")
    torch_legacy(folder / "legacy.pt")
    torch_checkpoint(folder / "checkpoint.pt")
    torch_views(folder / "views.pt")
    torch_whole_module(folder / "whole_module.pt")
    torch_script(folder / "torchscript.pt")
    torch_tar(folder / "before_0_1_10.tar")


def numpy_files(folder: Path) -> None:
    noise = Noise(12)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "array.npy", noise.array(3, 5))
    np.save(folder / "fortran.npy", np.asfortranarray(noise.array(3, 5).astype(">f8")))
    arrays = {"weight": noise.array(8, 4), "bias": noise.array(8), "steps": np.arange(3)}
    np.savez(folder / "arrays.npz", **arrays)
    np.savez_compressed(folder / "compressed.npz", **arrays)


def lora(folder: Path) -> None:
    noise = Noise(13)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.{target}.lora_{side}.weight": noise.array(
            *((4, 32) if side == "A" else (32 if target == "q_proj" else 16, 4))
        )
        for layer in range(2)
        for target in ("q_proj", "v_proj")
        for side in "AB"
    }
    save_numpy(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_json(
        folder / "adapter_config.json",
        {
            "base_model_name_or_path": "tiny/llama-of-noise",
            "bias": "none",
            "lora_alpha": 8,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": 4,
            "target_modules": ["q_proj", "v_proj"],
            "task_type": "CAUSAL_LM",
        },
    )


# GLOBAL os system; a tuple of one harmless command; REDUCE; STOP.
OS_SYSTEM = b"cos\nsystem\n(S'echo this would have run'\ntR."


def hostile(folder: Path) -> None:
    """Bytes that a loader would run. Written as opcodes, read by nothing here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "os_system.pkl").write_bytes(OS_SYSTEM)
    with zipfile.ZipFile(folder / "os_system.pt", "w", zipfile.ZIP_STORED) as archive:
        for name, content in [
            ("data.pkl", OS_SYSTEM),
            ("byteorder", b"little"),
            ("version", b"3\n"),
        ]:
            archive.writestr(zipfile.ZipInfo(f"os_system/{name}"), content)


def pipeline(folder: Path) -> None:
    """The folder layout of diffusers: sub-models named by model_index.json."""
    noise = Noise(14)
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.30.0",
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"})
    write_json(folder / "unet/config.json", {"_class_name": "UNet2DConditionModel"})
    write_json(folder / "vae/config.json", {"_class_name": "AutoencoderKL"})
    write_json(folder / "text_encoder/config.json", {"model_type": "clip_text_model"})
    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "unet/diffusion_pytorch_model.safetensors": {
            "conv_in.weight": (8, 4, 3, 3),
            "conv_in.bias": (8,),
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": (8, 8),
            "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
            "time_embedding.linear_1.weight": (16, 8),
            "conv_out.weight": (4, 8, 3, 3),
        },
        "vae/diffusion_pytorch_model.safetensors": {
            "encoder.conv_in.weight": (8, 3, 3, 3),
            "decoder.conv_out.weight": (3, 8, 3, 3),
            "quant_conv.weight": (8, 8, 1, 1),
        },
        "text_encoder/model.safetensors": {
            "text_model.embeddings.token_embedding.weight": (32, 8),
            "text_model.encoder.layers.0.self_attn.q_proj.weight": (8, 8),
            "text_model.final_layer_norm.weight": (8,),
        },
    }
    for file, shapes in parts.items():
        tensors = {name: noise.array(*shape).astype(np.float16) for name, shape in shapes.items()}
        save_numpy(tensors, folder / file, metadata={"format": "pt"})


def make(folder: Path) -> None:
    """Write every fixture below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_llama(folder / "llama")
    safetensors_sharded(folder / "llama-sharded")
    safetensors_dtypes(folder / "dtypes.safetensors")
    gguf_llama(folder / "llama-q8_0.gguf")
    gguf_split(folder / "llama-split-gguf")
    torch_files(folder / "torch")
    numpy_files(folder / "numpy")
    lora(folder / "lora")
    hostile(folder / "hostile")
    pipeline(folder / "pipeline")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES)
