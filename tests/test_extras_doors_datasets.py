"""Folders that Hugging Face's datasets saved as arrays, and files of ours as its data sets.

What datasets 5.2.0 does was seen before it was written down here.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from tests.support.imports import check_content, content

RNG = np.random.default_rng(0)
X = [RNG.random(i % 4, np.float32) for i in range(10)]
M = [RNG.random((i % 3, 3), np.float32) for i in range(10)]
C = [RNG.integers(0, 255, (i % 2 + 1, 2, 2), np.uint8) for i in range(10)]


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = pytest.importorskip("datasets")
    found.disable_progress_bars()
    return found


@pytest.fixture
def made(datasets: Any) -> Any:
    features = datasets.Features({
        "id": datasets.Value("string"), "x": datasets.List(datasets.Value("float32")),
        "m": datasets.Array2D((None, 3), "float32"), "c": datasets.Array3D((None, 2, 2), "uint8"),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "w": datasets.List(datasets.Value("int16"), length=4), "t": datasets.Value("timestamp[us]"),
    })  # fmt: skip
    rows = [
        {"id": f"r{i}", "x": X[i], "m": M[i], "c": C[i], "label": i % 2, "w": [i] * 4}
        | {"t": datetime.datetime(2024, 1, 1)}
        for i in range(10)
    ]
    return datasets.Dataset.from_list(rows, features=features)


def expected(order: list[int], prefix: str = "", ids: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at, i in enumerate(order):
        name = f"{prefix}r{i}" if ids else f"{prefix}{at}"
        found |= {f"{name}/x": X[i], f"{name}/m": M[i], f"{name}/c": C[i]}
        found[f"{name}/w"] = np.full(4, i, "i2")
    return found


def test_saved_data_sets(tmp_path: Path, made: Any) -> None:
    made.save_to_disk(tmp_path / "d", num_shards=3)
    store = tmp_path / "s.ptr"
    report = convert.from_datasets(tmp_path / "d", store, progress=False, verify=True, processes=1)
    assert report.ok, report.failures
    check_content(store, expected(list(range(10))))
    with ptrarray.open(store) as opened:
        assert dict(opened.meta["3/x"]) == {
            "id": "r3",
            "label": 1,
            "t": "2024-01-01 00:00:00.000000",
        }
        assert dict(opened.attrs) == {"label": ["cat", "dog"]}


_RUN = """
import sys
from ptrarray import convert
report = convert.from_datasets(sys.argv[1], sys.argv[2], progress=False, verify=True, names="id")
assert report.ok, report.failures
assert "datasets" not in sys.modules
"""


def test_without_the_library_they_are_the_same(tmp_path: Path, made: Any) -> None:
    # Whose Array2D is an extension type where it is imported, and else lists of lists.
    made.save_to_disk(tmp_path / "d")
    command = [sys.executable, "-c", _RUN, str(tmp_path / "d"), str(tmp_path / "s.ptr")]
    subprocess.run(command, check=True)
    check_content(tmp_path / "s.ptr", expected(list(range(10)), ids=True))


def test_choices_of_rows_and_earlier_files(tmp_path: Path, made: Any, datasets: Any) -> None:
    # A choice of rows is saved as those rows; with fewer files than before, old ones stay there.
    made.save_to_disk(tmp_path / "d", num_shards=3)
    made.select([3, 1]).save_to_disk(tmp_path / "d2")
    datasets.DatasetDict(a=made.select([5, 2, 8]), b=made.shuffle(seed=1)).save_to_disk(
        tmp_path / "dd"
    )
    shuffled = [int(name[1:]) for name in made.shuffle(seed=1)["id"]]
    convert.from_datasets(tmp_path / "d2", tmp_path / "s.ptr", progress=False, processes=1)
    check_content(tmp_path / "s.ptr", expected([3, 1]))
    convert.from_datasets(tmp_path / "dd", tmp_path / "t.ptr", progress=False, processes=1)
    check_content(tmp_path / "t.ptr", expected([5, 2, 8], "a/") | expected(shuffled, "b/"))
    datasets.load_from_disk(tmp_path / "d").shuffle(seed=2)  # which leaves its cache there
    assert list((tmp_path / "d").glob("cache-*.arrow"))
    made.select([4, 6]).save_to_disk(tmp_path / "d", num_shards=1)
    assert len(list((tmp_path / "d").glob("data-*.arrow"))) == 4
    convert.from_datasets(tmp_path / "d", tmp_path / "u.ptr", progress=False, processes=1)
    check_content(tmp_path / "u.ptr", expected([4, 6]))


def test_null_lists_of_a_saved_data_set(tmp_path: Path, datasets: Any) -> None:
    # with_format("numpy") makes float32 of the first list, and another number of 2**53 + 1.
    features = datasets.Features({"v": datasets.List(datasets.Value("int64"))})
    rows = {"v": [[2**53 + 1, None], [2**53 + 1], None]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    report = convert.from_datasets(tmp_path / "d", tmp_path / "s.ptr", progress=False, masked=True)
    assert [source[-2:] for source, _ in report.failures] == [":2"]
    found = {name: array.tolist() for name, array in content(tmp_path / "s.ptr").items()}
    assert found == {"0": [2**53 + 1, None], "1": [2**53 + 1]}


def test_exported_stores_are_data_sets(tmp_path: Path, datasets: Any) -> None:
    arrays = {f"n{i}": array for i, array in enumerate(X)}
    with ptrarray.create(tmp_path / "s.ptr", dtype="f4") as writer:
        writer.write(arrays, meta={"n0": {"speaker": "s"}})
    convert.to_arrow(tmp_path / "s.ptr", tmp_path / "x.arrow", stream=True, progress=False)
    convert.to_parquet(tmp_path / "s.ptr", tmp_path / "x.parquet", progress=False)
    for found in (
        datasets.Dataset.from_file(str(tmp_path / "x.arrow")),
        datasets.Dataset.from_parquet(
            str(tmp_path / "x.parquet"), cache_dir=str(tmp_path / "cache")
        ),
    ):
        table = found.with_format("arrow")[:]
        assert table["name"].to_pylist() == list(arrays)
        assert table["values"].to_pylist() == [array.tolist() for array in X]
        assert table["speaker"].to_pylist()[0] == "s"
        assert found.features["values"].feature.dtype == "float32"
