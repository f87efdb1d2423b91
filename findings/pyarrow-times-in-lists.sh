#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6): durations and dates in a list of arrays take on the unit of the column, without being
# converted to it: 1500 ms become 1500 s, without an error.
#
# For a column of lists `pa.array` takes over the integers of each array. With a type given, their unit is not looked
# at; without one, that of the first array of durations goes for all. An array that is a column itself
# is converted, or refused if that loses something, and arrays of dates in several units are refused. Output:
#
#   1500 ms as list of s     duration[s] ['0:25:00']
#   date in ms as list of s  timestamp[s] ['1970-01-01 00:25:00']
#   [1 s], [1 ms]            duration[s] ['0:00:01', '0:00:01']
#   1500 ms as s             Casting from duration[ms] to duration[s] would lose data: 1500
#   dates in ms and in s     Cannot mix NumPy datetime64 units ms and s
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

duration, dates = np.array([1500], "m8[ms]"), np.array([1500], "M8[ms]")
second = np.array([1], "m8[s]")
found = {
    "1500 ms as list of s": pa.array([duration], pa.list_(pa.duration("s"))),
    "date in ms as list of s": pa.array([dates], pa.list_(pa.timestamp("s"))),
    "[1 s], [1 ms]": pa.array([second, np.array([1], "m8[ms]")]),
}
for what, column in found.items():
    print(f"{what:24}", column.type.value_type, [str(row[0]) for row in column.to_pylist()])


def error(*arguments):
    try:
        return pa.array(*arguments)
    except pa.ArrowInvalid as exception:
        return exception


outside = error(duration, pa.duration("s"))
mixed_dates = error([dates, np.array([1], "M8[s]")])
print(f"{'1500 ms as s':24}", outside)
print(f"{'dates in ms and in s':24}", mixed_dates)
are_wrong = [column.to_pylist() for column in found.values()] == [
    [[timedelta(seconds=1500)]],
    [[datetime(1970, 1, 1, 0, 25)]],
    [[timedelta(seconds=1)]] * 2,
]
are_refused = all(isinstance(each, pa.ArrowInvalid) for each in (outside, mixed_dates))
sys.exit(0 if are_wrong and are_refused else 1)
PYTHON
