"""Models kept as graphs of operations: ONNX, TensorFlow, TensorFlow Lite.

Their tensors are not listed here. What is read is what loading the graph could do beside computing:
the operations that it names and the domains they come from, and the files that it points to.
"""

from __future__ import annotations

from typing import NamedTuple


class Graph(NamedTuple):
    """What a graph names. ``whole`` False: it was searched, not read to its end."""

    format: str
    operations: tuple[tuple[str, str], ...]
    """(domain, operation), each once."""
    files: tuple[tuple[str, str], ...] = ()
    """(tensor, path of the file that holds its data)."""
    texts: tuple[str, ...] = ()
    """JSON texts in it, as Keras keeps its configs in SavedModels."""
    whole: bool = True
