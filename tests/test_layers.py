"""Imports go downwards, heavy libraries stay off the header path, nothing loads a pickle.

Only the syntax tree is looked at: every import statement counts, also those inside functions and
under TYPE_CHECKING, and so does a string that is wholly a module's name (tables of lazy imports).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "weightkit"

# docs/design.md shows this table; a module may import those of lower layers.
LAYERS: list[tuple[str, ...]] = [
    (
        "errors",
        "dtypes",
        "tensors",
        "layouts",
        "plans",
        "programs",
        "findings",
        "reports",
        "statistics",
        "rules",
        "text",
        "collecting",
    ),
    ("source", "archives", "machine"),
    ("formats",),
    ("values", "architectures"),
    ("opening",),
    ("analyses",),
    ("convert", "render"),
    ("cli",),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Layers whose modules may import their neighbours.
NEIGHBOURLY = {0, 1, 4, 5, 7}
# Modules that see less than what lies below them.
CONFINED = {"render": {0}}
# The front door, which names the public things.
ENTRANCE = {"__init__", "__main__"}

# heavy module: the subpackage that may import it at module level ("" = only inside functions).
HEAVY = {
    "numpy": "values",
    "ml_dtypes": "values",
    "click": "cli",
    "rich": "",
    "gguf": "",
    "torch": "",
    "safetensors": "",
    "huggingface_hub": "",
    "jinja2": "",
    "yaml": "",
    "h5py": "",
    "fsspec": "",
}
ONLY_IN = {"rich": "render", "click": "cli"}
FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "dill", "cloudpickle", "joblib"}
FORBIDDEN_MODULES |= {"shelve", "mmap", "pickletools"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"torch.load", "torch.jit.load", "numpy.load", "np.load", "builtins.eval"}


class Import(NamedTuple):
    """One imported module, by its full name."""

    name: str
    line: int
    at_start: bool
    """Runs when the importing module is imported."""


class Module(NamedTuple):
    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        """The part of the package that it belongs to: errors, formats, cli, ..."""
        return self.path.relative_to(PACKAGE).with_suffix("").parts[0]


def read(path: Path) -> Module:
    return Module(path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


MODULES = [read(path) for path in sorted(PACKAGE.rglob("*.py"))]
NAMES = {module.name for module in MODULES}


def imports(module: Module) -> Iterator[Import]:
    """Every import in the module, inside functions too."""
    yield from _imports(module, module.tree, at_start=True)


def _imports(module: Module, node: ast.AST, *, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_start)
        elif isinstance(child, ast.ImportFrom):
            for name in _from(module, child):
                yield Import(name, child.lineno, at_start)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            if (
                re.fullmatch(r"weightkit(\.\w+)+", child.value)
                and child.value.split(".")[1] in LEVEL
            ):
                yield Import(child.value, child.lineno, False)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            later = later or _type_checking(child)
            yield from _imports(module, child, at_start=at_start and not later)


def _from(module: Module, node: ast.ImportFrom) -> list[str]:
    base = node.module or ""
    if node.level:
        inside = module.name.split(".")
        if module.path.name != "__init__.py":
            inside = inside[:-1]
        inside = inside[: len(inside) - node.level + 1]
        base = ".".join([*inside, base]) if base else ".".join(inside)
    below = [f"{base}.{alias.name}" for alias in node.names]
    submodules = [name for name in below if name in NAMES]
    return submodules if len(submodules) == len(below) else [base, *submodules]


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def allowed(module: Module, imported: str) -> bool:
    """Whether the layers allow ``module`` to import ``imported``, a module of the package."""
    if module.room in ENTRANCE or imported == "weightkit":
        return True
    source, target = module.room, imported.split(".")[1]
    if LEVEL[target] < LEVEL[source]:
        return LEVEL[target] in CONFINED.get(source, LEVEL.values())
    if source != target:
        return LEVEL[source] == LEVEL[target] and LEVEL[source] in NEIGHBOURLY
    return source != "formats" or same_room(module, imported)


def same_room(module: Module, imported: str) -> bool:
    """Rooms never import one another; ``formats/__init__`` knows them all, and each knows it."""
    if module.name == "weightkit.formats" or imported == "weightkit.formats":
        return True
    return module.name.split(".")[2] == imported.split(".")[2]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_imports_go_downwards(module: Module) -> None:
    own = [entry for entry in imports(module) if entry.name.split(".")[0] == "weightkit"]
    wrong = [
        f"{module.path}:{entry.line} imports {entry.name}"
        for entry in own
        if not allowed(module, entry.name)
    ]
    assert not wrong


def test_every_module_has_a_layer() -> None:
    assert {module.room for module in MODULES} - ENTRANCE <= LEVEL.keys()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_heavy_libraries_stay_off_the_header_path(module: Module) -> None:
    wrong = []
    for entry in imports(module):
        top = entry.name.split(".")[0]
        early = entry.at_start and top in HEAVY and HEAVY[top] != module.room
        stray = top in ONLY_IN and ONLY_IN[top] != module.room and module.room not in ENTRANCE
        if early or stray:
            wrong.append(f"{module.path}:{entry.line} imports {entry.name}")
    assert not wrong


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_nothing_loads_or_runs_what_a_file_holds(module: Module) -> None:
    wrong = [
        f"{module.path}:{entry.line} imports {entry.name}"
        for entry in imports(module)
        if entry.name.split(".")[0] in FORBIDDEN_MODULES
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            wrong.append(f"{module.path}:{node.lineno} names {node.id}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
            wrong.append(f"{module.path}:{node.lineno} names {ast.unparse(node)}")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            wrong.append(f"{module.path}:{node.value.lineno} says allow_pickle")
    assert not wrong


def test_the_design_page_shows_these_layers() -> None:
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| L(\d) \| ([^|]+) \|", page, re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", names)) for _, names in rows] == LAYERS
    assert [int(level) for level, _ in rows] == list(range(len(LAYERS)))


# What the checks above must catch: source of a module, where it would stand, what is wrong.
BAD = [
    ("weightkit/dtypes.py", "from weightkit.source import Reader", "downwards"),
    ("weightkit/formats/gguf.py", "from weightkit.formats.numpy import examine", "downwards"),
    ("weightkit/formats/gguf.py", "def f():\n    from weightkit.opening import x", "downwards"),
    ("weightkit/formats/gguf.py", "TABLE = {'a': 'weightkit.opening'}", "downwards"),
    ("weightkit/render/plain.py", "from weightkit.source import Reader", "downwards"),
    ("weightkit/render/plain.py", "from weightkit import convert", "downwards"),
    ("weightkit/values/casts.py", "from weightkit.architectures import x", "downwards"),
    ("weightkit/formats/gguf.py", "import numpy as np", "heavy"),
    ("weightkit/cli/main.py", "from numpy import array", "heavy"),
    ("weightkit/render/table.py", "from rich.table import Table", "heavy"),
    ("weightkit/analyses/x.py", "def f():\n    import rich", "heavy"),
    ("weightkit/source.py", "import mmap", "load"),
    ("weightkit/source.py", "def f():\n    import pickle", "load"),
    ("weightkit/source.py", "x = eval('1')", "load"),
    ("weightkit/values/x.py", "def f(torch, p):\n    torch.load(p)", "load"),
    ("weightkit/values/x.py", "def f(g, p):\n    g(p, allow_pickle=True)", "load"),
]
CHECKS = {
    "downwards": test_imports_go_downwards,
    "heavy": test_heavy_libraries_stay_off_the_header_path,
    "load": test_nothing_loads_or_runs_what_a_file_holds,
}


@pytest.mark.parametrize(("place", "source", "check"), BAD)
def test_the_checks_catch(
    place: str, source: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "NAMES", NAMES | {"weightkit.convert", "weightkit.opening"})
    module = Module(ROOT / place, ast.parse(source))
    with pytest.raises(AssertionError):
        CHECKS[check](module)
