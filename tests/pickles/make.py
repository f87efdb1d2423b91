"""Write what this pandas pickles; run once with each pandas that matters, and never again.

python make.py OUT.pkl
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MONTH_END = "M" if pd.__version__ < "2.2" else "ME"


def objects() -> dict[str, Any]:
    """Return Series and DataFrames that differ in what a pickle of them names."""
    values = [1.5, -2.5]
    berlin = pd.date_range("2020-03-28 12:00", periods=2, tz="Europe/Berlin")
    return {
        "plain": pd.Series(values, name="speed"),
        "named by a tuple": pd.Series(values, name=("a", 1)),
        "int index": pd.Series(values, index=[5, 3]),
        "float index": pd.Series(values, index=[0.5, 1.5]),
        "text index": pd.Series(values, index=["ä", "b"]),
        "text and none": pd.Series(values, index=["a", None]),
        "string index": pd.Series(values, index=pd.Index(["a", "b"], dtype="string")),
        "zone": pd.Series(values, index=berlin),
        "utc": pd.Series(values, index=pd.DatetimeIndex(["2020", "2022"], tz="UTC")),
        "offset": pd.Series(values, index=pd.DatetimeIndex(["2020", "2022"]).tz_localize(3600)),
        "months": pd.Series(values, index=pd.date_range("2020", periods=2, freq=MONTH_END)),
        "two levels": pd.Series(values, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])),
        "durations": pd.Series(pd.to_timedelta(["1s", "2h"])),
        "dates": pd.Series(pd.to_datetime(["2020", "2021"]).tz_localize("Asia/Tokyo")),
        "nullable": pd.Series([1, None], dtype="Int64"),
        "frame": pd.DataFrame({"a": np.array([1, 2], "i2"), "b": np.array([3, 4], "i2")}),
        "mixed frame": pd.DataFrame({"a": [1, 2], "b": values, "c": berlin}, index=["x", "y"]),
        # What follows is in pickles of pandas 3.1 and later only.
        "regular durations": pd.Series(values, index=pd.timedelta_range("1h", periods=2)),
        "months by name": dated(pd.DateOffset(months=1)),
        "calendar": dated(pd.offsets.CustomBusinessDay(holidays=["2020-01-02"])),
        "hours": dated(pd.offsets.BusinessHour(start="10:00", end="15:00")),
        "no label twice": pd.Series(values).set_flags(allows_duplicate_labels=False),
        "axes in another order": pd.DataFrame(np.arange(12.0).reshape(3, 4).T[1:3], copy=False),
    }


def dated(freq: Any) -> pd.Series:
    """Return a Series of dates with a frequency."""
    return pd.Series([1.5, -2.5], index=pd.date_range("2020-01-01 10:00", periods=2, freq=freq))


if __name__ == "__main__":
    # Of each protocol that differs in more than its opcodes, one after another.
    with Path(sys.argv[1]).open("wb") as file:
        for protocol in (0, 2, 4, 5):
            pickle.dump(objects(), file, protocol)
