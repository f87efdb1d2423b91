#!/usr/bin/env bash
# webdataset 1.0.2 (numpy 2.4.6) on a little-endian machine: a big-endian array in a field `ten` of a sample is
# read back with other numbers, without an error. In a field `npy` it is read right.
#
# The header of a `ten` names the dtype as `numpy.dtype.name` has it, which is "int32" for both byte orders, and
# the bytes behind it are those in memory. So 1, 2, 3 of ">i4" become 16777216, 33554432, 50331648. (Another slip
# in the same table, "unit32", makes it refuse uint32.) Output:
#
#   ten int32 [16777216, 33554432, 50331648]
#   npy >i4 [1, 2, 3]
#   uint32: ValueError: unsupported array type
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet webdataset==1.0.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import webdataset

array = np.array([1, 2, 3], ">i4")
with webdataset.TarWriter("samples.tar") as writer:
    writer.write({"__key__": "sample", "ten": array, "npy": array})
(sample,) = webdataset.WebDataset("samples.tar", shardshuffle=False).decode()
(ten,) = sample["ten"]
print("ten", ten.dtype, ten.tolist())
print("npy", sample["npy"].dtype, sample["npy"].tolist())
is_refused = False
try:
    with webdataset.TarWriter("other.tar") as writer:
        writer.write({"__key__": "sample", "ten": np.array([1], "u4")})
except ValueError as error:
    is_refused = True
    print(f"uint32: ValueError: {error}")
swapped = ten.tolist() == array.view("<i4").tolist()
sys.exit(0 if swapped and np.array_equal(sample["npy"], array) and is_refused else 1)
PYTHON
