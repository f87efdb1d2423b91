"""Imports, measured: what they bring into a store is what the library of the format reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from benchmarks.doors import passage
from benchmarks.doors.__main__ import INTRODUCTION, PACKAGES, command_line
from benchmarks.users import page
from ptrarray import convert
from tests.support.prepared import python
from tests.test_benchmarks import ROOT, pytestmark

__all__ = ["pytestmark"]

HEAVY = {"megatron"}  # of which the import alone takes seconds


@pytest.mark.parametrize("subject", sorted(set(PACKAGES) - HEAVY))
def test_a_subject_is_measured(subject: str, tmp_path: Path) -> None:
    for package in PACKAGES[subject]:
        pytest.importorskip(package)
    arguments = ["--subject", subject, "--n", "300", "--repeat", "1", "--folder", str(tmp_path)]
    arguments += ["--out", str(tmp_path / "out"), "--markdown", str(tmp_path / "page.md")]
    done = python("-m", "benchmarks.doors", *arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / f"door-{subject}.json").read_text("utf-8"))
    written = (tmp_path / "page.md").read_text("utf-8")
    assert written.startswith(INTRODUCTION)
    assert done.stdout.strip() in written
    assert {entry["at_least"] for entry in facts["entries"]} == {0, passage.AT_LEAST}
    n_bounds = sum(entry["at_least"] > 0 for entry in facts["entries"])
    assert len(page.targets([facts]).splitlines()) == 2 + n_bounds
    assert [path for path in tmp_path.iterdir() if path.name.startswith("benchmarks-")] == []


def test_every_subject_has_a_module() -> None:
    assert all(find_spec(f"benchmarks.doors.{name}") for name in PACKAGES)


def saved(folder: Path, corpus: passage.Corpus) -> Path:
    path = folder / "a.npz"
    np.savez(path, **dict(zip(corpus.names, corpus.arrays(), strict=True)))  # type: ignore[arg-type]
    return path


def door(folder: Path, corpus: passage.Corpus, write: Callable[[Any], object]) -> Any:
    ours = partial(convert.from_npz, saved(folder, corpus), processes=1, progress=False)
    return passage.door("npz", folder, ours, write)


@pytest.mark.parametrize("row_shape", [(), (4,)])
def test_what_is_compared_are_the_bytes_of_all_arrays(
    tmp_path: Path, row_shape: tuple[int, ...]
) -> None:
    corpus = passage.small(20, *row_shape)
    entries = door(tmp_path, corpus, lambda file: file.writelines(corpus.arrays())).entries(2)
    assert [entry["by"] for entry in entries] == ["ptrarray", passage.ALONE, passage.SYNCED]
    assert [entry["at_least"] for entry in entries] == [0, 0.7, 0.7]
    assert [len(entry["costs"]) for entry in entries] == [2, 2, 2]
    with ptrarray.open(tmp_path / "ours.ptr") as store:
        assert list(store) == corpus.names


def test_an_array_that_is_left_out_ends_the_run(tmp_path: Path) -> None:
    corpus = passage.small(20)
    with pytest.raises(AssertionError, match="bytes"):
        door(tmp_path, corpus, lambda file: file.writelines([*corpus.arrays()][1:])).entries(1)


def test_an_import_with_a_failure_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK")
    ours = partial(convert.from_npz, tmp_path / "bad.npz", processes=1, progress=False)
    with pytest.raises(AssertionError, match="with failures"):
        passage.door("npz", tmp_path, ours, lambda file: None).entries(1)


def test_large_arrays_are_a_megabyte_and_few() -> None:
    corpus = passage.large(1_000, 20)
    assert [array.nbytes for array in corpus.arrays()] == [1_000_000] * 2
    lengths = np.diff(passage.small(1_000).offsets)
    assert (lengths.min(), lengths.max()) == (10, 100)


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/README.md", "benchmarks/DOORS.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    path = ROOT / file
    text = path.read_text("utf-8").replace("$(REPEAT)", "3") if path.exists() else ""
    for command in re.findall(r"python -m benchmarks\.doors([^`\n]*)", text):
        command_line().parse_args(shlex.split(command))
