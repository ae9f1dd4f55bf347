from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weightkit.render import plain
from weightkit.render.blocks import RIGHT, Bar, Column, Facts, Lines, Table
from weightkit.render.layout import cells, fold, place, unfolded
from weightkit.render.surface import Surface

WORDS = st.text(st.characters(codec="utf-8"), max_size=60)


@given(WORDS, st.integers(2, 30))
def test_folding_loses_nothing_but_spaces(text: str, width: int) -> None:
    lines = fold(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "") or not text.isprintable()
    assert all(cells(line) <= width for line in lines)


def test_folding_prefers_dots() -> None:
    assert fold("model.layers.self_attn", 14) == ["model.layers.", "self_attn"]
    assert fold("abcdefgh", 3) == ["abc", "def", "gh"]


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=5), st.integers(40, 120))
def test_no_table_is_wider_than_its_surface(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [Column("name"), Column("number", RIGHT, drop=1), Column("other")]
    text = plain.render([Table(columns, rows)], Surface(width=width))
    assert all(cells(line) <= width for line in text.split("\n"))


def test_the_column_with_the_highest_drop_goes_first() -> None:
    table = Table(
        [Column("a"), Column("b", drop=1), Column("c", drop=2)], [("x" * 20, "y" * 15, "z" * 15)]
    )
    assert [placed.at for placed in place(table, 54, bars=True)] == [0, 1, 2]
    assert [placed.at for placed in place(table, 53, bars=True)] == [0, 1]
    assert [placed.at for placed in place(table, 36, bars=True)] == [0]


def test_bars_are_for_terminals() -> None:
    table = Table([Column("a"), Column("")], [("x", Bar(0.5))])
    assert len(place(table, 80, bars=False)) == 1
    assert len(unfolded(table)) == 1
    assert place(table, 80, bars=True)[1].width == 24


def test_a_long_cell_does_not_pad_the_others_when_piped() -> None:
    text = plain.render(
        [Table([Column(""), Column("")], [("k" * 900, "v"), ("a", "b")])], Surface()
    )
    assert text.split("\n")[1] == "a".ljust(102) + "b"


def test_text_of_files_cannot_move_the_cursor() -> None:
    blocks = [Facts([("\x1b[2J", "\x9b31m\r\n\u202e")])]
    assert plain.render(blocks, Surface()) == "\\x1b[2J  \\x9b31m\\x0d\\x0a\\u202e\n"
    headed = [Lines(["\U000e0041"], "\x1b[2J"), Table([Column("")], [["a"]], "\x9b", "\x1b[2J")]
    text = plain.render(headed, Surface())
    assert text == "\\x1b[2J\n\\U000e0041\n\n\\x9b\na\n\\x1b[2J\n"
