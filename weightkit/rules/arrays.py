"""WK5xx: NumPy's .npy and .npz files."""

from __future__ import annotations

from weightkit.rules.rule import DO_NOT_LOAD, FETCH_AGAIN, LOOK, WRITE_AGAIN, Rule

RULES: list[Rule] = [
    Rule(
        "WK501",
        "npy-version",
        "danger",
        "The file is no .npy file, or of a version that does not exist.",
        "numpy knows versions 1.0, 2.0 and 3.0. What does not start as one it takes for a pickle.",
        FETCH_AGAIN,
        fatal=True,
    ),
    Rule(
        "WK502",
        "npy-header",
        "danger",
        "The header of an .npy file does not say type, order and shape of an array.",
        "The file is damaged, or its header was written by hand.",
        FETCH_AGAIN,
        fatal=True,
    ),
    Rule(
        "WK503",
        "npy-odd-header",
        "warning",
        "The header of an .npy file is not as numpy writes it.",
        "numpy reads it; other readers may read something else.",
        WRITE_AGAIN,
    ),
    Rule(
        "WK504",
        "npy-type",
        "danger",
        "The element type of an array is none that numpy knows.",
        "The size of its elements is unknown, or depends on the reader's machine.",
        WRITE_AGAIN,
        fatal=True,
    ),
    Rule(
        "WK505",
        "npy-trailing",
        "warning",
        "Bytes follow the array.",
        "numpy does not look at them. Several arrays may have been saved to one file, or something "
        "else be hidden there.",
        LOOK,
    ),
    Rule(
        "WK506",
        "npz-member",
        "note",
        "A member of an .npz file is no array.",
        "numpy gives its bytes as they are.",
        LOOK,
    ),
    Rule(
        "WK507",
        "npz-names",
        "danger",
        "Two members of an .npz file have the name of one array.",
        "Which of them is loaded depends on the reader.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK508",
        "npy-objects",
        "note",
        "The elements of an array are Python objects.",
        "They are stored as a pickle, which numpy runs if it is told to.",
        "Leave allow_pickle=False, numpy's default, unless the pickle is judged safe.",
    ),
]
