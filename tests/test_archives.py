"""Zip and tar archives and compressed streams: what is read, and every way to be wrong."""

from __future__ import annotations

from tests.zip_files import Entry, archive
from weightkit.archives import Budget, Zip, read_zip
from weightkit.rules import Faults
from weightkit.source import Buffer


def read(blob: bytes) -> tuple[Zip, list[str]]:
    faults = Faults("x.zip")
    zip_ = read_zip(Buffer(blob, "x.zip"), faults)
    return zip_, [fault.code for fault in faults.all()]


def content(zip_: Zip, name: str) -> bytes:
    member = zip_.find(name)
    assert member is not None
    source = zip_.reader(member, Budget())
    return source.pread(0, source.size)


def test_stored_and_deflated() -> None:
    entries = [Entry(b"a/x", b"one"), Entry(b"a/y", b"two" * 100, method=8)]
    for zip64 in (False, True):
        zip_, codes = read(archive(entries, zip64=zip64))
        assert codes == []
        assert content(zip_, "a/x") == b"one"
        assert content(zip_, "a/y") == b"two" * 100
