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
    Rule(
        "WK770",
        "config-field-unusable",
        "warning",
        "A field of the config or of the GGUF metadata that a figure needs cannot be used.",
        "The figure is unknown; a loader may fail on the field, or take it for something else.",
        "Compare the config with the one the model was published with.",
    ),
    Rule(
        "WK771",
        "config-refuted-by-weights",
        "warning",
        "The weights have other key-value heads, or heads of another width, than the config says.",
        "Config and weights do not belong together; memory figures from the config are wrong.",
        LOOK,
    ),
]
