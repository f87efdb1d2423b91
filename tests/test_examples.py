from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 40


def readme_blocks() -> list[str]:
    """Return the Python code of the README; none if it is missing, which a test notices."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_script(script: Path, folder: Path) -> None:
    command = [sys.executable, "-W", "error", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_there_is_something_to_run() -> None:
    assert len(EXAMPLES) >= 4
    assert readme_blocks(), "README.md is missing or shows no Python code"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    run_script(script, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example_is_short_and_checks_itself(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    last = tree.body[-1]
    while not isinstance(last, ast.Assert):
        assert isinstance(last, ast.If | ast.With), "the last statement should be an assert"
        last = last.body[-1]


@pytest.mark.parametrize("i_block", range(len(readme_blocks())))
def test_readme(i_block: int, tmp_path: Path) -> None:
    """Each block runs after those before it, as a reader would try them."""
    (tmp_path / "folder").mkdir()
    script = tmp_path / "readme.py"
    script.write_text("\n".join(readme_blocks()[: i_block + 1]), encoding="utf-8")
    run_script(script, tmp_path / "folder")
