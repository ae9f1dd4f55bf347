"""WK1xx: the rules of safetensors headers.

WK101 to WK149 are what the official reader (safetensors 0.8) refuses; WK150 and up what it accepts,
but no known writer makes.
"""

from __future__ import annotations

from weightkit.rules.rule import DO_NOT_LOAD, FETCH_AGAIN, LOOK, WRITE_AGAIN, Rule

_BROKEN = "The official reader refuses the file; a laxer one may read something else in it."
_ODD = (
    "The official reader accepts this, but no known writer makes it: the file was edited by hand."
)
_LOST = "The official reader refuses the file, and the bytes that it speaks of cannot be told."


def _refused(number: int, name: str, what: str, why: str, remedy: str) -> Rule:
    return Rule(f"WK{number}", name, "danger", what, why, remedy, fatal=True)


RULES = [
    _refused(
        101,
        "safetensors-too-short",
        "The file is shorter than the 8 bytes that say how long the header is.",
        "The download or copy broke off, or this is no safetensors file.",
        FETCH_AGAIN,
    ),
    _refused(
        102,
        "safetensors-header-too-long",
        "The header claims more than 100,000,000 bytes.",
        "The official reader refuses it before reading on; the length was forged or damaged.",
        DO_NOT_LOAD,
    ),
    _refused(
        103,
        "safetensors-header-cut",
        "The header claims more bytes than the file has.",
        "The download or copy broke off inside the header, or the length was forged.",
        FETCH_AGAIN,
    ),
    _refused(104, "safetensors-not-utf8", "The header is not UTF-8.", _BROKEN, FETCH_AGAIN),
    _refused(105, "safetensors-json", "The header is not JSON.", _BROKEN, WRITE_AGAIN),
    _refused(
        106,
        "safetensors-json-depth",
        "The header nests arrays or objects more than 127 deep.",
        "Deep nesting exhausts the stack of a recursive reader.",
        DO_NOT_LOAD,
    ),
    _refused(
        107,
        "safetensors-json-number",
        "A number in the header is too large for a double.",
        _BROKEN,
        WRITE_AGAIN,
    ),
    _refused(
        108,
        "safetensors-json-surrogate",
        "A string in the header holds half of a surrogate pair.",
        "It stands for no character and cannot be written as UTF-8.",
        WRITE_AGAIN,
    ),
    _refused(
        109,
        "safetensors-json-trailing",
        "Something other than white space follows the header's closing brace.",
        "The official reader refuses it; NUL bytes as padding are a common mistake of writers.",
        WRITE_AGAIN,
    ),
    _refused(
        110,
        "safetensors-not-an-object",
        "The header is JSON, but no object.",
        _BROKEN,
        WRITE_AGAIN,
    ),
    _refused(
        111,
        "safetensors-metadata",
        "The metadata is not an object of texts.",
        _BROKEN,
        "Write the values as text (numbers and lists as JSON inside a string).",
    ),
    _refused(
        112,
        "safetensors-metadata-repeated",
        "The header has two entries named __metadata__.",
        _BROKEN,
        WRITE_AGAIN,
    ),
    _refused(
        120,
        "safetensors-entry",
        "A tensor's entry is neither an object nor an array of three.",
        _LOST,
        WRITE_AGAIN,
    ),
    _refused(
        121,
        "safetensors-missing-field",
        "A tensor's entry lacks its dtype, shape or data_offsets.",
        _LOST,
        WRITE_AGAIN,
    ),
    _refused(
        122,
        "safetensors-repeated-field",
        "A tensor's entry has the same field twice.",
        "Readers that keep the first and readers that keep the last see different tensors.",
        DO_NOT_LOAD,
    ),
    _refused(
        123,
        "safetensors-dtype",
        "A tensor's dtype is not one that the format has.",
        "The official reader refuses the whole file for one unknown dtype.",
        WRITE_AGAIN,
    ),
    _refused(
        124,
        "safetensors-shape",
        "A tensor's shape is not an array of integers from 0 to 2^64 - 1.",
        _LOST,
        WRITE_AGAIN,
    ),
    _refused(
        125,
        "safetensors-offsets",
        "A tensor's data_offsets are not two integers from 0 to 2^64 - 1.",
        _LOST,
        WRITE_AGAIN,
    ),
    _refused(
        126,
        "safetensors-overflow",
        "A tensor's size passes 2^64.",
        "A reader that multiplies without a check gets a small number, and reads past its memory.",
        DO_NOT_LOAD,
    ),
    _refused(
        127,
        "safetensors-part-of-byte",
        "The elements of a tensor do not end at a whole byte.",
        "Types of 4 and 6 bits need a count that fills bytes.",
        WRITE_AGAIN,
    ),
    _refused(
        128,
        "safetensors-reversed",
        "A tensor's data ends before it starts.",
        _LOST,
        DO_NOT_LOAD,
    ),
    _refused(
        129,
        "safetensors-size",
        "A tensor's shape and dtype take another number of bytes than its data_offsets hold.",
        "A reader that trusts the one and a reader that trusts the other read different data.",
        DO_NOT_LOAD,
    ),
    _refused(
        130,
        "safetensors-hole",
        "Bytes between two tensors belong to none.",
        "Anything can be hidden there: a second file, or what a checksum of tensors passes over.",
        LOOK,
    ),
    _refused(
        131,
        "safetensors-overlap",
        "Two tensors claim the same bytes.",
        "Writing one changes the other, and a small file can claim to hold far more than it does.",
        DO_NOT_LOAD,
    ),
    _refused(
        132,
        "safetensors-out-of-range",
        "A tensor's data lies past the end of the file.",
        "The download or copy broke off, or the header was forged.",
        FETCH_AGAIN,
    ),
    _refused(
        133,
        "safetensors-trailing",
        "Bytes follow the last tensor.",
        "Another file can be appended there (a zip is read from its end), so that two readers "
        "see different things.",
        LOOK,
    ),
    Rule(
        "WK150",
        "safetensors-leading-space",
        "warning",
        "White space comes before the header's opening brace.",
        "The format wants the brace first, and tools that go by content look for it there.",
        WRITE_AGAIN,
    ),
    Rule(
        "WK151",
        "safetensors-repeated-name",
        "warning",
        "Two tensors have the same name.",
        "The official reader keeps the last and says nothing; another may keep the first.",
        LOOK,
    ),
    Rule(
        "WK152",
        "safetensors-header-unaligned",
        "note",
        "The header's length is not a multiple of 8.",
        "The data then starts unaligned, and cannot be used in place.",
        "Nothing breaks; a current writer pads the header.",
    ),
    Rule(
        "WK153",
        "safetensors-unaligned",
        "note",
        "Tensors start at offsets that are not multiples of their element size.",
        "They must be copied before use; some accelerators refuse them.",
        "Nothing breaks; a current writer orders tensors by element size.",
    ),
    Rule(
        "WK154",
        "safetensors-unknown-field",
        "warning",
        "A tensor's entry has a field that the format does not know.",
        _ODD,
        LOOK,
    ),
    Rule(
        "WK155",
        "safetensors-padding",
        "note",
        "The header is padded with more than 7 spaces, or with other white space.",
        "Writers pad with up to 7 spaces; some reserve room for a longer header.",
        "Nothing breaks.",
    ),
    Rule(
        "WK156",
        "safetensors-odd-entry",
        "warning",
        "A tensor's entry is written as an array, or its dtype as an object.",
        _ODD,
        WRITE_AGAIN,
    ),
    Rule(
        "WK157",
        "safetensors-repeated-key",
        "warning",
        "The metadata has the same key twice.",
        "The official reader keeps the last and says nothing; another may keep the first.",
        LOOK,
    ),
    Rule(
        "WK158",
        "safetensors-metadata-null",
        "note",
        "The metadata is null.",
        _ODD,
        "Nothing breaks.",
    ),
    Rule(
        "WK159",
        "safetensors-escaped-field",
        "warning",
        "A field name, a dtype or the name __metadata__ is written with escapes.",
        "Nothing needs them there; a tool that searches the text will not find the word.",
        LOOK,
    ),
    Rule(
        "WK160",
        "safetensors-code-in-metadata",
        "note",
        "A metadata value looks like program code.",
        "Readers treat it as text and run nothing; only a program that runs it by itself would.",
        "Look at it if something of yours executes metadata.",
    ),
]
