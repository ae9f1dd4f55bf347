"""Headers as byte literals: every way to be wrong has its code, its offset and its tensor."""

from __future__ import annotations

import gc
import json
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from weightkit.dtypes import SAFETENSORS
from weightkit.findings import Examination, Finding
from weightkit.formats import Format, safetensors
from weightkit.formats.safetensors import entries, forms, serde
from weightkit.formats.safetensors.columns import tensors
from weightkit.rules import RULES
from weightkit.source import Buffer, Source, Window
from weightkit.tensors import DEFLATE, RAW, Extent

ENTRY = '{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


def file_of(header: str | bytes, nbytes: int = 0, length: int | None = None) -> bytes:
    """A file with ``header`` as it is and ``nbytes`` bytes of data."""
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(nbytes)


def padded(header: str) -> str:
    return header + " " * (-len(header.encode()) % 8)


def examine(header: str | bytes, nbytes: int = 0, length: int | None = None) -> Examination:
    return safetensors.examine(Buffer(file_of(header, nbytes, length), "a.safetensors"))


def one(fields: str, nbytes: int = 2) -> Examination:
    """Of a file whose only tensor, ``a``, has ``fields`` as its entry."""
    return examine(padded(f'{{"a":{fields}}}'), nbytes)


def named(examination: Examination) -> list[str]:
    assert examination.index is not None
    return [tensor.name for tensor in examination.index.tensors]


def only(examination: Examination) -> Finding:
    assert [fault.code for fault in examination.faults] == [examination.faults[0].code]
    return examination.faults[0]


def fatal(examination: Examination) -> bool:
    return any(RULES[fault.code].fatal for fault in examination.faults)


# What is well formed.


