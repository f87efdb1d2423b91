"""Reductions over the arrays of one dtype in a store of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError, UnknownNameError

pytestmark = pytest.mark.usefixtures("no_syncs")
DTYPES = ["f8", "f4", ">f8", "i2", "c8", "u1"]

Arrays = dict[str, Any]


@st.composite
def mixed(draw: st.DrawFn) -> Arrays:
    """Draw small arrays of several dtypes, shapes and orders."""
    arrays = {}
    for name in draw(st.lists(st.sampled_from("abcdefgh"), unique=True)):
        shape = draw(st.sampled_from([(), (0,), (3,), (17,), (2, 3), (4, 0), (40,)]))
        values = draw(st.integers(1, 9)) + np.arange(int(np.prod(shape))) % 7
        order: Any = draw(st.sampled_from("CF"))
        arrays[name] = np.array(values.reshape(shape), draw(st.sampled_from(DTYPES)), order=order)
    return arrays


def laid(arrays: Arrays, dtype: str) -> Arrays:
    return {name: array for name, array in arrays.items() if array.dtype == np.dtype(dtype)}


@given(
    arrays=mixed(),
    masked=st.booleans(),
    shard_size=st.sampled_from([None, 100]),
    backend=st.sampled_from(["mmap", "pread"]),
    data=st.data(),
)
def test_equals_numpy(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: Arrays,
    masked: bool,
    shard_size: int | None,
    backend: Any,
    data: st.DataObject,
) -> None:
    if masked:
        arrays = {
            name: np.ma.MaskedArray(
                array,
                data.draw(st.sampled_from([0, 2, 3])) == array % 4
                if array.dtype.kind != "c"
                else False,
            )
            for name, array in arrays.items()
        }
    path = tmp_path_factory.mktemp("stores") / "s.ptr"
    with ptrarray.create(path, masked=masked, shard_size=shard_size) as writer:
        for name, array in arrays.items():
            writer[name] = array
    with ptrarray.open(path, backend=backend) as store:
        for dtype in DTYPES:
            check(store.of_dtype(dtype), laid(arrays, dtype), dtype, masked)


def check(found: Any, expected: Arrays, dtype: str, masked: bool) -> None:
    assert list(found) == list(expected)
    assert len(found) == len(expected)
    for name, array in expected.items():
        assert np.array_equal(np.ma.getmaskarray(found[name]), np.ma.getmaskarray(array))
        np.testing.assert_array_equal(np.ma.filled(found[name], 0), np.ma.filled(array, 0))
    concatenate: Any = np.ma.concatenate if masked else np.concatenate
    flat = [array.reshape(-1) for array in expected.values()]
    whole = concatenate([np.empty(0, dtype), *flat])
    sums, means = found.reduce_each(np.add), found.mean_each()
    assert sums.shape == means.shape == (len(expected),)
    if not masked:
        assert sums.dtype == np.sum(whole).dtype
        same(np.sum(found), np.sum(whole))
    if whole.size:
        same(found.reduce(np.add), np.sum(whole))
        same(np.mean(found), np.mean(whole))
        if np.dtype(dtype).kind != "c":
            same(np.max(found), np.max(whole))
    for total, mean, array in zip(sums, means, flat, strict=True):
        if array.size:
            same(total, np.sum(array))
            same(mean, np.mean(array))


def same(found: Any, expected: Any) -> None:
    assert np.ma.is_masked(found) == np.ma.is_masked(expected)
    if not np.ma.is_masked(expected):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def write(path: Path, arrays: Arrays, **settings: Any) -> ptrarray.PointerArray:
    with ptrarray.create(path, **settings) as writer:
        writer.write(arrays)
    return ptrarray.open(path)


def test_a_mixed_store_of_one_dtype_is_reduced_as_it_is(tmp_path: Path) -> None:
    with write(tmp_path / "s.ptr", {"a": np.eye(3), "b": np.arange(4.0)}) as store:
        assert np.sum(store) == 9
        assert store.reduce_each(np.add).tolist() == [3, 6]
        assert store.mean_each().tolist() == [1 / 3, 1.5]
        assert np.sum(store.of_dtype("f8")) == 9
        floats = store.of_dtype("f8")
        assert np.asarray(floats).tolist() == [*np.eye(3).ravel(), 0, 1, 2, 3]
        with pytest.raises(ValueError, match="copy=False"):
            np.array(floats, copy=False)


def test_a_store_of_several_says_which_and_what_to_do(tmp_path: Path) -> None:
    arrays = {"a": np.eye(3), "b": np.arange(4), "c": np.zeros(2)}
    with write(tmp_path / "s.ptr", arrays) as store:
        for call in (np.sum, np.mean, lambda s: s.reduce_each(np.add), lambda s: s.std_each()):
            with pytest.raises(
                BadInputError, match=r"2 of float64, 1 of int64\): .*of_dtype\('<f8'\)"
            ):
                call(store)
        assert repr(store.of_dtype("i8")) == f"<1 arrays of int64 of {store.path}>"
        assert np.sum(store.of_dtype(">i8")) == 0  # of this byte order there are none
        with pytest.raises(UnknownNameError):
            store.of_dtype("i8")["a"]
        assert "a" not in store.of_dtype("i8")
        assert dict(store.of_dtype("f8")).keys() == {"a", "c"}
    with ptrarray.create(tmp_path / "none.ptr"):
        assert np.sum(ptrarray.open(tmp_path / "none.ptr")) == 0


def test_holes_are_not_in_it_and_names_are_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer.write({"a": np.ones(5), "b": np.full(7, 100.0), "i": np.arange(3), "c": np.ones(2)})
        del writer["b"]
        writer["e"] = np.empty(0)
    with ptrarray.open(path) as store:
        floats = store.of_dtype(float)
        assert np.sum(floats) == 7
        with pytest.raises(BadInputError, match=r"array 'e' of .* is empty"):
            floats.reduce_each(np.maximum)


def test_in_stores_of_one_dtype(tmp_path: Path) -> None:
    with write(
        tmp_path / "s.ptr", {"a": [[1, 2]], "b": [[3, 4]]}, dtype="i4", row_shape=(2,)
    ) as store:
        assert np.sum(store.of_dtype("i4"), axis=0).tolist() == [4, 6]
        assert np.sum(store.of_dtype("f8")) == 0
        assert list(store.of_dtype("i4")) == ["a", "b"]


def test_what_has_odd_sizes(tmp_path: Path) -> None:
    arrays = {f"{i}": np.zeros(3, "i4,i4,i4") for i in range(3)}
    with (
        write(tmp_path / "s.ptr", arrays) as store,
        pytest.raises(BadInputError, match="one by one"),
    ):
        np.sum(store)


def test_it_is_of_the_moment_when_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer["a"] = [1.5]
        store = ptrarray.open(path)
        before = store.of_dtype("f8")
        writer["b"] = [2.5]
        store.refresh()
        assert (np.sum(before), np.sum(store.of_dtype("f8"))) == (1.5, 4)


@pytest.mark.parametrize("dtype", ["zz", None, 5, [1]])
def test_what_is_no_dtype(dtype: Any, tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer["x"] = [1.5]
    with (
        ptrarray.open(tmp_path / "a.ptr") as store,
        pytest.raises(BadInputError, match=r"^dtype .* is (none|not one numpy knows)"),
    ):
        store.of_dtype(dtype)


@pytest.mark.parametrize("row_shape", [(), None])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_masks_of_a_store_that_has_one_dtype_anyway(
    tmp_path: Path, row_shape: Any, backend: Any
) -> None:
    array = np.ma.MaskedArray([1, 2, 4], [False, True, False], "i2")
    write(tmp_path / "s.ptr", {"a": array}, dtype="i2", row_shape=row_shape, masked=True).close()
    with ptrarray.open(tmp_path / "s.ptr", backend=backend) as store:
        some = store.of_dtype("i2")
        assert np.sum(some) == np.sum(store) == 5
        assert some.reduce_each(np.add).tolist() == [5]
        assert np.asarray(some).tolist() == [1, 2, 4]
