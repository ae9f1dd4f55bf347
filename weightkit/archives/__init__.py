"""Zip and tar archives and compressed streams: members with their places, within a budget.

Nothing is extracted to disk. A stored member is a window of the file; a compressed one is inflated
into memory up to what the :class:`Budget` allows, and a tensor inside it keeps an address.
"""

from __future__ import annotations

from weightkit.archives.budget import Budget
from weightkit.archives.streams import decompress, gives_bytes, sniff
from weightkit.archives.tars import Tar, TarMember, is_tar, read_tar
from weightkit.archives.zips import Zip, ZipMember, is_zip, read_zip

__all__ = [
    "Budget",
    "Tar",
    "TarMember",
    "Zip",
    "ZipMember",
    "decompress",
    "gives_bytes",
    "is_tar",
    "is_zip",
    "read_tar",
    "read_zip",
    "sniff",
]
