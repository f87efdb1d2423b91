#!/usr/bin/env bash
# netCDF4 1.7.5.1.post1 (numpy 2.4.6): a row of a variable-length variable that is a view with steps is written with
# other numbers, without an error.
#
# What is written are as many numbers as the view has, one after the other from where it begins in memory: of every
# third of 0 to 11 comes 0, 1, 2, 3, and of the first channel of an image a part of all channels. So it is for a
# column, too. A row that has to be cast to the dtype of the variable is right, as that is a copy, and so are variables
# of fixed shape. `np.ascontiguousarray` of the row helps. Output:
#
#   every third  [0.0, 1.0, 2.0, 3.0]
#   one column   [1.0, 2.0, 3.0]
#   one channel  [1.0, 10.0, 2.0]
#   one row      [4.0, 5.0, 6.0, 7.0]
#   other dtype  [0.0, 3.0, 6.0, 9.0]
#   fixed        [0.0, 3.0, 6.0, 9.0]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet netCDF4==1.7.5.1.post1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import netCDF4
import numpy as np

numbers = np.arange(12.0)
pixels = np.array([[1, 10], [2, 20], [3, 30]], "f4")
rows = {
    "every third": numbers[::3],
    "one column": numbers.reshape(3, 4)[:, 1],
    "one channel": pixels[:, 0],
    "one row": numbers.reshape(3, 4)[1],
    "other dtype": numbers.astype("f4")[::3],
}
with netCDF4.Dataset("x.nc", "w") as file:
    file.createDimension("row", None)
    file.createDimension("number", 4)
    kinds = {code: file.createVLType(np.dtype(code), "list_of_" + code) for code in ("f4", "f8")}
    found = {}
    for what, row in rows.items():
        code = "f4" if what == "one channel" else "f8"
        variable = file.createVariable(what.replace(" ", "_"), kinds[code], ("row",))
        variable[0] = row
        found[what] = variable[0].tolist()
    fixed = file.createVariable("fixed", "f8", ("number",))
    fixed[:] = rows["every third"]
    found["fixed"] = fixed[:].tolist()
for what, values in found.items():
    print(f"{what:12}", values)
seen = {what: row.tolist() for what, row in rows.items()}
seen["fixed"] = seen["every third"]
seen |= {"every third": [0, 1, 2, 3], "one column": [1, 2, 3], "one channel": [1, 10, 2]}
sys.exit(0 if found == seen else 1)
PYTHON
