"""Every tensor as a plain one: torch's sparse ones filled up, its quantized ones multiplied out.

What comes out are canonical bytes in row-major order, equal to torch's ``to_dense()``,
``dequantize()``, ``resolve_neg()`` and ``resolve_conj()``, in memory for a few pieces, however large the tensor is; of a tensor that is plain
already its own. NumPy is only imported to make them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weightkit.dtypes import DTYPES, DType
from weightkit.errors import UnsupportedError
from weightkit.source import Reader
from weightkit.tensors import TensorInfo
from weightkit.values import canonical
from weightkit.values.canonical import Form
from weightkit.values.streams import Held

SPARSE = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
FLAGGED = ("negated", "conjugated")
SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")
GROWTH, MODEST = 1000, 1 << 30
"""A tensor may become ``GROWTH`` times as large as what is stored of it, or ``MODEST`` bytes."""

_NUMBERS = ("float", "int", "uint", "bool", "complex")


def form_of(info: TensorInfo) -> Form:
    """Type, shape and size of what a tensor becomes.

    Raises UnsupportedError for composite tensors other than those of torch named above, for one of
    which next to nothing is stored beside what it would fill, and where
    :func:`canonical.form_of` does.
    """
    if not info.parts:
        return canonical.form_of(info)
    dtype = _dtype(info)
    form = Form(dtype.name, info.shape, dtype.nbytes_of(info.numel))
    stored = sum(part.data.stored or part.data.nbytes for part in info.parts)
    if min(info.shape, default=0) < 0 or form.nbytes > max(MODEST, GROWTH * stored):
        reason = f"{stored} bytes of a {info.layout} tensor would fill {form.nbytes}"
        raise _unsupported(info, reason)
    return form


def _dtype(info: TensorInfo) -> DType:
    if info.layout == "quantized":
        scheme = info.details[0] if info.details else "unknown"
        if scheme not in SCHEMES:
            raise _unsupported(info, f"{info.dtype.name}, quantized {scheme}")
        return DTYPES["f32"]
    if info.layout in FLAGGED:
        from weightkit.values.signs import TURNED

        if info.dtype.name not in TURNED[info.layout]:
            raise _unsupported(info, f"a {info.layout} tensor of {info.dtype.name}")
        return info.dtype
    if info.layout not in SPARSE:
        raise _unsupported(info, f"a {info.layout} tensor has no plain form")
    dtype = info.parts[-1].dtype
    if dtype.kind not in _NUMBERS or not dtype.numpy:
        raise _unsupported(info, f"a sparse tensor of {dtype.name}")
    return dtype


def pieces(
    info: TensorInfo, sources: Sequence[Reader], held: Held | None = None
) -> Iterator[bytes]:
    """The canonical bytes of what a tensor becomes, in order.

    ``sources`` are the files that extents count into: those of a composite tensor's parts tell
    where it is, its own does not. ``held`` is that of :func:`canonical.pieces`. Raises what
    :func:`form_of` raises, and FormatError where the parts contradict one another or the shape.
    """
    form = form_of(info)
    if not info.parts:
        return canonical.pieces(info, sources[info.data.file], held)
    if info.layout == "quantized":
        from weightkit.values.quantized import dequantized

        return dequantized(info, sources)
    if info.layout in FLAGGED:
        from weightkit.values.signs import turned

        (base,) = info.parts
        return turned(info.layout, info.dtype, canonical.pieces(base, sources[base.data.file]))
    from weightkit.values.sparse import filled

    return filled(info, form, sources)


def _unsupported(info: TensorInfo, reason: str) -> UnsupportedError:
    return UnsupportedError(reason, code="WK603", tensor=info.name)
