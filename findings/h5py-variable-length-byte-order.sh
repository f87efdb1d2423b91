#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0, numpy 2.4.6) on a little-endian machine: of a variable-length data set
# of big-endian numbers, the elements come with their bytes swapped, without an error.
#
# The file is right: its bytes are those of 1, 2, 3 in big-endian order, and a data set of fixed
# shape and the same type reads well. Read from the variable-length set, the dtype of each element
# is the native int32, and the values are 16777216, 33554432 and 50331648. `Dataset.astype` with a
# native type does not help. Seen with 3.11.0, too. Output:
#
#   fixed     >i4 [1, 2, 3]
#   variable  int32 [16777216, 33554432, 50331648]
#   astype    int32 [16777216, 33554432, 50331648]
#   in the file: 000000010000000200000003
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import h5py
import numpy as np

numbers = np.array([1, 2, 3], ">i4")
with h5py.File("x.h5", "w") as file:
    file["fixed"] = numbers
    file.create_dataset("variable", 1, h5py.vlen_dtype(numbers.dtype))[0] = numbers
with h5py.File("x.h5") as file:
    fixed, variable = file["fixed"][()], file["variable"][0]
    native = file["variable"].astype(h5py.vlen_dtype(np.dtype("=i4")))[0]
raw = open("x.h5", "rb").read()
at = raw.rindex(numbers.tobytes())
print("fixed    ", fixed.dtype.str, fixed.tolist())
print("variable ", variable.dtype, variable.tolist())
print("astype   ", native.dtype, native.tolist())
print("in the file:", raw[at : at + 12].hex())
swapped = [16777216, 33554432, 50331648]
as_seen = fixed.tolist() == [1, 2, 3] and variable.tolist() == native.tolist() == swapped
sys.exit(0 if as_seen else 1)
PYTHON
