"""Carrying a plan out: write beside, read back, rename."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from weightkit.analyses.digests import ALGORITHM, checkpoint_digest
from weightkit.analyses.jobs import Tick, silent
from weightkit.convert import losses
from weightkit.convert.checking import check_file
from weightkit.convert.moving import Mover, Tensor
from weightkit.convert.out import Kept, Out
from weightkit.convert.places import (
    Place,
    check_beside,
    check_space,
    check_target,
    part_of,
    sync_folder,
    sync_tree,
    write_beside,
    write_whole,
)
from weightkit.convert.planning import checkpoints
from weightkit.errors import AccessError, PlanError, VerifyError, WeightkitError
from weightkit.layouts import Layout
from weightkit.opening import Checkpoint
from weightkit.plans import CAST, CastLoss, Conversion, Plan, PlannedFile, Written
from weightkit.rules import finding
from weightkit.source import Source, os_errors


@dataclass(frozen=True, slots=True)
class How:
    """How a plan is carried out, as opposed to what it makes."""

    verify: bool = True
    identify: bool = True
    """Whether to compute the target's content id as well, if anything is cast. Of bytes that are only
    moved it is a by-product of verifying them; of casts it is a third of the work."""
    force: bool = False
    resume: bool = False
    jobs: int = 0
    tick: Tick = silent


def run(plan: Plan, checkpoint: Checkpoint, how: How, beside: Sequence[str] = ()) -> Conversion:
    """Make the target that ``plan`` describes. It appears whole, or not at all.

    ``beside`` are files that the caller will write after it; whether they can be is checked first.

    Raises PlanError for what is refused before anything is written (losses that were not accepted,
    a target that exists, no space), AccessError for a disk that fails or a source that changes,
    VerifyError if what was written does not read back, and PlanError WK650 for casts that lost
    values.
    """
    losses.refuse(plan.refused, plan.source)
    if how.resume and not plan.folder:
        message = "a single file is not resumed, only the files of a folder; leave out --resume"
        raise PlanError(message, path=plan.target, code="WK667")
    check_places(plan, checkpoint, how, beside)
    sources = _sources(checkpoint)
    place = Place(plan.target, plan.digest, folder=plan.folder, force=how.force, resume=how.resume)
    with _named(place), place, _of_one_source(place, sources):
        made = _Making(plan, checkpoint, how, place)
        made.files()
        for source in sources:
            source.check_unchanged()
        made.small_files()
        if plan.folder:
            sync_tree(place.path)
        place.finish()
    return made.conversion()


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Errors are about the target, not about what its files are called until it is whole."""
    try:
        yield
    except WeightkitError as error:
        if error.path == place.path or error.path.startswith(place.path + os.sep):
            error.path = place.target.rstrip(os.sep) + error.path[len(place.path) :]
        raise


@contextmanager
def _of_one_source(place: Place, sources: Sequence[Source]) -> Iterator[None]:
    """What was made of a source that changed is not kept: it belongs to no plan any more."""
    try:
        yield
    except WeightkitError:
        try:
            for source in sources:
                source.check_unchanged()
        except AccessError:
            place.keep = False
        raise


def check_places(
    plan: Plan, checkpoint: Checkpoint, how: How, beside: Sequence[str] = (), *, trial: bool = True
) -> None:
    """Raise PlanError if the target or what goes beside it cannot be written where it should.

    ``trial`` tries out, with two empty folders, whether a folder could be replaced.
    """
    paths = [plan.source, *(source.path for source in _sources(checkpoint))]
    side = [plan.sidecar.name] if plan.sidecar is not None else []
    with os_errors(plan.target):
        check_target(plan.target, paths, folder=plan.folder, force=how.force, trial=trial)
        check_space(plan.target, plan.disk)
        taken = {*(file.name for file in plan.files), *(text.name for text in plan.texts)}
        taken |= {item.name for item in plan.carried}
        small = [*side, *beside]
        for number, path in enumerate(small):
            name = _name_inside(plan, path)
            if name:
                _check_inside(path, name, taken)
                taken.add(name)
            else:
                check_beside(path, [*paths, plan.target, *small[:number]], force=how.force)


