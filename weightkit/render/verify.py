"""The view of ``weightkit verify``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weightkit.render import figures
from weightkit.render.blocks import Block, Cell, Column, Facts, Table, Text, Title, Wish
from weightkit.render.json import plain
from weightkit.reports import Difference, SignedBy, Verification

SHOWN = 50
"""Tensors of one file that people see; JSON has all."""


def to_json(report: Verification, wish: Wish) -> dict[str, Any]:
    """All fields."""
    found: dict[str, Any] = plain(report)
    return found


def to_blocks(report: Verification, wish: Wish) -> Iterator[Block]:
    """The verdict, then a line for each difference and for each tensor that changed."""
    yield Title(report.path, "same" if report.same else "differs")
    noun = "tensor" if report.against == "content" else "file"
    yield Facts(
        [
            ("against", f"{report.against} {report.source}"),
            ("checked", figures.plural(report.checked, noun)),
            *(_signer(report.signer) if report.signer else ()),
        ]
    )
    rows: list[list[Cell]] = [row for item in report.differences for row in _rows(item)]
    if rows:
        yield Table([Column(""), Column("", style="name"), Column("")], rows)


def _signer(signer: SignedBy) -> Iterator[tuple[str, str]]:
    """Whose the signature is, and by what to know the key again."""
    if signer.subject:
        yield "signed by", signer.subject
        yield "vouched by" if signer.method == "sigstore" else "issued by", signer.issuer
        yield "certificate", f"SHA-256 {signer.certificate}"
        yield "key", f"SHA-256 {signer.key}"
    else:
        yield "signed by", f"the key SHA-256 {signer.key}"


def _rows(item: Difference) -> Iterator[list[Cell]]:
    what = item.reason
    if item.renamed_to:
        what = f"to {item.renamed_to}"
    elif item.expected and not item.tensors and not what:
        what = f"{item.found} instead of {item.expected}"
    yield [Text(item.kind, "danger" if item.kind != "extra" else "warning"), item.path, what]
    for tensor in item.tensors[:SHOWN]:
        yield ["", f"  {tensor.name}", tensor.what]
    if len(item.tensors) > SHOWN:
        yield ["", f"  and {len(item.tensors) - SHOWN:,} more tensors", ""]
