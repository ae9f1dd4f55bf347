"""Findings for people: many that say the same of other tensors are told once, and counted."""

from __future__ import annotations

from weightkit.findings import Finding, ScannedFile, ScanReport
from weightkit.render import findings, plain, scan
from weightkit.render.blocks import Wish
from weightkit.render.surface import Surface
from weightkit.rules import finding


def beyond(number: int, path: str = "a.gguf") -> Finding:
    return finding("WK229", f"data at {number}", path=path, offset=number, tensor=f"blk.{number}")


def text(found: list[Finding]) -> list[str]:
    return plain.render(findings.to_blocks(found, Wish()), Surface()).splitlines()[1:]


def test_many_alike_are_one_with_a_count_and_names() -> None:
    assert text([*map(beyond, range(16))]) == [
        "danger   WK229  data at 0 (tensor blk.0)  a.gguf @ 0x0",
        "                and 15 more alike: blk.1, blk.2, blk.3, …",
    ]
    assert text([*map(beyond, range(4))])[1].endswith("and 3 more alike: blk.1, blk.2, blk.3")


def test_a_few_are_told_one_by_one_and_so_are_those_of_other_files() -> None:
    assert len(text([*map(beyond, range(3))])) == 3
    assert len(text([beyond(at, path) for at in range(3) for path in ("a", "b")])) == 6


def test_calls_are_never_folded() -> None:
    calls = [finding("WK801", "calls os.system", offset=at, evidence=f"{at}") for at in range(9)]
    assert len(text(calls)) == 9


def test_the_gravest_come_first_all_the_same() -> None:
    mild = finding("WK005", "says .pt")
    assert [line.split()[0] for line in text([mild, *map(beyond, range(9)), mild])] == [
        "danger",
        "and",
        "warning",
        "warning",
    ]


def test_scan_folds_for_people_and_keeps_all_as_json() -> None:
    report = ScanReport((ScannedFile("a.gguf", "review", "gguf", (*map(beyond, range(16)),)),))
    told = plain.render(scan.to_blocks(report, Wish()), Surface())
    assert told.count("WK229") == told.count("Get the file again") == 1
    assert "data at 0 (tensor blk.0)  @ 0x0\n" in told
    assert "and 15 more alike: blk.1, blk.2, blk.3, …\n" in told
    assert len(scan.to_json(report, Wish())["files"][0]["findings"]) == 16
