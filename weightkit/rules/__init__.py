"""Every finding code that a user can see, in one table.

``docs/rules.md``, ``weightkit rules`` and the SARIF rule list are made from it. A module holds the
codes of one subject; the first digit says which. A number is never reused for another meaning.
"""

from __future__ import annotations

import re
from typing import Any

from weightkit.findings import Finding
from weightkit.rules import (
    archives,
    arrays,
    checkpoints,
    contents,
    conversions,
    folders,
    gguf,
    pickles,
    pytorch,
    reading,
    safetensors,
)
from weightkit.rules.rule import Rule

__all__ = ["RULES", "SUBJECTS", "Faults", "Rule", "finding", "stands_for"]

SUBJECTS = [
    reading,
    safetensors,
    gguf,
    pytorch,
    archives,
    arrays,
    checkpoints,
    conversions,
    contents,
    pickles,
    folders,
]
"""The modules that hold the codes, in their order."""

RULES: dict[str, Rule] = {rule.code: rule for subject in SUBJECTS for rule in subject.RULES}


def finding(code: str, message: str, **where: Any) -> Finding:
    """A finding with the severity and remedy of its rule; ``where`` fills the other fields."""
    rule = RULES[code]
    where.setdefault("severity", rule.severity)
    where.setdefault("remedy", rule.remedy)
    return Finding(code=code, message=message, **where)


_MORE = re.compile(r"and (\d+) more like this")


def stands_for(item: Finding) -> int:
    """How many findings one is: the last of a code, in ``Faults.all``, counts those that are not kept."""
    more = _MORE.fullmatch(item.message)
    return int(more[1]) if more else 1


class Faults:
    """Collects the findings of one examination, each with the file and entry it is about.

    A fault that repeats for thousands of tensors is kept ``limit`` times and then counted.
    """

    def __init__(self, path: str, entry: str = "", limit: int = 20) -> None:
        self.path = path
        self.entry = entry
        self.limit = limit
        self._found: list[Finding] = []
        self._counts: dict[str, int] = {}

    def add(self, code: str, message: str, offset: int | None = None, **where: Any) -> None:
        """Note a finding ``code`` at ``offset``."""
        self._counts[code] = count = self._counts.get(code, 0) + 1
        if count <= self.limit:
            where.setdefault("path", self.path)
            where.setdefault("entry", self.entry)
            self._found.append(finding(code, message, offset=offset, **where))

    def is_full(self, code: str) -> bool:
        """Whether findings of this code are only counted by now, so that nobody reads their words."""
        return self._counts.get(code, 0) >= self.limit

    def extend(self, findings: tuple[Finding, ...] | list[Finding]) -> None:
        """Take over findings that another examination made."""
        self._found.extend(findings)

    def all(self) -> tuple[Finding, ...]:
        """What was found, with one more row per code for those that were only counted."""
        more = [
            finding(
                code, f"and {count - self.limit} more like this", path=self.path, entry=self.entry
            )
            for code, count in self._counts.items()
            if count > self.limit
        ]
        return (*self._found, *more)
