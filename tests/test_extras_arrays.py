"""A store in libraries that take arrays as they are: xarray, dask and numba."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.layouts import filled

ARRAYS = {f"n{length}": np.arange(length, dtype="f4") for length in (3, 0, 5, 1, 200)}


def address(array: Any) -> int:
    return int(np.asarray(array).__array_interface__["data"][0])


@pytest.fixture
def store(path: Path) -> ptrarray.PointerArray:
    return ptrarray.open(filled(path, ARRAYS, dtype="f4"))


# xarray ---------------------------------------------------------------------------------------------


def ragged_dataset(store: ptrarray.PointerArray) -> Any:
    """Return a dataset of the contiguous ragged arrays of CF, as docs/bridges.md has it."""
    xr = pytest.importorskip("xarray")
    assert store.lengths.sum() == len(store.rows)  # without holes
    counts = ("array", store.lengths, {"sample_dimension": "row"})
    return xr.Dataset(
        {"values": ("row", store.rows), "row_size": counts}, {"name": ("array", list(store))}
    )


def test_xarray_has_the_mapping(store: ptrarray.PointerArray) -> None:
    data = ragged_dataset(store)
    assert address(data["values"].data) == address(store.rows)
    assert address(data.isel(row=slice(2, 9))["values"].data) == address(store.rows[2:])
    assert address(data.copy()["values"].data) == address(store.rows)
    assert not data["values"].data.flags.writeable
    store.close()
    gc.collect()
    assert float(data["values"].sum()) == sum(float(array.sum()) for array in ARRAYS.values())


def test_xarray_groups_by_name(store: ptrarray.PointerArray) -> None:
    data = ragged_dataset(store)
    names = np.repeat(data["name"].values, data["row_size"].values)
    means = data["values"].groupby(data["values"].copy(data=names).rename("name")).mean()
    for name, array in ARRAYS.items():
        if len(array):
            assert float(means.sel(name=name)) == array.mean(dtype="f4")


def test_xarray_takes_the_store_itself(store: ptrarray.PointerArray) -> None:
    xr = pytest.importorskip("xarray")
    assert address(xr.DataArray(store, dims="row").data) == address(store.rows)


def test_holes_are_gone_after_compaction(path: Path, store: ptrarray.PointerArray) -> None:
    with ptrarray.append(path) as writer:
        del writer["n5"]
    ptrarray.compact(path)
    store.refresh()
    assert ragged_dataset(store)["row_size"].values.tolist() == store.lengths.tolist()


# dask -----------------------------------------------------------------------------------------------


def test_dask_works_on_views(store: ptrarray.PointerArray) -> None:
    da = pytest.importorskip("dask.array")
    array = da.from_array(store, chunks=50)
    first, seen = address(store.rows), set()

    def look(block: Any) -> Any:
        seen.add((address(block) - first) // 4)
        return block

    done = array.map_blocks(look, dtype="f4", meta=np.empty(0, "f4")).compute(scheduler="sync")
    assert seen == {0, 50, 100, 150, 200}
    assert done.tolist() == store.rows.tolist()
    assert float(array.sum().compute()) == float(np.sum(store))


def test_dask_of_shards_and_masks(path: Path) -> None:
    da = pytest.importorskip("dask.array")
    masked = np.ma.MaskedArray(np.arange(600.0), np.arange(600) % 7 == 0)
    with ptrarray.create(path, dtype="f8", masked=True, shard_size=4096) as writer:
        for number in range(4):
            writer[f"{number}"] = masked
    with ptrarray.open(path) as store:
        assert len(store.shards) > 1
        array = da.from_array(store, chunks=500)
        assert float(array.sum().compute()) == 4 * masked.sum()
        assert isinstance(array.compute(), np.ma.MaskedArray)


@pytest.mark.parametrize("change", ["write", "delete", "replace"])
def test_dask_knows_one_commit_from_another(path: Path, change: str) -> None:
    """Else what was worked out before would be taken for what would be now."""
    tokenize = pytest.importorskip("dask.base").tokenize
    da = pytest.importorskip("dask.array")
    filled(path, ARRAYS, dtype="f4")
    old, same = ptrarray.open(path), ptrarray.open(path)
    assert tokenize(old) == tokenize(same)
    assert da.from_array(old, chunks=9).name == da.from_array(same, chunks=9).name
    if change == "replace":
        ptrarray.create(path, dtype="f4", mode="w").close()
    else:
        with ptrarray.append(path) as writer:
            if change == "write":
                writer["new"] = [1]
            else:
                del writer["n3"]
    assert tokenize(old) == tokenize(same)  # as they have not looked
    same.refresh()
    assert tokenize(old) != tokenize(same)
    assert da.from_array(old, chunks=9).name != da.from_array(same, chunks=9).name


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_dask_takes_nothing_for_granted_that_views_change(path: Path, mode: Any) -> None:
    tokenize = pytest.importorskip("dask.base").tokenize
    with ptrarray.open(filled(path, ARRAYS, dtype="f4"), mode) as store:
        assert tokenize(store) != tokenize(store)


# numba ----------------------------------------------------------------------------------------------


def test_numba_reads_rows_and_pointers(store: ptrarray.PointerArray) -> None:
    nb = pytest.importorskip("numba")

    def sums(rows: Any, starts: Any, ends: Any) -> Any:
        found = np.empty(len(starts), np.float32)
        for i in range(len(starts)):
            found[i] = rows[starts[i] : ends[i]].sum()
        return found

    found = nb.njit(sums)(store.rows, store.starts, store.ends)
    assert found.tolist() == store.reduce_each(np.add).tolist()
    assert not nb.typeof(store.rows).mutable


def test_numba_refuses_to_write_to_a_store(store: ptrarray.PointerArray) -> None:
    nb = pytest.importorskip("numba")

    def write(rows: Any) -> None:
        rows[0] = 1

    with pytest.raises(nb.TypingError):
        nb.njit(write)(store.rows)
    with ptrarray.open(store.path, "c") as private:
        nb.njit(write)(private.rows)
        assert (private.rows[0], store.rows[0]) == (1, 0)


def test_numba_walks_arrays_of_awkward(store: ptrarray.PointerArray) -> None:
    nb = pytest.importorskip("numba")
    pytest.importorskip("awkward")

    def total(arrays: Any) -> float:
        found = 0.0
        for array in arrays:
            for value in array:
                found += value
        return found

    assert nb.njit(total)(store.awkward()) == float(np.sum(store))
