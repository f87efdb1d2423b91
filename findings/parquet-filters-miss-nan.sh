#!/usr/bin/env bash
# pyarrow 26.0.1 and duckdb 2.0.1: with a condition on a column of floats, rows of a Parquet file that are NaN are left
# out or taken wrongly, without an error; polars 2.1.0 finds the right ones.
#
# Before they read, both look at the smallest and the largest number of each part of the file, and these leave NaN out
# (the Parquet format has it so). Where both are 1, every row is taken for 1: what is NaN fulfils neither `x != 1` nor
# "is NaN", and in duckdb it even fulfils `x = 1`. The same table in memory gives the right rows. Output:
#
#   x is NaN  table [2]  pyarrow []  duckdb []  polars [2]
#   x != 1    table [2]  pyarrow []  duckdb []  polars [2]
#   x == 1    table [0, 1]  pyarrow [0, 1]  duckdb [0, 1, 2]  polars [0, 1]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

table = pa.table({"x": [1.0, 1.0, float("nan")], "row": [0, 1, 2]})
pq.write_table(table, "x.parquet")
x = pc.field("x")
conditions = {
    "x is NaN": (pc.is_nan(x), "isnan(x)", pl.col("x").is_nan()),
    "x != 1": (x != 1, "x != 1", pl.col("x") != 1),
    "x == 1": (x == 1, "x = 1", pl.col("x") == 1),
}
found = {}
for what, (of_pyarrow, of_duckdb, of_polars) in conditions.items():
    found[what] = {
        "table": table.filter(of_pyarrow)["row"].to_pylist(),
        "pyarrow": pq.read_table("x.parquet", filters=of_pyarrow)["row"].to_pylist(),
        "duckdb": [row for row, in duckdb.sql(f"SELECT row FROM 'x.parquet' WHERE {of_duckdb}").fetchall()],
        "polars": pl.scan_parquet("x.parquet").filter(of_polars).collect()["row"].to_list(),
    }
    print(f"{what:9}", "  ".join(f"{which} {rows}" for which, rows in found[what].items()))
nan = {"table": [2], "pyarrow": [], "duckdb": [], "polars": [2]}
every = {"table": [0, 1], "pyarrow": [0, 1], "duckdb": [0, 1, 2], "polars": [0, 1]}
sys.exit(0 if found == {"x is NaN": nan, "x != 1": nan, "x == 1": every} else 1)
PYTHON
