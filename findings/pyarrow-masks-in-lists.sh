#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6): of a list of masked arrays the masks are lost, without an error, and what they hide are
# values like the others. polars 2.1.0 and duckdb 2.0.1 read the same list with nulls.
#
# A masked array that is a column itself is read with its mask. So a column of rows of different lengths, one masked
# array each, is silently another than the same numbers in one. `[row.tolist() for row in rows]` has None for what is
# masked, and is right. Output:
#
#   pa.array, one  [1, None]
#   pa.array, rows [[1, 999], [1]]
#   pa.table       [[1, 999], [1]]
#   of pandas      [[1, 999], [1]]
#   polars         [[1, None], [1]]
#   duckdb         [[1, None], [1]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 pandas==3.1.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

row = np.ma.array([1, 999], mask=[False, True])
rows = [row, row[:1]]
frame = pd.DataFrame({"x": rows})
found = {
    "pa.array, one": pa.array(row).to_pylist(),
    "pa.array, rows": pa.array(rows).to_pylist(),
    "pa.table": pa.table({"x": rows})["x"].to_pylist(),
    "of pandas": pa.Table.from_pandas(frame)["x"].to_pylist(),
    "polars": pl.Series(rows).to_list(),
    "duckdb": [x for x, in duckdb.sql("SELECT x FROM frame").fetchall()],
}
for what, values in found.items():
    print(f"{what:14}", values)
seen = [[1, None]] + 3 * [[[1, 999], [1]]] + 2 * [[[1, None], [1]]]
sys.exit(0 if list(found.values()) == seen else 1)
PYTHON
