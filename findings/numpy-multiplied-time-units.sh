#!/usr/bin/env bash
# numpy 2.4.6: a time in units of many days becomes another one in nanoseconds, and no usual check shows it.
#
# The factor between the two units wraps at 64 bits, in both directions alike. So three times 213504
# days (1753 years) is an hour and a quarter in nanoseconds, although numpy says that the cast is
# safe; casting back gives the number that there was, and comparing the two says that they are equal.
# In units of one day the same time wraps, too, but there casting back shows it. Dates (M8) do as
# durations (m8) do. Output:
#
#   units   3 of 213504 days
#   cast    4578871345152 nanoseconds, which is 1.27 hours
#   safe    True
#   equal   True
#   back    3 units
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np

times = np.array([3], "m8[213504D]")
cast = times.astype("m8[ns]", casting="safe")
n_nanoseconds = int(cast.view("i8")[0])
is_safe = np.can_cast(times.dtype, cast.dtype, "safe")
is_equal = bool((times == cast)[0])
back = int(cast.astype(times.dtype).view("i8")[0])
print("units   3 of 213504 days")
print(f"cast    {n_nanoseconds} nanoseconds, which is {n_nanoseconds / 3.6e12:.2f} hours")
print("safe   ", is_safe)
print("equal  ", is_equal)
print("back   ", back, "units")
dates = np.array([3], "M8[213504D]")
dates_back = int(dates.astype("M8[ns]").astype(dates.dtype).view("i8")[0])
is_lost = n_nanoseconds != 3 * 213504 * 86400 * 10**9
sys.exit(0 if is_lost and is_safe and is_equal and back == dates_back == 3 else 1)
PYTHON
