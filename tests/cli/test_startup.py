"""What a command line costs before it works: which modules it imports, and the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = {"numpy", "rich", "gguf", "safetensors", "huggingface_hub", "torch", "jinja2", "yaml"}
HEAVY |= {"ml_dtypes", "importlib.metadata"}
LISTER = """
import sys
sys.argv = ["weightkit", *{arguments!r}]
from weightkit.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    program = LISTER.format(arguments=list(arguments))
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
    return set(run.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["inspect", "--help"],
        ["rules"],
        ["completion", "bash"],
        ["inspect", "fixtures/llama-q8_0.gguf"],
        ["inspect", "--json", "--tensors", "fixtures/torch/state_dict.pt"],
        ["memory", "fixtures/llama-q8_0.gguf", "--explain", "--fit", "24GiB"],
    ],
    ids=" ".join,
)
def test_no_heavy_module_is_imported(arguments: list[str]) -> None:
    assert not HEAVY & modules_after(*arguments)


def test_help_imports_no_command() -> None:
    loaded = {name for name in modules_after("--help") if name.startswith("weightkit")}
    assert loaded <= {
        "weightkit",
        "weightkit.__main__",
        "weightkit.cli",
        "weightkit.cli.boundary",
        "weightkit.cli.group",
        "weightkit.errors",
    }


def test_the_package_alone_imports_nothing_of_itself() -> None:
    program = "import sys, weightkit; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert {name for name in run.stdout.split() if name.startswith("weightkit")} == {"weightkit"}
