"""Many shards, names and machines, measured at a small size: every limit is in the page."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.cluster.__main__ import INTRODUCTION, PACKAGES, command_line
from benchmarks.cluster.upkeep import BEFORE
from benchmarks.users import page
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]

SIZES = {"lookups": 200, "joining": 3, "upkeep": 500, "filling": 12}


@pytest.mark.parametrize("subject", ["lookups", "joining", "upkeep"])
def test_a_subject_is_measured(subject: str, tmp_path: Path) -> None:
    arguments = ["--subject", subject, "--n", str(SIZES[subject]), "--repeat", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--markdown", str(tmp_path / "page.md"), "--before", str(ROOT)]
    done = python("-m", "benchmarks.cluster", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / f"cluster-{subject}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert written.startswith(INTRODUCTION)
    assert done.stdout.strip() in written
    assert "to reach" in written
    assert (BEFORE in written) == (subject == "upkeep")
    assert all(cost > 0 for entry in facts["entries"] for cost in entry["costs"])
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


def test_every_subject_has_a_module() -> None:
    assert all(find_spec(f"benchmarks.cluster.{name}") for name in PACKAGES)
    assert SIZES.keys() == PACKAGES.keys()


def test_limits_are_on_the_page() -> None:
    entries = [
        {
            "title": "open",
            "by": who,
            "unit": "ms",
            "costs": [cost],
            "clock": [1.0],
            "at_least": least,
        }
        for who, cost, least in (("ptrarray", 30.0, 0), ("one store", 20.0, 0.5))
    ]
    assert "met" in page.targets([{"user": "lookups", "entries": entries}])


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/README.md", "benchmarks/CLUSTER.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    path = ROOT / file
    text = path.read_text("utf-8").replace("$(REPEAT)", "3") if path.exists() else ""
    for line in re.findall(r"-m benchmarks\.cluster +([^\n`]*)", text):
        command_line().parse_args(shlex.split(line))
