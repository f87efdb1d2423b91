"""A store as a dataset of Hugging Face: on the mapping, in the formats that its users choose."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ptrarray
from tests.support.layouts import filled

ARRAYS = {f"n{length}": np.arange(length, dtype="f4") for length in (3, 0, 5, 1)}


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


def test_a_dataset_lies_on_the_mapping(path: Path, datasets: Any) -> None:
    with ptrarray.open(filled(path, ARRAYS, dtype="f4")) as store:
        found = datasets.Dataset(pa.table(store))
        (chunk,) = found.data.table["values"].chunks
        address = store.rows.__array_interface__["data"][0]
        assert chunk.values.buffers()[1].address == address
        assert len(found) == len(store)
        assert found[2] == {"name": "n5", "values": [0, 1, 2, 3, 4]}
    gc.collect()
    assert found["values"][0] == [0, 1, 2]


def test_numpy_format_gives_copies_of_the_dtype(path: Path, datasets: Any) -> None:
    with ptrarray.open(filled(path, ARRAYS, dtype="f4")) as store:
        found = datasets.Dataset(pa.table(store)).with_format("numpy")
        for at, (name, array) in enumerate(ARRAYS.items()):
            assert found[at]["name"] == name
            if len(array):
                assert found[at]["values"].dtype == "f4"
            assert np.asarray(found[at]["values"]).tolist() == array.tolist()
        assert not np.shares_memory(found[2]["values"], store.rows)


def test_what_is_chosen_and_pickled_is_right(path: Path, datasets: Any) -> None:
    with ptrarray.open(filled(path, ARRAYS, dtype="f4")) as store:
        found = datasets.Dataset(pa.table(store))
        some = found.select([2, 0])
        assert some["name"][:] == ["n5", "n3"]
        assert pickle.loads(pickle.dumps(some))["values"][0] == [0, 1, 2, 3, 4]
        lengths = found.map(lambda row: {"length": len(row["values"])})["length"]
        assert lengths[:] == store.lengths.tolist()
