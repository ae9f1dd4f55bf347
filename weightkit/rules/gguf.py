"""WK2xx: the rules of GGUF headers."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
