#!/usr/bin/env bash
# numpy 2.4.6, joblib 1.6.0, x86-64: equal arrays of longdouble have different bytes and hashes.
#
# An element is 10 bytes in 16, and what numpy computes or casts sets the 10. In the other 6 stays
# whatever was in the memory before. So two arrays that are equal, made by the same line, have
# different bytes: `tobytes` and the files of `numpy.save` differ, and so do what hashes bytes to
# know an array again, as joblib.hash does, and with it its Memory: a cached function is called
# anew for an argument it has seen. A copy of an array has the same bytes as the array. Output:
#
#   equal: True
#   the same bytes: False, the same file: False
#   the same joblib.hash: False, of a copy: True
#   calls of a cached function for 2 equal arguments: 2
#   the same of float64: 1
#
# Ends with 0 as long as it is so, else with 1; on other machines, where an element has no padding
# or another one, with 1, too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet joblib==1.6.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import sys

import joblib
import numpy as np

memory = joblib.Memory("cache", verbose=0)
called = []


@memory.cache
def total(array):
    called.append(array.dtype)
    return float(array.sum())


def thirds(dtype, left_in_memory):
    """Return the same numbers, in memory that had something else before."""
    used = [np.full(640, left_in_memory, np.uint8) for _ in range(20)]
    del used
    return np.ones(40, dtype) / 3


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


one, other = thirds(np.longdouble, 0), thirds(np.longdouble, 255)
equal = bool((one == other).all())
same = one.tobytes() == other.tobytes()
same_file = saved(one) == saved(other)
same_hash = joblib.hash(one) == joblib.hash(other)
of_copy = joblib.hash(one) == joblib.hash(one.copy())
total(one), total(other)
of_wide = len(called)
total(thirds(np.float64, 0)), total(thirds(np.float64, 255))
of_double = len(called) - of_wide
print("equal:", equal)
print(f"the same bytes: {same}, the same file: {same_file}")
print(f"the same joblib.hash: {same_hash}, of a copy: {of_copy}")
print("calls of a cached function for 2 equal arguments:", of_wide)
print("the same of float64:", of_double)
as_said = equal and not (same or same_file or same_hash) and of_copy and (of_wide, of_double) == (2, 1)
sys.exit(not as_said)
PYTHON
