#!/usr/bin/env bash
# pandas 3.1.1 and 2.3.3 (pyarrow 26.0.1): of two equal columns of lists, structs or float16 with an ArrowDtype, `==` is
# False in every row and `!=` True, without an error.
#
# pyarrow has no function that compares such types, and pandas then answers as it does for types that cannot be equal,
# such as numbers and text. `<` is a TypeError. So `frame[old != new]` is the whole frame, `(old == new).all()` is never
# True, and `x != x`, the usual way to find NaN, is True for all float16. Other floats are right, as are `equals`, columns
# of Python's lists, and float16 against one number. Output, for each of the two:
#
#   lists    == [False, False]  != [True, True]  equals True
#   of size  == [False, False]  != [True, True]  equals True
#   structs  == [False, False]  != [True, True]  equals True
#   float16  == [False, False]  != [True, True]  equals True
#   float32  == [True, True]  != [False, False]  equals True
#   float16 == 1.5            [True, False]
#   of Python's lists         [True, True]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >compare.py <<'PYTHON'
import sys

import pandas as pd
import pyarrow as pa

print("pandas", pd.__version__)
columns = {
    "lists": (pa.list_(pa.int64()), [[1, 2], [3]]),
    "of size": (pa.list_(pa.float64(), 2), [[1.0, 2.0], [3.0, 4.0]]),
    "structs": (pa.struct([("x", pa.int64())]), [{"x": 1}, {"x": 2}]),
    "float16": (pa.float16(), [1.5, 2.5]),
    "float32": (pa.float32(), [1.5, 2.5]),
}
found = {}
for name, (kind, rows) in columns.items():
    one, other = (pd.Series(pd.array(rows, dtype=pd.ArrowDtype(kind))) for _ in range(2))
    same, differ = (one == other).tolist(), (one != other).tolist()
    found[name] = same, differ
    print(f"{name:8} == {same}  != {differ}  equals {one.equals(other)}")
    assert one.equals(other)
half = pd.Series(pd.array([1.5, 2.5], dtype=pd.ArrowDtype(pa.float16()))) == 1.5
print("float16 == 1.5           ", half.tolist())
plain = pd.Series([[1, 2], [3]]) == pd.Series([[1, 2], [3]])
print("of Python's lists        ", plain.tolist())
assert half.tolist() == [True, False] and plain.all()
right = [True, True], [False, False]
is_so = all((pair == right) == (name == "float32") for name, pair in found.items())
assert all(pair in (right, right[::-1]) for pair in found.values())
sys.exit(0 if is_so else 1)
PYTHON
for version in 3.1.1 2.3.3; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet "pandas==$version" pyarrow==26.0.1
    "venv-$version/bin/python" compare.py
done
