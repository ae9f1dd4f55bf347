"""What a signature says of itself, before anybody has checked it: a bundle, a statement, digests.

Source: the sigstore bundle format, in-toto statements, and ``model_signing`` 1.1.1.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from weightkit.analyses.claims import inside
from weightkit.errors import FormatError
from weightkit.source import Source

MAX_SIGNATURE = 64 << 20
"""Bytes: some 300,000 files."""


def read_bundle(signature: str) -> Mapping[str, Any]:
    """The JSON object of a signature file. Raises FormatError WK630, AccessError."""
    try:
        with Source(signature) as source:
            if source.size > MAX_SIGNATURE:
                raise ValueError(f"{source.size} bytes")
            return _object(json.loads(source.pread(0, source.size)))
    except (ValueError, RecursionError) as error:
        raise _no_signature(signature, error) from error


def statement_of(bundle: Mapping[str, Any], signature: str) -> Mapping[str, Any]:
    """The statement inside a signature, which says nothing before the signature is checked."""
    try:
        return _object(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _no_signature(signature, error) from error


def _no_signature(signature: str, error: Exception) -> FormatError:
    message = f"no signature of a model: {type(error).__name__} {error}"
    return FormatError(message, path=signature, code="WK630")


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def resources_of(statement: Mapping[str, Any], signature: str) -> dict[str, dict[str, str]]:
    """Digests by the paths of the files, as a manifest has them; shards of a file under one path."""
    try:
        found: dict[str, dict[str, str]] = {}
        for item in statement["predicate"]["resources"]:
            name, algorithm, digest = (item[key] for key in ("name", "algorithm", "digest"))
            known = _ALGORITHMS.get(algorithm)
            path = name if known else name.rsplit(":", 2)[0]  # of a shard: path:start:end
            found[path] = {known: str(digest)} if known else {}
    except (LookupError, TypeError, AttributeError) as error:
        raise FormatError("no list of files in it", path=signature, code="WK630") from error
    for name in found:
        if name != ".":
            inside(name)
    return found


_ALGORITHMS = {"sha256": "sha256", "blake2b": "blake2b", "blake3": "blake3"}
"""Our name of each algorithm that signatures name."""


def method_of(material: Any) -> str:
    """How a signature says that it was made; "" where it does not."""
    if not isinstance(material, dict):
        return ""
    if "certificate" in material or material.get("tlogEntries"):
        return "sigstore"
    kinds = {"publicKey": "key", "x509CertificateChain": "certificate"}
    return next((method for kind, method in kinds.items() if kind in material), "")
