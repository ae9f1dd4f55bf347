"""WK6xx: folders, shards and their index."""

from __future__ import annotations

from weightkit.rules.rule import Rule

RULES: list[Rule] = []
