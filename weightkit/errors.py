"""The error hierarchy.

    WeightkitError               base, never raised itself
    ├── AccessError              the bytes cannot be had: missing, no permission, not a regular
    │   │                        file, changed while read, no space
    │   └── NetworkError         a host cannot be reached
    ├── FormatError              the bytes break the format's rules
    ├── UnsupportedError         well formed, but not handled
    ├── AmbiguousCheckpoint      several answers; the message names them
    ├── UnknownName              no tensor, set or key is called that; the message suggests
    ├── UnsafeError              would need trust that the file has not earned
    ├── PlanError                no such conversion, target exists, or lossy without a flag
    ├── PolicyError              a policy or baseline file says what it must not
    ├── VerifyError              what was written does not read back as planned
    └── MissingExtra             names the extra to install

Everything the package raises on purpose is one of these, so ``except WeightkitError`` is enough.
Each carries where it happened; ``str(error)`` is the one line that a user sees::

    model.gguf @ 0x1a40: WK204 string of 1099511627776 bytes, but 3 remain (tensor 17 name)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightkit.findings import Finding


class WeightkitError(Exception):
    """Base of all errors of this package.

    ``code`` is a row of :mod:`weightkit.rules`; ``offset`` counts bytes from the start of ``path``,
    or of the archive member ``entry`` inside it.
    """

    exit_status = 3

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        code: str = "",
        offset: int | None = None,
        entry: str = "",
        tensor: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.code = code
        self.offset = offset
        self.entry = entry
        self.tensor = tensor

    @property
    def details(self) -> tuple[str, ...]:
        """The lines of ``add_note``, where there are several reasons; no part of ``str(error)``."""
        return tuple(getattr(self, "__notes__", ()))

    def __str__(self) -> str:
        from weightkit.text import safe_text

        place = f"{self.path}!{self.entry}" if self.entry else self.path
        if self.offset is not None:
            place = f"{place} @ 0x{self.offset:x}".strip()
        reason = f"{self.code} {self.message}".strip()
        if self.tensor and repr(self.tensor) not in self.message:
            reason = f"{reason} (tensor {self.tensor!r})"
        return safe_text(f"{place}: {reason}" if place else reason)


class AccessError(WeightkitError):
    """The bytes cannot be had."""


class NetworkError(AccessError):
    """What was asked for needs the network, and that cannot be had."""

    exit_status = 4


class FormatError(WeightkitError):
    """The bytes break the rules of their format."""

    def as_finding(self) -> Finding:
        """The same fault as a row of a report; severity and remedy come from its rule."""
        from weightkit.rules import finding

        return finding(
            self.code,
            self.message,
            path=self.path,
            entry=self.entry,
            offset=self.offset,
            tensor=self.tensor,
        )


class UnsupportedError(WeightkitError):
    """Well formed, but not something that we handle."""


class AmbiguousCheckpoint(WeightkitError):
    """The path holds several checkpoints; the message names them."""

    exit_status = 2


class UnknownName(WeightkitError):
    """Nothing in the file has the name that was asked for; the message suggests others."""

    exit_status = 2


class UnknownTensor(UnknownName, KeyError):
    """The same of a checkpoint used as a mapping, which is why it is a KeyError as well."""


class UnsafeError(WeightkitError):
    """Refused: what was asked would need trust that the file has not earned."""

    exit_status = 2


class PlanError(WeightkitError):
    """No such conversion, the target exists, or something would be lost without its flag."""

    exit_status = 2


class PolicyError(WeightkitError):
    """A policy or baseline is malformed, or asks for what would hide what was not read."""

    exit_status = 2


class VerifyError(WeightkitError):
    """What was written does not read back as planned."""


class MissingExtra(WeightkitError):
    """An optional dependency is absent; the message names the extra to install."""
