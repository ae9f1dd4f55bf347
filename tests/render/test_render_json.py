from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightkit.errors import AccessError, FormatError
from weightkit.findings import Finding
from weightkit.render.json import envelope, error, plain, text
from weightkit.reports import FileEntry
from weightkit.tensors import ArrayRef

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(), VALUES))
def test_text_is_the_same_document(document: dict[str, Any]) -> None:
    written = text(document)
    assert written.isascii()
    assert written.endswith("\n")
    assert json.loads(written) == document


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1 << 64, 1 << 64),
        pytest.param(1 << 20000, "an integer of 20001 bits", id="huge"),
        (ArrayRef("string", 3, 10, 20), {"array": "string", "length": 3}),
        ((1, (2, None)), [1, [2, None]]),
        ({1: "a"}, {"1": "a"}),
        (
            FileEntry("a", "gguf", 5, 1),
            {"path": "a", "format": "gguf", "size": 5, "tensors": 1, "container": None},
        ),
    ],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected
    text({"value": plain(value)})


def test_nbytes_is_spelt_bytes() -> None:
    from weightkit.reports import Share

    assert plain(Share("k", 1, 2, 3)) == {"key": "k", "tensors": 1, "parameters": 2, "bytes": 3}


def test_deep_nesting_ends() -> None:
    value: Any = []
    for _ in range(5000):
        value = [value]
    assert "nested too deeply" in text({"value": plain(value)})


def test_a_finding_keeps_all_its_keys() -> None:
    found = plain(Finding("WK001", "danger", "m", offset=0))
    assert found["offset"] == 0
    assert found["entry"] is None
    assert list(found) == list(Finding._fields)


def test_an_error_has_four_keys() -> None:
    fault = FormatError("cut off", path="a.gguf", code="WK001", offset=7, entry="x")
    assert envelope([error(fault)], "1", many=False) == {
        "schema_version": 1,
        "error": {"code": "WK001", "message": "cut off", "path": "a.gguf", "offset": 7},
    }
    assert error(AccessError("no"))["error"]["code"] == "AccessError"


def test_several_results_keep_their_errors() -> None:
    document = envelope([{"path": "a"}, error(AccessError("no"))], "1", many=True)
    assert list(document) == ["schema_version", "tool", "results"]
    assert [list(result) for result in document["results"]] == [["path"], ["error"]]
