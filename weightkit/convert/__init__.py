"""Writing a checkpoint in another form: plan, write beside, read back, rename.

    plan    pure: what each tensor becomes, what would be lost    planning, steps, shelving, losses
    write   tensors' bytes into their places, on all cores        moving, out
    check   the same bytes again, also by the official reader     checking
    place   one rename; dead temporary files go                   places

``convert`` does all of it; the modules are for whoever wants a part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightkit.convert.running import How
    from weightkit.convert.wishes import Wish
    from weightkit.opening import Checkpoint
    from weightkit.plans import Conversion, Plan


def is_folder(source: str, target: str, wish: Wish) -> bool:
    """Whether ``target`` is to be a folder.

    It is one, or ends with ``/``; else a known suffix says that it is a file, and without one it is a
    folder where the source is a folder, where shards are asked for or no format is named. Raises
    PlanError WK667 for a name that looks like a file of another format.
    """
    from weightkit.convert.targets import check_suffix, known_suffix

    if target.endswith(os.sep) or os.path.isdir(target):
        return True
    if known_suffix(target):
        return False
    if not wish.format and not wish.shard_nbytes:
        check_suffix(target)
    return os.path.isdir(source) or bool(wish.shard_nbytes) or not wish.format


def plan(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    wish: Wish | None = None,
    how: How | None = None,
    *,
    receipt: str = "",
    jobs: int = 0,
    **opening: Any,
) -> Plan:
    """What converting ``source`` to ``target`` would do; reads headers only, writes nothing.

    With ``how`` it is also looked at whether the target (and ``receipt``) could be written there now;
    what forbids it is one of the plan's ``refused``. ``jobs`` is how many threads there will be (0: one
    for each core). ``opening`` is as for :func:`weightkit.open`.
    Raises PlanError for what cannot be done.
    """
    from weightkit.convert import losses, planning
    from weightkit.convert.wishes import Wish
    from weightkit.opening import open_checkpoint

    wish = wish or Wish()
    where = os.fspath(target)
    with open_checkpoint(source, key=wish.key, **opening) as checkpoint:
        follow = bool(opening.get("follow_symlinks"))
        folder = is_folder(checkpoint.path, where, wish)
        judged = [*losses.trust(checkpoint)]
        made = planning.plan(
            checkpoint, where, wish, judged, folder=folder, follow=follow, jobs=jobs
        )
        return made if how is None else _with_obstacle(made, checkpoint, how, receipt)


def _with_obstacle(made: Plan, checkpoint: Checkpoint, how: How, receipt: str) -> Plan:
    from dataclasses import replace

    from weightkit.convert.running import check_places
    from weightkit.errors import PlanError
    from weightkit.rules import finding

    try:
        check_places(made, checkpoint, how, [receipt] if receipt else [], trial=False)
    except PlanError as error:
        found = finding(error.code, error.message, path=error.path)
        return replace(made, refused=(*made.refused, found))
    return made


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    wish: Wish | None = None,
    how: How | None = None,
    *,
    receipt: str = "",
    expect: Callable[[int], None] = lambda nbytes: None,
    **opening: Any,
) -> Conversion:
    """Write ``source`` as ``target``, whose suffix (or ``wish.format``) names the format.

    >>> from weightkit.convert import convert
    >>> convert("pytorch_model.bin", "model.safetensors").verified
    'content'

    ``receipt`` is a file to write a receipt to; ``expect`` is told how many bytes will be written;
    ``opening`` is as for :func:`weightkit.open`. The target appears whole or not at all, and the
    source is only read. Raises PlanError for what is refused (a loss that ``wish.accepted`` does not
    name, a target that exists), AccessError, FormatError, VerifyError.
    """
    from dataclasses import replace

    from weightkit.convert import losses, planning
    from weightkit.convert.running import How, run
    from weightkit.convert.wishes import Wish
    from weightkit.opening import open_checkpoint

    wish, how = wish or Wish(), how or How()
    where = os.fspath(target)
    checkpoint = open_checkpoint(source, key=wish.key, **opening)
    try:
        if wish.provenance:
            from weightkit.convert import provenance

            metadata = (*provenance.provenance(checkpoint, wish), *wish.metadata)
            wish = replace(wish, metadata=metadata)
        follow = bool(opening.get("follow_symlinks"))
        folder = is_folder(checkpoint.path, where, wish)
        judged = [*losses.trust(checkpoint)]
        checkpoint = checkpoint.without_programs()  # make room
        made = planning.plan(
            checkpoint, where, wish, judged, folder=folder, follow=follow, jobs=how.jobs
        )
        expect(made.nbytes)
        done = run(made, checkpoint, how, [receipt] if receipt else [])
        if not receipt:
            return done
        from weightkit.convert import provenance

        provenance.write_receipt(receipt, checkpoint, done, force=how.force)
        return replace(done, receipt=receipt)
    finally:
        checkpoint.close()
