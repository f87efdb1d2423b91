#!/usr/bin/env bash
# blosc2 4.14.1 (numpy 2.4.6) on a little-endian machine: an array of big-endian numbers is stored and read right, and
# everything that is computed of it is wrong, without an error.
#
# Sums, means, expressions, comparisons, and what is selected by them take the bytes for those of little-endian numbers.
# `asarray(...).astype` is computed, too; casting the array before it is stored helps. Output:
#
#   stored       [1, 2, 3]
#   sum          100663296
#   mean         33554432.0
#   x + 0        [16777216, 33554432, 50331648]
#   x > 1        [True, True, True]
#   where x > 2  [1, 2, 3]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet blosc2==4.14.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import blosc2
import numpy as np

numbers = np.array([1, 2, 3], ">i4")
stored = blosc2.asarray(numbers)
found = {
    "stored": stored[:].tolist(),
    "sum": int(stored.sum()),
    "mean": float(stored.mean()),
    "x + 0": (stored + 0)[:].tolist(),
    "x > 1": (stored > 1)[:].tolist(),
    "where x > 2": stored[stored > 2][:].tolist(),
}
for what, value in found.items():
    print(f"{what:12}", value)
swapped = numbers.view("<i4")
seen = {
    "stored": [1, 2, 3],
    "sum": int(swapped.sum()),
    "mean": float(swapped.mean()),
    "x + 0": swapped.tolist(),
    "x > 1": [True] * 3,
    "where x > 2": [1, 2, 3],
}
sys.exit(0 if found == seen else 1)
PYTHON
