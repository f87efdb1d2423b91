"""Series of numbers made as pandas' constructor makes them, without all that it looks at before.

Of 15 to 30 microseconds that the constructor takes, it spends most on finding out what it was given. For an array of
numbers and an index of as many labels that is known. What it calls then is not public, so each
version of pandas is asked once whether the result is the same; if not, the constructor is called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ptrarray.frames.library import import_pandas
from ptrarray.rows.types import Array

Maker = Callable[[Array, Any, Any], Any]


@cache
def series_maker() -> Maker:
    """Return what makes a Series on an array of numbers along one axis, its index and its name.

    Examples
    --------
    >>> import pandas as pd
    >>> series_maker()(np.array([1.5]), pd.Index([7]), "x")
    7    1.5
    Name: x, dtype: float64
    """
    try:
        quick = _quick(import_pandas())
        if _makes_the_same(quick):
            return quick
    except Exception:  # noqa: BLE001 - what is not public may have become anything
        return _public
    return _public


def _makes_the_same(quick: Maker) -> bool:
    """Tell whether Series are those of the constructor: in content, and in how they are made up."""
    pandas = import_pandas()
    dates = pandas.DatetimeIndex(np.array([3, 1], "M8[s]"), name="when")
    for values, index, name in (
        (np.array([1.5, 2.5]), dates, "x"),
        (np.array([1, 2], ">i4"), pandas.RangeIndex(2), None),
        (np.array([True]), pandas.MultiIndex.from_tuples([(1, "a")]), ("a", 1)),
        (np.array([], "c8"), pandas.Index([], dtype=object), 7),
    ):
        values.flags.writeable = False
        found, expected = quick(values, index, name), _public(values, index, name)
        pandas.testing.assert_series_equal(found, expected, check_freq=True)
        if _makeup(found) != _makeup(expected):
            return False
    return True


def _makeup(series: Any) -> list[Any]:
    """Return what a Series is made up of, as far as it can be compared."""
    block = series._mgr.blocks[0]
    parts = {key: type(part) for key, part in vars(series).items()}
    manager = [id(axis) for axis in series._mgr.axes], type(block), list(block.mgr_locs)
    references = len(block.refs.referenced_blocks), id(block.values)
    return [parts, series.name, id(series.index), *manager, block.ndim, *references]


def _public(values: Array, index: Any, name: Any) -> Any:
    return import_pandas().Series(values, index, name=name, copy=False)


def _quick(pandas: Any) -> Maker:
    manager_of = pandas.core.internals.managers.SingleBlockManager.from_array
    series_of = pandas.Series._from_mgr
    put = object.__setattr__  # that of pandas looks for columns of that name first

    def quick(values: Array, index: Any, name: Any) -> Any:
        manager = manager_of(values, index)
        series = series_of(manager, manager.axes)
        put(series, "_name", name)
        return series

    return quick
