"""WK5xx: NumPy's .npy and .npz files."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
