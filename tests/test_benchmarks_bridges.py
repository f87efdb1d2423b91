"""Arrays in other libraries, measured: every answer is compared, and every limit is in the page."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.bridges.__main__ import INTRODUCTION, PACKAGES, command_line
from benchmarks.bridges.limits import LIMIT, at_most
from benchmarks.users import page
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]

SIZES = {"arrow": 300}


def skip_without(packages: Iterable[str]) -> None:
    """Skip where a package is missing, or one does not know another."""
    there = {name: pytest.importorskip(name) for name in packages}
    if {"awkward", "pyarrow"} <= there.keys():
        try:
            there["awkward"].from_arrow(there["pyarrow"].array([[1]]))
        except AttributeError:
            pytest.skip("this awkward uses what this pyarrow has no more")


@pytest.mark.parametrize("subject", SIZES)
def test_a_subject_is_measured(subject: str, tmp_path: Path) -> None:
    skip_without(PACKAGES[subject])
    arguments = ["--subject", subject, "--n", str(SIZES[subject]), "--repeat", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--markdown", str(tmp_path / "page.md")]
    done = python("-m", "benchmarks.bridges", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / f"bridge-{subject}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert written.startswith(INTRODUCTION)
    assert done.stdout.strip() in written
    titles = {entry["title"] for entry in facts["entries"]}
    assert len(page.targets([facts]).splitlines()) == 2 + len(titles)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


def test_every_subject_has_a_module() -> None:
    there = {name for name in PACKAGES if find_spec(f"benchmarks.bridges.{name}")}
    assert set(SIZES) <= there


def test_a_limit_is_met_from_below() -> None:
    for cost, verdict in ((10.0, "met"), (40.0, "missed by 50%")):
        entries = at_most("what", 20, "bytes", partial(float, cost)).entries(1)
        assert [entry["by"] for entry in entries] == ["ptrarray", LIMIT]
        assert verdict in page.targets([{"user": "somebody", "entries": entries}])


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/README.md", "benchmarks/BRIDGES.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    path = ROOT / file
    text = path.read_text("utf-8").replace("$(REPEAT)", "3") if path.exists() else ""
    for command in re.findall(r"python -m benchmarks\.bridges([^`\n]*)", text):
        command_line().parse_args(shlex.split(command))
