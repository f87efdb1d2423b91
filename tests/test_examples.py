"""The examples, and the code in README and the documents, run and print what they say."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.prepared import python

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 40
MORE_LINES = {"train": 60}
PAGES = [
    *("README.md", "docs/index.md", "docs/guide.md", "docs/api/index.md", "docs/bridges.md"),
    "docs/look.md",
    *(
        f"docs/coming-from/{name}.md"
        for name in ("archives", "huggingface", "kaldi", "megatron", "mmappickle", "pickles")
    ),
]
README_LINES = 200
# What not everybody installs who runs the tests: blocks that import these are left out without them.
MAY_BE_ABSENT = {"dask", "datasets", "numba", "torch", "xarray"}

# A block of Python, and what it prints in a block of text right below.
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of Python in a document.

    Attributes
    ----------
    line : int
        The line of the document where its code begins, counted from 0.
    code : str
        Its code.
    output : str or None
        What it prints. A block that says so is a program, the others of a page are one script.
    """

    line: int
    code: str
    output: str | None

    @property
    def is_program(self) -> bool:
        """Whether it runs by itself."""
        return self.output is not None


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of Python in a document."""
    return [
        Block(text.count("\n", 0, found.start(1)), found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page; none if it is missing, which a test notices."""
    file = ROOT / page
    return blocks_of(file.read_text(encoding="utf-8")) if file.exists() else []


def lacks(code: str) -> set[str]:
    """Return the libraries that code imports, and that may be absent, and are."""
    found = set(re.findall(r"^(?:import|from) (?:ptrarray\.)?(\w+)", code, re.MULTILINE))
    found &= MAY_BE_ABSENT
    return {name for name in found if importlib.util.find_spec(name) is None}


def skip_without(code: str) -> None:
    """Skip a test of code that imports what is absent."""
    if missing := lacks(code):
        pytest.skip(f"{', '.join(sorted(missing))} not installed")


def script_of(parts: list[Block]) -> str:
    """Return blocks as one script, each at the lines of the page where it stands."""
    script = ""
    for part in parts:
        script += "\n" * (part.line - script.count("\n")) + part.code
    return script


PROGRAMS = [
    pytest.param(block, id=f"{page}:{block.line}")
    for page in (*PAGES, "docs/coming-from/bigarray.md")
    for block in blocks(page)
    if block.is_program
]


def run_script(script: Path, folder: Path) -> str:
    """Run a script, which must succeed and complain of nothing, and return what it prints."""
    done = python(script, cwd=folder, options=("-W", "error"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def run_code(code: str, name: str, folder: Path) -> str:
    """Run code as a script with a name, in a folder of its own."""
    (folder / "folder").mkdir(exist_ok=True)
    script = folder / f"{name}.py"
    script.write_text(code, encoding="utf-8")
    return run_script(script, folder / "folder")


def test_there_is_something_to_run() -> None:
    assert len(EXAMPLES) >= 4
    assert blocks("README.md"), "README.md is missing or shows no Python code"
    assert len(blocks("docs/guide.md")) >= 20
    assert len(PROGRAMS) >= 6


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    skip_without(script.read_text(encoding="utf-8"))
    run_script(script, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example_is_short_and_checks_itself(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MORE_LINES.get(script.stem, MAX_LINES)
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    last = tree.body[-1]
    while not isinstance(last, ast.Assert):
        assert isinstance(last, ast.If | ast.With), "the last statement should be an assert"
        last = last.body[-1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: Block, tmp_path: Path) -> None:
    """A block with its output below runs by itself, as a reader would copy it."""
    skip_without(program.code)
    assert run_code(program.code, "program", tmp_path) == program.output


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path) -> None:
    """The other blocks run one after another; a traceback has the lines of the page."""
    parts = [block for block in blocks(page) if not block.is_program]
    if page == "docs/bridges.md":
        parts = [block for block in parts if not lacks(block.code)]
    assert run_code(script_of(parts), "page", tmp_path) == ""


@pytest.mark.parametrize("page", PAGES)
def test_every_block_with_a_main_is_a_program(page: str) -> None:
    """Workers that are spawned run its file once more, so nothing else may be in it."""
    for block in blocks(page):
        assert block.is_program or "__main__" not in block.code, f"line {block.line} of {page}"


def test_libraries_that_are_absent_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_examples.MAY_BE_ABSENT", {"numpy", "unheard_of"})
    code = "import numpy as np\nfrom unheard_of.x import y\nimport never_heard_of\n"
    assert lacks(code) == {"unheard_of"}


def test_blocks_are_found_with_their_lines_and_output() -> None:
    text = "# T\n\n```python\na = 1\n```\n\n```text\n1\n```\n\n```python\nb\n```\n\nx\n```text\n2\n```\n"
    found = blocks_of(text)
    assert found == [Block(3, "a = 1\n", "1\n"), Block(11, "b\n", None)]
    assert script_of(found).splitlines()[11] == "b"


PROBE = """
import os, sys
print(sys.argv, sys.path[:2], os.getcwd(), sys.warnoptions, globals().get("__file__"), __name__)
print(repr(sys.stdin.read()), os.environ.get("OF_A_TEST"), __doc__)
print("said", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("kind", ["script", "-m", "-c"])
def test_a_prepared_process_is_as_a_new_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_A_TEST", "1")
    (tmp_path / "probe.py").write_text(PROBE)
    program = {"script": [str(tmp_path / "probe.py")], "-m": ["-m", "probe"], "-c": ["-c", PROBE]}
    arguments = [*program[kind], "one", "another"]
    new = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    prepared = python(*arguments, cwd=tmp_path, options=("-W", "error"))
    assert new.returncode == prepared.returncode == 3
    assert (prepared.stdout, prepared.stderr) == (new.stdout, new.stderr)


def test_a_prepared_process_may_be_killed() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert python("-c", program).returncode == -signal.SIGKILL
