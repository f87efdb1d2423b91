"""What users of other tools do: every answer is compared, and every target is in the page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.system import machine
from benchmarks.report.targets import TIMES
from benchmarks.users import page
from benchmarks.users.__main__ import PACKAGES, command_line
from benchmarks.users.asking import MB, Question
from tests.support.checks import skip_without_bigarray
from tests.support.effort import all_but
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]

SIZES = {"pickles": 45, "tar": 12, "timelapse": 6, "bigarray": 250, "joblib": 9}
TARGETS = {"pickles": 16, "tar": 3, "timelapse": 6, "bigarray": 4, "joblib": 8}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "benchmarks.users", *arguments)


@pytest.mark.parametrize("user", all_but("pickles", page.USERS))
def test_a_user_finds_the_same_with_both(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # which mmappickle asks for
    for name in PACKAGES[user]:
        pytest.importorskip(name)
        if name == "bigarray":
            skip_without_bigarray()
    arguments = ["--user", user, "--n", str(SIZES[user]), "--repeat", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    done = run(*arguments, "--markdown", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []
    facts = json.loads((tmp_path / "out" / f"user-{user}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert done.stdout.strip() in written
    head, *rows = page.targets([facts]).splitlines()[1:]
    assert head.startswith("|---")
    n_cold = sum("cold" in row for row in rows)  # which is not measured in memory
    assert len(rows) == TARGETS[user] - (6 if user == "pickles" and not n_cold else 0)
    assert all(row in written for row in rows)
    assert len({line.count("|") for line in page.table(facts["entries"]).splitlines()}) == 1


# a question ---------------------------------------------------------------------------------------


def asked(**ways: Any) -> list[dict[str, Any]]:
    return Question("what", ways, {"peer": 2}, unit=MB, returns_cost=True).entries(2)


def test_a_ratio_is_one_within_a_round() -> None:
    costs = {"ptrarray": iter([10, 20]), "peer": iter([30, 30])}
    ours, theirs = asked(**{who: each.__next__ for who, each in costs.items()})
    assert (ours["costs"], theirs["costs"]) == ([10, 20], [30, 30])
    facts = {"user": "somebody", "entries": [theirs, ours][::-1]}
    assert page.targets([facts]).splitlines()[-1].endswith(f"| ≥ 2 {TIMES} | 2.25 {TIMES} | met |")
    assert f"| MB |  | 2.25 (1.5 to 3) {TIMES} |" in page.table([ours, theirs])
    theirs["at_least"] = 4.5
    assert page.targets([facts]).endswith("| missed by 50% |")


def test_another_answer_stops_the_run() -> None:
    def same(ours: int, theirs: int) -> None:
        assert ours == theirs

    ways = {"ptrarray": lambda: 1, "peer": lambda: lambda: 2}  # the second is asked for its answer
    with pytest.raises(AssertionError):
        Question("what", ways, same=same).entries(1)


def test_ways_are_ours_and_those_of_targets() -> None:
    with pytest.raises(ValueError, match="what: ways"):
        Question("what", {"peer": int})
    with pytest.raises(ValueError, match="what: ways"):
        Question("what", {"ptrarray": int}, {"peer": 2})


# the page -----------------------------------------------------------------------------------------


def test_the_page_says_what_it_would_say_today() -> None:
    text = (ROOT / "benchmarks" / "USERS.md").read_text("utf-8")
    assert text.startswith(page.INTRODUCTION)
    for user in page.USERS:
        words = page.words_of(ROOT / "benchmarks" / "users" / f"{user}.py")
        if f"\n## {user}\n" in text:  # a user who is new comes with the next full run
            assert f"\n## {user}\n\n{words}\n\n`python -m benchmarks.users " in text


def test_every_user_has_a_page_with_what_is_gained(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "coming-from", tmp_path, dirs_exist_ok=True)
    ours, theirs = asked(ptrarray=lambda: 1, peer=lambda: 2)
    about = {
        "n": 5,
        "repeat": 2,
        "machine": machine(),
        "versions": {"peer": "1.0"},
        "entries": [ours, theirs],
    }
    for user in page.USERS:
        page.renew(tmp_path, [about | {"user": user}])
        changed = [
            path for path in tmp_path.glob("*.md") if "| what | peer 2 |" in path.read_text()
        ]
        (path,) = changed
        shutil.copy(ROOT / "docs" / "coming-from" / path.name, path)


@pytest.mark.parametrize(
    "file",
    [
        *("Makefile", "benchmarks/USERS.md", "benchmarks/README.md"),
        *(str(path.relative_to(ROOT)) for path in (ROOT / "docs/coming-from").glob("*.md")),
    ],
)
def test_commands_in_documents_are_understood(file: str) -> None:
    text = (ROOT / file).read_text("utf-8").replace("$(REPEAT)", "3")
    for command in re.findall(r"python -m benchmarks\.users([^`\n]*)", text):
        command_line().parse_args(shlex.split(command))
