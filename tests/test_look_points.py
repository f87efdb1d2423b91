"""Points of lines are what plain numpy finds: gaps, points alone, peaks, and what an axis shows."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.look import points
from ptrarray.look.numbers import drawable
from ptrarray.look.points import curves, measured

VALUES = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from([np.nan, np.inf, -np.inf, 0.0]),
        st.floats(-1e3, 1e3).map(np.float32).map(float),
    ),
    min_size=1,
    max_size=40,
)


def masked(values: list[float | None]) -> Any:
    """Make an array of values, masked where there is none."""
    data = [7.0 if value is None else value for value in values]
    return np.ma.array(data, mask=[value is None for value in values], dtype="f4")


def inside(spans: Any, row: int) -> bool:
    return any(low < row < high for low, high in spans)


@given(VALUES)
def test_of_few_values_each_is_a_point(values: list[float | None]) -> None:
    array = masked(values)
    wanted = drawable(array)
    assert wanted is not None
    drawn = curves(array)
    assert drawn.x.tolist() == list(range(len(values)))
    assert np.array_equal(drawn.y[:, 0], wanted, equal_nan=True)
    known = [False, *(~np.isnan(wanted)).tolist(), False]
    alone = [
        is_known and not (known[at] or known[at + 2]) for at, is_known in enumerate(known[1:-1])
    ]
    assert drawn.alone[:, 0].tolist() == alone
    assert [inside(drawn.missing, row) for row in range(len(values))] == np.isnan(wanted).tolist()
    assert drawn.n_left_out == np.isnan(wanted).sum()
    assert len(drawn.thinned) == 0


@given(VALUES)
def test_of_many_values_the_lowest_and_highest_of_each_part_are_points(
    values: list[float | None],
) -> None:
    array = masked(values)
    numbers = drawable(array)
    assert numbers is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "N_POINTS", 3)
        drawn = curves(array)
    if len(values) <= 6:
        assert len(drawn.x) == len(values)
        return
    edges = [len(values) * part // 3 for part in range(4)]
    for part, (low, high) in enumerate(pairwise(edges)):
        ends = drawn.y[2 * part : 2 * part + 2, 0]
        rows = numbers[low:high]
        known = rows[~np.isnan(rows)]
        wanted = [known.min(), known.max()] if known.size else [np.nan, np.nan]
        assert np.array_equal(ends[:: -1 if part % 2 else 1], wanted, equal_nan=True)
        assert drawn.x[2 * part : 2 * part + 2].tolist() == [(low + high - 1) / 2] * 2
        is_thinned = 0 < known.size < len(rows)
        assert [inside(drawn.thinned, row) for row in range(low, high)] == [is_thinned] * (
            high - low
        )
        assert [inside(drawn.missing, row) for row in range(low, high)] == [not known.size] * (
            high - low
        )
    assert drawn.n_left_out == np.isnan(numbers).sum()


def test_each_number_of_a_row_is_a_line() -> None:
    array = np.ma.masked_less(np.arange(12.0).reshape(4, 3), 4)
    drawn = curves(array)
    assert drawn.y.shape == (4, 3)
    assert np.isnan(drawn.y).sum(axis=0).tolist() == [2, 1, 1]
    # Of row 0 nothing is drawn, of row 1 something.
    assert drawn.missing.tolist() == [[-0.5, 0.5]]
    assert drawn.thinned.tolist() == [[0.5, 1.5]]


@pytest.mark.parametrize(
    ("values", "wanted", "quantity"),
    [
        (np.array([1, "NaT", -3], "m8[ms]"), [0.001, np.nan, -0.003], "seconds"),
        (np.array([1, 2, 3], ">m8[2m]"), [120, 240, 360], "seconds"),
        (np.array([1, 2, 3], "m8[Y]"), [1, 2, 3], "years"),
        (np.array([1, 2, 3], "m8[M]"), [1, 2, 3], "months"),
        (np.array([1, 2, 3], "i8").view("m8"), [1, 2, 3], ""),
        (np.array([3 + 4j, 0, np.nan]), [5, 0, np.nan], "absolute value"),
        (np.array([1e300, -1e300, 0]), [1e300, -1e300, 0], ""),
        (np.array([1e301, 1.7e308, np.nan]), [10, 1.7e8, np.nan], "in units of 1e+300"),
        (np.array([1e301j, 0, 0]), [10, 0, 0], "absolute value in units of 1e+300"),
        (np.array([True, False, True]), [1, 0, 1], ""),
        (np.array([2**63, 1, 0], "u8"), [2.0**63, 1, 0], ""),
        # No calendar of an axis has these.
        (np.array([-5000, 9000, 0], "M8[Y]"), [-5000, 9000, 0], "years since 1970"),
        (np.array([10**8, 0, 1], "M8[D]"), [10**8, 0, 1], "days since 1970"),
        (np.array([10**15, 0, 1], "M8[ms]"), [1e12, 0, 1e-3], "seconds since 1970"),
        (np.array(["NaT", "NaT", "NaT"], "M8[s]"), [np.nan] * 3, "seconds since 1970"),
    ],
)
def test_what_is_on_an_axis_has_a_unit(values: Any, wanted: list[float], quantity: str) -> None:
    numbers = drawable(values)
    assert numbers is not None
    found, told = measured(numbers, values.dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert told == quantity


@pytest.mark.parametrize(
    "unit", ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "3D", "10ns", "ps", "fs", "as"]
)
def test_dates_are_dates_in_any_unit(unit: str) -> None:
    first, last = ("1970-01-01T00:00:01", "1970-01-01T00:00:08")
    if unit[-1] != "s" or unit[-2:] in ("ns", "us", "ms") or unit == "s":
        first, last = "1815-12-10T01:00", "2150-02-28T13:30"
    values = np.array([first, "NaT", last]).astype(f">M8[{unit}]")
    numbers = drawable(values)
    assert numbers is not None
    found, quantity = measured(numbers, values.dtype)
    assert quantity == "time"
    assert found.dtype == "M8[us]"
    assert np.isnat(found).tolist() == [False, True, False]
    error = np.abs(found - values.astype("M8[us]"))[[0, 2]]
    assert (error <= np.timedelta64(1000, "us")).all()


def test_the_greatest_dates_of_a_unit_do_not_wrap() -> None:
    values = np.array([np.iinfo("i8").max, np.iinfo("i8").min + 1]).view("M8[ns]")
    numbers = drawable(values)
    assert numbers is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = measured(numbers, values.dtype)
    assert found.astype("M8[Y]").astype(str).tolist() == ["2262", "1677"]
