"""The command line. A command is a module here with a ``command`` in it, and a row in ``COMMANDS``.

It opens, analyses and shows, in a dozen lines; :mod:`options` has what commands share,
:mod:`running` takes many inputs through one of them, :mod:`boundary` turns whatever happened into
an exit status. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

from weightkit import __version__
from weightkit.cli.group import Group

COMMANDS = {
    "inspect": "Show what is inside weight files: tensors, parameters, types, metadata.",
    "memory": "Say what a model takes: weights, KV cache, overhead; what fits; training.",
    "scan": "Say whether loading a file would do harm, without loading it.",
    "checksum": "Digest files, as sha256sum does, and write manifests.",
    "id": "Print the content id: equal for the same weights in any format.",
    "stats": "Say what the values are like: ranges, moments, histograms, NaN, dead rows, copies.",
    "verify": "Check files against a manifest, checksums, or another checkpoint.",
    "sign": "Sign a folder of weights, so that anyone can check whose it is.",
    "diff": "Say what differs between two checkpoints of any formats.",
    "convert": "Write a checkpoint in another form, and prove that it is the same.",
    "cache": "Show or clear the cache of file digests.",
    "formats": "List the formats that weightkit reads and writes.",
    "rules": "Explain the codes of findings.",
    "doctor": "Show versions, extras and the terminal, for bug reports.",
    "completion": "Print the completion script of a shell.",
}
"""Each command's module is ``weightkit.cli.<name>``; the line is what ``--help`` lists."""

EXAMPLES = """\b
Examples:
  weightkit inspect model.safetensors
  weightkit inspect --json Llama-3.1-8B/ | jq .parameters.total
  weightkit rules WK001

\b
Exit status: 0 fine; 1 findings at or over --fail-on; 2 usage;
3 an input was not wholly read; 4 network; 130 interrupted;
129, 143 ended by SIGHUP, SIGTERM."""

group = Group(
    COMMANDS,
    __version__,
    help="What is in a model weight file, is it safe, is it what it claims to be.\n\n"
    "Reads safetensors, GGUF, PyTorch and numpy files without running anything in them.",
    epilog=EXAMPLES,
)
