"""Whatever happens on the way, the source stays, and the target is as it was or whole."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import hear_signals
from weightkit.convert import convert, places, plan, running
from weightkit.convert.batches import errands, known_target
from weightkit.convert.running import How
from weightkit.convert.wishes import Wish, parse_dtype_rule
from weightkit.errors import AccessError, PlanError, WeightkitError

ROOT = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534
SHARDED = Wish(shard_nbytes=200)


def saved(path: Path, held: Any = None, **options: Any) -> Path:
    if held is None:
        held = {
            "a.weight": torch.arange(40.0).reshape(5, 8),
            "turned": torch.arange(12.0).reshape(3, 4).t(),
            "b": torch.zeros(3, dtype=torch.int64),
            "s": torch.ones(7, dtype=torch.bfloat16),
        }
    torch.save(held, path, **options)
    return path


def weightkit(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "weightkit", *map(str, arguments)]
    options = {"cwd": ROOT, "preexec_fn": hear_signals, **options}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".weightkit-" in path.name]


# Killed


SIDE = {"sidecar and receipt", "sidecar and receipt replaced"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario", ["file", "file replaced", "archive", "folder", "folder replaced", *sorted(SIDE)]
)
def test_killed_at_every_call_of_the_system(scenario: str, tmp_path: Path) -> None:
    held = {"model": {"w": torch.ones(9)}, "epoch": 3} if scenario in SIDE else None
    saved(tmp_path / "source.bin", held)
    command = [sys.executable, "-m", "tests.convert.dying", str(tmp_path), scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40  # it did die on the way


@pytest.mark.slow
@pytest.mark.parametrize("old", [b"", b"old"], ids=["absent", "replaced"])
def test_killed_at_any_time(old: bytes, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin", {f"w{n}": torch.rand(1 << 20) for n in range(24)})
    held = source.read_bytes()
    room = tmp_path / "room"
    room.mkdir()
    target = room / "target.safetensors"
    started = time.monotonic()
    assert weightkit("convert", source, target).wait() == 0
    whole, seconds = target.read_bytes(), time.monotonic() - started
    killed = 0
    for step in range(16):
        target.unlink(missing_ok=True)
        if old:
            target.write_bytes(old)
        process = weightkit("convert", source, target, *["--force"] * bool(old))
        time.sleep(seconds * step / 14)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
        assert (target.read_bytes() if target.exists() else b"") in (old, whole)
        assert {path.name for path in room.iterdir()} <= {target.name, *leftovers(room)}
    assert killed > 4
    assert weightkit("convert", source, target, "--force").wait() == 0
    assert [path.name for path in room.iterdir()] == [target.name]
    assert target.read_bytes() == whole
    assert source.read_bytes() == held


ENDING = {
    signal.SIGINT: (130, "weightkit: interrupted"),
    signal.SIGTERM: (143, "weightkit: ended by SIGTERM"),
    signal.SIGHUP: (129, "weightkit: ended by SIGHUP"),
}


def large(folder: Path) -> Path:
    """A source that takes a while."""
    return saved(folder / "source.bin", {f"w{n}": torch.rand(1 << 20) for n in range(24)})


def ended(process: subprocess.Popen[str], number: int, room: Path, wanted: str = "") -> str:
    """What a conversion says that is ended by a signal as soon as ``room`` has something of it."""
    while process.poll() is None and not any(
        wanted in path.name for path in room.rglob("*.weightkit-*.tmp*" if not wanted else "*")
    ):
        time.sleep(0.001)
    for _ in range(1 if number == signal.SIGINT else 4):  # a second interrupts no clearing up
        process.send_signal(number)
        time.sleep(0.002)
    said = process.communicate()[1].strip()
    if process.returncode == 0:
        pytest.skip("the conversion ended before the signal came")
    # A repeated signal may come when all is done: a shell calls that the same status.
    assert process.returncode in (ENDING[signal.Signals(number)][0], -number), said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("number", ENDING)
def test_ended_by_a_signal(number: int, tmp_path: Path) -> None:
    source, room = large(tmp_path), tmp_path / "room"
    room.mkdir()
    said = ended(weightkit("convert", source, room / "target.safetensors"), number, room)
    assert said == ENDING[signal.Signals(number)][1]
    assert [*room.iterdir()] == []


@pytest.mark.parametrize("number", ENDING)
def test_a_folder_that_a_signal_ends_is_resumed(number: int, tmp_path: Path) -> None:
    source, room = large(tmp_path), tmp_path / "room"
    room.mkdir()
    words = ["convert", source, room / "target", "--shard-size", "5MB"]
    said = ended(weightkit(*words), number, room, "source-00002")
    (left,) = leftovers(room)
    assert said.endswith(f"; the finished files are kept for --resume in {room / left}")
    assert [path.name for path in room.iterdir()] == [left]
    inode = (room / left / "source-00001-of-00024.safetensors").stat().st_ino
    assert weightkit(*words, "--resume").wait() == 0
    assert (room / "target/source-00001-of-00024.safetensors").stat().st_ino == inode
    assert not leftovers(room)


@pytest.mark.parametrize("name", ["target.safetensors", "target", "target.pt"])
def test_an_interrupt_before_there_is_a_lock(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "source.bin")

    def flock(fd: int, how: int) -> None:
        monkeypatch.undo()
        assert leftovers(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(places.fcntl, "flock", flock)
    monkeypatch.setattr(os, "dup", lambda fd: flock(fd, 0))
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["source.bin"]


def test_a_batch_that_a_signal_ends_keeps_what_is_done(tmp_path: Path) -> None:
    saved(tmp_path / "a.bin")
    large(tmp_path)
    process = weightkit("convert", "--beside", tmp_path / "a.bin", tmp_path / "source.bin")
    ended(process, signal.SIGTERM, tmp_path, ".source.safetensors.weightkit-")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.bin", "a.safetensors", "source.bin"]


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup does it."""
    source, room = large(tmp_path), tmp_path / "room"
    room.mkdir()
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = weightkit("convert", source, room / "target.safetensors", preexec_fn=ignore)
    while process.poll() is None and not leftovers(room):
        time.sleep(0.001)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0


