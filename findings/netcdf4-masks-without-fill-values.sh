#!/usr/bin/env bash
# netCDF4 1.7.5.1.post1 (numpy 2.4.6): of a variable that has no `_FillValue`, numbers that were written are
# masked on reading if they are what netCDF fills with by default, such as 65535 of uint16 and -32767 of int16.
#
# Sums and means then leave them out. `set_auto_mask(False)` gives what is in the file. Output:
#
#   uint8   [1, 255]      masked [False, True]  sum 1
#   uint16  [1, 65535]    masked [False, True]  sum 1
#   int16   [1, -32767]   masked [False, True]  sum 1
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

seen = []
for dtype, last in (("uint8", 255), ("uint16", 65535), ("int16", -32767)):
    array = np.array([1, last], dtype)
    with netCDF4.Dataset("x.nc", "w") as file:
        file.createDimension("obs", 2)
        file.createVariable("x", dtype, ("obs",))[:] = array
    with netCDF4.Dataset("x.nc") as file:
        read = file["x"][:]
        has_fill = "_FillValue" in file["x"].ncattrs()
        file.set_auto_mask(False)
        raw = file["x"][:]
    masked = np.ma.getmaskarray(read).tolist()
    print(f"{dtype:7} {str(raw.tolist()):13} masked {masked}  sum {read.sum()}")
    kept = raw.dtype == array.dtype and raw.tolist() == array.tolist()
    seen.append(kept and not has_fill and masked == [False, True] and int(read.sum()) == 1)
sys.exit(0 if all(seen) else 1)
PYTHON
