"""PyTorch checkpoints in all their containers, and pickles in general. Nothing is unpickled.

``zipped`` reads what ``torch.save`` writes today and TorchScript; ``streams`` what it wrote before
1.6, bare pickles and joblib; ``tarred`` the tar before that. All of them hand the program's root
object to ``objects``, which finds the state dicts, and each tensor's call to ``tensors``.
"""

from __future__ import annotations

from weightkit.archives import Budget
from weightkit.findings import Examination
from weightkit.formats.pytorch.strays import are_by_chance, strays
from weightkit.formats.pytorch.streams import examine_stream, is_pickle
from weightkit.formats.pytorch.tarred import MEMBERS as TAR_MEMBERS
from weightkit.formats.pytorch.tarred import accepts_tar, examine_tar
from weightkit.formats.pytorch.zipped import (
    accepts_zip,
    examine_code,
    examine_zip,
    explains,
    is_code,
    is_note,
    others,
    unused,
)
from weightkit.source import Reader

__all__ = [
    "NAME",
    "SUFFIXES",
    "TAR_MEMBERS",
    "accepts",
    "accepts_tar",
    "accepts_zip",
    "are_by_chance",
    "examine",
    "examine_code",
    "examine_tar",
    "examine_zip",
    "explains",
    "is_code",
    "is_note",
    "others",
    "strays",
    "unused",
]

NAME = "pytorch"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".th", ".tar")


def accepts(head: bytes) -> bool:
    """Whether the content starts with a pickle."""
    return is_pickle(head)


def examine(source: Reader, budget: Budget | None = None) -> Examination:
    """The pickles of a plain file, and the tensors that they describe."""
    return examine_stream(source, budget or Budget())
