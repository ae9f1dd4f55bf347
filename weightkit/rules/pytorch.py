"""WK3xx: pickles as streams, and what PyTorch stores in them."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
