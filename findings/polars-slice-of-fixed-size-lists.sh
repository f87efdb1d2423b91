#!/usr/bin/env bash
# polars 2.1.0 (pyarrow 26.0.1) refuses a slice of an Arrow column of fixed-size lists in which a list is
# null, and takes the whole.
#
# So a table that arrives whole can be read, and a batch of it, as streams and `Table.slice` give them,
# cannot. Slices of columns of lists of any length, or without a null list, are read. Output:
#
#   whole         [[1, 2], None, [3, 4]]
#   its slice     ComputeError: validity mask length must be equal to the number of values divided by size
#   without null  [[5, 6], [3, 4]]
#   of any length [None, [3, 4]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet polars==2.1.0 pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa

pairs = pa.list_(pa.int32(), 2)
some = pa.table({"a": pa.array([[1, 2], None, [3, 4]], pairs)})
full = pa.table({"a": pa.array([[1, 2], [5, 6], [3, 4]], pairs)})
lists = pa.table({"a": pa.array([[1, 2], None, [3, 4]], pa.large_list(pa.int32()))})
print("whole        ", pl.DataFrame(some)["a"].to_list())
is_refused = False
try:
    pl.DataFrame(some.slice(1))
except pl.exceptions.ComputeError as error:
    is_refused = True
    print(f"its slice     ComputeError: {error}")
print("without null ", pl.DataFrame(full.slice(1))["a"].to_list())
print("of any length", pl.DataFrame(lists.slice(1))["a"].to_list())
sys.exit(0 if is_refused else 1)
PYTHON
