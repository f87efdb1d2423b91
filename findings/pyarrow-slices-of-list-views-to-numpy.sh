#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6, pandas 3.1.1): of a slice of list views, one of which is null, `to_numpy` and `to_pandas`
# give None for lists that are there, and lists for those that are null, without an error.
#
# Which of them are null is read in the wrong place: for a slice that begins at list 1, from 9 on, at 2 from 18 on, and
# what is behind the last list counts as null (`ListFromListViewImpl` of array_nested.cc adds twice where the slice begins,
# as bytes and as bits). It is enough that a list outside of the slice is null. `to_pylist` is right, as are the whole
# column, slices of columns without a null list, lists that are no views, and a copy by `take`. It is so for
# `large_list_view`, for slices of tables, and for the batches that `to_batches(max_chunksize=…)` gives. Output, for each
# of the two:
#
#   whole       [[1, 2], [3], None]
#   its slice   [None]  to_pylist [[3]]
#   table       [None, None]
#   batches     [[[1, 2]], [None], [None]]
#   19 lists    nulls at [3, 8, 11, 12, 13, 14, 15, 16, 17, 18], are [1, 6, 11, 16]
#   no null     [[3], [4]]
#   lists       [[3], None]
#   taken       [[3], None]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6 pandas==3.1.1
venv/bin/python - <<'PYTHON'
import sys

import pyarrow as pa


def rows(arrays):
    return [None if row is None else row.tolist() for row in arrays]


def by_numpy(column):
    return rows(column.to_numpy(zero_copy_only=False))


right = [[1, 2], [3], None]
wrong = 0
for kind in pa.list_view(pa.int64()), pa.large_list_view(pa.int64()):
    views = pa.array(right, kind)
    part = views.slice(1, 1)
    table = pa.table({"x": views})
    batches = [rows(batch.to_pandas()["x"]) for batch in table.to_batches(max_chunksize=1)]
    many = pa.array([[1, 2], [3], None, [4, 5, 6], [7]] * 4, kind).slice(1)
    found = [at for at, row in enumerate(by_numpy(many)) if row is None]
    are = [at for at, row in enumerate(many.to_pylist()) if row is None]
    print(kind)
    print("whole      ", by_numpy(views))
    print("its slice  ", by_numpy(part), " to_pylist", part.to_pylist())
    print("table      ", rows(table.slice(1).to_pandas()["x"]))
    print("batches    ", batches)
    print(f"19 lists    nulls at {found}, are {are}")
    assert by_numpy(views) == right and part.to_pylist() == [[3]]
    wrong += by_numpy(part) == [None] and batches == [[[1, 2]], [None], [None]] and found != are

    whole = pa.array([[1, 2], [3], [4]], kind)
    lists = pa.array(right, pa.list_(pa.int64()))
    taken = views.take(pa.array([1, 2]))
    print("no null    ", by_numpy(whole.slice(1)))
    print("lists      ", by_numpy(lists.slice(1)))
    print("taken      ", by_numpy(taken))
    assert by_numpy(whole.slice(1)) == [[3], [4]]
    assert by_numpy(lists.slice(1)) == by_numpy(taken) == right[1:]
sys.exit(0 if wrong == 2 else 1)
PYTHON