def header_of(tensors: dict[str, tuple[str, list[int], int]], **metadata: str) -> dict[str, Any]:
    """A header with the tensors (dtype, shape, bytes) end to end."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (dtype, shape, nbytes) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    return header


TENSORS = {
    "wide": ("I64", [3], 24),
    "embed.weight": ("BF16", [4, 2], 16),
    "größe": ("F32", [], 4),
    "empty": ("F16", [0, 7], 0),
    "packed": ("F4", [3, 2], 3),
}
FORMS = {
    "compact": lambda header: json.dumps(header, separators=(",", ":"), ensure_ascii=False),
    "json.dumps": lambda header: json.dumps(header, ensure_ascii=False),
    "escaped": json.dumps,
    "sorted": lambda header: json.dumps(
        header, separators=(",", ":"), sort_keys=True, ensure_ascii=False
    ),
    "indented": lambda header: json.dumps(header, indent=2),
    "shape first": lambda header: json.dumps(
        {
            name: value if name == "__metadata__" else dict(reversed(list(value.items())))
            for name, value in header.items()
        }
    ),
    "metadata last": lambda header: json.dumps(dict(reversed(list(header.items())))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_header_in_any_form(form: str) -> None:
    text = padded(FORMS[form](header_of(TENSORS, format="pt", note='ü \\ " \n')))
    examination = examine(text, 47)
    assert examination.faults == ()
    index = examination.index
    assert index is not None
    assert index.metadata == {"format": "pt", "note": 'ü \\ " \n'}
    assert (index.format, index.size, index.alignment) == (
        "safetensors",
        len(text.encode()) + 55,
        8,
    )
    assert index.data_start == 8 + len(text.encode())
    assert [(s.key, s.kind) for s in index.sets] == [("", "model")]
    found = {t.name: (t.dtype.safetensors, list(t.shape), t.nbytes) for t in index.tensors}
    assert found == TENSORS
    at = index.data_start
    for tensor in sorted(index.tensors, key=lambda t: (t.data.within, t.nbytes)):
        assert (tensor.data.within, tensor.data.nbytes) == (at, tensor.nbytes)
        at += tensor.nbytes


@pytest.mark.parametrize("form", ["compact", "json.dumps", "indented"])
def test_tensors_are_in_the_order_of_the_header(form: str) -> None:
    header = header_of(TENSORS)
    backwards = dict(reversed(list(header.items())))
    examination = examine(padded(FORMS[form](backwards)), 47)
    assert not examination.faults
    assert named(examination) == list(backwards)


def swept(header: bytes, at: int, data_nbytes: int) -> Any:
    place = partial(tensors, Buffer(b""), 0)
    return forms.sweep(header, at, data_nbytes, place)


@pytest.mark.parametrize("form", ["compact", "json.dumps", "sorted"])
def test_the_writers_forms_are_swept(form: str) -> None:
    header = FORMS[form](header_of(TENSORS)).encode()
    assert swept(header, 1, 47) is not None


def test_other_forms_are_not_swept() -> None:
    assert swept(FORMS["indented"](header_of(TENSORS)).encode(), 1, 47) is None


COMPACT = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


@pytest.mark.parametrize(
    "body",
    [
        COMPACT + ",",
        "," + COMPACT,
        COMPACT + COMPACT.replace("a", "b"),
        COMPACT + "," + COMPACT.replace("0,2", "2,4"),
        COMPACT + "," + COMPACT.replace('"a"', '"__metadata__"').replace("0,2", "2,4"),
        COMPACT.replace("0,2", "00,2"),
        COMPACT.replace("0,2", "0,02"),
        COMPACT.replace("[2]", "[02]"),
        COMPACT.replace("[2]", "[2,]"),
        COMPACT.replace("[2]", "[2 ]"),
        COMPACT.replace("[2]", "[2,,1]"),
        COMPACT.replace("[2]", "[18446744073709551616,0]"),
        COMPACT.replace("0,2", "0,3"),
        COMPACT.replace("0,2", "1,3"),
        COMPACT.replace("U8", "U7"),
        COMPACT.replace("U8", "F6_E2M3"),
        COMPACT.replace("U8", "F16"),
        COMPACT.replace('"a"', '"\\u0061"'),
        COMPACT.replace('"a"', '"\x1f"'),
        COMPACT + "}" + COMPACT,
        COMPACT + "}",
        "",
    ],
)
def test_the_sweep_takes_nothing_that_needs_a_word(body: str) -> None:
    assert swept(f"{{{COMPACT}}}".encode(), 1, 2) is not None
    for nbytes in (2, 3, 4):
        assert swept(f"{{{body}}}".encode(), 1, nbytes) is None


def test_the_sweep_leaves_bytes_that_are_no_utf8() -> None:
    assert swept(f"{{{COMPACT}}}".encode().replace(b'"a"', b'"\xff"'), 1, 2) is None


@pytest.mark.parametrize("form", ["compact", "json.dumps", "sorted"])
@pytest.mark.parametrize("piece", [1, 100, 500, 1 << 18])
def test_the_sweep_and_the_close_reader_agree(
    form: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {f't{i}]}},"]}}, "ü': ("F32", [i % 3, 2], i % 3 * 8) for i in range(30)}
    tensors = {
        name.replace('"', "'" if i % 2 else "x"): tensors[name] for i, name in enumerate(tensors)
    }
    text = padded(FORMS[form](header_of(tensors, format="pt")))
    monkeypatch.setattr(forms, "_PIECE", piece)
    quick = examine(text, 240)
    monkeypatch.setattr(safetensors, "sweep", lambda *_: None)
    monkeypatch.setattr(entries, "sweep", lambda *_: None)
    assert quick == examine(text, 240)
    assert not quick.faults
    assert set(named(quick)) == set(tensors)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("{}", ({}, 1)),
        ('{"a":1}', ({}, 1)),
        ('{"__metadata__":{},"a":1}', ({}, 19)),
        ('{"__metadata__": {"k" : "\\n"}, "a":1}', ({"k": "\n"}, 31)),
        ('{"__metadata__":{"k":"v"}}', None),
        ('{"__metadata__":{"k":"v"} ,"a":1}', None),
        ('{"__metadata__":{"k":"v","k":"w"},"a":1}', None),
        ('{"__metadata__":{"k":"ü"},"a":1}', None),
        ('{"__metadata__":{"k":"\\ud800"},"a":1}', None),
        ('{"__metadata__":{"k":"import os; os.system(1)"},"a":1}', None),
        ('{"__metadata__":{"k":1},"a":1}', None),
        ('{"__metadata__":{"k":{}},"a":1}', None),
        ('{"__metadata__":[],"a":1}', None),
        ('{"__metadata__":[["k","v"]],"a":1}', None),
        ('{"__metadata__":null,"a":1}', None),
        ('{"__metadata__":{"k":NaN},"a":1}', None),
        ('{"__metadata__":{"k":"' + "v" * 70_000 + '"},"a":1}', None),
        ('{"__metadata__":' + "[" * 60_000, None),
        (" {}", None),
        ("", None),
    ],
)
def test_plain_metadata(header: str, found: tuple[dict[str, str], int] | None) -> None:
    assert forms.plain_head(header.encode()) == found


@pytest.mark.parametrize(
    "code",
    [
        "eval (x)",
        "exec(",
        "__import__('os')",
        "os.system",
        "os.popen",
        "subprocess.run",
        "<script src",
        "pickle.load",
        "pickle.loads",
    ],
)
def test_code_in_metadata(code: str) -> None:
    header = padded(f'{{"__metadata__":{{"k":"a {code} b"}},"a":{ENTRY}}}')
    fault = only(examine(header, 2))
    assert (fault.code, fault.severity) == ("WK160", "note")


@pytest.mark.parametrize(
    "text", ["evaluation (all)", "execute", "pos.system", "a pickle", '{"ss_tag": {"os.": 1}}']
)
def test_ordinary_metadata(text: str) -> None:
    header = f'{{"__metadata__":{{"k":{json.dumps(text)}}},"a":{ENTRY}}}'
    assert not examine(padded(header), 2).faults


@pytest.mark.parametrize("dtype", SAFETENSORS)
def test_every_dtype(dtype: str) -> None:
    row = SAFETENSORS[dtype]
    nbytes = row.nbytes_of(8)
    examination = one(f'{{"dtype":"{dtype}","shape":[8],"data_offsets":[0,{nbytes}]}}', nbytes)
    assert not examination.faults
    assert examination.index is not None
    (tensor,) = examination.index.tensors
    assert (tensor.dtype, tensor.nbytes) == (row, nbytes)


def test_no_tensors() -> None:
    examination = examine(padded("{}"))
    assert not examination.faults
    assert named(examination) == []


def test_a_scalar_and_an_empty_name() -> None:
    examination = examine(padded('{"":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'), 1)
    assert not examination.faults
    assert named(examination) == [""]


def test_empty_tensors_may_share_a_place() -> None:
    tensors = {"a": ("U8", [2], 2), "b": ("U8", [0], 0), "c": ("U8", [0], 0)}
    examination = examine(padded(json.dumps(header_of(tensors))), 2)
    assert not examination.faults


# Which code, where, about which tensor. "¦" marks the place in the header that the offset says.


def marked(header: str) -> tuple[bytes, int]:
    """The header without its mark, and the file offset of the mark: 8 bytes come before."""
    before, after = header.encode("utf-8", "surrogateescape").split("¦".encode())
    return before + after, 8 + len(before)


def entry(dtype: str = '"U8"', shape: str = "[2]", offsets: str = "[0,2]", more: str = "") -> str:
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def of_a(**fields: str) -> str:
    return '{"a":' + entry(**fields) + "}"


REFUSED = [
    # code, header, tensor
    ("WK104", f'{{"a¦\udcff":{ENTRY}}}', ""),
    ("WK104", f'{{"a¦\udced\udca0\udc80":{ENTRY}}}', ""),
    ("WK104", f'{{"a¦\udcc0\udc80":{ENTRY}}}', ""),
    ("WK105", "¦", ""),
    ("WK105", "  ¦", ""),
    ("WK105", "{¦", ""),
    ("WK105", f'{{"a":{ENTRY}¦', ""),
    ("WK105", f'{{"a":{ENTRY},¦}}', ""),
    ("WK105", f'{{"a":{ENTRY},¦,"b":{ENTRY}}}', ""),
    ("WK105", f'{{"a" ¦{ENTRY}}}', ""),
    ("WK105", "{¦1:2}", ""),
    ("WK105", '{"a¦\tb":1}', ""),
    ("WK105", '{"a¦\\xb":1}', ""),
    ("WK105", '{"a¦\\u12":1}', ""),
    ("WK105", "¦\ufeff{}", ""),
    ("WK105", "¦\0{}", ""),
    ("WK105", '{"a":¦NaN}', "a"),
    ("WK105", '{"a":¦-Infinity}', "a"),
    ("WK105", '{"a":¦nul}', "a"),
    ("WK105", '{"a":[1,¦]}', "a"),
    ("WK105", '{"a":{"x":0¦1}}', "a"),
    ("WK105", '{"a":{"x":1¦.}}', "a"),
    ("WK105", '{"a":{"x":¦+1}}', "a"),
    ("WK107", '{"a":{"x":¦1e400}}', "a"),
    ("WK107", f'{{"a":{{"x":¦{"1" * 310}}}}}', "a"),
    ("WK108", '{"a¦\\ud800":1}', ""),
    ("WK108", '{"ü\\ud83d\\ude00¦\\ud800\\ud800":1}', ""),
    ("WK108", '{"\\\\udc00 ¦\\udc00":1}', ""),
    ("WK108", '{"a":"¦\\ud800\\ud800"}', "a"),
    ("WK109", f'{{"a":{ENTRY}}}  ¦\0\0\0', ""),
    ("WK109", "{}¦{}", ""),
    ("WK110", "¦[]", ""),
    ("WK110", ' ¦"abc"', ""),
    ("WK110", "¦null", ""),
    ("WK111", '{"__metadata__":¦[]}', ""),
    ("WK111", '{"__metadata__":{"a":"b","c":¦1}}', ""),
    ("WK111", '{"__metadata__":{"a":"b","c":¦null}}', ""),
    ("WK112", '{"__metadata__":{},¦"__metadata__":null}', ""),
    ("WK120", '{"a":¦3}', "a"),
    ("WK120", '{"a":¦["U8",[2]]}', "a"),
    ("WK120", '{"a":¦["U8",[2],[0,2],1]}', "a"),
    ("WK121", '{"a":¦{"dtype":"U8","shape":[2]}}', "a"),
    ("WK122", of_a(more=',¦"dtype":"U8"'), "a"),
    *(
        ("WK123", of_a(dtype=f"¦{dtype}"), "a")
        for dtype in ['"C128"', '"u8"', "4", "null", '{"U8":1}', "{}", '["U8"]', '{"U8":null,"F4":null}']
    ),
    *(
        ("WK124", of_a(shape=f"[1,¦{dim}]"), "a")
        for dim in ["2.0", "true", "-0", "2e0", '"2"', "null", "-2", "[2]", "18446744073709551616"]
    ),
    ("WK124", of_a(shape="¦2"), "a"),
    ("WK124", of_a(shape="¦{}"), "a"),
    *(
        ("WK125", of_a(offsets=f"¦{offsets}"), "a")
        for offsets in ["[0]", "[0,2,3]", "[0,2.0]", "[-0,2]", "{}", "null", "[0,true]"]
    ),
    ("WK126", f'{{¦"a":{entry(shape="[9223372036854775808,4,0]", offsets="[2,2]")},"b":{ENTRY}}}', "a"),
    ("WK126", "{¦" + of_a(shape="[2305843009213693952]")[1:], "a"),
    ("WK127", "{¦" + of_a(dtype='"F4"', shape="[3]")[1:], "a"),
    ("WK127", "{¦" + of_a(dtype='"F6_E3M2"')[1:], "a"),
    ("WK129", "{¦" + of_a(shape="[3]")[1:], "a"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "header", "tensor"), REFUSED)
def test_refused(code: str, header: str, tensor: str) -> None:
    text, offset = marked(header)
    # Where no tensor can be told, the two bytes of data belong to none.
    rest = {"WK133", "WK150", "WK152"}
    (fault,) = (f for f in examine(text, 2).faults if f.code not in rest)
    assert (fault.code, fault.offset, fault.tensor) == (code, offset, tensor)
    assert (fault.path, fault.severity) == ("a.safetensors", "danger")
    assert RULES[code].fatal


def test_too_short() -> None:
    for size in range(8):
        examination = safetensors.examine(Buffer(bytes(size)))
        assert only(examination).code == "WK101"
        assert examination.index is None


@pytest.mark.parametrize("length", [100_000_001, 1 << 60, (1 << 64) - 1])
def test_a_header_over_the_limit(length: int) -> None:
    examination = examine("{}", 5, length)
    assert only(examination).code == "WK102"
    assert examination.index is None


def test_nesting() -> None:
    fields = ENTRY[:-1] + ',"x":{}}}'

    def codes(depth: int) -> list[str]:
        return [f.code for f in one(fields.format("[" * depth + "]" * depth)).faults]

    fields = ENTRY[:-1].replace("{", "{{") + ',"x":{}}}'
    assert codes(125) == ["WK154"]
    assert codes(126) == ["WK106"]
    assert codes(500) == ["WK106"]


def test_a_cut_header_is_described_as_far_as_it_goes() -> None:
    header = padded(json.dumps(header_of(TENSORS, format="pt")))
    cut = header.encode()[: header.encode().index(b'"shape": [0, 7]')]
    examination = examine(cut, 0, len(header))
    assert only(examination).code == "WK103"
    assert named(examination) == ["wide", "embed.weight", "größe"]
    assert examination.index is not None
    assert examination.index.metadata == {"format": "pt"}


def test_a_cut_header_keeps_its_other_faults() -> None:
    examination = examine('{"a":3,"b":', 0, 99)
    assert [fault.code for fault in examination.faults] == ["WK103", "WK120"]


def test_broken_json_is_described_as_far_as_it_goes() -> None:
    header = json.dumps(header_of(TENSORS)).replace('"empty":', '"empty"')
    examination = examine(padded(header), 47)
    assert only(examination).code == "WK105"
    assert named(examination) == ["wide", "embed.weight", "größe"]


def test_names_that_are_no_utf8_are_described() -> None:
    examination = examine(b'{"a\xff":%s}' % ENTRY.encode(), 2)
    assert named(examination) == ["a\N{REPLACEMENT CHARACTER}"]


def test_utf8_is_checked_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "_PIECE", 5)
    for shift in range(6):
        name = "x" * shift + "aü€😀" * 3
        header = padded(f'{{"{name}":{ENTRY}}}')
        assert not examine(header, 2).faults
        bad = header.encode()[:-30] + b"\xff" + header.encode()[-29:]
        offsets = [f.offset for f in examine(bad, 2).faults if f.code == "WK104"]
        assert offsets == [8 + bad.index(b"\xff")]


def layout(*places: tuple[int, int], nbytes: int) -> list[tuple[str, int, str]]:
    """Code, offset from the data's start and tensor of the faults of U8 tensors a, b, c ... ."""
    header = padded(
        json.dumps(
            {
                name: {"dtype": "U8", "shape": [max(0, end - start)], "data_offsets": [start, end]}
                for name, (start, end) in zip("abc", places, strict=False)
            }
        )
    )
    start = 8 + len(header)
    examination = examine(header, nbytes)
    return [(f.code, (f.offset or 0) - start, f.tensor) for f in examination.faults]


