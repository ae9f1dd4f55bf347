"""Real processes: pipes, closed ones, signals, encodings, terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import hear_signals

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


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 130, b"weightkit: interrupted"),
        (signal.SIGTERM, 143, b"weightkit: ended by SIGTERM"),
        (signal.SIGHUP, 129, b"weightkit: ended by SIGHUP"),
    ],
)
def test_signals_that_end(number: int, status: int, said: bytes) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "inspect", "-"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,
    )
    wait_until_idle(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.strip() == said


@pytest.mark.parametrize("command", ["checksum", "id", "stats"])
def test_signals_are_heard_in_the_midst_of_a_large_file(command: str, tmp_path: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head.encode())
        file.truncate(file.tell() + (1 << 42))  # of holes
    process = subprocess.Popen(
        [*PROGRAM, command, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_signals,
    )
    wait_until_busy(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 143


def wait_until_busy(pid: int) -> None:
    """Wait until a process has threads: it reads."""
    for _ in range(200):
        if len(os.listdir(f"/proc/{pid}/task")) > 1:
            break
        time.sleep(0.1)


def test_a_signal_ends_the_workers_too(tmp_path: Path) -> None:
    """They are processes of their own, and may be in the midst of long work."""
    code = (
        "import time\n"
        "from weightkit.analyses import scanning\n"
        "from weightkit.__main__ import main\n"
        "def scan_file(path, explain):\n    time.sleep(50)\n"
        "scanning.scan_file = scan_file\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    program = tmp_path / "slow.py"
    program.write_text(code)
    files = [tmp_path / f"{number}.bin" for number in range(8)]
    for file in files:
        file.write_bytes(b"x")
    process = subprocess.Popen(
        [sys.executable, str(program), "scan", "--jobs", "2", *map(str, files)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=hear_signals,
    )
    workers = wait_for_workers(process.pid)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    assert err.strip() == b"weightkit: ended by SIGTERM"
    assert not any(map(is_worker, workers))


def wait_for_workers(pid: int) -> list[str]:
    """The workers of a process, once both have begun."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(100):
        found = [child for child in children.read_text().split() if is_worker(child)]
        if len(found) == 2:
            break
        time.sleep(0.1)
    wait_until_idle(int(found[-1]))
    return found


def is_worker(pid: str) -> bool:
    """And not what tracks their resources."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


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


def test_a_terminal_gets_no_control_characters_of_file_names(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31mred.bin"
    path.write_bytes(b"x")
    assert "\x1b[31m" not in on_terminal("checksum", "--no-cache", str(path))
    assert "\x1b[31m" in run("checksum", "--no-cache", str(path)).stdout  # sha256sum looks for it
