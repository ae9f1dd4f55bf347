"""WK7xx: what the tensors add up to, and whether they fit together."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
