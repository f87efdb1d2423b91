"""A hundred million names, measured with few: every step is done and compared, and gets its row."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from benchmarks.hundred_million import ours, source
from benchmarks.hundred_million.__main__ import command_line
from benchmarks.hundred_million.page import LIMIT_MB, TITLES, table
from benchmarks.hundred_million.steps import run
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]


@pytest.mark.slow
def test_all_steps_are_done(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    arguments = ["--names", "2e4", "--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--markdown", str(tmp_path / "page.md")]
    done = python("-m", "benchmarks.hundred_million", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "hundred-million.json").read_text("utf-8"))
    assert set(facts["costs"]) == {"ptrarray", "LMDB"}
    assert done.stdout.strip() == table(facts)
    assert done.stdout.strip() in (tmp_path / "page.md").read_text("utf-8")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(TITLES)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


def test_memory_above_the_limit_is_missed() -> None:
    cost = {"seconds": 1, "private_mb": LIMIT_MB * 1.5, "resident_mb": 0}
    costs = {"ptrarray": dict.fromkeys(TITLES, cost) | {"disk_mb": 0}}
    assert "missed by 50%" in table({"costs": costs})


def test_names_rise_and_have_twenty_bytes() -> None:
    numbers = np.array([0, 9, 10, 999, 1000, 123_456_789, 999_999_999])
    names = source.texts(source.names_of(numbers))
    assert names == sorted(set(names))
    assert [int(name[:9]) for name in names] == numbers.tolist()
    assert {len(name.encode()) for name in names} == {source.NAME_NBYTES}


@pytest.mark.parametrize("wrong", ["length", "value"])
def test_wrong_arrays_end_the_measurement(wrong: str) -> None:
    numbers = np.arange(10)
    batch = source.batch_of(numbers)
    arrays = np.split(batch.values, batch.offsets[1:-1])
    source.check(arrays, numbers)
    arrays[3] = arrays[3][:-1] if wrong == "length" else arrays[3] + 1
    with pytest.raises(AssertionError):
        source.check(arrays, numbers)


def test_a_step_that_fails_ends_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended 1"):
        run(ours.verify, (str(tmp_path / "nothing.ptr"),))


@pytest.mark.parametrize("text", ["99", "1e10"])
def test_refuses_numbers_of_names(text: str) -> None:
    with pytest.raises(SystemExit):
        command_line().parse_args(["--names", text])


@pytest.mark.parametrize(
    "file", ["Makefile", "benchmarks/README.md", "benchmarks/HUNDRED-MILLION.md"]
)
def test_commands_in_documents_are_understood(file: str) -> None:
    path = ROOT / file
    text = path.read_text("utf-8") if path.exists() else ""
    for command in re.findall(r"python -m benchmarks\.hundred_million([^`\n]*)", text):
        command_line().parse_args(shlex.split(command))