def test_places() -> None:
    assert layout((0, 2), (2, 5), nbytes=5) == []
    assert layout((2, 5), (0, 2), nbytes=5) == []
    assert layout((1, 3), nbytes=3) == [("WK130", 0, "a")]
    assert layout((0, 2), (3, 5), nbytes=5) == [("WK130", 2, "b")]
    assert layout((0, 3), (2, 5), nbytes=5) == [("WK131", 2, "b")]
    assert layout((0, 2), (0, 2), nbytes=2) == [("WK131", 0, "b")]
    assert layout((0, 2), (1, 1), nbytes=2) == [("WK131", 1, "b")]
    assert layout((0, 9), (1, 3), (9, 10), nbytes=10) == [("WK131", 1, "b")]
    assert layout((0, 2), (2, 5), nbytes=4) == [("WK132", 2, "b")]
    assert layout((0, 2), nbytes=4) == [("WK133", 2, "")]
    assert layout(nbytes=4) == [("WK133", 0, "")]


def test_reversed_offsets() -> None:
    text, offset = marked(f'{{"a":{ENTRY},¦"b":{entry(shape="[1]", offsets="[2,1]")}}}')
    examination = examine(padded(text.decode()), 2)
    fault = only(examination)
    assert (fault.code, fault.tensor, fault.offset) == ("WK128", "b", offset)
    assert named(examination) == ["a"]


