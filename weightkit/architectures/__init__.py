"""Tables about model families: what they name their tensors and what their configs call things.

Data, not branches: the analyses look things up here and know no family by name.
"""
