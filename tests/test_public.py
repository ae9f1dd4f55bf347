"""The public names."""

from __future__ import annotations

import pytest

import weightkit
from weightkit import errors

GGUF = "fixtures/llama-q8_0.gguf"


def test_all_is_sorted_and_true() -> None:
    assert weightkit.__all__ == sorted(weightkit.__all__)
    assert set(weightkit.__all__) <= set(dir(weightkit))
    for name in weightkit.__all__:
        assert getattr(weightkit, name) is not None


def test_every_error_is_public() -> None:
    public = {getattr(weightkit, name) for name in weightkit.__all__ if name != "__version__"}
    assert {errors.WeightkitError, *errors.WeightkitError.__subclasses__()} <= public


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load'"):
        weightkit.load  # noqa: B018


def test_open_and_inspect(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath / GGUF
    with weightkit.open(path) as checkpoint:
        assert isinstance(checkpoint, weightkit.Checkpoint)
        names = [tensor.name for tensor in checkpoint]
    report = weightkit.inspect(path)
    assert report.parameters.total == 22688
    assert report.rows is not None
    assert [row.name for row in report.rows] == names


def test_diff(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath / GGUF
    report = weightkit.diff(path, path)
    assert isinstance(report, weightkit.Diff)
    assert report.same
    other = pytestconfig.rootpath / "fixtures/llama"
    assert not weightkit.diff(path, other, "headers", ignore={"quantized"}).same
