#!/usr/bin/env bash
# awkward 2.14.0 (pyarrow 26.0.1): a slice of an Arrow array with a null has other values in `ak.from_arrow`,
# without an error.
#
# Values are those of the slice, and which are null is read from the beginning of the whole array: of 1, null,
# 3, 4 without its first, the null comes as 0, and the 3 as null. It is so for numbers, text, lists and structs,
# and for tables and record batches that are slices. Slices without a null are right. What is copied before,
# as by `pa.concat_arrays` of it and an empty array, is right, too. Output:
#
#   numbers       [0, None, 4] is [None, 3, 4]
#   text          ['', None, 'd'] is [None, 'c', 'd']
#   lists         [[], None, [5]] is [None, [3, 4], [5]]
#   a table       [{'a': 0}, {'a': None}, {'a': 4}] is [{'a': None}, {'a': 3}, {'a': 4}]
#   without null  [2, 3, 4] is [2, 3, 4]
#   copied        [None, 3, 4]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet awkward==2.14.0 pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import awkward as ak
import pyarrow as pa

numbers = pa.array([1, None, 3, 4])
cases = {
    "numbers": numbers,
    "text": pa.array(["a", None, "c", "d"]),
    "lists": pa.array([[1, 2], None, [3, 4], [5]]),
    "a table": pa.table({"a": numbers}),
}
are_wrong = True
for what, whole in {**cases, "without null": pa.array([1, 2, 3, 4])}.items():
    found, wanted = ak.from_arrow(whole.slice(1)).to_list(), whole.slice(1).to_pylist()
    print(f"{what:13} {found} is {wanted}")
    are_wrong &= (found != wanted) == (what in cases)
copied = ak.from_arrow(pa.concat_arrays([numbers.slice(1), numbers[:0]])).to_list()
print(f"copied        {copied}")
sys.exit(0 if are_wrong and copied == [None, 3, 4] else 1)
PYTHON
