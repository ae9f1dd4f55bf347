"""WK8xx: what a pickle would do if it were loaded."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
