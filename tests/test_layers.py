"""A module imports only from lower ranks, never sideways, and only at its top."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ptrarray"
# From the ground up, by path. A folder holds all below it that has no line of its own; its
# modules may import each other, without a cycle. Those on one line do not know each other.
RANKS = [
    {"errors", "progress"},
    {"rows", "format", "frames"},
    {"reductions", "intake"},
    {"storage.system"},
    {"storage.store"},
    {"storage.writing"},
    {"storage.lifecycle"},
    {"storage.shards"},
    {"views"},
    {"reader", "writer", "packs"},
    {"creation", "upkeep"},
    {"jobs", "nested", "bigarray"},
    {"fill"},
    {"convert"},
    {"cli"},
    {"__init__"},
    {"__main__"},
]
FOREIGN = {"numpy", "msgpack", "tqdm"} | set(sys.stdlib_module_names)
OPTIONAL = {("format.checksum", "isal")}  # with something else in its place
RANK = {place: i for i, places in enumerate(RANKS) for place in places}
# What a shard is, only storage.shards knows, and format.shards as bytes.
BELOW_SHARDS = {"format", "storage.system", "storage.store", "storage.writing", "storage.lifecycle"}
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = {
    ".".join(file.parent.relative_to(PACKAGE).parts) for file in FILES if file.parent != PACKAGE
}


def module_of(file: Path) -> str:
    """Return the dotted name inside the package: ``storage.system.files``."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


def ranked(module: str) -> str | None:
    """Return what gives a module its rank: itself, or the nearest folder that has one."""
    while module and module not in RANK:
        module = module.rpartition(".")[0]
    return module or None


def names_shards(module: str, source: str) -> bool:
    """Tell whether a module below the floor of shards has a word of them."""
    is_below = ranked(module) in BELOW_SHARDS and module != "format.shards"
    return is_below and "shard" in source.lower()


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
            is_folder = module == "ptrarray" or module.removeprefix("ptrarray.") in FOLDERS
            yield from (f"{module}.{alias.name}" if is_folder else module for alias in node.names)


def offences(module: str, tree: ast.Module) -> list[str]:
    """Return what a module imports against the rules."""
    own = ranked(module) or ""  # a folder without a rank imports nothing
    found = []
    for imported in imports(tree):
        head, _, rest = imported.partition(".")
        if head != "ptrarray":
            is_known = head in FOREIGN or (module, head) in OPTIONAL
            found += [] if is_known else [f"foreign {imported}"]
            continue
        target = ranked(rest)
        is_sibling = target == own and own in FOLDERS
        is_below = target is not None and RANK[target] < RANK.get(own, -1)
        found += [] if is_sibling or is_below else [f"not below {module}: {imported}"]
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    blocks = [node for node in ast.walk(tree) if isinstance(node, inner)]
    return found + [f"inside {node.name}: {name}" for node in blocks for name in imports(node)]


def test_every_module_has_a_rank_and_every_rank_a_module() -> None:
    modules = [module_of(file) for file in FILES if file.name != "__init__.py"]
    assert {ranked(module) for module in [*modules, "__init__"]} == set(RANK)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    assert offences(module_of(file), parse(file)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("format.table", "from ptrarray.reader import open"),
        ("format.table", "from ptrarray.rows.pointers import Runs"),
        ("format.table", "import ptrarray.cli"),
        ("format.table", "from ptrarray import errors, reader"),
        ("format.table", "from .errors import StoreError"),
        ("format.table", "import pandas"),
        ("reader", "from ptrarray.writer import append"),
        ("storage.system.lock", "from ptrarray.writer import create"),
        ("storage.store.index", "from ptrarray.storage.writing.session import Session"),
        ("storage.store.index", "from ptrarray.storage.shards import marker"),
        ("cli", "from ptrarray import open"),
        ("cli", "def f():\n    from ptrarray.errors import StoreError"),
    ],
)
def test_refuses(module: str, source: str) -> None:
    assert len(offences(module, ast.parse(source))) == 1


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_shards_are_known_from_their_floor_on(file: Path) -> None:
    assert not names_shards(module_of(file), file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("module", "source", "is_refused"),
    [
        ("storage.writing.session", "first_row = 0  # of this shard", True),
        ("storage.store.snapshot", "class ShardedSnapshot: ...", True),
        ("storage.lifecycle", '"""Several SHARDS."""', True),
        ("format.journal", "SHARD_NBYTES = 1", True),
        ("format.shards", "SHARD_NBYTES = 1", False),
        ("storage.shards.session", "shard = 1", False),
        ("reader", "shard = 1", False),
    ],
)
def test_refuses_shards_below(module: str, source: str, is_refused: bool) -> None:
    assert names_shards(module, source) == is_refused


@pytest.mark.parametrize("folder", sorted(FOLDERS & set(RANK)))
def test_folders_have_no_cycle(folder: str) -> None:
    files = sorted(PACKAGE.joinpath(*folder.split(".")).rglob("*.py"))
    graph = {
        module_of(file).removesuffix(".__init__"): {
            name.removeprefix("ptrarray.") for name in imports(parse(file))
        }
        for file in files
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError
