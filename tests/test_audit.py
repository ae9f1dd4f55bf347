"""Scanning attacks does nothing on their behalf: CPython's own audit events are the witness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import io, json, sys, zipfile
sys.path.insert(0, sys.argv[1])
from scripts.bench.attacks import everything
from tests.analyses.attacks import CALLS, OTHERS, called
from weightkit.analyses.decompile import decompile
from weightkit.analyses.safety import verdict
from weightkit.analyses.scanning import findings, program_texts, scan_reader
from weightkit.opening.examining import examine
from weightkit.source import Buffer

streams = [called(path, protocol) for path in CALLS for protocol in (2, 4)]
streams += [stream for stream, _, _ in OTHERS.values()]

def zipped(stream):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("m/data.pkl", stream)
    return out.getvalue()

streams += [zipped(stream) for stream in streams]

def scan(stream):
    examined = examine(Buffer(stream))
    found = list(findings(examined))
    for text in program_texts(examined):
        list(text.lines)
    return verdict(found)

files = [Buffer(item.content, item.name) for item in everything()]  # of every format
for file in files:
    scan_reader(file, explain=True)
scan(b"\\x80\\x02N."); scan(streams[0]); scan(streams[-1])  # our own imports, once
scan(OTHERS["nested in a tensor's bytes"][0])
scan(b"\\x80\\x02(Va\\nS'a'\\nt.")

WATCHED = ("import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "ctypes.",
           "pickle.", "marshal.", "shutil.", "webbrowser.", "urllib.", "pty.", "code.", "builtins.breakpoint", "builtins.input")
seen = []
watching = [True]

def hook(event, args):
    if watching[0] and event.startswith(WATCHED):
        seen.append((event, repr(args)[:200]))

sys.addaudithook(hook)
verdicts = [scan(stream) for stream in streams]
for file in files:
    scan_reader(file, explain=True)
caught = len(seen)
exec("pass")  # that the hook does see things
alive = len(seen) > caught
watching[0] = False
print(json.dumps([seen[:caught], alive, len(streams), verdicts.count("unsafe"), len(files)]))
"""


def test_scanning_attacks_fires_no_audit_event() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(root)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen, alive, count, unsafe, files = json.loads(done.stdout)
    assert alive
    assert seen == []
    assert count > 500
    assert files > 400
    assert unsafe == count