def test_an_unknown_dtype_is_described() -> None:
    fields = '{"dtype":"C128","shape":[2,3],"data_offsets":[0,96]}'
    examination = one(fields, 96)
    assert only(examination).code == "WK123"
    assert examination.index is not None
    (tensor,) = examination.index.tensors
    assert (tensor.dtype.name, tensor.dtype.nbytes, tensor.shape) == ("C128", 16, (2, 3))
    assert tensor.nbytes == tensor.data.nbytes == 96


def test_a_wrong_tensor_does_not_hide_the_others() -> None:
    header = padded(f'{{"bad":{{"dtype":"U8"}},"a":{ENTRY}}}')
    examination = examine(header, 2)
    assert [(f.code, f.tensor) for f in examination.faults] == [("WK121", "bad")] * 2
    assert named(examination) == ["a"]


def test_what_repeats_is_counted() -> None:
    header = ",".join(f'"t{i}":0' for i in range(1000))
    examination = examine(padded(f"{{{header}}}"))
    assert len(examination.faults) == 21
    assert examination.faults[-1].message == "and 980 more like this"


# What the official reader accepts, but no writer makes.


ODD = [
    # code, header, tensor
    ("WK150", f'¦ {{"a":{ENTRY}}}', ""),
    ("WK150", f'¦\n\t{{"a":{ENTRY}}}', ""),
    ("WK151", f'{{"a":{ENTRY},¦"a":{ENTRY}}}', "a"),
    ("WK154", of_a(more=',¦"x":[1e-400]'), "a"),
    ("WK154", of_a(more=',¦"dtype ":null'), "a"),
    ("WK155", f'{{"a":{ENTRY}}}¦\n', ""),
    ("WK155", f'{{"a":{ENTRY}}}¦{" " * 16}', ""),
    ("WK156", '{"a":¦["U8",[2],[0,2]]}', "a"),
    ("WK156", of_a(dtype='¦{"U8":null}'), "a"),
    ("WK157", f'{{"__metadata__":{{"k":"v",¦"k":"w"}},"a":{ENTRY}}}', ""),
    ("WK158", f'{{"__metadata__":¦null,"a":{ENTRY}}}', ""),
    ("WK159", f'{{"a":{ENTRY}}}'.replace('"dtype', '¦"d\\u0074ype'), "a"),
    ("WK159", f'{{"a":{ENTRY}}}'.replace('"U8', '¦"\\u00558'), "a"),
    ("WK159", f'{{¦"\\u005f_metadata__":{{}},"a":{ENTRY}}}', ""),
    ("WK160", f'{{"__metadata__":{{"k":¦"__import__(\'os\')"}},"a":{ENTRY}}}', ""),
]