def test_resume_takes_up_the_finished_shards(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    convert(source, tmp_path / "whole", SHARDED)
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, SHARDED, How(tick=stopping(after=2)))
    assert not target.exists()
    (place,) = leftovers(tmp_path)
    (first, *_) = sorted(path for path in (tmp_path / place).iterdir() if path.suffix != ".part")
    inode = first.stat().st_ino
    convert(source, target, SHARDED, How(resume=True))
    assert not leftovers(tmp_path)
    assert (target / first.name).stat().st_ino == inode
    assert files(target) == files(tmp_path / "whole")


def interrupted(source: Path, target: Path, wish: Wish = SHARDED) -> Path:
    """The temporary folder of a conversion that an interrupt ended after two shards."""
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, wish, How(tick=stopping(after=2)))
    (place,) = leftovers(target.parent)
    return target.parent / place


def flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)


def flip_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"format":"pt"', b'"format":"tf"'))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in it").write_bytes(b"x")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def extra(path: Path) -> None:
    path.with_name("modeling.py").write_text("import os")
    path.with_name("model.safetensors.index.json").symlink_to("nowhere")
    path.with_name("below").symlink_to("/")


@pytest.mark.parametrize(
    "change", [flip, flip_header, cut, link, link_to_nothing, folder, fifo, extra]
)
def test_what_changed_while_nobody_wrote_is_not_taken_up(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    whole = convert(source, tmp_path / "whole", SHARDED)
    change(min(interrupted(source, target).glob("*.safetensors")))
    done = convert(source, target, SHARDED, How(resume=True))
    assert files(target) == files(tmp_path / "whole")
    assert not any(path.is_symlink() for path in target.iterdir())
    assert done.content_id == whole.content_id
    assert not leftovers(tmp_path)


def test_a_second_interrupt_keeps_what_the_first_kept(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    place = interrupted(source, target)
    finished = {path.name for path in place.glob("*.safetensors")}
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, SHARDED, How(resume=True, tick=stopping(after=len(finished))))
    assert finished <= {path.name for path in place.iterdir()}


@pytest.mark.parametrize("verify", [True, False])
def test_what_finished_shards_lost_is_counted_and_wants_consent(
    tmp_path: Path, verify: bool
) -> None:
    held = {f"l{number}": torch.full((40,), 1e30) for number in range(4)}
    source, target = saved(tmp_path / "source.bin", held), tmp_path / "target"
    wish = Wish(shard_nbytes=80, dtypes=(parse_dtype_rule("f16"),))
    lossy = replace(wish, accepted=frozenset(["--allow-lossy"]))
    how = How(resume=True, verify=verify)
    interrupted(source, target, lossy)
    done = convert(source, target, lossy, how)
    assert [item.overflow for item in done.casts] == [40] * 4
    shutil.rmtree(target)
    interrupted(source, target, lossy)
    with pytest.raises(PlanError) as caught:
        convert(source, target, wish, how)
    assert caught.value.code == "WK650"
    assert (caught.value.tensor, target.exists()) == ("l0", False)


def test_what_another_plan_left_is_not_taken_up(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, SHARDED, How(tick=stopping(after=2)))
    other = Wish(shard_nbytes=200, prefix="x.")
    convert(source, target, other, How(resume=True))
    assert not leftovers(tmp_path)
    convert(source, tmp_path / "whole", other)
    assert files(target) == files(tmp_path / "whole")


def stopping(after: int) -> Callable[[int], None]:
    left = iter(range(after))

    def tick(_: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return tick


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Long names

NAME_MAX = 255
LONG = [
    pytest.param("n", id="ascii"),
    pytest.param("é", id="two bytes"),
    pytest.param("重", id="three bytes"),
    pytest.param("🏋", id="four bytes"),
    pytest.param("\udcff", id="no text"),
]


def longest(sign: str, ending: str, nbytes: int = NAME_MAX) -> str:
    """A name of so many bytes."""
    count, rest = divmod(nbytes - len(ending), len(os.fsencode(sign)))
    name = "x" * rest + sign * count + ending
    assert len(os.fsencode(name)) == nbytes
    return name


@pytest.mark.parametrize("nbytes", [219, 220, 223, 224, 255])
@pytest.mark.parametrize("sign", LONG)
def test_a_target_of_a_long_name(sign: str, nbytes: int, tmp_path: Path) -> None:
    source, room = saved(tmp_path / "source.bin"), tmp_path / "room"
    room.mkdir()
    for ending, wish in ((".safetensors", Wish()), (".pt", Wish()), ("", SHARDED)):
        target = room / longest(sign, ending, nbytes)
        for how in (How(), How(force=True)):
            convert(source, target, wish, how)
            assert [*room.iterdir()] == [target]
        shutil.rmtree(target) if target.is_dir() else target.unlink()


@pytest.mark.parametrize("sign", LONG)
def test_small_files_of_long_names(sign: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin", {"model": {"w": torch.ones(3)}, "epoch": 1})
    room = tmp_path / "room"
    room.mkdir()
    side, receipt = room / longest(sign, ".side"), room / longest(sign, ".json")
    wish = Wish(sidecar=str(side), accepted=frozenset(["--sidecar"]))
    for how in (How(), How(force=True)):
        convert(source, room / "target.safetensors", wish, how, receipt=str(receipt))
    assert {*room.iterdir()} == {side, receipt, room / "target.safetensors"}


def test_a_weight_file_of_a_long_name_in_a_folder(tmp_path: Path) -> None:
    """It has the source's."""
    source = saved(tmp_path / longest("é", ".bin", NAME_MAX - len(".safetensors") + len(".bin")))
    convert(source, tmp_path / "target")
    assert [path.stem for path in (tmp_path / "target").iterdir()] == [source.stem]


@pytest.mark.parametrize("sign", LONG)
def test_long_names_do_not_meet(sign: str, tmp_path: Path) -> None:
    """Names that differ in their last byte, of which one is being written."""
    source = saved(tmp_path / "source.bin")
    room = tmp_path / "room"
    room.mkdir()
    names = [longest(sign, f"{number}.safetensors") for number in range(2)]

    def meanwhile() -> None:
        convert(source, room / names[1])
        with pytest.raises(PlanError, match="another process writes it") as caught:
            convert(source, room / names[0])
        assert caught.value.code == "WK669"

    convert(source, room / names[0], how=How(jobs=1, tick=once(meanwhile)))
    assert sorted(path.name for path in room.iterdir()) == sorted(names)


@pytest.mark.parametrize("sign", LONG)
def test_what_died_under_a_long_name(sign: str, tmp_path: Path) -> None:
    """It is resumed by the same plan, and taken away by another."""
    source, target = saved(tmp_path / "source.bin"), tmp_path / longest(sign, "")
    for prefix in ("", "x."):
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, SHARDED, How(tick=stopping(after=2)))
        (place,) = leftovers(tmp_path)
        first = min((tmp_path / place).glob("*.safetensors"))
        inode = first.stat().st_ino
        convert(source, target, Wish(shard_nbytes=200, prefix=prefix), How(resume=True))
        assert not leftovers(tmp_path)
        assert prefix or (target / first.name).stat().st_ino == inode
        shutil.rmtree(target)


def test_an_interrupt_does_not_wait_for_whole_tensors(tmp_path: Path) -> None:
    held = {name: torch.zeros(8 << 20, dtype=torch.uint8) for name in "ab"}
    source = saved(tmp_path / "source.pt", held)
    deflated = tmp_path / "deflated.pt"
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    done = []
    both = threading.Barrier(2, timeout=20)

    def tick(nbytes: int) -> None:
        done.append(nbytes)
        if len(done) <= 2:
            first = both.wait() == 0
            if first:
                raise KeyboardInterrupt
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        convert(deflated, tmp_path / "target.safetensors", how=How(jobs=2, tick=tick))
    assert sum(done) < 8 << 20
    assert [path.name for path in tmp_path.iterdir() if "target" in path.name] == []


# No space


@contextmanager
def small_disk(folder: Path, size: str, options: str = "") -> Iterator[Path]:
    """A file system of its own; skips the test where it cannot be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin", {"w": torch.zeros(1 << 20)})
    with small_disk(tmp_path, "1m") as disk:
        with pytest.raises(PlanError, match=r"4,194,\d+ bytes to write, 1,048,576 free") as caught:
            convert(source, disk / "target.safetensors")
        assert caught.value.code == "WK668"
        assert [*disk.iterdir()] == []


def test_what_the_dead_left_is_no_lack_of_space(tmp_path: Path) -> None:
    """A file is taken away before another is written; a folder's finished files are taken up."""
    held = {f"l{number}": torch.zeros(1 << 16) for number in range(6)}
    source = saved(tmp_path / "source.bin", held)
    wish = Wish(shard_nbytes=1 << 18)
    with small_disk(tmp_path, "2m") as disk:
        for name in ("target.safetensors", "target"):
            dead = disk / f".{name}.weightkit-0123456789abcdef.tmp"
            dead.write_bytes(bytes(1 << 20))
            convert(source, disk / name, wish if name == "target" else None)
            assert [path.name for path in disk.iterdir()] == [name]
            other = disk / f".other.{name}.weightkit-0123456789abcdef.tmp"
            other.write_bytes(bytes(1 << 18))  # of another target: it takes its space
            with pytest.raises(PlanError, match=r"1,57[0-9],[0-9]+ bytes to write, 2"):
                convert(source, disk / f"more.{name}", None if "." in name else wish)
            other.unlink()
            shutil.rmtree(disk / name) if name == "target" else (disk / name).unlink()
        place = interrupted(source, disk / "target", wish)
        assert sum(path.stat().st_size for path in place.iterdir()) > 1 << 19
        assert plan(source, disk / "target", wish, How()).refused == ()
        convert(source, disk / "target", wish, How(resume=True))


@pytest.mark.parametrize("name", ["target.safetensors", "target.pt", "target"])
@pytest.mark.parametrize("way", ["move", "gather", "cast"])
def test_the_disk_fills_up(
    name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = torch.zeros(1 << 10, 1 << 10)
    held = {"a": tensor.t() if way == "gather" else tensor, "b": torch.zeros(9)}
    source = saved(tmp_path / "source.bin", held)
    wish = Wish(dtypes=(("*", weightkit_dtype("f64")),)) if way == "cast" else Wish()
    monkeypatch.setattr(running, "check_space", lambda *_: None)
    with small_disk(tmp_path, "1m") as disk:
        with pytest.raises(AccessError, match="No space left on device") as caught:
            convert(source, disk / name, wish)
        assert caught.value.path.startswith(str(disk / name))
        assert [*disk.iterdir()] == []


def weightkit_dtype(name: str) -> Any:
    from weightkit.dtypes import DTYPES

    return DTYPES[name]


def test_the_disk_fills_up_over_an_old_target(tmp_path: Path, monkeypatch: Any) -> None:
    source = saved(tmp_path / "source.bin", {"w": torch.zeros(1 << 20)})
    monkeypatch.setattr(running, "check_space", lambda *_: None)
    with small_disk(tmp_path, "1m") as disk:
        (disk / "target.safetensors").write_bytes(b"old")
        with pytest.raises(AccessError, match="No space left on device"):
            convert(source, disk / "target.safetensors", how=How(force=True))
        assert files(disk) == {"target.safetensors": b"old"}


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin", {"w": torch.zeros(1 << 20)})
    room = tmp_path / "room"
    room.mkdir()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    process = weightkit("convert", source, room / "target.safetensors", preexec_fn=limit)
    _, said = process.communicate()
    assert process.returncode == 3
    assert "File too large" in said
    assert "Traceback" not in said
    assert [*room.iterdir()] == []


# Where no target can be


def test_a_file_system_that_cannot_be_written(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    with small_disk(tmp_path, "1m", ",ro") as disk:
        for name in ("target.safetensors", "target"):
            message = f"/{name}: WK667 no file can be made in '{disk}': Read-only file system"
            with pytest.raises(PlanError, match=message):
                convert(source, disk / name)
            assert [item.code for item in plan(source, disk / name, how=How()).refused] == ["WK667"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if this is root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_without_permission(tmp_path: Path) -> None:
    opened(tmp_path)
    source = saved(tmp_path / "source.bin")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    convert(source, tmp_path / "first.safetensors", receipt=str(tmp_path / "first.json"))  # imports
    for name in ("target.safetensors", "target"):
        message = f"/{name}: WK667 no file can be made in '{closed}': Permission denied"
        with as_nobody(), pytest.raises(PlanError, match=message):
            convert(source, closed / name)
    receipt = closed / "receipt.json"
    with as_nobody(), pytest.raises(PlanError, match=f"{receipt}: WK667 no file can be made"):
        convert(source, tmp_path / "target.safetensors", receipt=str(receipt))
    assert [*closed.iterdir()] == []
    assert not (tmp_path / "target.safetensors").exists()


def test_a_folder_of_a_tree_that_cannot_be_read_is_no_less(tmp_path: Path) -> None:
    """It is listed, so that opening it fails, and the batch with it."""
    opened(tmp_path)
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name / "model.bin")
    (tmp_path / "closed").chmod(0)
    with as_nobody():
        found = errands([str(tmp_path)], known_target(""), recursive=True)
    assert [item.source for item in found] == [f"{tmp_path}/open/model.bin", f"{tmp_path}/closed"]
    with as_nobody(), pytest.raises(AccessError, match="Permission denied"):
        convert(found[1].source, found[1].target)


def test_a_source_without_permission(tmp_path: Path) -> None:
    opened(tmp_path)
    source = saved(tmp_path / "source.bin")
    source.chmod(0)
    (tmp_path / "room").mkdir(mode=0o777)
    with as_nobody(), pytest.raises(AccessError, match="Permission denied"):
        convert(source, tmp_path / "room" / "target.safetensors")
    assert [*(tmp_path / "room").iterdir()] == []


def opened(folder: Path) -> None:
    """Let everybody pass through the folders that lead here."""
    for path in (folder, *folder.parents):
        if path.owner() == folder.owner() and path.name.startswith("pytest"):
            path.chmod(path.stat().st_mode | 0o011)
    folder.chmod(0o777)


def test_what_is_no_file(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "link.safetensors").symlink_to("fifo.safetensors")
    for name in ("fifo.safetensors", "link.safetensors"):
        for how in (How(), How(force=True)):
            with pytest.raises(PlanError, match="the target is no regular file") as caught:
                convert(source, tmp_path / name, how=how)
            assert caught.value.code == "WK667"
    with pytest.raises(PlanError, match="the target is no regular file"):
        convert(source, "/dev/null", Wish(format="safetensors"), How(force=True))
    assert not leftovers(tmp_path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    (tmp_path / "there").mkdir()
    (tmp_path / "link.safetensors").symlink_to("there/target.safetensors")
    convert(source, tmp_path / "link.safetensors")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["target.safetensors"]
    (tmp_path / "there" / "target.safetensors").write_bytes(b"old")
    with pytest.raises(PlanError, match="exists"):
        convert(source, tmp_path / "link.safetensors")
    convert(source, tmp_path / "link.safetensors", how=How(force=True))
    assert (tmp_path / "link.safetensors").is_symlink()
    assert (tmp_path / "there" / "target.safetensors").stat().st_size > 100
    assert not leftovers(tmp_path)


def test_another_file_system(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    convert(source, tmp_path / "here.safetensors")
    with small_disk(tmp_path, "4m") as disk:
        assert disk.stat().st_dev != tmp_path.stat().st_dev
        convert(source, disk / "target.safetensors")
        convert(source, disk / "folder", SHARDED)
        convert(source, disk / "folder", SHARDED, How(force=True))
        assert not leftovers(disk)
        held = (disk / "target.safetensors").read_bytes()
        assert held == (tmp_path / "here.safetensors").read_bytes()


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link", "dots"])
@pytest.mark.parametrize("force", [False, True])
def test_the_source_as_target(link: str, force: bool, tmp_path: Path) -> None:
    source = tmp_path / "source.safetensors"
    convert(saved(tmp_path / "first.bin"), source)
    held = source.read_bytes()
    target = tmp_path / "target.safetensors"
    if link == "symlink":
        target.symlink_to(source)
    elif link == "hard link":
        os.link(source, target)
    else:
        target = tmp_path / ".." / tmp_path.name / source.name if link == "dots" else source
    for one, other in [(source, target), (target, source)]:
        with pytest.raises(PlanError) as caught:
            convert(one, other, how=How(force=force))
        assert caught.value.code == "WK666"
    assert source.read_bytes() == held


@pytest.mark.parametrize("what", ["sidecar", "receipt"])
@pytest.mark.parametrize("victim", ["source.bin", "target.safetensors"])
def test_a_small_file_in_the_place_of_a_large_one(what: str, victim: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin", {"model": {"w": torch.ones(3)}, "epoch": 1})
    held = source.read_bytes()
    path = str(tmp_path / victim)
    wish = Wish(sidecar=path if what == "sidecar" else ".", accepted=frozenset(["--sidecar"]))
    receipt = path if what == "receipt" else ""
    with pytest.raises(PlanError) as caught:
        convert(source, tmp_path / "target.safetensors", wish, How(force=True), receipt=receipt)
    assert caught.value.code == "WK666"
    assert files(tmp_path) == {"source.bin": held}


def with_values(tmp_path: Path) -> Path:
    """A folder with a checkpoint, values beside it, a config, and the sidecar of another conversion."""
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    saved(source / "pytorch_model.bin", {"model": {"w": torch.ones(3)}, "epoch": 1})
    for name in ("config.json", "weightkit.sidecar.json", "below/more.json"):
        (source / name).write_text("{}")
    return source


@pytest.mark.parametrize("what", ["sidecar", "receipt"])
@pytest.mark.parametrize("old", [False, True], ids=["absent", "replaced"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("model.safetensors", "WK666"),
        ("config.json", "WK666"),
        ("below/more.json", "WK666"),
        ("weightkit.sidecar.json", "WK666"),
        ("nowhere/side.json", "WK667"),
        ("", "WK666"),
    ],
)
def test_a_small_file_in_the_place_of_one_in_the_target(
    what: str, old: bool, name: str, code: str, tmp_path: Path
) -> None:
    """The target folder's own files stay, and nothing is written."""
    source, target = with_values(tmp_path), tmp_path / "target"
    if old:
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"old")
    path = f"{target}/{name}" if name else str(target)
    flags = frozenset(["--sidecar", "--drop-non-tensors"])
    wish = Wish(sidecar=path if what == "sidecar" else "", accepted=flags)
    receipt = path if what == "receipt" else ""
    with pytest.raises(PlanError) as caught:
        convert(source, target, wish, How(force=old), receipt=receipt)
    assert (caught.value.code, caught.value.path) == (code, path)
    held = files(target) if old else {}
    assert held == ({"model.safetensors": b"old"} if old else {})
    assert target.exists() == old
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("name", ["side.json", "below/side.json"])
@pytest.mark.parametrize("spelt", ["{}/target/{}", "{}/./target/{}", "{}/other/../target//{}"])
@pytest.mark.parametrize("old", [False, True], ids=["absent", "replaced"])
def test_small_files_inside_the_target_appear_with_it(
    name: str, spelt: str, old: bool, tmp_path: Path
) -> None:
    """However the folder is spelt; they are not lost with the one that is replaced."""
    source, target = with_values(tmp_path), tmp_path / "target"
    (tmp_path / "other").mkdir()
    if old:
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"old")
    wish = Wish(sidecar=spelt.format(tmp_path, name), accepted=frozenset(["--sidecar"]))
    receipt = spelt.format(tmp_path, f"{name}.receipt")
    convert(source, target, wish, How(force=old), receipt=receipt)
    assert b"epoch" in (target / name).read_bytes()
    assert b"in-toto" in (target / f"{name}.receipt").read_bytes()


def test_a_receipt_that_exists_is_said_before_anything_is_written(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    receipt = tmp_path / "receipt.json"
    receipt.write_text("old")
    with pytest.raises(PlanError, match="the file exists"):
        convert(source, tmp_path / "target.safetensors", receipt=str(receipt))
    assert not (tmp_path / "target.safetensors").exists()


# What --force does not take away


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thesis.txt", "a folder of something else ('thesis.txt')"),
        (".git/config", "a folder of something else ('.git')"),
        ("below/model.safetensors", "a folder of something else ('below')"),
    ],
)
def test_a_folder_of_something_else_is_not_replaced(name: str, said: str, tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    path = target / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    if ".git" in name:
        (target / "model.safetensors").write_text("old")
    with pytest.raises(PlanError) as caught:
        convert(source, target, how=How(force=True))
    assert said in str(caught.value)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("where", [".", "below"])
def test_where_one_stands_is_not_replaced(where: str, tmp_path: Path, monkeypatch: Any) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    (target / "below").mkdir(parents=True)
    (target / "model.safetensors").write_text("old")
    monkeypatch.chdir(target / where)
    with pytest.raises(PlanError, match="where you are"):
        convert(source, target, how=How(force=True))
    assert (target / "model.safetensors").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), AttributeError("renameat2")])
def test_folders_that_cannot_change_places(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exchange(one: str, other: str) -> None:
        raise error

    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_text("old")
    monkeypatch.setattr(places, "_exchange", exchange)
    with pytest.raises(PlanError, match="cannot exchange folders") as caught:
        convert(source, target, how=How(force=True))
    assert caught.value.code == "WK667"
    assert files(target) == {"model.safetensors": b"old"}
    assert not leftovers(tmp_path)


def test_standing_nowhere(tmp_path: Path, monkeypatch: Any) -> None:
    source = saved(tmp_path / "source.bin")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(AccessError, match="No such file"):
        convert(source, "target.safetensors")


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target"
    target.mkdir()
    convert(source, target, how=How(force=True))
    assert [*target.iterdir()]


@pytest.mark.parametrize("name", ["out.gguf", "out.xyz", "out.ONNX"])
def test_a_name_that_looks_like_another_format(name: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.bin")
    with pytest.raises(PlanError, match=r"is no format that is written .* end it with /") as caught:
        convert(source, tmp_path / name)
    assert caught.value.code == "WK667"
    assert not (tmp_path / name).exists()
    convert(source, f"{tmp_path / name}/")
    assert (tmp_path / name).is_dir()
    convert(source, tmp_path / "Llama-3.1-8B")
    convert(source, tmp_path / "model.v2", Wish(format="npz", as_bytes=True))
    assert (tmp_path / "model.v2").is_file()


# The source changes


def once(action: Callable[[], object], after: int = 0) -> Callable[[int], None]:
    todo = [action, *[lambda: None] * after]
    lock = threading.Lock()

    def tick(_: int) -> None:
        with lock:
            if todo:
                todo.pop()()

    return tick


def appended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def replaced(path: Path) -> None:
    """By another file of the same name, as an editor or a download does it."""
    other = path.with_suffix(".new")
    shutil.copy(path, other)
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended to": appended,
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "touched": lambda path: os.utime(path, (1, 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["target.safetensors", "target.pt", "target"])
@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
def test_the_source_changes(
    change: Callable[[Path], object], name: str, verify: bool, tmp_path: Path
) -> None:
    held = {f"w{n}": torch.rand(1 << 16) for n in range(12)}
    source = saved(tmp_path / "source.bin", held)
    how = How(jobs=1, verify=verify, tick=once(lambda: change(source)))
    with pytest.raises(WeightkitError) as caught:
        convert(source, tmp_path / name, how=how)
    assert caught.value.code in ("WK012", "WK670")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_kept_of_a_source_that_changed(
    change: Callable[[Path], object], tmp_path: Path
) -> None:
    """No plan would resume it."""
    source = saved(tmp_path / "source.bin", {f"w{n}": torch.rand(1 << 16) for n in range(12)})
    how = How(jobs=1, tick=once(lambda: change(source), after=3))
    with pytest.raises(WeightkitError) as caught:
        convert(source, tmp_path / "target", Wish(shard_nbytes=1 << 18), how)
    assert "--resume" not in str(caught.value)
    assert not leftovers(tmp_path)


def test_a_source_that_is_replaced_is_read_on(tmp_path: Path) -> None:
    """What was opened stays what it was, under whatever name."""
    held = {f"w{n}": torch.rand(1 << 16) for n in range(12)}
    source = saved(tmp_path / "source.bin", held)
    convert(source, tmp_path / "whole.safetensors")
    how = How(jobs=1, tick=once(lambda: replaced(source)))
    convert(source, tmp_path / "target.safetensors", how=how)
    whole = (tmp_path / "whole.safetensors").read_bytes()
    assert (tmp_path / "target.safetensors").read_bytes() == whole


# Several at once


def test_another_conversion_waits_until_the_first_has_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target.safetensors"
    check = running.check_file
    seen = []

    def checking(*arguments: Any) -> None:
        monkeypatch.setattr(running, "check_file", check)
        with pytest.raises(PlanError) as caught:
            convert(source, target)
        seen.append(caught.value.code)
        check(*arguments)

    monkeypatch.setattr(running, "check_file", checking)
    convert(source, target)
    assert seen == ["WK669"]
    assert not leftovers(tmp_path)


def test_many_at_once(tmp_path: Path) -> None:
    """One makes the target; the others are told, and spoil nothing."""
    source = saved(tmp_path / "source.bin", {f"w{n}": torch.rand(1 << 18) for n in range(8)})
    convert(source, tmp_path / "whole.safetensors")
    target = tmp_path / "target.safetensors"
    processes = [weightkit("convert", source, target) for _ in range(4)]
    said = [process.communicate()[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert statuses.count(0) == 1, said
    assert {*statuses} == {0, 2}, said
    assert all("Traceback" not in text for text in said)
    assert target.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not leftovers(tmp_path)


def test_what_another_process_writes_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked for dead ones before either began."""
    source, target = saved(tmp_path / "source.bin"), tmp_path / "target.safetensors"
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, how=How(tick=look_and_stop(tmp_path, source, target, monkeypatch)))


def look_and_stop(
    folder: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    def tick(_: int) -> None:
        (mine,) = leftovers(folder)
        with monkeypatch.context() as patch:
            patch.setattr(running.Place, "_sweep", lambda _: None)
            with pytest.raises(PlanError, match="another process") as caught:
                convert(source, target)
        assert caught.value.code == "WK669"
        assert leftovers(folder) == [mine]
        raise KeyboardInterrupt

    return tick
