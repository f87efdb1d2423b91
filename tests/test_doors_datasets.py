"""Folders as datasets 5.2.0 saves them, made by hand: which files count, what damage does, forged names.

tests/test_extras_doors_datasets.py has those that the library itself saved.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.errors import BadInputError
from tests.support.command_line import Run
from tests.support.imports import check_content, content


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(paths: Any, store: Path, **options: Any) -> Report:
    options.setdefault("processes", 1)
    return convert.from_datasets(paths, store, progress=False, **options)


def good(paths: Any, store: Path, **options: Any) -> Report:
    report = run(paths, store, verify=True, **options)
    assert report.ok, report.failures
    return report


def write_stream(path: Path, rows: list[list[int]], first: int = 0) -> None:
    table = pa.table(
        {"x": pa.array(rows, pa.list_(pa.int64())), "i": range(first, first + len(rows))}
    )
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, 2)


def save(folder: Path, *files: list[list[int]], **state: Any) -> Path:
    """Save a data set as `save_to_disk` does."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05}-of-{len(files):05}.arrow" for i in range(len(files))]
    first = 0
    for name, rows in zip(names, files, strict=True):
        write_stream(folder / name, rows, first)
        first += len(rows)
    said = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "f",
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(said | state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"i": {"_type": "Value"}}}))
    return folder


def numbers(folder: Path) -> dict[str, list[int]]:
    return {name: array.tolist() for name, array in content(folder).items()}


def test_rows_are_numbered_through_all_files(folder: Path, store: Path) -> None:
    save(folder / "d", [[0], [1, 1], [2]], [], [[3], []])
    good(folder / "d", store)
    assert numbers(store) == {"0": [0], "1": [1, 1], "2": [2], "3": [3], "4": []}
    with ptrarray.open(store) as opened:
        assert [opened.meta[name]["i"] for name in opened] == list(range(5))
    assert run(folder / "d", store).skipped == 5


def test_files_are_read_by_several_processes(folder: Path, store: Path) -> None:
    save(folder / "d", *([[i]] * 3 for i in range(6)))
    good(folder / "d", store, processes=2)
    assert numbers(store) == {str(i): [i // 3] for i in range(18)}


def test_state_says_which_files_count_and_in_which_order(folder: Path, store: Path) -> None:
    # Saving again with fewer files leaves the others there; a shuffle leaves its cache.
    save(folder / "d", [[0]], [[1]], [[2]])
    write_stream(folder / "d" / "cache-0123.arrow", [[9]])
    names = [{"filename": f"data-{i:05}-of-00003.arrow"} for i in (2, 0)]
    state = {"_data_files": names}
    (folder / "d" / "state.json").write_text(json.dumps(state))
    good(folder / "d", store)
    assert numbers(store) == {"0": [2], "1": [0]}


def test_dictionaries_of_data_sets(folder: Path, store: Path, tmp_path: Path) -> None:
    save(folder / "dd" / "train", [[0]], [[1]])
    save(folder / "dd" / "test", [[2]])
    save(folder / "dd" / "left", [[3]])  # from an earlier save
    (folder / "dd" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    good(folder / "dd", store)
    assert numbers(store) == {"train/0": [0], "train/1": [1], "test/0": [2]}
    save(folder / "other", [[4]])
    good(folder, tmp_path / "t.ptr")
    assert sorted(content(tmp_path / "t.ptr")) == [
        "dd/test/0",
        "dd/train/0",
        "dd/train/1",
        "other/0",
    ]


def test_an_empty_data_set_has_no_file(folder: Path, store: Path) -> None:
    save(folder / "d")
    assert good(folder / "d", store).converted == 0


def test_labels_are_numbers_and_what_they_are_called_is_an_attr(folder: Path, store: Path) -> None:
    save(folder / "d", [[0]])
    features = {"i": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "x": {"_type": "List"}}
    (folder / "d" / "dataset_info.json").write_text(json.dumps({"features": features}))
    good(folder / "d", store)
    with ptrarray.open(store) as opened:
        assert dict(opened.attrs) == {"i": ["cat", "dog"]}


def test_a_damaged_file_is_one_failure(folder: Path, store: Path, tmp_path: Path) -> None:
    save(folder / "d", [[0], [1], [2]], [[3]])
    path = folder / "d" / "data-00000-of-00002.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\xff\xff\xff\xff", 0, -8)])  # as if two rows were all
    report = run(folder / "d", store)
    problems = {Path(source).name: problem for source, problem in report.failures}
    assert "may have been cut off" in problems[f"d:{path.name}"]
    assert "nobody knows the numbers" in problems["d:data-00001-of-00002.arrow"]
    assert numbers(store) == {"0": [0], "1": [1]}
    run(folder / "d", tmp_path / "t.ptr", names="i")
    assert sorted(content(tmp_path / "t.ptr")) == ["0", "1", "3"]
    path.write_bytes(whole)
    assert good(folder / "d", store).converted == 2


def test_a_file_that_is_missing(folder: Path, store: Path) -> None:
    save(folder / "d", [[0]], [[1]])
    (folder / "d" / "data-00001-of-00002.arrow").unlink()
    assert len(run(folder / "d", store).failures) == 1
    check_content(store, {"0": np.array([0])})


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds no object"),
        ("{}", "has no list of files"),
        ('{"_data_files": [1]}', "has no list of files"),
        ('{"_data_files": [{"filename": "../x.arrow"}]}', "is no file of the folder"),
        ('{"_data_files": [{"filename": "/etc/passwd"}]}', "is no file of the folder"),
        ('{"_data_files": [{}]}', "is no file of the folder"),
        ('{"_data_files": [], "_indices_files": [{"filename": "i"}]}', "by an old version"),
    ],
    ids=range(9),
)
def test_a_state_that_makes_no_sense(folder: Path, store: Path, state: str, problem: str) -> None:
    save(folder / "d", [[0]])
    (folder / "d" / "state.json").write_text(state)
    (failure,) = run(folder / "d", store).failures
    assert problem in failure.problem
    assert not store.exists()


@pytest.mark.parametrize("splits", ['["../x"]', '{"a": 1}', "[1]", '[".."]'])
def test_splits_that_lead_elsewhere(folder: Path, store: Path, splits: str) -> None:
    save(folder / "x", [[0]])
    (folder / "dd").mkdir()
    (folder / "dd" / "dataset_dict.json").write_text(f'{{"splits": {splits}}}')
    assert len(run(folder / "dd", store).failures) == 1
    assert not store.exists()


def test_a_split_that_is_missing_is_one_failure(folder: Path, store: Path) -> None:
    save(folder / "dd" / "train", [[0]])
    save(folder / "dd" / "test", [[1]])
    (folder / "dd" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    shutil.rmtree(folder / "dd" / "train")
    (failure,) = run(folder / "dd", store).failures
    assert failure.source.endswith("dd:train")
    assert numbers(store) == {"test/0": [1]}


def test_a_folder_of_something_else(folder: Path, store: Path) -> None:
    (folder / "x.arrow").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"no files to import.*1 \*\.arrow there"):
        run(folder, store)


def test_command_line(folder: Path, store: Path, run: Run) -> None:
    save(folder / "d", [[0], [1]])
    assert run("import", "datasets", folder / "d", store, "--names", "i", "--verify")[0] == 0
    assert sorted(content(store)) == ["0", "1"]
