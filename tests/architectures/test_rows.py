"""Every row of the naming tables classifies its own example."""

import pytest

from weightkit.analyses.components import kin_of
from weightkit.analyses.folding import fold
from weightkit.analyses.scene import Scene
from weightkit.architectures import adapters, ggml, language, leaves
from weightkit.architectures.rows import COMPONENTS, Row, expand, segment_matches
from weightkit.dtypes import DTYPES
from weightkit.tensors import Extent, TensorInfo

HUGGING_FACE = [*adapters.ROWS, *language.ROWS, *language.WEAK]
BUFFERS = [*leaves.BUFFERS, *adapters.BUFFERS]
MODELS = {"top audio": "whisper", "frozen": "detr", "own": "ernie4_5"}


def tensor(name: str, shape: tuple[int, ...] = (64, 64), dtype: str = "f32") -> TensorInfo:
    return TensorInfo(name, DTYPES[dtype], shape, Extent(0, 0, 0))


def kin(row: Row, file_format: str = "safetensors"):
    config = {"model_type": MODELS.get(row.when, "")}
    tensors = [tensor(row.example, row.shape)]
    if row.beside:
        tensors.append(tensor(row.beside))
    folds = fold(tensors)
    return kin_of(folds[0], Scene(folds, config, {}, file_format))


@pytest.mark.parametrize("row", HUGGING_FACE, ids=lambda row: row.pattern)
def test_example_is_classified_by_its_row(row):
    found = kin(row)
    if row.component:
        assert found.component == row.component
        assert found.rule.split(" ")[0] == row.pattern
    else:  # a transparent container: what is inside decides
        assert found.rule.split(" ")[0] != row.pattern


@pytest.mark.parametrize("row", ggml.ROWS, ids=lambda row: row.pattern)
def test_example_of_gguf_is_classified_by_its_row(row):
    found = kin(row, "gguf")
    assert (found.component, found.rule.split(" ")[0]) == (row.component, row.pattern)


@pytest.mark.parametrize("row", BUFFERS, ids=lambda row: row.pattern)
def test_example_of_buffer_is_classified_by_its_row(row):
    found = kin(row)
    assert (found.kind, found.component) == ("buffer", row.component)
    assert found.rule.startswith(row.pattern)


@pytest.mark.parametrize("row", leaves.GGUF_BUFFERS, ids=lambda row: row.pattern)
def test_example_of_gguf_buffer_is_classified_by_its_row(row):
    found = kin(row, "gguf")
    assert (found.kind, found.component) == ("buffer", row.component)
    assert found.rule.startswith(row.pattern)


@pytest.mark.parametrize("row", [*HUGGING_FACE, *ggml.ROWS, *BUFFERS], ids=lambda row: row.pattern)
def test_rows_name_known_components(row):
    assert row.component in (*COMPONENTS, "")


def test_patterns():
    assert expand("{q,k}_{a,b}.c") == ["q_a.c", "q_b.c", "k_a.c", "k_b.c"]
    assert segment_matches("*norm*", "post_attention_layernorm")
    assert segment_matches("a*b*c", "axxbyyc")
    assert not segment_matches("a*b*c", "axxcyyb")
    assert not segment_matches("ab*ba", "aba")
    assert segment_matches("*", "")
