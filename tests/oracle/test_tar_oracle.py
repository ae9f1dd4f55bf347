"""Tars as Python's tarfile lists them, against what is read here."""

from __future__ import annotations

import contextlib
import io
import random
import tarfile

import pytest

from weightkit.archives import Tar, read_tar
from weightkit.errors import FormatError
from weightkit.rules import Faults
from weightkit.source import Buffer

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
TYPES = [tarfile.REGTYPE] * 4 + [
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
]
KINDS = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.GNUTYPE_SPARSE: "sparse",
}


def written(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    form = rng.choice(FORMATS)
    with tarfile.open(fileobj=buffer, mode="w", format=form) as out:
        for number in range(rng.randint(1, 5)):
            info = tarfile.TarInfo("n" * rng.choice([3, 60, 99]) + f"/{number}")
            if form != tarfile.USTAR_FORMAT and rng.random() < 0.3:
                info.name = "ü/" * 90 + f"{number}"
            info.type = rng.choice(TYPES)
            info.linkname = rng.choice(["x", "y" * 100]) if info.type in b"12" else ""
            content = rng.randbytes(rng.choice([0, 1, 511, 512, 513])) if info.isreg() else b""
            info.size = len(content)
            if form == tarfile.PAX_FORMAT and rng.random() < 0.3:
                info.pax_headers = {"comment": "hello", "path": f"other/{number}"}
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def listed(blob: bytes) -> list[tuple[str, str, int, int]] | None:
    try:
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:") as expected:
            return [
                (info.name.rstrip("/"), KINDS.get(info.type, "file"), info.size, info.offset_data)
                for info in expected.getmembers()
            ]
    except (tarfile.TarError, ValueError, OverflowError, UnicodeDecodeError):
        return None


def ours(tar: Tar) -> list[tuple[str, str, int, int]]:
    return [(m.name.rstrip("/"), m.kind, m.size, m.data_offset) for m in tar.members]


@pytest.mark.parametrize("seed", range(60))
def test_what_tarfile_writes(seed: int) -> None:
    blob = written(random.Random(seed))
    faults = Faults("x.tar")
    tar = read_tar(Buffer(blob), faults)
    assert ours(tar) == listed(blob)
    assert {fault.code for fault in faults.all()} <= {"WK418", "WK432"}
    with tarfile.open(fileobj=io.BytesIO(blob)) as expected:
        for info, member in zip(expected.getmembers(), tar.members, strict=True):
            if info.isreg():
                stream = expected.extractfile(info)
                assert stream is not None
                assert tar.reader(member).peek(0, 1 << 20) == stream.read()


def resum(blob: bytearray, at: int) -> None:
    """Make the checksum of the header at ``at`` right again."""
    header = blob[at : at + 512]
    header[148:156] = b" " * 8
    blob[at + 148 : at + 156] = b"%06o\0 " % sum(header)


@pytest.mark.parametrize("block", range(4))
def test_what_tarfile_makes_of_broken_ones(block: int) -> None:
    """The same members as tarfile's, or a fault where there are others."""
    compared = 0
    for seed in range(block * 250, block * 250 + 250):
        rng = random.Random(seed)
        blob = bytearray(written(rng))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(blob) // 512) * 512
            blob[at + rng.choice([rng.randrange(512), 124, 135, 156, 345])] = rng.choice(
                b"01\0\x80x"
            )
            resum(blob, at)
        expected = listed(bytes(blob))
        faults = Faults("x.tar")
        tar = None
        with contextlib.suppress(FormatError):
            tar = read_tar(Buffer(bytes(blob)), faults)
        codes = {fault.code for fault in faults.all()}
        if tar and expected is not None and not codes & {"WK001", "WK430", "WK433"}:
            assert ours(tar) == expected, seed
            compared += 1
    assert compared > 100
