"""The official reader opens a file exactly where we find no fatal fault, and sees the same."""

from __future__ import annotations

import json
import random
import re
import struct
import tempfile
from typing import Any

import numpy as np
import pytest
import safetensors as official
import safetensors.numpy as official_numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightkit.dtypes import SAFETENSORS
from weightkit.formats import safetensors
from weightkit.formats.safetensors.forms import sweep
from weightkit.rules import RULES
from weightkit.source import Buffer

Seen = dict[str, tuple[str, list[int], int]]


def theirs(content: bytes) -> Seen | None:
    """Name: dtype, shape and bytes as the official reader sees them; None where it refuses."""
    try:
        tensors = official.deserialize(content)
    except official.SafetensorError:
        return None
    return {name: (t["dtype"], t["shape"], len(t["data"])) for name, t in tensors}


def ours(content: bytes) -> Seen | None:
    examination = safetensors.examine(Buffer(content))
    if any(RULES[fault.code].fatal for fault in examination.faults):
        return None
    assert examination.index is not None
    return {
        t.name: (t.dtype.safetensors, list(t.shape), t.data.nbytes)
        for t in examination.index.tensors
    }


def same(content: bytes) -> bool:
    """Assert that both see the same; whether they could open it."""
    expected = theirs(content)
    assert ours(content) == expected
    return expected is not None


def file_of(header: str | bytes, nbytes: int, claimed: int = 0) -> bytes:
    text = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return struct.pack("<Q", max(0, len(text) + claimed)) + text + bytes(nbytes)


# Valid headers.

names = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["a", "b", "dtype"])
names = names.filter(lambda name: name != "__metadata__")
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8]), max_size=4)
metadata = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3)


@st.composite
def valid(draw: st.DrawFn) -> tuple[list[tuple[str, Any]], int]:
    """Members of a header, and how many bytes of data go with it."""
    members: list[tuple[str, Any]] = []
    at = 0
    for name in draw(st.lists(names, unique=True, max_size=5)):
        row = SAFETENSORS[draw(st.sampled_from(sorted(SAFETENSORS)))]
        shape = draw(shapes)
        if row.items > 1 and row.nbytes_of(1):
            shape = [*shape, row.items]
        nbytes = row.nbytes_of(1)
        for dimension in shape:
            nbytes *= dimension
        nbytes //= row.items
        entry = {"dtype": row.safetensors, "shape": shape, "data_offsets": [at, at + nbytes]}
        members.append((name, entry))
        at += nbytes
    members = draw(st.permutations(members))
    if (extra := draw(metadata)) is not None:
        members.insert(draw(st.sampled_from([0, len(members)])), ("__metadata__", extra))
    return members, at


def written(members: list[tuple[str, Any]], **style: Any) -> str:
    text = json.dumps(dict(members), **style)
    return text + " " * (-len(text.encode()) % 8)


styles = st.fixed_dictionaries(
    {
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":\n")]),
        "indent": st.sampled_from([None, None, 1, "\t"]),
        "ensure_ascii": st.booleans(),
        "sort_keys": st.booleans(),
    }
)


@given(valid(), styles)
@settings(max_examples=200, deadline=None)
def test_valid_headers(header: tuple[list[tuple[str, Any]], int], style: dict[str, Any]) -> None:
    members, nbytes = header
    assert same(file_of(written(members, **style), nbytes))


