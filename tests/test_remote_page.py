"""The page about published stores: its programs run, against a web server and a bucket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ptrarray.cli import main
from tests.support.servers import Server
from tests.test_docs import command_lines
from tests.test_examples import blocks, run_code

pytest.importorskip("obstore")

PAGE = "docs/remote.md"
PROGRAMS = blocks(PAGE)
LIBRARY = {"region": "eu-west-1"}


def run(code: str, at: Path) -> str:
    return run_code(code.replace(", progress=True", ""), "program", at)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """What the first program of the page makes."""
    assert run(PROGRAMS[0].code, tmp_path) == PROGRAMS[0].output
    return tmp_path


IDS = ["s3" if "s3://" in program.code else f"line {program.line}" for program in PROGRAMS]


@pytest.mark.parametrize("at", range(1, len(PROGRAMS)), ids=IDS[1:])
def test_program(at: int, published: Path, request: pytest.FixtureRequest) -> None:
    code = PROGRAMS[at].code
    if "fsspec" in code:
        pytest.importorskip("fsspec")
    for name, url in (("http", "https://host/corpus.ptr"), ("s3", "s3://bucket/corpus.ptr")):
        if url in code:
            server: Server = request.getfixturevalue(name)
            code = code.replace(url, server.publish(published / "folder" / "corpus.ptr"))
            code = code.replace(
                repr(LIBRARY).replace("'", '"'), repr(server.options.get("storage"))
            )
    assert run(code, published) == PROGRAMS[at].output


def test_commands(published: Path, http: Server, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(published / "folder")
    url = http.publish(os.path.abspath("corpus.ptr"))  # noqa: PTH100
    lines = command_lines(PAGE)
    assert {line[0] for line in lines} == {"info", "ls", "get", "verify", "download"}
    for line in lines:
        assert main([word.replace("https://host/corpus.ptr", url) for word in line]) == 0
    assert capsys.readouterr().err == ""


def test_each_parameter_is_there() -> None:
    page = Path(__file__).parent.parent.joinpath(PAGE).read_text(encoding="utf-8")
    assert all(block.output for block in PROGRAMS)
    for name in ("cache", "parallel", "gap", "storage", "immutable"):
        assert f"| `{name}" in page
