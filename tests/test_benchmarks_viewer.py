"""Looking at a store, measured at a small size: every subject runs, every limit is in the page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.viewer.__main__ import INTRODUCTION, PACKAGES, command_line
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]


@pytest.mark.parametrize("subject", PACKAGES)
def test_a_subject_is_measured(subject: str, tmp_path: Path) -> None:
    missing = [package for package in PACKAGES[subject] if find_spec(package) is None]
    if missing or (subject == "browser" and not shutil.which("chromium")):
        pytest.skip(f"not installed: {missing or 'chromium'}")
    arguments = ["--subject", subject, "--n", "3000", "--repeat", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--markdown", str(tmp_path / "page.md")]
    done = python("-m", "benchmarks.viewer", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / f"viewer-{subject}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert written.startswith(INTRODUCTION)
    assert done.stdout.strip() in written
    assert all(cost > 0 for entry in facts["entries"] for cost in entry["costs"])
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


def test_every_subject_has_a_module() -> None:
    assert all(find_spec(f"benchmarks.viewer.{name}") for name in PACKAGES)


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/README.md", "benchmarks/LOOKING.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    text = (ROOT / file).read_text("utf-8").replace("$(REPEAT)", "3")
    lines = re.findall(r"-m benchmarks\.viewer +([^\n`]*)", text)
    assert lines
    for line in lines:
        command_line().parse_args(shlex.split(line))
