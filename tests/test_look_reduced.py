"""Many values as few: against plain numpy, for every dtype, shape, order and mask."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ptrarray.look.kinds import kinds_of
from ptrarray.look.numbers import drawable
from ptrarray.look.reduced import band, cells, sample

NUMPYS = [
    "?",
    "b",
    "B",
    "h",
    ">i4",
    "u4",
    "q",
    ">u8",
    "e",
    "f",
    ">d",
    "g",
    "F",
    ">D",
    "M8[s]",
    ">M8[ns]",
    "m8[10ms]",
]
NARROW = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4", "uint2"]
DTYPES = [np.dtype(code) for code in NUMPYS] + [np.dtype(getattr(ml_dtypes, n)) for n in NARROW]


def made(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> Any:
    """Return values of a dtype, some of them missing or infinite where it has such."""
    rng = np.random.default_rng(seed)
    if dtype.kind in "mM":
        whole = rng.integers(-1000, 1000, shape)
        whole[rng.random(shape) < 0.1] = np.iinfo(np.int64).min  # NaT
        return whole.astype(dtype)
    low = 0 if dtype.kind in "uV?" else -4
    values = rng.integers(low, 4, shape).astype(np.float64)
    if dtype.kind in "fc":
        values[rng.random(shape) < 0.1] = np.nan
        values[rng.random(shape) < 0.1] = -np.inf
    return values.astype(dtype)


@st.composite
def arrays(draw: st.DrawFn, max_rows: int = 60, n_axes: int = 3) -> Any:
    shape = (draw(st.integers(0, max_rows)), *draw(st.lists(st.integers(0, 7), max_size=n_axes)))
    values = made(draw(st.sampled_from(DTYPES)), shape, draw(st.integers(0, 2**32)))
    order = draw(st.sampled_from(["C", "F", "strided", "reversed"]))
    if order == "F":
        values = np.asfortranarray(values)
    if order == "strided":
        values = np.repeat(values, 2, axis=0)[::2]
    if order == "reversed":
        values = values[::-1]
    share = draw(st.sampled_from([None, 0.0, 0.3, 1.0]))
    if share is None:
        return values
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return np.ma.MaskedArray(values, mask=rng.random(shape) < share)


def plain_numbers(values: Any) -> Any:
    """Return values one by one as floats, NaN for those that are left out."""
    found = np.full(values.shape, np.nan)
    mask, data = np.ma.getmaskarray(values), np.ma.getdata(values)
    for at in np.ndindex(values.shape):
        value = data[at]
        if mask[at] or (data.dtype.kind in "mM" and np.isnat(value)):
            continue
        whole = value.astype(np.int64) if data.dtype.kind in "mM" else value
        number = abs(complex(whole)) if data.dtype.kind == "c" else float(whole)
        found[at] = number if np.isfinite(number) else np.nan
    return found


def parts_of(n_values: int, n_parts: int) -> list[slice]:
    n_parts = min(n_parts, n_values)
    ends = [n_values * k // n_parts for k in range(n_parts + 1)] if n_parts else []
    return [slice(first, last) for first, last in pairwise(ends)]


def lowest(numbers: Any, axis: int | None = 0) -> Any:
    found = np.where(np.isnan(numbers), np.inf, numbers).min(axis=axis)
    return np.where(np.isinf(found), np.nan, found)


def plain_band(values: Any, n_pixels: int) -> tuple[Any, Any, Any]:
    numbers, parts = plain_numbers(values), parts_of(len(values), n_pixels)
    shape = (len(parts), *values.shape[1:])
    lows = np.array([lowest(numbers[part]) for part in parts]).reshape(shape)
    highs = np.array([-lowest(-numbers[part]) for part in parts]).reshape(shape)
    left_out = np.array([np.isnan(numbers[part]).sum(axis=0) for part in parts]).reshape(shape)
    return lows, highs, left_out


@given(values=arrays())
def test_drawable_is_each_number_by_itself(values: Any) -> None:
    before = values.copy()
    found = drawable(values)
    assert found is not None
    assert found.dtype == np.float64
    assert_array_equal(found, plain_numbers(values))
    assert not np.shares_memory(found, np.ma.getdata(values))
    assert np.ma.getdata(values).tobytes() == np.ma.getdata(before).tobytes()


@pytest.mark.parametrize("dtype", ["S3", "U2", "V4", [("a", "i4")]])
def test_what_is_no_number_is_none_and_no_band(dtype: Any) -> None:
    values = np.zeros(3, dtype)
    assert drawable(values) is None
    with pytest.raises(TypeError, match=r"only numbers are drawn"):
        band(values, 2)
    with pytest.raises(TypeError, match=r"only numbers are drawn"):
        cells(values[:, np.newaxis], 2, 2)


@given(values=arrays(), n_pixels=st.integers(1, 70))
def test_a_band_is_the_lowest_and_highest_of_each_part(values: Any, n_pixels: int) -> None:
    lows, highs, left_out = plain_band(values, n_pixels)
    found = band(values, n_pixels)
    assert_array_equal(found.low, lows)
    assert_array_equal(found.high, highs)
    assert_array_equal(found.left_out, left_out)
    assert found.edges.tolist() == [0, *(part.stop for part in parts_of(len(values), n_pixels))]
    assert not found.sampled


@given(values=arrays(), n_rows=st.integers(1, 70), n_columns=st.integers(1, 20))
def test_cells_are_means(values: Any, n_rows: int, n_columns: int) -> None:
    numbers = plain_numbers(values).reshape(len(values), int(np.prod(values.shape[1:])))
    parts = parts_of(len(values), n_rows), parts_of(numbers.shape[1], n_columns)
    found = cells(values, n_rows, n_columns)
    assert found.means.shape == found.left_out.shape == (len(parts[0]), len(parts[1]))
    for at, rows in enumerate(parts[0]):
        for across, columns in enumerate(parts[1]):
            cell = numbers[rows, columns]
            known = cell[~np.isnan(cell)]
            mean = known.mean() if known.size else np.nan
            assert_allclose(found.means[at, across], mean, rtol=1e-12, atol=1e-12)
            assert found.left_out[at, across] == cell.size - known.size


@given(values=arrays(), n_pixels=st.integers(1, 30), block=st.integers(1, 40))
@example(values=np.ma.masked_less(np.arange(50.0), 30), n_pixels=3, block=7)
def test_blocks_change_nothing(values: Any, n_pixels: int, block: int) -> None:
    whole: list[Any] = [band(values, n_pixels), cells(values, n_pixels, 3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptrarray.look.reduced._BLOCK_VALUES", block)
        blocks: list[Any] = [band(values, n_pixels), cells(values, n_pixels, 3)]
    for one, other in zip(whole, blocks, strict=True):
        for expected, found in zip(one, other, strict=True):
            assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(values=arrays(), n_pixels=st.integers(1, 30), max_bytes=st.integers(0, 300))
def test_a_sample_is_the_first_rows_of_each_part(
    values: Any, n_pixels: int, max_bytes: int
) -> None:
    found, all_of_it = band(values, n_pixels, max_bytes=max_bytes), band(values, n_pixels)
    if not found.sampled:
        assert_array_equal(found.low, all_of_it.low)
        assert_array_equal(found.high, all_of_it.high)
        return
    row_bytes = max(values[:1].nbytes, 1)
    each = max(max_bytes // row_bytes // (len(found.edges) - 1), 1)
    firsts = [values[start : min(start + each, stop)] for start, stop in pairwise(found.edges)]
    assert_array_equal(found.low, [plain_band(first, 1)[0][0] for first in firsts])
    assert_array_equal(found.high, [plain_band(first, 1)[1][0] for first in firsts])


class Touched(np.ndarray[Any, Any]):
    """An array that counts the bytes that are taken out of it."""

    n_bytes = 0

    def __getitem__(self, at: Any) -> Any:
        found = np.asarray(super().__getitem__(at))
        if np.shares_memory(found, self):
            return found.view(Touched)
        Touched.n_bytes += found.nbytes
        return found


@pytest.mark.parametrize("shape", [(100_000,), (1000, 300), (3, 200_000), (50, 30, 40)])
def test_a_sample_reads_no_more_than_it_may(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape).view(Touched)
    Touched.n_bytes = 0
    assert cells(values, 40, 20, max_bytes=40_000).sampled
    assert Touched.n_bytes <= 40_000
    if len(shape) == 1:
        assert band(values, 40, max_bytes=40_000).sampled
        assert Touched.n_bytes <= 80_000


@given(values=arrays(), n_rows=st.integers(1, 9), max_bytes=st.integers(0, 300))
def test_sampled_cells_are_means_of_some(values: Any, n_rows: int, max_bytes: int) -> None:
    found, all_of_it = cells(values, n_rows, 4, max_bytes=max_bytes), cells(values, n_rows, 4)
    assert found.means.shape == all_of_it.means.shape
    numbers = plain_numbers(values)
    known = found.means[~np.isnan(found.means)]
    if known.size:
        assert np.nanmin(numbers) <= known.min() + 1e-9
        assert known.max() <= np.nanmax(numbers) + 1e-9
    if not found.sampled:
        assert_allclose(found.means, all_of_it.means)


class Sliced:
    """Rows that have slices and nothing else, as those of a store elsewhere."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, rows: slice) -> Any:
        assert isinstance(rows, slice)
        return self._rows[rows]


