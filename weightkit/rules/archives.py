"""WK4xx: zip and tar archives, and compressed streams."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
