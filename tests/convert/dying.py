"""Conversions that are killed at every step: run as a program, by test_crashes.

A conversion is forked again and again; the n-th call of the operating system that the n-th child
makes is its last (of a write, half is still done). After each death everything is looked at, and the
next conversion must succeed and clean up. No torch and no threads of others are here, so that a
fork is safe and cheap.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from weightkit.convert import convert, places
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish

CALLS = """open close read write pread preadv pwrite sendfile lseek ftruncate fsync mkdir rmdir rename
replace link unlink listdir scandir statvfs""".split()
LEFTOVER = re.compile(r"\.(target|model|receipt)[^/]*\.weightkit-[^/]*\.tmp")


class Scenario:
    """A conversion in ``room``: how it begins, what is run, and what it makes."""

    def __init__(
        self, room: Path, name: str, wish: Wish, *, old: str = "", receipt: str = ""
    ) -> None:
        self.source = room / "source.bin"
        self.held = self.source.read_bytes()
        self.room = room / "work"
        self.target = self.room / name
        self.wish = wish
        self.old = old
        self.receipt = receipt
        self.begin()
        self.before = contents(self.room)
        self.run()
        self.after = contents(self.room)
        assert self.after != self.before

    def begin(self) -> None:
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir()
        if self.old == "file":
            self.target.write_bytes(b"old")
        elif self.old == "folder":
            (self.target / "below").mkdir(parents=True)
            (self.target / "below" / "old").write_bytes(b"old")
            (self.target / "model-00001-of-00002.safetensors").write_bytes(b"old")

    def run(self, *, resume: bool = False) -> None:
        how = How(jobs=1, force=bool(self.old), resume=resume)
        receipt = str(self.room / self.receipt) if self.receipt else ""
        convert(self.source, self.target, self.wish, how, receipt=receipt)

    def check(self) -> None:
        """The target is as it was or as it shall be; what else is there has a name of ours."""
        found = contents(self.room)
        assert self.source.read_bytes() == self.held
        inside = f"{self.target.name}/"
        for name in {*found, *self.before, *self.after}:
            if LEFTOVER.fullmatch(name.partition("/")[0]):
                continue
            assert found.get(name) in (self.before.get(name), self.after.get(name)), name
        target = {name: held for name, held in found.items() if f"{name}/".startswith(inside)}
        states = [
            {name: held for name, held in state.items() if f"{name}/".startswith(inside)}
            for state in (self.before, self.after)
        ]
        assert target in states, sorted(target)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every folder (which has no bytes)."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def dying(number: int) -> None:
    """Make the ``number``-th call from now the last of this process."""
    left = iter(range(number))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counting(*args: Any, **options: Any) -> Any:
            if next(left, None) is None:
                if call.__name__ in ("pwrite", "write") and len(args[1]) > 1:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counting

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    places._exchange = counted(places._exchange)


def killed(scenario: Scenario, number: int) -> bool:
    """Whether a conversion lived until its ``number``-th call, and was killed there."""
    child = os.fork()
    if not child:
        try:
            dying(number)
            scenario.run()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "a conversion failed that nobody killed"
    return os.WIFSIGNALED(status)


def sweep(scenario: Scenario) -> int:
    """Kill at every call; gives how many there were."""
    number = 0
    while True:
        scenario.begin()
        if not killed(scenario, number):
            return number
        scenario.check()
        again(scenario, resume=bool(number % 2) and not scenario.target.suffix)
        number += 1


def again(scenario: Scenario, *, resume: bool) -> None:
    """What the next conversion does: the whole work, and away with what is left of the last."""
    if contents(scenario.room) == scenario.after:
        return
    if not scenario.old and scenario.target.exists():
        scenario.target.unlink() if scenario.target.is_file() else shutil.rmtree(scenario.target)
    for name in ("target.sidecar.json", "receipt.json"):
        if not scenario.old:
            (scenario.room / name).unlink(missing_ok=True)
    scenario.run(resume=resume)
    assert contents(scenario.room) == scenario.after


SHARDED = Wish(shard_nbytes=200)
SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "file": partial(Scenario, name="target.safetensors", wish=Wish()),
    "file replaced": partial(Scenario, name="target.safetensors", wish=Wish(), old="file"),
    "archive": partial(Scenario, name="target.pt", wish=Wish()),
    "sidecar and receipt": partial(
        Scenario,
        name="target.safetensors",
        wish=Wish(key="model", sidecar=".", accepted=frozenset(["--sidecar"])),
        receipt="receipt.json",
    ),
    "sidecar and receipt replaced": partial(
        Scenario,
        name="target.safetensors",
        wish=Wish(key="model", sidecar=".", accepted=frozenset(["--sidecar"])),
        receipt="receipt.json",
        old="file",
    ),
    "folder": partial(Scenario, name="target", wish=SHARDED),
    "folder replaced": partial(Scenario, name="target", wish=SHARDED, old="folder"),
}


def main(room: str, name: str) -> None:
    sys.stdout.write(str(sweep(SCENARIOS[name](Path(room)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
