"""Rows with ranges to be reduced, and what numpy makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from ptrarray.reductions import Living, blocks

NUMBERS = ["?", "u1", "<i2", ">i4", "i8", "u8", "f2", "<f4", ">f4", "f8", "g", "c8", ">c16"]
ROW_SHAPES = [(), (1,), (3,), (2, 2), (0,), (70,)]
COMBINABLE = sorted(blocks.COMBINABLE, key=lambda ufunc: ufunc.__name__)
Operation = Callable[[], Any]
FEWER = settings(max_examples=15)  # of each ufunc


class Stored(Living):
    """Rows in memory, and ranges of them sorted by start."""

    rows: np.ndarray

    @property
    def arrays(self) -> list[np.ndarray]:
        return [self.rows[s:e] for s, e in zip(self.starts, self.ends, strict=True)]

    @property
    def living(self) -> np.ndarray:
        """The rows of all arrays laid end to end, each once."""
        ranges = zip(self.starts, self.ends, strict=True)
        return self.rows[sorted({row for s, e in ranges for row in range(s, e)})]


@st.composite
def stored(
    draw: st.DrawFn, dtypes: list[str] | None = None, longest: int = 40, shortest: int = 0
) -> Stored:
    """Draw arrays with holes between, shared rows, empty arrays and long ones."""
    dtype = np.dtype(draw(st.sampled_from(dtypes or NUMBERS)))
    row_shape = draw(st.sampled_from(ROW_SHAPES))
    n_rows = draw(st.sampled_from([shortest, 60, 300]))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-9 if dtype.kind in "ifcm" else 0, 10, (n_rows, *row_shape))
    rows = (numbers * (1 + 2j) if dtype.kind == "c" else numbers).astype(dtype)
    if draw(st.booleans()):  # end to end
        lengths = draw(st.lists(st.integers(shortest, longest), max_size=14))
        edges = np.minimum(np.cumsum([0, *lengths]), n_rows - shortest)
        return Stored(rows, edges[:-1], np.maximum(edges[1:], edges[:-1] + shortest))
    starts = draw(st.lists(st.integers(0, n_rows - shortest), max_size=14).map(sorted))
    ends = [min(n_rows, s + draw(st.integers(shortest, longest))) for s in starts]
    return Stored(rows, np.array(starts, np.int64), np.array(ends, np.int64))


def outcome(operation: Operation) -> Any:
    """Return the result, or the kind of error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return operation()
        except TypeError as error:
            return ValueError if isinstance(error, ValueError) else TypeError
        except ValueError:
            return ValueError


def assert_same(found: Any, expected: Any) -> None:
    """Compare type, dtype, shape and values; floats up to what their type resolves."""
    assert type(found) is type(expected)
    if isinstance(expected, type):
        assert found is expected
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype.kind in "fc":
        # No type hardly rounds the sums of the longest one.
        n_eps = 5000 if found.dtype.char in "gG" else 20
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        tolerance = n_eps * float(np.finfo(found.dtype).eps) * float(largest)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


def tamed(store: Stored, ufunc: np.ufunc) -> Stored:
    """Keep products within the range of every dtype, as numpy's own depend on the order else."""
    rows = store.rows
    if ufunc is np.multiply and rows.dtype.kind in "fc":
        rows = np.sign(rows).astype(rows.dtype)
    if ufunc is np.lcm and rows.dtype.kind in "iu":
        rows = np.abs(rows) % 5
    return store._replace(rows=rows)


def precisely(operation: Callable[..., Any], rows: np.ndarray, axis: int | None) -> Any:
    """Return numpy's result in its dtype, but computed in a type that hardly rounds."""
    result = outcome(lambda: operation(rows, axis=axis))
    if isinstance(result, type) or result.dtype.kind not in "fc" or rows.dtype.kind == "m":
        return result
    wide = rows.astype("G" if rows.dtype.kind == "c" else "g")
    return outcome(lambda: np.asarray(operation(wide, axis=axis)).astype(result.dtype)[()])
