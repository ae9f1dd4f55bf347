"""Memory of a thread for what is made on the way, so that no tile asks for new pages."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


class _Rooms(threading.local):
    def __init__(self) -> None:
        self.held: dict[str, np.ndarray[Any, Any]] = {}

    def room(self, name: str, size: int, kind: Any) -> np.ndarray[Any, Any]:
        """An array to be filled; the last one of this name in this thread is gone."""
        nbytes = size * np.dtype(kind).itemsize
        held = self.held.get(name)
        if held is None or len(held) < nbytes:
            held = self.held[name] = np.empty(nbytes, np.uint8)
        return held[:nbytes].view(kind)


room = _Rooms().room
