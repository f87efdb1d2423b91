"""Stores opened as bigarray's arrays: views that only r+ changes, of any store with its words."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError
from ptrarray.bigarray import (
    MmapArray,
    MmapArrayWriter,
    PointerArray,
    PointerArrayWriter,
    read_mmaparray_header,
)
from tests.support.bigarray_checks import check_names


def test_no_mode_replaces_a_store(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    for kind in (PointerArray, MmapArray):
        with pytest.raises(BadInputError, match="'w\\+' is not one of 'r', 'r\\+', 'c'"):
            kind(path, mode="w+")  # type: ignore[arg-type]
    check_names(path, {"a": [1, 2]})


def test_a_store_that_is_cut_short(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": np.arange(1000)}).close()
    os.truncate(path / "data.bin", 4000)
    for mode in ("r", "r+", "c"):
        with pytest.raises(CorruptStoreError, match="cut short"):
            PointerArray(path, mode)
    assert (path / "data.bin").stat().st_size == 4000


def test_reading_changes_nothing(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    x = PointerArray(path)
    for change in (
        lambda: x.__setitem__(0, 5),
        lambda: x["a"].__setitem__(0, 5),
        lambda: x[:].fill(5),
        lambda: x.fill(5),
        lambda: np.add(x, 1, out=x),
    ):
        with pytest.raises(ValueError, match="read-only"):
            change()
    check_names(path, {"a": [1, 2]})


def test_what_was_changed_on_purpose_has_right_checksums(path: Path) -> None:
    PointerArrayWriter(path, (6,), "i8").write({"a": [1, 2], "b": [3, 4]}).close()
    x = PointerArray(path, "r+")
    x["a"][0] = 10
    x[3] = 40
    x += 1
    assert isinstance(x, PointerArray), "in place"
    del x
    gc.collect()
    check_names(path, {"a": [11, 3], "b": [4, 41]})


def test_reading_while_it_grows(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        for n in range(5):
            check_names(path, {f"n{m}": np.full(m, m) for m in range(n)})
            writer.write({f"n{n}": np.full(n, n)})


def test_what_is_made_of_an_array(path: Path) -> None:
    PointerArrayWriter(path, (0, 2), "i8").write({"a": np.arange(2000).reshape(-1, 2)}).close()
    x = PointerArray(path)
    for made in (x["a"], x[2:5], x[0], x + 1, x.sum(0), x == x[0], np.concatenate([x, x])):
        assert type(made) is np.ndarray
    assert isinstance(np.sum(x), np.int64)
    assert "a" in x
    assert "b" not in x
    assert 1999 in x
    assert len(x) == 1000
    turned = x.T
    with pytest.raises(AttributeError, match="only the array that was opened has this"):
        _ = turned.path
    assert type(pickle.loads(pickle.dumps(turned))) is np.ndarray
    raw = pickle.dumps(x)
    assert len(raw) < 300
    assert dict(pickle.loads(raw).indices) == {"a": (0, 1000)}
    root: Any = x["a"]
    while isinstance(root.base, np.ndarray):
        root = root.base
    assert isinstance(root, np.memmap), "so joblib ships it by its file"


def test_indices_cannot_be_changed(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1]})
        for indices in (writer.indices, PointerArray(path).indices):
            with pytest.raises(TypeError):
                indices["a"] = (0, 1)  # type: ignore[index]
            with pytest.raises(TypeError):
                del indices["a"]  # type: ignore[attr-defined]
            assert pickle.loads(pickle.dumps(indices)) == {"a": (0, 1)} == indices
    with pytest.raises(KeyError):
        PointerArray(path)["b"]


# stores of other kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"row_shape": None}, {"dtype": None}, {"masked": True}])
def test_a_store_that_bigarray_has_no_words_for(path: Path, options: Any) -> None:
    ptrarray.create(path, **{"dtype": "i8", **options}).close()
    for opened in (PointerArray, MmapArray, PointerArrayWriter, MmapArrayWriter):
        with pytest.raises(BadInputError, match=r"use ptrarray\.open and ptrarray\.append"):
            opened(path)


def test_stores_of_this_package(path: Path) -> None:
    with ptrarray.create(path, dtype="f4", row_shape=(2,)) as writer:
        writer["a"] = [[1, 2]]
    with PointerArrayWriter(path) as ours:
        ours.write({"b": [[3, 4]]})
    assert PointerArray(path).tolist() == [[1, 2], [3, 4]]
    assert read_mmaparray_header(path, return_header_size=True) == ("float32", (2, 2), 0)


def test_a_pack(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    pack = path.with_suffix(".tar")
    ptrarray.pack(path, pack)
    x = PointerArray(pack)
    assert (x["a"].tolist(), x.filesize) == ([1, 2], pack.stat().st_size)


def test_shards(path: Path) -> None:
    ptrarray.create(path, dtype="i8", shard_size=1000).close()
    expected = {f"n{n}": np.full(100, n) for n in range(5)}
    with PointerArrayWriter(path) as writer:
        for name, array in expected.items():
            writer.write({name: array})
        with pytest.raises(BadInputError, match="split into shards"):
            writer.write({"planned": [1]}, start_position=3)
        assert writer.shape == (500,)
    check_names(path, expected)
    x = MmapArray(path)
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    assert (int(np.sum(x)), x.filesize) == (1000, sum(sizes))
