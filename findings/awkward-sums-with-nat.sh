#!/usr/bin/env bash
# awkward 2.14.0 (numpy 2.4.6): the sum of a list of durations with a NaT is a duration, without an error; with two of
# them it is the sum of the others, as if they were zero.
#
# NaT is the smallest integer, and is added up as such: 1 s and NaT are -9223372036854775807 s, and NaT and NaT are 0 s.
# Means are made of these sums. Over all lists at once, with `axis=None`, the sum is numpy's, NaT. Output:
#
#   sum by list   ['-9223372036854775807 seconds', '2 seconds', '0 seconds']
#   mean by list  ['-4611686018427387903 seconds', '0 seconds']
#   numpy         ['NaT', '2 seconds', 'NaT']
#   sum of all    NaT
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet awkward==2.14.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import awkward as ak
import numpy as np

durations = np.array([1, "NaT", 2, "NaT", "NaT"], "m8[s]")
lists = ak.unflatten(durations, [2, 1, 2])
by_list = ak.to_numpy(ak.sum(lists, axis=1))
means = [each.astype("i8") for each in ak.mean(lists, axis=1)[[0, 2]]]
by_numpy = np.array([each.sum() for each in np.split(durations, [2, 3])])
of_all = ak.sum(lists, axis=None)
print("sum by list  ", [str(each) for each in by_list])
print("mean by list ", [f"{each} seconds" for each in means])
print("numpy        ", [str(each) for each in by_numpy])
print("sum of all   ", of_all)
are_wrong = by_list.astype("i8").tolist() == [1 - 2**63, 2, 0] and means == [-(2**62) + 1, 0]
are_right = np.isnat(by_numpy).tolist() == [True, False, True] and np.isnat(of_all)
sys.exit(0 if are_wrong and are_right else 1)
PYTHON
