"""Conversion receipts (in-toto statements) held against the files they are about.

A receipt is hostile input like any other: its names may not leave the folder, its size is bounded.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from weightkit.analyses.claims import MAX_NBYTES, Claims
from weightkit.analyses.digests import ALGORITHM, content_id
from weightkit.analyses.jobs import Tick, silent
from weightkit.analyses.manifests import listed
from weightkit.analyses.verifying import ALTERED, EXTRA, differences, verdict
from weightkit.errors import FormatError
from weightkit.opening import open_checkpoint
from weightkit.opening.folders import Folder
from weightkit.reports import Difference, Verification
from weightkit.source import Source

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:weightkit:conversion:v1"
MAX_FILES = 100_000


class Side(NamedTuple):
    """What a receipt says of the target or of the source: digests of files, and the content id."""

    files: Claims
    content_id: str


class Receipt(NamedTuple):
    """Both sides of a conversion."""

    target: Side
    source: Side


def against_receipt(
    path: str,
    receipt_path: str,
    source: str = "",
    *,
    jobs: int = 0,
    tick: Tick = silent,
) -> Verification:
    """Hold a target, and the source it was made from if that is named, against their receipt.

    Files by their SHA-256, then the values by the content id. Small files that were carried along
    are not in a receipt, and no difference. Raises FormatError WK630 for what is no receipt.
    """
    receipt = read_receipt(receipt_path)
    sides = [(path, receipt.target), *([(source, receipt.source)] if source else [])]
    found: list[Difference] = []
    checked = 0
    for where, side in sides:
        found += _differences(where, side, receipt_path, jobs, tick)
        checked += len(side.files)
    return verdict(path, "receipt", receipt_path, checked, found, False)


def _differences(path: str, side: Side, receipt: str, jobs: int, tick: Tick) -> list[Difference]:
    folder, names = listed(path, [receipt])
    claims = side.files
    if not os.path.isdir(path) and len(claims) == 1:  # the file may have been renamed
        claims = {names[0]: next(iter(claims.values()))}
    for name in claims:
        Folder(folder, (), ()).join(name)
    found = [
        item
        for item in differences(folder, names, claims, {}, jobs, tick, False)
        if item.kind != EXTRA
    ]
    if found or not side.content_id:
        return found
    with open_checkpoint(path) as checkpoint:
        have = content_id(checkpoint, jobs, tick).id
    if have == side.content_id:
        return []
    return [Difference(ALTERED, path, side.content_id, have, reason="another content id")]


def read_receipt(path: str) -> Receipt:
    """A receipt, checked in the parts that are used. Raises FormatError WK630, AccessError."""
    with Source(path) as source:
        if source.size > MAX_NBYTES:
            message = f"{source.size} bytes, more than {MAX_NBYTES}"
            raise FormatError(message, path=path, code="WK630")
        raw = source.pread(0, source.size)
    try:
        return _receipt(json.loads(raw))
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"no receipt: {error}", path=path, code="WK630") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"no receipt: {error}", path=path, code="WK630") from error


def _receipt(held: Any) -> Receipt:
    if held["_type"] != STATEMENT or held["predicateType"] != PREDICATE:
        raise ValueError("a statement of another kind")
    predicate = held["predicate"]
    if predicate["algorithm"] != ALGORITHM:
        raise ValueError("content ids by another algorithm")
    return Receipt(
        Side(_claims(held["subject"]), _id(predicate["target"]["contentId"])),
        Side(_claims(predicate["source"]["files"]), _id(predicate["source"]["contentId"])),
    )


def _claims(rows: Any) -> Claims:
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_FILES:
        raise ValueError("no list of files")
    found: Claims = {}
    for row in rows:
        name, digest = row["name"], row["digest"]["sha256"]
        if not isinstance(name, str) or name in found:
            raise ValueError(f"the file {name!r} stands twice or is none")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"no SHA-256 of {name!r}")
        found[name] = {"sha256": digest}
    return found


def _id(value: Any) -> str:
    if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError("no content id")
    return value or ""
