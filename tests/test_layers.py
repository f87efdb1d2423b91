"""The rules of the house: imports go down, files and functions stay small, doors are in the root."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ptrarray

PACKAGE = Path(ptrarray.__file__).parent  # also where that is installed
# From the ground up, by path. A folder holds all below it that has no line of its own; its
# modules may import each other, without a cycle. Those on one line do not know each other.
RANKS = [
    {"errors", "native", "progress"},
    {"bridges", "executors", "look"},
    {"rows"},
    {"format"},
    {"objects"},
    {"frames"},
    {"reductions", "intake"},
    {"storage.remote"},
    {"storage.system"},
    {"storage.store"},
    {"storage.writing"},
    {"storage.lifecycle"},
    {"storage.shards"},
    {"views"},
    {"reader", "writer", "packs", "sampling", "downloading"},
    {"creation", "upkeep"},
    {"joining"},
    {"jobs"},
    {"filling", "nested", "bigarray", "ray", "torch"},
    {"convert", "look.viewer"},
    {"cli"},
    {"__init__"},
    {"__main__"},
]
FOREIGN = {"numpy", "msgpack", "tqdm"} | set(sys.stdlib_module_names)
OPTIONAL = {("format.checksum", "isal")}  # with something else in its place
# What a function imports, since all others would wait for it, and few ever need it.
LATE = {
    ("progress", "bar", "tqdm.std"),
    ("format.helpers", "digest", "hashlib"),
    ("storage.store.overlay", "Overlay", "hashlib"),
    ("storage.store.overlay", "digest", "hashlib"),
    ("reader", "remote_path", "ptrarray.storage.remote.locating"),
    ("downloading", "download", "ptrarray.storage.remote.locating"),
    ("views.helpers", "objects_with", "ptrarray.frames.reading"),
    ("views.helpers", "objects_with", "ptrarray.views.series"),
    ("reader", "PointerArray", "ptrarray.views.partition"),
    ("reader", "partitions", "ptrarray.views.partition"),
    ("views.stored", "StoredArrays", "ptrarray.views.awaited"),
    ("views.stored", "atake", "ptrarray.views.awaited"),
    ("views.stored", "StoredArrays", "ptrarray.views.plots"),
    ("views.stored", "plot", "ptrarray.views.plots"),
    ("views.reducible", "Reducible", "ptrarray.views.spread"),
    ("views.reducible", "reduce", "ptrarray.views.spread"),
    ("views.reducible", "reduce_each", "ptrarray.views.spread"),
    ("views.helpers", "flattened", "ptrarray.frames.series"),
    ("views.helpers", "_restored", "ptrarray.frames.flat"),
    ("frames.flat", "_encoded", "ptrarray.objects.encoder"),
    ("frames.flat", "_decoded", "ptrarray.objects.decoder"),
    ("rows.ragged", "from_arrow", "ptrarray.bridges.from_arrow"),
    ("rows.ragged", "Ragged", "ptrarray.bridges.from_arrow"),
    ("writer", "write_arrow", "ptrarray.intake.arrow"),
    ("writer", "write_ragged", "ptrarray.intake.joined"),
    ("writer", "PointerArrayWriter", "ptrarray.intake.joined"),
    ("writer", "PointerArrayWriter", "ptrarray.intake.arrow"),
    ("reader", "PointerArray", "ptrarray.storage.shards.upkeep"),
    ("reader", "verify", "ptrarray.storage.shards.upkeep"),
    ("reader", "PointerArray", "uuid"),
    ("reader", "__dask_tokenize__", "uuid"),
    ("rows.ragged", "Ragged", "ptrarray.bridges.awkward"),
    ("rows.ragged", "awkward", "ptrarray.bridges.awkward"),
    ("views.tabular", "Tabular", "ptrarray.bridges.awkward"),
    ("views.tabular", "awkward", "ptrarray.bridges.awkward"),
    ("rows.ragged", "_lists", "ptrarray.bridges.arrow"),
    ("views.tabular", "Tabular", "ptrarray.views.arrow"),
    ("views.tabular", "arrow", "ptrarray.views.arrow"),
    ("reader", "PointerArray", "ptrarray.views.shown"),
    ("reader", "_repr_html_", "ptrarray.views.shown"),
    ("writer", "PointerArrayWriter", "ptrarray.views.shown"),
    ("writer", "_repr_html_", "ptrarray.views.shown"),
    ("views.partition", "Partition", "ptrarray.views.shown"),
    ("views.partition", "_repr_html_", "ptrarray.views.shown"),
    ("views.mappings", "Meta", "ptrarray.views.shown"),
    ("views.mappings", "MetaOfWriter", "ptrarray.views.shown"),
    ("views.mappings", "Attrs", "ptrarray.views.shown"),
    ("views.mappings", "_repr_html_", "ptrarray.views.shown"),
    ("rows.ragged", "Ragged", "ptrarray.look.html"),
    ("rows.ragged", "_repr_html_", "ptrarray.look.html"),
    ("cli.commands", "_demo", "ptrarray.cli.demo"),
    ("cli.completion", "_print_names", "ptrarray.look.viewer.search"),
    ("cli.reading", "_get", "ptrarray.cli.drawing"),
    ("cli.reading", "_save", "ptrarray.convert.export"),
    ("cli.convert", "_function", "ptrarray.convert"),
    ("cli.view", "_view", "ptrarray.look.viewer.server"),
    ("reader", "commit_of", "hashlib"),
}
RANK = {place: i for i, places in enumerate(RANKS) for place in places}
# What a shard is, only storage.shards knows, and these as bytes.
SHARD_BYTES = {"format.shards", "format.catalog"}
BELOW_SHARDS = {"format", "storage.system", "storage.store", "storage.writing", "storage.lifecycle"}
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
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
    is_below = ranked(module) in BELOW_SHARDS and module not in SHARD_BYTES
    return is_below and "shard" in source.lower()


@cache
def parse(file: Path) -> ast.Module:
    """Return the code of a file, which several tests ask for."""
    return ast.parse(file.read_text(encoding="utf-8"))


walked = cache(lambda tree: [*ast.walk(tree)])  # which takes longer than all that is done with it


def broken(rule: Callable[[Path], object], files: list[Path] = FILES) -> dict[str, object]:
    """Return what breaks a rule, by module: one test of all of them, not one of each."""
    return {module_of(file): found for file in files if (found := rule(file))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported as dotted names; a relative import begins with a dot."""
    for node in walked(tree):
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
    is_any_inside = any(
        n.col_offset for n in walked(tree) if isinstance(n, ast.Import | ast.ImportFrom)
    )
    blocks = [node for node in walked(tree) if is_any_inside and isinstance(node, inner)]
    inside = {(module, node.name, name) for node in blocks for name in imports(node)} - LATE
    found += [f"inside {name}: {imported}" for _, name, imported in sorted(inside)]
    # Only the face of the package looks like more than was imported.
    return found + ["__getattr__"] * (module != "__init__" and has_late_names(tree))


