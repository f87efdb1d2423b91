#!/usr/bin/env bash
# polars 2.1.0: the sum of a list of Int32 is an Int32 again, and wraps around without an error; that of Int8
# and Int16 is an Int64.
#
# Sums of whole columns are the same. So numbers of a type that is large enough for each of them are not
# added up rightly, and smaller ones are. Output:
#
#   list.sum of Int8  Int64 [128]
#   list.sum of Int16 Int64 [32768]
#   list.sum of Int32 Int32 [-2147483648]
#   sum of Int32      -2147483648
#   cast before       Int64 [2147483648]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet polars==2.1.0
venv/bin/python - <<'PYTHON'
import sys

import polars as pl

found = {}
for bits, kind in ((8, pl.Int8), (16, pl.Int16), (32, pl.Int32)):
    sums = pl.Series([[2 ** (bits - 1) - 1, 1]], dtype=pl.List(kind)).list.sum()
    found[bits] = sums.to_list()
    print(f"list.sum of {'Int' + str(bits):5}", sums.dtype, found[bits])
print("sum of Int32     ", pl.Series([2**31 - 1, 1], dtype=pl.Int32).sum())
lists = pl.Series([[2**31 - 1, 1]], dtype=pl.List(pl.Int32))
cast = lists.cast(pl.List(pl.Int64)).list.sum()
print("cast before      ", cast.dtype, cast.to_list())
sys.exit(0 if found == {8: [128], 16: [32768], 32: [-(2**31)]} and cast[0] == 2**31 else 1)
PYTHON
