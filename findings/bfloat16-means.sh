#!/usr/bin/env bash
# ml_dtypes 0.6.0 (numpy 2.4.6): mean and variance of bfloat16 arrays are wrong, without a warning.
#
# numpy sums float16 in float32 for a mean, but arrays of bfloat16 in bfloat16, one element after
# the other: from 256 on, adding 1 changes nothing. So the mean of 1000 ones is 0.256, and that of
# any long array of like numbers goes to 0 with its length. The variance, which starts from that
# mean, is as wrong. With dtype="f4" both are right. Sums of int4 stay int4 and wrap, where those
# of int8 are int64. Output:
#
#   float16   mean of 1000 ones: 1.0
#   bfloat16  mean of 1000 ones: 0.255859
#   bfloat16  with dtype="f4":   1.0
#   bfloat16  variance of 0 to 1999: 536576, is about 333333
#   int8 sum of four 7: 28, int4: -4
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet ml_dtypes==0.6.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np

ones = np.ones(1000, ml_dtypes.bfloat16)
half, brain, wide = np.ones(1000, "f2").mean(), ones.mean(), ones.mean(dtype="f4")
variance = np.var(np.arange(2000).astype(ml_dtypes.bfloat16))
sums = [int(np.full(4, 7, dtype).sum()) for dtype in ("i1", ml_dtypes.int4)]
print("float16   mean of 1000 ones:", half)
print("bfloat16  mean of 1000 ones:", brain)
print('bfloat16  with dtype="f4":  ', wide)
print(f"bfloat16  variance of 0 to 1999: {variance}, is about 333333")
print(f"int8 sum of four 7: {sums[0]}, int4: {sums[1]}")
as_said = half == wide == 1 and brain < 0.3 and float(variance) > 500_000 and sums == [28, -4]
sys.exit(not as_said)
PYTHON
