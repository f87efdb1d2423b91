#!/usr/bin/env bash
# pyarrow 26.0.1: a cast of list views to lists gives other values, without an error.
#
# The views are [5, 6] and [1, 2, 3] of six numbers, both valid. The cast takes their offsets, and forgets
# their sizes. It is so for `list_view` and for `large_list_view`. Output:
#
#   large_list_view  [[5, 6], [1, 2, 3]]
#   cast to list     [[], []]
#   with gaps        [[1, 2], [4, 5]]
#   cast to list     [[1, 2, 3], []]
#   list_view, cast  [[], []]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import sys

import pyarrow as pa

numbers, big = pa.array([1, 2, 3, 4, 5, 6]), pa.int64()


def views(starts, sizes):
    found = pa.LargeListViewArray.from_arrays(pa.array(starts, big), pa.array(sizes, big), numbers)
    found.validate(full=True)
    return found


turned, gaps = views([4, 0], [2, 3]), views([0, 3], [2, 2])
lists = pa.large_list(big)
small = pa.ListViewArray.from_arrays(
    pa.array([4, 0], pa.int32()), pa.array([2, 3], pa.int32()), numbers
)
print("large_list_view ", turned.to_pylist())
print("cast to list    ", turned.cast(lists).to_pylist())
print("with gaps       ", gaps.to_pylist())
print("cast to list    ", gaps.cast(lists).to_pylist())
print("list_view, cast ", small.cast(pa.list_(big)).to_pylist())
are_wrong = all(one.cast(lists).to_pylist() != one.to_pylist() for one in (turned, gaps))
sys.exit(0 if are_wrong and small.cast(pa.list_(big)).to_pylist() != small.to_pylist() else 1)
PYTHON
