"""The PyTorch room: what breaks its rules, each by its own code, and what it must not trip over."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weightkit.errors import FormatError
from weightkit.formats.pytorch import objects, streams
from weightkit.opening import open_checkpoint
from weightkit.opening.examining import examine
from weightkit.source import Buffer

# Pickles by hand: a storage's id, and a tensor that is a view of it.


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str = "0", kind: str = "FloatStorage", numel: int = 6) -> bytes:
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + number(numel)
        + b"tQ"
    )


def tensor(
    held: bytes, offset: int = 0, size: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1)
) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + held
        + number(offset)
        + numbers(*size)
        + numbers(*stride)
        + b"\x89N"
        + b"tR"
    )


def state_dict(**tensors: bytes) -> bytes:
    items = b"".join(text(name) + held for name, held in tensors.items())
    return b"\x80\x02}(" + items + b"u."


def archive(program: bytes, records: dict[str, bytes], root: str = "m") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr(f"{root}/data.pkl", program)
        for key, held in records.items():
            file.writestr(f"{root}/data/{key}", held)
    return out.getvalue()


FLOATS = struct.pack("<6f", *range(6))
GOOD = archive(state_dict(w=tensor(storage())), {"0": FLOATS})


def faults(content: bytes, name: str = "m.pt") -> list[str]:
    return [fault.code for fault in examine(Buffer(content, name)).faults()]


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(GOOD)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.read("w").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert not checkpoint.findings


@pytest.mark.parametrize("root", ["archive", "größe", "a b", "x" * 200])
def test_any_root_name(root: str) -> None:
    assert faults(archive(state_dict(w=tensor(storage())), {"0": FLOATS}, root)) == []


BROKEN: dict[str, tuple[str, bytes]] = {
    "no record": ("WK320", archive(state_dict(w=tensor(storage())), {})),
    "short record": ("WK321", archive(state_dict(w=tensor(storage())), {"0": FLOATS[:20]})),
    "long record": ("WK321", archive(state_dict(w=tensor(storage())), {"0": FLOATS + b"hide"})),
    "size outside": (
        "WK322",
        archive(state_dict(w=tensor(storage(), size=(3, 3))), {"0": FLOATS}),
    ),
    "offset outside": ("WK322", archive(state_dict(w=tensor(storage(), 1)), {"0": FLOATS})),
    "stride outside": (
        "WK322",
        archive(state_dict(w=tensor(storage(), stride=(6, 2))), {"0": FLOATS}),
    ),
    "negative offset": ("WK323", archive(state_dict(w=tensor(storage(), -1)), {"0": FLOATS})),
    "negative stride": (
        "WK323",
        archive(state_dict(w=tensor(storage(), stride=(-3, 1))), {"0": FLOATS}),
    ),
    "size without stride": (
        "WK323",
        archive(state_dict(w=tensor(storage(), size=(6,))), {"0": FLOATS}),
    ),
    "unknown storage": (
        "WK323",
        archive(state_dict(w=tensor(storage(kind="FrogStorage"))), {"0": FLOATS}),
    ),
    "huge numel": (
        "WK323",
        archive(state_dict(w=tensor(storage(numel=1 << 62))), {"0": FLOATS}),
    ),
    "no storage": ("WK323", archive(state_dict(w=tensor(b"N")), {"0": FLOATS})),
    "huge size": (
        "WK322",
        archive(state_dict(w=tensor(storage(), size=(1 << 62, 1 << 62))), {"0": FLOATS}),
    ),
    "no STOP": ("WK301", archive(state_dict(w=tensor(storage()))[:-1], {"0": FLOATS})),
    "bytes after STOP": (
        "WK310",
        archive(state_dict(w=tensor(storage())) + b"more", {"0": FLOATS}),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_way_to_be_wrong_has_its_code(kind: str) -> None:
    code, content = BROKEN[kind]
    assert code in faults(content)


def test_names_that_clash_once_joined(tmp_path: Path) -> None:
    nested = b"\x80\x02}(" + text("a.b") + tensor(storage()) + text("a") + b"}" + text("b")
    nested += tensor(storage()) + b"su."
    assert "WK324" in faults(archive(nested, {"0": FLOATS}))


def test_a_fault_says_file_entry_offset_and_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(BROKEN["size outside"][1])
    with pytest.raises(FormatError) as caught:
        open_checkpoint(path)
    error = caught.value
    assert (error.path, error.entry, error.tensor) == (str(path), "m/data.pkl", "w")
    assert error.offset is not None
    assert str(error).startswith(f"{path}!m/data.pkl @ 0x")


# Objects built to exhaust a walk


def test_nesting_without_end() -> None:
    deep = b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
    assert faults(deep, "m.pkl") == ["WK326"]


def test_a_list_that_holds_itself_holds_no_more_tensors_for_it() -> None:
    assert faults(b"\x80\x02]q\x00h\x00a.", "m.pkl") == []
    knows_its_parent = b"\x80\x02}q\x00(" + text("parent") + b"h\x00"
    program = knows_its_parent + text("w") + tensor(storage()) + b"u."
    found = examine(Buffer(archive(program, {"0": FLOATS}), "m.pt"))
    assert list(found.faults()) == []
    assert found.index is not None
    assert [info.name for info in found.index.tensors] == ["w"]


def laugh(seed: bytes) -> bytes:
    """Lists of which each holds the one below ten times: ten to the twelfth leaves."""
    rows = (
        b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1]) for level in range(12)
    )
    return b"\x80\x02](" + seed + b"eq\x00" + b"".join(rows) + b"."


def test_a_laugh_of_shared_lists_is_walked_once() -> None:
    assert faults(laugh(b"N"), "m.pkl") == []


def test_a_laugh_of_shared_tensors_is_too_many() -> None:
    content = archive(laugh(tensor(storage())), {"0": FLOATS})
    codes = faults(content)
    assert "WK326" in codes


def long_names(leaf: bytes, count: int) -> bytes:
    """``leaf`` many times in a list, below fifty dicts that share one long key."""
    key = text("k" * 60_000)
    opened = b"}" + key + b"q\x00" + b"}h\x00" * 49
    return b"\x80\x02" + opened + b"](" + leaf + b"q\x01" + b"h\x01" * count + b"e" + b"s" * 50


@pytest.mark.parametrize(
    "leaf",
    [b"K\x01", b"}X\x01\x00\x00\x00aK\x01s", tensor(storage()), tensor(storage(), size=(9,))],
    ids=["number", "dict", "tensor", "broken tensor"],
)
def test_a_long_key_in_the_names_of_many(leaf: bytes) -> None:
    """A file of a hundred kilobytes, whose names would take gigabytes."""
    content = archive(long_names(leaf, 20_000) + b".", {"0": FLOATS})
    tracemalloc.start()
    assert "WK326" in faults(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


def test_long_names_of_nested_modules() -> None:
    module = b"cfrog\nModule\n)\x81}" + text("_modules") + b"}" + text("k" * 60_000)
    many = b"\x80\x02" + module * 60 + b"N" + b"ssb" * 60 + b"."
    assert faults(many, "m.pkl") == ["WK326"]


def test_one_tensor_under_a_million_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_TENSORS", 1_000)
    for count, codes in [(999, []), (1_000, ["WK326"])]:
        many = b"\x80\x02](" + tensor(storage()) + b"q\x01" + b"h\x01" * count + b"e."
        assert faults(archive(many, {"0": FLOATS})) == codes


def test_values_beyond_those_that_are_kept_take_no_time_for_their_names() -> None:
    many = b"\x80\x02](" + b"K\x01" * 1_000_000 + b"e."
    assert faults(archive(many, {})) == []


def test_sets_are_in_the_order_of_the_file() -> None:
    """And which of them is the main one depends on nothing but the file."""
    keys = ["params_ema", "ema", "averaged_model", "model_ema", "ema_net", "shadow_params"]
    for order in (keys, keys[::-1]):
        held = {key: b"}" + text("w") + tensor(storage()) + b"s" for key in order}
        found = examine(Buffer(archive(state_dict(**held), {"0": FLOATS}), "m.pt"))
        assert found.index is not None
        assert [item.key for item in found.index.sets] == order


# The legacy stream


def legacy(program: bytes, keys: list[str], records: bytes) -> bytes:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(value, 2) for value in (streams.MAGIC, 1001, facts)]
    return b"".join([*head, program, pickle.dumps(keys, 2), records])


def test_legacy_good(tmp_path: Path) -> None:
    content = legacy(state_dict(w=tensor(storage())), ["0"], struct.pack("<q", 6) + FLOATS)
    (tmp_path / "m.pt").write_bytes(content)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.files[0].container == "legacy"
        assert checkpoint.read("w").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert not checkpoint.findings


@pytest.mark.parametrize(
    ("code", "keys", "records"),
    [
        ("WK320", ["0"], b"\x06\x00"),
        ("WK321", ["0"], struct.pack("<q", 6) + FLOATS[:8]),
        ("WK321", ["0"], struct.pack("<q", 5) + FLOATS[:20]),
        ("WK321", ["0"], struct.pack("<q", -1) + FLOATS),
        ("WK321", ["0"], struct.pack("<q", 1 << 62) + FLOATS),
        ("WK320", [], b""),
        ("WK323", ["1"], struct.pack("<q", 6) + FLOATS),
        ("WK310", ["0"], struct.pack("<q", 6) + FLOATS + b"trailing"),
    ],
)
def test_legacy_faults(code: str, keys: list[str], records: bytes) -> None:
    assert code in faults(legacy(state_dict(w=tensor(storage())), keys, records))


def test_a_legacy_view_lies_in_its_root(tmp_path: Path) -> None:
    view = b"(" + text("view") + number(2) + number(3) + b"t"
    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(6)
    program = state_dict(w=tensor(pid + view + b"tQ", size=(3,), stride=(1,)))
    (tmp_path / "m.pt").write_bytes(legacy(program, ["0"], struct.pack("<q", 6) + FLOATS))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.read("w").tolist() == [2, 3, 4]


def test_big_endian_records(tmp_path: Path) -> None:
    out = io.BytesIO(GOOD)
    with zipfile.ZipFile(out, "a") as file:
        file.writestr("m/byteorder", "big")
    (tmp_path / "m.pt").write_bytes(out.getvalue().replace(FLOATS, struct.pack(">6f", *range(6))))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint["w"].byteorder == "big"
        assert checkpoint.read("w").tolist() == [[0, 1, 2], [3, 4, 5]]


# Recognition of bare pickles


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value", [{"a": 1}, [1, 2], ("x", 3.5), {1, 2}, OrderedDict(a=1), None, "text"]
)
def test_real_pickles_are_recognised(protocol: int, value: Any) -> None:
    raw = pickle.dumps(value, protocol)
    assert streams.is_pickle(raw) or value in (None, "text")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x80\x00\x00\x00\x00\x00\x00\x00{}",
        b"# A readme\n\nwith text",
        b"import os\nprint(1)\n",
        b"(c) 2024 Somebody\nAll rights reserved\n",
        b"PK\x03\x04" + bytes(26),
        b"{}",
        b"GGUF\x03\x00\x00\x00",
        bytes(64),
    ],
)
def test_other_things_are_no_pickles(head: bytes) -> None:
    assert not streams.is_pickle(head)


@pytest.mark.parametrize("first", sorted(b"\x80(c]}SVIFBCTUXP"))
def test_the_length_of_a_safetensors_header_is_no_pickle(first: int) -> None:
    header = b'{"model.layers.0.weight":{"dtype":"F16","shape":[64]},' * 70
    for rest in range(0x3000):
        head = (first | rest << 8).to_bytes(8, "little") + header
        assert not streams.is_pickle(head[:4096])


def test_a_pickle_that_imports_is_one_whatever_it_looks_like() -> None:
    assert streams.is_pickle(b"U\x07\0\0\0\0{\0\0cos\nsystem\n)R.")


def every_truncation(content: bytes) -> list[bytes]:
    return [content[:end] for end in range(len(content))]


SAMPLES: dict[str, Callable[[], bytes]] = {
    "zip": lambda: GOOD,
    "legacy": lambda: legacy(state_dict(w=tensor(storage())), ["0"], struct.pack("<q", 6) + FLOATS),
    "bare": lambda: pickle.dumps({"a": [1, "b", 2.5]}, 2),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_truncation_is_a_fault(kind: str) -> None:
    for content in every_truncation(SAMPLES[kind]()):
        assert faults(content), len(content)


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_flipped_byte_is_answered(kind: str) -> None:
    content = SAMPLES[kind]()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        examine(Buffer(bytes(flipped), "m.pt"))  # whatever it finds, it answers
