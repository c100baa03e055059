"""Imports run one way: who may import whom, that `reference` stands alone, and what a bare `import fastnet` brings along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fastnet"

# A part may import the parts in its row and nothing else of the package; rows only name parts from rows above, so the
# table itself has no cycle. Imports for type annotations only (under TYPE_CHECKING) do not count.
GROUND = "_ext errors files tables"
ARRAYS = f"{GROUND} memory config"
ENGINE = f"{ARRAYS} initializers parameters functional layers losses optim"
TRAINING = f"{ENGINE} regularization models data safetensors checkpoint plot training callbacks solver"
TOOLS = f"{TRAINING} peaks diagnose search ensemble interop recipes"
MAY_IMPORT = {
    "_ext": "",
    "errors": "",
    "tables": "",
    "files": "errors",
    "reference": "",
    "config": "_ext",
    "memory": "_ext config",
    "peaks": ARRAYS,
    "about": f"{ARRAYS} peaks",
    "initializers": ARRAYS,
    "parameters": ARRAYS,
    "safetensors": ARRAYS,
    "checkpoint": f"{ARRAYS} safetensors",
    "functional": ARRAYS,
    "layers": f"{ARRAYS} initializers parameters functional",
    "losses": f"{ARRAYS} functional",
    "optim": f"{ARRAYS} parameters",
    "regularization": f"{ARRAYS} parameters",
    "models": f"{ARRAYS} initializers parameters functional layers",
    "data": f"{ARRAYS} functional",
    "plot": f"{ARRAYS} layers losses",
    "training": f"{ENGINE} plot",
    "trajectories": f"{ENGINE} plot",
    "callbacks": f"{ARRAYS} checkpoint plot training",
    "solver": f"{ENGINE} regularization data safetensors checkpoint plot training callbacks",
    "diagnose": f"{TRAINING} reference",  # compare_paths holds the two side by side
    "ensemble": TRAINING,
    "search": f"{TRAINING} ensemble",
    "interop": TRAINING,
    "recipes": TRAINING,
    "cs231n": f"{TRAINING} diagnose reference",
    "commands": f"{TOOLS} about cs231n",
    "cli": f"{TOOLS} cs231n commands",
    "__main__": "cli",
}
EXTRAS = {"matplotlib", "tqdm", "torch", "PIL", "onnx", "safetensors", "sklearn", "mpi4py", "pandas", "joblib"}

FILES = sorted(PACKAGE.rglob("*.py"))


def part(file):
    """The part of the package that a file belongs to; "" for fastnet/__init__.py itself."""
    first = file.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(node, in_function=False):
    """(import statement, inside a function?) of everything below a node that runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function
        elif is_type_checking(child):
            for other in child.orelse:
                yield from imports(other, in_function)
        else:
            yield from imports(child, in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def modules(file):
    """(dotted absolute name, inside a function?) of every module that a file imports."""
    package = ["fastnet", *file.relative_to(PACKAGE).parts[:-1]]
    for statement, in_function in imports(ast.parse(file.read_text())):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, in_function) for alias in statement.names)
        else:
            base = package[: len(package) - statement.level + 1] if statement.level else []
            base = [*base, *(statement.module or "").split(".")] if statement.module else base
            yield from ((".".join([*base, alias.name]), in_function) for alias in statement.names)


def parts_imported(file):
    """The other parts of the package that a file imports."""
    names = [name.split(".") for name, _ in modules(file)]
    return {name[1] for name in names if name[0] == "fastnet" and len(name) > 1} - {part(file)}


def test_the_table_only_leads_down():
    above = set()
    for name, row in MAY_IMPORT.items():
        assert set(row.split()) <= above, f"{name} may import {set(row.split()) - above}, whose rows come later"
        above.add(name)


@pytest.mark.parametrize("name", sorted({part(file) for file in FILES} - {""}))
def test_a_part_imports_only_what_lies_below_it(name):
    assert name in MAY_IMPORT, f"add a row for {name} to MAY_IMPORT in {Path(__file__).name}"
    allowed = set(MAY_IMPORT[name].split())
    for file in FILES:
        if part(file) == name:
            above = parts_imported(file) - allowed
            assert not above, f"{file.relative_to(PACKAGE.parent)} imports {sorted(above)}; allowed: {sorted(allowed)}"


@pytest.mark.parametrize("file", [file for file in FILES if part(file) == "reference"], ids=lambda f: f.stem)
def test_the_reference_imports_numpy_and_the_standard_library_only(file):
    for name, _ in modules(file):
        root = name.split(".")[0]
        assert root in sys.stdlib_module_names or root == "numpy" or name.startswith("fastnet.reference"), name


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_extras_are_imported_only_where_they_are_used(file):
    for name, in_function in modules(file):
        root = name.split(".")[0]
        known = root in sys.stdlib_module_names or root in ("numpy", "fastnet")
        assert known or in_function, f"{name} is imported at the top of {file.name}; import it inside the function"


BARE = f"""
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        raise SystemExit(f"importing fastnet used the network: {{event}} {{arguments}}")

sys.addaudithook(refuse)
import fastnet
found = sorted({EXTRAS!r} & set(sys.modules))
assert not found, f"importing fastnet imported {{found}}"
assert sys.float_info.min / 2 != 0, "importing fastnet made the process flush denormals"
"""


def test_a_bare_import_brings_no_extra_and_takes_no_network():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_scan_sees_relative_nested_and_aliased_imports(tmp_path, monkeypatch):
    """The scan itself, on a file that has one import of each kind."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "layers").mkdir()
    file = tmp_path / "layers" / "one.py"
    file.write_text(
        "import numpy as np\nfrom .. import memory\nfrom ..solver import Solver\nfrom . import base\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..cli import main\n"
        "def f():\n    import matplotlib.pyplot\n    from fastnet.optim import SGD\n"
    )
    assert parts_imported(file) == {"memory", "solver", "optim"}
    assert ("matplotlib.pyplot", True) in set(modules(file))
