"""The errors of model-signing and of what it builds on, as ours.

The library lets through what its own libraries raise: of cryptography, of sigstore and the services that
it asks, and Python's own where something is not as expected.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from weightkit.errors import (
    AccessError,
    MissingExtra,
    NetworkError,
    UnsafeError,
    UnsupportedError,
    WeightkitError,
)


@contextlib.contextmanager
def library() -> Iterator[None]:
    """Inside it the library is there, and the warnings that it prints stay away from our data."""
    try:
        import model_signing.hashing  # noqa: F401
    except ImportError as error:  # of one of its own dependencies, too
        message = f"signatures need the extra sign: pip install 'weightkit[sign]' ({error})"
        raise MissingExtra(message) from error
    with contextlib.redirect_stdout(sys.stderr):
        yield


def refuse_links(path: str, message: str) -> None:
    """The library refuses links by a ValueError like any other."""
    if "symlink" in message:
        message = f"{message.partition('. ')[0]}; --follow-symlinks follows links"
        raise UnsafeError(message, path=path)


@contextlib.contextmanager
def failing_as(path: str, signature: str, what: str = "", half: str = "") -> Iterator[None]:
    """Turn what the library raises into our errors. Inside it, what says no is no error.

    ``half`` is the name that the signature has while it is written, which nobody knows.
    """
    try:
        yield
    except OSError as error:
        if _is_network(error):
            raise _not_served(signature, error) from error
        where = os.fspath(error.filename) if error.filename else path
        where = signature if where == half else where
        raise AccessError(error.strerror or str(error), path=where, code="WK010") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        refuse_links(path, str(error))
        what = what or ("sigstore answers what it should not" if _of_sigstore(error) else "")
        message = f"{what}: {_reason(error)}" if what else _reason(error)
        raise UnsupportedError(message, path=path) from error
    except EOFError as error:
        message = "logging in needs a code, and there is no one to enter it"
        raise UnsupportedError(message, path=path) from error
    except WeightkitError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _LIBRARIES:
            raise
        if _is_network(error):
            raise _not_served(signature, error) from error
        raise UnsupportedError(_reason(error), path=path) from error


_LIBRARIES = {"cryptography", "OpenSSL", "securesystemslib", "sigstore", "tuf", "urllib3"}
"""Whose errors are none of Python's. Those of sigstore's services are not among its public names."""
_OF_THE_NETWORK = {"gaierror", "HTTPError", "DownloadError", "RequestException", "IssuerError"}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_network(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that a host cannot be reached or does not serve."""
    return any(
        {kind.__name__ for kind in type(item).__mro__} & _OF_THE_NETWORK
        or isinstance(item, ConnectionError | TimeoutError)
        for item in _causes(error)
    )


def _of_sigstore(error: BaseException) -> bool:
    """Whether one of Python's errors comes from within sigstore, which trusts its services."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith("sigstore.") for frame, _ in frames)


def _not_served(signature: str, error: BaseException) -> NetworkError:
    """Who answered what, or that nobody did."""
    message = f"sigstore needs the network, and cannot be reached: {_reason(error)}"
    for item in _causes(error):
        answer = getattr(item, "response", None)
        if answer is not None:
            status = f"{answer.status_code} {answer.reason or ''}".strip()
            verb = "refuses" if answer.status_code < 500 else "fails"
            message = f"sigstore {verb}: {answer.url} answers {status}{_said(answer)}"
        elif isinstance(item, json.JSONDecodeError):
            message = f"sigstore answers what is no JSON: {item}"
    return NetworkError(message, path=signature)


def _said(answer: Any) -> str:
    """The reason that a service gives; "" where it gives none."""
    try:
        return f": {answer.json()['message']}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _reason(error: BaseException) -> str:
    """What an error says, and what its cause adds to that, on one line."""
    if isinstance(error, UnicodeEncodeError):  # the statement is JSON
        return f"a name of a file is no Unicode text: {error.object!r}"
    if isinstance(error, AttributeError) and error.name == "curve":
        return "it is on no elliptic curve; P-256, P-384 and P-521 sign"
    texts = [" ".join(str(item).split()) for item in _causes(error)]
    first, *more = [text for text in texts if text] or [type(error).__name__]
    if isinstance(error, LookupError):  # says no more than a name
        first = f"{type(error).__name__} {first}"
    return f"{first}: {more[0]}" if more and more[0] not in first else first
