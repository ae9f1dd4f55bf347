"""Views that torch negates or conjugates when they are used: the bits that stand for a sign, turned.

Such a view (``x.conj()``, ``x.conj().imag``) is saved with the bytes that it is a view of, and a flag.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weightkit.dtypes import DType

_REAL, _COMPLEX = ("f64", "f32", "f16", "bf16"), ("c128", "c64", "c32")
TURNED = {"negated": (*_REAL, *_COMPLEX), "conjugated": _COMPLEX}
"""By layout, the types whose sign is a bit of its own."""


def turned(layout: str, dtype: DType, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What ``pieces`` become, which may be cut anywhere."""
    half = dtype.nbytes // 2 if dtype.kind == "complex" else dtype.nbytes
    sign = bytes(half - 1) + b"\x80"
    mask = sign * (dtype.nbytes // half)
    if layout == "conjugated":
        mask = bytes(half) + sign
    at = 0
    for piece in pieces:
        repeated = np.resize(np.frombuffer(mask[at:] + mask[:at], np.uint8), len(piece))
        yield np.bitwise_xor(np.frombuffer(piece, np.uint8), repeated).tobytes()
        at = (at + len(piece)) % len(mask)
