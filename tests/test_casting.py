"""Values are cast only if they fit, and not copied where nothing is to be cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ptrarray import BadInputError
from ptrarray.intake.casting import fit
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


def cast_or_none(values: Array, dtype: Any) -> Array | None:
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


UNITS = {"D": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


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
