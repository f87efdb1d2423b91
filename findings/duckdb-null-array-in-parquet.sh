#!/usr/bin/env bash
# duckdb 2.0.1, pyarrow 26.0.1 and polars 2.1.0: a Parquet file that DuckDB writes of a column of arrays of
# fixed size, one of which is NULL, cannot be read by pyarrow; DuckDB and polars read it.
#
# The other way round, a file of pyarrow's, is read by all three. A column of lists of any length, or an
# array without NULL, is, too. Output:
#
#   duckdb   [([1, 2],), (None,), ([3, 4],)]
#   polars   [[1, 2], None, [3, 4]]
#   pyarrow  ArrowInvalid: Length spanned by list offsets (5) larger than values array (length 4)
#   cast to INT[] first: [[1, 2], None, [3, 4]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

rows = "SELECT [1, 2]::INT[2] AS a UNION ALL SELECT NULL UNION ALL SELECT [3, 4]::INT[2]"
duckdb.sql(f"COPY ({rows}) TO 'arrays.parquet'")
duckdb.sql(f"COPY (SELECT a::INT[] AS a FROM ({rows})) TO 'lists.parquet'")
print("duckdb  ", duckdb.sql("SELECT * FROM 'arrays.parquet'").fetchall())
print("polars  ", pl.read_parquet("arrays.parquet")["a"].to_list())
is_refused = False
try:
    pq.read_table("arrays.parquet")
except pa.ArrowInvalid as error:
    is_refused = True
    print(f"pyarrow  ArrowInvalid: {error}")
lists = pq.read_table("lists.parquet")["a"].to_pylist()
print("cast to INT[] first:", lists)
sys.exit(0 if is_refused and lists == [[1, 2], None, [3, 4]] else 1)
PYTHON
