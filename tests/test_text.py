"""Text out of files on its way to a terminal."""

from __future__ import annotations

import sys
import unicodedata

from weightkit.text import safe_text


def test_whatever_formats_or_controls_is_escaped() -> None:
    """Every character of the categories Cc, Cf and Cs that this Python's Unicode knows."""
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        if unicodedata.category(sign) in ("Cc", "Cf", "Cs"):
            shown = safe_text(f"a{sign}b")
            assert shown.isascii(), hex(code)
            assert shown.startswith("a\\"), hex(code)
    assert safe_text("Ärger 模型 😀") == "Ärger 模型 😀"
