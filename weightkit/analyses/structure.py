"""Whether a checkpoint fits together: its layers, its config, its declared totals, its copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from weightkit.analyses.experts import Mixture
from weightkit.analyses.kinds import BIAS, PARAMETER
from weightkit.analyses.quantization import Counted
from weightkit.analyses.runs import Run, audit
from weightkit.architectures import regions
from weightkit.architectures.caches.fields import FieldError, Fields, whole_number
from weightkit.rules import Faults
from weightkit.tensors import TensorInfo


class Whole(NamedTuple):
    """What an audit looks at."""

    counted: Sequence[Counted]
    runs: Sequence[Run]
    tied: Sequence[Sequence[TensorInfo]]
    mixture: Mixture | None
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    quantized: bool
    total: int | None
    declared: Mapping[str, Any]
    """Totals that an index or the metadata declares."""


def check(whole: Whole, faults: Faults) -> None:
    """Everything that does not fit together, as findings."""
    _check_empty(whole, faults)
    audit(whole.runs, faults, mixed=whole.quantized or _is_gguf(whole))
    _check_totals(whole, faults)
    _check_experts(whole, faults)
    fields = declared_fields(whole.config, whole.metadata)
    if fields is None:
        return
    for test in (_check_layers, _check_vocabulary, _check_hidden, _check_heads):
        try:
            test(whole, fields, faults)
        except FieldError as error:
            if error.present:
                faults.add("WK770", str(error), subject=error.field)
    _check_tied(whole, faults)


def declared_fields(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> Fields | None:
    """The language model's part of the config, or of GGUF metadata; None for neither."""
    architecture = metadata.get("general.architecture")
    if isinstance(architecture, str) and architecture:
        return Fields(metadata, architecture=architecture)
    for name in ("text_config", "llm_config", "language_config"):
        section = config.get(name)
        if isinstance(section, Mapping):
            return Fields({**config, **section})
    return Fields(config) if config else None


def _is_gguf(whole: Whole) -> bool:
    return "general.architecture" in whole.metadata


def _check_empty(whole: Whole, faults: Faults) -> None:
    for item in whole.counted:
        if item.fold.numel == 0:
            for member in item.fold.members:
                shape = list(item.fold.shape)
                faults.add("WK713", f"shape {shape} has no elements", tensor=member.name)


def _check_totals(whole: Whole, faults: Faults) -> None:
    for key in ("total_parameters", "general.parameter_count"):
        declared = whole.declared.get(key)
        if isinstance(declared, str) and declared.isascii() and declared.isdigit():
            declared = int(declared[:30])
        if not isinstance(declared, int) or whole.total is None or declared == whole.total:
            continue
        message = f"{key} says {declared:,}, the tensors hold {whole.total:,} parameters"
        faults.add("WK703", message, subject=key)


def _check_experts(whole: Whole, faults: Faults) -> None:
    mixture = whole.mixture
    if mixture is None or mixture.experts is None:
        return
    if mixture.declared not in (None, mixture.experts):
        message = f"{mixture.declared} experts declared, {mixture.experts} stored in a layer"
        faults.add("WK704", message)
    if mixture.top_k is not None and mixture.top_k > mixture.experts:
        message = f"a token is to use {mixture.top_k} of {mixture.experts} experts"
        faults.add("WK704", message)


# Config against weights


def _language(whole: Whole) -> Iterator[Counted]:
    """Parameters of the model proper: not those of a vision tower or of an adapter."""
    for item in whole.counted:
        if item.kin.region in ("main", "text") and item.kin.kind in (PARAMETER, BIAS):
            yield item


_COUNTED_OTHERWISE = ("_class_name", "decoder_layers", "num_decoder_layers", "num_hidden_groups")
"""Config keys of models whose layers are of two kinds, or are used more than once."""


def _check_layers(whole: Whole, fields: Fields, faults: Faults) -> None:
    language = [run for run in whole.runs if run.region in ("main", "text")]
    single = [run for run in language if run.is_of_layers]
    if len(single) != 1 or any(key in fields.table for key in _COUNTED_OTHERWISE):
        return
    if isinstance(fields.find("layers")[1], Mapping):  # one number for each of several encoders
        return
    declared = fields.optional("layers", 1)
    run = single[0]
    further = _further_layers(fields)
    stored = len(run.layers)
    if declared is None or stored in (declared, declared - further, declared + further):
        return
    if any(fields.get(key) == stored for key in fields.names("layers")):
        return
    message = f"{declared} layers declared, {stored} stored as {run.prefix}"
    faults.add("WK715", message, subject=fields.find("layers")[0])


def _further_layers(fields: Fields) -> int:
    """Layers that predict further tokens, which some configs count and some do not."""
    for value in (fields.find("next_token_layers")[1], fields.get("num_nextn_predict_layers")):
        number = whole_number(value)
        if number is not None:
            return number
    return 0


