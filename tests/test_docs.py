"""The documents: docs/cli.md is what the parser says, and docs/index.md leads everywhere."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ptrarray
import ptrarray.bigarray
import ptrarray.executors
import ptrarray.sampling
from ptrarray.cli import main
from ptrarray.cli.commands import _parser
from ptrarray.reductions.functions import FUNCTIONS
from tests.support.oldest import oldest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CLI = (DOCS / "cli.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md"))]


def command_lines(page: str) -> list[list[str]]:
    """Return the arguments of the command lines that stand in blocks of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^ptrarray (.*)", "".join(blocks), re.MULTILINE)
    # Of a command the page of them shows what it takes: [what may be left out], {one,or,another}.
    run = [line for line in lines if not re.search(r"\[|{\w+,", line)]
    return [shlex.split(line, comments=True) for line in run]


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def targets(path: str) -> set[Path]:
    """Return the files that a document links to."""
    found = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(path))
    return {(ROOT / path).parent.joinpath(target).resolve() for target in found}


def test_the_page_of_the_command_line_is_fresh() -> None:
    fresh = runpy.run_path(str(DOCS / "tools" / "cli_page.py"))["page"]()
    assert fresh == CLI, "docs/cli.md is stale: run `python docs/tools/cli_page.py`"


@pytest.mark.parametrize(
    ("page", "names"), [("docs/cli.md", "utt{}"), ("README.md", "recording{}")]
)
def test_command_lines_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    names: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with ptrarray.create("corpus.ptr", dtype="f4") as writer:
        writer.write({names.format(n): np.ones(n) for n in range(20)})
    lines = command_lines(page)
    assert len(lines) >= 4
    for line in lines:
        # What is said to be on a server is on this machine, at a URL nonetheless.
        arguments = [word.replace("https://host", tmp_path.as_uri()) for word in line]
        assert main(arguments) == 0, arguments
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_ones(page: str) -> None:
    inline = re.findall(r"`ptrarray ([^`\n]+)`", text(page))
    lines = [*command_lines(page), *map(shlex.split, inline)]
    for arguments in lines:
        if len(arguments) > 2:
            _parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    assert [target for target in targets(page) if not target.exists()] == []


def test_the_map_has_every_document() -> None:
    documents = {*DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.py"), ROOT / "CHANGELOG.md"}
    assert documents - {DOCS / "index.md"} <= targets("docs/index.md")


# The reference ------------------------------------------------------------------------------------


def documented() -> dict[str, Any]:
    """Return what the reference has directives for, by path; what they name must be there."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    paths = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(paths) == len(set(paths))
    # Where torch and Ray are, test_torch_examples.py and test_extras_ray_data.py look at those that
    # need them.
    away = ("ptrarray.torch.", "ptrarray.ray.")
    return {path: found(path) for path in paths if not path.startswith(away)}


def found(path: str) -> Any:
    """Return what a path means to mkdocstrings, to which a module comes before a function."""
    module, _, rest = path.partition(".")
    value = importlib.import_module(module)
    for name in rest.split("."):
        module = f"{module}.{name}"
        value = sys.modules.get(module) or getattr(value, name)
    return value


MODULES = (ptrarray, ptrarray.convert, ptrarray.bigarray, ptrarray.executors, ptrarray.sampling)


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(module: ModuleType) -> None:
    there = documented().values()
    names = [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]
    assert [name for name in names if getattr(module, name) not in there] == []


def test_the_reference_has_nothing_else() -> None:
    public = [getattr(module, name) for module in MODULES for name in module.__all__]
    owners = [kind for value in public for kind in getattr(value, "__mro__", (value,))]
    public += [method for owner in owners for method in vars(owner).values()]
    assert [path for path, value in documented().items() if value not in public] == []


def test_every_method_of_a_reader_is_in_one_page() -> None:
    page = text("docs/api/reading.md")
    elsewhere = re.search(r'"!\^\(([\w|]+)\)\$"', page)
    assert elsewhere
    paths = {path for path in documented() if path.startswith("ptrarray.PointerArray.")}
    assert paths == {f"ptrarray.PointerArray.{name}" for name in elsewhere[1].split("|")}


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_public_says_what_it_is(module: ModuleType) -> None:
    """What has no docstring is not in the reference; docstrings of overloads are not shown."""
    silent = []
    for name in module.__all__:
        value = getattr(module, name)
        members = vars(value).items() if isinstance(value, type) else ()
        public = [(key, member) for key, member in members if not key.startswith("_")]
        for key, member in [(name, value), *public]:
            if (callable(member) or isinstance(member, property)) and not member.__doc__:
                silent.append((name, key))
    assert silent == []


def test_the_reference_has_the_functions_of_numpy() -> None:
    shown = re.findall(r"`np\.(\w+)\(store\)`", text("docs/api/reducing.md"))
    assert {getattr(np, name) for name in shown} == set(FUNCTIONS)


def test_reliability_names_tests_that_are_there() -> None:
    named = re.findall(r"`(test_\w+)(\.py)?`", text("docs/RELIABILITY.md"))
    assert len(named) >= 10
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("*.py"))
    for name, suffix in named:
        there = (ROOT / "tests" / f"{name}.py").exists() if suffix else f"def {name}(" in code
        assert there, f"{name}{suffix}"


def test_every_package_that_users_install_has_an_oldest_release() -> None:
    packages = oldest()
    assert len(packages) >= 7
    for package in packages:
        assert re.fullmatch(r"\w+==\d+\.\d+\.\d+(; python_version .*)?", package), package


def test_code_in_documents_fits_the_page() -> None:
    for page in ("README.md", "docs/index.md", "docs/guide.md", "docs/api/index.md"):
        for code in re.findall(r"^```\w*\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL):
            assert [line for line in code.splitlines() if len(line) > 88] == []
