#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6): one null in one list makes `to_numpy` and `to_pandas` give every list of the
# column as float64, and integers above 2**53 come out as others, without an error.
#
# Lists without a null are int64. A list in the same column that has no null, and did not need it, is
# rounded: 2**53 + 1 becomes 2**53. Taken out of the column first, it is right. Output:
#
#   without null  [dtype('int64'), dtype('int64')]
#   with one      [dtype('float64'), dtype('float64')] 9007199254740992
#   one list      int64 9007199254740993
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

kind = pa.list_(pa.int64())
without = pa.array([[2**53 + 1], [3]], kind).to_numpy(zero_copy_only=False)
column = pa.array([[2**53 + 1], [None]], kind)
found = column.to_numpy(zero_copy_only=False)
alone = column[0].values.to_numpy(zero_copy_only=False)
print("without null ", [each.dtype for each in without])
print("with one     ", [each.dtype for each in found], int(found[0][0]))
print("one list     ", alone.dtype, alone[0])
is_right = without[0].dtype == alone.dtype == np.int64 and alone[0] == 2**53 + 1
sys.exit(0 if is_right and found[0].dtype == np.float64 and found[0][0] == 2**53 else 1)
PYTHON