@pytest.mark.parametrize(("code", "header", "tensor"), ODD)
def test_accepted_but_odd(code: str, header: str, tensor: str) -> None:
    text, offset = marked(header)
    examination = examine(text, 2)
    (fault,) = (f for f in examination.faults if f.code != "WK152")
    assert (fault.code, fault.offset, fault.tensor) == (code, offset, tensor)
    assert fault.severity in ("note", "warning")
    assert not RULES[code].fatal
    assert named(examination) == ["a"]


def test_the_last_of_two_tensors_counts() -> None:
    first = '{"dtype":"U8","shape":[9],"data_offsets":[7,3]}'
    header = padded(
        f'{{"a":{first},"b":{ENTRY},"a":{{"dtype":"I8","shape":[1],"data_offsets":[2,3]}}}}'
    )
    examination = examine(header, 3)
    fault = only(examination)
    assert (fault.code, fault.severity, fault.tensor) == ("WK151", "warning", "a")
    assert fault.offset == 8 + header.rindex('"a"')
    assert named(examination) == ["b", "a"]
    assert examination.index is not None
    assert examination.index.tensors[1].dtype.name == "i8"


def test_a_shadowed_tensor_is_still_checked() -> None:
    header = padded(f'{{"a":{{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}},"a":{ENTRY}}}')
    assert [fault.code for fault in examine(header, 2).faults] == ["WK124", "WK151"]


