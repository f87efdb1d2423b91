#!/usr/bin/env bash
# ml_dtypes 0.6.0 (numpy 2.4.6): an array of bfloat16 or of a float8 that has a NaN is not sorted by `np.sort`, and
# `np.unique` and `np.median` of it are wrong, without an error or a warning.
#
# numpy sorts NaN to the end, in float16 as in float64. The function that ml_dtypes gives it to compare two elements
# takes a NaN for equal to every number, so that numbers on both sides of it are not exchanged. What builds on a sort
# goes wrong with it: `unique` has a number twice, or, of float8_e5m2, the first alone; the median, NaN otherwise, is a
# number, and not that of the numbers either. Without a NaN, and with astype("f4"), all of it is right.
# Sort, unique and median of 3, NaN, 1, 2, 3, NaN are:
#
#   float32       [1.0, 2.0, 3.0, 3.0, nan, nan] [1.0, 2.0, 3.0, nan] [nan]
#   bfloat16      [3.0, nan, 1.0, 2.0, 3.0, nan] [3.0, nan, 1.0, 2.0, 3.0, nan] [1.5]
#   float8_e5m2   [3.0, nan, 1.0, 2.0, 3.0, nan] [3.0] [1.5]
#   float8_e4m3fn [3.0, nan, 1.0, 2.0, 3.0, nan] [3.0, nan, 1.0, 2.0, 3.0, nan] [1.5]
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
import warnings

import ml_dtypes
import numpy as np

warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, for the median of a NaN in float32
numbers = [3, np.nan, 1, 2, 3, np.nan]
found = {}
for kind in (np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn):
    array = np.array(numbers, kind)
    answers = np.sort(array), np.unique(array), np.array([np.median(array)])
    found[kind.__name__] = [answer.astype("f8").tolist() for answer in answers]
    plain = np.array([3, 1, 2, 3], kind)
    assert np.sort(plain).tolist() == [1, 2, 3, 3] and np.unique(plain).tolist() == [1, 2, 3]
    print(f"{kind.__name__:13}", *found[kind.__name__])
right, brain, short, small = found.values()
as_said = repr(right) == "[[1.0, 2.0, 3.0, 3.0, nan, nan], [1.0, 2.0, 3.0, nan], [nan]]"
for answers in (brain, short, small):
    as_said = as_said and answers[0][:1] == [3] and answers[2] == [1.5]
as_said = as_said and brain[1].count(3) == 2 and short[1] == [3] and small[1].count(3) == 2
sys.exit(not as_said)
PYTHON
