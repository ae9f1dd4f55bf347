from __future__ import annotations

import io

import pytest

from weightkit.render.surface import Surface, surface_of, to_encoding


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PIPE, TERMINAL = io.StringIO(), Terminal()


@pytest.mark.parametrize(
    ("stream", "environ", "color", "expected"),
    [
        (PIPE, {}, "auto", (None, False, False)),
        (TERMINAL, {}, "auto", (80, True, True)),
        (TERMINAL, {"NO_COLOR": "1"}, "auto", (80, True, False)),
        (TERMINAL, {"NO_COLOR": ""}, "auto", (80, True, True)),
        (TERMINAL, {"TERM": "dumb"}, "auto", (80, False, False)),
        (PIPE, {"FORCE_COLOR": "1"}, "auto", (None, False, True)),
        (TERMINAL, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "auto", (80, True, False)),
        (PIPE, {}, "always", (None, False, True)),
        (TERMINAL, {"FORCE_COLOR": "1"}, "never", (80, True, False)),
        (PIPE, {"COLUMNS": "100"}, "auto", (100, False, False)),
        (TERMINAL, {"COLUMNS": "7"}, "auto", (40, True, True)),
        (TERMINAL, {"COLUMNS": "wide"}, "auto", (80, True, True)),
        (PIPE, {"COLUMNS": "0"}, "auto", (None, False, False)),
        (PIPE, {"COLUMNS": "9" * 30}, "auto", (None, False, False)),
    ],
)
def test_what_is_asked(
    stream: io.StringIO, environ: dict[str, str], color: str, expected: tuple[object, ...]
) -> None:
    surface = surface_of(stream, color, environ)
    assert (surface.width, surface.terminal, surface.color) == expected


@pytest.mark.parametrize(
    ("encoding", "ascii_only"), [("utf-8", False), ("ascii", True), ("latin-1", True)]
)
def test_encodings(encoding: str, ascii_only: bool) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert surface_of(stream, environ={}).ascii is ascii_only


def test_our_signs_have_ascii_stand_ins() -> None:
    assert to_encoding("3 × 4 · █▌▏ …", Surface(ascii=True)) == "3 x 4 | #=- ..."
    assert to_encoding("×", Surface()) == "×"
