"""Heavy libraries are imported by the code that needs them, and by nothing on the way there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"

HEAVY = {"numpy", "ml_dtypes", "rich", "gguf", "safetensors", "huggingface_hub", "torch"}
HEAVY |= {"jinja2", "yaml", "h5py", "pickle", "_pickle", "mmap", "importlib.metadata"}

# Prints the modules that are loaded when weightkit ends.
MAIN = """
import json, os, sys

def leave(status, before=set(sys.modules), leave=os._exit):
    print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr, flush=True)
    leave(status)

os._exit = leave
from weightkit.__main__ import main
main()
"""


def loaded(*arguments: str) -> set[str]:
    """What a ``weightkit`` process had imported, beyond what Python starts with."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["inspect", "--help"]], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert not modules & HEAVY
    assert "click" in modules


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "llama-q8_0.gguf",
        "torch/checkpoint.pt",
        "torch/legacy.pt",
        "torch/before_0_1_10.tar",
        "torch/torchscript.pt",
        "numpy/compressed.npz",
        "pipeline",
    ],
)
@pytest.mark.parametrize("form", ["plain", "json"])
def test_inspect_into_a_pipe_imports_nothing_heavy(name: str, form: str) -> None:
    options = ["--json", "--tensors"] if form == "json" else []
    assert not loaded("inspect", *options, str(FIXTURES / name)) & HEAVY


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, json, weightkit; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert not set(json.loads(done.stdout)) & HEAVY


@pytest.mark.parametrize(
    "name", ["llama", "torch/checkpoint.pt", "torch/legacy.pt", "numpy/arrays.npz"]
)
def test_inspect_of_an_ordinary_file_needs_no_tables_of_danger(name: str) -> None:
    modules = loaded("inspect", str(FIXTURES / name))
    assert not {name for name in modules if "trust" in name or "safety" in name}
