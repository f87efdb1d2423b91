#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6) on a little-endian machine: a tensor made of a big-endian numpy array has
# other numbers, without an error. `pa.array` refuses the same array.
#
# `pa.Tensor.from_numpy` takes over the buffer and the type, and leaves out the byte order: 1, 2, 3 of
# ">i4" become 16777216, 33554432, 50331648 of int32, and 1.5 of ">f8" becomes a number near zero. The
# tensor goes to files and other processes like that. Output:
#
#   tensor  int32 [16777216, 33554432, 50331648]
#   tensor  double [3.13984e-319]
#   array   ArrowNotImplementedError: Byte-swapped arrays not supported
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa

whole = pa.Tensor.from_numpy(np.array([1, 2, 3], ">i4"))
real = pa.Tensor.from_numpy(np.array([1.5], ">f8"))
print("tensor ", whole.type, whole.to_numpy().tolist())
print("tensor ", real.type, real.to_numpy().tolist())
is_refused = False
try:
    pa.array(np.array([1, 2, 3], ">i4"))
except pa.ArrowNotImplementedError as error:
    is_refused = True
    print(f"array   {type(error).__name__}: {error}")
swapped = np.array([1, 2, 3], ">i4").view("<i4").tolist()
as_seen = whole.to_numpy().tolist() == swapped and 0 < real.to_numpy()[0] < 1e-300
sys.exit(0 if as_seen and is_refused else 1)
PYTHON
