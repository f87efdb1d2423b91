"""The pages and examples that need torch run and print what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_examples import ROOT, Block, blocks

pytest.importorskip("torch")
pt: Any = pytest.importorskip("ptrarray.torch")

PROGRAMS = [
    pytest.param(block, id=f"{page}:{block.line}")
    for page in ("docs/torch.md", "docs/guide.md")
    for block in blocks(page)
    if page == "docs/torch.md" or "torch" in block.code
]


def run(script: Path, folder: Path) -> str:
    """Run a script, which must complain of nothing, and return what it prints.

    torch itself logs a line when a nested tensor is made for the first time, and torch 2.6 leaves a
    temporary folder to be removed at the end.
    """
    quiet = "ignore:Implicitly cleaning up:ResourceWarning"
    command = [sys.executable, "-W", "error", "-W", quiet, str(script)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.sub(r"W.*is_fx_tracing will return.*\n", "", done.stderr) == ""
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: Block, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program.code, encoding="utf-8")
    assert run(script, tmp_path) == program.output


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 6


def test_train(tmp_path: Path) -> None:
    assert run(ROOT / "examples" / "train.py", tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api" / "torch.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: ptrarray\.torch\.(\w+)$", page, re.MULTILINE)
    assert {*shown, "LengthBatches"} == set(pt.__all__)
    assert all(getattr(pt, name).__doc__ for name in pt.__all__)
