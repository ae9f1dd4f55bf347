"""SARIF that the official schema accepts, and JUnit XML that parsers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from weightkit.findings import Finding, ScannedFile, ScanReport, SkippedFile
from weightkit.render import junit, sarif
from weightkit.rules import finding

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())

ODD_NAME = "mödels/a b#\udc80\x1b[31m.pkl"


def call(**more: Any) -> Finding:
    more = {"path": "a.pkl", "offset": 6, "opcode": "REDUCE", "subject": "os.system"} | more
    return finding("WK801", "calls os.system \x1b\ufffe<&>", evidence="os.system('id')", **more)


REPORT = ScanReport(
    (
        ScannedFile("./a.pkl", "unsafe", "pickle", (call(), call(), call(entry="m/data.pkl"))),
        ScannedFile("/abs/b.pt", "safe", "pytorch", ()),
        ScannedFile(ODD_NAME, "unscanned", "", (finding("WK004", "an ONNX model", offset=0),)),
        ScannedFile("c.json", "review", "JSON", (finding("WK910", "auto_map"),)),
        ScannedFile("d.pt", "safe", "pytorch", (finding("WK604", "no tensors in it"),)),
    ),
    (SkippedFile("README.md", "text"),),
    (finding("WK961", "expired: allow x"),),
)


@pytest.mark.parametrize("report", [REPORT, ScanReport(())], ids=["full", "empty"])
def test_sarif_is_valid_by_the_official_schema(report: ScanReport) -> None:
    document = json.loads(sarif.text(report, "0.1.0", 1))
    validator = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(document)] == []


def test_the_schema_is_no_rubber_stamp() -> None:
    document = sarif.document(REPORT, "0.1.0")
    document["runs"][0]["results"][0]["level"] = "danger"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate(document)


def test_a_result_tells_all_that_the_finding_does() -> None:
    result = sarif.document(REPORT, "0.1.0")["runs"][0]["results"][2]
    assert result["level"] == "error"
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "a.pkl", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1, "byteOffset": 6},
    }
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "m/data.pkl"
    assert result["properties"]["evidence"] == "os.system('id')"
    assert result["properties"]["verdict"] == "unsafe"


def test_results_point_at_their_rules_and_have_prints_of_their_own() -> None:
    run = sarif.document(REPORT, "0.1.0")["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[item["ruleIndex"]]["id"] for item in run["results"]] == [
        item["ruleId"] for item in run["results"]
    ]
    prints = [item["partialFingerprints"]["weightkit/v1"] for item in run["results"]]
    assert len(set(prints)) == len(prints)


def test_paths_are_uris() -> None:
    run = sarif.document(REPORT, "0.1.0")["runs"][0]
    uris = [item["location"]["uri"] for item in run["artifacts"]]
    assert uris[1] == "file:///abs/b.pt"
    assert uris[2] == "m%C3%B6dels/a%20b%23%80%1B%5B31m.pkl"


def test_what_was_not_scanned_makes_the_run_unsuccessful() -> None:
    (invocation,) = sarif.document(REPORT, "0.1.0", 3)["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["exitCode"] == 3
    assert len(invocation["toolExecutionNotifications"]) == 2


def test_junit_has_a_case_for_every_file() -> None:
    root = ElementTree.fromstring(junit.text(REPORT))
    (suite,) = root
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    outcomes = [[child.tag for child in case] for case in suite.findall("testcase")]
    assert outcomes == [["failure"], [], ["error"], ["failure"], ["system-out"], ["skipped"]]
    failure = suite[0][0]
    assert failure.get("type") == "unsafe"
    assert "would run: os.system('id')" in (failure.text or "")


def test_junit_fails_by_the_verdicts_that_count() -> None:
    root = ElementTree.fromstring(junit.text(REPORT, {"unsafe"}))
    assert root[0].get("failures") == "1"
