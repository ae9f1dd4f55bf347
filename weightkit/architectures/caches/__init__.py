"""What a model keeps between tokens, layer by layer, from its config or its GGUF metadata."""

from __future__ import annotations

from weightkit.architectures.caches.config import describe_config
from weightkit.architectures.caches.gguf import describe_gguf
from weightkit.architectures.caches.shapes import CacheShape, LayerCache

__all__ = ["CacheShape", "LayerCache", "describe_config", "describe_gguf"]
