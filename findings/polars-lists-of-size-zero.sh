#!/usr/bin/env bash
# polars 2.1.0: a column of lists of the fixed size 0 from pyarrow 26.0.1 ends in a panic of Rust.
#
# As rows of a numpy array of shape (4, 0) are. Without a row, or with lists of size 1, there is no
# panic. Output:
#
#   0 rows  []
#   4 rows  PanicException: the offset of the new Buffer cannot exceed the existing length
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet polars==2.1.0 pyarrow==26.0.1
venv/bin/python - 2>/dev/null <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa

panics = False
for n_rows in (0, 4):
    column = pa.array([[]] * n_rows, pa.list_(pa.float64(), 0))
    try:
        print(n_rows, "rows ", pl.Series(column).to_list())
    except BaseException as error:
        panics = n_rows == 4
        print(n_rows, "rows ", f"{type(error).__name__}: {error}")
sys.exit(0 if panics else 1)
PYTHON
