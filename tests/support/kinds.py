"""Every kind of index and of values that pandas has, four of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

HAS_ARROW = find_spec("pyarrow") is not None
PARIS = pd.date_range("2020-03-29", periods=4, freq="h", tz="Europe/Paris", name="clock")
MOMENTS = pd.DatetimeIndex(["2020-02-29", None, "1969-12-31 23:59:59.5", "2020-02-29"])


try:
    STR: Any = pd.StringDtype(na_value=np.nan)  # what text is by default since pandas 3
except TypeError:  # before pandas 2.3
    STR = "string"


def indexes() -> dict[str, pd.Index]:
    """Return an index of each kind."""
    steps = pd.Index([pd.Timestamp("2020"), pd.Timestamp("2021"), pd.Timestamp("2023")])
    kinds = {
        "default": pd.RangeIndex(4),
        "range": pd.RangeIndex(9, 1, -2, name="r"),
        "integers": pd.Index([3, 1, -2, 1], name="i"),
        "bytes": pd.Index(np.array([3, 1, 255, 1], "u1"), name=7),
        "floats": pd.Index([0.5, np.nan, -0.0, np.inf], name="f"),
        "complex": pd.Index([1j, 2.5, 0, 1j]),
        "booleans": pd.Index([True, False, True, True]),
        "text": pd.Index(["b", "", "größe", "b"], name="t"),
        "text as objects": pd.Index(["b", None, "größe", "\udc80"], dtype=object),
        "text without": pd.Index(["b", np.nan, "größe", "b"], dtype=object),
        "objects": pd.Index([1, "a", None, 2.5], dtype=object, name=("a", 1)),
        "days as objects": pd.Index([date(2020, 1, day) for day in (3, 1, 2, 1)], dtype=object),
        "tuples": pd.Index([("a", 1), ("b",), (), ("a", 1)], tupleize_cols=False),
        "strings": pd.Index(["b", pd.NA, "größe", "b"], dtype="string", name="s"),
        "dates": MOMENTS.rename("d"),
        "business days": pd.date_range("2020-01-01", periods=4, freq="B", unit="s"),
        "zoned": PARIS,
        "shifted": MOMENTS.tz_localize(timezone(timedelta(hours=-2))),
        "durations": pd.TimedeltaIndex(["1h", None, "-2s", "1ns"], name="w"),
        "regular durations": pd.timedelta_range("1h", periods=4, freq="7min"),
        "months": pd.period_range("2020-01", periods=4, freq="M", name="m"),
        "quarters": pd.PeriodIndex(["2020Q1", "NaT", "2019Q4", "2020Q1"], freq="2Q-NOV"),
        "intervals": pd.interval_range(0, 4, name="v", closed="left"),
        "intervals of dates": pd.IntervalIndex.from_breaks(PARIS.append(PARIS[-1:] + PARIS.freq)),
        "categories": pd.CategoricalIndex(["b", None, "a", "b"], ["c", "b", "a"], name="k"),
        "ordered dates": pd.CategoricalIndex(pd.Categorical.from_codes([2, 0, -1, 1], steps, True)),
        "levels": pd.MultiIndex.from_arrays(
            [["b", "a", "b", "b"], PARIS, pd.PeriodIndex(["2020", "2021", None, "2020"], freq="Y")],
            names=["l", None, 3],
        ),
        "nullable": pd.Index([1, None, 3, 1], dtype="Int8", name="n"),
        "nullable booleans": pd.Index([True, None, False, True], dtype="boolean"),
        "sparse": pd.Index(pd.arrays.SparseArray([0, 0, 2, 0])),
    }
    if HAS_ARROW:
        kinds["arrow"] = pd.Index(["b", None, "größe", "b"], dtype="string[pyarrow]", name="a")
        kinds["arrow's text"] = pd.Index(["b", None, "größe", "b"], dtype=arrow("string"))
        kinds["arrow's dates"] = pd.Index(MOMENTS, dtype=arrow("timestamp", "us", "UTC"))
    return kinds


def arrow(name: str, *arguments: Any) -> Any:
    """Return a dtype of Arrow."""
    import pyarrow

    return pd.ArrowDtype(getattr(pyarrow, name)(*arguments))


@cache
def values() -> dict[str, Any]:
    """Return values of each kind, as a Series takes them; nobody changes them."""
    mixed = [datetime(2020, 1, 1, 5, tzinfo=UTC), time(1, 2, 3, 4), b"x", (1, ("a", None))]
    kinds = {
        "floats": np.array([0.5, np.nan, -0.0, np.inf]),
        "small": np.array([3, 1, -2, 1], "i2"),
        "booleans": np.array([True, False, True, True]),
        "complex": np.array([1j, 2.5, 0, np.nan]),
        "of other machines": np.array([1.5, 2, 3, 4], ">f4"),
        "dates": MOMENTS.as_unit("us").array,
        "zoned": PARIS.array,
        "durations": pd.TimedeltaIndex(["1h", None, "-2s", "1s"]).as_unit("ms").array,
        "periods": pd.PeriodIndex(["2020-01", "NaT", "2019-04", "2020-01"], freq="M").array,
        "intervals": pd.arrays.IntervalArray.from_tuples([(0.5, 1), None, (0, 1), (0.5, 1)]),
        "text": pd.array(["b", None, "größe", ""], dtype=STR),
        "text as objects": np.array(["b", "", "größe", "b"], object),
        "text without": np.array(["b", np.nan, "größe", "b"], object),
        "text not available": np.array(["b", pd.NA, "größe", "b"], object),
        "objects": np.array([1, "a", None, 2.5], object),
        "more objects": np.fromiter(mixed, object, 4),
        "strings": pd.array(["b", None, "größe", "\udc80"], dtype="string[python]"),
        "categories": pd.Categorical(["b", None, "a", "b"], ["c", "b", "a"], ordered=True),
        "cut": pd.cut([0.5, 9, 2.5, np.nan], [0, 1, 2, 3]),
        "nullable": pd.array([1, None, 3, 1], dtype="UInt16"),
        "nullable floats": pd.array([1.5, None, np.inf, 1], dtype="Float32"),
        "nullable booleans": pd.array([True, None, False, True], dtype="boolean"),
        "sparse": pd.arrays.SparseArray([0, 0, 2, 0]),
        "sparse blocks": pd.arrays.SparseArray([np.nan, 1.5, 2, np.nan], kind="block"),
        "sparse booleans": pd.arrays.SparseArray([True, True, False, True], fill_value=True),
    }
    return kinds | (_of_arrow() if HAS_ARROW else {})


def _of_arrow() -> dict[str, Any]:
    mask = np.array([False, True, False, False])
    made = {
        "int8": [3, 1, -2, 1], "uint64": [3, 1, 2**64 - 1, 1], "float16": [0.5, 1, 2, 3],
        "float64": [0.5, 1, 2, 3], "bool_": [True, False, True, True],
        "date32": [date(2020, 1, 1)] * 4, "date64": [date(2020, 1, 1)] * 4,
        "string": ["b", "", "größe", "b"], "large_string": ["b", "", "größe", "b"],
        "binary": [b"b", b"", b"\xff", b"b"], "large_binary": [b"b", b"", b"\xff", b"b"],
    }  # fmt: skip
    import pyarrow as pa

    kinds = {name: pa.array(items, getattr(pa, name)(), mask=mask) for name, items in made.items()}
    moments = np.array(["2020-01-01", "2021", "1969-12-31T23:59:59", "2020"], "M8[s]")
    kinds["timestamp"] = pa.array(moments, pa.timestamp("ms"), mask=mask)
    kinds["zoned timestamp"] = pa.array(moments, pa.timestamp("s", "Europe/Paris"))
    kinds["duration"] = pa.array(moments - moments[0], pa.duration("us"), mask=mask)
    kinds["time32"] = pa.array([time(1, 2, 3)] * 4, pa.time32("s"), mask=mask)
    kinds["time64"] = pa.array([time(1, 2, 3, 4)] * 4, pa.time64("ns"), mask=mask)
    kinds["decimal128"] = pa.array(
        [Decimal("1.50"), None, Decimal("-2.25"), None], pa.decimal128(9, 2)
    )
    kinds["fixed"] = pa.array([b"ab", b"cd", None, b"ef"], pa.binary(2))
    # With an offset, and in chunks.
    kinds["sliced"] = pa.array(["x", "bä", "", None, "größe", "y"], pa.string())[1:5]
    kinds["sliced bits"] = pa.array([True, None, False, None, True, False, True], pa.bool_())[2:6]
    kinds["chunks"] = pa.chunked_array([["b", None], [], ["größe", "b"]], pa.string())
    return {f"arrow's {k}": pd.arrays.ArrowExtensionArray(v) for k, v in kinds.items()}


def series(index: pd.Index, which: slice = slice(None)) -> dict[str, pd.Series]:
    """Return a Series of each kind of values, or of some of them, all with one index."""
    return {
        kind: pd.Series(found, index=index, name=kind, dtype=getattr(found, "dtype", None))
        for kind, found in list(values().items())[which]
    }


def assert_same(found: pd.Series, expected: pd.Series) -> None:
    """Compare values, labels, and all that is known of both."""
    assert_same_index(found.index, expected.index)
    assert_same_values(found, expected)


def assert_same_index(found: pd.Index, expected: pd.Index) -> None:
    """Compare labels, names and frequencies."""
    pd.testing.assert_index_equal(found, expected, exact=True)
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.names == expected.names
    assert getattr(found, "freq", None) == getattr(expected, "freq", None)
    assert repr(found) == repr(expected)


def assert_same_values(found: pd.Series, expected: pd.Series) -> None:
    """Compare values and names, but not labels."""
    pd.testing.assert_series_equal(found, expected, check_index=False, check_exact=True)
    assert found.dtype == expected.dtype
    assert type(found.array) is type(expected.array)
    if found.dtype == object:
        assert [*map(repr, found)] == [*map(repr, expected)]
        assert [*map(type, found)] == [*map(type, expected)]
    if isinstance(found.dtype, pd.SparseDtype):
        assert found.array.kind == expected.array.kind
        assert repr(found.array.fill_value) == repr(expected.array.fill_value)


def assert_all_same(found: Mapping[str, pd.Series], expected: Mapping[str, pd.Series]) -> None:
    """Compare Series that share their index, as long as those that were found share theirs."""
    assert list(found) == list(expected)
    compared: set[int] = set()
    for kind, value in expected.items():
        if id(found[kind].index) not in compared:
            assert_same_index(found[kind].index, value.index)
        compared.add(id(found[kind].index))
        assert_same_values(found[kind], value)
