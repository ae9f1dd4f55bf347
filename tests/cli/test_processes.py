"""Real processes: pipes, closed ones, signals, encodings, terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GGUF = "fixtures/llama-q8_0.gguf"
PROGRAM = [sys.executable, "-m", "weightkit"]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )


def test_piped_is_plain() -> None:
    done = run("inspect", GGUF)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_a_wrong_path_is_one_line() -> None:
    done = run("inspect", "no/such/file")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == "weightkit: no/such/file: WK010 No such file or directory\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*PROGRAM, "inspect", GGUF], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "inspect", GGUF], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 3
    assert done.stderr == b"weightkit: standard output: WK010 No space left on device\n"


def test_closed_standard_output() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m weightkit inspect {GGUF} >&-"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr == b"weightkit: standard output is closed\n"


def wait_until_idle(pid: int) -> None:
    """Wait until a process has used no processor time for half a second: it waits for its input."""
    spent = ""
    for _ in range(60):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        before, spent = spent, " ".join(fields[11:13])
        if before == spent != "0 0":
            return
        time.sleep(0.5)


def test_control_c_is_130() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "inspect", "-"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until_idle(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b"weightkit: interrupted"


def test_ascii_terminals_get_ascii() -> None:
    done = run("inspect", GGUF, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "22.69 K | 22,688" in done.stdout


def on_terminal(*arguments: str, **environ: str) -> str:
    """What the command writes when it talks to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        stdout=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environ},
    )
    os.close(follower)
    pieces = []
    try:
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    except OSError:  # the other end is gone: how Linux says end of file
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return b"".join(pieces).decode()


def test_terminals_get_colours_and_bars() -> None:
    shown = on_terminal("inspect", GGUF)
    assert "\x1b[" in shown
    assert "█" in shown


def test_no_color_keeps_the_bars() -> None:
    shown = on_terminal("inspect", GGUF, NO_COLOR="1")
    assert "\x1b[" not in shown
    assert "█" in shown


def test_dumb_terminals_get_plain_text() -> None:
    shown = on_terminal("inspect", GGUF, TERM="dumb")
    assert "\x1b[" not in shown
    assert "█" not in shown
