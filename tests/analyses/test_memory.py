"""``weightkit memory``: every figure says how it came about, and what is not known stays unknown."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.architectures.cache_configs import (
    CASES,
    DEEPSEEK_V3_1,
    GEMMA_3_27B,
    LLAMA_3_1_8B,
    QWEN3_6_27B,
    hf,
)
from weightkit.analyses.kv_cache import ENGINES, KV_TYPES
from weightkit.analyses.memory import memory, memory_of
from weightkit.analyses.precisions import PRECISIONS
from weightkit.analyses.sizing import Request
from weightkit.analyses.training import METHODS, PARTS
from weightkit.dtypes import DTYPES
from weightkit.reports import (
    ESTIMATE,
    EXACT,
    UNKNOWN,
    Component,
    Group,
    Inspection,
    MemoryReport,
    MemoryTerm,
    Parameters,
)
from weightkit.tensors import Extent, TensorInfo

GIB = 1 << 30
TOTAL, EMBEDDED, NORMS = 8_030_261_248, 1_050_673_152, 266_240
MATRICES = TOTAL - EMBEDDED - NORMS


def inspection(**more: Any) -> Inspection:
    """Llama 3.1 8B in bfloat16, as ``inspect`` describes it."""
    half = EMBEDDED // 2
    components = [
        ("attention", 128, 1_342_177_280),
        ("embedding", 1, half),
        ("feed_forward", 96, MATRICES - 1_342_177_280),
        ("norm", 65, NORMS),
        ("output_head", 1, half),
    ]
    record = Inspection(
        path="llama",
        format="safetensors",
        files=(),
        size=2 * TOTAL,
        tensors=291,
        parameters=Parameters(TOTAL, TOTAL, None, None, 0, 0, TOTAL),
        components=tuple(Component(n, t, p, 2 * p) for n, t, p in components),
        dtypes=(),
        layers=32,
        bits_per_weight=16.0,
        nbytes=2 * TOTAL,
        groups=(
            Group("layers.[0-31].q_proj", "bf16", (4096, 4096), 32, 32 << 24, 32 << 25, "attention"),
            Group("layers.[0-31].k_proj", "bf16", (1024, 4096), 32, 32 << 22, 32 << 23, "attention"),
            Group("layers.[0-31].up", "bf16", (14336, 4096), 32, 32 * 14336 * 4096, 0, "feed_forward"),
            Group("layers.[0-31].norm", "bf16", (4096,), 32, 32 * 4096, 0, "norm"),
        ),
        metadata={},
        tied=(),
        sets=(),
        findings=(),
    )  # fmt: skip
    return record._replace(**more)


def report(config: Any = LLAMA_3_1_8B, tensors: Any = (), **request: Any) -> MemoryReport:
    return memory(inspection(), {"config.json": config}, tensors, Request(**request))


def by_name(terms: tuple[MemoryTerm, ...]) -> dict[str, MemoryTerm]:
    return {term.name: term for term in terms}


# Weights ----------------------------------------------------------------------------------


def test_the_weights_as_stored_are_exact() -> None:
    stored = report().weights[0]
    assert (stored.kind, stored.nbytes) == (EXACT, 2 * TOTAL)


def view(name: str, offset: int, nbytes: int, storage: str = "0") -> TensorInfo:
    shape = (nbytes // 2,)
    return TensorInfo(name, DTYPES["bf16"], shape, Extent(0, offset, nbytes), storage=storage)


@pytest.mark.parametrize(
    ("views", "shared"),
    [
        ([view("a", 0, 100), view("b", 0, 100)], 100),
        ([view("a", 0, 100), view("b", 100, 100)], 0),
        ([view("a", 0, 100), view("b", 50, 100)], 50),
        ([view("a", 0, 100), view("b", 20, 10), view("c", 0, 100)], 110),
        ([view("a", 0, 100, "1"), view("b", 0, 100, "2")], 0),
        ([view("a", 0, 100, ""), view("b", 0, 100, "")], 0),
    ],
)
def test_shared_memory_counts_once(views: list[TensorInfo], shared: int) -> None:
    got = report(LLAMA_3_1_8B, views)
    assert got.weights[0].nbytes == 2 * TOTAL - shared
    assert got.weights[0].inputs["shared bytes"] == shared


EXPECTED = {
    "FP32": (4 * TOTAL, 4 * TOTAL),
    "FP16/BF16": (2 * TOTAL, 2 * TOTAL),
    "INT8": (MATRICES + 2 * (TOTAL - MATRICES), MATRICES * 17 // 16 + 2 * (TOTAL - MATRICES)),
    "INT4": (
        MATRICES * 33 // 64 + 2 * (TOTAL - MATRICES),
        MATRICES * 37 // 64 + 2 * (TOTAL - MATRICES),
    ),
}
BITS = {
    "GGUF Q8_0": (8.5, 8.5),
    "GGUF Q6_K": (6.5625, 6.5625),
    "GGUF Q5_K": (5.5, 6.5625),
    "GGUF Q4_K": (4.5, 5.5),
    "GGUF Q4_0": (4.5, 5.5),
    "GGUF IQ4_XS": (4.25, 4.5),
    "GGUF Q3_K": (3.4375, 4.5),
    "GGUF Q2_K": (2.625, 3.4375),
}
for _name, _bits in BITS.items():
    EXPECTED[_name] = tuple(int((TOTAL - NORMS) * b / 8) + 4 * NORMS for b in _bits)  # type: ignore[assignment]


@pytest.mark.parametrize("row", PRECISIONS, ids=lambda row: row.name)
def test_every_precision_has_its_size(row: Any) -> None:
    term = by_name(report().weights)[row.name]
    assert (term.low, term.high) == pytest.approx(EXPECTED[row.name], abs=1)
    assert term.kind == ESTIMATE
    assert term.reason
    assert f"{TOTAL:,}" in term.formula or term.inputs["parameters"] == TOTAL


# Bytes of the tensors in published files of this model; the mixes lie within their row.
@pytest.mark.parametrize(
    ("name", "nbytes"),
    [
        ("GGUF Q8_0", 8_532_934_912),
        ("GGUF Q6_K", 6_587_170_048),
        ("GGUF Q5_K", 5_724_000_000),
        ("GGUF Q4_K", 4_912_898_304),
        ("GGUF Q3_K", 4_010_000_000),
        ("GGUF Q2_K", 3_171_000_000),
    ],
)
def test_published_files_lie_within_the_range(name: str, nbytes: int) -> None:
    term = by_name(report().weights)[name]
    assert term.low is not None
    assert term.high is not None
    assert term.low * 0.999 <= nbytes <= term.high * 1.001


def test_an_unknown_count_leaves_only_what_is_stored() -> None:
    unknown = Parameters(None, None, None, None, 0, 0, 10)
    got = memory(inspection(parameters=unknown), {"config.json": LLAMA_3_1_8B})
    assert got.weights[0].kind == EXACT
    assert {term.kind for term in got.weights[1:]} == {UNKNOWN}
    assert by_name(got.training)["lora: total"].kind == UNKNOWN


# Cache and total --------------------------------------------------------------------------


def test_the_context_is_the_models_longest_unless_asked() -> None:
    assert (report().context, report().context_source) == (131_072, "the model's longest")
    assert (report(context=99).context, report(context=99).context_source) == (99, "as asked")


def test_a_config_without_a_context_asks_for_one() -> None:
    config = hf("llama", 32, 32, 4096, num_key_value_heads=8)
    cache = report(config).cache[0]
    assert cache.kind == UNKNOWN
    assert "--context" in cache.reason
    assert report(config, context=1).cache[0].nbytes == 131_072
    assert report(config).per_token.nbytes == 131_072


def test_the_total_is_weights_and_cache_and_overhead() -> None:
    got = report(context=1_024)
    cache = 1_024 * 131_072
    assert got.total.low == 2 * TOTAL + cache + sum(term.low or 0 for term in got.overhead)
    assert got.total.high == 2 * TOTAL + cache + sum(term.high or 0 for term in got.overhead)
    assert got.total.kind == ESTIMATE


def test_the_total_counts_what_an_engine_sets_aside() -> None:
    got = report(GEMMA_3_27B, context=131_072, engine="llama.cpp")
    padded = (10_240 + 624) << 20
    assert got.total.low == 2 * TOTAL + padded + sum(term.low or 0 for term in got.overhead)


def test_an_unknown_cache_makes_the_total_unknown() -> None:
    got = report({key: item for key, item in LLAMA_3_1_8B.items() if key != "num_hidden_layers"})
    assert got.total.kind == UNKNOWN
    assert "num_hidden_layers" in got.total.reason
    assert got.weights[0].nbytes == 2 * TOTAL


def test_overhead_is_a_labelled_range() -> None:
    for term in report().overhead:
        assert term.kind == ESTIMATE
        assert (term.low or 0) < (term.high or 0)
        assert term.source


def test_a_model_without_a_config_says_so() -> None:
    got = memory(inspection(), {})
    assert got.cache[0].reason == "unknown: config.json is missing"
    adapter = memory(inspection(), {"adapter_config.json": {"r": 8}})
    assert "base model" in adapter.cache[0].reason


def test_gguf_metadata_is_read_for_gguf() -> None:
    keys = {"block_count": 32, "embedding_length": 4096, "attention.head_count": 32,
            "attention.head_count_kv": 8, "context_length": 8192}  # fmt: skip
    metadata = {"general.architecture": "llama", **{f"llama.{k}": v for k, v in keys.items()}}
    got = memory(inspection(format="gguf", metadata=metadata), {})
    assert got.cache[0].nbytes == 8_192 * 131_072
    assert got.architecture == "llama"


def test_a_context_beyond_the_models_is_noted() -> None:
    assert any("131,072 tokens at most" in note for note in report(context=200_000).notes)
    assert report(context=131_072).notes == ()


def test_transformers_before_5_is_noted_for_latent_attention() -> None:
    assert any("40,960" in note for note in report(DEEPSEEK_V3_1).notes)


@pytest.mark.parametrize("engine", ["", *ENGINES])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_config_gives_a_whole_report(case: Any, engine: str) -> None:
    got = report(case.config, context=4_096, batch=2, engine=engine, budget=24 * GIB)
    assert got.total.low is not None
    assert got.total.high is not None
    assert 0 < got.total.low <= got.total.high
    assert got.growth.low is not None
    assert got.per_token.kind in (EXACT, ESTIMATE)
    assert len(got.fit) == len(got.weights)
    for term in (*got.cache, *got.overhead, *got.training, *got.weights):
        assert term.kind in (EXACT, ESTIMATE, UNKNOWN)
        assert (term.low is None) == (term.kind == UNKNOWN)
        assert term.kind == UNKNOWN or (term.low or 0) <= (term.high or 0)
        assert (term.kind == EXACT) <= (term.low == term.high)


@pytest.mark.parametrize("dtype", KV_TYPES)
def test_every_cache_type_is_taken(dtype: str) -> None:
    assert report(context=1_024, kv_dtype=dtype).cache[0].low


# Findings ---------------------------------------------------------------------------------


def tensor(name: str, *shape: int, dtype: str = "bf16") -> TensorInfo:
    return TensorInfo(name, DTYPES[dtype], shape, Extent(0, 0, 0))


def test_an_unusable_field_is_a_finding() -> None:
    got = report({**LLAMA_3_1_8B, "num_attention_heads": "32"})
    assert [(item.code, item.subject) for item in got.findings] == [
        ("WK770", "num_attention_heads")
    ]
    assert got.cache[0].kind == UNKNOWN


def test_weights_that_refute_the_config_are_a_finding() -> None:
    keys = [tensor(f"model.layers.{i}.self_attn.k_proj.weight", 512, 4096) for i in range(2)]
    got = report(LLAMA_3_1_8B, keys)
    assert [item.code for item in got.findings] == ["WK771"]
    assert "1,024" in got.findings[0].message
    assert "512" in got.findings[0].message
    assert got.cache[0].kind == UNKNOWN
    assert got.weights[0].nbytes == 2 * TOTAL


@pytest.mark.parametrize(
    "tensors",
    [
        [tensor("model.layers.0.self_attn.k_proj.weight", 1024, 4096)],
        [tensor("blk.0.attn_k.weight", 1024, 4096, dtype="q4_k")],
        [tensor("vision_tower.layers.0.k_proj.weight", 777, 777)],
        [tensor("model.layers.0.self_attn.k_proj.weight", 99, 4, dtype="u8")],
        [tensor("model.layers.0.self_attn.k_proj.weight", 99)],
        [],
    ],
    ids=["equal", "gguf", "vision", "packed", "one dimension", "none"],
)
def test_weights_that_agree_or_say_nothing_are_no_finding(tensors: list[TensorInfo]) -> None:
    got = report(LLAMA_3_1_8B, tensors)
    assert got.findings == ()
    assert got.cache[0].kind == EXACT


def test_an_absent_head_count_is_an_estimate_until_the_weights_confirm_it() -> None:
    config = {key: item for key, item in LLAMA_3_1_8B.items() if key != "num_key_value_heads"}
    alone = report(config)
    assert alone.cache[0].kind == ESTIMATE
    assert "num_key_value_heads is missing" in alone.cache[0].reason
    height = "model.layers.0.self_attn.k_proj.weight"
    agreed = report(config, [tensor(height, 4096, 4096)])
    assert (agreed.cache[0].kind, agreed.notes) == (EXACT, ())
    refuted = report(config, [tensor(height, 1024, 4096)])
    assert refuted.cache[0].kind == UNKNOWN
    assert "num_key_value_heads" in refuted.cache[0].reason


def test_a_family_that_never_groups_its_heads_needs_no_confirmation() -> None:
    config = {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768}
    assert report(config, context=1).cache[0].kind == EXACT


# What fits --------------------------------------------------------------------------------


def test_what_fits_24_gib() -> None:
    got = report(context=8_192, budget=24 * GIB)
    rows = {row.precision: row for row in got.fit}
    assert rows["FP32"].fits == "no"
    assert (rows["FP32"].certain, rows["FP32"].possible) == (0, 0)
    assert rows["FP16/BF16"].fits == "yes"
    eight = 8_531_869_696 + 4 * NORMS  # 8.5 bits for what is a matrix
    assert rows["GGUF Q8_0"].certain == (24 * GIB - eight - 600_000_000 - eight // 5) // 131_072
    assert rows["GGUF Q8_0"].limited_by == "memory"
    assert rows["GGUF Q2_K"].certain == 131_072
    assert rows["GGUF Q2_K"].limited_by == "the model's longest"


def test_what_fits_is_the_longest_that_does() -> None:
    budget = 24 * GIB
    row = next(r for r in report(context=8_192, budget=budget).fit if r.precision == "FP16/BF16")
    weight = 2 * TOTAL
    room = budget - weight - 600_000_000 - weight // 5
    assert row.certain == room // 131_072


def test_a_budget_that_may_suffice_is_perhaps() -> None:
    got = report(context=8_192, budget=18 * GIB)
    assert next(r for r in got.fit if r.precision == "FP16/BF16").fits == "perhaps"


def test_vllm_leaves_a_tenth_of_the_card() -> None:
    whole = report(context=1_024, budget=20 * GIB, engine="vllm").fit[0]
    less = report(context=1_024, budget=18 * GIB).fit[0]
    assert abs((whole.certain or 0) - (less.certain or 0)) <= 16


def test_fit_without_a_known_cache_is_unknown() -> None:
    got = report({"model_type": "llama"}, budget=24 * GIB)
    assert got.fit[0].fits == "unknown"
    assert "num_hidden_layers" in got.fit[0].limited_by
    assert got.fit[1].fits == "no"  # 32-bit weights alone are too much


def test_fit_of_an_encoder_asks_for_no_context() -> None:
    row = report(hf("bert", 12, 12, 768), budget=24 * GIB).fit[0]
    assert (row.fits, row.certain, row.possible) == ("yes", None, None)


def test_fit_of_a_recurrent_model_is_not_bound_by_memory() -> None:
    mamba = next(case.config for case in CASES if case.name == "mamba 130m")
    row = report(mamba, context=1_000_000, budget=24 * GIB).fit[0]
    assert (row.fits, row.certain) == ("yes", 1_000_000)


# Training ---------------------------------------------------------------------------------


def test_full_training_takes_sixteen_bytes_and_activations() -> None:
    terms = by_name(report(context=2_048).training)
    step = 2_048 * 4_096 * 32
    assert terms["full f32: total"].low == 16 * TOTAL + 2 * step
    assert terms["full mixed: total"].low == 16 * TOTAL + 2 * step
    assert terms["full mixed: total"].high == 18 * TOTAL + 34 * step


def test_adapters_are_rank_times_rows_and_columns() -> None:
    terms = by_name(report(context=2_048, rank=8).training)
    attention = 32 * 8 * (4096 + 4096) + 32 * 8 * (1024 + 4096)
    more = attention + 32 * 8 * (14336 + 4096)
    adapter = terms["lora: adapter, gradients and moments, 32-bit"]
    assert (adapter.low, adapter.high) == (16 * attention, 16 * more)
    assert adapter.inputs["adapter parameters"] == [attention, more]


def test_qlora_takes_four_bits_and_a_scale() -> None:
    frozen = by_name(report().training)["qlora: frozen matrices, NF4"]
    assert frozen.low == pytest.approx(MATRICES * 4.127 / 8, abs=1)
    assert frozen.high == pytest.approx(MATRICES * 4.5 / 8, abs=1)


def packed(*shape: int) -> Inspection:
    group = Group("layers.0.q_proj.qweight", "i32", shape, 1, 4096 * 1024, 1 << 21, "attention")
    return inspection(groups=(group,))


def test_a_packed_matrix_gives_a_range() -> None:
    """Eight weights in each 32-bit integer, along the rows or along the columns."""
    got = memory(packed(512, 1024), {"config.json": LLAMA_3_1_8B}, (), Request(rank=2))
    adapter = by_name(got.training)["lora: adapter, gradients and moments, 32-bit"]
    assert (adapter.low, adapter.high) == (16 * 2 * (4096 + 1024), 16 * 2 * (512 + 8192))


def test_a_flattened_matrix_leaves_the_adapter_unknown() -> None:
    got = memory(packed(2048 * 1024, 1), {"config.json": LLAMA_3_1_8B})
    total = by_name(got.training)["lora: total"]
    assert total.kind == UNKNOWN
    assert "packed" in total.reason


def test_matrices_that_nothing_recognised_leave_the_adapter_unknown() -> None:
    got = memory(inspection(groups=()), {"config.json": LLAMA_3_1_8B})
    assert "recognised" in by_name(got.training)["qlora: total"].reason


# Parts ------------------------------------------------------------------------------------


def test_a_pipeline_is_counted_as_a_whole() -> None:
    empty = inspection(
        format="diffusers pipeline", parameters=Parameters(0, 0, None, None, 0, 0, 0), nbytes=0,
        tensors=0, components=(), groups=(), parts=(inspection(), inspection()),
    )  # fmt: skip
    got = memory(empty, {"model_index.json": {}})
    assert got.weights[0].nbytes == 4 * TOTAL
    assert by_name(got.weights)["FP32"].nbytes == 8 * TOTAL
    assert got.cache[0].nbytes == 0
    assert "pipeline" in got.cache[0].reason
    assert got.total.low is not None


def test_slices_take_the_config_of_the_first() -> None:
    class Opened:
        """Two slices of one model, as ``open`` gives them."""

        def __init__(self, *parts: Any, config: Any = None) -> None:
            self.parts, self.config = parts, config or {}
            self.path, self.format, self.name = "llama", "slices" if parts else "pytorch", ""
            self.files: tuple[Any, ...] = ()
            self.sets: tuple[Any, ...] = ()
            self.tensors: tuple[TensorInfo, ...] = ()
            self.metadata: dict[str, Any] = {}
            self.findings: tuple[Any, ...] = ()
            self.examined: tuple[Any, ...] = ()
            self.card, self.beside = "", ()
            if not parts:
                self.tensors = (tensor("layers.0.attention.wq.weight", 64, 64),)

        def read_bytes(self, tensor: TensorInfo, limit: int) -> bytes:
            return b""

    params = {"params.json": {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
                              "head_dim": 128}}  # fmt: skip
    got = memory_of(Opened(Opened(config=params), Opened(config=params)), Request(context=2))
    assert got.weights[0].nbytes == 2 * 64 * 64 * 2
    assert got.cache[0].nbytes == 2 * 131_072


def test_every_part_of_every_method_is_shown() -> None:
    names = [term.name for term in report().training]
    assert len(names) == len(set(names)) == len(PARTS) + 2 * len(METHODS)
    for method in METHODS:
        total = by_name(report().training)[f"{method}: total"]
        parts = [t for t in report().training if t.name.startswith(f"{method}: ")]
        assert total.low == sum(
            t.low or 0 for t in parts if t is not total and t.name != total.name
        )


def test_activations_without_a_hidden_size_are_unknown() -> None:
    term = by_name(report({"model_type": "bert"}, context=512).training)["full f32: activations"]
    assert term.kind == UNKNOWN
    assert "hidden_size" in term.reason


# Hostile ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {**LLAMA_3_1_8B, "num_hidden_layers": 10**6},
        {**LLAMA_3_1_8B, "num_key_value_heads": list(range(1, 33))},
        {**LLAMA_3_1_8B, "max_position_embeddings": 1 << 62},
        {**LLAMA_3_1_8B, "hidden_size": float("nan")},
        {**QWEN3_6_27B, "text_config": []},
        {"model_type": "llama", "text_config": {"layer_types": ["full_attention"] * 10_000}},
        [],
        None,
        "config",
    ],
)
def test_a_hostile_config_costs_little_and_leaves_the_weights(config: Any) -> None:
    start = time.process_time()
    got = report(config, budget=24 * GIB)
    assert time.process_time() - start < 2
    assert got.weights[0].nbytes == 2 * TOTAL
