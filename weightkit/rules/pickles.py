"""WK8xx: what a pickle would do if it were loaded."""

from __future__ import annotations

from weightkit.rules.rule import DO_NOT_LOAD, Rule

_LOADS = "Unpickling runs it, with the rights of whoever loads the file."
_LOOK = (
    "Load the file only if you know why it holds this; torch.load(weights_only=True) refuses it. "
    "A conversion takes the tensors alone."
)

RULES = [
    Rule(
        "WK801",
        "pickle-dangerous-call",
        "danger",
        "Loading the pickle would call something dangerous.",
        _LOADS,
        DO_NOT_LOAD,
    ),
    Rule(
        "WK802",
        "pickle-dangerous-name",
        "danger",
        "The pickle names something dangerous, without calling it itself.",
        "The name is imported, and handed to whatever uses the object.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK803",
        "pickle-computed-name",
        "danger",
        "A name to import is computed while the pickle is loaded.",
        "No pickler writes that; it hides from scanners what is imported.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK804",
        "pickle-extension",
        "danger",
        "The pickle imports by an extension code.",
        "What the code stands for is in the registry of the process that loads it, not in the file.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK805",
        "pickle-computed-call",
        "danger",
        "The pickle calls an object that was made while it is loaded.",
        "No pickler writes that; it hides from scanners what is called.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK806",
        "pickle-patches",
        "danger",
        "The pickle sets attributes or items of a module, class, function or tensor.",
        "It changes the running program: a trusted function can be replaced by another.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK807",
        "pickle-special-state",
        "danger",
        "The state of an object sets a special attribute.",
        "Attributes such as __class__ or __setstate__ decide what runs next.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK810",
        "pickle-unknown-call",
        "warning",
        "Loading the pickle would call something that is not in the trusted table.",
        "Nothing bad is known about it, and nothing good.",
        _LOOK,
    ),
    Rule(
        "WK811",
        "pickle-unknown-name",
        "warning",
        "The pickle names something that is not in the trusted table.",
        "Its module is imported when the pickle is loaded.",
        _LOOK,
    ),
    Rule(
        "WK812",
        "pickle-odd-use",
        "warning",
        "Something trusted is used in a way that no pickler uses it.",
        "It is trusted for one role and for arguments of one shape.",
        _LOOK,
    ),
    Rule(
        "WK813",
        "pickle-odd-persistent-id",
        "warning",
        "A persistent id is none that torch writes.",
        "The loader decides what it stands for.",
        _LOOK,
    ),
    Rule(
        "WK814",
        "torchscript-code",
        "warning",
        "The archive holds TorchScript code.",
        "Loading it hands a program to torch's own interpreter; running the model runs it.",
        "Read the code under code/ in the archive, or take the tensors alone.",
    ),
    Rule(
        "WK815",
        "pickle-too-deep",
        "warning",
        "Pickles are nested in pickles beyond what is read.",
        "What was not read was not judged.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK816",
        "pickle-corrupt-dtype",
        "danger",
        "The state of a NumPy element type contradicts itself.",
        "NumPy believes it without a check: memory is corrupted, which can be made to run code.",
        DO_NOT_LOAD,
    ),
    Rule(
        "WK817",
        "torchscript-files",
        "danger",
        "TorchScript code reads or writes files, or calls other machines.",
        "torch's interpreter has operators for that, and no sandbox.",
        DO_NOT_LOAD,
    ),
]
