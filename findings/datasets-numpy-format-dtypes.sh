#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 26.0.1, numpy 2.4.6): `with_format("numpy")` gives float64 and float16 as float32, and
# small integers as int64; one null in a list of int64 makes that list float32, so that integers above 2**24 are
# others. No error.
#
# The features, and the file, have the right types and values. With a dtype given, float64 is right; int64 beside
# a null is not, as it went through float64. `with_format("arrow")` is. Output:
#
#   float64      float32 [0.1, inf]
#   with dtype   float64 [0.1, 1e+300]
#   int8         int64
#   with a null  float32 16777216
#   arrow        [[16777217, None], [16777217]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
from datasets import Dataset, Features, List, Value


def dataset(lists, kind):
    return Dataset.from_dict({"v": lists}, features=Features({"v": List(Value(kind))}))


doubles = dataset([[0.1, 1e300]], "float64")
found = doubles.with_format("numpy")[0]["v"]
typed = doubles.with_format("numpy", dtype=np.float64)[0]["v"]
small = dataset([[1]], "int8").with_format("numpy")[0]["v"]
holes = dataset([[2**24 + 1, None], [2**24 + 1]], "int64")
first = holes.with_format("numpy")[0]["v"]
arrow = holes.with_format("arrow")[:]["v"].to_pylist()
print("float64     ", found.dtype, [float(str(each)) for each in found])
print("with dtype  ", typed.dtype, typed.tolist())
print("int8        ", small.dtype)
print("with a null ", first.dtype, int(first[0]))
print("arrow       ", arrow)
is_so = found.dtype == np.float32 and np.isinf(found[1]) and small.dtype == np.int64
is_so = is_so and first.dtype == np.float32 and int(first[0]) == 2**24
is_right = typed.tolist() == [0.1, 1e300] and arrow == [[2**24 + 1, None], [2**24 + 1]]
sys.exit(0 if is_so and is_right else 1)
PYTHON
