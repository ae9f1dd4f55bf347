"""Zips as torch's reader and Python's zipfile open them, against what is read here."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from tests.zip_files import Entry, archive
from weightkit.archives import Budget, Zip, read_zip
from weightkit.rules import Faults
from weightkit.source import Buffer, Source

torch = pytest.importorskip("torch")


def read(blob: bytes) -> Zip:
    return read_zip(Buffer(blob), Faults("x.zip"))


def content(zip_: Zip, name: str, reader: str = "miniz") -> bytes | None:
    member = zip_.by_miniz(name) if reader == "miniz" else zip_.by_zipfile(name)
    if member is None:
        return None
    source = zip_.reader(member, Budget())
    return source.pread(0, source.size)


def test_what_torch_saves(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    tensors = {f"t{i}": torch.arange(i + 1, dtype=torch.bfloat16) for i in range(200)}
    torch.save(tensors, path)
    reader = torch._C.PyTorchFileReader(str(path))
    faults = Faults(str(path))
    with Source(path) as source:
        zip_ = read_zip(source, faults)
        assert faults.all() == ()
        assert zip_.root == "model"
        assert [m.name for m in zip_.members] == [f"model/{n}" for n in reader.get_all_records()]
        for name in reader.get_all_records():
            assert content(zip_, f"model/{name}") == reader.get_record(name)
            member = zip_.by_miniz(f"model/{name}")
            assert member is not None
            assert member.data_offset == reader.get_record_offset(name)
            extent = zip_.extent(member, 0, member.size)
            assert (extent.offset, extent.encoding) == (member.data_offset, "raw")


def test_what_zipfile_writes() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.comment = b"a comment"
        for number, method in enumerate([0, 8, 12, 14]):
            out.writestr(f"m/{number}", bytes(range(256)) * 100, method)
        with out.open("m/ü", "w", force_zip64=True) as stream:
            stream.write(b"x" * 100)
        out.mkdir("m/folder")
    faults = Faults("x.zip")
    zip_ = read_zip(Buffer(buffer.getvalue()), faults)
    assert faults.all() == ()
    with zipfile.ZipFile(buffer) as expected:
        assert [m.name for m in zip_.members] == expected.namelist()
        for info in expected.infolist():
            assert content(zip_, info.filename, "zipfile") == expected.read(info)


def miniz_reads(blob: bytes, name: str) -> bytes | None:
    reader = torch._C.PyTorchFileReader(io.BytesIO(blob))
    return bytes(reader.get_record(name)) if reader.has_record(name) else None


@pytest.mark.parametrize("seed", range(40))
def test_which_of_equal_names_torch_takes(seed: int) -> None:
    """Names that are equal but for case, at random places among others."""
    rng = random.Random(seed)
    names = ["a/data.pkl", "a/DATA.pkl", "a/data.pkl", "a/Data.Pkl"][: rng.randint(2, 4)]
    names += [f"a/{rng.choice('abcdefg')}{rng.randint(0, 30)}" for _ in range(rng.randint(0, 40))]
    rng.shuffle(names)
    entries = [Entry(b"a/version", b"3\n")]
    entries += [Entry(name.encode(), f"{i}".encode()) for i, name in enumerate(names)]
    blob = archive(entries)
    zip_ = read(blob)
    for name in {n.lower() for n in names}:
        assert content(zip_, name) == miniz_reads(blob, name[2:])
    with zipfile.ZipFile(io.BytesIO(blob)) as expected:
        for name in set(names):
            assert content(zip_, name, "zipfile") == expected.read(name)
