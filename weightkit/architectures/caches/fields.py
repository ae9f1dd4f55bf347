"""What a model's configuration calls things, and how to read a field without trusting it.

``config.json`` (Hugging Face and the original repositories) and GGUF metadata name the same
quantity in a dozen ways. A row here is one quantity with all its names; everything else asks for
it by the first column. A dotted name is a key inside a nested table.

Every value is checked when it is read: a whole number within :data:`LIMIT`, never a bool, text or
NaN. What is missing or unusable raises :class:`FieldError`, which names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LIMIT = 1 << 31
"""No head count, width or rank of a real model comes near."""
MAX_LAYERS = 10_000
"""More layers than this is a corrupt or hostile config; the deepest published model has 1,000."""


class FieldError(Exception):
    """A field that is needed is absent or cannot be used; never leaves this package's analyses."""

    def __init__(self, field: str, reason: str, *, present: bool = False) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason
        self.present = present
        """The field is there, but wrong: worth a finding."""


class Row(NamedTuple):
    """One quantity: its name here, in configs (first match wins) and in GGUF (without the arch)."""

    name: str
    config: tuple[str, ...]
    gguf: str = ""


def _row(name: str, config: str, gguf: str = "") -> Row:
    return Row(name, tuple(config.split()), gguf)


ROWS: dict[str, Row] = {
    row.name: row
    for row in [
        _row(
            "layers",
            "num_hidden_layers n_layer n_layers num_layers num_transformer_layers decoder_layers",
            "block_count",
        ),
        _row("hidden", "hidden_size n_embd d_model model_dim dim", "embedding_length"),
        _row(
            "heads",
            "num_attention_heads n_head n_heads num_heads attention_heads num_query_heads "
            "attn_cfg.num_heads decoder_attention_heads",
            "attention.head_count",
        ),
        _row(
            "kv_heads",
            "num_key_value_heads num_kv_heads n_head_kv n_kv_heads kv_n_heads "
            "attn_config.kv_n_heads multi_query_group_num num_query_groups num_attention_groups "
            "num_key_value_heads_per_layer attn_cfg.num_heads_kv",
            "attention.head_count_kv",
        ),
        _row(
            "head_dim",
            "head_dim attention_head_dim d_kv kv_channels d_head attn_cfg.head_dim",
            "attention.key_length",
        ),
        _row("value_dim", "v_head_dim", "attention.value_length"),
        _row("vocabulary", "vocab_size padded_vocab_size n_vocab", "vocab_size"),
        _row(
            "context",
            "max_position_embeddings n_positions max_sequence_length seq_length max_seq_len "
            "model_max_length n_ctx max_target_positions max_context_length",
            "context_length",
        ),
        # Windows.
        _row(
            "window",
            "sliding_window attention_window_size sliding_window_size window_size local_attention",
            "attention.sliding_window",
        ),
        _row("chunk", "attention_chunk_size", "attention.chunk_size"),
        _row(
            "window_pattern",
            "sliding_window_pattern _sliding_window_pattern",
            "attention.sliding_window_pattern",
        ),
        _row(
            "full_interval", "full_attention_interval layer_group_size", "full_attention_interval"
        ),
        _row("global_every", "global_attn_every_n_layers"),
        _row("max_window_layers", "max_window_layers"),
        # Sliding layers of their own shape (MiMo-V2), and global ones (Gemma 4).
        _row("sliding_kv_heads", "swa_num_key_value_heads"),
        _row("sliding_head_dim", "swa_head_dim", "attention.key_length_swa"),
        _row("sliding_value_dim", "swa_v_head_dim", "attention.value_length_swa"),
        _row("global_kv_heads", "num_global_key_value_heads"),
        _row("global_head_dim", "global_head_dim"),
        _row("shared_layers", "num_kv_shared_layers", "attention.shared_kv_layers"),
        _row("share_factor", "cla_share_factor"),
        # Multi-head latent attention and the sparse indexer beside it.
        _row("latent_rank", "kv_lora_rank", "attention.kv_lora_rank"),
        _row("rope_dim", "qk_rope_head_dim", "rope.dimension_count"),
        _row("nope_dim", "qk_nope_head_dim"),
        _row("latent_key_dim", "", "attention.key_length_mla"),
        _row("index_dim", "index_head_dim", "attention.indexer.key_length"),
        # Recurrent mixers.
        _row("expand", "mamba_expand expand ssm_cfg.expand"),
        _row("inner", "intermediate_size d_inner mamba_d_inner", "ssm.inner_size"),
        _row("ssm_inner", "mamba_d_ssm"),
        _row(
            "state",
            "mamba_d_state state_size ssm_state_size d_state ssm_cfg.d_state",
            "ssm.state_size",
        ),
        _row(
            "kernel",
            "mamba_d_conv conv_kernel d_conv ssm_cfg.d_conv linear_conv_kernel_dim conv1d_width "
            "conv_L_cache linear_attn_config.short_conv_kernel_size short_conv_kernel_size",
            "ssm.conv_kernel",
        ),
        _row("groups", "mamba_n_groups n_groups mamba_ngroups ssm_cfg.ngroups", "ssm.group_count"),
        _row("mixer_heads", "mamba_n_heads mamba_num_heads n_mamba_heads num_heads"),
        _row("mixer_head_dim", "mamba_d_head mamba_head_dim mamba_headdim head_dim"),
        _row("linear_key_heads", "linear_num_key_heads"),
        _row("linear_value_heads", "linear_num_value_heads"),
        _row("linear_key_dim", "linear_key_head_dim"),
        _row("linear_value_dim", "linear_value_head_dim"),
        _row(
            "delta_heads", "linear_attn_config.num_heads linear_num_heads", "attention.head_count"
        ),
        _row("delta_dim", "linear_attn_config.head_dim linear_head_dim", "kda.head_dim"),
        _row("lru_width", "lru_width"),
        _row("mixer_hidden", "attention_hidden_size"),
        _row("wkv_head", "head_size head_dim", "wkv.head_size"),
        _row("token_shift", "", "token_shift_count"),
        _row("short_conv", "conv_L_cache", "shortconv.l_cache"),
        _row("next_token_layers", "", "nextn_predict_layers"),
        # Encoder-decoder models.
        _row("decoder_layers", "decoder_layers num_decoder_layers", "decoder_block_count"),
        _row(
            "decoder_heads",
            "decoder_attention_heads num_decoder_attention_heads decoder_num_attention_heads",
        ),
        _row("decoder_kv_heads", "decoder_num_key_value_heads"),
        _row("encoder_length", "max_source_positions"),
    ]
}


