"""Policies and baselines: what they change, what they must not, and what they own up to."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from pathlib import Path

import pytest

from weightkit.analyses.baseline import apply_baseline, baseline_of, read_baseline
from weightkit.analyses.policy import apply_policy, read_policy
from weightkit.analyses.scanning import scan
from weightkit.errors import PolicyError
from weightkit.findings import ScanReport
from weightkit.rules.fingerprints import fingerprint

ODD = b"cmine.models\nThing\n."
"""Names a class that nobody knows: for review."""
EVIL = b"cos\nsystem\n(S'id'\ntR."
TODAY = datetime.date(2026, 6, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "odd.pkl").write_bytes(ODD)
    (tmp_path / "models" / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "models" / "rest.7z").write_bytes(b"Rar!\x1a\x07")
    return tmp_path


def verdicts(report: ScanReport) -> dict[str, str]:
    return {Path(file.path).name: file.verdict for file in report.files}


def with_policy(folder: Path, text: str) -> ScanReport:
    path = folder / "policy.toml"
    path.write_text(text)
    return apply_policy(scan([str(folder / "models")]), read_policy(str(path), TODAY))


def entry(table: str, *lines: str, expires: str = "2026-12-31") -> str:
    return "\n".join([table, *lines, 'reason = "looked at"', f"expires = {expires}", ""])


def test_without_a_policy(folder: Path) -> None:
    assert verdicts(scan([str(folder / "models")])) == {
        "odd.pkl": "review",
        "evil.pkl": "unsafe",
        "rest.7z": "unscanned",
    }


def test_an_allowed_global_becomes_a_note(folder: Path) -> None:
    report = with_policy(folder, entry("[[allow]]", 'global = "mine.models.Thing"'))
    assert verdicts(report)["odd.pkl"] == "safe"
    (found,) = next(file for file in report.files if file.path.endswith("odd.pkl")).findings
    assert found.severity == "note"
    assert found.message.endswith("(allowed: looked at)")
    assert report.notices == ()


def test_only_the_exact_global_is_allowed(folder: Path) -> None:
    report = with_policy(folder, entry("[[allow]]", 'global = "mine.models"'))
    assert verdicts(report)["odd.pkl"] == "review"
    assert [item.code for item in report.notices] == ["WK962"]


def test_an_entry_holds_for_its_paths_only(folder: Path) -> None:
    allow = entry("[[allow]]", 'global = "mine.models.Thing"', 'paths = ["*/other/*"]')
    assert verdicts(with_policy(folder, allow))["odd.pkl"] == "review"
    allow = entry("[[allow]]", 'global = "mine.models.Thing"', 'paths = ["*/models/*.pkl"]')
    assert verdicts(with_policy(folder, allow))["odd.pkl"] == "safe"


def test_a_denied_global_makes_unsafe_even_if_it_is_trusted(folder: Path) -> None:
    (folder / "models" / "fine.pkl").write_bytes(b"ccollections\nOrderedDict\n(tR.")
    report = with_policy(folder, entry("[[deny]]", 'global = "collections.OrderedDict"'))
    assert verdicts(report)["fine.pkl"] == "unsafe"
    assert [f.code for file in report.files for f in file.findings if f.code == "WK960"] == [
        "WK960"
    ]


def test_the_severity_of_a_rule_is_changed(folder: Path) -> None:
    report = with_policy(folder, entry("[rules.WK811]", 'severity = "danger"'))
    assert verdicts(report)["odd.pkl"] == "unsafe"


def test_an_expired_entry_does_nothing_and_is_told(folder: Path) -> None:
    allow = entry("[[allow]]", 'global = "mine.models.Thing"', expires="2026-05-31")
    report = with_policy(folder, allow)
    assert verdicts(report)["odd.pkl"] == "review"
    assert [item.code for item in report.notices] == ["WK961"]


def test_an_entry_holds_on_its_last_day(folder: Path) -> None:
    allow = entry("[[allow]]", 'global = "mine.models.Thing"', expires="2026-06-01")
    assert verdicts(with_policy(folder, allow))["odd.pkl"] == "safe"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[allow]", "not TOML"),
        ("x = 1", "unknown table 'x'"),
        ("[allow]\nglobal = 'a'", "must be a list"),
        ("[[allow]]\nglobal = 'a'\nreason = 'b'", "expires must be a date"),
        ("[[allow]]\nglobal = 'a'\nexpires = 2026-01-01", "reason must be given"),
        ("[[allow]]\nreason = 'a'\nexpires = 2026-01-01", "global must be given"),
        (entry("[[allow]]", "global = 'a'", "glob = 1"), "unknown key 'glob'"),
        (entry("[[allow]]", "global = 'a'", "paths = 'x'"), "paths must be a list"),
        (entry("[rules.WK000]", "severity = 'note'"), "no such rule"),
        (entry("[rules.WK811]", "severity = 'off'"), "not one of"),
        (entry("[rules.WK004]", "severity = 'note'"), "cannot be made to pass"),
        (entry("[rules.WK401]", "severity = 'note'"), "cannot be made to pass"),
    ],
)
def test_a_wrong_policy_is_refused(folder: Path, text: str, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        with_policy(folder, text)


# Baselines


def write_baseline(folder: Path) -> str:
    path = folder / "accepted.json"
    path.write_text(json.dumps(baseline_of(scan([str(folder / "models")]))))
    return str(path)


def test_what_was_accepted_is_hidden_but_not_what_was_not_read(folder: Path) -> None:
    path = write_baseline(folder)
    report = apply_baseline(scan([str(folder / "models")]), read_baseline(path))
    assert verdicts(report) == {"odd.pkl": "safe", "evil.pkl": "safe", "rest.7z": "unscanned"}
    assert report.accepted == 2
    assert report.notices == ()


def test_a_cut_archive_was_not_read_and_cannot_be_accepted(folder: Path) -> None:
    """What stands in it nobody has judged: no verdict but unscanned is true."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", EVIL)
        file.writestr("m/data/0", bytes(4096))
    (folder / "models" / "cut.pt").write_bytes(out.getvalue()[:2000])
    report = scan([str(folder / "models")])
    assert verdicts(report)["cut.pt"] == "unscanned"
    path = write_baseline(folder)
    report = apply_baseline(scan([str(folder / "models")]), read_baseline(path))
    assert verdicts(report)["cut.pt"] == "unscanned"