def test_an_unaligned_header() -> None:
    header = f'{{"aaa":{ENTRY}}}'
    assert len(header) % 8
    fault = only(examine(header, 2))
    assert (fault.code, fault.severity, fault.offset) == ("WK152", "note", 0)


def test_unaligned_tensors() -> None:
    tensors = {
        "a": ("U8", [1], 1),
        "b": ("F32", [2], 8),
        "c": ("C64", [1], 8),
        "d": ("F16", [0], 0),
    }
    header = padded(json.dumps(header_of(tensors)))
    fault = only(examine(header, 17))
    assert (fault.code, fault.severity, fault.tensor) == ("WK153", "note", "b")
    assert fault.offset == 8 + len(header) + 1
    assert fault.message.startswith("2 tensors")


def test_complex_numbers_need_half_their_size() -> None:
    tensors = {"a": ("F32", [1], 4), "b": ("C64", [1], 8)}
    assert not examine(padded(json.dumps(header_of(tensors))), 12).faults


def test_every_rule_is_triggered() -> None:
    here = {"WK101", "WK102", "WK103", "WK106", "WK128", "WK130", "WK131", "WK132", "WK133"}
    here |= {"WK151", "WK152", "WK153"} | {row[0] for row in REFUSED + ODD}
    assert here == {code for code in RULES if code.startswith("WK1")}


