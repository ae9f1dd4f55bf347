"""A word about pickles that would do harm, for those who did not ask for a scan.

No program is judged for it unless it names something that the tables of danger know, and the
tables are not even loaded for the few names that ``torch.save`` and NumPy write: ``inspect`` of an
ordinary file pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weightkit.findings import Finding
from weightkit.opening.examining import Examined
from weightkit.programs import Global, Program
from weightkit.rules import finding

_STORAGES = "Float Double Half BFloat16 Long Int Short Char Byte Bool ComplexFloat ComplexDouble"
_ORDINARY = frozenset(
    [
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "Size"),
        ("torch.storage", "UntypedStorage"),
        *(("torch", f"{kind}Storage") for kind in _STORAGES.split()),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    ]
)


def harmful(examined: Iterable[Examined]) -> Iterator[Finding]:
    """A finding for each file that the scan would call unsafe for what its pickles call."""
    for file in examined:
        odd = [name for name in _globals(file) if (name.module, name.name) not in _ORDINARY]
        if odd and _may_harm(odd):
            yield from _judged(file)


def _globals(file: Examined) -> Iterator[Global]:
    for part in file.all():
        for program in part.examination.programs:
            reading: Program
            for reading in (program, *program.others):
                yield from reading.globals


def _may_harm(names: Iterable[Global]) -> bool:
    from weightkit.analyses.safety import resolve

    for node in names:
        known = resolve(node)
        if node.operands or known.danger or known.named:
            return True
    return False


def _judged(file: Examined) -> Iterator[Finding]:
    from weightkit.analyses.safety import verdict
    from weightkit.analyses.scanning import findings

    for item in findings(file):
        if verdict([item]) == "unsafe":
            message = f"weightkit scan calls it unsafe: {item.message}"
            yield finding("WK605", message, path=file.name, entry=item.entry)
            return
