"""Reductions against numpy on the living rows laid end to end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.reductions import Living
from tests.support.reductions import (
    COMBINABLE,
    FEWER,
    NUMBERS,
    Operation,
    Stored,
    assert_same,
    outcome,
    precisely,
    stored,
    tamed,
)

pytestmark = pytest.mark.usefixtures("small_blocks")
DATES = ["M8[s]", "m8[ms]"]


@pytest.mark.parametrize("ufunc", COMBINABLE)
@FEWER
@given(st.data(), st.sampled_from([0, None]))
def test_reduce(ufunc: np.ufunc, data: st.DataObject, axis: int | None) -> None:
    store = tamed(data.draw(stored()), ufunc)
    # numpy refuses some of these over several axes; laid out in a line they are the same.
    living = store.living.reshape(-1) if axis is None else store.living
    found = outcome(lambda: reductions.reduce(store, ufunc, axis=axis))
    assert_same(found, precisely(ufunc.reduce, living, 0))


@given(stored(DATES), st.sampled_from([np.add, np.minimum, np.fmax, np.multiply]))
def test_reduce_dates(store: Stored, ufunc: np.ufunc) -> None:
    found = outcome(lambda: reductions.reduce(store, ufunc))
    assert_same(found, outcome(lambda: ufunc.reduce(store.living, axis=0)))


@given(stored(["<i2", "f4", "u1"]), st.sampled_from(["f8", "i1", "f2", "c16"]))
def test_reduce_in_another_dtype(store: Stored, dtype: str) -> None:
    expected = np.add.reduce(
        store.living.astype("g" if dtype in ("f8", "f2") else dtype),
        axis=0,
        dtype=dtype if dtype not in ("f8", "f2") else "g",
    )
    found = reductions.reduce(store, np.add, dtype=dtype)
    assert_same(found, np.asarray(expected).astype(dtype)[()])


@pytest.mark.parametrize("dtype", ["S3", "V4", [("a", "i4")], "M8[s]"])
def test_numpys_errors_for_dtypes_pass_through(dtype: Any) -> None:
    store = Stored(np.zeros(4, dtype), np.array([0]), np.array([4]))
    operations: tuple[Operation, ...] = (
        lambda: reductions.reduce(store, np.multiply),
        lambda: reductions.reduce_each(store, np.multiply),
        lambda: reductions.std(store),
        lambda: reductions.std_each(store),
    )
    for operation in operations:
        with pytest.raises(TypeError):
            operation()


@pytest.mark.parametrize("ufunc", [np.subtract, np.power, np.arctan2, np.divmod, np.sin])
def test_reduce_refuses_what_cannot_be_combined(ufunc: np.ufunc) -> None:
    with pytest.raises(
        BadInputError, match=rf"np\.{ufunc.__name__} cannot combine.* add, "
    ) as caught:
        reductions.reduce(Living(np.arange(3), np.array([0]), np.array([3])), ufunc)
    assert caught.value.found is ufunc


@pytest.mark.parametrize("other", [np.sum, "add", ["add"], None])
def test_reduce_refuses_what_is_no_ufunc(other: Any) -> None:
    with pytest.raises(
        BadInputError, match=r"cannot combine; expected one of numpy's ufuncs add, "
    ):
        reductions.reduce(Living(np.arange(3), np.array([0]), np.array([3])), other)


@pytest.mark.parametrize("function", [reductions.mean, reductions.std, reductions.var])
def test_other_axes_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(BadInputError, match="axis 1 is not reduced over"):
        function(Living(np.zeros((3, 2)), np.array([0]), np.array([3])), axis=1)


def test_no_living_rows() -> None:
    none = Living(np.zeros((5, 2)), np.array([3]), np.array([3]))
    assert reductions.reduce(none, np.add).tolist() == [0, 0]
    assert reductions.reduce(none, np.multiply, axis=None) == 1
    with pytest.raises(ValueError, match="zero-size array to reduction operation minimum"):
        reductions.reduce(none, np.minimum)


@pytest.mark.parametrize("name", ["mean", "var", "std"])
@given(stored([*NUMBERS, "m8[ms]"]), st.sampled_from([0, None]))
def test_moments(name: str, store: Stored, axis: int | None) -> None:
    found = outcome(lambda: getattr(reductions, name)(store, axis=axis))
    assert_same(found, precisely(getattr(np, name), store.living, axis))


@pytest.mark.parametrize("name", ["var", "std"])
@given(stored(["f4", "i8", "c8"]), st.sampled_from([0, 1, 1.5, 400]))
def test_ddof(name: str, store: Stored, ddof: float) -> None:
    found = outcome(lambda: getattr(reductions, name)(store, axis=0, ddof=ddof))
    expected = outcome(lambda: getattr(np, name)(store.living, axis=0, ddof=ddof))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_warnings_are_numpys() -> None:
    none = Living(np.zeros((5, 2)), np.array([3]), np.array([3]))
    one = Living(np.zeros((5, 2)), np.array([3]), np.array([4]))
    cases: list[tuple[Callable[..., Any], Any, dict[str, Any], str]] = [
        (reductions.mean, none, {}, "Mean of empty slice"),
        (reductions.var, none, {"axis": 0}, "Degrees of freedom <= 0 for slice"),
        (reductions.std, one, {"axis": 0, "ddof": 1}, "Degrees of freedom <= 0 for slice"),
    ]
    for function, store, kwargs, message in cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert np.isnan(function(store, **kwargs)).all()
        assert message in [str(warning.message).rstrip(".") for warning in caught]
        assert {warning.category for warning in caught} == {RuntimeWarning}


def test_variance_does_not_cancel() -> None:
    rows = 1e9 + np.tile([0.0, 1.0], 5000)
    assert math.isclose(reductions.var(Living(rows, np.array([0]), np.array([10_000]))), 0.25)


def test_float32_sums_are_as_good_as_float64() -> None:
    rows = np.full((100_000, 2), 0.1, np.float32)
    found = reductions.reduce(Living(rows, np.array([0]), np.array([len(rows)])), np.add)
    exact = math.fsum(rows[:, 0].tolist())
    assert abs(found - np.float32(exact)).max() <= np.spacing(np.float32(exact))
    # Added one after the other in float32, they are off by hundreds.
    assert abs(np.add.reduce(rows, axis=0)[0] - exact) > 1


def test_float32_blocks_are_combined_in_float64() -> None:
    rows = np.zeros(400, np.float32)  # of eight blocks
    rows[[10, 60, 110, 160]] = 3e38, 3e38, -3e38, -3e38
    assert reductions.reduce(Living(rows, np.array([0]), np.array([400])), np.add) == 0


FUNCTIONS = [np.sum, np.prod, np.min, np.amin, np.max, np.amax, np.any, np.all, np.mean, np.std,
             np.var]  # fmt: skip
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((None,), {"out": None}),
    ((0,), {}),
    ((), {"axis": 0, "keepdims": True}),
    ((), {"axis": (0,)}),
    ((), {"axis": -2, "keepdims": False}),
    ((), {"axis": (1, 0), "keepdims": True}),
    ((), {"keepdims": True}),
]


@pytest.mark.parametrize("func", FUNCTIONS, ids=lambda func: func.__name__)
@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_array_function(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    rows = np.random.default_rng(0).integers(1, 5, (40, 3))
    starts, ends = np.array([2, 3, 20]), np.array([9, 5, 21])
    living = np.concatenate((rows[2:9], rows[20:21]))
    found = reductions.array_function(func, Living(rows, starts, ends), (object(), *args), kwargs)
    assert_same(found, func(living, *args, **kwargs))


def test_a_mask_is_not_dropped() -> None:
    store = Living(np.ma.MaskedArray(np.arange(4), [True] * 4), np.array([0]), np.array([4]))
    for function in (reductions.mean, reductions.var, reductions.mean_each, reductions.std_each):
        with pytest.raises(BadInputError, match="rows with a mask"):
            function(store)


def test_array_function_hands_on_dtype_and_ddof() -> None:
    store = Living(np.arange(10, dtype="i4"), np.array([0]), np.array([10]))
    for func, kwargs in (
        (np.sum, {"dtype": "f4"}),
        (np.var, {"ddof": 1}),
        (np.std, {"dtype": "f4", "ddof": 2}),
    ):
        found = reductions.array_function(func, store, ["store"], kwargs)
        assert_same(found, func(np.arange(10, dtype="i4"), **kwargs))


@pytest.mark.parametrize(
    ("func", "kwargs", "message"),
    [
        (np.sum, {"out": np.zeros(3)}, "np.sum of a store does not take 'out'; expected only axis"),
        (np.sum, {"where": [True]}, "does not take 'where'"),
        (np.max, {"initial": 3}, "does not take 'initial'"),
        (np.std, {"correction": 1}, "does not take 'correction'"),
        (np.sum, {"axis": 1}, r"axis 1 is not reduced over; expected None .* or 0"),
        (np.mean, {"axis": (1,)}, r"axis \(1,\) is not reduced over"),
        (np.mean, {"axis": 2}, "axis 2 is out of bounds"),
        (np.sum, {"nonsense": 1}, "nonsense"),
    ],
)
def test_array_function_refuses(
    func: Callable[..., Any], kwargs: dict[str, Any], message: str
) -> None:
    store = Living(np.zeros((4, 2)), np.array([0]), np.array([4]))
    with pytest.raises((ValueError, TypeError), match=message):
        reductions.array_function(func, store, ["store"], kwargs)


def test_array_function_leaves_other_functions_alone() -> None:
    store = Living(np.zeros(4), np.array([0]), np.array([4]))
    for func in (np.median, np.concatenate, np.cumsum):
        assert reductions.array_function(func, store, ["store"], {}) is NotImplemented


def test_a_function_that_takes_no_store_names_what_does(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer["a"] = [1, np.nan]
    with ptrarray.open(tmp_path / "a.ptr") as store:
        for function in (np.nansum, np.median, lambda value: np.concatenate([value, np.ones(2)])):
            expected = r"does not take a store.* np\.std, np\.sum, np\.var; or .*\(store\.rows\)"
            with pytest.raises(TypeError, match=expected):
                function(store)
        assert np.nansum(store.rows) == 1