def whole_number(value: object) -> int | None:
    """``value`` as an int if it is a whole number of a size that a model may have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):  # 128.0 is written by some exporters; NaN and infinity are not it
        if not value.is_integer() or abs(value) > LIMIT:
            return None
        value = int(value)
    return value if abs(value) <= LIMIT else None


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, bool | int | float | str) else type(value).__name__
    return repr(text[:40]) if isinstance(value, str) else text[:40]


class Fields:
    """One configuration, read by quantity. Remembers what it used, for ``--explain``."""

    def __init__(
        self,
        table: Mapping[str, Any],
        defaults: Mapping[str, int] | None = None,
        architecture: str = "",
    ) -> None:
        self.table = table
        self.defaults = defaults or {}
        self.architecture = architecture
        """GGUF architecture: the prefix of every key; "" for a config."""
        self.used: dict[str, Any] = {}
        self.notes: list[str] = []
        self.assumed = False
        """Something had to be assumed: what follows from it is an estimate."""
        self.unconfirmed = ""
        """A rule of the loader stands in for an absent field; the weights may tell."""

    def names(self, name: str) -> tuple[str, ...]:
        """The keys under which the quantity ``name`` may stand."""
        row = ROWS[name]
        if self.architecture:
            return (f"{self.architecture}.{row.gguf}",) if row.gguf else ()
        return row.config

    def get(self, key: str) -> Any:
        """The raw value of a key, through dots into nested tables; None when absent."""
        if self.architecture or "." not in key:
            return self.table.get(key)
        outer, inner = key.split(".", 1)
        nested = self.table.get(outer)
        return nested.get(inner) if isinstance(nested, Mapping) else None

    def find(self, name: str) -> tuple[str, Any]:
        """The key and value of a quantity; ``(first key, None)`` when no key holds one."""
        names = self.names(name)
        for key in names:
            value = self.get(key)
            if value is not None:
                return key, value
        # A key that is there and null says "none"; only an absent one means the class default.
        if name in self.defaults and not any(key in self.table for key in names):
            self.used[f"{names[0]} (class default)"] = self.defaults[name]
            return names[0], self.defaults[name]
        return (names[0] if names else name), None

    def has(self, name: str) -> bool:
        """Whether any key holds a value for the quantity."""
        return self.find(name)[1] is not None

    def optional(self, name: str, least: int = 0) -> int | None:
        """The quantity as a whole number, None when absent; FieldError when it is neither."""
        key, value = self.find(name)
        if value is None:
            return None
        number = whole_number(value)
        if number is None or number < least:
            reason = f"is {_shown(value)}, not a whole number from {least} to {LIMIT:,}"
            raise FieldError(key, reason, present=True)
        self.used[key] = number
        return number

    def integer(self, name: str, least: int = 1) -> int:
        """The quantity, which must be there."""
        number = self.optional(name, least)
        if number is None:
            raise FieldError(self.find(name)[0], "is missing")
        return number

    def either(self, name: str, otherwise: int, why: str) -> int:
        """The quantity, or ``otherwise`` where its absence means that by the loader's own rule."""
        number = self.optional(name, 1)
        if number is None:
            self.used[f"{self.find(name)[0]} ({why})"] = number = otherwise
        return number

    def per_layer(self, name: str, count: int, least: int = 0) -> list[int] | None:
        """The quantity for each of ``count`` layers: one number for all, or a list of them."""
        key, value = self.find(name)
        if not isinstance(value, list | tuple):
            number = self.optional(name, least)
            return None if number is None else [number] * count
        if len(value) < count:
            reason = f"has {len(value):,} entries for {count:,} layers"
            raise FieldError(key, reason, present=True)
        numbers = [whole_number(item) for item in value[:count]]
        if any(number is None or number < least for number in numbers):
            raise FieldError(key, "holds something that is not a whole number", present=True)
        self.used[key] = "per layer"
        return [number for number in numbers if number is not None]

    def layers(self, name: str = "layers") -> int:
        """The number of layers, within :data:`MAX_LAYERS`."""
        count = self.integer(name)
        if count > MAX_LAYERS:
            key = self.find(name)[0]
            raise FieldError(key, f"is {count:,}, more than {MAX_LAYERS:,}", present=True)
        return count

    def assume(self, note: str) -> None:
        """Note an assumption: the result is an estimate, and says why."""
        self.assumed = True
        self.notes.append(note)
