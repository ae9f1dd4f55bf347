"""WK9xx: templates, configs and code beside the weights."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