# Numbers, by serde's arithmetic.


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        ("1e308", True),
        ("1e309", False),
        ("-1e309", False),
        ("1.7976931348623157e308", True),
        ("1.7976931348623158e308", False),
        ("0e999999999999", True),
        ("0.0e999999999999", True),
        ("1e-999999999999", True),
        ("1e999999999999", False),
        ("1e+00000000000000308", True),
        ("1" + "0" * 308, True),
        ("1" + "0" * 309, False),
        ("1" + "0" * 5000, False),
        ("1" + "0" * 5000 + "e-4900", True),
        ("0." + "0" * 400 + "1e400", True),
        ("0." + "0" * 400 + "1e800", False),
        ("1.5" + "0" * 5000, True),
        ("18446744073709551616", True),
    ],
)
def test_numbers_that_fit_a_double(number: str, fits: bool) -> None:
    assert serde.fits_double(number.encode()) is fits
    codes = [f.code for f in one(ENTRY[:-1] + f',"x":{number}}}').faults]
    assert codes == (["WK154"] if fits else ["WK107"])


# Hostile sizes.


def test_truncations() -> None:
    header = padded(json.dumps(header_of(TENSORS, format="pt")))
    whole = file_of(header, 47)
    for size in range(len(whole)):
        examination = safetensors.examine(Buffer(whole[:size]))
        assert fatal(examination), size
    assert not safetensors.examine(Buffer(whole)).faults


def test_single_byte_flips() -> None:
    header = json.dumps(header_of({"a": ("F32", [2], 8), "b": ("U8", [3], 3)}, format="pt"))
    whole = bytearray(file_of(padded(header), 11))
    for place in range(len(whole) - 11):
        for bit in range(8):
            whole[place] ^= 1 << bit
            safetensors.examine(Buffer(bytes(whole)))  # must not raise
            whole[place] ^= 1 << bit


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("WK106", "[" * 1_000_000),
        ("WK106", '{"a":' * 1_000_000),
        ("WK106", '{"__metadata__":{"a":' + "[" * 1_000_000),
        ("WK105", '{"a' * 1_000_000),
    ],
)
def test_a_million_brackets(code: str, text: str) -> None:
    assert {f.code for f in examine(text).faults} - {"WK152"} == {code}


def test_too_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_TENSORS", 3)
    header = ",".join(f'"t{i}":{ENTRY}' for i in range(5))
    fault = examine(padded(f"{{{header}}}"), 2).faults[0]
    assert (fault.code, fault.tensor, fault.offset) == ("WK002", "t3", 8 + header.index('"t3"') + 1)


def test_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serde, "MAX_VALUES", 100)
    examination = one(ENTRY[:-1] + f',"x":[{"1," * 100}1]}}')
    assert [fault.code for fault in examination.faults] == ["WK002"]


def test_too_much_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serde, "MAX_TEXT", 410)
    assert not examine(padded(f'{{"__metadata__":{{"k":"{"x" * 390}"}}}}')).faults
    for text in ("x" * 411, "ü" * 60, "\\n" * 60):
        examination = examine(padded(f'{{"__metadata__":{{"k":"{text}"}}}}'))
        assert [fault.code for fault in examination.faults] == ["WK002"]


def test_a_shape_that_is_slow_to_multiply() -> None:
    dims = "[" + "18446744073709551615," * 100_000 + "1]"
    for dtype, codes in (('"U8"', ["WK126"]), ('"U7"', ["WK123"])):
        header = padded("{" + f'"a":{entry(dtype, dims)},"b":{entry(offsets="[2,4]")}' + "}")
        examination = examine(header, 4)
        assert [fault.code for fault in examination.faults] == codes
        assert named(examination) == ["b"]


