"""Chat templates: what Jinja text in a file would do to the process that renders it.

llama-cpp-python, SGLang and others rendered the chat template of a model outside jinja2's sandbox,
so that a template that climbs from a value to Python's internals ran commands when the model was
loaded or first spoken to (CVE-2024-34359, CVE-2026-5760). The template is parsed, never rendered,
and judged on its tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from weightkit.analyses.templates.parsing import Unreadable, parse
from weightkit.analyses.templates.reach import Reach, reaches
from weightkit.analyses.templates.words import CLIMBS, DUNDERS
from weightkit.findings import Finding
from weightkit.rules import RULES, Faults

__all__ = ["climbs", "is_template", "judge", "judge_unparsed"]

MARKS = re.compile(r"\{[{%#]")
_OPENING = re.compile(r"\{[{%]")
_CLIMBING = re.compile(
    r"__|\\(?:x5f|u005f|137|N)|\|\s*attr\b|\binclude\b|\bimport\b", re.IGNORECASE
)
_NAMES = re.compile("|".join(sorted(DUNDERS)))
_ESCAPED = re.compile(r"\\(?:x5f|u005f|137|N\{LOW LINE\})", re.IGNORECASE)


def is_template(text: str) -> bool:
    """Whether jinja2 would find anything to do in ``text``."""
    return MARKS.search(text) is not None


def climbs(text: str) -> bool:
    """Whether a tag in ``text`` holds what ordinary templates never do: worth parsing it."""
    return any(_CLIMBING.search(tag) for _, tag in _tags(text))


def judge(
    text: str, path: str, entry: str = "", where: str = "chat template"
) -> tuple[Finding, ...]:
    """What a template reaches for; nothing for an ordinary one. ``where`` says which it is."""
    return _as_findings(_reaches(text), path, entry, where)


def judge_unparsed(text: str, path: str, entry: str, where: str) -> tuple[Finding, ...]:
    """The internal names that tags anywhere in a text hold, where no template can be made out."""
    return _as_findings(_named(text), path, entry, where)


def _as_findings(found: Iterable[Reach], path: str, entry: str, where: str) -> tuple[Finding, ...]:
    faults = Faults(path, entry)
    for reach in found:
        line = f" line {reach.line}" if reach.line else ""
        faults.add(
            reach.code,
            f"{where}{line}: {reach.message}",
            subject=reach.subject,
            evidence=reach.evidence,
            effect=reach.effect,
        )
    return faults.all()


def _reaches(text: str) -> list[Reach]:
    seen: dict[tuple[str, str], Reach] = {}
    try:
        for reach in reaches(parse(text)):
            seen.setdefault((reach.code, reach.evidence), reach)
    except Unreadable as error:
        return [*_named(text), Reach("WK905", f"cannot be parsed: {error}", 0, "", "", "")]
    except RecursionError:
        return [*_named(text), Reach("WK905", "expressions nested too deeply", 0, "", "", "")]
    found = sorted(seen.values(), key=lambda reach: reach.code)
    grave = any(RULES[reach.code].severity == "danger" for reach in found)
    return [reach for reach in found if reach.code != "WK907" or not grave]


def _named(text: str) -> Iterator[Reach]:
    """Of a template that cannot be parsed: Python's internal names inside its tags."""
    for start, tag in _tags(text):
        found = _NAMES.search(_ESCAPED.sub("_", tag))
        if found:
            line = text.count("\n", 0, start) + 1
            message = f"names {found[0]}, in a text that cannot be parsed"
            yield Reach("WK901", message, line, found[0], tag[:240], CLIMBS)
            return


def _tags(text: str) -> Iterator[tuple[int, str]]:
    """What stands between ``{{ }}`` and ``{% %}``, as jinja2 would pair them up."""
    opening = _OPENING.search(text)
    while opening:
        closing = "}}" if opening[0] == "{{" else "%}"
        end = text.find(closing, opening.end())
        if end < 0:
            return
        yield opening.start(), text[opening.start() : end + 2]
        opening = _OPENING.search(text, end + 2)
