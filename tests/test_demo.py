"""The demo keeps Python's own library in a store, checks it, and leaves nothing else behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ptrarray.cli import main
from ptrarray.cli.demo import (
    Facts,
    check_files,
    count_values,
    find_sources,
    measure_lines,
    run_demo,
)
from ptrarray.creation import create
from ptrarray.errors import StoreError, StoreExistsError
from ptrarray.reader import open as open_store


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("demo") / "new"
    lines: list[str] = []
    run_demo(processes=2, out=out, say=lines.append)
    return out, lines


def test_tells_its_story_in_few_lines(story: tuple[Path, list[str]]) -> None:
    _, lines = story
    assert len(lines) <= 30
    assert all("\n" not in line for line in lines)
    for word in ("arrays/s", "MB/s", "open", "per lookup", "private memory", "longest line"):
        assert any(word in line for line in lines), word


def test_keeps_the_store(story: tuple[Path, list[str]]) -> None:
    out, _ = story
    assert [file.name for file in out.iterdir()] == ["stdlib.ptr"]
    with open_store(out / "stdlib.ptr") as store:
        assert bytes(store["json"]) == Path(json.__file__).read_bytes()
        store.verify()


def test_does_not_replace_a_store(story: tuple[Path, list[str]]) -> None:
    out, _ = story
    with pytest.raises(StoreExistsError):
        run_demo(processes=2, out=out, say=str)


def test_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_library: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert main(["demo", "--processes", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_arrays"] == 4
    assert facts["arrays_per_second"] > 0
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the standard library."""
    folder = tmp_path / "lib"
    for name, text in {
        "json/__init__.py": "x" * 50 + "\nß\n" + "y" * 200,
        "json/decoder.py": "z\n" * 150,
        "json/encoder.py": "",
        "one.py": "\n" * 300,
        "site-packages/other.py": "not ours",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(folder)})
    return folder


def test_names(tmp_path: Path, small_library: Path) -> None:
    assert list(find_sources(small_library)) == ["json", "json.decoder", "json.encoder", "one"]
    (small_library / "json.py").write_text("also json")
    assert len(find_sources(small_library)) == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no Python sources"):
        find_sources(tmp_path / "empty")


def test_facts_from_files_and_from_the_store(tmp_path: Path, small_library: Path) -> None:
    files = find_sources(small_library)
    path = tmp_path / "a.ptr"
    with create(path, dtype="u1") as writer:
        writer.write({name: np.fromfile(file, np.uint8) for name, file in files.items()})
    facts = check_files(path, files)
    assert facts == Facts(4, 854, 452, 200, 3)
    with open_store(path) as store:
        lines, longest, name = measure_lines(store)
        assert lines.tolist() == [2, 150, 0, 300]
        assert (longest, name) == (200, "json")
        assert count_values(store)[ord("z")] == 150


def test_notices_a_difference(tmp_path: Path, small_library: Path) -> None:
    files = find_sources(small_library)
    with create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write({name: np.fromfile(file, np.uint8) for name, file in files.items()})
    files["one"].write_text("changed")
    with pytest.raises(StoreError, match=r"'one' .* differs from"):
        check_files(tmp_path / "a.ptr", files)
