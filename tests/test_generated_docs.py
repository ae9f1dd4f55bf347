"""docs/ is what scripts/gen_docs makes, and it notices when it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from weightkit.cli import COMMANDS
from weightkit.rules import RULES

ROOT = Path(__file__).resolve().parent.parent


def check(root: Path) -> int:
    return subprocess.run([sys.executable, root / "scripts/gen_docs", "--check"]).returncode


def test_pages_are_fresh() -> None:
    assert check(ROOT) == 0


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    for name in ("weightkit", "scripts", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "docs/rules.md").write_text("old", encoding="utf-8")
    assert check(tmp_path) == 1


def test_every_command_and_rule_is_documented() -> None:
    cli = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    rules = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    assert all(f"## weightkit {name}\n" in cli for name in COMMANDS)
    assert all(f"**{code} " in rules for code in RULES)
