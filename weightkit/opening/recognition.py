"""Which format is it? By content; the name's suffix only says whom to ask first.

The rooms are a table of strings, imported when they are asked. What is known, but not read, is a
second table, so that it can be named.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from weightkit.formats import Format

ROOMS: dict[str, str] = {
    "safetensors": "weightkit.formats.safetensors",
    "gguf": "weightkit.formats.gguf",
    "numpy": "weightkit.formats.numpy",
    "pytorch": "weightkit.formats.pytorch",
}
"""The built-in formats, by name."""

SUFFIXES: dict[str, str] = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".npy": "numpy",
    ".npz": "numpy",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".ckpt": "pytorch",
    ".pkl": "pytorch",
    ".pickle": "pytorch",
    ".joblib": "pytorch",
    ".dill": "pytorch",
}
"""Suffixes that promise one format. ``.bin`` promises nothing: ggml and ONNX use it too."""


class Known(NamedTuple):
    """A format that is recognised, but not read: ``magic`` stands at ``offset``."""

    name: str
    offset: int
    magic: bytes


KNOWN = [
    Known(
        "Git LFS pointer (the file itself was not downloaded: git lfs pull)",
        0,
        b"version https://git-lfs",
    ),
    Known("HTML page (an error or login page instead of the file?)", 0, b"<!DOCTYPE html"),
    Known("HTML page (an error or login page instead of the file?)", 0, b"<!doctype html"),
    Known("HTML page (an error or login page instead of the file?)", 0, b"<html"),
    Known("HDF5 (Keras .h5)", 0, b"\x89HDF\r\n\x1a\n"),
    Known("HDF5 with a user block", 512, b"\x89HDF\r\n\x1a\n"),
    Known("TensorFlow Lite", 4, b"TFL3"),
    Known("ggml before GGUF (ggml)", 0, b"lmgg"),
    Known("ggml before GGUF (ggmf)", 0, b"fmgg"),
    Known("ggml before GGUF (ggjt)", 0, b"tjgg"),
    Known("ggml adapter before GGUF (ggla)", 0, b"algg"),
    Known("RAR archive", 0, b"Rar!\x1a\x07"),
    Known("Zstandard stream", 0, b"\x28\xb5\x2f\xfd"),
    Known("LZ4 stream", 0, b"\x04\x22\x4d\x18"),
    Known("Apache Parquet", 0, b"PAR1"),
    Known("Apache Arrow file", 0, b"ARROW1"),
    Known("CoreML weights", 0, b"\x01\x00\x00\x00\x02\x00\x00\x00\xde\xad\xbe\xef"),
    Known("PDF document", 0, b"%PDF-"),
    Known("PNG image", 0, b"\x89PNG\r\n"),
    Known("JPEG image", 0, b"\xff\xd8\xff"),
    Known("ELF program", 0, b"\x7fELF"),
    Known("Windows program", 0, b"MZ"),
    Known("script", 0, b"#!"),
    Known("TensorRT engine", 0, b"ftrt"),
    Known("SQLite database", 0, b"SQLite format 3\x00"),
    # Protocol buffers have no magic: these are the first fields that the usual writers emit.
    Known("ONNX model", 0, b"\x08\x07\x12"),
    Known("ONNX model", 0, b"\x08\x08\x12"),
    Known("ONNX model", 0, b"\x08\x09\x12"),
    Known("ONNX model", 0, b"\x08\x0a\x12"),
    Known("ONNX model", 0, b"\x08\x06\x12"),
    Known("ONNX model", 0, b"\x08\x04\x12"),
    Known("ONNX model", 0, b"\x08\x03\x12"),
    Known("TensorFlow SavedModel", 0, b"\x08\x01\x12"),
    Known("JSON text", 0, b"{"),
    Known("JSON text", 0, b"["),
    Known("XML text", 0, b"<?xml"),
]


def room(name: str) -> Format:
    """The module of a built-in format."""
    module: Format = import_module(ROOMS[name])
    return module


def promised(path: str) -> str:
    """The format that the suffix of ``path`` promises, or ""."""
    dot = path.rfind(".")
    return SUFFIXES.get(path[dot:].lower(), "") if dot >= 0 else ""


def accepting(head: bytes, first: str = "") -> Iterator[str]:
    """Names of the formats whose content may start with ``head``, ``first`` asked first."""
    for name in sorted(ROOMS, key=lambda name: name != first):
        if room(name).accepts(head):
            yield name


def known(head: bytes) -> str:
    """The name of a format that is recognised, but not read; "" for none."""
    stripped = head.lstrip() if head[:1].isspace() else head
    for row in KNOWN:
        if (stripped if row.offset == 0 else head).startswith(row.magic, row.offset):
            return row.name
    return ""
