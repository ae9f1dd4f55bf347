"""weightkit: what is in a model weight file, without ever running it."""

__version__ = "0.1.0"
