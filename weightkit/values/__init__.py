"""The bytes of a tensor as numbers: views, gathers, casts, quantized blocks. NumPy lives here."""
