#!/usr/bin/env bash
# polars 2.1.0: a Series made of lists takes its type from the first of them, and floats in later ones are cut to
# integers, without an error and without `strict=False`.
#
# After a list of integers, 2.5 is 2 and 0.5 is 0; after one of bool, 2 is True. Within one list, and in a Series of
# bare numbers, integers and floats together are refused. Rows of a DataFrame (a list of dicts) get the type that fits
# all. Output:
#
#   lists          List(Int64)    [[1], [2, 0]]
#   empty between  List(Int64)    [[1], [], [2]]
#   bool first     List(Boolean)  [[True], [True, True]]
#   floats first   List(Float64)  [[2.5], [1.0]]
#   within a list  TypeError
#   as rows        List(Float64)  [[1.0], [2.5, 0.5]]
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

cases = {
    "lists": [[1], [2.5, 0.5]],
    "empty between": [[1], [], [2.5]],
    "bool first": [[True], [2, 3]],
    "floats first": [[2.5], [1]],
}
found = {}
for what, rows in cases.items():
    series = pl.Series(rows)
    found[what] = series.to_list()
    print(f"{what:14} {series.dtype!s:14} {found[what]}")
try:
    pl.Series([[1, 2.5]])
    within = None
except TypeError as error:
    within = type(error).__name__
print("within a list ", within)
of_rows = pl.DataFrame([{"x": row} for row in cases["lists"]])["x"]
print(f"{'as rows':14} {of_rows.dtype!s:14} {of_rows.to_list()}")
wrong = [[[1], [2, 0]], [[1], [], [2]], [[True], [True, True]]]
right = [[[2.5], [1.0]]]
is_right = of_rows.to_list() == [[1.0], [2.5, 0.5]] and within == "TypeError"
sys.exit(0 if list(found.values()) == wrong + right and is_right else 1)
PYTHON