@given(values=arrays(), n_pixels=st.integers(1, 30), max_bytes=st.integers(0, 300))
def test_rows_need_not_be_more_than_slices(values: Any, n_pixels: int, max_bytes: int) -> None:
    rows: Any = Sliced(values)
    expected = band(values, n_pixels, max_bytes=max_bytes)
    for found, part in zip(band(rows, n_pixels, max_bytes=max_bytes), expected, strict=True):
        assert_array_equal(found, part)
    taken = sample(rows, max_bytes + 1).values
    assert_array_equal(drawable(taken), drawable(sample(values, max_bytes + 1).values))
    assert kinds_of(rows) == kinds_of(values)


def test_one_peak_among_ten_million_is_found_in_little_memory() -> None:
    values = np.zeros(10_000_000, np.int8)
    values[1_234_567] = 100
    values[9_999_999] = -100
    tracemalloc.start()
    found = band(values, 440)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.flatnonzero(found.high).tolist() == [1_234_567 * 440 // 10_000_000]
    assert np.flatnonzero(found.low).tolist() == [439]
    assert peak < 10_000_000


@given(values=arrays(), max_bytes=st.integers(1, 2000))
def test_a_sample_is_rows_in_order(values: Any, max_bytes: int) -> None:
    at = np.arange(len(values))
    taken = sample(at, max_bytes).values
    assert (np.diff(taken) > 0).all()
    found = sample(values, max_bytes)
    assert found.values.dtype == values.dtype
    assert isinstance(found.values, np.ma.MaskedArray) == isinstance(values, np.ma.MaskedArray)
    assert found.sampled == (len(found.values) < len(values))
    assert found.values.nbytes <= max(max_bytes, values[:1].nbytes)


@pytest.mark.parametrize("high", [1.0, np.finfo("f8").max, 2.0**-900])
def test_means_of_any_numbers_are_finite(high: float) -> None:
    values = np.full((400, 300), high)
    values[::2, ::2] = -high
    with np.errstate(all="raise"):
        found = cells(values, 4, 3)
    assert_allclose(found.means, np.full((4, 3), high / 2), rtol=1e-12)