def _token_table(whole: Whole) -> tuple[Counted, int, int] | None:
    """The biggest table of token embeddings with its rows and columns."""
    tables = [
        item
        for item in _language(whole)
        if item.kin.component == "embedding"
        and len(item.fold.shape) == 2
        and item.parameters
        and any(name in item.fold.template for name in regions.TOKEN_TABLES)
        and "per_layer" not in item.fold.template
    ]
    if not tables:
        return None
    table = max(tables, key=lambda item: item.parameters or 0)
    rows = table.fold.shape[0]
    return (table, rows, (table.parameters or 0) // rows) if rows else None


_SEVERAL_VOCABULARIES = ("moshi", "kyutai", "csm", "musicgen", "mllama", "molmo")
"""Models (by part of ``model_type``) whose table has rows for more than the vocabulary."""


def _check_vocabulary(whole: Whole, fields: Fields, faults: Faults) -> None:
    table = _token_table(whole)
    declared = fields.optional("vocabulary", 1)
    if table is None or declared is None or table[1] == declared:
        return
    model = fields.table.get("model_type")
    if isinstance(model, str) and any(name in model for name in _SEVERAL_VOCABULARIES):
        return
    message = f"a vocabulary of {declared:,} declared, {table[1]:,} rows stored"
    faults.add("WK714", message, tensor=table[0].fold.members[0].name, subject="vocab_size")


_NARROW = (
    "embedding_size",
    "input_embedding_size",
    "word_embed_proj_dim",
    "emb_size",
    "d_embed",
    "embd_pdim",
)
"""Config keys of token embeddings that are narrower than the model."""


def _check_hidden(whole: Whole, fields: Fields, faults: Faults) -> None:
    table = _token_table(whole)
    declared = fields.optional("hidden", 1)
    if table is None or declared is None:
        return
    widths = {declared, *(fields.table.get(key) for key in _NARROW)}
    if table[2] not in widths:
        message = f"a width of {declared:,} declared, embeddings are {table[2]:,} wide"
        name = table[0].fold.members[0].name
        faults.add("WK714", message, tensor=name, subject=fields.find("hidden")[0])


def _check_heads(whole: Whole, fields: Fields, faults: Faults) -> None:
    """Queries are to keys as heads are to key-value heads, whatever the size of a head."""
    heads, shared = fields.find("heads")[1], fields.find("kv_heads")[1]
    if not isinstance(heads, int) or not isinstance(shared, int) or _heads_vary(fields):
        return
    heads, shared = fields.integer("heads"), fields.integer("kv_heads")
    queries, keys = _projections(whole, "q"), _projections(whole, "k")
    if not queries or not keys or len(queries) != 1 or len(keys) != 1:
        return
    query, key = queries.pop(), keys.pop()
    gated = _projections(whole, "o") == {query // 2}  # a gate is stored with the queries
    if key * heads not in {query * shared, query // 2 * shared if gated else query * shared}:
        shape = f"queries are {query / key:g} times the keys" if key else "there are no keys"
        message = f"{heads} heads and {shared} key-value heads declared, but {shape}"
        faults.add("WK714", message, subject=fields.find("kv_heads")[0])


def _heads_vary(fields: Fields) -> bool:
    names = (
        "global_kv_heads",
        "global_head_dim",
        "sliding_kv_heads",
        "latent_rank",
        "shared_layers",
    )
    return any(fields.has(name) for name in names) or bool(fields.table.get("attn_output_gate"))


def _projections(whole: Whole, letter: str) -> set[int]:
    """Sizes of the query, key or output projections of the layers."""
    names = (f"self_attn.{letter}_proj", "attn_output" if letter == "o" else f"attn_{letter}")
    return {
        item.parameters or 0
        for item in _language(whole)
        if item.kin.kind == PARAMETER
        and item.kin.component == "attention"
        and ".".join(item.fold.segments[:-1]).endswith(names)
        and "indexer" not in item.fold.template
    }


def _check_tied(whole: Whole, faults: Faults) -> None:
    tied = whole.config.get("tie_word_embeddings")
    inner = whole.config.get("text_config")
    if isinstance(inner, Mapping) and inner.get("tie_word_embeddings") is not tied:
        return  # which of the two counts is up to the model's code
    table = _token_table(whole)
    if not isinstance(tied, bool) or table is None:
        return
    heads = [item for item in _language(whole) if _is_head(item, table[1])]
    names = {tensor.name for group in whole.tied for tensor in group}
    if tied and heads and not names & {heads[0].fold.members[0].name}:
        message = "the config ties input and output embeddings, but both are stored"
        faults.add("WK716", message, tensor=heads[0].fold.members[0].name)
    expected = _says(whole.config, lambda name: name.endswith("ForCausalLM"))
    if not tied and expected and not any(i.kin.component == "output_head" for i in whole.counted):
        message = "the config does not tie input and output embeddings, but no output is stored"
        faults.add("WK716", message)


def _is_head(item: Counted, rows: int) -> bool:
    shape = item.fold.shape
    return item.kin.component == "output_head" and len(shape) == 2 and shape[0] == rows


def _says(config: Mapping[str, Any], test: Callable[[str], bool]) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and any(isinstance(n, str) and test(n) for n in names[:10])
