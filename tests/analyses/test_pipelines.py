"""The sums over the parts of a pipeline."""

from __future__ import annotations

from tests.render.reports import llama, odd
from weightkit.analyses.pipelines import whole
from weightkit.reports import Inspection, Parameters, Share


def pipeline(*parts: Inspection, format: str = "diffusers pipeline") -> Inspection:  # noqa: A002
    return llama()._replace(
        format=format,
        files=(),
        size=10,
        tensors=0,
        parameters=Parameters(0, 0, None, None, 0, 0, 0),
        components=(),
        dtypes=(),
        nbytes=0,
        parts=parts,
    )


def test_counts_add_up() -> None:
    found = whole(pipeline(llama(), odd()))
    assert found.parameters.total == 8_030_261_248 + 1200
    assert found.parameters.unique == 8_030_261_248 + 800
    assert found.parameters.active is None
    assert (found.parameters.bias, found.parameters.buffers) == (8, 16)
    assert found.tensors == 294
    assert found.nbytes == llama().nbytes + odd().nbytes
    assert found.size == 10 + llama().size + odd().size
    assert len(found.files) == 5
    assert found.bits_per_weight == 16.0


def test_rows_of_one_name_become_one() -> None:
    found = whole(pipeline(llama(), odd()))
    attention = next(row for row in found.components if row.component == "attention")
    assert (attention.tensors, attention.nbytes) == (130, 2684354562)
    assert attention.dtypes == ("bf16", "f16", "q4_k")
    assert [row.dtype for row in found.dtypes] == ["bf16", "f16", "q4_k"]
    parts = [odd()._replace(shares=(Share("0", 1, 2, 3),)) for _ in range(2)]
    assert whole(pipeline(*parts)).shares == (Share("0", 2, 4, 6),)


def test_one_unknown_makes_the_sum_unknown() -> None:
    unsure = odd()._replace(parameters=odd().parameters._replace(total=None))
    found = whole(pipeline(llama(), unsure))
    assert found.parameters.total is None
    assert found.parameters.unique is not None
    assert found.bits_per_weight is None


def test_slices_and_single_files_are_left_alone() -> None:
    slices = pipeline(llama(), odd(), format="slices")
    assert whole(slices) is slices
    alone = llama()
    assert whole(alone) is alone
