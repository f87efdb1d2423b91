"""Values are cast only if they fit, and not copied where nothing is to be cast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ptrarray import BadInputError
from ptrarray.intake.casting import as_array, fit
from tests.support import strategies

Array = NDArray[Any]

INTEGERS = ("i1", "u1", "<i2", ">u2", "i4", "u4", ">i8", "u8")
FLOATS = ("<f2", ">f4", "f8")
EDGES = st.sampled_from(
    [0, 1, -1, *(sign * 2**bits + d for bits in (7, 8, 11, 15, 16, 24, 31, 32, 53, 63, 64)
                 for sign in (1, -1) for d in (-1, 0, 1))]
)  # fmt: skip


def fits_integer(value: int, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= value <= int(info.max)


def cast_or_none(values: Any, dtype: Any) -> Array | None:
    try:
        return fit("a", values, np.dtype(dtype), ())
    except BadInputError:
        return None


@given(
    st.lists(EDGES | st.integers(-(2**63), 2**64 - 1), max_size=5),
    st.sampled_from(INTEGERS),
    st.sampled_from(INTEGERS),
)
def test_integers_into_integers(values: list[int], source: str, target: str) -> None:
    values = [value for value in values if fits_integer(value, np.dtype(source))]
    found = cast_or_none(np.array(values, source), target)
    if all(fits_integer(value, np.dtype(target)) for value in values):
        assert found is not None
        assert found.dtype == np.dtype(target)
        assert found.tolist() == values
    else:
        assert found is None


def is_exact(value: int, dtype: np.dtype[Any]) -> bool:
    """Tell whether a float of a dtype can be this integer."""
    with np.errstate(over="ignore"):
        as_float = float(dtype.type(value))
    return np.isfinite(as_float) and int(as_float) == value


@given(
    st.lists(EDGES | st.integers(-(2**63), 2**64 - 1), max_size=5),
    st.sampled_from(INTEGERS),
    st.sampled_from(FLOATS),
)
@example([-(2**63)], "<i8", "<f2")  # -inf, which the machine may take back for the same
def test_integers_into_floats(values: list[int], source: str, target: str) -> None:
    values = [value for value in values if fits_integer(value, np.dtype(source))]
    found = cast_or_none(np.array(values, source), target)
    if all(is_exact(value, np.dtype(target)) for value in values):
        assert found is not None
        assert [int(value) for value in found.tolist()] == values
    else:
        assert found is None


@given(st.lists(st.floats(), max_size=5), st.sampled_from(FLOATS), st.sampled_from(FLOATS))
@example([65504.0, 65519.9], "f8", "<f2")
@example([65520.0], "f8", "<f2")
def test_floats_into_floats(values: list[float], source: str, target: str) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values).astype(source)
        expected = [np.dtype(target).type(value) for value in array.tolist()]
    found = cast_or_none(array, target)
    if any(np.isinf(e) and not np.isinf(v) for e, v in zip(expected, array, strict=True)):
        assert found is None
    else:
        assert found is not None
        assert np.array_equal(found, np.array(expected, target), equal_nan=True)


UNITS = {"W": 604_800_000, "213504D": 213_504 * 86_400_000, "D": 86_400_000, "h": 3_600_000}
UNITS |= {"m": 60_000, "25s": 25_000, "s": 1000, "3ms": 3, "ms": 1}


@given(
    st.lists(EDGES | st.integers(-(2**62), 2**62) | st.integers(-48, 48), max_size=4),
    st.sampled_from(list(UNITS)),
    st.sampled_from(list(UNITS)),
    st.sampled_from("mM"),
)
def test_times_into_times(values: list[int], source: str, target: str, kind: str) -> None:
    values = [value for value in values if -(2**63) < value < 2**63]
    array = np.array(values, "i8").view(f"{kind}8[{source}]")
    ticks = [value * UNITS[source] for value in values]
    found = cast_or_none(array, f"{kind}8[{target}]")
    scaled = [tick // UNITS[target] for tick in ticks if tick % UNITS[target] == 0]
    if len(scaled) == len(values) and all(-(2**63) < value < 2**63 for value in scaled):
        assert found is not None
        assert found.view("i8").tolist() == scaled
    else:
        assert found is None


@pytest.mark.parametrize(
    ("ticks", "source", "target", "expected"),
    [
        ([1], "M8[213504D]", "M8[ns]", None),  # numpy: 1970-01-01T00:25, its factor wraps
        ([3], "m8[213504D]", "m8[ns]", None),
        ([0], "M8[213504D]", "M8[ns]", [0]),
        ([1], "M8[213504D]", "M8[s]", [213504 * 86400]),
        ([9223372036], ">M8[s]", "<M8[ns]", [9223372036 * 10**9]),
        ([9223372037], "<M8[s]", ">M8[ns]", None),
        ([9_000_000], "M8[W]", "M8[as]", None),
        ([2**62], "M8[as]", "M8[W]", None),
        ([1, -1], "M8[Y]", "M8[D]", [365, -365]),
        ([-5, 600], "M8[M]", "M8[h]", [-153 * 24, 18262 * 24]),
        ([31, 59], "M8[D]", "M8[M]", [1, 2]),
        ([31, 58], "M8[D]", "M8[M]", None),
        ([366], "M8[D]", "M8[Y]", None),
        ([400], "M8[Y]", "M8[ns]", None),
        ([2**62], "M8[Y]", "M8[D]", None),
        ([2**58], "M8[Y]", "M8[M]", [12 * 2**58]),
        ([7, 24], "m8[M]", "m8[Y]", None),
        ([24], "m8[M]", "m8[Y]", [2]),
        ([5], "m8", "m8[s]", [5]),
    ],
)
def test_times_of_any_unit(
    ticks: list[int], source: str, target: str, expected: list[int] | None
) -> None:
    nat = -(2**63)
    for values, wanted in (
        (ticks, expected),
        ([nat, *ticks], expected and [nat, *expected]),
    ):
        array = np.array(values, f"{source[0] if source[0] in '<>' else '='}i8").view(source)
        found = cast_or_none(array, target)
        if wanted is None:
            assert found is None
        else:
            assert found is not None
            assert found.dtype == np.dtype(target)
            assert found.astype("i8").tolist() == wanted


@pytest.mark.parametrize("source", ["i8", "u8", ">i4", "?"])
def test_integers_into_durations(source: str) -> None:
    found = cast_or_none(np.array([0, 1], source), "m8[s]")
    assert found is not None
    assert found.tolist() == np.array([0, 1], "m8[s]").tolist()


@pytest.mark.parametrize(("source", "value"), [("u8", 2**63), ("u8", 2**64 - 5), ("i8", -(2**63))])
def test_integers_that_are_no_durations(source: str, value: int) -> None:
    assert cast_or_none(np.array([1, value], source), "m8[s]") is None


# lists --------------------------------------------------------------------------------------------

BIG = 17_293_822_569_102_704_643  # more than 2**63, and no float64
LISTS: dict[str, tuple[Any, str, list[Any]]] = {
    "beside a small one": ([BIG, 42], "u8", [BIG, 42]),
    "alone": ([BIG], "u8", [BIG]),
    "a tuple": ((BIG, 42), "u8", [BIG, 42]),
    "a range": (range(2**63 - 1, 2**63 + 1), "u8", [2**63 - 1, 2**63]),
    "a deque": (deque([BIG, 1]), "u8", [BIG, 1]),
    "nested": ([[BIG, 1], (2, 3)], "u8", [[BIG, 1], [2, 3]]),
    "numpy's numbers": ([np.uint64(BIG), 1, np.int8(2), np.True_], "u8", [BIG, 1, 2, 1]),
    "arrays": ([np.array([BIG], "u8"), np.array([1])], "u8", [[BIG], [1]]),
    "0-d": ([np.array(BIG, "u8"), 1], "u8", [BIG, 1]),
    "with bools": ([True, BIG, 1], "u8", [1, BIG, 1]),
    "the largest": ([2**64 - 1, 0], "u8", [2**64 - 1, 0]),
    "small ones": ([1, -1], "i8", [1, -1]),
    "beside floats": ([2**53, 2**60, 0.5], "f8", [2.0**53, 2.0**60, 0.5]),
    "beside large floats": ([1e300, 2, float("inf")], "f8", [1e300, 2.0, float("inf")]),
    "floats of 16 bits": ([np.float16(60000), True], "f2", [60000.0, 1.0]),
    "text": (["a", np.str_("bc")], "U2", ["a", "bc"]),
}


@pytest.mark.parametrize(("value", "dtype", "expected"), LISTS.values(), ids=LISTS)
def test_a_list_is_what_is_in_it(value: Any, dtype: str, expected: list[Any]) -> None:
    found = as_array("a", value)
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == expected


UNFIT = {
    "a negative one": [-1, 2**63],
    "numpy's": [np.int64(-1), np.uint64(2**63)],
    "arrays": [np.array([BIG], "u8"), np.array([-1])],
    "too large": [2**64, 1],
    "too large, alone": [2**64],
    "too large, beside a float": [2**64, 0.5],
    "too small": [-(2**63) - 1, 1],
    "beside a float": [2**53 + 1, 0.5],
    "beside NaN": [float("nan"), 2**53 + 1],
    "numpy's, beside a float": [np.int64(2**53 + 1), np.float32(1)],
    "beside a complex": [1j, 2**53 + 1],
    "nested": [[[BIG], [1]], [[2], [0.5]]],
    "beside text": [1, "a"],
    "bytes beside text": [b"a", "b"],
    "dates of two units": [np.datetime64("10000-01-01", "D"), np.datetime64(1, "ns")],
    "arrays of two units": [np.array([1], "m8[213504D]"), np.array([1], "m8[ns]")],
    "masked arrays": [np.ma.MaskedArray([1], [True])],
}


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_a_list_that_numpy_would_change(value: Any) -> None:
    with pytest.raises(BadInputError, match=r"^array 'a' cannot become an array: "):
        as_array("a", value)


@pytest.mark.parametrize("n_times", [1, 2])
def test_a_list_in_itself(n_times: int) -> None:
    value: list[Any] = []
    value.extend([value] * n_times)
    with pytest.raises(BadInputError, match="a list in itself"):
        as_array("a", value)


def fit_together(values: list[Any]) -> bool:
    """Tell whether a dtype of numpy holds all of these numbers."""
    integers = [value for value in values if not isinstance(value, float)]
    if len(integers) < len(values):
        limits = -(2**63), 2**64
        return all(is_exact(i, np.dtype("f8")) and limits[0] <= i < limits[1] for i in integers)
    return any(all(fits_integer(i, np.dtype(dtype)) for i in integers) for dtype in ("i8", "u8"))


@given(st.lists(EDGES | st.integers(-(2**65), 2**65) | st.floats() | st.booleans(), min_size=1))
@example([2**63, -1])
@example([2**63 - 1, 2**63 - 1, 0.0])
def test_lists_of_numbers(values: list[Any]) -> None:
    if fit_together(values):
        found = as_array("a", values).tolist()
        assert all(a == b or np.isnan([a, b]).all() for a, b in zip(found, values, strict=True))
    else:
        with pytest.raises(BadInputError):
            as_array("a", values)


def test_floats_that_hold_integers_without_a_dtype() -> None:
    assert fit("a", [-1, 2**63], np.dtype("f8"), ()).tolist() == [-1.0, 2.0**63]
    assert cast_or_none([-1, 2**63 + 1], "f8") is None
    assert fit("a", [BIG, 1], np.dtype("u8"), ()).tolist() == [BIG, 1]
    assert cast_or_none([BIG, 1], "i8") is None


@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS, "?", "c8", "c16", "S2", "U2", "M8[s]"])
@pytest.mark.parametrize("target", [*INTEGERS, *FLOATS, "?", "c8", "c16", "S3", "U3", "M8[s]"])
def test_an_empty_array_is_cast_as_a_full_one(source: str, target: str) -> None:
    """Whether kinds go together does not depend on there being values."""
    full = np.ones(1, source) if source[0] not in "SUM" else np.zeros(1, source)
    assert (cast_or_none(full[:0], target) is None) == (cast_or_none(full, target) is None)


@pytest.mark.parametrize("layout", strategies.MEMORY_LAYOUTS)
@pytest.mark.parametrize("dtype", strategies.DTYPES, ids=repr)
def test_what_fits_is_not_copied(dtype: Any, layout: Callable[[Array], Array]) -> None:
    array = layout(strategies.filled(dtype, (4, 2), 1))
    found = fit("a", array, array.dtype, array.shape[1:])
    assert np.shares_memory(found, array) == array.flags.c_contiguous
    assert found.flags.c_contiguous
    assert np.array_equal(found, array)