def has_late_names(tree: ast.Module) -> bool:
    """Tell whether a module makes what it is asked for."""
    nodes = [
        *tree.body,
        *(one for node in tree.body if isinstance(node, ast.If) for one in node.body),
    ]
    return any(isinstance(node, Function) and node.name == "__getattr__" for node in nodes)


def test_every_module_has_a_rank_and_every_rank_a_module() -> None:
    modules = [module_of(file) for file in FILES if file.name != "__init__.py"]
    assert {ranked(module) for module in [*modules, "__init__"]} == set(RANK)


def test_imports_go_down() -> None:
    assert broken(lambda file: offences(module_of(file), parse(file))) == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("format.table", "from ptrarray.reader import open"),
        ("rows.ragged", "from ptrarray.format.table import EMPTY"),
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
        ("cli.commands", "def _info():\n    from ptrarray.cli.demo import run_demo"),
        ("progress", "def bar():\n    import asyncio"),
        ("nested", "def __getattr__(name): ..."),
        ("nested", "if True:\n    def __getattr__(name): ..."),
    ],
)
def test_refuses(module: str, source: str) -> None:
    assert len(offences(module, ast.parse(source))) == 1


# The seam: who touches files of a store asks storage.system, where tests let each call fail ---------

SYSTEM = {"os", "shutil", "mmap", "fcntl", "tempfile", "glob", "io"}
OF_NAMES = {"PathLike", "fspath", "fsdecode"}  # of os, and of no file
OF_FILES = {  # what a Path does
    *("chmod", "exists", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir"),
    *("lchmod", "lstat", "mkdir", "open", "read_bytes", "read_text", "readlink", "rename"),
    *("resolve", "rglob", "rmdir", "samefile", "stat", "symlink_to", "touch", "unlink"),
    *("write_bytes", "write_text"),
}
AT_THE_SEAM = (
    *("storage.store.", "storage.writing.", "storage.lifecycle.", "storage.shards.", "nested."),
    *(
        "reader",
        "writer",
        "packs",
        "creation",
        "upkeep",
        "joining",
        "bigarray.reading",
        "bigarray.writing",
    ),
)
NO_STORE = {("packs", ".open")}  # what is unpacked may be a pipe


def beside_the_seam(module: str, tree: ast.Module) -> list[str]:
    """Return what a module asks of the system itself."""
    found = [name for name in imports(tree) if name.partition(".")[0] in SYSTEM]
    if "import os" in map(ast.unparse, tree.body) and not module.startswith("storage."):
        found.remove("os")  # the types of paths
    own = {node.name for node in walked(tree) if isinstance(node, ast.FunctionDef | ast.alias)}
    found += [name for name in map(asked, walked(tree)) if name and name not in own]
    return [name for name in found if (module, name) not in NO_STORE]


def asked(node: ast.AST) -> str | None:
    """Return what a node asks of the system, or of a Path."""
    match node:
        case ast.Attribute(ast.Name("files")) | ast.Call(ast.Attribute(ast.Name("files"))):
            return None
        case ast.Attribute(ast.Name("os"), attr) if attr not in OF_NAMES:
            return f"os.{attr}"
        case ast.Attribute(_, attr) if attr in OF_FILES:
            return f".{attr}"
        case ast.Call(ast.Attribute(_, "replace"), [_], []):  # that of a str takes two
            return ".replace"
        case ast.Call(ast.Name("open")):
            return "open"
    return None


def test_files_of_a_store_are_touched_at_the_seam() -> None:
    files = [file for file in FILES if module_of(file).startswith(AT_THE_SEAM)]
    assert broken(lambda file: beside_the_seam(module_of(file), parse(file)), files) == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("storage.store.index", "import os"),
        ("storage.store.index", "import os.path"),
        ("storage.store.index", "import mmap, numpy"),
        ("storage.lifecycle.create", "from shutil import rmtree"),
        ("storage.shards.marker", "Path(where).iterdir()"),
        ("storage.shards.marker", "any(map(Path.is_file, paths))"),
        ("storage.writing.session", "self.path.rename(new)"),
        ("storage.writing.session", "self.path.replace(new)"),
        ("storage.store.journal", "open(path)"),
        ("nested.persistence", "import os\nos.path.lexists(path)"),
        ("nested.persistence", "import os as system\nsystem.listdir(path)"),
        ("nested.persistence", "from os import listdir"),
        ("packs", "import tempfile"),
        ("packs", "target.unlink()"),
        ("creation", "directory.mkdir()"),
    ],
)
def test_refuses_what_is_beside_the_seam(module: str, source: str) -> None:
    assert len(beside_the_seam(module, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("storage.store.index", "files.exists(path), files.replace(new), text.replace('a', 'b')"),
        ("nested.persistence", "import os\ndef f(path: os.PathLike[str]): os.fspath(path)"),
        ("nested.persistence", "from ptrarray.reader import open\nopen(path)"),
        ("packs", "path.open('rb')"),
    ],
)
def test_lets_pass_what_is_at_the_seam(module: str, source: str) -> None:
    assert beside_the_seam(module, ast.parse(source)) == []