@given(valid())
@settings(max_examples=50, deadline=None)
def test_valid_files_by_the_other_door(header: tuple[list[tuple[str, Any]], int]) -> None:
    members, nbytes = header
    content = file_of(written(members), nbytes)
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(content)
        file.flush()
        with official.safe_open(file.name, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            expected = {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}
            extra = opened.metadata()
    index = safetensors.examine(Buffer(content)).index
    assert index is not None
    assert {t.name: (t.dtype.safetensors, list(t.shape)) for t in index.tensors} == expected
    assert index.metadata == (extra or {})


DTYPES = ["bool", "uint8", "int8", "int16", "float16", "int32", "float32", "int64", "complex64"]


@given(st.lists(st.tuples(st.sampled_from(DTYPES), shapes), max_size=8), metadata)
@settings(max_examples=100, deadline=None)
def test_nothing_to_say_about_what_the_official_writer_writes(
    tensors: list[tuple[str, list[int]]], extra: dict[str, str] | None
) -> None:
    arrays = {f"t.{i}": np.zeros(shape, dtype) for i, (dtype, shape) in enumerate(tensors)}
    # Of no tensors and empty metadata it makes a header that it refuses itself: {},"__metadata__"...
    content = official_numpy.save(arrays, extra or None)
    examination = safetensors.examine(Buffer(content))
    assert examination.faults == ()
    assert examination.index is not None
    assert {t.name: t.shape for t in examination.index.tensors} == {
        name: array.shape for name, array in arrays.items()
    }
    first = content.find(b'"t.')
    data_nbytes = len(content) - examination.index.data_start
    header = content[8 : examination.index.data_start]
    assert not arrays or sweep(
        header, first - 8, data_nbytes, lambda columns: (1,) * len(columns.names)
    )


# Headers edited as text, token by token.

TOKENS = st.sampled_from(
    [
        *'{}[],:"\\ \n\t\0-0129eE.+x',
        *["null", "true", "false", "NaN", "Infinity", "-Infinity", "nul", '""', "{}", "[]"],
        *["2.0", "-0", "-1", "1e2", "1e400", "1.7976931348623158e308", "01", "1.", "+1"],
        *["18446744073709551615", "18446744073709551616", "9223372036854775808", "0.0", "-0.0"],
        *["2305843009213693951", "2305843009213693952", "1" * 309, "0" * 2, "1" * 20],
        *['"a"', '"b"', '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"x"'],
        *['"d\\u0074ype"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\\\\ud800"', '"\\x"'],
        *['"\\/"', '"\x7f"', '"\x01"', '"\ufeff"', "\ufeff", "\xa0", '"\\u0000"', '"\\u12"'],
        *['"U8"', '"F4"', '"F6_E2M3"', '"BOOL"', '"C128"', '"u8"', '"\\u00558"', '{"U8":null}'],
        *['{"U8":{}}', '["U8",[2],[0,2]]', '["U8",[2]]', '["U8",[0],[0,0],1]', "[0,2]", "[2]"],
        '{"dtype":"U8","shape":[2],"data_offsets":[0,2]}',
        '"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
        '"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
        '"x":' + "[" * 125 + "]" * 125,
        '"x":' + "[" * 126 + "]" * 126,
        '"__metadata__":{"a":"b"}',
        '"__metadata__":null',
        ',"dtype":"U8"',
        ',"x":1',
    ]
)
BASES = st.sampled_from(
    [
        ("{}", 0),
        ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2),
        ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":["I8",[2],[0,2]]}', 2),
        (
            '{"__metadata__":{"a":"b"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
            '"b":{"dtype":"F4","shape":[2,2],"data_offsets":[2,4]}}',
            4,
        ),
        (
            '{"a": {"shape": [], "dtype": "F32", "data_offsets": [2, 6], "x": 0}, '
            '"b": {"shape": [2], "dtype": "BOOL", "data_offsets": [0, 2]}, "__metadata__": {}}',
            6,
        ),
        ('{"a":{"data_offsets":[0,3],"dtype":"F6_E3M2","shape":[4,1]}}', 3),
    ]
)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A file made from a good one by a few edits of its header, its length or its data."""
    text, nbytes = draw(BASES)
    for _ in range(draw(st.integers(1, 3))):
        tokens = split(text)
        place = draw(st.integers(0, len(tokens)))
        match draw(st.sampled_from(["replace", "insert", "delete", "swap", "repeat"])):
            case "replace":
                tokens[place : place + 1] = [draw(TOKENS)]
            case "insert":
                tokens.insert(place, draw(TOKENS))
            case "delete":
                del tokens[place : place + draw(st.integers(1, 4))]
            case "swap":
                other = draw(st.integers(0, len(tokens) - 1)) if tokens else 0
                if place < len(tokens):
                    tokens[place], tokens[other] = tokens[other], tokens[place]
            case "repeat":
                tokens[place:place] = tokens[place : place + draw(st.integers(1, 20))]
        text = "".join(tokens)
    nbytes += draw(st.sampled_from([0, 0, 0, 0, -1, 1, 2]))
    return file_of(text, max(0, nbytes), draw(st.sampled_from([0, 0, 0, 0, -1, 1, 1 << 40])))


def split(text: str) -> list[str]:
    """JSON tokens, more or less: strings and numbers whole, everything else by the character."""
    return re.findall(r'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|[a-zA-Z]+|(?s:.)', text)


@given(edited())
@settings(max_examples=1200, deadline=None)
@example(file_of('{"__metadata__":{"a":"b","a":"c"}}', 0))
def test_edited_headers(content: bytes) -> None:
    same(content)


@given(valid(), st.data())
@settings(max_examples=250, deadline=None)
def test_edited_values(header: tuple[list[tuple[str, Any]], int], data: st.DataObject) -> None:
    members, nbytes = header
    odd = st.sampled_from(
        [
            0,
            1,
            2,
            3,
            -1,
            2.0,
            True,
            None,
            "",
            "U8",
            [],
            {},
            [0, 0],
            1 << 63,
            1 << 64,
            1 << 61,
            [2, 2],
        ]
    )
    for _, value in members:
        if value and data.draw(st.booleans()):
            field = data.draw(st.sampled_from(sorted(value)))
            inner = value[field]
            if isinstance(inner, list) and inner and data.draw(st.booleans()):
                inner[data.draw(st.integers(0, len(inner) - 1))] = data.draw(odd)
            else:
                value[field] = data.draw(odd)
    same(file_of(written(members), nbytes))


@given(valid(), st.integers(0), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_flipped_bytes(header: tuple[list[tuple[str, Any]], int], place: int, bits: int) -> None:
    members, nbytes = header
    content = bytearray(file_of(written(members), nbytes))
    content[place % (len(content) - nbytes)] ^= bits
    same(bytes(content))


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_random_bytes(content: bytes) -> None:
    same(content)
    same(file_of(content, 0))
    same(file_of(b"{" + content + b"}", 2))


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,330})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,12})?", fullmatch=True
)
LARGEST = st.from_regex(r"1\.797693134862315[0-9]{1,6}[eE]\+?308", fullmatch=True)
WHOLE = st.from_regex(r"1797693134862315[0-9]{293}", fullmatch=True)


@given(NUMBERS | LARGEST | WHOLE)
@settings(max_examples=300, deadline=None)
def test_numbers(number: str) -> None:
    entry = '{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":%s}' % number  # noqa: UP031
    same(file_of(f'{{"a":{entry}}}', 1))


@pytest.mark.slow
def test_many_edits() -> None:
    """The same for longer, with a plain generator: hypothesis spends most of its time on itself."""
    rng = random.Random(7)
    seeds = [
        file_of(
            '{"__metadata__":{"a":"b"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2
        ),
        file_of(
            '{"a":["U8",[2],[0,2]],"b":{"dtype":"F4","shape":[2],"data_offsets":[2,3],"x":0}}', 3
        ),
    ]
    opened = 0
    for _ in range(200_000):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 2)):
            content[rng.randrange(8, len(content))] = rng.choice(
                b'{}[],:"\\0123459.-eE \n\x00\xffabU'
            )
        opened += same(bytes(content))
    assert opened > 1000
