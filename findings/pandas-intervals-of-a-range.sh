#!/usr/bin/env bash
# pandas 2.3.3 and 3.1.1 (numpy 2.4.6): an IntervalIndex whose bounds are a RangeIndex cannot be sliced, and a
# Series with it cannot be pickled.
#
# The index keeps the bounds as the RangeIndex that they are given as. What is asked for a part of
# it takes the part of each bound, which is an Index again and so not an array, for one value, and
# makes a single interval of the two. repr, list, head and iloc work, as does a pickle of the
# index alone, so it is found when the data are saved. From `range` or an array all of it works.
# Output, for both:
#
#   slice:           ValueError: Only numeric, Timestamp and Timedelta endpoints are allowed
#   pickled Series:  ValueError: Only numeric, Timestamp and Timedelta endpoints are allowed
#   of an array:     2 intervals
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in 2.3.3 3.1.1; do
    python3 -m venv --clear venv
    venv/bin/pip install --quiet pandas==$version numpy==2.4.6
    venv/bin/python - <<'PYTHON'
import pickle
import sys

import numpy as np
import pandas as pd

index = pd.IntervalIndex.from_breaks(pd.RangeIndex(4))
series = pd.Series([1, 2, 3], index)


def problem(call):
    try:
        call()
    except ValueError as error:
        return f"{type(error).__name__}: {error}".partition(" when")[0]
    return ""


problems = [problem(lambda: index[:2]), problem(lambda: pickle.dumps(series))]
same = pd.IntervalIndex.from_breaks(np.arange(4))
print("slice:          ", problems[0])
print("pickled Series: ", problems[1])
print("of an array:    ", len(same[:2]), "intervals")
pickle.dumps(pd.Series([1, 2, 3], same))
sys.exit(not all(problems))
PYTHON
done
