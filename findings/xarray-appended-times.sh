#!/usr/bin/env bash
# xarray 2026.9.0 (zarr 3.1.6, numpy 2.4.6): dates and durations that are appended to a zarr store, and are finer than
# its unit, come out as others: 1500 ms after 2 s are 1500 s.
#
# Times are stored as whole numbers in the largest unit that fits those written first. What is appended is written in a
# finer unit if it needs one, and the store goes on to name the first. A warning says that the finer unit is used
# "instead", which is true for the numbers only, and what it advises to silence it leaves them wrong. Writing into a
# region of a store does the same. A unit fine enough for all, given in the `encoding` of the first write, helps.
# Output:
#
#   a day, an hour  ['86400 seconds', '86400 seconds']
#                   in the store: days; warning: Serializing with units 'hours' instead
#   2 s, 1500 ms    ['2 seconds', '1500 seconds']
#                   in the store: seconds; warning: Serializing with units 'milliseconds' instead
#   dates           ['2020-01-01T00:00:00', '2020-01-02T00:00:00']
#                   in the store: days; warning: Serializing with units 'hours since 2020-01-01' instead
#   an hour, a day  ['3600 seconds', '86400 seconds']
#                   in the store: hours; warning: None
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet xarray==2026.9.0 zarr==3.1.6 pandas==3.1.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import numpy as np
import xarray as xr

cases = {
    "a day, an hour": (np.array([86400], "m8[s]"), np.array([3600], "m8[s]")),
    "2 s, 1500 ms": (np.array([2], "m8[s]"), np.array([1500], "m8[ms]")),
    "dates": (np.array(["2020-01-01"], "M8[s]"), np.array(["2020-01-01T01"], "M8[s]")),
    "an hour, a day": (np.array([3600], "m8[s]"), np.array([86400], "m8[s]")),
}
found, said = {}, {}
for index, (what, (first, second)) in enumerate(cases.items()):
    store = f"{index}.zarr"
    xr.Dataset({"x": ("row", first)}).to_zarr(store, consolidated=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xr.Dataset({"x": ("row", second)}).to_zarr(store, append_dim="row", consolidated=False)
    found[what] = xr.open_zarr(store, consolidated=False)["x"].values.astype(second.dtype.str[1:2] + "8[s]")
    said[what] = [str(each.message).split(". ")[1] for each in caught]
    unit = xr.open_zarr(store, consolidated=False, decode_times=False)["x"].attrs["units"]
    print(f"{what:15}", found[what].astype(str).tolist())
    print(f"{'':15} in the store: {unit.split()[0]}; warning: {' '.join(said[what]) or None}")
are_wrong = (
    found["a day, an hour"].astype(int).tolist() == [86400, 86400]
    and found["2 s, 1500 ms"].astype(int).tolist() == [2, 1500]
    and str(found["dates"][1]) == "2020-01-02T00:00:00"
)
is_right = np.array_equal(found["an hour, a day"], np.concatenate(cases["an hour, a day"]))
sys.exit(0 if are_wrong and is_right and [len(each) for each in said.values()] == [1, 1, 1, 0] else 1)
PYTHON
