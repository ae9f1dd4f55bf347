"""WK1xx: the rules of safetensors headers."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
