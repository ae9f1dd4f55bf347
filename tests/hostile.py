"""Hostile files, mutations of good ones, and the judge of what weightkit makes of them.

Used by ``test_bad_input`` and by ``scripts/fuzz``. Nothing here is ever loaded; pickles are written
as opcodes by hand. A file is a builder that writes to a path, so that it may be sparse.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import weightkit
from weightkit.errors import FormatError, WeightkitError
from weightkit.rules import RULES

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SECONDS = 5.0
"""Of processor time: what else the machine does is not the file's doing."""
PATIENCE = 60.0
"""Seconds by the clock after which something is not slow, but stuck."""
MEMORY = 300 << 20
HUGE = 1 << 60
BILLION = 10**9

Builder = Callable[[Path], None]


# -- The judge --


class Verdict(NamedTuple):
    """``kind``: index, error (a typed one, as it should be), or crash with the reason."""

    kind: str
    reason: str = ""
    code: str = ""

    @property
    def crashed(self) -> bool:
        return self.kind == "crash"


class Hang(BaseException):
    """Raised by the alarm; nothing in the package catches it."""


def judge(path: Path, look: Callable[[Path], Any] | None = None) -> Verdict:
    """Open ``path`` through the public door and list what is in it, within the time allowed."""

    def ring(*_: object) -> None:
        raise Hang

    before = [(name, signal.signal(name, ring)) for name in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        (look or listing)(path)
    except WeightkitError as error:
        return Verdict("crash", flaw(error), error.code) if flaw(error) else typed(error)
    except Hang:
        return Verdict("crash", f"still running after {SECONDS:g} s")
    except Exception as error:
        return Verdict("crash", f"{type(error).__name__}: {str(error)[:200]} {where(error)}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for name, handler in before:
            signal.signal(name, handler)
    return Verdict("index")


def typed(error: WeightkitError) -> Verdict:
    return Verdict("error", str(error), error.code)


def flaw(error: WeightkitError) -> str:
    """What a typed error lacks: a file, a known code, a reason, the offset of a broken structure."""
    if type(error) is WeightkitError:
        return "the base class was raised"
    if not error.path or not error.message:
        return f"no path or no reason: {error!r}"
    if error.code not in RULES:
        return f"no such code: {error.code!r} {error}"
    # WK6xx is about files that disagree with one another, which is nowhere in one of them.
    if isinstance(error, FormatError) and error.offset is None and error.code[:3] != "WK6":
        return f"no offset: {error}"
    return "" if "\n" not in str(error) else f"more than one line: {error}"


def where(error: BaseException) -> str:
    """The innermost place of the package in the traceback."""
    place = ""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if "weightkit" in code.co_filename:
            place = f"{Path(code.co_filename).name}:{step.tb_lineno} {code.co_name}"
        step = step.tb_next
    return place


def listing(path: Path) -> int:
    """Everything that listing a file touches, of every set."""
    with weightkit.open(path) as checkpoint:
        seen = sum(len(tensor.name) + tensor.nbytes for tensor in checkpoint.tensors)
        return seen + len(list(checkpoint.metadata))


# -- Mutations --


def truncations(content: bytes, boundaries: Iterator[int] | list[int], seed: int) -> Iterator[int]:
    """Lengths to cut to: each one of a small file, boundaries and a sample of a larger one."""
    size = len(content)
    if size < 4096:
        yield from range(size)
        return
    lengths = {0, 1, 2, 4, 8, 16, 511, 512, 4095, size - 1, size - 22}
    lengths |= {place + step for place in boundaries for step in (-1, 0, 1)}
    lengths |= set(random.Random(seed).sample(range(size), 150))
    yield from sorted(length for length in lengths if 0 <= length < size)


def flips(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies with one byte changed: the first and last kilobyte densely, the rest by chance."""
    chance = random.Random(seed)
    size = len(content)
    edge = [*range(min(1024, size)), *range(max(1024, size - 1024), size)]
    places = chance.sample(edge, min(count * 3 // 4, len(edge)))
    places += [chance.randrange(size) for _ in range(count - len(places))]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8) if chance.random() < 0.7 else 0xFF
        yield bytes(changed)


INTERESTING = [
    b"\x00" * 8,
    b"\xff" * 8,
    b"\xff" * 4,
    struct.pack("<Q", HUGE),
    b"\x7f" + b"\xff" * 7,
]
INTERESTING += [struct.pack("<I", 0x7FFFFFFF), struct.pack("<Q", BILLION), b"(" * 64, b"2" * 64]
INTERESTING += [
    b"\x80\x02",
    b"R",
    b"b",
    b"0",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"[" * 64,
    b'"',
    b"\\ud800",
]


def mutate(content: bytes, chance: random.Random) -> bytes:
    """One to four changes: bits, bytes, known bad values, cuts, repeats, swaps, insertions."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        place = chance.randrange(len(changed))
        if chance.random() < 0.5:
            place = min(place, chance.randrange(1, 2048), len(changed) - 1)
        length = chance.choice((1, 2, 4, 8, 32, 300))
        match chance.randrange(8):
            case 0:
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                changed[place] = chance.randrange(256)
            case 2:
                value = chance.choice(INTERESTING)
                changed[place : place + len(value)] = value
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length] * chance.choice((1, 2, 50))
            case 5:
                other = chance.randrange(len(changed))
                changed[place : place + length] = changed[other : other + length]
            case 6:
                changed[place:place] = chance.choice(INTERESTING)
            case 7:
                del changed[place:]
    return bytes(changed)


# -- Parts of hostile files --


def write(content: bytes, hole: int = 0) -> Builder:
    """The bytes, then a hole: zeros that take no room on the disk."""

    def build(path: Path) -> None:
        path.write_bytes(content)
        if hole:
            os.truncate(path, len(content) + hole)

    return build


def safetensors(header: bytes | dict[str, Any], hole: int = 0) -> Builder:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return write(struct.pack("<Q", len(text)) + text, hole)


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def gguf(tensors: int = 0, keys: int = 0, rest: bytes = b"", hole: int = 0) -> Builder:
    return write(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest, hole)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def array(kind: int, length: int) -> bytes:
    """A metadata entry "a": the start of an array."""
    return string(b"a") + struct.pack("<IIQ", 9, kind, length)


def tensor(dims: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return string(b"t") + shape + struct.pack("<IQ", kind, offset)


def npy(header: bytes, version: int = 1) -> Builder:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return write(b"\x93NUMPY" + bytes([version, 0]) + length + header)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def in_zip(program: bytes, storage: bytes = bytes(16)) -> Builder:
    """A torch zip whose data.pkl is ``program``."""
    members = {"a/data.pkl": program, "a/byteorder": b"little", "a/data/0": storage}
    return write(zipped(members | {"a/version": b"3\n"}))


LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."


def legacy(program: bytes, rest: bytes = b"\x80\x02]U\x010a.") -> Builder:
    return write(
        LEGACY + program.replace(b"tQ", b"NtQ") + rest
    )  # a storage names its view, or None


def rebuild(
    size: bytes = b"K\x01\x85",
    stride: bytes = b"K\x01\x85",
    numel: bytes = b"K\x04",
    at: bytes = b"K\x00",
) -> bytes:
    """Opcodes of one float tensor over storage "0"."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + numel + b"tQ"
    tail = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + at + size + stride + tail + b"tR"


def one_tensor(**parts: bytes) -> bytes:
    return b"\x80\x02}U\x01w" + rebuild(**parts) + b"s."


def long8(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def bomb(nbytes: int) -> bytes:
    """A torch zip whose deflated data.pkl is a thousandth of the ``nbytes`` that it expands to."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data.pkl", "w", force_zip64=True) as member,
    ):
        member.write(b"\x80\x02")
        for _ in range(nbytes >> 20):
            member.write(b"N0" * (1 << 19))
        member.write(b"N.")
    return buffer.getvalue()


def overlapping(entries: int) -> bytes:
    """A zip whose central directory names the same deflated megabytes again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(8 << 20)) + packer.flush()
    crc, size = zlib.crc32(bytes(8 << 20)), 8 << 20
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), size, 5, 0)
    rows = b"".join(
        struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), size, 9, *[0] * 6
        )
        + b"a%04d.npy" % index
        for index in range(entries)
    )
    start = len(local) + 5 + len(packed)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(rows), start, 0)
    return local + b"a.npy" + packed + rows + end


def flat(entries: int) -> bytes:
    """A zip whose central directory names one stored pickle under many names."""
    body = b"\x80\x02]."
    sizes = (zlib.crc32(body), len(body), len(body))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, *sizes, 5, 0) + b"a.pkl" + body
    row = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, *sizes, 10, *[0] * 6)
    rows = b"".join(row + b"a%05d.pkl" % index for index in range(entries))
    return (
        local
        + rows
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(rows), len(local), 0)
    )


def quine(entries: int = 40) -> bytes:
    """A zip whose stored members are all of the rest of it, the directory with them."""
    locals_, rows = b"", b""
    for index in range(entries):
        left = (entries - index) * 39 + entries * 55 + 22 - 39
        fields = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, 0, left, left, 9, 0)
        rows += b"PK\1\2" + struct.pack("<H", 20) + fields
        rows += struct.pack("<3H2L", 0, 0, 0, 0, len(locals_)) + b"%05d.zip" % index
        locals_ += b"PK\3\4" + fields + b"%05d.zip" % index
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, len(rows), len(locals_), 0)
    return locals_ + rows + end


def tar_claiming(nbytes: int) -> bytes:
    member = tarfile.TarInfo("pickle")
    member.size = nbytes
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def nested(opener: bytes, depth: int) -> bytes:
    return b"\x80\x02" + opener * depth + b"."


DEEP = 200_000
LAUGHS = b"\x80\x02]" + b"2\x86" * 80 + b"."
MEMO_LAUGHS = (
    b"\x80\x02(lq\x000" + b"".join(b"(h%ch%clq%c0" % (i, i, i + 1) for i in range(80)) + b"hP."
)


# -- The hostile files: name, builder, exit statuses of ``weightkit inspect`` that are right --


class Hostile(NamedTuple):
    name: str
    build: Builder
    status: frozenset[int] = frozenset({3})


ANY = frozenset({0, 3})
HOSTILE: list[Hostile] = [
    Hostile("empty.safetensors", write(b"")),
    # Claims of 2^60 bytes.
    Hostile("header-2e60.safetensors", write(struct.pack("<Q", HUGE) + b"{}")),
    Hostile("header-max.safetensors", write(b"\xff" * 8 + b"{}")),
    Hostile("header-in-hole.safetensors", write(struct.pack("<Q", 50 << 30) + b"{", 60 << 30)),
    Hostile("header-90MB-in-hole.safetensors", write(struct.pack("<Q", 90 << 20) + b"{", 91 << 20)),
    Hostile("shape-2e60.safetensors", safetensors({"a": entry(shape=[HUGE, HUGE])}, 4)),
    Hostile("offset-2e60.safetensors", safetensors({"a": entry(offsets=[0, HUGE])}, 4)),
    Hostile("digits.safetensors", safetensors(b'{"a":{"dtype":"F32","shape":[' + b"9" * 100_000 + b"]}}")),
    Hostile("float.safetensors", safetensors({"a": entry(shape=[1e308])}, 4)),
    Hostile("deep.safetensors", safetensors(b'{"a":' + b"[" * DEEP)),
    Hostile("deep-objects.safetensors", safetensors(b'{"a":' * DEEP)),
    Hostile("dims.safetensors", safetensors({"a": entry(shape=[1] * 100_000)}, 4), ANY),
    Hostile("nul.safetensors", safetensors(bytes(1000))),
    Hostile("metadata.safetensors", safetensors({"__metadata__": {"k": "v" * 5_000_000}}), ANY),
    Hostile("tensors-2e60.gguf", gguf(tensors=HUGE)),
    Hostile("tensors-1e9.gguf", gguf(tensors=BILLION)),
    Hostile("tensors-1e9-in-hole.gguf", gguf(tensors=BILLION, hole=30 << 30)),
    Hostile("keys-2e60.gguf", gguf(keys=HUGE)),
    Hostile("keys-1e9-in-hole.gguf", gguf(keys=BILLION, hole=30 << 30)),
    Hostile("string-2e60.gguf", gguf(keys=1, rest=struct.pack("<Q", HUGE) + bytes(64))),
    Hostile("string-longer.gguf", gguf(keys=1, rest=struct.pack("<Q", 100) + bytes(64))),
    Hostile("string-in-hole.gguf", gguf(keys=1, rest=struct.pack("<Q", 4 << 30), hole=5 << 30)),
    Hostile("value-in-hole.gguf", gguf(0, 1, string(b"k") + struct.pack("<IQ", 8, 4 << 30), 5 << 30)),
    Hostile("array-2e60.gguf", gguf(keys=1, rest=array(0, HUGE))),
    Hostile("array-2e62-of-u64.gguf", gguf(keys=1, rest=array(10, 1 << 62))),
    Hostile("strings-2e40.gguf", gguf(keys=1, rest=array(8, 1 << 40))),
    Hostile("strings-1e9-in-hole.gguf", gguf(keys=1, rest=array(8, BILLION), hole=9 << 30)),
    Hostile("arrays-1e9-in-hole.gguf", gguf(keys=1, rest=array(9, BILLION), hole=13 << 30)),
    Hostile("array-depth.gguf", gguf(keys=1, rest=array(9, 1) + struct.pack("<IQ", 9, 1) * DEEP)),
    Hostile("dims-2e60.gguf", gguf(tensors=1, rest=tensor((HUGE, HUGE)), hole=64)),
    Hostile("dims-2e32.gguf", gguf(tensors=1, rest=string(b"t") + b"\xff" * 4, hole=64)),
    Hostile("offset-2e60.gguf", gguf(tensors=1, rest=tensor((1,), offset=HUGE), hole=64)),
    Hostile("type-2e31.gguf", gguf(tensors=1, rest=tensor((1,), kind=1 << 31), hole=64)),
    Hostile("version.gguf", write(b"GGUF" + struct.pack("<IQQ", 77, 0, 0))),
    Hostile("shape-2e60.npy", npy(b"{'descr':'<f4','fortran_order':False,'shape':(1152921504606846976,)}")),
    Hostile("header-2e32.npy", write(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}")),
    Hostile("deep.npy", npy(b"{'shape':" + b"(" * 60_000)),
    Hostile("digits.npy", npy(b"{'descr':'<f4','fortran_order':False,'shape':(" + b"9" * 60_000 + b",)}")),
    Hostile("call.npy", npy(b"__import__('os').system('echo this would have run')")),
    Hostile("storage-2e60.pt", in_zip(one_tensor(numel=long8(HUGE)))),
    Hostile("shape-2e60.pt", in_zip(one_tensor(size=long8(HUGE) + b"\x85"))),
    Hostile("offset-2e60.pt", in_zip(one_tensor(at=long8(HUGE)))),
    Hostile("stride-2e60.pt", in_zip(one_tensor(size=b"K\x02\x85", stride=long8(HUGE) + b"\x85"))),
    Hostile("stride-negative.pt", in_zip(one_tensor(size=b"K\x02\x85", stride=long8(-HUGE) + b"\x85"))),
    Hostile("storage-2e60.legacy.pt", legacy(one_tensor(), b"\x80\x02]U\x010a." + struct.pack("<q", HUGE))),
    Hostile("storage-negative.legacy.pt", legacy(one_tensor(), b"\x80\x02]U\x010a." + b"\xff" * 8)),
    Hostile("unicode-2e60.pkl", write(b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"a.")),
    Hostile("bytes-2e60.pkl", write(b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"a.")),
    Hostile("bytearray-2e60.pkl", write(b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"a.")),
    Hostile("frame-2e60.pkl", write(b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"N."), ANY),
    Hostile("long-2e31.pkl", write(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.")),
    Hostile("long-negative.pkl", write(b"\x80\x02\x8b" + struct.pack("<i", -1) + b"\x01.")),
    Hostile("text-in-hole.pkl", write(b"\x80\x04\x8d" + struct.pack("<Q", 4 << 30), 5 << 30)),
    Hostile("size-2e60.tar", write(tar_claiming(HUGE))),
    # Pickles built to explode.
    Hostile("laughs.pkl", write(LAUGHS)),
    Hostile("laughs.pt", in_zip(LAUGHS), ANY),
    Hostile("laughs-of-tensors.pt", in_zip(b"\x80\x02]" + rebuild() + b"a" + b"2\x86" * 60 + b".")),
    Hostile("laughs.legacy.pt", legacy(LAUGHS), ANY),
    Hostile("memo-laughs.pt", in_zip(MEMO_LAUGHS), ANY),
    Hostile("tuples.pt", in_zip(nested(b"\x85", 2), b"")),
    Hostile("deep-tuples.pt", in_zip(b"\x80\x02)" + b"\x85" * DEEP + b".")),
    Hostile("deep-lists.pt", in_zip(b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".")),
    Hostile(
        "deep-dicts.pt",
        in_zip(b"\x80\x02" + b"}K\x00" * 50_000 + rebuild() + b"s" * 50_000 + b"."),
    ),
    Hostile("marks.pt", in_zip(b"\x80\x02" + b"(" * 5_000_000 + b"t.")),
    Hostile("pushes.pkl", write(b"\x80\x02" + b"N" * 20_000_000 + b".")),
    Hostile("memo-index.pkl", write(b"\x80\x02Nr\xff\xff\xff\xffN."), ANY),
    Hostile("put-digits.pkl", write(b"Np" + b"9" * 1_000_000 + b"\n.")),
    Hostile("int-digits.pkl", write(b"I" + b"9" * 1_000_000 + b"\n.")),
    Hostile("long-digits.pkl", write(b"L" + b"9" * 1_000_000 + b"L\n.")),
    Hostile("long-bytes.pt", in_zip(b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b"."), ANY),
    Hostile("self-list.pt", in_zip(b"\x80\x02]q\x00h\x00a."), ANY),
    Hostile("self-dict.pt", in_zip(b"\x80\x02}q\x00U\x01ah\x00s."), ANY),
    Hostile("self-state.pt", in_zip(b"\x80\x02c__main__\nM\n)\x81q\x00}U\x01ah\x00sb."), ANY),
    Hostile("dims.pt", in_zip(one_tensor(size=b"(" + b"K\x01" * 100_000 + b"t", stride=b"(" + b"K\x01" * 100_000 + b"t")), ANY),
    Hostile("no-stop.pkl", write(b"\x80\x02}q\x00")),
    Hostile("underflow.pkl", write(b"\x80\x02R.")),
    # Archives built to explode.
    Hostile("bomb.pt", write(bomb(1 << 30))),
    Hostile("bomb.npz", write(zipped({"a.npy": b"\x93NUMPY\x02\x00\x00\x00\x00\x7f" + b" " * (200 << 20)}, zipfile.ZIP_DEFLATED))),
    Hostile("overlapping.npz", write(overlapping(2000)), ANY),
    Hostile("quine.pt", write(quine())),
    Hostile("flat.zip", write(flat(60_000))),
    Hostile("entries-2e60.zip", write(b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, HUGE, HUGE, HUGE, 0) + b"PK\6\7" + struct.pack("<IQI", 0, 0, 1) + b"PK\5\6" + b"\xff" * 16 + bytes(2))),
    Hostile("entries-65535.pt", write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 65535, 65535, 0, 0, 0)), ANY),
]  # fmt: skip

MAGICS: dict[str, bytes] = {
    "safetensors": b"\x40\x00\x00\x00\x00\x00\x00\x00{",
    "gguf": b"GGUF\x03\x00\x00\x00",
    "gguf big-endian": b"GGUF\x00\x00\x00\x03",
    "zip": b"PK\x03\x04",
    "empty zip": b"PK\x05\x06",
    "pickle 0": b"(dp0\n",
    "pickle 2": b"\x80\x02",
    "pickle 4": b"\x80\x04\x95",
    "pickle 5": b"\x80\x05",
    "torch legacy": LEGACY,
    "tar": tar_claiming(512)[:512],
    "numpy": b"\x93NUMPY\x01\x00",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "onnx": b"\x08\x07\x12\x07pytorch",
    "gzip": b"\x1f\x8b\x08",
    "zlib": b"\x78\x9c",
    "xz": b"\xfd7zXZ\x00",
    "bzip2": b"BZh9",
    "zstd": b"\x28\xb5\x2f\xfd",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "ggml": b"lmgg",
    "ggjt": b"tjgg\x03\x00\x00\x00",
    "json": b"{",
    "none": b"",
}


def seeds() -> list[Path]:
    """The good files that mutations start from."""
    kinds = {".safetensors", ".gguf", ".pt", ".pkl", ".npy", ".npz", ".tar", ".json"}
    return sorted(path for path in FIXTURES.rglob("*") if path.suffix in kinds)


def forbid_side_effects() -> None:
    """From now on, end the process if anything runs a program, reaches out or loads a pickle."""
    banned = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.")
    banned += ("pickle.find_class", "ctypes.dlopen")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(banned):
            sys.stderr.write(f"FORBIDDEN {event} {arguments!r:.200}\n")
            os._exit(99)

    sys.addaudithook(audit)
