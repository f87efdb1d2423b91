"""A module imports only from lower ranks, never sideways, and only at its top."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ptrarray"
# From the ground up; modules on one line do not know each other.
RANKS = [
    {"errors", "checksum"},
    {
        *("checks", "pointers", "progress", "table", "names", "casting", "copying"),
        *("compressors", "indexing", "pandas_index"),
    },
    {"ragged", "streams", "pandas_bridge", "chained", "sizes"},
    {"format", "reductions"},
    {"batch"},
    {"storage"},
    {"views"},
    {"arrays"},
    {"reader", "writer"},
    {"creation", "upkeep", "packs", "watch", "worker"},
    {"fill", "bigarray", "nested"},
    {"demo", "convert"},
    {"cli"},
    {"__init__"},
    {"__main__"},
]
# Packages whose modules may import each other, without a cycle.
PACKAGES = ("format", "reductions", "storage", "bigarray", "nested", "convert", "cli")
FOREIGN = {"numpy", "msgpack", "tqdm"} | set(sys.stdlib_module_names)
OPTIONAL = {("checksum", "isal")}  # with something else in its place
RANK = {module: i for i, modules in enumerate(RANKS) for module in modules}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """Return the dotted name inside the package: ``storage.files``."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported as dotted names; a relative import begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # Here what is imported may be a module itself.
            whole = module in ("ptrarray", *(f"ptrarray.{name}" for name in PACKAGES))
            yield from (f"{module}.{alias.name}" if whole else module for alias in node.names)


def offences(module: str, tree: ast.Module) -> list[str]:
    """Return what a module imports against the rules."""
    top = module.split(".")[0]
    found = []
    for imported in imports(tree):
        head, _, rest = imported.partition(".")
        target = rest.split(".")[0]
        if head != "ptrarray":
            is_known = head in FOREIGN or (module, head) in OPTIONAL
            found += [] if is_known else [f"foreign {imported}"]
        elif not (target == top and top in PACKAGES):
            is_below = RANK.get(target, len(RANKS)) < RANK[top]
            found += [] if is_below else [f"not below {module}: {imported}"]
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    blocks = [node for node in ast.walk(tree) if isinstance(node, inner)]
    return found + [f"inside {node.name}: {name}" for node in blocks for name in imports(node)]


def test_every_module_has_a_rank_and_every_rank_a_module() -> None:
    assert {module_of(file).split(".")[0] for file in FILES} == set(RANK)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    assert offences(module_of(file), parse(file)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("table", "from ptrarray.reader import open"),
        ("table", "from ptrarray.names import hash_names"),
        ("table", "import ptrarray.cli"),
        ("table", "from ptrarray import errors, reader"),
        ("table", "from .errors import StoreError"),
        ("table", "import pandas"),
        ("storage.lock", "from ptrarray.writer import create"),
        ("cli", "from ptrarray import open"),
        ("cli", "def f():\n    from ptrarray.errors import StoreError"),
    ],
)
def test_refuses(module: str, source: str) -> None:
    assert len(offences(module, ast.parse(source))) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_no_cycle(package: str) -> None:
    files = sorted((PACKAGE / package).glob("*.py"))
    graph = {
        module_of(file): {name.removeprefix("ptrarray.") for name in imports(parse(file))}
        for file in files
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError
