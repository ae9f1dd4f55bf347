"""What a model keeps between tokens, layer by layer, from its config or its GGUF metadata.

``config.describe_config`` and ``gguf.describe_gguf`` give ``shapes.CacheShape``. Nothing is imported
here: whoever reads a field of a config (``fields``) would pay for all of it at every start.
"""
