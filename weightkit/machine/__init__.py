"""The symbolic pickle machine: opcodes in, an inert :class:`~weightkit.programs.Program` out.

It interprets every opcode of protocols 0 to 5 with a real stack, memo and marks, but where an
unpickler would import, it notes a ``Global``, and where it would call, a ``Call``. The tensor index
and the safety scan both read the result (see the decisions).

A stream that breaks off is not an error here: the loader would have run what came before, so the
program keeps it and says why it stopped. Where CPython's two unpicklers differ, the machine goes on
as long as either of them would (a wrong frame stops the Python one, a list of arguments the C one).

Source of the semantics: ``Lib/pickletools.py``, ``Lib/pickle.py`` and ``Modules/_pickle.c`` of
CPython 3.13, and PEP 3154 and 574.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from weightkit.collecting import paused_collection
from weightkit.machine.opcodes import HANDLERS
from weightkit.machine.runs import quick_handlers
from weightkit.machine.state import LIMITS, Limits, Machine
from weightkit.programs import Call, Program
from weightkit.source import Buffer, Forgotten, Reader, Window

__all__ = ["LIMITS", "Limits", "let_go", "read_program"]


def read_program(
    source: Reader,
    start: int = 0,
    *,
    limits: Limits = LIMITS,
    entry: str = "",
    inline: Callable[[Call, int], int] | None = None,
) -> Program:
    """Read the pickle at ``start`` of ``source`` up to its STOP, or as far as it goes.

    ``inline`` is asked after every BUILD, with the object built and the offset behind the opcode,
    how many bytes of foreign data follow there (joblib writes arrays between opcodes). Raises
    AccessError only; ``Program.stopped`` tells of everything else.
    """
    entry = entry or source.entry
    with paused_collection():
        machine = Machine(source, start, limits, inline)
        program = _run(machine, quick_handlers(), entry)
        program.others = tuple(_others(machine, program, start, entry))
    return program


def let_go(program: Program, room: int) -> int:
    """Drop the inflated bytes of a pickle that was read: an archive may hold hundreds of them.

    Of those that hold a tensor as bytes up to ``room`` bytes are kept, as the judgement reads them
    too. Gives the number of bytes kept.
    """
    reader = program.reader
    held: Reader = reader.parent if type(reader) is Window else reader
    if type(held) is not Buffer:
        return 0
    nested = any(item.name == "_load_from_bytes" for item in program.globals)
    if held.size <= min(room, SMALL) or (nested and held.size <= room):
        return held.size
    program.reader = Forgotten(reader)
    return 0


SMALL = 1 << 16


def _others(machine: Machine, program: Program, start: int, entry: str) -> Iterator[Program]:
    """The same bytes as other readers run them, where those run something else."""
    source, limits = machine.source, machine.limits
    if any(code == "WK313" for code, _, _ in program.faults):
        from weightkit.machine.frames import framed_handlers

        other = Machine(source, start, limits, machine.inline)
        other.program.reading = "framed"
        yield _run(other, framed_handlers(), entry)
    if machine.foreign:
        other = Machine(source, start, limits, None)
        other.program.reading = "flat"
        yield _run(other, HANDLERS, entry)


def _run(machine: Machine, handlers: Sequence[Callable[[Machine], None]], entry: str) -> Program:
    machine.program.entry = entry
    machine.program.reader = machine.source
    machine.run(handlers)
    return machine.program