def test_shards_are_known_from_their_floor_on() -> None:
    assert broken(lambda file: names_shards(module_of(file), file.read_text("utf-8"))) == {}


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


# Locks: let go of whatever interrupts who took them -----------------------------------------------

# Called by those who have the store's lock, and are whole.
UNDER_THE_LOCK = {("storage.shards.session", "settle"), ("storage.shards.session", "_has")}


def locks_half(module: str, tree: ast.Module) -> list[str]:
    """Return the functions of a module that take a lock and are not `whole`, or are generators.

    Those come to their first step when they have left what guards them.
    """
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bodies = [*tree.body, *(node for one in classes for node in one.body)]
    functions = [node for node in bodies if isinstance(node, Function)]
    return [
        one.name
        for one in functions
        if any(map(takes_lock, walked(one)))
        and ("whole" not in map(ast.unparse, one.decorator_list) or yields(one))
        and (module, one.name) not in UNDER_THE_LOCK
    ]


def takes_lock(node: ast.AST) -> bool:
    taken = [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
    return any(ast.unparse(one).endswith((".locked()", ".lock")) for one in taken)


def yields(function: Function) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in walked(function))


def test_who_takes_a_lock_is_whole() -> None:
    assert broken(lambda file: locks_half(module_of(file), parse(file))) == {}


