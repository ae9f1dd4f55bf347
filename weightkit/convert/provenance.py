"""Where a target came from: in its metadata on request, and in a receipt that can be checked.

A receipt is an in-toto statement (https://github.com/in-toto/attestation, version 1): its subjects
are the target's files with their SHA-256, its predicate what was converted from what. Sign it with
any tool that signs in-toto statements; ``weightkit verify --receipt`` holds files against it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from weightkit import __version__
from weightkit.analyses.checksums import checksums
from weightkit.analyses.digests import ALGORITHM, content_id
from weightkit.analyses.receipts import PREDICATE, STATEMENT
from weightkit.convert.places import write_beside
from weightkit.convert.planning import checkpoints
from weightkit.convert.wishes import Wish
from weightkit.errors import AccessError, UnsupportedError, WeightkitError
from weightkit.opening import Checkpoint
from weightkit.plans import Conversion
from weightkit.source import Source


def provenance(checkpoint: Checkpoint, wish: Wish) -> list[tuple[str, str]]:
    """Metadata that says which files the weights came from, and which tool wrote them."""
    digests = {item["name"]: item["digest"]["sha256"] for item in _source_files(checkpoint)}
    found = [
        ("weightkit.version", __version__),
        ("weightkit.source", json.dumps(digests, sort_keys=True)),
    ]
    if wish.timestamp:
        found.append(("weightkit.time", datetime.now(UTC).isoformat(timespec="seconds")))
    return found


def write_receipt(path: str, checkpoint: Checkpoint, done: Conversion, *, force: bool) -> None:
    """Write the receipt of a conversion; every file of both sides is read for its digest."""
    held = json.dumps(statement(checkpoint, done), indent=2) + "\n"
    write_beside(path, held.encode(), force=force)


def statement(checkpoint: Checkpoint, done: Conversion) -> dict[str, Any]:
    """The receipt as a value. Content ids are null where a checkpoint has none."""
    plan = done.plan
    folder = plan.target if plan.folder else os.path.dirname(plan.target)
    written = [item.path for item in done.files]
    return {
        "_type": STATEMENT,
        "subject": _digested(written, folder),
        "predicateType": PREDICATE,
        "predicate": {
            "tool": {"name": "weightkit", "version": __version__},
            "algorithm": ALGORITHM,
            "source": {
                "files": _source_files(checkpoint),
                "contentId": _content_id(checkpoint),
            },
            "target": {"format": plan.format, "contentId": done.content_id or None},
            "losses": [{"code": item.code, "message": item.message} for item in plan.losses],
            "casts": [item._asdict() for item in done.casts],
            "left": list(plan.left),
        },
    }


def _content_id(checkpoint: Checkpoint) -> str | None:
    try:
        return content_id(checkpoint).id
    except UnsupportedError:
        return None


def _source_files(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Names, inside their folder, and SHA-256 of the files that the weights come from.

    Raises AccessError WK012 for one that is not the file any more that was opened.
    """
    sources = {source.path: source for part in checkpoints(checkpoint) for source in part.sources}
    path = checkpoint.path
    rows = _digested([*sources], path if os.path.isdir(path) else os.path.dirname(path))
    for source in sources.values():
        with Source(source.path) as now:
            if now.stamp != source.stamp:
                message = "the file changed since it was opened"
                raise source.error("WK012", message, kind=AccessError)
    return rows


def _digested(paths: Sequence[str], folder: str = "") -> list[dict[str, Any]]:
    """Names and SHA-256 of files; raises the first error of one that cannot be read."""
    return [*_rows(paths, folder)]


def _rows(paths: Sequence[str], folder: str) -> Iterable[dict[str, Any]]:
    for path, found in zip(paths, checksums(paths, ("sha256",), 0, None), strict=True):
        if isinstance(found, WeightkitError):
            raise found
        name = os.path.relpath(path, folder) if folder else os.path.basename(path)
        yield {"name": name, "digest": {"sha256": found.digests["sha256"]}}
