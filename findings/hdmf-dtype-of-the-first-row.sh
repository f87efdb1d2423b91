#!/usr/bin/env bash
# hdmf 6.2.0 (h5py 3.16.0, numpy 2.4.6): rows of a ragged column are written with the dtype of the first value
# of the column, and what does not fit in it changes without an error or a warning.
#
# A column of a DynamicTable made with `index=True` takes a row after another, and keeps their values in a list.
# On writing, the dtype is that of the first of them: after a row of uint8, 300 is written as 44; after one of
# integers, 2.5 is 2; after one of bool, 5 is True; after one of float32, float64 loses digits. Output:
#
#   uint8 int64    uint8 [1, 44]
#   ints floats    int64 [1, 2]
#   bool int64     bool [True, True]
#   float32 64     float32 [1.5, 1.0]
#   warnings: 0
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet hdmf==6.2.0 h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import h5py
import numpy as np
from hdmf.backends.hdf5 import HDF5IO
from hdmf.common import DynamicTable, get_manager

cases = {
    "uint8 int64": [np.array([1], "u1"), np.array([300])],
    "ints floats": [[1], [2.5]],
    "bool int64": [np.array([True]), np.array([5])],
    "float32 64": [np.array([1.5], "f4"), np.array([1 + 1e-12])],
}
found = {}
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for what, rows in cases.items():
        table = DynamicTable(name="table", description="of one ragged column")
        table.add_column("x", "ragged", index=True)
        for row in rows:
            table.add_row(x=row)
        with HDF5IO("x.h5", manager=get_manager(), mode="w") as io:
            io.write(table)
        with h5py.File("x.h5") as file:
            found[what] = [str(file["x"].dtype), file["x"][()].tolist()]
for what, (dtype, values) in found.items():
    print(f"{what:14} {dtype} {values}")
print("warnings:", len(warned))
seen = [["uint8", [1, 44]], ["int64", [1, 2]], ["bool", [True, True]], ["float32", [1.5, 1.0]]]
sys.exit(0 if list(found.values()) == seen and not warned else 1)
PYTHON
