"""What `import ptrarray` loads: what it is for, and the rest when it is asked for."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from tests.support.prepared import python

# Heavy, and of no use to who opens a store, or writes to one.
HEAVY = {
    *("asyncio", "email", "hashlib", "importlib.metadata", "multiprocessing", "numpy.ma", "tqdm"),
    *("ptrarray.bigarray", "ptrarray.convert", "ptrarray.filling", "ptrarray.jobs"),
    *("ptrarray.nested", "ptrarray.packs", "concurrent.futures.process", "unittest"),
    *("fractions", "pandas", "ptrarray.frames.flat", "ptrarray.views.series", "zoneinfo"),
}
OWN_LIMIT = 127
LATER: dict[str, str] = ptrarray._LATER


def fresh(code: str) -> Any:
    """Return what a new process prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def after_import(code: str) -> Any:
    """Return what a process prints, as JSON, that has imported the package and nothing of it."""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def loaded(code: str) -> set[str]:
    """Return the modules that a new process has after some code."""
    return set(fresh(f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"))


def test_little_is_loaded() -> None:
    modules = loaded("import numpy\nbefore = set(sys.modules)\nimport ptrarray")
    assert modules & HEAVY == set()
    assert len([name for name in modules if name.startswith("ptrarray")]) <= OWN_LIMIT


def test_little_is_loaded_to_write_and_read(tmp_path: Path) -> None:
    code = f"""
import ptrarray
with ptrarray.create({str(tmp_path / "a.ptr")!r}, dtype="i4") as writer:
    writer["a"] = [1, 2]
assert ptrarray.open(writer.path)["a"].tolist() == [1, 2]
ptrarray.verify(writer.path)
"""
    assert loaded(code) & (HEAVY - {"numpy.ma"}) == set()


def test_little_is_loaded_to_show_a_store(tmp_path: Path) -> None:
    ptrarray.create(tmp_path / "a.ptr", dtype="i4").close()
    modules = loaded(
        "import contextlib, io\nfrom ptrarray.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert main(['info', {str(tmp_path / 'a.ptr')!r}]) == 0"
    )
    assert modules & HEAVY <= {"ptrarray.packs", "hashlib"}


def test_names_that_come_later_are_those_that_checkers_see() -> None:
    """Type checkers and editors read the imports that are never run."""
    tree = ast.parse(Path(ptrarray.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    seen: dict[str, str] = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module
        module = node.module.partition(".")[2]
        seen |= {alias.name: module for alias in node.names}
    assert seen == LATER
    assert set(LATER) - set(ptrarray.__all__) == {"bigarray"}


def test_checkers_see_a_misspelt_name() -> None:
    """They do not see the function that would have any name come later."""
    tree = ast.parse(Path(ptrarray.__file__).read_text(encoding="utf-8"))
    unseen = next(node for node in tree.body if "__getattr__" in ast.unparse(node))
    assert isinstance(unseen, ast.If)
    assert ast.unparse(unseen.test) == "not TYPE_CHECKING"


def test_all_that_is_public_is_listed_and_there() -> None:
    assert "__version__" in dir(ptrarray)
    public = [name for name in dir(ptrarray) if not name.startswith("__")]
    assert public == sorted([*ptrarray.__all__, "bigarray"])
    names = after_import(
        "import json, ptrarray\nbefore = dir(ptrarray)\nfrom ptrarray import *\n"
        "print(json.dumps([before, [name for name in ptrarray.__all__ if name in globals()]]))"
    )
    assert set(names[0]) >= set(ptrarray.__all__)
    assert names[1] == ptrarray.__all__


def test_help_has_all_functions() -> None:
    text = after_import(
        "import json, pydoc, ptrarray\n"
        "print(json.dumps(pydoc.render_doc(ptrarray, renderer=pydoc.plaintext)))"
    )
    for name in ("fill", "dump", "load", "pack", "unpack", "open", "create"):
        assert f"\n    {name}(" in text


def test_what_is_not_there_is_an_attribute_error() -> None:
    missing: Any = ptrarray
    with pytest.raises(AttributeError, match="module 'ptrarray' has no attribute 'missing'"):
        missing.missing  # noqa: B018


@pytest.mark.parametrize("name", ["dump", "fill", "load", "pack", "unpack"])
def test_functions_are_pickled_by_name(name: str) -> None:
    function = getattr(ptrarray, name)
    assert inspect.isfunction(function)
    raw = pickle.dumps(function)
    code = f"import json, pickle\nprint(json.dumps(pickle.loads({raw!r}).__name__))"
    assert (fresh if name == "dump" else after_import)(code) == name


@pytest.mark.parametrize(
    "first",
    [
        "import ptrarray.filling",
        "import ptrarray.nested.persistence, ptrarray.packs",
        "from ptrarray.filling import fill as another",
        "import ptrarray.convert.formats.npy",
        "import ptrarray.jobs.run, ptrarray.nested",
    ],
)
def test_no_module_takes_the_name_of_a_function(first: str) -> None:
    """Whoever imports a module puts it into the package under its name, in any thread."""
    kinds = after_import(
        f"{first}\nimport json, ptrarray\n"
        "print(json.dumps({n: type(getattr(ptrarray, n)).__name__ for n in ptrarray._LATER}))"
    )
    modules = {name for name, kind in kinds.items() if kind == "module"}
    assert modules == {"bigarray", "convert"}


def test_no_function_has_the_name_of_a_module() -> None:
    package = Path(ptrarray.__file__).parent
    modules = {path.stem for path in package.iterdir()}
    assert {name for name in ptrarray.__all__ if name in modules} == {"convert"}


def test_threads_that_ask_at_once_get_the_same() -> None:
    same = after_import(
        """
import json, threading, ptrarray
barrier, found = threading.Barrier(8), []
def ask(name):
    barrier.wait()
    found.append((name, id(getattr(ptrarray, name))))
names = ["fill", "dump", "convert", "pack"] * 2
threads = [threading.Thread(target=ask, args=[name]) for name in names]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([len(found), len(set(found)), callable(ptrarray.fill)]))
"""
    )
    assert same == [8, 4, True]
