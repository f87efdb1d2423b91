#!/usr/bin/env bash
# tiledb 0.36.1 (numpy 2.4.6): rows of a variable-length attribute are stored as the bytes that begin where a row does,
# whatever its dtype, byte order and steps are, without an error.
#
# Of every third of 0 to 11 comes 0, 1, 2, 3, and of a column a part of several. Rows of int64 in an attribute of float64
# are numbers next to zero, and in one of int32 twice as many. Big-endian rows have their bytes swapped. What each row
# says of itself is not looked at; only rows of several dtypes beside each other are refused. It is so in dense arrays
# and in sparse ones. Attributes of fixed length convert what they are given.
# `np.ascontiguousarray(row, attribute.dtype)` of each row helps. Output:
#
#   dense  every third  [0.0, 1.0, 2.0, 3.0]
#   dense  one column   [1.0, 2.0, 3.0]
#   dense  int64        [5e-324, 1e-323]
#   dense  int64 as i4  [1, 0, 2, 0]
#   dense  big-endian   [3.03865e-319, 3.16e-322]
#   dense  as it should [0.0, 3.0, 6.0, 9.0]
#   sparse every third  [0.0, 1.0, 2.0, 3.0]
#   sparse one column   [1.0, 2.0, 3.0]
#   sparse int64        [5e-324, 1e-323]
#   sparse int64 as i4  [1, 0, 2, 0]
#   sparse big-endian   [3.03865e-319, 3.16e-322]
#   sparse as it should [0.0, 3.0, 6.0, 9.0]
#   fixed  int64        [1.0, 2.0]
#   fixed  big-endian   [1.0, 2.0]
#   mixed  TypeError: Failed to convert buffer for attribute: 'values'
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet tiledb==0.36.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import tiledb


def stored(path, rows, dtype="f8", sparse=False, var=True):
    """Write rows, two at least, and return the first of them as it is read."""
    domain = tiledb.Domain(tiledb.Dim("row", domain=(0, len(rows) - 1), tile=1, dtype="i8"))
    attribute = tiledb.Attr("values", dtype=dtype, var=var)
    schema = tiledb.ArraySchema(domain=domain, attrs=[attribute], sparse=sparse)
    tiledb.Array.create(path, schema)
    given = rows
    if var:
        given = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            given[i] = row
    with tiledb.open(path, "w") as array:
        array[np.arange(len(rows)) if sparse else slice(None)] = {"values": given}
    with tiledb.open(path) as array:
        read = array[:]["values"]
        return (read[0] if var else read).tolist()


numbers = np.arange(12.0)
pair, other = np.array([1, 2]), np.array([3])
rows = {
    "every third": ([numbers[::3], numbers], "f8"),
    "one column": ([numbers.reshape(3, 4)[:, 1], numbers], "f8"),
    "int64": ([pair, other], "f8"),
    "int64 as i4": ([pair, other], "i4"),
    "big-endian": ([pair.astype(">f8"), other.astype(">f8")], "f8"),
    "as it should": ([numbers[::3].copy(), numbers], "f8"),
}
seen = {
    "every third": [0, 1, 2, 3],
    "one column": [1, 2, 3],
    "int64": pair.view("f8").tolist(),
    "int64 as i4": [1, 0, 2, 0],
    "big-endian": pair.astype(">f8").view("f8").tolist(),
    "as it should": [0, 3, 6, 9],
}
as_seen = True
for kind in "dense", "sparse":
    for what, (given, dtype) in rows.items():
        found = stored(f"{kind} {what}", given, dtype, sparse=kind == "sparse")
        print(f"{kind:6} {what:12}", found)
        as_seen &= found == seen[what]
for what, given in {"int64": pair, "big-endian": pair.astype(">f8")}.items():
    found = stored(f"fixed {what}", given, var=False)
    print(f"fixed  {what:12}", found)
    as_seen &= found == [1, 2]
try:
    stored("mixed", [pair.astype("f8"), other])
    as_seen = False
except TypeError as error:
    print("mixed  TypeError:", error)
sys.exit(0 if as_seen and sys.byteorder == "little" else 1)
PYTHON
