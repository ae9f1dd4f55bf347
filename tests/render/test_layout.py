from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weightkit.render import plain, table
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
    block = Table(
        [Column("a"), Column("b", drop=1), Column("c", drop=2)], [("x" * 20, "y" * 15, "z" * 15)]
    )
    assert [placed.at for placed in place(block, 54, bars=True)] == [0, 1, 2]
    assert [placed.at for placed in place(block, 53, bars=True)] == [0, 1]
    assert [placed.at for placed in place(block, 36, bars=True)] == [0]


def test_hidden_columns_are_named() -> None:
    columns = [Column("a"), Column("b", drop=1), Column("empty", drop=3)]
    columns += [Column("", drop=4), Column("bars", drop=2)]
    block = Table(columns, [("x" * 30, "y" * 20, "", Bar(0.5), Bar(0.5))], more="… 3 more")
    narrow, wide = Surface(width=40, terminal=True), Surface(width=80, terminal=True)
    for setter in (plain, table):
        assert setter.render([block], narrow).split("\n")[2:] == [
            "hidden for width: b, bars (--json has",
            "all)",
            "… 3 more",
            "",
        ]
        assert "hidden" not in setter.render([block], wide)
    assert "bars" not in plain.render([block], Surface(width=40)), "no pipe has any"
    many = block._replace(rows=block.rows * 3_000)
    assert "hidden for width: b, bars" in table.render([many], narrow)


def test_bars_are_for_terminals() -> None:
    block = Table([Column("a"), Column("")], [("x", Bar(0.5))])
    assert len(place(block, 80, bars=False)) == 1
    assert len(unfolded(block)) == 1
    assert place(block, 80, bars=True)[1].width == 24


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
