#!/usr/bin/env bash
# duckdb 2.0.1 and pyarrow 26.0.1: DuckDB fails at what lies under a null in a column of durations in seconds or
# milliseconds, if that is too large for microseconds.
#
# What is under a null may be anything. numpy has the smallest integer there, NaT. Timestamps, and durations in
# microseconds and nanoseconds, are read. Output:
#
#   s   ConversionException: Conversion Error: Could not convert Interval to Microsecond
#   ms  ConversionException: Conversion Error: Could not convert Interval to Microsecond
#   us  [(datetime.timedelta(microseconds=5),), (None,)]
#   s, with zero under the null: [(datetime.timedelta(seconds=5),), (None,)]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import numpy as np
import pyarrow as pa


def read(unit, under):
    buffers = [pa.py_buffer(b"\1"), pa.py_buffer(np.array([5, under], "i8"))]
    column = pa.Array.from_buffers(pa.duration(unit), 2, buffers)
    column.validate(full=True)
    assert column[1].as_py() is None
    table = pa.table({"a": column})
    try:
        return duckdb.from_arrow(table).fetchall()
    except duckdb.ConversionException as error:
        return f"{type(error).__name__}: {error}"


least = np.iinfo("i8").min
found = {unit: read(unit, least) for unit in ("s", "ms", "us")}
for unit, result in found.items():
    print(f"{unit:3} {result}")
zero = read("s", 0)
print("s, with zero under the null:", zero)
is_so = all(isinstance(found[unit], str) for unit in ("s", "ms"))
sys.exit(0 if is_so and [len(found["us"]), len(zero)] == [2, 2] else 1)
PYTHON
