"""The shape of a naming rule and how its pattern is read.

A pattern is a run of name segments, ``mlp.experts.#``. ``#`` stands for any run of digits, ``*``
for any text within one segment, ``{a,b}`` for either. It may match anywhere in a tensor's name;
where several rules match, the one that reaches deepest into the name decides (the innermost
module says what a weight is), and among those the first in the table.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

COMPONENTS = (
    "embedding",
    "attention",
    "feed_forward",
    "norm",
    "router",
    "output_head",
    "mixer",
    "conv",
    "projection",
    "modulation",
    "lora",
    "other",
)
"""What a tensor can be, in the order that reports list them."""


class Row(NamedTuple):
    """One rule: names like ``example`` are of ``component``, if the conditions in ``when`` hold.

    ``when`` is words separated by spaces, all of which must hold:

    ``top``       no layer number stands before the match
    ``own``       the match is the parameter's own name
    ``matrix``    the module's weight has two dimensions, or three where experts are stacked
    ``kernel``    it has three or more
    ``flat``      it has at most two
    ``experts``   experts stand beside the match, in the same block
    ``recurrent`` the matched module carries a state on
    ``attends``   the matched module has queries and keys
    ``paired``    gamma and beta stand together, in one module
    ``audio``     the model reads sound
    ``mask``      the tensor has two dimensions or more
    ``vector``    it has one
    ``balance``   the model does not learn how its experts are balanced
    ``frozen``    it belongs to a batch norm of a transformers model that is not trained
    ``fixed``     the model does not learn its positions
    ``low_rank``  a low-rank update stands beside it
    """

    pattern: str
    component: str
    example: str
    when: str = ""
    shape: tuple[int, ...] = (64, 64)
    """Of the example's weight."""
    beside: str = ""
    """Another tensor that the example needs in the same file."""


_BRACES = re.compile(r"\{([^{}]*)\}")


def expand(pattern: str) -> list[str]:
    """``{a,b}.c`` as ``a.c`` and ``b.c``."""
    parts = _BRACES.split(pattern)
    choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def segment_matches(pattern: str, segment: str) -> bool:
    """Whether one segment fits; ``*`` is any text. Linear in the length of the segment."""
    if "*" not in pattern:
        return pattern == segment
    head, *middle, tail = pattern.split("*")
    if len(segment) < len(head) + len(tail):
        return False
    if not segment.startswith(head) or not segment.endswith(tail):
        return False
    at, end = len(head), len(segment) - len(tail)
    for text in middle:
        found = segment.find(text, at, end)
        if found < 0:
            return False
        at = found + len(text)
    return True
