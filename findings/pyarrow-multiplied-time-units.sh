#!/usr/bin/env bash
# pyarrow 26.0.1 and polars 2.1.0 (numpy 2.4.6): durations and dates in units as ten seconds or seven days are read as
# if the unit were one second or one day, without an error.
#
# Of a dtype as `timedelta64[10s]` both take the unit, and leave out the number before it. Units that they have not got,
# as hours, are refused. A cast to the unit without a number, before, is right. Output:
#
#   pyarrow  m8[10s]   0:00:03              numpy 30 seconds
#   pyarrow  M8[10s]   1970-01-01 00:00:03  numpy 1970-01-01T00:00:30
#   pyarrow  M8[7D]    1970-01-04           numpy 1970-01-22
#   polars   M8[7D]    1970-01-04           numpy 1970-01-22
#   pyarrow  m8[10ms]  0:00:00.003000       numpy 30 milliseconds
#   polars   m8[10ms]  0:00:00.003000       numpy 30 milliseconds
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 polars==2.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import polars as pl
import pyarrow as pa

cases = ["m8[10s]", "M8[10s]", "M8[7D]", "m8[10ms]"]
units = {"m8[10s]": "m8[s]", "M8[10s]": "M8[s]", "M8[7D]": "M8[D]", "m8[10ms]": "m8[ms]"}
found = {}
for case in cases:
    times = np.array([3], case)
    columns = {"pyarrow": pa.array(times).to_pylist()}
    if case.endswith(("D]", "ms]")):
        columns["polars"] = pl.Series(times).to_list()
    for library, (value,) in columns.items():
        found[case, library] = np.array([value], units[case]).astype(int).tolist()
        print(f"{library:8} {case:9} {value!s:20} numpy {times.astype(units[case])[0]}")
sys.exit(0 if len(found) == 6 and all(each == [3] for each in found.values()) else 1)
PYTHON
