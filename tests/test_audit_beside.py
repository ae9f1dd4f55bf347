"""Judging configs, templates and graphs does nothing on their behalf: audit events are the witness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from scripts.bench.attacks import everything
from weightkit.analyses.configs import judge_index
from weightkit.analyses.folder import look
from weightkit.analyses.scanning import findings
from weightkit.opening.examining import examine
from weightkit.source import Buffer

def scan(item):
    source = Buffer(item.content, item.name)
    examined = examine(source, look=look)
    found = list(findings(examined))
    if examined.index is not None:
        found += judge_index(examined.index, source)
    return found

KINDS = ("template", "config", "Keras", "graph", "archive")
made = [item for item in everything() if item.kind in KINDS]
first = [next(item for item in made if item.kind == kind and item.malicious) for kind in KINDS]
for item in [*first, *(item for item in made if not item.malicious)]:
    scan(item)  # our own imports, once

WATCHED = ("import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "ctypes.",
           "pickle.", "marshal.", "shutil.", "webbrowser.", "urllib.", "pty.", "code.",
           "builtins.breakpoint", "builtins.input")
seen = []
watching = [True]

def hook(event, args):
    if watching[0] and event.startswith(WATCHED):
        seen.append((event, repr(args)[:200]))

sys.addaudithook(hook)
attacks = [item for item in made if item.malicious]
told = sum(bool(scan(item)) for item in attacks)
caught = len(seen)
exec("pass")  # that the hook does see things
alive = len(seen) > caught
watching[0] = False
print(json.dumps([seen[:caught], alive, len(attacks), told]))
"""


def test_nothing_is_imported_compiled_or_opened_for_an_attack() -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)], capture_output=True, text=True, check=True
    )
    seen, alive, attacks, told = json.loads(done.stdout)
    assert seen == []
    assert alive
    assert told == attacks > 60
