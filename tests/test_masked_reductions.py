"""Reductions of a store with masks equal those of numpy.ma on its arrays laid end to end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError
from ptrarray.reductions import blocks, each, whole
from ptrarray.reductions.blocks import COMBINABLE
from tests.support.backends import BACKENDS, here
from tests.support.effort import one_in

pytestmark = pytest.mark.usefixtures("backend")

ma: Any = np.ma  # most of which has no types

FUNCTIONS: list[Callable[..., Any]] = [
    np.sum,
    np.max,
    np.min,
    np.mean,
    np.std,
    np.var,
    np.any,
    np.all,
]
LENGTHS = [5, 0, 1, 40, 7, 3]
ALL_MASKED = 5


def random_arrays(dtype: str, row_shape: tuple[int, ...], *, share: float = 0.4) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    arrays = {}
    for n, length in enumerate(LENGTHS):
        shape = (length, *row_shape)
        mask = rng.random(shape) < (1 if n == ALL_MASKED else share)
        arrays[f"a{n}"] = ma.MaskedArray(rng.integers(0, 50, shape).astype(dtype), mask)
    return arrays


def stored(path: Path, arrays: dict[str, Any], dtype: str, row_shape: Any) -> ptrarray.PointerArray:
    with ptrarray.create(path, dtype=dtype, row_shape=row_shape, masked=True) as writer:
        writer.write(arrays)
    return ptrarray.open(path)


def agree(found: Any, wanted: Any) -> bool:
    same_mask = np.array_equal(ma.getmaskarray(found), ma.getmaskarray(wanted))
    # Not by `ma.allclose`, which warns of complex numbers (numpy 2.5).
    return same_mask and np.allclose(ma.filled(found, 0), ma.filled(wanted, 0), rtol=1e-4)


def each_with_a_backend(
    dtypes: list[str], row_shapes: list[tuple[int, ...]]
) -> pytest.MarkDecorator:
    """Return a mark: the normal run has each dtype with each shape of rows, and backends in turn."""
    n = len(BACKENDS)
    pairs = product(enumerate(dtypes), enumerate(row_shapes))
    return pytest.mark.parametrize(
        ("backend", "dtype", "row_shape"),
        one_in(
            n, [(BACKENDS[(i + j + k) % n], a, b) for (i, a), (j, b) in pairs for k in range(n)]
        ),
        indirect=["backend"],
    )


@each_with_a_backend(["f4", "i4", ">f8", "u1", "c8", "?"], [(), (3,), (2, 2)])
def test_whole(tmp_path: Path, dtype: str, row_shape: tuple[int, ...]) -> None:
    arrays = random_arrays(dtype, row_shape)
    whole = ma.concatenate(list(arrays.values()))
    with stored(tmp_path / "s.ptr", arrays, dtype, row_shape) as store:
        for function, axis in product(FUNCTIONS, (None, 0)):
            if dtype == "?" and function in (np.std, np.var):
                continue  # numpy.ma does not subtract bools
            wanted = getattr(ma, function.__name__)(whole, axis=axis)
            assert agree(function(store, axis=axis), wanted), (function, axis)


@pytest.mark.parametrize("row_shape", [(), (3,)])
def test_a_column_that_is_masked_everywhere(tmp_path: Path, row_shape: tuple[int, ...]) -> None:
    arrays = random_arrays("f8", row_shape)
    for array in arrays.values():
        array[..., :1] = ma.masked
        if not row_shape:
            array[:] = ma.masked
    whole = ma.concatenate(list(arrays.values()))
    with stored(tmp_path / "s.ptr", arrays, "f8", row_shape) as store:
        for function in (np.sum, np.max, np.mean, np.std):
            wanted = getattr(ma, function.__name__)(whole, axis=0)
            assert agree(function(store, axis=0), wanted)


@each_with_a_backend(["f4", "i4", "u1"], [(), (3,)])
def test_each(tmp_path: Path, dtype: str, row_shape: tuple[int, ...]) -> None:
    arrays = random_arrays(dtype, row_shape)
    with stored(tmp_path / "s.ptr", arrays, dtype, row_shape) as store:
        found = {
            "sum": store.reduce_each(np.add),
            "mean": store.mean_each(),
            "std": store.std_each(),
        }
        for name, results in found.items():
            for result, array in zip(results, arrays.values(), strict=True):
                if len(array):
                    assert agree(result, getattr(ma, name)(array, axis=0)), name
        totals = store.reduce_each(np.add, axis=None)
        assert totals.shape == (len(arrays),)
        for result, array in zip(totals, arrays.values(), strict=True):
            assert not len(array) or agree(result, array.sum())
        nothing = list(arrays).index("a1")
        assert not np.any(found["sum"][nothing])
        assert ma.getmaskarray(found["mean"][nothing]).all()


def test_each_without_an_identity(tmp_path: Path) -> None:
    arrays = {n: a for n, a in random_arrays("i4", ()).items() if len(a)}
    with stored(tmp_path / "s.ptr", arrays, "i4", ()) as store:
        for ufunc, name in ((np.maximum, "max"), (np.minimum, "min")):
            wanted = [getattr(ma, name)(array) for array in arrays.values()]
            for found, value in zip(store.reduce_each(ufunc), wanted, strict=True):
                assert agree(found, value)


@pytest.mark.parametrize("ufunc", sorted(COMBINABLE, key=repr), ids=str)
def test_every_ufunc_leaves_out_what_is_masked(tmp_path: Path, ufunc: np.ufunc) -> None:
    arrays = {
        "several": ma.MaskedArray([12, 0, 7, 18], [0, 1, 1, 0]),
        "one": ma.MaskedArray([7, 30], [1, 0]),
        "negative": ma.MaskedArray([-3, 7, -4], [0, 1, 0]),
        "zero": ma.MaskedArray([0, 7], [0, 1]),
        "nothing masked": np.array([9]),
    }
    kept = [ma.compressed(array) for array in arrays.values()]
    with stored(tmp_path / "s.ptr", arrays, "i4", ()) as store:
        found = store.reduce_each(ufunc)
        np.testing.assert_allclose(found, list(map(ufunc.reduce, kept)))
        np.testing.assert_allclose(store.reduce(ufunc), ufunc.reduce(np.concatenate(kept)))


def test_dates(tmp_path: Path) -> None:
    days = np.array(["2020-01-05", "2020-01-01", "2020-01-09"], "M8[D]")
    arrays = {"a": ma.MaskedArray(days, [0, 0, 1])}
    with stored(tmp_path / "s.ptr", arrays, "M8[D]", ()) as store:
        assert (np.max(store), np.min(store)) == (days[0], days[1])


def test_plain_arrays_reduce_as_without_masks(tmp_path: Path) -> None:
    arrays = {name: array.data for name, array in random_arrays("f4", (3,)).items()}
    with stored(tmp_path / "s.ptr", arrays, "f4", (3,)) as store:
        whole = np.concatenate(list(arrays.values()))
        assert np.allclose(np.mean(store, axis=0), whole.mean(axis=0))
        assert np.max(store) == whole.max()


@here
@pytest.mark.parametrize("row_shape", [(), (3,), (70,)])
def test_small_blocks_and_huge_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_shape: tuple[int, ...]
) -> None:
    """Blocks are walked as without masks: in turn or gathered, long arrays by themselves."""
    monkeypatch.setattr(blocks, "BLOCK_NBYTES", 200)
    monkeypatch.setattr(blocks, "CELL_ROWS", 16)
    monkeypatch.setattr(blocks, "POINTERS", 5)
    monkeypatch.setattr(whole, "VARIANCE_NBYTES", 100)
    monkeypatch.setattr(whole, "FOLD_ELEMENTS", 8)
    monkeypatch.setattr(each, "LONG_ELEMENTS", 100)
    arrays = random_arrays("f4", row_shape)
    arrays["long"] = ma.concatenate([*arrays.values()] * (2 if sum(row_shape) > 9 else 9))
    with stored(tmp_path / "s.ptr", {"gone": arrays["a0"], **arrays}, "f4", row_shape) as store:
        with ptrarray.append(tmp_path / "s.ptr") as writer:
            del writer["gone"], writer["a3"]
        store.refresh()
        del arrays["a3"]
        living = ma.concatenate(list(arrays.values()))
        for function in FUNCTIONS:
            for axis in (None, 0):
                wanted = getattr(ma, function.__name__)(living, axis=axis)
                assert agree(function(store, axis=axis), wanted), (function, axis)
        sums, means, deviations = store.reduce_each(np.add), store.mean_each(), store.std_each()
        for n, array in enumerate(arrays.values()):
            if len(array):
                assert agree(sums[n], array.sum(axis=0))
                assert agree(means[n], array.mean(axis=0))
                assert agree(deviations[n], array.std(axis=0))


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_no_rows_are_as_without_masks(tmp_path: Path) -> None:
    arrays = {"a": ma.MaskedArray(np.empty((0, 3)))}
    with stored(tmp_path / "s.ptr", arrays, "f4", (3,)) as store:
        for function in (np.mean, np.std, np.var):
            assert np.isnan(function(store))
            assert np.isnan(function(store, axis=0)).tolist() == [True] * 3
        assert np.sum(store) == 0
        with pytest.raises(ValueError, match="no identity"):
            np.max(store)


def test_more_degrees_of_freedom_than_elements_are_masked(tmp_path: Path) -> None:
    arrays = {"a": ma.MaskedArray([[1.0, 2], [3, 5]], [[0, 1], [0, 0]])}
    arrays["b"] = ma.MaskedArray([[1.0, 2]], [[0, 0]])
    whole = ma.concatenate(list(arrays.values()))
    with stored(tmp_path / "s.ptr", arrays, "f8", (2,)) as store:
        for ddof in (1, 2, 3):
            assert agree(np.std(store, axis=0, ddof=ddof), whole.std(axis=0, ddof=ddof))
            wanted = ma.stack([array.std(axis=0, ddof=ddof) for array in arrays.values()])
            assert agree(store.std_each(ddof=ddof), wanted)


def test_shaped_store(tmp_path: Path) -> None:
    arrays = {"a": ma.MaskedArray(np.ones((2, 2)), np.eye(2)), "b": np.ones(3)}
    with stored(tmp_path / "s.ptr", arrays, "f8", None) as store:
        assert np.sum(store) == 5
        assert store.reduce_each(np.add).tolist() == [2, 3]


def test_what_cannot_leave_out_anything_is_refused(tmp_path: Path) -> None:
    with stored(tmp_path / "s.ptr", {"a": ma.MaskedArray([1, 2], [0, 1])}, "i4", ()) as store:
        with pytest.raises(BadInputError, match="subtract"):
            store.reduce_each(np.subtract)
        with pytest.raises(BadInputError, match="power"):
            store.reduce(np.power)


def test_blocks_are_put_together(tmp_path: Path) -> None:
    """Arrays and blocks of several threads, with masks, give what one call of numpy does."""
    rng = np.random.default_rng(3)
    arrays = {
        str(n): ma.MaskedArray(rng.random((length, 16)), rng.random((length, 16)) < 0.3)
        for n, length in enumerate([100_000, 3, 1000])
    }
    whole = ma.concatenate(list(arrays.values()))
    with stored(tmp_path / "s.ptr", arrays, "f8", (16,)) as store:
        assert agree(np.mean(store, axis=0), whole.mean(axis=0))
        assert agree(np.std(store), whole.std())
        assert agree(store.std_each(), ma.stack([a.std(axis=0) for a in arrays.values()]))
