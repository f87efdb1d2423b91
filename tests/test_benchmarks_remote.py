"""Stores on a web server, measured at a small size: what is counted is right, every limit is in the page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.remote.__main__ import INTRODUCTION, PACKAGES, command_line
from benchmarks.remote.servers import Asked, served
from tests.support.effort import all_but
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None, reason="no nginx"
)
__all__ = ["pytestmark"]

SIZES = {"one": 50, "take": 60, "sum": 300_000, "memory": 1_000_000, "shards": 2}


@needs_nginx
@pytest.mark.parametrize("subject", all_but("memory", SIZES))
def test_a_subject_is_measured(subject: str, tmp_path: Path) -> None:
    missing = [package for package in PACKAGES[subject] if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {missing}")
    arguments = ["--subject", subject, "--n", str(SIZES[subject]), "--repeat", "1"]
    arguments += ["--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--markdown", str(tmp_path / "page.md"), "--quick"]
    done = python("-m", "benchmarks.remote", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / f"remote-{subject}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert written.startswith(INTRODUCTION)
    assert done.stdout.strip() in written
    assert all(cost > 0 for entry in facts["entries"] for cost in entry["costs"])
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


@needs_nginx
def test_what_is_asked_for_is_counted(tmp_path: Path) -> None:
    with served(tmp_path) as servers:
        (tmp_path / "www" / "file").write_bytes(bytes(200_000))
        url = f"{servers.counted}/file"

        def read(size: int) -> None:
            headers = {"Range": f"bytes=0-{size - 1}"}
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
                assert len(answer.read()) == size

        def read_all() -> None:
            for size in (1, 70_000, 200_000):
                read(size)

        assert servers.counts(read_all) == Asked(3, 270_001, 3)
        assert servers.milliseconds(0.05, lambda: read(1)) >= 50
        assert servers.counts(lambda: None) == Asked(0, 0, 0)


def test_every_subject_has_a_module() -> None:
    assert all(find_spec(f"benchmarks.remote.{name}") for name in PACKAGES)
    assert SIZES.keys() == PACKAGES.keys()


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/README.md", "benchmarks/REMOTE.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    path = ROOT / file
    text = path.read_text("utf-8").replace("$(REPEAT)", "3") if path.exists() else ""
    for line in re.findall(r"-m benchmarks\.remote +([^\n`]*)", text):
        command_line().parse_args(shlex.split(line))
