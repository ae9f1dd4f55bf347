"""WK7xx: what the tensors add up to, and whether they fit together."""

from __future__ import annotations

from weightkit.rules.rule import LOOK, Rule

RULES: list[Rule] = [
    Rule(
        "WK701",
        "count-unknown",
        "warning",
        "A packed tensor's logical parameters cannot be derived from what the files say.",
        "Elements of a packed tensor are containers, not parameters; counting them would be wrong.",
        "Keep the config.json of the checkpoint beside its weights.",
    ),
    Rule(
        "WK702",
        "packing-disagrees",
        "warning",
        "The shapes and settings of a quantized weight give different sizes of the weight.",
        "A loader that trusts one of them reads the weight wrongly or fails.",
        LOOK,
    ),
]