def test_a_moved_file_stays_accepted(folder: Path) -> None:
    path = write_baseline(folder)
    (folder / "models").rename(folder / "elsewhere")
    (folder / "elsewhere" / "odd.pkl").rename(folder / "elsewhere" / "renamed.pkl")
    report = apply_baseline(scan([str(folder / "elsewhere")]), read_baseline(path))
    assert verdicts(report)["renamed.pkl"] == verdicts(report)["evil.pkl"] == "safe"


def test_a_danger_in_other_bytes_is_new(folder: Path) -> None:
    path = write_baseline(folder)
    (folder / "models" / "evil.pkl").write_bytes(b"I0\n0" + EVIL)
    (folder / "models" / "odd.pkl").write_bytes(b"I0\n0" + ODD)
    report = apply_baseline(scan([str(folder / "models")]), read_baseline(path))
    assert verdicts(report)["evil.pkl"] == "unsafe"
    assert verdicts(report)["odd.pkl"] == "safe"
    assert [item.code for item in report.notices] == ["WK963"]


def test_one_more_of_the_same_is_new(folder: Path) -> None:
    path = write_baseline(folder)
    (folder / "models" / "odd.pkl").write_bytes(ODD[:-1] + b"0" + ODD.replace(b"Thing", b"Other"))
    report = apply_baseline(scan([str(folder / "models")]), read_baseline(path))
    (left,) = next(file for file in report.files if file.path.endswith("odd.pkl")).findings
    assert left.subject == "mine.models.Other"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "accepted": [1]}']
)
def test_a_wrong_baseline_is_refused(folder: Path, text: str) -> None:
    path = folder / "b.json"
    path.write_text(text)
    with pytest.raises(PolicyError):
        read_baseline(str(path))


def test_a_fingerprint_tells_findings_apart(folder: Path) -> None:
    found = [item for file in scan([str(folder / "models")]).files for item in file.findings]
    assert len({fingerprint(item) for item in found}) == len(found)
    assert fingerprint(found[0], 1) != fingerprint(found[0], 0) != fingerprint(found[0], 0, "x")
