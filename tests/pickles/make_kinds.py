"""Write what this pandas pickles of its own kinds of values; run once with each that matters.

python make_kinds.py OUT.pkl
"""

from __future__ import annotations

import pickle
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

YEAR = "A-NOV" if pd.__version__ < "2.2" else "Y-NOV"
HOUR = "2H" if pd.__version__ < "2.2" else "2h"


def indexes() -> dict[str, pd.Index]:
    """Return indexes that differ in what a pickle of them names."""
    dates = pd.DatetimeIndex(["2020-01-01", "2020-01-03", "2020-02-01"])
    return {
        "categories": pd.CategoricalIndex(["b", "a"], name="c"),
        "ordered": pd.CategoricalIndex(pd.Categorical([2, 1], [3, 2, 1], ordered=True)),
        "cut": pd.CategoricalIndex(pd.cut([0.5, 1.5], [0, 1, 2])),
        "months": pd.period_range("2020-01", periods=2, freq="M", name="p"),
        "years": pd.PeriodIndex(["2020", "NaT"], freq=YEAR),
        "hours": pd.period_range("2020-01-01 05:00", periods=2, freq=HOUR),
        "intervals": pd.interval_range(0, 2, name="i", closed="both"),
        "dates": pd.IntervalIndex.from_breaks(dates),
        "zoned": pd.IntervalIndex.from_breaks(dates.tz_localize("Europe/Paris"), closed="left"),
        "levels": pd.MultiIndex.from_arrays(
            [["a", "b"], pd.period_range("2020", periods=2, freq="D")]
        ),
    }


def values() -> dict[str, Any]:
    """Return values that differ in what a pickle of them names."""
    moment = datetime(2020, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=1)))
    mixed = [date(2020, 1, 1), moment, time(1, 2, 3, 4), Decimal("1.50"), {"a": [1, (2, None)]},
             {1}, frozenset(["x"]), b"x", 1j, np.float32(1.5), pd.NA, timedelta(1)]  # fmt: skip
    kinds = {
        "text": np.array(["b", "", None], object),
        "missing": np.array(["b", np.nan, None], object),
        "objects": np.fromiter(mixed, object, len(mixed)),
        "array": np.fromiter([np.arange(2), np.zeros(0)], object, 2),
        "strings": pd.array(["b", None], dtype="string"),
        "nullable": pd.array([1, None], dtype="Int64"),
        "booleans": pd.array([True, None], dtype="boolean"),
        "sparse": pd.arrays.SparseArray([0, 0, 2]),
        "blocks": pd.arrays.SparseArray([np.nan, 1.5, 2.5], kind="block"),
        "nothing": pd.arrays.SparseArray([True, True], fill_value=True),
    }
    return kinds | (_of_arrow() if find_spec("pyarrow") else {})


def _of_arrow() -> dict[str, Any]:
    import pyarrow as pa

    column = getattr(pd.arrays, "ArrowExtensionArray", None)
    column = column or pd.core.arrays.ArrowExtensionArray
    moments = np.array(["2020", "2021"], "M8[s]")
    chunks = pa.chunked_array([["b", None], [], ["ö"]], pa.string())
    return {
        "arrow's strings": pd.array(["b", None, "ö"], dtype="string[pyarrow]"),
        "arrow's chunks": column(chunks),
        "arrow's numbers": column(pa.chunked_array([[1, None], [3]], pa.int16())),
        "arrow's dates": column(pa.chunked_array([pa.array(moments, pa.timestamp("us", "UTC"))])),
        "arrow's bits": column(pa.chunked_array([[True, None, False]])),
        "arrow's decimals": column(pa.chunked_array([[Decimal("1.5"), None]])),
    }


def objects() -> dict[str, Any]:
    """Return all of them in a Series each."""
    made = {f"index: {key}": pd.Series([1.5, -2.5], index) for key, index in indexes().items()}
    return made | {
        f"values: {key}": pd.Series(found, dtype=getattr(found, "dtype", None))
        for key, found in values().items()
    }


if __name__ == "__main__":
    with Path(sys.argv[1]).open("wb") as file:
        for protocol in (2, 5):
            pickle.dump(objects(), file, protocol)