def _name_inside(plan: Plan, path: str) -> str:
    """What a small file is called in the target folder, with which it appears; "" if it is elsewhere."""
    if not plan.folder:
        return ""
    folder, name = os.path.split(path)
    name = os.path.relpath(
        os.path.join(os.path.realpath(folder), name), os.path.realpath(plan.target)
    )
    return "" if name.partition(os.sep)[0] in (os.curdir, os.pardir) else name


def _check_inside(path: str, name: str, taken: set[str]) -> None:
    """Raise PlanError for a small file in the place of one of the target's, or in no folder of it."""
    if name in taken:
        message = f"the target has a file {name!r} of its own; choose another name"
        raise PlanError(message, path=path, code="WK666")
    folder = os.path.dirname(name)
    if folder and not any(other.startswith(folder + os.sep) for other in taken):
        raise PlanError(f"the target has no folder {folder!r}", path=path, code="WK667")


def _sources(checkpoint: Checkpoint) -> list[Source]:
    return [source for part in checkpoints(checkpoint) for source in part.sources]


def _write_rest(out: Out, layout: Layout, sums: Sequence[int]) -> None:
    for offset, held in layout.literals(sums):
        out.write(offset, held)


class _Making:
    def __init__(self, plan: Plan, checkpoint: Checkpoint, how: How, place: Place) -> None:
        self.plan = plan
        self.parts = checkpoints(checkpoint)
        self.how = how
        self.place = place
        many = len(self.parts) > 1
        self.prefixes = [f"{part.name}/" if part.name and many else "" for part in self.parts]
        """What the content id of the target has in front of the names of each part's tensors."""
        cast = any(step.way == CAST for file in plan.files for step in file.steps)
        self.digesting = how.verify and (how.identify or not cast)
        self.digests: dict[str, bytes] = {}
        self.casts: list[CastLoss] = []

    def files(self) -> None:
        if self.plan.folder:
            self.clear()
        for planned in self.plan.files:
            path = os.path.join(self.place.path, planned.name) if planned.name else self.place.path
            with os_errors(path):
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            if not (self.plan.folder and os.path.lexists(path) and self.is_finished(planned, path)):
                self.file(planned, path)

    def clear(self) -> None:
        """Take away whatever the run that is resumed left, but for finished weight files."""
        finished = {os.path.join(self.place.path, planned.name) for planned in self.plan.files}
        for base, folders, names in os.walk(self.place.path, topdown=False):
            for path in (os.path.join(base, name) for name in [*names, *folders]):
                with os_errors(path):
                    if os.path.isdir(path) and not os.path.islink(path):
                        with suppress(OSError):  # there are finished files in it
                            os.rmdir(path)
                    elif path not in finished:
                        os.unlink(path)

    def is_finished(self, planned: PlannedFile, path: str) -> bool:
        """Whether a file of the run that is resumed is what it should be; else it is taken away.

        It was checked when it was written, if that run checked; but it lay there since, and what its
        casts lost has to be known.
        """
        self.place.keep = True
        known = len(self.casts)
        try:
            self.fill(planned, Kept(path, planned.layout.size))
            if self.how.verify:
                check_file(path, planned)
        except VerifyError:
            del self.casts[known:]
            with os_errors(path):
                os.unlink(path)
            return False
        return True

    def file(self, planned: PlannedFile, path: str) -> None:
        """Write one weight file, read it back, and give it its name (in a folder)."""
        beside = part_of(path) if self.plan.folder else path
        hold = (lambda _: None) if self.plan.folder else self.place.hold
        self.fill(planned, Out(beside, planned.layout.size, hold))
        if self.how.verify:
            check_file(beside, planned)
        if self.plan.folder:
            os.rename(beside, path)
            sync_folder(os.path.dirname(path))
            self.place.keep = True

    def fill(self, planned: PlannedFile, out: Out) -> None:
        """Move the tensors of a file into it, and write what lies around them."""
        tensors, layout = planned.tensors, planned.layout
        try:
            moved = [
                Tensor(step, layout.slots[at], self.parts[step.part].sources)
                for at, step in enumerate(planned.steps)
            ]
            mover = Mover(
                out,
                verify=self.how.verify,
                digests=self.digesting,
                jobs=self.how.jobs,
                tick=self.how.tick,
            )
            mover.write(moved)
            self.note_casts(moved)
            sums: list[int] = []
            if layout.checksums:
                mover.checksums(moved)
                sums = [tensor.crc for tensor in moved]
                sums += [sums[int(item.storage)] for item in tensors[len(moved) :]]
            _write_rest(out, layout, sums)
            out.sync()
        finally:
            out.close()
        if self.digesting:
            self.note_digests(moved)

    def note_digests(self, moved: Sequence[Tensor]) -> None:
        digests = self.digests
        for tensor in moved:
            step, digest = tensor.step, tensor.digest
            prefix = self.prefixes[step.part]
            digests[prefix + step.name] = digest
            for name in step.ties:
                digests[prefix + name] = digest

    # Casts

    def note_casts(self, moved: Sequence[Tensor]) -> None:
        """Keep what casts did; raise PlanError for values lost without consent."""
        for tensor in moved:
            if not tensor.counts:
                continue
            counts = reduce(add, tensor.counts)
            step = tensor.step
            found = CastLoss(
                step.name,
                step.info.dtype.name,
                step.dtype.name,
                counts.values,
                counts.overflow,
                counts.saturated,
                counts.underflow,
                counts.nan,
            )
            self.casts.append(found)
            lost = found.overflow + found.saturated + found.nan
            if lost and losses.LOSSY not in self.plan.accepted:
                raise PlanError(
                    f"{lost:,} of {found.values:,} values do not fit into {found.target}; "
                    f"accept with {losses.LOSSY}, or choose a type of more range",
                    path=self.plan.source,
                    code="WK650",
                    tensor=step.info.name,
                )

    # The small files

    def small_files(self) -> None:
        for item in self.plan.carried:
            self.carry(item.name, item.nbytes)
        for text in self.plan.texts:
            path = os.path.join(self.place.path, text.name)
            write_whole(path, text.content.encode("utf-8", "surrogateescape"))
        side = self.plan.sidecar
        if side is not None:
            inside = _name_inside(self.plan, side.name)
            path = os.path.join(self.place.path, inside) if inside else side.name
            write_beside(path, side.content.encode(), force=self.how.force)

    def carry(self, name: str, nbytes: int) -> None:
        """Copy a small file as it is, and compare."""
        path = os.path.join(self.place.path, name)
        with os_errors(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with Source(os.path.join(self.plan.source, name)) as source:
            if source.size != nbytes:
                message = "the file changed since it was planned"
                raise source.error("WK012", message, kind=AccessError)
            with closing(Out(path, nbytes, lambda _: None)) as out:
                out.send(source, 0, nbytes, 0)
                out.sync()
                at = 0
                for piece in source.chunks(0, nbytes if self.how.verify else 0):
                    if out.read(at, len(piece)) != piece:
                        message = "what was written is not what was read"
                        raise VerifyError(message, path=path, code="WK670", offset=at)
                    at += len(piece)
            source.check_unchanged()

    def conversion(self) -> Conversion:
        complete = len(self.digests) == sum(
            1 + len(step.ties) for file in self.plan.files for step in file.steps
        )
        known = self.digesting and complete
        listed = sorted(self.digests.items())  # by code points, as their UTF-8 sorts
        cut = [item for item in self.casts if item.overflow + item.saturated + item.nan]
        plan = self.plan
        if cut:  # known only now, and accepted
            lost = sum(item.overflow + item.saturated + item.nan for item in cut)
            noun = "tensor" if len(cut) == 1 else "tensors"
            message = f"{lost:,} values of {len(cut):,} {noun} do not fit into their new type"
            found = finding("WK650", message, path=plan.source, tensor=cut[0].tensor)
            plan = replace(plan, losses=(*plan.losses, found))
        return Conversion(
            plan,
            tuple(self._written()),
            "content" if self.how.verify else "",
            checkpoint_digest(listed).hex() if known else "",
            ALGORITHM if known else "",
            tuple(self.casts),
        )

    def _written(self) -> Iterator[Written]:
        for item in self.plan.files:
            path = os.path.join(self.plan.target, item.name) if item.name else self.plan.target
            yield Written(path, item.nbytes, len(item.steps))