BOMBS = {
    "brackets": ("", "[", ""),
    "tiny members": ("{", '"a":0,', ""),
    "tiny entries": ("{", '"":{"dtype":"U8","shape":[],"data_offsets":[0,0]},', ""),
    "arrays": ("{", '"":["U8",[],[0,0]],', ""),
    "escaped names": ("{", '"\\u005f_metadata__":0,', ""),
    "metadata": ('{"__metadata__":{', '"":"",', ""),
    "escapes": ('{"__metadata__":{"":"', "\\n", '"}}'),
    "digits": ('{"a":{"x":0.', "1", "}}"),
    "dimensions": ('{"a":{"shape":[', "0,", "0]}}"),
    "fields": ('{"a":{"":0', ',"":0', "}}"),
    "spaces": ("{", " ", "}"),
    "emoji": ('{"', "😀", '":0}'),
}
WATCHED = """
import sys, time
from weightkit.formats import safetensors
from weightkit.source import Source
before = time.process_time()
with Source(sys.argv[1]) as source:
    faults = safetensors.examine(source).faults
# Not ru_maxrss: that of a child starts at what its parent had.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(time.process_time() - before, peak / 1024, *(fault.code for fault in faults))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hundred_megabytes(bomb: str, tmp_path: Path) -> None:
    start, unit, end = (part.encode() for part in BOMBS[bomb])
    path = tmp_path / "bomb.safetensors"
    header = start + unit * ((100_000_000 - len(start) - len(end)) // len(unit)) + end
    path.write_bytes(file_of(header))
    run = subprocess.run(
        [sys.executable, "-c", WATCHED, path], capture_output=True, text=True, check=True
    )
    seconds, megabytes, *codes = run.stdout.split()
    assert float(seconds) < 5
    assert float(megabytes) < 300
    assert codes or bomb == "spaces"


# Where it stands in a container, and the protocol.


def test_inside_another_file() -> None:
    inner = file_of(padded(f'{{"a":{ENTRY}}}'), 2)
    outer = Buffer(b"x" * 100 + inner + b"y", "a.zip")
    start = len(inner) - 2
    for window in (
        Window(outer, 100, len(inner), "w"),
        Buffer(inner, "a.zip", "w", Extent(0, 70, 50)),
    ):
        index = safetensors.examine(window).index
        assert index is not None
        assert index.tensors[0].data == window.extent(start, 2)
    assert index.tensors[0].data == Extent(0, 70, 2, DEFLATE, start, 50)
    bad = Window(Buffer(b"x" * 100 + file_of('{"a":3}  '), "a.zip"), 100, 17, "w")
    fault = safetensors.examine(bad).faults[0]
    assert (fault.path, fault.entry, fault.offset) == ("a.zip", "w", 8 + 5)


def test_a_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of(padded(f'{{"a":{ENTRY}}}'), 2))
    with Source(path) as source:
        index = safetensors.examine(source).index
        assert index is not None
        assert index.tensors[0].data == Extent(0, index.data_start, 2, RAW)


@pytest.mark.parametrize(
    ("head", "yes"),
    [
        (file_of("{}"), True),
        (file_of('{"a"'), True),
        (file_of(' \n {"a"'), True),
        (file_of(" " * 5000)[:4096], True),
        (file_of('{"a":', 0, 1 << 60), True),
        (file_of("{}", 0, 0), True),
        (b"", False),
        (b"\x02\0\0\0\0\0\0\0", False),
        (file_of("[]"), False),
        (file_of("{[}"), False),
        (b'{"abc": {"x": 1}}', False),
        (b"PK\x03\x04\x14\0\0\0\x08\0", False),
        (b"GGUF\x03\0\0\0{}", True),  # a polyglot, for whoever asks all formats
        (b"\x80\x02}q\0X\x04\0\0\0", False),
    ],
)
def test_accepts(head: bytes, yes: bool) -> None:
    assert safetensors.accepts(head) is yes


def test_it_is_a_format() -> None:
    room: Format = safetensors
    assert (room.NAME, room.SUFFIXES) == ("safetensors", (".safetensors",))


@pytest.mark.parametrize("on", [True, False])
def test_garbage_collection_is_as_before(on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        examine('{"a":')
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()
