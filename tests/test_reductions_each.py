"""Reductions of each array against numpy on that array alone."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.reductions import Living
from ptrarray.reductions.blocks import BLOCK_NBYTES
from tests.support.effort import one_in
from tests.support.memory import peak_nbytes
from tests.support.reductions import (
    COMBINABLE,
    FEWER,
    NUMBERS,
    Stored,
    assert_same,
    outcome,
    precisely,
    stored,
    tamed,
)

pytestmark = pytest.mark.usefixtures("small_blocks")
# Of two arguments, but blocks of them cannot be combined.
IN_ORDER = [np.subtract, np.copysign, np.left_shift, np.fmod]


@pytest.mark.parametrize("ufunc", [*COMBINABLE, *IN_ORDER])
@FEWER
@given(data=st.data(), shuffled=st.booleans(), axis=st.sampled_from([0, None]))
def test_reduce_each(
    ufunc: np.ufunc, data: st.DataObject, shuffled: bool, axis: int | None
) -> None:
    # In float16, numpy's loops round after each step or only at the end, depending on the shape.
    dtypes = [dtype for dtype in NUMBERS if dtype != "f2" or ufunc not in IN_ORDER]
    shortest = 0 if ufunc.identity is not None else 1
    store = tamed(data.draw(stored(dtypes, shortest=shortest)), ufunc)
    if shuffled:
        order = np.random.default_rng(0).permutation(len(store.starts))
        store = store._replace(starts=store.starts[order], ends=store.ends[order])
    found = outcome(lambda: reductions.reduce_each(store, ufunc, axis=axis))
    arrays = store.arrays if axis == 0 else [array.reshape(-1) for array in store.arrays]
    if ufunc.identity is None and not all(map(len, arrays)):
        assert found in (ValueError, TypeError)
        return
    row_shape = store.rows.shape[1:] if axis == 0 else ()
    one = outcome(lambda: ufunc.reduce(np.ones((1, *row_shape), store.rows.dtype), axis=0))
    if isinstance(one, type):
        assert found is one
        return
    expected = np.empty((len(store.starts), *row_shape), one.dtype)
    for i, array in enumerate(arrays):
        if ufunc in IN_ORDER:  # what underflows must underflow here, too
            with np.errstate(all="ignore"):
                expected[i] = ufunc.reduce(array, axis=0)
        else:
            expected[i] = precisely(ufunc.reduce, array, 0)
    assert_same(found, expected)


@pytest.mark.parametrize("row_shape", [(), (2,), (70,)])
def test_arrays_of_many_blocks(row_shape: tuple[int, ...]) -> None:
    n = 400 if sum(row_shape) > 9 else 2000  # such a row is a block
    rows = np.random.default_rng(0).integers(-9, 9, (n, *row_shape)).astype("i4")
    starts, ends = np.array([1, 3, 3, n - 1, 7, 0]), np.array([n * 4 // 9, 5, 3, n, n - 1, n])
    for ufunc in (np.add, np.bitwise_xor):
        found = reductions.reduce_each(Living(rows, starts, ends), ufunc)
        expected = [ufunc.reduce(rows[s:e], axis=0) for s, e in zip(starts, ends, strict=True)]
        assert_same(found, np.array(expected))
    filled = np.array([0, 1, 3, 4, 5])
    found = reductions.reduce_each(Living(rows, starts[filled], ends[filled]), np.subtract)
    assert_same(found[0], np.subtract.reduce(rows[1 : n * 4 // 9], axis=0))
    assert_same(found[4], np.subtract.reduce(rows, axis=0))
    for name in ("mean", "std"):
        found = getattr(reductions, f"{name}_each")(Living(rows, starts[filled], ends[filled]))
        np.testing.assert_allclose(found[3], getattr(np, name)(rows[7 : n - 1], axis=0), rtol=1e-12)


@pytest.mark.parametrize("ufunc", [np.hypot, np.gcd])
def test_reduce_each_of_single_rows(ufunc: np.ufunc) -> None:
    rows, at = np.array([[-4, 4], [6, -6], [-3, 0]]), np.arange(3)
    # A single row is reduced like any other, so that its sign goes.
    expected = np.stack([ufunc.reduce(rows[i : i + 1], axis=0) for i in range(3)])
    assert_same(reductions.reduce_each(Living(rows, at, at + 1), ufunc), expected)
    assert (expected >= 0).all()


def test_reduce_each_in_another_dtype() -> None:
    store = Living(np.array([100, 100, 100, 7], np.int8), np.array([0, 3, 3]), np.array([3, 4, 3]))
    found = reductions.reduce_each(store, np.add, dtype=np.int8)
    assert_same(found, np.array([44, 7, 0], np.int8))


def test_reduce_each_names_the_first_empty_array() -> None:
    starts = np.arange(20)
    ends = starts + 1
    ends[[11, 13, 17]] -= 1
    with pytest.raises(BadInputError, match=r"array 11 is empty, and np\.maximum has no") as caught:
        reductions.reduce_each(Living(np.zeros(30), starts, ends), np.maximum)
    assert caught.value.facts["position"] == 11


def test_reduce_each_over_no_other_axis() -> None:
    living = Living(np.zeros((4, 3)), np.array([0]), np.array([3]))
    with pytest.raises(BadInputError, match=r"axis 1 is not .* expected 0 .* or None") as caught:
        reductions.reduce_each(living, np.add, axis=1)
    assert caught.value.facts["expected"] == (0, None)


def test_arrays_of_rows_without_elements_are_empty() -> None:
    living = Living(np.zeros((4, 0), "i4"), np.array([0, 1]), np.array([3, 4]))
    assert_same(reductions.reduce_each(living, np.add, axis=None), np.zeros(2, "i8"))
    with pytest.raises(BadInputError, match="array 0 is empty, and") as caught:
        reductions.reduce_each(living, np.maximum, axis=None)
    assert caught.value.facts["position"] == 0


@pytest.mark.parametrize("ufunc", [np.sin, np.divmod, np.matmul, np.sum, sum, "add", 3])
def test_reduce_each_takes_binary_ufuncs(ufunc: Any) -> None:
    with pytest.raises(BadInputError, match="expected a ufunc of two arguments and one result"):
        reductions.reduce_each(Living(np.arange(3.0), np.array([0]), np.array([3])), ufunc)


def test_reduce_each_takes_a_users_own_ufunc() -> None:
    joined = np.frompyfunc(lambda left, right: left * 10 + right, 2, 1)
    found = reductions.reduce_each(Living(np.arange(5), np.array([0, 3]), np.array([3, 5])), joined)
    assert found.tolist() == [12, 34]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 11), (4, 3)])
def test_ranges_outside_the_rows_are_refused(start: int, end: int) -> None:
    store = Living(np.arange(10), np.array([0, start]), np.array([1, end]))
    with pytest.raises(BadInputError, match="is not within the rows") as caught:
        reductions.reduce_each(store, np.add)
    assert not hasattr(caught.value, "position")
    if start < end:
        with pytest.raises(BadInputError, match="is not within the rows"):
            reductions.reduce(Living(np.arange(10), np.sort(store[1]), np.sort(store[2])), np.add)


@pytest.mark.parametrize("ddof", [None, 0, 1])
@given(store=stored([*NUMBERS, "m8[ms]"]))
def test_moments_of_each(ddof: int | None, store: Stored) -> None:
    kwargs = {} if ddof is None else {"ddof": ddof}
    name = "mean" if ddof is None else "std"
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")  # empty arrays are nan without a warning
        try:
            found = getattr(reductions, f"{name}_each")(store, **kwargs)
        except TypeError:
            assert store.rows.dtype.kind == "m"
            assert name == "std"
            return

    def numpys(rows: np.ndarray, axis: int | None) -> Any:
        return getattr(np, name)(rows, axis=axis, **kwargs)

    one = numpys(np.ones((2, *store.rows.shape[1:]), store.rows.dtype), 0)
    expected = np.empty((len(store.starts), *store.rows.shape[1:]), one.dtype)
    for i, array in enumerate(store.arrays):
        expected[i] = precisely(numpys, array, 0)
    assert_same(found, expected)


def laid(*arrays: np.ndarray, gap: int = 0) -> Living:
    """Return arrays one after the other, with rows between that belong to none."""
    lengths = np.array([len(array) for array in arrays])
    ends = np.cumsum(lengths + gap) - gap
    between = np.full((gap, *arrays[0].shape[1:]), 77, arrays[0].dtype)
    rows = np.concatenate([part for array in arrays for part in (array, between)])
    return Living(rows, ends - lengths, ends)


@pytest.mark.parametrize(
    ("dtype", "rows", "ufunc"),
    one_in(
        7,
        product(
            ["f2", "f4", "f8", "c8"],
            [((), 0), ((2,), 0), ((5, 13), 0), ((300,), 0), ((5, 13), None)],
            [np.add, np.subtract, np.multiply, np.hypot, np.logaddexp],
        ),
    ),
)
def test_the_result_of_an_array_is_about_that_array_alone(
    dtype: str, rows: tuple[tuple[int, ...], int | None], ufunc: np.ufunc
) -> None:
    if dtype == "c8" and ufunc in (np.hypot, np.logaddexp):
        return
    row_shape, axis = rows
    rng = np.random.default_rng(0)
    lengths = 1, 2, 9, 40, 150, 700
    arrays = [(rng.random((n, *row_shape)) + 0.5).astype(dtype) for n in lengths]

    def all_of(store: Living) -> list[bytes]:
        with np.errstate(all="ignore"):
            results = reductions.reduce_each(store, ufunc, axis=axis)
            return [result.tobytes() for result in results]

    alone = [all_of(laid(array))[0] for array in arrays]
    assert all_of(laid(*arrays)) == alone
    assert all_of(laid(*arrays, gap=3)) == alone
    assert all_of(laid(*arrays[::-1])) == alone[::-1]
    assert all_of(laid(arrays[5], arrays[5])) == alone[5:] * 2


@pytest.mark.parametrize("row_shape", [(), (2,), (100,)])
@pytest.mark.parametrize(("dtype", "value", "n"), [("f2", 1, 5000), ("f4", 0.1, 300_000), ("f4", 0.1, 1 << 20),
                                                   ("f8", 0.1, 300_000), ("c8", 0.1j, 300_000)])  # fmt: skip
@pytest.mark.usefixtures("measured_blocks")
def test_long_sums_are_as_good_as_numpys_pairwise_ones(
    dtype: str, value: complex, n: int, row_shape: tuple[int, ...]
) -> None:
    n //= 1 + sum(row_shape) // 10
    rows = np.full((n, *row_shape), value, dtype)
    exact, width = np.longdouble(abs(rows.flat[0])) * n, rows.size // n

    def error(result: Any, n_columns: int = 1) -> Any:
        return abs(abs(np.asarray(result, "G")) - exact * n_columns)

    limit = (16 if dtype == "f8" else 3) * np.finfo(dtype).eps * float(exact)
    # Lines of float32 are summed by numpy, which was less exact before 2.1.
    own = error(np.add.reduce(rows.reshape(n, -1)[:, 0].copy()))
    own_of_all = error(np.add.reduce(rows.reshape(-1)), width)
    results = [
        reductions.reduce_each(laid(rows), np.add)[0],
        reductions.reduce_each(laid(rows, rows[:3]), np.add)[0],
        reductions.reduce(laid(rows), np.add),
    ]
    of_all = reductions.reduce_each(laid(rows, rows[:3]), np.add, axis=None)[0]
    assert error(of_all, width) <= limit * width + own_of_all
    for result in results:
        assert result.dtype == dtype
        assert (error(result) <= limit + own).all()
    assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.usefixtures("measured_blocks")
def test_memory_is_bounded_also_where_short_rows_are_worked_in_a_wide_dtype(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ptrarray.reductions.blocks.count_cores", lambda: 1)
    bounds = np.arange(0, (1 << 24) + 1, 1 << 12)
    living = Living(np.ones(1 << 24, "i1"), bounds[:-1], bounds[1:])
    assert peak_nbytes(lambda: reductions.std_each(living)) < 4 * BLOCK_NBYTES
