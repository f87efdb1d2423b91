#!/usr/bin/env bash
# blosc2 4.14.1 (numpy 2.4.6): the remainder of negative numbers has the sign that it has in C, not that of numpy, and
# the quotient is numpy's, so that the two do not belong together.
#
# -7 % 3 is -1 and -7 // 3 is -3, and three times -3 less 1 is -10. The documentation of `remainder` says that it is
# equivalent to Python's. Which it is depends on where the array is: of an expression whose operand is an array of
# numpy's, it is numpy's. Angles, times of the day, and positions that wrap come out negative. Output:
#
#   x % 3            [-1, 1]
#   x // 3           [-3, 2]
#   remainder(x, 3)  [-1, 1]
#   of numpy's x     [2, 1]
#   floats % 3       [-1.0, 1.0]
#   numpy            [[2, 1], [-3, 2]]
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

numbers = np.array([-7, 7])
stored = blosc2.asarray(numbers)
found = {
    "x % 3": (stored % 3)[:].tolist(),
    "x // 3": (stored // 3)[:].tolist(),
    "remainder(x, 3)": blosc2.remainder(stored, 3)[:].tolist(),
    "of numpy's x": blosc2.lazyexpr("x % 3", {"x": numbers})[:].tolist(),
    "floats % 3": (blosc2.asarray(numbers / 1) % 3)[:].tolist(),
    "numpy": [(numbers % 3).tolist(), (numbers // 3).tolist()],
}
for what, values in found.items():
    print(f"{what:16}", values)
seen = [[-1, 1], [-3, 2], [-1, 1], [2, 1], [-1.0, 1.0], [[2, 1], [-3, 2]]]
sys.exit(0 if list(found.values()) == seen else 1)
PYTHON
