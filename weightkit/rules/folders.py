"""WK9xx: templates, configs and code beside the weights."""

from __future__ import annotations

from weightkit.rules.rule import LOOK, Rule

_PLAIN_TEMPLATE = "Do not render it; take the chat template from the model's original publisher."

RULES: list[Rule] = [
    Rule(
        "WK901",
        "template-attribute",
        "danger",
        "A template reaches for an attribute that leads into the interpreter.",
        "From any value, Python's internals can be climbed to the modules that run commands.",
        _PLAIN_TEMPLATE,
    ),
    Rule(
        "WK902",
        "template-built-name",
        "danger",
        "A template looks up, or formats with, a name that it puts together while it is rendered.",
        "Ordinary templates write names out; pieces hide a name from whoever reads the template.",
        _PLAIN_TEMPLATE,
    ),
    Rule(
        "WK903",
        "template-call",
        "danger",
        "A template calls something that is no function of chat templates.",
        "What it calls comes from outside the conversation, and runs with the renderer's rights.",
        _PLAIN_TEMPLATE,
    ),
    Rule(
        "WK904",
        "template-loads",
        "danger",
        "A template includes, imports or extends another template.",
        "A renderer with a loader reads that file; chat templates stand alone.",
        _PLAIN_TEMPLATE,
    ),
    Rule(
        "WK905",
        "template-unread",
        "warning",
        "A template cannot be parsed, or only beyond the limits.",
        "It was judged by the names in it only; another engine may read it differently.",
        LOOK,
    ),
    Rule(
        "WK906",
        "template-exhausts",
        "warning",
        "A template counts or multiplies further than any conversation needs.",
        "Rendering it may take the renderer's time or memory.",
        LOOK,
    ),
    Rule(
        "WK907",
        "template-odd",
        "warning",
        "A template uses a name that jinja2 does not offer, or one of Python's internal names.",
        "It fails with most engines, or was written for one with functions of its own.",
        LOOK,
    ),
]