@pytest.mark.parametrize(
    ("source", "is_refused"),
    [
        ("def f(store):\n    with store.locked(): ...", True),
        ("def f():\n    if a:\n        with b, self._journal.lock as c: ...", True),
        (
            "class C:\n    @property\n    def f(self):\n        with self.locked() as part: ...",
            True,
        ),
        ("@whole\n@contextmanager\ndef f():\n    with store.locked():\n        yield 1", True),
        ("class C:\n    @whole\n    def f(self):\n        with self.locked(), b: ...", False),
        ("def f(store):\n    return store.locked()", False),
        ("def settle(self):\n    with session.locked(): ...", False),
    ],
)
def test_refuses_locks_that_an_interrupt_may_leave(source: str, is_refused: bool) -> None:
    assert bool(locks_half("storage.shards.session", ast.parse(source))) == is_refused


# What a file may hold -----------------------------------------------------------------------------

FILE_LIMIT_LINES = 400
FUNCTION_LIMIT_LINES = 45
TEST_FILE_LIMIT_LINES = 500  # of any kind
NOT_DOORS = {"__init__", "__main__", "errors", "native", "progress"}
BY_THEMSELVES = {
    "executors",
    "ray",
    "sampling",
    "torch",
}  # doors that `import ptrarray` does not open


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that are neither blank, nor comments, nor docstrings."""
    found = {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in walked(tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            docstring = node.body[0]
            found -= {*range(docstring.lineno, (docstring.end_lineno or 0) + 1)}
    return found


def too_long(source: str, tree: ast.Module | None = None) -> list[str]:
    """Return what of a file has more lines of code than it may."""
    tree = tree or ast.parse(source)
    lines = code_lines(source, tree)
    found = [f"{len(lines)} lines"] if len(lines) > FILE_LIMIT_LINES else []
    for node in walked(tree):
        if isinstance(node, Function):
            n_lines = len(lines & {*range(node.lineno, (node.end_lineno or 0) + 1)})
            found += [f"{node.name}: {n_lines}"] if n_lines > FUNCTION_LIMIT_LINES else []
    return found


def is_too_long_for_tests(source: str) -> bool:
    return len(source.splitlines()) > TEST_FILE_LIMIT_LINES


def is_door(tree: ast.Module) -> bool:
    """Tell whether a module defines something that is called ``ptrarray.X``."""
    defined = {node.name for node in tree.body if isinstance(node, Function | ast.ClassDef)}
    return bool(defined & set(ptrarray.__all__))


def test_files_and_functions_are_small() -> None:
    assert broken(lambda file: too_long(file.read_text("utf-8"), parse(file))) == {}


def test_files_of_tests_are_small() -> None:
    """Each is about one subject, which its name says."""
    tests = Path(__file__).parent
    sources = {file: file.read_text(encoding="utf-8") for file in tests.rglob("*.py")}
    assert Path(__file__) in sources
    assert [file for file, source in sources.items() if is_too_long_for_tests(source)] == []


def test_files_in_the_root_are_doors() -> None:
    root = {file.stem: file for file in FILES if file.parent == PACKAGE}
    assert {
        name for name in root.keys() - NOT_DOORS - BY_THEMSELVES if not is_door(parse(root[name]))
    } == set()


def test_refuses_long_files() -> None:
    lines = "x = 1\n" * FILE_LIMIT_LINES
    comments = f'"""{lines}"""\n# one more\n\n'
    assert too_long(comments + lines) == []
    assert too_long(comments + lines + "x = 1") == [f"{FILE_LIMIT_LINES + 1} lines"]


def test_refuses_long_files_of_tests() -> None:
    lines = "\n" * TEST_FILE_LIMIT_LINES
    assert not is_too_long_for_tests(lines)
    assert is_too_long_for_tests(lines + '"""')


def test_refuses_long_functions() -> None:
    body = "    x = 1\n" * (FUNCTION_LIMIT_LINES - 1)
    assert too_long(f'def f():\n    """{body}"""\n    # one more\n{body}') == []
    assert too_long(f"class C:\n  async def f():\n{body}    x = 1") == ["f: 46"]


def test_refuses_what_is_no_door() -> None:
    assert is_door(ast.parse("def open(): ..."))
    assert not is_door(ast.parse("def opened(): ...\nclass Helper:\n    def open(self): ..."))
