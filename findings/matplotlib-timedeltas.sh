#!/usr/bin/env bash
# matplotlib 3.11.2 (numpy 2.4.6): `plot` draws timedelta64 as bare integers: NaT is a point at -9.2e18, and arrays of
# different units do not fit each other. There is no error or warning.
#
# One and two seconds, and the same as milliseconds, are drawn as 1, 2 and as 1000, 2000 on one axis. datetime64 is
# right in both: NaT is left out, and units are converted. A NaT under a mask is left out. Output:
#
#   1 s, NaT, 3 s            [1.0, -9.223372036854776e+18, 3.0]
#   1 s, masked NaT, 3 s     [1.0, nan, 3.0]
#   1 s, 2 s                 [1.0, 2.0]
#   1000 ms, 2000 ms         [1000.0, 2000.0]
#   datetimes s, NaT         [0.0, nan]
#   datetimes s and ms equal True
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet matplotlib==3.11.2 numpy==2.4.6
MPLCONFIGDIR="$folder" venv/bin/python -W error - <<'PYTHON'
import sys

import numpy as np
from matplotlib.figure import Figure


def drawn(values):
    """Give the numbers that a line of its own axes is drawn from."""
    return Figure().subplots().plot(values)[0].get_ydata(orig=False).tolist()


gap = np.array([1, "NaT", 3], "m8[s]")
cases = {
    "1 s, NaT, 3 s": drawn(gap),
    "1 s, masked NaT, 3 s": drawn(np.ma.array(gap, mask=np.isnat(gap))),
    "1 s, 2 s": drawn(np.array([1, 2], "m8[s]")),
    "1000 ms, 2000 ms": drawn(np.array([1000, 2000], "m8[ms]")),
    "datetimes s, NaT": drawn(np.array([0, "NaT"], "M8[s]")),
}
for name, numbers in cases.items():
    print(f"{name:24} {numbers}")
equal = drawn(np.array([1, 2], "M8[s]")) == drawn(np.array([1000, 2000], "M8[ms]"))
print(f"datetimes s and ms equal {equal}")
as_said = cases["1 s, NaT, 3 s"][1] == -(2.0**63) and cases["1 s, 2 s"] != cases["1000 ms, 2000 ms"]
sys.exit(0 if as_said and equal and np.isnan(cases["datetimes s, NaT"][1]) else 1)
PYTHON
