"""A disk that keeps other bytes than it was given: the conversion names the tensor and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from weightkit.convert import convert
from weightkit.convert.out import Out, Piece
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish
from weightkit.dtypes import DTYPES
from weightkit.errors import VerifyError
from weightkit.formats.safetensors import writing
from weightkit.opening.examining import examine
from weightkit.source import Source
from weightkit.tensors import Extent, TensorInfo

TINY = {f"layer.{n}.bias": torch.rand(7 + n) for n in range(40)}
LARGE = {"first": torch.rand(100), "large": torch.rand(3 << 20), "last": torch.rand(100)}
VIEW = {"first": torch.rand(100), "turned": torch.rand(300, 200).T, "last": torch.rand(100)}
CASES = {
    "tiny ones, the first": (TINY, "layer.0.bias", {}),
    "tiny ones, in the middle": (TINY, "layer.17.bias", {}),
    "tiny ones, the last": (TINY, "layer.39.bias", {}),
    "a large one": (LARGE, "large", {}),
    "a small one beside a large one": (LARGE, "last", {}),
    "a view": (VIEW, "turned", {}),
    "a cast": (LARGE, "large", {"dtypes": (("*", DTYPES["f16"]),)}),
}


@pytest.mark.parametrize(("tensors", "bad", "wish"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("identify", [True, False], ids=["identified", "only compared"])
def test_other_bytes_than_were_written(
    tensors: dict[str, torch.Tensor],
    bad: str,
    wish: dict[str, object],
    jobs: int,
    identify: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = tmp_path / "source.pt", tmp_path / "target.safetensors"
    torch.save(tensors, source)
    convert(source, target, Wish(**wish))
    with Source(target) as made:
        (info,) = [item for item in examine(made).index.tensors if item.name == bad]
    spoilt = info.data.offset + info.data.nbytes - 1
    target.unlink()

    def spoil(out: Out, start: int, nbytes: int) -> None:
        if start <= spoilt < start + nbytes:
            (held,) = os.pread(out.fd, 1, spoilt)
            os.pwrite(out.fd, bytes([held ^ 1]), spoilt)

    write, send = Out.write, Out.send

    def spoiling_write(self: Out, offset: int, data: Piece) -> None:
        write(self, offset, data)
        spoil(self, offset, len(memoryview(data).cast("B")))

    def spoiling_send(self: Out, source: Source, start: int, nbytes: int, offset: int) -> None:
        send(self, source, start, nbytes, offset)
        spoil(self, offset, nbytes)

    monkeypatch.setattr(Out, "write", spoiling_write)
    monkeypatch.setattr(Out, "send", spoiling_send)
    with pytest.raises(VerifyError) as caught:
        convert(source, target, Wish(**wish), How(jobs=jobs, identify=identify))
    assert (caught.value.code, caught.value.tensor) == ("WK670", bad)
    assert caught.value.offset is not None
    assert caught.value.offset <= spoilt
    assert [item.name for item in tmp_path.iterdir()] == ["source.pt"]
    convert(source, target, Wish(**wish), How(jobs=jobs, verify=False))  # as it was asked for
    assert target.exists()


def test_the_order_of_names_is_that_of_their_utf8() -> None:
    """The key sorts text by code points, the official library by bytes."""
    names = ["a", "Z", "é", "z", "\uffff", "\U0001f600", "aé", "a\u0300", "~", "\x7f"]
    tensors = [TensorInfo(name, DTYPES["f32"], (1,), Extent(0, 0, 4)) for name in names]
    slots = writing.layout(tensors, {}).slots
    order = sorted(range(len(names)), key=lambda at: slots[at].offset)
    assert [names[at] for at in order] == sorted(names, key=str.encode)
