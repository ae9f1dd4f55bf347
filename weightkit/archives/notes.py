"""The record in which our own archives keep what their format has no place for.

A JSON object of texts, like the ``__metadata__`` of a safetensors file, in a member of its own:
torch and numpy look members up by name and pass it over. What such a file says of itself it says
here, under names that start with ``weightkit.``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from weightkit.archives.budget import Budget
from weightkit.archives.zips import Zip
from weightkit.errors import PlanError, WeightkitError
from weightkit.rules import Faults

NAME = "weightkit.json"
MAX_NBYTES = 4 << 20
DTYPES = "weightkit.dtypes"
"""The key that says, for arrays of bytes, what these are: a JSON object of names of types."""


def written(metadata: Mapping[str, str]) -> bytes:
    """The record: keys sorted, so that the same metadata gives the same bytes.

    Raises PlanError WK663 for more than ``read`` takes.
    """
    record = json.dumps(metadata, indent=0, sort_keys=True).encode("ascii") + b"\n"
    if len(record) > MAX_NBYTES:
        message = f"{len(record):,} bytes of metadata, but {NAME} may have {MAX_NBYTES:,}"
        raise PlanError(message, code="WK663")
    return record


def read(
    archive: Zip,
    name: str,
    budget: Budget,
    faults: Faults,
    unwrap: Callable[[bytes], bytes] = bytes,
) -> dict[str, str] | None:
    """What the record ``name`` says; None if there is none, or (WK423) it is no such object.

    ``unwrap`` takes off what a format puts before it, of 256 bytes at most.
    """
    member = archive.find(name)
    if member is None:
        return None
    try:
        if member.size > MAX_NBYTES + 256:
            raise ValueError(f"{member.size:,} bytes")
        found = json.loads(unwrap(archive.reader(member, budget).peek(0, member.size)))
        if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
            raise ValueError("no object of texts")
    except (WeightkitError, ValueError, RecursionError) as error:
        faults.add("WK423", f"{name!r} cannot be used: {error}", member.header_offset, subject=name)
        return None
    return found


def dtypes(text: str) -> dict[str, object]:
    """The names of types by array, as the value of ``DTYPES`` records them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
