"""The one table of element types.

Every format names the same types differently: safetensors ``BF16``, ggml id 30, torch
``bfloat16`` (and ``BFloat16Storage``), ml_dtypes ``bfloat16``. A row here is one type with all its
names; a format's room looks its own column up and nothing else in the package knows the spelling.

Geometry is two integers per type, as in ggml: a *block* of ``items`` elements takes ``nbytes``
bytes. Plain types have one item per block; ``f4`` packs two in a byte; ``q4_k`` 256 in 144 bytes.

Sources: safetensors 0.8 ``tensor.rs`` (``Dtype``); ``gguf.constants.GGML_QUANT_SIZES`` of gguf
0.19 (a test holds the table equal to it); ``torch.storage`` and ``torch.dtype`` of torch 2.13.
"""

from __future__ import annotations

from typing import NamedTuple


class DType(NamedTuple):
    """One element type: its geometry and its name in each format ("" or None where it has none)."""

    name: str
    kind: str
    """float, int, uint, bool, complex, scale, quant (ggml blocks), qint (torch), bits or opaque."""
    items: int
    nbytes: int
    safetensors: str = ""
    ggml: int | None = None
    torch: str = ""
    storage: str = ""
    numpy: str = ""
    """Name that ``numpy.dtype`` takes once ml_dtypes is imported."""

    @property
    def bits(self) -> float:
        """Bits per element, block overhead included (``q4_k``: 4.5)."""
        return 8 * self.nbytes / self.items

    @property
    def castable(self) -> bool:
        """Whether its elements are numbers, or blocks that stand for such; all others are only moved."""
        return self.name in _NUMBERS or (self.kind == "quant" and self.nbytes > 0)

    def nbytes_of(self, elements: int) -> int:
        """Bytes that ``elements`` contiguous elements take, rounded up to whole blocks."""
        return -(-elements // self.items) * self.nbytes

    def __str__(self) -> str:
        return self.name


_NUMBERS = frozenset(
    "f64 f32 f16 bf16 f8_e4m3 f8_e5m2 f8_e4m3fnuz f8_e5m2fnuz f8_e8m0 c32 c64 c128 "
    "bool i8 i16 i32 i64 u8 u16 u32 u64".split()
)
"""Not those of less than 8 bits, nor torch's quantized ones: they mean something by scales elsewhere."""

_PLAIN = [
    #      name           kind     items bytes safetensors     ggml  torch               storage          numpy
    DType("f64", "float", 1, 8, "F64", 28, "float64", "DoubleStorage", "float64"),
    DType("f32", "float", 1, 4, "F32", 0, "float32", "FloatStorage", "float32"),
    DType("f16", "float", 1, 2, "F16", 1, "float16", "HalfStorage", "float16"),
    DType("bf16", "float", 1, 2, "BF16", 30, "bfloat16", "BFloat16Storage", "bfloat16"),
    DType("f8_e4m3", "float", 1, 1, "F8_E4M3", None, "float8_e4m3fn", "", "float8_e4m3fn"),
    DType("f8_e5m2", "float", 1, 1, "F8_E5M2", None, "float8_e5m2", "", "float8_e5m2"),
    DType("f8_e4m3fnuz", "float", 1, 1, "F8_E4M3FNUZ", None, "float8_e4m3fnuz", "", "float8_e4m3fnuz"),
    DType("f8_e5m2fnuz", "float", 1, 1, "F8_E5M2FNUZ", None, "float8_e5m2fnuz", "", "float8_e5m2fnuz"),
    DType("f8_e8m0", "scale", 1, 1, "F8_E8M0", None, "float8_e8m0fnu", "", "float8_e8m0fnu"),
    DType("f6_e2m3", "float", 4, 3, "F6_E2M3"),
    DType("f6_e3m2", "float", 4, 3, "F6_E3M2"),
    DType("f4", "float", 2, 1, "F4"),
    # torch counts bytes here, not nibbles: one element of this type is two f4.
    DType("f4_x2", "float", 1, 1, "", None, "float4_e2m1fn_x2"),
    DType("i64", "int", 1, 8, "I64", 27, "int64", "LongStorage", "int64"),
    DType("i32", "int", 1, 4, "I32", 26, "int32", "IntStorage", "int32"),
    DType("i16", "int", 1, 2, "I16", 25, "int16", "ShortStorage", "int16"),
    DType("i8", "int", 1, 1, "I8", 24, "int8", "CharStorage", "int8"),
    DType("u64", "uint", 1, 8, "U64", None, "uint64", "", "uint64"),
    DType("u32", "uint", 1, 4, "U32", None, "uint32", "", "uint32"),
    DType("u16", "uint", 1, 2, "U16", None, "uint16", "", "uint16"),
    DType("u8", "uint", 1, 1, "U8", None, "uint8", "ByteStorage", "uint8"),
    DType("bool", "bool", 1, 1, "BOOL", None, "bool", "BoolStorage", "bool"),
    DType("c32", "complex", 1, 4, "", None, "complex32"),
    DType("c64", "complex", 1, 8, "C64", None, "complex64", "ComplexFloatStorage", "complex64"),
    DType("c128", "complex", 1, 16, "", None, "complex128", "ComplexDoubleStorage", "complex128"),
    DType("qint8", "qint", 1, 1, "", None, "qint8", "QInt8Storage"),
    DType("quint8", "qint", 1, 1, "", None, "quint8", "QUInt8Storage"),
    DType("qint32", "qint", 1, 4, "", None, "qint32", "QInt32Storage"),
    DType("quint4x2", "qint", 2, 1, "", None, "quint4x2", "QUInt4x2Storage"),
    DType("quint2x4", "qint", 4, 1, "", None, "quint2x4", "QUInt2x4Storage"),
    *(DType(f"bits{name}", "bits", 1, size, torch=f"bits{name}")
      for name, size in [("1x8", 1), ("2x4", 1), ("4x2", 1), ("8", 1), ("16", 2)]),
    # Shells: torch names them, stores each element in a byte and computes nothing with them.
    *(DType(f"{short}{bits}", kind, 1, 1, torch=f"{kind}{bits}")
      for short, kind in [("i", "int"), ("u", "uint")] for bits in range(1, 8)),
]  # fmt: skip

_GGML = [
    DType(name, "quant", items, nbytes, ggml=number)
    for name, number, items, nbytes in [
        ("q4_0", 2, 32, 18),
        ("q4_1", 3, 32, 20),
        ("q5_0", 6, 32, 22),
        ("q5_1", 7, 32, 24),
        ("q8_0", 8, 32, 34),
        ("q8_1", 9, 32, 40),
        ("q2_k", 10, 256, 84),
        ("q3_k", 11, 256, 110),
        ("q4_k", 12, 256, 144),
        ("q5_k", 13, 256, 176),
        ("q6_k", 14, 256, 210),
        ("q8_k", 15, 256, 292),
        ("iq2_xxs", 16, 256, 66),
        ("iq2_xs", 17, 256, 74),
        ("iq3_xxs", 18, 256, 98),
        ("iq1_s", 19, 256, 50),
        ("iq4_nl", 20, 32, 18),
        ("iq3_s", 21, 256, 110),
        ("iq2_s", 22, 256, 82),
        ("iq4_xs", 23, 256, 136),
        ("iq1_m", 29, 256, 56),
        ("tq1_0", 34, 256, 54),
        ("tq2_0", 35, 256, 66),
        ("mxfp4", 39, 32, 17),
        ("nvfp4", 40, 64, 36),
        ("q1_0", 41, 128, 18),
        ("q2_0", 42, 64, 18),  # llama.cpp since 2026; gguf 0.19 does not know it
    ]
]

DTYPES: dict[str, DType] = {row.name: row for row in (*_PLAIN, *_GGML)}
"""Every known type by its canonical name."""

SAFETENSORS: dict[str, DType] = {row.safetensors: row for row in _PLAIN if row.safetensors}
GGML: dict[int, DType] = {row.ggml: row for row in DTYPES.values() if row.ggml is not None}
TORCH: dict[str, DType] = {row.torch: row for row in _PLAIN if row.torch}
STORAGES: dict[str, DType] = {row.storage: row for row in _PLAIN if row.storage}
NUMPY: dict[str, DType] = {row.numpy: row for row in _PLAIN if row.numpy}

# Older and shorter spellings of torch dtypes (`torch.half` pickles as `torch.float16`, but
# configs and users write the short form).
TORCH_ALIASES: dict[str, str] = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "chalf": "complex32",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "bit": "uint1",
}


def opaque(name: str, nbytes: int) -> DType:
    """A type that we can place but not compute with: numpy text, records, datetimes.

    ``nbytes`` is the size of one element as stored.
    """
    return DType(name, "opaque", 1, nbytes)
