"""Texts that renderers must give, kept as files.

``WEIGHTKIT_GOLDEN=write pytest tests/render tests/cli`` writes them anew; look at the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent


def same(name: str, text: str) -> None:
    """Compare ``text`` with the golden file ``name``, or write it."""
    path = HERE / name
    if os.environ.get("WEIGHTKIT_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
