"""The documents: docs/cli.md is what the parser says, and docs/index.md leads everywhere."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

import ptrarray
from ptrarray.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CLI = (DOCS / "cli.md").read_text(encoding="utf-8")
EXAMPLES = [
    shlex.split(line)[1:] for line in re.findall(r"^ptrarray \w+ \w+\..*", CLI, re.MULTILINE)
]


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def targets(path: str) -> set[Path]:
    """Return the files that a document links to."""
    found = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(path))
    return {(ROOT / path).parent.joinpath(target).resolve() for target in found}


def test_the_page_of_the_command_line_is_fresh() -> None:
    fresh = runpy.run_path(str(DOCS / "tools" / "cli_page.py"))["page"]()
    assert fresh == CLI, "docs/cli.md is stale: run `python docs/tools/cli_page.py`"


def test_the_examples_of_the_command_line_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with ptrarray.create("corpus.ptr", dtype="f4") as writer:
        writer.write({"utt1": [1, 2, 3], "utt2": [4]})
    assert len(EXAMPLES) >= 5
    for arguments in EXAMPLES:
        assert main(arguments) == 0, arguments
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *map(str, DOCS.rglob("*.md"))])
def test_links_lead_to_files(page: str) -> None:
    path = str(Path(page).relative_to(ROOT)) if Path(page).is_absolute() else page
    assert [target for target in targets(path) if not target.exists()] == []


def test_the_map_has_every_document() -> None:
    documents = {*DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.py"), ROOT / "CHANGELOG.md"}
    assert documents - {DOCS / "index.md"} <= targets("docs/index.md")
