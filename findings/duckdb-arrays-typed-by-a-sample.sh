#!/usr/bin/env bash
# duckdb 2.0.1 (pandas 3.1.1, numpy 2.4.6): of a column of arrays in a DataFrame, floats are rounded to integers, and
# float64 becomes float32, if the rows that DuckDB looks at have such; there is no error.
#
# The type of such a column is that of a sample of 1000 rows (`pandas_analyze_sample`). A row that is not in it is cast:
# 2.7 among arrays of int64 is 3, 1e300 among float32 is infinite. Only integers that do not fit raise. Sampling all
# rows, `SET pandas_analyze_sample = 1000000`, gives the type that fits them all, as few rows do. Output:
#
#   2.7 among integers   BIGINT[] [3]
#   of 500 rows          DOUBLE[] [2.7]
#   1e300 among float32  FLOAT[] [inf]
#   300 among int8       InvalidInputException
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet duckdb==2.0.1 pandas==3.1.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import numpy as np
import pandas as pd


def read(usual, other, rows=5000):
    column = [usual] * rows
    column[1] = other
    frame = pd.DataFrame({"x": pd.Series(column)})
    connection = duckdb.connect()
    try:
        result = connection.sql("SELECT x FROM frame")
        return f"{result.types[0]} {result.fetchall()[1][0]}"
    except duckdb.Error as error:
        return type(error).__name__


cases = {
    "2.7 among integers": (np.array([1]), np.array([2.7]), 5000),
    "of 500 rows": (np.array([1]), np.array([2.7]), 500),
    "1e300 among float32": (np.array([1], "f4"), np.array([1e300]), 5000),
    "300 among int8": (np.array([1], "i1"), np.array([300]), 5000),
}
found = {what: read(*case) for what, case in cases.items()}
for what, value in found.items():
    print(f"{what:20}", value)
seen = ["BIGINT[] [3]", "DOUBLE[] [2.7]", "FLOAT[] [inf]", "InvalidInputException"]
sys.exit(0 if list(found.values()) == seen else 1)
PYTHON
